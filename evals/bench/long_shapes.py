"""What speculation over long contexts costs at a real shape, and the speedup that projects; JSON.

A target of Llama-3.1-8B's shape with random weights, batch 1, and a cache filled with noise: costs
are measured and acceptance is not. tau is given, from elsewhere. What comes of the two is a
PROJECTION, and is called so wherever it stands:

    projected speedup = tau * t1 / (t_verify(nodes) + depth * t_level + overhead)

as in ``vlm_shapes``, with one level of a draft from depth 4 to depth 8. Every time stands beside
what reading its weights, keys and values alone would take at the speed of the card's own copy
(``floor_ms``), and every drafter's memory beside the target's keys and values.

    python evals/bench/long_shapes.py [--tau "longctx.rapid: NAME=3.1"] [--commit ID]   # one H100
    python evals/bench/long_shapes.py --tiny --out FOLDER                               # any

A tau whose name begins with a drafter's is that drafter's alone. Where the package is not
installed, put ``PYTHONPATH=.:kernels:evals`` before it; it needs torch, transformers, triton (on a
GPU), numba and msgspec there, and no data. Past ``--seconds`` nothing new is begun (``left_out``),
what raises is in ``errors``, and the file is whole at every moment.

Numbers hold for the attention that this commit has for the device, without CUDA graphs, at the
``near-tie`` level unless told otherwise.
"""

from __future__ import annotations

import gc
import time
import traceback
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from long_drafters import random_drafters
from long_models import llama_1b, llama_8b, random_target
from long_scene import BEHIND, LongScene, fits
from shapes_cli import about, common_options
from shapes_scene import PATH
from skeleton import provenance
from vlm_meter import Meter, floors, write
from vlm_projection import FORMULA, LABEL, Told, level_cost, projections, step_ms

from mmspec.core.drafter import Pooled, Sized

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from long_drafters import Drafted

NODES, DEPTHS = (16, 64), (4, 8)
SPARE = 6 << 30  # bytes that a step and a chunk may take besides the cache
SCRATCH = 1024  # slots of a drafter's growing tree, at most
# Tokens a verify, the bonus token included: the least and the most of LongSpec's five texts on
# Llama-3-8B-262k, greedy (arXiv:2502.17421, table 1).
PUBLISHED = {
    "longctx.longspec": {
        "LongSpec's, Llama-3-8B-262k, QMSum": 2.99,
        "LongSpec's, Llama-3-8B-262k, RepoBench-P": 3.39,
    }
}


