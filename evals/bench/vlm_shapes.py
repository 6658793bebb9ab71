"""What speculation with pictures costs at real shapes, and the speedup that projects; JSON files.

Targets and drafters have the sizes of published ones and random weights (``vlm_models``), so costs
are measured and acceptance is not: tau is given, from elsewhere. What comes of the two is a
PROJECTION, and is called so wherever it stands:

    projected speedup = tau * t1 / (t_verify(nodes) + depth * t_level + overhead)

``t1`` and ``t_verify`` are steps of the target with a tree of one node and of ``nodes``, the
verdict included; ``t_level`` is one level of a draft (from depth 4 to depth 8, ``--width`` nodes a
sequence, head and choice of children included); ``overhead`` is to commit four tokens and to show
them to the drafter. ``projected_speedup_whole_draft`` has a draft as it was measured in the place
of depth * t_level. A tau belongs to the tree it was measured with: rows of other trees say what
costs would allow, not what would be accepted.

    python evals/bench/vlm_shapes.py [--tau nano=7.48] [--commit ID]       # one H100 or H200
    python evals/bench/vlm_shapes.py --tiny --out FOLDER                   # any processor

Where the package is not installed, put ``PYTHONPATH=.:kernels:evals`` before it; it needs torch,
transformers, triton (on a GPU), numba, msgspec and pillow there, and neither litestar nor
flash-attn nor data. Both models take about ``--seconds`` together: past each one's part of them
nothing new is begun (``left_out`` lists it), and the files are whole at every moment.

Numbers hold for the attention that this commit has for the device, without CUDA graphs and, unless
told otherwise, at the ``near-tie`` level (``bitwise`` groups the rows of a step by 16).
"""

from __future__ import annotations

import gc
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import torch
from provenance import provenance
from shapes_cli import about, common_options
from shapes_scene import ANSWER, PATH
from vlm_drafters import level_bytes, random_drafters
from vlm_meter import Meter, floors, medians, write
from vlm_models import PLANS, random_target
from vlm_projection import (
    DEPTHS,
    FORMULA,
    LABEL,
    NODES,
    PUBLISHED,
    Told,
    level_cost,
    projections,
    show,
)
from vlm_scene import Scene

if TYPE_CHECKING:
    import argparse

WIDTHS = (1, 4, 8)


def reading_costs(scene: Scene, meter: Meter, name: str) -> Told:
    """Read every sequence once, picture and prompt; the first is to warm up."""
    seen, read = [], []
    for index in range(len(scene.sequences)):
        seen.append(meter.once(partial(scene.see, index)))
        read.append(meter.once(partial(scene.read, index)))
    told: Told = medians(seen[1:]) | medians(read[1:])
    target, tower = told["target"]["ms"], told["vision tower"]["ms"]
    told["share_of_target_prefill"] = {
        drafter: told[drafter]["ms"] / target for drafter in scene.drafters
    }
    told["share_of_tower_and_target_prefill"] = {
        drafter: told[drafter]["ms"] / (tower + target) for drafter in scene.drafters
    }
    shares = {drafter: round(s, 3) for drafter, s in told["share_of_target_prefill"].items()}
    print(f"{name}: tower {tower:.1f} ms, prefill {target:.1f} ms, drafters' share {shares}")
    return told


def draft_costs(scene: Scene, meter: Meter, told: Told, name: str, batch: int, at: str) -> None:
    """Whole drafts of one drafter by width and depth, and what a level of them costs."""
    mine = told["draft"].setdefault(name, {})
    for width in WIDTHS:
        whole: Told = {}
        for depth in DEPTHS:
            run = partial(scene.draft, name, batch, width, depth)
            timing = meter.measure(f"{at}, {name}, draft {width} wide {depth} deep", run)
            if timing is not None:
                whole[f"depth {depth}"] = timing["draft"]
        mine[f"width {width}"] = whole | level_cost(whole, DEPTHS, told["target"]["1"])


