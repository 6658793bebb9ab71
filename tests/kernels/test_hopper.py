"""The Triton kernels compile for compute capability 9.0 and fit it; no GPU is needed to know."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")

SHARED = 227 * 1024  # bytes one block may have
WORDS = 16  # bytes of stack that are not worth another shape


def compiled(tmp_path, *which):
    """Compile in a process where Triton does not interpret, and from nothing kept."""
    kept = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    kept["TRITON_CACHE_DIR"] = str(tmp_path)
    script = Path(__file__).with_name("hopper.py")
    done = subprocess.run(
        [sys.executable, script, *which], env=kept, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def fits(kernel):
    """Nothing is added up by atomics, tiles fit, and large products are a warp group's."""
    assert kernel["atomics"] == 0
    assert kernel["shared"] <= SHARED
    if kernel["dtype"] != "fp32":
        assert kernel["spilled"] <= WORDS, kernel
    if kernel["kernel"] == "move":
        assert kernel["barriers"] == 1  # between the last read and the first write
    elif kernel["tile"] >= 64 and kernel["dtype"] != "fp32":
        assert kernel["wgmma"] > 0, kernel
    else:
        assert kernel["mma"] > 0, kernel


def test_a_common_models_kernels_fit(tmp_path):
    found = compiled(tmp_path)
    assert {one["kernel"] for one in found} == {
        "prefix", "paged prefix", "finish", "sliding finish", "chunk", "move",
    }  # fmt: skip
    for kernel in found:
        fits(kernel)


@pytest.mark.slow
def test_every_shape_fits(tmp_path):
    for kernel in compiled(tmp_path, "all"):
        fits(kernel)