class Context:
    """One context: what is measured of it.

    Args:
        speed: bytes a second of the card's own copy. step_bytes: weights of a target's step.
    """

    def __init__(
        self, scene: LongScene, drafted: dict[str, Drafted], meter: Meter, at: str, speed: float,
        step_bytes: int,
    ) -> None:  # fmt: skip
        self._scene, self._drafted, self._meter, self._at = scene, drafted, meter, at
        self._speed, self._step_bytes = speed, step_bytes
        self._length = len(scene.sequence)
        kv = self._length * scene.target.bytes_per_token()
        self.told: Told = {
            "target_kv_bytes": kv, "floor_ms": self._floor(step_bytes + kv), "target": {},
            "draft": {}, "projection": {}, "memory": {},
        }  # fmt: skip

    def target(self) -> None:
        """The last prefill chunk, then steps; the text is at its end thereafter."""
        scene, told = self._scene, self.told
        timing = self._meter.measure(f"{self._at}, chunk", scene.chunk)
        if timing is not None:
            size = len(scene.sequence) - 1 - scene.sequence.cached
            rate = size / timing["chunk"]["ms"] * 1e3
            told["prefill_chunk"] = {**timing["chunk"], "tokens": size, "tokens_a_second": rate}
        scene.end_prefill()
        for nodes in (1, *NODES):
            timing = self._meter.measure(
                f"{self._at}, {nodes} nodes", partial(scene.step, 1, nodes)
            )
            told["target"][str(nodes)] = timing
            if timing is not None:
                share = told["floor_ms"] / timing["forward"]["ms"]
                timing["share_of_ceiling"] = {"forward": share}

    def draft(self, name: str) -> None:
        """Bring one drafter to the text's end; whole drafts by depth, and its memory."""
        scene, meter, told, one = self._scene, self._meter, self.told, self._drafted[name]
        at = f"{self._at}, {name}"
        told["memory"][name] = self._memory(one)
        entered = meter.measure(f"{at}, enter", partial(scene.enter, name))
        if entered is None:
            return
        whole: Told = {"enter": entered["enter"]}
        if name.endswith("pages"):
            run = partial(scene.refresh, name, DEPTHS[0])
            timing = meter.measure(f"{at}, refresh", run)
            whole |= {} if timing is None else {f"refresh, depth {DEPTHS[0]}": timing["draft"]}
        for depth in DEPTHS:
            run = partial(scene.draft, name, depth)
            timing = meter.measure(f"{at}, draft {depth} deep", run)
            if timing is not None:
                whole[f"depth {depth}"] = timing["draft"]
        read = one.weights + one.constant + one.per_token * self._length
        whole |= level_cost(whole, DEPTHS, told["target"].get("1"))
        whole |= {"level_bytes": read, "level_floor_ms": self._floor(read)}
        told["draft"][name] = {f"width {one.shape[0]}": whole}

    def settle(self) -> None:
        """Commit and show all drafters; it moves the text on, so it comes last."""
        timing = self._meter.measure(f"{self._at}, settle", partial(self._scene.settle, 1))
        self.told["settle"] = timing

    def project(self, name: str, taus: dict[str, float]) -> None:
        """Projections of one drafter; none where a part is missing."""
        if name in self.told["draft"] and self.told.get("settle") is not None:
            width = self._drafted[name].shape[0]
            self.told["projection"][name] = projections(self.told, name, taus, width, NODES, DEPTHS)

    def _floor(self, size: int) -> float:
        return 1e3 * size / self._speed

    def _memory(self, one: Drafted) -> Told:
        """What it holds of this text, by its own account, and all that it has set aside."""
        drafter, kv = one.drafter, self.told["target_kv_bytes"]
        held = drafter.room(self._length) if isinstance(drafter, Sized) else 0
        pool = {"pool_bytes": drafter.pool} if isinstance(drafter, Pooled) else {}
        return {"bytes": held, "share_of_target_kv": held / kv, **pool}


class Bench:
    """The target and its drafters, from weights to file."""

    def __init__(self, options: argparse.Namespace, until: float) -> None:
        began = time.perf_counter()
        self.options, self.device = options, torch.device(options.device)
        spec, small = llama_8b(tiny=options.tiny), llama_1b(tiny=options.tiny)
        self.target, self.step_bytes = random_target(
            spec, self.device, options.numerics, options.seed
        )
        slots = max(options.contexts) + BEHIND + SCRATCH
        self.drafted = random_drafters(self.target, spec, small, slots, self.step_bytes, options)
        self.meter = Meter(self.device, options.repeats, options.limit, until)
        options.model = "llama-3.1-8b" + "_tiny" * options.tiny
        self.errors: dict[str, str] = {}
        sizes = {"target, a step's weights": self.step_bytes}
        block = (16 if options.tiny else 1024) << 20
        self.weights_alone = floors(self.meter, sizes, block)
        self.result: Told = {
            "provenance": provenance(options, "llama") | about(options, self.device),
            "settings": {key: str(value) for key, value in sorted(vars(options).items())},
            "target": spec.to_diff_dict(),
            "drafters": {
                key: {"width": one.shape[0], "children": one.shape[1], **one.about}
                for key, one in self.drafted.items()
            },
            "weights_alone": self.weights_alone,
            "projection": {
                "what": LABEL, "formula": FORMULA,
                "taus": {name: self.taus(name) for name in self.drafted},
                "overhead": f"commit of {len(PATH)} tokens and the drafter's reading of them",
                "not counted": "choosing pages anew, once in so many tokens as refresh says",
            },
            "seconds_to_build": time.perf_counter() - began,
            "contexts": {}, "errors": self.errors, "left_out": self.meter.left_out,
        }  # fmt: skip
        self.path = options.out / f"long_shapes_{options.model}.json"
        self.save()

    def taus(self, name: str) -> dict[str, float]:
        """Of one drafter, by whose they are."""
        own = {"longctx.longspec", "text.eagle", "longctx.self_window", "longctx.rapid"}
        told = dict(PUBLISHED.get(name, {}))
        for source, tau in self.options.tau:
            whose = next((one for one in own if source.startswith(one)), None)
            if whose is None or name.startswith(whose):
                told[source] = tau
        return told

    def save(self) -> None:
        """The file, with what is known so far."""
        if self.device.type == "cuda":
            self.result["peak_gpu_bytes"] = torch.cuda.max_memory_allocated()
        write(self.path, self.result)

    def context(self, length: int) -> None:
        """Everything at one context; the cache goes with it."""
        at, began = f"context {length}", time.perf_counter()
        scene = LongScene(self.target, self.drafted, length, self.options.chunk, self.options.seed)
        speed = float(str(self.weights_alone["bytes_a_second"]))
        here = Context(scene, self.drafted, self.meter, at, speed, self.step_bytes)
        self.result["contexts"][str(length)] = here.told
        self.part(f"{at}, target", here.target)
        for name in self.drafted:
            self.part(f"{at}, {name}", partial(here.draft, name))
        self.part(f"{at}, settle", here.settle)
        for name in self.drafted:
            here.project(name, self.taus(name))
        scene.close()
        here.told["seconds"] = time.perf_counter() - began
        self.save()

    def part(self, at: str, run: Callable[[], None]) -> None:
        """One part; what it raises is written down, for the others are worth having."""
        try:
            run()
        except Exception as error:  # noqa: BLE001  # a device is lent once
            self.errors[at] = traceback.format_exc()
            print(f"FAILED {at}: {type(error).__name__}: {error}", flush=True)
        self.save()


