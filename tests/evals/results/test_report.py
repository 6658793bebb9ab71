"""Reports, plots, tables, the README and the commands that write them."""

from __future__ import annotations

import argparse
import csv
import json

import msgspec
import pytest
from evals.results.fabricate import sample
from mmspec_evals.cli import compare as compare_command
from mmspec_evals.cli import report as report_command
from mmspec_evals.cli import verify as verify_command
from mmspec_evals.errors import DataError, PlanError
from mmspec_evals.results import markdown, readme, series, write
from mmspec_evals.results.compare import compare
from mmspec_evals.trace import Audit

from evals.results import folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = folder.rich(tmp_path_factory.mktemp("runs") / "one")
    write.write_results(root)
    return root


@pytest.fixture(scope="module")
def result(run):
    return write.load(run)


def command(module, *words):
    parser = argparse.ArgumentParser()
    module.options(parser)
    return module.run(parser.parse_args([str(word) for word in words]))


def rows_of(text, heading):
    """Cells of the first table under a heading."""
    lines = text.split(f"## {heading}\n")[1].split("\n## ")[0].split("\n")
    held = [line for line in lines if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in held]


def test_headline_table(result):
    head, _, *rows = rows_of(markdown.report(result), "Quality and speed")
    cells = {(row[0], row[1]): dict(zip(head, row, strict=True)) for row in rows}
    speed = result["methods"]["custom"]["mmspec"]["speed"]
    ours = cells["custom", "mmspec"]
    assert ours["decoding"].startswith(f"{speed['speedup_decode']:.2f}x (")
    assert ours["verdict"] == "faster"
    assert ours["text"] == "24 exact"
    assert ours["score"].startswith("acc 66.7 % (")
    assert cells["custom", "vanilla"]["decoding"] == ""
    assert cells["custom", "vanilla"]["tau"] == "1.00"
    assert cells["custom", "hf_assisted"]["score"] == "cannot: vocabularies differ"


def test_every_table_is_even(result):
    for part in markdown.report(result).split("\n\n"):
        lines = [line for line in part.strip().split("\n") if line.startswith("|")]
        assert len({line.replace("\\|", "").count("|") for line in lines}) <= 1


def test_reasons_and_definitions_are_told(result):
    text = markdown.report(result)
    for row in result["flags"]:
        assert row["text"] in text
    for name, words in result["definitions"].items():
        assert f"**{name}**: {words}" in text
    assert "measured on a CPU" in text


def test_few_documents_get_no_word(tmp_path):
    root = folder.rich(tmp_path, documents=5)
    text = markdown.report(write.load(root))
    assert "faster" not in text
    assert "only 5 documents" in text


def test_short_answers_get_no_acceptance_table(tmp_path):
    made = [sample(m, f"d{n}", scores={"acc": 1.0}) for m in ("vanilla", "mmspec") for n in (1, 2)]
    short = [msgspec.structs.replace(one, traces=[]) for one in made]
    planned = folder.plan([folder.task("custom", folder.refs(made))], folder.arms("vanilla"))
    text = markdown.report(write.load(folder.write(tmp_path, planned, short)))
    assert "No task has answers long enough" in text


def test_csv_says_what_the_result_says(result):
    rows = list(csv.DictReader(series.as_csv(series.speedup(result)).split("\n")))
    assert {row["method"] for row in rows} == {"mmspec", "pld"}
    for row in rows:
        speed = result["methods"][row["task"]][row["method"]]["speed"]
        assert float(row["value"]) == speed[f"speedup_{row['kind']}"]
        assert [float(row["low"]), float(row["high"])] == speed[f"speedup_{row['kind']}_ci95"]
    shares = [row["share"] for row in series.histogram(result) if row["method"] == "mmspec"]
    assert sum(shares) == pytest.approx(2.0)  # two tasks
    assert len(series.paired(result)) == 2 * 2 * 24
    assert [row["k"] for row in series.acceptance(result)][:4] == [1, 2, 3, 4]
    assert series.as_csv([]) == "\n"


def test_report_writes_everything(run, tmp_path, capsys):
    assert command(report_command, run, "--format", "md,json,csv,png", "--out", tmp_path) == 0
    told = capsys.readouterr().out.split()
    assert {path.name for path in tmp_path.iterdir()} == {"plots", "report.md", "results.json"}
    names = {path.stem for path in (tmp_path / "plots").glob("*.png")}
    assert names == set(series.every()) == {p.stem for p in (tmp_path / "plots").glob("*.csv")}
    for path in (tmp_path / "plots").glob("*.png"):
        data = path.read_bytes()
        assert data.startswith(b"\x89PNG")
        assert int.from_bytes(data[16:20], "big") > 600  # pixels across
        assert f"(plots/{path.name})" in (tmp_path / "report.md").read_text(encoding="utf-8")
    assert len(told) == 2 + 2 * len(names)


