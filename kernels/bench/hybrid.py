"""What hybrid tree attention costs: on a GPU beside the memory it reads, on CPU beside two others.

On a GPU: bytes of keys and values over the time a layer takes, as a share of what a plain copy
moves on the same card (read and written bytes counted), for contexts and tree sizes.

On CPU: 16 nodes over one, 16 nodes in one call with a dense mask over hybrid, and with ``--model``
16 nodes over one through a whole forward pass. Arms take turns; a ratio is given with its
quarters over the rounds.

    python kernels/bench/hybrid.py [--rounds 40] [--model nano] [--out FILE]
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import statistics
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from mmspec_kernels.attention import tree_attention
from mmspec_kernels.layout import TreeLayout, split, tail_width
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Callable

REACH = 16
ROWS = 16
Arms = dict[str, "Callable[[], object]"]


@dataclass(frozen=True)
class Shape:
    """Attention of one layer."""

    heads: int
    kv_heads: int
    dim: int
    dtype: torch.dtype


LARGE = Shape(32, 8, 128, torch.bfloat16)  # Llama-3.1-8B
SMALL = Shape(12, 4, 64, torch.bfloat16)  # a model of 100 M parameters


def layout_of(context: int, nodes: int, *, grouped: bool) -> TreeLayout:
    """A binary tree of ``nodes`` nodes after ``context`` cached tokens, slots from 0 on."""
    total = -(-nodes // ROWS) * ROWS if grouped else nodes
    tail = np.zeros(total, np.int32)
    path = np.zeros((total, tail_width(REACH)), np.int32)
    position = np.zeros(total, np.int64)
    for node in range(nodes):
        above = [node]
        while above[-1]:
            above.append((above[-1] - 1) // 2)
        position[node] = context + len(above) - 1
        start = int(split(position[node : node + 1], REACH)[0])
        mine = [*range(start, context), *(context + step for step in above[::-1])]
        path[node, : len(mine)], tail[node] = mine, len(mine)
    slots = np.where(tail > 0, context + np.arange(total), 0)
    return TreeLayout(
        slots=slots, path=path, tail=tail, position=position, base=np.zeros(total, np.int64),
        rows=ROWS if grouped else min(ROWS, nodes), reach=REACH, count=nodes,
    )  # fmt: skip


def hybrid(
    shape: Shape, stores: list[torch.Tensor], context: int, nodes: int, *, grouped: bool
) -> Callable[[], object]:
    """Tree attention over each store in turn, one layer a call."""
    layout = layout_of(context, nodes, grouped=grouped)
    reading = layout.reading(None)
    query, key, value = rows(shape, len(layout.slots), stores[0].device)
    turn = iter(range(1 << 62))

    def run() -> object:
        store = stores[next(turn) % len(stores)]
        return tree_attention(query, key, value, store, layout, reading, shape.dim**-0.5)

    return run


def dense(
    shape: Shape, store: torch.Tensor, context: int, nodes: int, *, repeated: bool
) -> Callable[[], object]:
    """One call of torch's attention over context and tree with a mask over both, made before.

    With ``repeated`` key heads are first copied for every query head, as transformers does where
    there is a mask.
    """
    query, _, _ = rows(shape, nodes, store.device)
    seen = store[:, None, :, : context + nodes]
    mask = torch.full((nodes, context + nodes), -1e30, dtype=shape.dtype, device=store.device)
    mask[:, :context] = 0
    for node in range(nodes):
        above = node
        mask[node, context + node] = 0
        while above:
            above = (above - 1) // 2
            mask[node, context + above] = 0
    asked = query.transpose(0, 1)[None]
    group = shape.heads // shape.kv_heads

    def run() -> object:
        keys, values = seen.repeat_interleave(group, dim=2) if repeated else seen
        return F.scaled_dot_product_attention(
            asked, keys, values, attn_mask=mask, enable_gqa=not repeated
        )

    return run


def rows(shape: Shape, count: int, device: torch.device) -> list[torch.Tensor]:
    """Queries, keys and values of a step."""
    draw = torch.Generator(device).manual_seed(0)
    heads = (shape.heads, shape.kv_heads, shape.kv_heads)
    return [
        torch.randn(count, n, shape.dim, generator=draw, device=device).to(shape.dtype)
        for n in heads
    ]


def stored(shape: Shape, context: int, device: torch.device) -> torch.Tensor:
    """A layer's keys and values, with room for a tree."""
    size = (2, shape.kv_heads, context + 128, shape.dim)
    return torch.randn(size, device=device, dtype=torch.float32).to(shape.dtype)


def in_turn(arms: Arms, rounds: int) -> dict[str, list[float]]:
    """Seconds of each arm, one call a round each, after two rounds that do not count."""
    took: dict[str, list[float]] = {name: [] for name in arms}
    for index in range(rounds + 2):
        for name, arm in arms.items():
            began = time.perf_counter()
            arm()
            if index > 1:
                took[name].append(time.perf_counter() - began)
    return took


def ratio(took: dict[str, list[float]], over: str, under: str) -> dict[str, object]:
    """Median and quarters of one arm over another, round by round."""
    each = [a / b for a, b in zip(took[over], took[under], strict=True)]
    low, middle, high = statistics.quantiles(each, n=4)
    said = {name: round(1000 * statistics.median(took[name]), 3) for name in (over, under)}
    return {"ratio": round(middle, 3), "quarters": [round(low, 3), round(high, 3)], "ms": said}


