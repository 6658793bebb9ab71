"""The command, end to end over HTTP: our server, a real engine, the numbers it reports itself."""

from __future__ import annotations

import json
import logging
import math

import pytest
from evals.serving.stub import stubbed
from mmspec_evals.serving.bench import main
from serve.quoting import COUNT, TEXT, quoting_server

from mmspec.__main__ import main as mmspec


@pytest.fixture(scope="module")
def server():
    with quoting_server() as server:
        yield server


@pytest.fixture(autouse=True)
def _logging():
    """The command sets logging up; the tests' own stays as it was."""
    before = logging.root.handlers[:], logging.root.level
    yield
    logging.root.handlers[:], level = before
    logging.root.setLevel(level)


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"prompt": TEXT, "output_tokens": COUNT}) + "\n")
    return path


def asked(server, rows, *flags):
    where = ["--base-url", f"{server.url}/v1", "--workload", f"custom:{rows}"]
    return [*where, "--endpoint", "completions", "--num-prompts", "4", *flags]


def test_serve(server, rows, tmp_path, capsys):
    result = tmp_path / "deep" / "result.json"
    stats = server.engine.stats
    drafts, accepted, passes = stats.drafts, stats.accepted, stats.passes
    status = mmspec(["bench", "serve", *asked(
        server, rows, "--max-concurrency", "2", "--goodput", "ttft:60000", "tpot:60000",
        "--percentiles", "50,99.5", "--save-result", str(result), "--warmups", "0",
    )])  # fmt: skip
    assert status == 0
    told = json.loads(result.read_text())
    assert (told["completed"], told["failed"]) == (4, 0)
    assert told["model_id"] == "fake/model"
    assert told["total_output_tokens"] == 4 * COUNT
    assert told["total_input_tokens"] == 4 * len(TEXT)
    assert told["request_goodput"] == pytest.approx(told["request_throughput"])
    assert told["p99.5_tpot_ms"] >= told["p50_tpot_ms"] > 0
    assert len(told["ttfts"]) == len(told["itls"]) == 4
    assert len(set(told["generated_texts"])) == 1
    # The engine's own acceptance length, got by scraping.
    stats = server.engine.stats
    drafts, accepted = stats.drafts - drafts, stats.accepted - accepted
    assert told["spec_decode_num_drafts"] == drafts > 0
    assert told["spec_decode_acceptance_length"] == pytest.approx(1 + accepted / drafts)
    assert told["spec_decode_tau"] == pytest.approx(1 + accepted / (stats.passes - passes))
    shown = capsys.readouterr().out
    for line in ("Serving Benchmark Result", "Output token throughput (tok/s):",
                 "Request goodput (req/s):", "Acceptance length:", "  Position 0:",
                 "P99.5 ITL (ms):"):  # fmt: skip
        assert line in shown
    # Fewer chunks than tokens: several tokens shared one.
    assert all(len(gaps) + 1 < COUNT for gaps in told["itls"])


def test_sweep(server, rows, tmp_path, capsys):
    result = tmp_path / "sweep.json"
    flags = ("--concurrencies", "1,3", "--speculation", "on,off", "--goodput", "e2el:60000")
    assert main(["sweep", *asked(server, rows, *flags, "--save-result", str(result))]) == 0
    told = json.loads(result.read_text())
    cells = {(cell["level"], cell["speculation"]): cell for cell in told["cells"]}
    assert list(cells) == [(1, "on"), (1, "off"), (3, "on"), (3, "off")]
    assert all(cell["completed"] == 4 for cell in cells.values())
    assert "spec_decode_tau" in cells[1, "on"]
    assert "spec_decode_tau" not in cells[3, "off"]
    texts = {text for cell in cells.values() for text in cell["generated_texts"]}
    assert len(texts) == 1  # speculation changes nothing
    shown = capsys.readouterr().out
    assert "| concurrency | speculation |" in shown
    assert "goodput (req/s within the objectives)" in shown
    assert math.isclose(cells[1, "on"]["request_goodput"], cells[1, "on"]["request_throughput"])


def test_open_loop_sweep(server, rows, capsys):
    assert main(["sweep", *asked(server, rows, "--rates", "50,200")]) == 0
    assert "| 200 | default |" in capsys.readouterr().out


def test_failures_have_a_status(rows, tmp_path, capsys):
    with rows.open("a") as sink:
        sink.write(json.dumps({"prompt": "!fail"}) + "\n")
    with stubbed() as (_, url):
        flags = ["--base-url", url, "--workload", f"custom:{rows}", "--num-prompts", "4"]
        # The warm-up row is the one that works: an even place among two.
        assert main(["serve", *flags, "--warmups", "0"]) == 3
    told = capsys.readouterr()
    assert "2 failed: HTTP 503: too busy" in told.err
    assert "Failed requests:                         2" in told.out


@pytest.mark.parametrize(
    "flags",
    [
        ["--workload", "nothing"],
        ["--goodput", "speed:5"],
        ["--request-rate", "0"],
        ["--percentiles", "101"],
        ["--workload", "image", "--endpoint", "completions"],
    ],
)
def test_wrong_usage(flags, capsys):
    with stubbed() as (_, url):
        assert main(["serve", "--base-url", url, "--warmups", "0", *flags]) == 2
    assert capsys.readouterr().err.startswith("mmspec bench: ")


def test_nobody_there(capsys):
    assert main(["serve", "--base-url", "http://127.0.0.1:9/v1"]) == 2
    assert "no models" in capsys.readouterr().err


@pytest.mark.slow
def test_a_server_that_does_not_come_up(tmp_path, capsys):
    assert main(["serve", "--model", str(tmp_path / "no model"), "--num-prompts", "1"]) == 2
    told = capsys.readouterr().err
    assert "did not come up" in told
    assert "no model" in told.split("did not come up")[1]
