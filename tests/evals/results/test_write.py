"""From a run's folder to a result that fits its schema."""

from __future__ import annotations

import copy
import json
import os

import jsonschema
import msgspec
import pytest
from evals.results.fabricate import sample, trace
from mmspec_evals.errors import DataError
from mmspec_evals.results import write

from evals.results import folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return folder.rich(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def result(run):
    return write.write_results(run)


def test_schema_itself_is_sound():
    jsonschema.Draft202012Validator.check_schema(write.schema())


def test_what_is_written_is_what_is_returned_and_is_valid(run, result):
    text = (run / "results.json").read_text(encoding="utf-8")
    assert json.loads(text) == result
    assert "NaN" not in text
    write.check(json.loads(text))
    assert not list(run.glob("*.part"))


def test_names_that_others_read(result):
    cell = result["methods"]["custom"]["mmspec"]
    for name in ("speedup_decode", "speedup_e2e", "decode_tps", "ttft_ms"):
        assert isinstance(cell["speed"][name], float)
        low, high = cell["speed"][f"{name}_ci95"]
        assert low <= cell["speed"][name] <= high
    for name in ("tau", "accepted_per_round", "draft_share"):
        assert isinstance(cell["spec"][name], float)
    assert cell["spec"]["accept_at"][0] >= cell["spec"]["accept_at"][-1]
    assert cell["lossless"] | {"exact": 24, "near_tie": 0, "violation": 0} == cell["lossless"]
    assert 0 < cell["quality"]["acc"] < 1
    assert cell["n"] == 24
    assert list(result["methods"]["custom"]) == ["vanilla", "mmspec", "pld", "hf_assisted"]


def test_cells_that_cannot_say_why(result):
    cell = result["methods"]["custom"]["hf_assisted"]
    assert cell["unsupported"] == "vocabularies differ"
    assert cell["n"] == 0
    assert "speed" not in cell


def test_shape_that_lm_eval_readers_know(result):
    ours = result["results"]["custom"]
    quality = result["methods"]["custom"]["mmspec"]["quality"]
    assert result["results_method"] == "mmspec"
    assert ours["acc,none"] == quality["acc"]
    assert ours["acc_stderr,none"] == quality["acc_stderr"]
    assert ours["alias"] == "custom"
    assert ours["sample_len"] == 24
    assert result["n-samples"]["custom"] == {"original": 20, "effective": 24}
    assert result["n-shot"]["custom"] == 0
    assert result["versions"]["custom"] == 1
    assert result["higher_is_better"]["custom"] == {"acc": True, "f1": True}
    assert result["git_hash"] == "a" * 40
    assert result["transformers_version"] == "5.23.0"
    assert result["group_subtasks"] == {"infinitebench_synth": ["infinitebench_synth/passkey"]}
    assert result["total_evaluation_time_seconds"] > 0
    assert result["config"]["model_args"]["pretrained"] == "nano"


def test_comparisons_are_against_plain_decoding(result):
    rows = {(r["task"], r["metric"], r["a"]): r for r in result["comparisons"]}
    assert set(rows) == {
        (task, metric, method)
        for task in result["methods"]
        for metric in ("acc", "f1")
        for method in ("mmspec", "pld")
    }
    row = rows["custom", "acc", "mmspec"]
    cells = result["methods"]["custom"]
    gap = cells["mmspec"]["quality"]["acc"] - cells["vanilla"]["quality"]["acc"]
    assert row["diff"] == pytest.approx(gap)
    assert row["p_holm"] >= row["p"]


def test_documents_are_told_one_by_one(result):
    cell = result["methods"]["custom"]["mmspec"]
    rows = cell["documents"]
    assert len({len(column) for column in rows.values()}) == 1
    assert sum(rows["base_s"]) / sum(rows["s"]) == pytest.approx(
        cell["speed"]["speedup_e2e"], rel=1e-4
    )
    assert sum(rows["tokens"]) / sum(rows["passes"]) == pytest.approx(cell["spec"]["tau"])
    scores = rows["score:acc"]
    assert sum(scores) / len(scores) == pytest.approx(cell["quality"]["acc"])


def test_flags(result):
    codes = {(row["code"], row["task"]) for row in result["flags"]}
    assert ("cpu", None) in codes
    assert ("synthetic", "custom") in codes
    assert "few_documents" not in {code for code, _ in codes}


OURS = "methods custom mmspec "


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("methods", None),
        (OURS + "speed speedup_decode", "fast"),
        (OURS + "speed speedup_decode_ci95", [1.0]),
        (OURS + "speed speedup", 1.0),
        (OURS + "lossless", None),
        (OURS + "lossless violation", -1),
        (OURS + "spec tau_ci95", 2.0),
        (OURS + "spec accept_at", [1.5]),
        ("methods custom hf_assisted unsupported", ""),
        ("methods custom hf_assisted n", 5),
        ("data custom kind", "real"),
        ("results custom acc,none", "97 %"),
        ("task_hashes", {"custom": 5}),
        ("flags", ["synthetic"]),
    ],
)
def test_schema_notices(result, place, value):
    damaged = copy.deepcopy(result)
    *parents, last = place.split()
    holder = damaged
    for parent in parents:
        holder = holder[parent]
    holder[last] = value
    with pytest.raises(DataError, match="not a valid result"):
        write.check(damaged)
    del holder[last]
    if last not in {"speedup", "acc,none"}:  # fields that need not be there
        with pytest.raises(DataError, match="not a valid result"):
            write.check(damaged)