def on_cpu(rounds: int, model: str | None) -> dict[str, object]:
    """The two ratios for one layer, and for whole passes of a model where one is named."""
    found: dict[str, object] = {}
    for dtype, context in itertools.product((torch.bfloat16, torch.float32), (8192, 16384)):
        shape = replace(SMALL, dtype=dtype)
        store = stored(shape, context, torch.device("cpu"))
        arms: Arms = {
            "1 node": hybrid(shape, [store], context, 1, grouped=True),
            "16 nodes": hybrid(shape, [store], context, 16, grouped=True),
            "1 row": hybrid(shape, [store], context, 1, grouped=False),
            "dense": dense(shape, store, context, 16, repeated=False),
            "dense, heads repeated": dense(shape, store, context, 16, repeated=True),
        }
        took = in_turn(arms, rounds)
        about = f"{context} {str(dtype)[6:]}"
        found[f"{about}: 16 nodes over 1, bitwise"] = ratio(took, "16 nodes", "1 node")
        found[f"{about}: 16 nodes over 1, near-tie"] = ratio(took, "16 nodes", "1 row")
        for name in ("dense", "dense, heads repeated"):
            found[f"{about}: {name} over hybrid"] = ratio(took, name, "16 nodes")
    if model is not None:
        for grouped in (True, False):
            took = in_turn(passes(model, 8192, grouped=grouped), rounds)
            level = "bitwise" if grouped else "near-tie"
            name = f"8192: 16 nodes over 1, whole pass of {model}, {level}"
            found[name] = ratio(took, "16 nodes", "1 node")
    return found


def passes(model: str, context: int, *, grouped: bool) -> Arms:
    """Whole forward passes of a model over a cache of random keys and values."""
    from mmspec.core.config import ModelConfig  # noqa: PLC0415  # only where a model is asked for
    from mmspec.model.batch import Batch  # noqa: PLC0415
    from mmspec.model.load import load_target  # noqa: PLC0415

    target, _ = load_target(ModelConfig(path=model, numerics="bitwise" if grouped else "near-tie"))
    cache = target.new_cache(context + 32, 32, 16)
    cache.store.normal_()
    arms: Arms = {}
    for name, nodes in (("1 node", 1), ("16 nodes", 16)):
        layout = layout_of(context, nodes, grouped=grouped)
        groups = (-1, ROWS) if grouped else (1, nodes)
        batch = Batch(
            tokens=torch.zeros(len(layout.slots), dtype=torch.int64).view(groups),
            positions=torch.from_numpy(layout.position).view(groups),
            layout=layout,
            count=nodes,
        )
        arms[name] = partial(target.forward, batch, cache)
    return arms


def on_gpu(rounds: int) -> dict[str, object]:
    """Share of the copy ceiling, by context and tree; stores take turns so that no cache helps."""
    device = torch.device("cuda")
    block, other = torch.empty(2, 1 << 30, dtype=torch.uint8, device=device)
    # Not as a graph: there a copy is the copy engine's, at two thirds of the memory's speed.
    copied = 2 * block.numel() / seconds(lambda: other.copy_(block), rounds, captured=False)
    found: dict[str, object] = {"copy TB/s": round(copied / 1e12, 3)}
    for context in (8192, 32768, 131072):
        moved = 2 * context * LARGE.kv_heads * LARGE.dim * LARGE.dtype.itemsize
        stores = [stored(LARGE, context, device) for _ in range(max(2, (1 << 29) // moved))]
        for grouped, nodes in ((True, 1), (True, 16), (False, 1), (False, 16), (False, 64)):
            took = seconds(hybrid(LARGE, stores, context, nodes, grouped=grouped), rounds)
            kind = "bitwise" if grouped else "near-tie"
            found[f"{context}: {nodes} nodes, {kind}"] = {
                "us": round(1e6 * took, 2),
                "share of copy": round(moved / took / copied, 3),
            }
    return found


def seconds(arm: Callable[[], object], rounds: int, *, captured: bool = True) -> float:
    """Median over rounds of a call in a run of ten; captured as a graph, launches do not count."""

    def run() -> None:
        for _ in range(10):
            arm()

    run()
    torch.cuda.synchronize()
    if captured:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            run()
        run = graph.replay
    took = []
    for _ in range(rounds):
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        began.record()
        run()
        ended.record()
        ended.synchronize()
        took.append(began.elapsed_time(ended) / 1e4)
    return statistics.median(took)


def main() -> None:
    """Measure what this machine can, print it, and keep it where asked."""
    parser = argparse.ArgumentParser(description="What hybrid tree attention costs")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--model", help="also time whole passes of this model (CPU)")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    gpu = torch.cuda.is_available()
    where = torch.cuda.get_device_name() if gpu else platform.processor() or platform.machine()
    with torch.inference_mode():
        found = on_gpu(asked.rounds) if gpu else on_cpu(asked.rounds, asked.model)
    told = {"where": where, "torch": torch.__version__, "threads": torch.get_num_threads()}
    text = json.dumps({**told, "found": found}, indent=1)
    print(text)
    if asked.out is not None:
        asked.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