def test_plots_of_nothing_are_not_drawn(tmp_path):
    planned = folder.plan([folder.task("custom", [])], folder.arms("mmspec"))
    root = folder.write(tmp_path, planned, [])
    assert command(report_command, root) == 0
    assert not list((root / "plots").glob("*.png"))
    assert "Nothing was measured" in (root / "report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("words", [["--format", "pdf"], ["--format", ","], ["x", "y"]])
def test_report_refuses(run, words):
    with pytest.raises((PlanError, DataError)):
        command(report_command, run, *words)


def test_readme_is_written_between_its_marks(run, tmp_path, capsys):
    alone = tmp_path / "evals" / "results" / "nano" / "results.json"
    alone.parent.mkdir(parents=True)
    alone.write_bytes((run / "results.json").read_bytes())
    page = tmp_path / "README.md"
    other = "<!-- benchmark -->\nold\n<!-- /benchmark -->\n"
    page.write_text(f"# a\n{other}{readme.BEGIN}\nold\n{readme.END}\nend\n", encoding="utf-8")
    assert command(report_command, alone, "--readme", page) == 0
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"# a\n{other}{readme.BEGIN}\n| task |")
    assert text.endswith(f"{readme.END}\nend\n")
    assert "`evals/results/nano/results.json`, 2026-11-21, commit aaaaaaa" in text
    assert [p.name for p in alone.parent.iterdir()] == ["results.json"]  # nothing else is written
    before = text
    assert command(report_command, alone, "--readme", page) == 0
    assert page.read_text(encoding="utf-8") == before
    assert capsys.readouterr().out.split() == [str(page)] * 2


def test_readme_without_marks_is_refused(run, tmp_path):
    page = tmp_path / "README.md"
    page.write_text("# a\n", encoding="utf-8")
    with pytest.raises(DataError, match="<!-- evals -->"):
        command(report_command, run, "--readme", page)


def test_a_run_against_itself_has_no_change(run, result):
    found = compare(result, result)
    assert found["differs"] == []
    assert {row["what"] for row in found["rows"]} == {
        "speedup_decode", "speedup_e2e", "tau", "acc", "f1",
    }  # fmt: skip
    for row in found["rows"]:
        same = 1.0 if row["ratio"] else 0.0
        assert [row["change"], *row["ci95"]] == pytest.approx([same] * 3)
        assert row["paired"]
        assert row["n"] == 24


def test_compare_finds_what_was_gained(tmp_path, result, capsys):
    faster = folder.rich(tmp_path / "fast", gain=3.0, fingerprint="other")
    found = compare(result, write.load(faster))
    assert "weights" in {row["what"] for row in found["differs"]}
    rows = {(r["task"], r["method"], r["what"]): r for r in found["rows"]}
    ours = rows["custom", "mmspec", "speedup_decode"]
    low, high = ours["ci95"]
    assert low <= 1.5 <= high
    assert low > 1.2
    theirs = rows["custom", "pld", "speedup_decode"]
    assert theirs["change"] == pytest.approx(1.0, abs=0.1)
    command(compare_command, tmp_path / "fast", tmp_path / "fast", "--format", "md,json")
    text = capsys.readouterr().out
    assert "They are alike." in text
    assert json.loads(text[text.index("\n{") :])["rows"]


def test_compare_pairs_by_content_and_says_when_it_cannot(result):
    moved = json.loads(json.dumps(result))
    rows = moved["methods"]["custom"]["mmspec"]["documents"]
    rows["sha"] = [sha[::-1] for sha in rows["sha"]]
    del moved["methods"]["custom"]["pld"]
    found = compare(result, moved)
    lost = [r for r in found["rows"] if (r["task"], r["method"]) == ("custom", "mmspec")]
    assert lost
    assert not any(row["paired"] for row in lost)
    assert all(row["ci95"] is None for row in lost)
    assert found["only_in_first"] == [["custom", "pld"]]


def test_both_runs_in_one_report(run, tmp_path, capsys):
    other = folder.rich(tmp_path / "other", documents=3)
    out = tmp_path / "out"
    assert command(report_command, run, other, "--format", "md", "--out", out) == 0
    assert (out / "0" / "report.md").is_file()
    assert (out / "1" / "report.md").is_file()
    text = (out / "compare.md").read_text(encoding="utf-8")
    assert text.startswith("# other against one")
    assert "documents" in text
    capsys.readouterr()


@pytest.mark.parametrize(
    ("audit", "words", "status"),
    [
        ("exact", [], 0),
        ("near_tie", [], 0),
        ("violation", [], 4),
        (None, [], 4),
        ("exact", ["--min-documents", "24"], 0),
        ("exact", ["--min-documents", "25"], 4),
    ],
)
def test_gate(tmp_path, capsys, audit, words, status):
    made = folder.noisy({"mmspec": 1.0}, 24)
    held = [
        msgspec.structs.replace(s, audit=Audit(kind=audit)) if audit and s.method == "mmspec" else s
        for s in made
    ]
    planned = folder.plan(
        [folder.task("custom", folder.refs(made))], folder.arms("vanilla", "mmspec")
    )
    root = folder.write(tmp_path, planned, held)
    assert command(verify_command, root, *words) == status
    told = capsys.readouterr().out
    assert "mmspec" in told
    assert ("passes" in told.split("\n")[-2]) == (status == 0)


def test_gate_lets_pass_what_claims_nothing(tmp_path, capsys):
    made = folder.noisy({"rapid": 1.0}, 3)
    planned = folder.plan(
        [folder.task("custom", folder.refs(made))], folder.arms("vanilla", "rapid", lossless=False)
    )
    assert command(verify_command, folder.write(tmp_path, planned, made)) == 0
    capsys.readouterr()


def test_gate_sees_one_violation_among_many(tmp_path, capsys):
    root = folder.rich(tmp_path, audit="exact")
    bad = sample("mmspec", "d7", task="custom", audit=Audit(kind="violation", at=9, gap=3.25))
    path = root / "samples" / "custom" / "mmspec.r0.jsonl"
    path.write_bytes(path.read_bytes() + msgspec.json.encode(bad) + b"\n")
    assert command(verify_command, root) == 4
    told = capsys.readouterr().out
    assert "1 of 24 documents differ" in told
    assert "3.250" in told