def table(result: Told) -> None:
    """The last lines: short, for little of a far machine's output is kept."""
    for length, told in result["contexts"].items():
        steps = {nodes: timing for nodes, timing in told["target"].items() if timing is not None}
        said = ", ".join(
            f"{nodes}: {step_ms(one):.2f} ({one['share_of_ceiling']['forward']:.0%})"
            for nodes, one in steps.items()
        )
        chunk = told.get("prefill_chunk")
        end = "" if chunk is None else f"; chunk {chunk['tokens_a_second']:.0f} tokens/s"
        kv = told["target_kv_bytes"] / 1e9
        print(f"{length}: KV {kv:.2f} GB; step ms by nodes (of ceiling) {said}{end}")
        for name, by_width in told["draft"].items():
            ((_, whole),) = by_width.items()
            memory = told["memory"][name]
            level, share = whole.get("level_ms"), whole.get("level_share_of_step")
            line = f"  {name}: {memory['bytes'] / 1e6:.1f} MB"
            if level is not None and share is not None:
                line += f", level {level:.2f} ms = {share:.0%} of a step"
            print(line + _projected(told["projection"].get(name, {})))
    for at, error in result["errors"].items():
        print(f"FAILED {at}: {error.strip().splitlines()[-1]}")


def _projected(rows: Told) -> str:
    """The best tree's projection, by tau."""
    said = ""
    for source, found in rows.items():
        tree, best = max(found.items(), key=lambda pair: pair[1]["projected_speedup_whole_draft"])
        said += f"; PROJECTED {best['projected_speedup_whole_draft']:.2f} ({tree}; tau {source})"
    return said


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = common_options(
        __doc__.partition("\n")[0], seconds=105.0, limit=0.3, out=Path("evals/results/long")
    )
    parser.add_argument("--chunk", type=int, help="tokens of the prefill pass")
    parser.add_argument("--excerpt", type=int, help="tokens that longctx.rapid reads")
    options = parser.parse_args()
    tiny = options.tiny
    # The longest but one first: most of what is to be known is there.
    options.contexts = options.contexts or ([1024, 1536] if tiny else [131072, 32768, 8192, 262144])
    options.chunk = options.chunk or (64 if tiny else 2048)
    options.excerpt = options.excerpt or (256 if tiny else 4096)
    options.repeats = min(options.repeats or (2 if tiny else 10), 30)
    return options


def main() -> None:
    """Measure one context after the other."""
    began = time.perf_counter()
    options = arguments()
    torch.set_num_threads(options.threads)
    with torch.inference_mode():
        bench = Bench(options, began + options.seconds)
        for length in options.contexts:
            at = f"context {length}"
            gc.collect()  # the cache before is gone when this one is made
            if time.perf_counter() > began + options.seconds:
                bench.meter.left_out.append(at)
            elif not fits(bench.target, length, SPARE):
                bench.meter.left_out.append(f"{at}: no room for its keys and values")
            else:
                bench.part(at, partial(bench.context, length))
    bench.result["seconds"] = time.perf_counter() - began
    bench.save()
    table(bench.result)
    left = len(bench.meter.left_out)
    print(f"{bench.result['seconds']:.0f} s, {left} left out; {bench.path}", flush=True)


if __name__ == "__main__":
    main()