def decoding_costs(
    scene: Scene, meter: Meter, batch: int, at: str, taus: dict[str, float], width: int
) -> Told:
    """Steps, drafts and what lies between, of ``batch`` sequences together; and projections."""
    told: Told = {"target": {}, "draft": {}, "projection": {}}
    for nodes in (1, *NODES):
        run = partial(scene.step, batch, nodes)
        told["target"][str(nodes)] = meter.measure(f"{at}, {nodes} nodes", run)
    told["settle"] = meter.measure(f"{at}, settle", partial(scene.settle, batch))
    for name in scene.drafters:
        draft_costs(scene, meter, told, name, batch, at)
        told["projection"][name] = projections(told, name, taus, width)
        show(told, name, at, width)
    return told


def bench(name: str, options: argparse.Namespace, until: float) -> None:
    """One model, from its weights to its file."""
    device = torch.device(options.device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    plan = PLANS[name](tiny=options.tiny)
    target, step_bytes = random_target(plan, device, options.numerics, options.seed)
    slots = max(options.batches) * (max(options.contexts) + 2 * ANSWER)
    drafters = random_drafters(plan, target, slots, options.seed)
    taus = PUBLISHED[name] | dict(options.tau)
    meter = Meter(device, options.repeats, options.limit, until)
    options.model = name + "_tiny" * options.tiny
    family = target.model.config.model_type
    sizes = {"target, a step": step_bytes}
    sizes |= {f"{key}, a level": level_bytes(one, target) for key, one in drafters.items()}
    result: Told = {
        "provenance": provenance(options, family) | about(options, device),
        "settings": {key: str(value) for key, value in sorted(vars(options).items())},
        "target": plan.spec.to_diff_dict(),
        "drafters": {key: msgspec.to_builtins(one.rows.config) for key, one in drafters.items()},
        "picture_tokens": plan.picture,
        "weights_alone": floors(meter, sizes, (16 if options.tiny else 1024) << 20),
        "projection": {
            "what": LABEL, "formula": FORMULA, "width": options.width, "taus": taus,
            "overhead": f"commit of {len(PATH)} tokens and the drafter's reading of them",
        },
        "seconds_to_build": time.perf_counter() - began,
        "reading": {},
        "decoding": {},
        "left_out": meter.left_out,
    }  # fmt: skip
    path = options.out / f"shapes_{options.model}.json"
    for context in options.contexts:
        at = f"{name}, context {context}"
        if time.perf_counter() > until:
            meter.left_out.append(at)
            continue
        count = max(2, *options.batches)  # one to warm up at least
        scene = Scene(plan, target, drafters, context, count, options.chunk)
        result["reading"][str(context)] = reading_costs(scene, meter, at)
        write(path, result)
        for batch in options.batches:
            here = f"{at}, batch {batch}"
            told = decoding_costs(scene, meter, batch, here, taus, options.width)
            result["decoding"][f"context {context}, batch {batch}"] = told
            write(path, result)
        scene.close()
    result["seconds"] = time.perf_counter() - began
    if device.type == "cuda":
        result["peak_gpu_bytes"] = torch.cuda.max_memory_allocated()
    write(path, result)
    print(f"{name}: {result['seconds']:.0f} s, {len(meter.left_out)} left out; {path}", flush=True)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = common_options(
        __doc__.partition("\n")[0], seconds=320.0, limit=0.8, out=Path("evals/results/vispec")
    )
    parser.add_argument("--models", nargs="+", choices=list(PLANS), default=list(PLANS))
    parser.add_argument("--batches", nargs="+", type=int)
    parser.add_argument("--chunk", type=int, default=256, help="tokens of a prefill pass")
    parser.add_argument("--width", type=int, choices=WIDTHS, default=8, help="of projected drafts")
    options = parser.parse_args()
    options.contexts = options.contexts or ([96, 160] if options.tiny else [1024, 4096])
    options.batches = options.batches or ([1, 2] if options.tiny else [1, 8])
    options.repeats = min(options.repeats or (2 if options.tiny else 15), 30)
    return options


def main() -> None:
    """Measure one model after the other."""
    began = time.perf_counter()
    options = arguments()
    torch.set_num_threads(options.threads)
    for index, name in enumerate(options.models):
        # Each has its part of the time, and what those before it left of theirs.
        until = began + options.seconds * (index + 1) / len(options.models)
        with torch.inference_mode():
            bench(name, options, until)
        gc.collect()
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
