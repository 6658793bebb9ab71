"""The command itself, on the bundled model: whole, killed and resumed, marked again."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from mmspec_evals.cli import main
from mmspec_evals.methods.engine import EngineMethod
from mmspec_evals.running.layout import read_plan, read_samples

ROOT = Path(__file__).parents[3]
TASKS = "nano_docqa/fact,nano_vqa"
ASKED = (
    "--model", "nano", "--tasks", TASKS, "--methods", "mmspec,vanilla,pld", "--limit", "2",
    "--max-new-tokens", "16", "--threads", "1", "--warm-up", "0", "--tokens", "200",
)  # fmt: skip
CELLS = 2 * 2 * 4


def command(out, *more):
    return ["run", *ASKED, "--out", str(out), *more]


def samples(out):
    return [s for path in sorted(out.glob("samples/*/*.jsonl")) for s in read_samples(path)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing disturbed."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert main(command(out)) == 0
    return out


def test_a_run_leaves_a_plan_an_environment_samples_and_results(whole):
    plan, env = read_plan(whole), json.loads((whole / "env.json").read_text())
    assert [task.name for task in plan.tasks] == TASKS.split(",")
    assert [arm.label for arm in plan.arms] == ["mmspec", "vanilla", "vanilla.last", "pld"]
    assert env["machine"]["threads"] == 1
    assert env["machine"]["dtype"] == plan.model.dtype == "bfloat16"
    found = samples(whole)
    assert len(found) == CELLS
    assert {s.error for s in found} == {None}
    assert {s.session for s in found} == {env["sessions"][0]["id"]}
    assert {s.audit.kind for s in found if s.method in ("mmspec", "vanilla.last")} == {"exact"}
    assert all(t.tokens <= 16 for s in found for t in s.traces)
    prompts = {}
    for one in found:
        prompts.setdefault((one.task, one.doc_id), set()).add(one.prompt_sha)
    assert [len(shas) for shas in prompts.values()] == [1] * 4
    assert (whole / "results.json").is_file()
    assert (whole / "report.md").is_file()


def test_killed_half_way_and_resumed_it_comes_to_the_same(whole, tmp_path):
    out = tmp_path / "killed"
    with subprocess.Popen(
        [sys.executable, "-c", "from mmspec_evals.cli import main; main()", *command(out)],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:  # fmt: skip
        until = time.monotonic() + 120
        while len(samples(out)) < 6 and time.monotonic() < until:
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    before = samples(out)
    assert 6 <= len(before) < CELLS
    assert not (out / "results.json").exists()
    victim = next(out.glob("samples/*/vanilla.r0.jsonl"))
    with victim.open("ab") as opened:  # and the last line was on its way to the disk
        opened.write(b'{"schema":1,"key":"')
    assert main(command(out)) == 2  # not without --resume
    assert main(command(out, "--resume")) == 0
    sessions = [s["id"] for s in json.loads((out / "env.json").read_text())["sessions"]]
    assert [s.session for s in samples(out)].count(sessions[0]) == len(before)
    assert comparable(out) == comparable(whole)


def test_a_resumed_run_that_is_whole_measures_nothing(whole):
    before = samples(whole)
    assert main(command(whole, "--resume")) == 0
    assert samples(whole) == before


def test_another_plan_is_not_mixed_in(whole, capsys):
    assert main([*command(whole, "--resume"), "--seed", "9"]) == 2
    assert "--force" in capsys.readouterr().err


def test_marking_again_needs_the_folder_alone_and_gives_the_same(whole, tmp_path):
    out = tmp_path / "moved"
    shutil.copytree(whole, out)
    for path in out.glob("samples/*/*.jsonl"):  # as --predict-only leaves them
        bare = [msgspec.structs.replace(s, answers=[], scores={}) for s in read_samples(path)]
        path.write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in bare))
    (out / "results.json").unlink()
    assert main(["score", str(out)]) == 0
    assert samples(out) == samples(whole)
    assert comparable(out) == comparable(whole)


def changed(whole, out, **facts):
    """A copy of a run in which one of our engine's samples says otherwise."""
    shutil.copytree(whole, out)
    path = out / "samples" / "nano_vqa" / "mmspec.r0.jsonl"
    first, *rest = read_samples(path)
    rows = [msgspec.structs.replace(first, **facts), *rest]
    path.write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in rows))
    return out


def test_the_status_says_how_it_went(whole, tmp_path):
    failed = changed(whole, tmp_path / "failed", error="OSError: net", error_kind="failed")
    cannot = changed(whole, tmp_path / "cannot", error="no pictures", error_kind="unsupported")
    assert main(["score", str(whole), "--require-lossless"]) == 0
    assert main(["score", str(failed)]) == 3
    assert main(["score", str(cannot)]) == 0


def test_a_method_that_accepts_one_wrong_token_fails_the_gate(tmp_path, monkeypatch):
    honest = EngineMethod.generate

    def careless(self, case):
        trace = honest(self, case)
        if self.name != "mmspec":
            return trace
        ids = [*trace.ids]
        ids[3] += 1
        return msgspec.structs.replace(trace, ids=ids)

    monkeypatch.setattr(EngineMethod, "generate", careless)
    out = tmp_path / "careless"
    few = ["--tasks", "nano_docqa/fact", "--methods", "mmspec,vanilla", "--limit", "1"]
    assert main([*command(out), *few, "--require-lossless"]) == 4
    kinds = {(s.method, s.audit.kind) for s in samples(out) if s.audit}
    assert kinds == {("mmspec", "violation"), ("vanilla.last", "exact")}


def test_stopping_by_hand_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    def stop(settings, flow):
        raise KeyboardInterrupt

    monkeypatch.setattr("mmspec_evals.running.launch.measure", stop)
    assert main(command(tmp_path / "x")) == 130
    assert "--resume" in capsys.readouterr().err


def test_a_dry_run_tells_and_writes_nothing(tmp_path, capsys):
    assert main([*command(tmp_path / "dry"), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "nano_docqa/fact: 2 documents" in said
    assert f"cells: {CELLS}" in said
    assert not (tmp_path / "dry").exists()


def test_looking_things_up_loads_no_torch():
    code = (
        "import sys; from mmspec_evals.cli import main\n"
        "for what in ('tasks', 'methods', 'groups'): main(['ls', what])\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT
    )
    assert "nano_docqa/fact\ttext" in done.stdout
    assert "hf_greedy\t" in done.stdout


def comparable(out):
    """Results without seconds, dates and what depends on them."""
    result = json.loads((out / "results.json").read_text())
    kept = ("quality", "lossless", "counts", "n", "settings")
    return {
        "methods": {
            task: {
                method: {name: cell[name] for name in kept}
                | {"tokens": cell["documents"]["tokens"]}
                | {"spec": {k: v for k, v in cell["spec"].items() if "draft_share" not in k}}
                for method, cell in methods.items()
            }
            for task, methods in result["methods"].items()
        },
        "comparisons": result["comparisons"],
        "results": {
            task: {k: v for k, v in row.items() if "," in k and "speed" not in k}
            for task, row in result["results"].items()
        },
        "data": result["data"],
        "n-samples": result["n-samples"],
    }
