"""Peak resident memory of a server's engine beside weights, keys and values: one JSON.

Run it twice: the first run compiles the kernels, and the compiler is what its peak shows.

    python evals/bench/memory.py [--model nano] [--out evals/results/memory.json]
"""

from __future__ import annotations

import argparse
import json
import resource
from pathlib import Path

import numpy as np

from mmspec.core.config import Config, ModelConfig
from mmspec.core.request import Prompt, Request, Sampling
from mmspec.engine.build import build

MIB = 2**20
STATM = Path("/proc/self/statm")


def resident() -> float:
    """MiB of this process in memory now."""
    return int(STATM.read_text().split()[1]) * resource.getpagesize() / MIB


def main() -> None:
    """Eight requests of 600 tokens and 64 more each, together."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    imports = resident()
    engine, _ = build(Config(model=ModelConfig(path=options.model)))
    rng = np.random.default_rng(0)
    for index in range(8):
        prompt = Prompt(rng.integers(10, 4000, 600))
        sampling = Sampling(temperature=0, max_tokens=64, ignore_eos=True)
        engine.submit(Request(str(index), prompt, sampling))
    while engine.busy:
        engine.step()
    store = Path(engine.target.model.config._name_or_path) / "model.safetensors"
    result = {
        "imports_mib": imports,
        "weights_mib": store.stat().st_size / MIB,
        "kv_mib": 8 * 664 * engine.target.bytes_per_token() / MIB,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    allowed = 1.1 * (result["weights_mib"] + result["kv_mib"] + 300)
    result["bar_mib"] = allowed
    print(json.dumps(result, indent=1))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
