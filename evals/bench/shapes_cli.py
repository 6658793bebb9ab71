"""What the benches of real shapes have in common: options, and what they say of where they ran."""

from __future__ import annotations

import argparse
import platform
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import torch


def common_options(
    description: str, *, seconds: float, limit: float, out: Path
) -> argparse.ArgumentParser:
    """A command line of what every one asks.

    Args:
        seconds, limit, out: defaults.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--tiny", action="store_true", help="small shapes, to try the script")
    cuda = torch.cuda.is_available()
    parser.add_argument("--device", default="cuda" if cuda else "cpu")
    parser.add_argument("--contexts", nargs="+", type=int)
    parser.add_argument("--numerics", choices=["near-tie", "bitwise"], default="near-tie")
    parser.add_argument("--tau", type=named_tau, action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--repeats", type=int, help="of each measurement, at most 30")
    parser.add_argument("--limit", type=float, default=limit, help="seconds of each, about")
    parser.add_argument("--seconds", type=float, default=seconds, help="of all, about")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--commit", default="", help="what to say where git cannot")
    parser.add_argument("--out", type=Path, default=out)
    return parser


def named_tau(text: str) -> tuple[str, float]:
    """NAME=VALUE of the command line."""
    name, _, value = text.rpartition("=")
    return name, float(value)


def about(options: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """What provenance says besides: the device's name, versions, the seed."""
    wanted = {"transformers", "triton", "numpy", "numba"}
    told: dict[str, Any] = {
        "device_name": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "seed": options.seed,
        "weights": "random",
        "versions": {one.name: one.version for one in distributions() if one.name in wanted},
    }
    if device.type == "cuda":
        told["device_name"] = torch.cuda.get_device_name(device)
        told["cuda"] = torch.version.cuda
    # A copy of the tree without its history cannot say which commit it is.
    return told | ({"commit": options.commit} if options.commit else {})