def test_what_does_not_fit_is_not_written(run, tmp_path, monkeypatch):
    root = folder.rich(tmp_path / "r", documents=3)
    monkeypatch.setattr(write, "assemble", lambda root: {"methods": {"x": float("nan")}})
    with pytest.raises(DataError):
        write.write_results(root)
    assert not (root / "results.json").exists()


def planned_for(samples):
    task = folder.task("custom", folder.refs(samples))
    return folder.plan([task], folder.arms("vanilla", "mmspec"))


def test_half_a_run_is_a_result_too(tmp_path):
    made = [sample(m, "d0", scores={"acc": 1.0}) for m in ("vanilla", "mmspec")]
    docs = [*folder.refs(made), *folder.refs([sample(doc="d1")])]
    planned = folder.plan([folder.task("custom", docs)], folder.arms("vanilla", "mmspec"))
    found = write.write_results(folder.write(tmp_path, planned, made))
    cell = found["methods"]["custom"]["mmspec"]
    assert cell["counts"]["missing"] == 1
    assert cell["speed"]["speedup_decode"] == 1.0
    assert cell["speed"]["speedup_decode_ci95"] is None
    codes = {row["code"] for row in found["flags"]}
    assert {"incomplete", "few_documents", "cpu"} <= codes


def test_a_run_without_any_sample_is_an_empty_result(tmp_path):
    planned = folder.plan([folder.task("custom", [])], folder.arms("mmspec"))
    found = write.write_results(folder.write(tmp_path, planned, []))
    assert found["methods"] == {"custom": {}}
    assert "no_base" in {row["code"] for row in found["flags"]}


def test_methods_without_plain_decoding_have_no_speedup(tmp_path):
    made = [sample("mmspec", f"d{n}", scores={"acc": 1.0}) for n in range(3)]
    planned = folder.plan([folder.task("custom", folder.refs(made))], folder.arms("mmspec"))
    found = write.write_results(folder.write(tmp_path, planned, made))
    cell = found["methods"]["custom"]["mmspec"]
    assert "speedup_e2e" not in cell["speed"]
    assert cell["speed"]["decode_tps"] == pytest.approx(100.0)
    assert found["comparisons"] == []


def test_errors_only_still_make_a_valid_result(tmp_path):
    why = {"error": "out of memory", "error_kind": "oom", "traces": []}
    made = [sample("vanilla", scores={"acc": 1.0}), sample("mmspec", **why)]
    planned = folder.plan(
        [folder.task("custom", folder.refs(made))], folder.arms("vanilla", "mmspec")
    )
    found = write.write_results(folder.write(tmp_path, planned, made))
    cell = found["methods"]["custom"]["mmspec"]
    assert cell["quality"]["acc"] == 0.0
    assert cell["counts"]["out_of_memory"] == 1
    assert cell["spec"]["tau"] is None
    assert cell["speed"]["n"] == 0


def test_resumed_and_mixed_runs_say_so(tmp_path):
    made = [
        sample("vanilla", traces=[trace(decode=1.0)], session="s1"),
        sample("vanilla", traces=[trace(decode=4.0)], session="s2"),
        sample("mmspec", traces=[trace(decode=2.0)], session="s2"),
    ]
    planned = folder.plan(
        [folder.task("custom", folder.refs(made))], folder.arms("vanilla", "mmspec")
    )
    root = folder.write(tmp_path, planned, made, mixed=["torch: 2.12 -> 2.13"])
    found = write.write_results(root)
    assert found["methods"]["custom"]["mmspec"]["speed"]["speedup_decode"] == pytest.approx(2.0)
    assert "torch: 2.12 -> 2.13" in next(r["text"] for r in found["flags"] if r["code"] == "mixed")


def test_load_reads_a_file_alone_and_makes_stale_ones_anew(tmp_path):
    root = folder.rich(tmp_path / "r", documents=3)
    assert not (root / "results.json").exists()
    fresh = write.load(root)
    assert not (root / "results.json").exists()
    write.write_results(root)
    alone = tmp_path / "alone.json"
    (root / "results.json").rename(alone)
    assert write.load(alone) == fresh
    write.write_results(root)
    extra = sample("mmspec", "d0", task="custom", error="late", error_kind="failed")
    path = root / "samples" / "custom" / "mmspec.r0.jsonl"
    path.write_bytes(path.read_bytes() + msgspec.json.encode(extra) + b"\n")
    later = (root / "results.json").stat().st_mtime_ns + 10**9
    os.utime(path, ns=(later, later))
    assert write.load(root)["methods"]["custom"]["mmspec"]["counts"]["errors"] == 1


@pytest.mark.parametrize("content", [None, "{", '{"schema": 1}'])
def test_load_refuses_what_is_no_result(tmp_path, content):
    path = tmp_path / "results.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError):
        write.load(path)


def test_pretty_is_json_with_a_line_a_field():
    value = {"a": [1, 2.5, None], "b": [{"c": []}, {}], "d": {"e": "\n\u00e9"}, "f": {}}
    text = write.pretty(value)
    assert json.loads(text) == value
    assert ' "a": [1, 2.5, null],' in text.split("\n")
