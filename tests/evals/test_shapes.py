"""The benches of real shapes run to their end on small ones, and call a projection one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "evals" / "bench"


def run(script, out, *options):
    """The one file that a bench writes."""
    command = [sys.executable, BENCH / script, "--tiny", "--device", "cpu", "--out", out]
    done = subprocess.run(
        [*command, "--threads", "1", "--repeats", "1", *options],
        capture_output=True, text=True, check=False, cwd=BENCH.parents[1], env=os.environ,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (path,) = out.glob("*.json")
    return json.loads(path.read_text("utf-8")), done.stdout


@pytest.mark.slow
def test_long_contexts(tmp_path):
    contexts = ("--contexts", "640", "768")
    told, said = run("long_shapes.py", tmp_path, *contexts, "--tau", "text.eagle: me=2.5")
    assert told["errors"] == {}
    assert told["left_out"] == []
    here = told["contexts"]["640"]
    assert set(here["target"]) == {"1", "16", "64"}
    assert set(here["draft"]) == set(told["drafters"])
    assert here["prefill_chunk"]["tokens"] == 64
    # Bounded memory is bounded, and what grows with the text does.
    held = [
        {name: one["bytes"] for name, one in at["memory"].items()}
        for at in told["contexts"].values()
    ]
    assert held[0]["text.eagle"] < held[1]["text.eagle"]
    assert held[0]["longctx.longspec"] == held[1]["longctx.longspec"] > 0
    paged = "longctx.longspec, 16 pages"
    assert held[0][paged] == held[1][paged] > held[0]["longctx.longspec"]
    assert set(told["projection"]["taus"]["text.eagle"]) == {"text.eagle: me"}
    assert told["projection"]["taus"]["longctx.rapid"] == {}
    assert "not a measured speedup" in told["projection"]["what"]
    assert "640: KV" in said


@pytest.mark.slow
def test_past_the_deadline_nothing_is_begun(tmp_path):
    told, _ = run("long_shapes.py", tmp_path, "--contexts", "640", "--seconds", "0")
    assert told["left_out"] == ["context 640"]
    assert told["contexts"] == {}


@pytest.mark.slow
def test_pictures(tmp_path):
    only = ("--models", "llava-1.5-7b", "--contexts", "96", "--batches", "2")
    told, _ = run("vlm_shapes.py", tmp_path, *only)
    assert told["left_out"] == []
    costs = told["decoding"]["context 96, batch 2"]
    assert costs["settle"]["commit"]["ms"] > 0
    assert set(costs["draft"]) == set(told["drafters"])
