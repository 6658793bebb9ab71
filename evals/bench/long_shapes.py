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
from long_costs import Context, table
from long_drafters import drafter_makers
from long_models import llama_1b, llama_8b, random_target
from long_scene import BEHIND, LongScene, fits
from provenance import provenance
from shapes_cli import about, common_options
from shapes_scene import PATH
from vlm_meter import Meter, floors, write
from vlm_projection import FORMULA, LABEL, Told

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from long_drafters import Drafted

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


class Bench:
    """The target and its drafters, from weights to file."""

    def __init__(self, options: argparse.Namespace, until: float) -> None:
        began = time.perf_counter()
        self.options, self.device = options, torch.device(options.device)
        spec, small = llama_8b(tiny=options.tiny), llama_1b(tiny=options.tiny)
        self.target, self.step_bytes = random_target(
            spec, self.device, options.numerics, options.seed
        )
        self.errors: dict[str, str] = {}
        self.drafted: dict[str, Drafted] = {}
        torch.manual_seed(options.seed + 1)
        slots = max(options.contexts) + BEHIND + SCRATCH
        makers = drafter_makers(self.target, spec, small, slots, self.step_bytes, options)
        for name, make in makers.items():
            self.part(name, partial(self._add, name, make))
        self.meter = Meter(self.device, options.repeats, options.limit, until)
        options.model = "llama-3.1-8b" + "_tiny" * options.tiny
        sizes = {"target, a step's weights": self.step_bytes}
        block = (16 if options.tiny else 1024) << 20
        self.weights_alone = floors(self.meter, sizes, block)
        self.result: Told = {
            "provenance": provenance(options, "llama") | about(options, self.device),
            "settings": {key: str(value) for key, value in sorted(vars(options).items())},
            "target": spec.to_diff_dict(),
            "drafters": {
                key: {
                    "width": one.shape[0], "children": one.shape[1],
                    "weights_of_a_level_bytes": one.weights, **one.about,
                }
                for key, one in self.drafted.items()
            },
            "weights_alone": self.weights_alone,
            "projection": {
                "what": LABEL, "formula": FORMULA,
                "taus": {name: self.taus(name) for name in self.drafted},
                "overhead": f"commit of {len(PATH)} tokens and the drafter's reading of them",
            },
            "seconds_to_build": time.perf_counter() - began,
            "contexts": {}, "errors": self.errors, "left_out": self.meter.left_out,
        }  # fmt: skip
        self.path = options.out / f"long_shapes_{options.model}.json"
        self.save()

    def taus(self, name: str) -> dict[str, float]:
        """Of one drafter, by whose they are."""
        own = {"longctx.longspec", "text.eagle", "longctx.self_window", "longctx.rapid"}
        told = dict(PUBLISHED.get(name.partition(",")[0], {}))
        for source, tau in self.options.tau:
            whose = next((one for one in own if source.startswith(one)), None)
            if whose is None or name.startswith(whose):
                told[source] = tau
        return told

    def save(self) -> None:
        """The file, with what is known so far."""
        write(self.path, self.result)

    def context(self, length: int) -> None:
        """Everything at one context; the cache goes with it."""
        at, began = f"context {length}", time.perf_counter()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        scene = LongScene(self.target, self.drafted, length, self.options.chunk, self.options.seed)
        speed = float(str(self.weights_alone["bytes_a_second"]))
        here = Context(scene, self.drafted, self.meter, at, speed, self.step_bytes)
        self.result["contexts"][str(length)] = here.told
        self.part(f"{at}, target", here.target)
        self.save()
        for name in self.drafted:
            if not self.part(f"{at}, {name}", partial(here.draft, name)):
                scene.drop(name)
            self.save()
        self.part(f"{at}, settle", here.settle)
        for name in self.drafted:
            here.project(name, self.taus(name))
        if self.device.type == "cuda":
            here.told["peak_gpu_bytes"] = torch.cuda.max_memory_allocated()
        scene.close()
        here.told["seconds"] = time.perf_counter() - began
        self.save()

    def part(self, at: str, run: Callable[[], None]) -> bool:
        """One part, and whether it went well; what it raises is written down.

        Time on a card is short, and the other parts are worth having.
        """
        try:
            run()
        except Exception as error:  # noqa: BLE001
            self.errors[at] = traceback.format_exc()
            print(f"FAILED {at}: {type(error).__name__}: {error}", flush=True)
        return at not in self.errors

    def _add(self, name: str, make: Callable[[], Drafted]) -> None:
        self.drafted[name] = make()


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = common_options(
        __doc__.partition("\n")[0], seconds=95.0, limit=0.3, out=Path("evals/results/long")
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
