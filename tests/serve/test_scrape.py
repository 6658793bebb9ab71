"""Stock tools read our speculation: ``/metrics`` as they parse it, a real engine behind it."""

from __future__ import annotations

import httpx
import pytest
from serve.quoting import COUNT, TEXT, quoting_server

BODY = {"model": "fake/model", "prompt": TEXT, "max_tokens": COUNT, "temperature": 0}


@pytest.fixture(scope="module")
def served():
    with quoting_server() as server, httpx.Client(base_url=server.url, timeout=30) as http:
        yield server, http


def scraped(http):
    """The counters ``vllm bench serve`` looks for, found as it finds them: line by line."""
    totals, at = {}, {}
    for line in http.get("/metrics").text.split("\n"):
        name = line.split(None, 1)[0].split("{")[0] if line.strip() else ""
        if not (name.startswith("vllm:spec_decode") and name.endswith("_total")):
            continue
        value = int(float(line.split(None, 1)[-1]))
        if "per_pos" in name:
            at[int(line.split('position="')[1].split('"')[0])] = value
        else:
            stem = name.removeprefix("vllm:spec_decode_num_").removesuffix("_total")
            totals[stem] = totals.get(stem, 0) + value
    return totals, at


def ask(http, **change):
    answer = http.post("/v1/completions", json=BODY | change)
    answer.raise_for_status()
    return answer.json()


def test_scraped_numbers_are_those_of_the_report(served):
    server, http = served
    before, at_before = scraped(http)
    report = ask(http, speculation={"report": True})["mmspec"]["speculation"]
    after, at = scraped(http)
    drafts, tokens, kept = (
        after[name] - before[name] for name in ("drafts", "draft_tokens", "accepted_tokens")
    )
    log = report["log"]
    assert drafts == sum(count > 0 for count in log["proposed"]) < report["rounds"]
    assert (tokens, kept) == (report["drafted"], report["accepted"])
    # The chain knows three tokens and adds a lie: a full round keeps three of four.
    depths = {k: sum(count > k for count in log["accepted"]) for k in range(3)}
    assert {k: at[k] - at_before.get(k, 0) for k in at} == depths
    assert kept == sum(depths.values()) > 0
    # vLLM's acceptance length counts rounds with a draft, tau all of them.
    mean = sum(n + 1 for n, p in zip(log["accepted"], log["proposed"], strict=True) if p) / drafts
    assert 1 + kept / drafts == pytest.approx(mean)
    assert report["tau"] == pytest.approx(1 + kept / report["rounds"])
    stats = server.engine.stats
    assert (stats.drafts, stats.drafted, stats.accepted) == tuple(after.values())


def test_without_speculation_no_draft_is_counted(served):
    _, http = served
    before = scraped(http)
    ask(http, speculation={"enabled": False})
    assert scraped(http) == before


def test_sglang_reads_tokens_a_pass(served):
    server, http = served
    ask(http)
    stats = server.engine.stats
    for path in ("/get_server_info", "/server_info"):
        told = http.get(path).json()["internal_states"][0]["avg_spec_accept_length"]
        assert told == pytest.approx(stats.output_tokens / stats.passes)
        assert told > 1


def test_both_prefixes_say_the_same(served):
    _, http = served
    ask(http)
    samples = {}
    for line in http.get("/metrics").text.split("\n"):
        if line and not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            samples[name] = float(value)
    labels = 'engine="0",model_name="fake/model"'
    stems = (
        "num_requests_running", "num_requests_waiting", "prompt_tokens_total",
        "generation_tokens_total", "prefix_cache_hits_total", "kv_cache_usage_perc",
        "time_to_first_token_seconds_count", "e2e_request_latency_seconds_sum",
    )  # fmt: skip
    for stem in stems:
        assert samples[f"vllm:{stem}{{{labels}}}"] == samples[f"mmspec_{stem}"]
    ended = 'engine="0",finished_reason="length",model_name="fake/model"'
    assert samples[f"vllm:request_success_total{{{ended}}}"] > 0
    assert samples["mmspec_generation_tokens_total"] > 0
    assert samples["mmspec_prefix_cache_queries_total"] > 0


def test_every_family_is_told_once(served):
    _, http = served
    heads = [line for line in http.get("/metrics").text.split("\n") if line.startswith("# TYPE")]
    assert len(heads) == len(set(heads))


def test_prompt_scores_of_a_real_engine(served):
    """Echo gives the prompt's numbers; generation gave the same text the same ones."""
    _, http = served
    said = ask(http, logprobs=1)["choices"][0]
    whole = [*TEXT.encode(), *ask(http, return_token_ids=True)["choices"][0]["token_ids"]]
    echoed = ask(http, prompt=[whole], echo=True, logprobs=1, max_tokens=1)["choices"][0]
    assert len(echoed["logprobs"]["token_logprobs"]) == len(whole) + 1
    assert echoed["logprobs"]["token_logprobs"][len(TEXT) : -1] == pytest.approx(
        said["logprobs"]["token_logprobs"], abs=1e-3
    )
