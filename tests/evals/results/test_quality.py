"""Marks, their errors, and paired differences."""

from __future__ import annotations

import math

import pytest
from evals.results.fabricate import grouped, sample
from mmspec_evals.doc import Doc
from mmspec_evals.results import quality


def marked(values, method="m", clusters=None):
    sources = clusters or [f"d{n}" for n in range(len(values))]
    made = [
        sample(method, f"d{n}", scores={"acc": value}, cluster=sources[n])
        for n, value in enumerate(values)
    ]
    arm = grouped(*made)[method]
    return quality.marks(arm, quality.expected({method: arm}), ["acc"])


def test_mean_error_and_interval():
    found = quality.block(marked([1, 0, 1, 1]))
    assert found["acc"] == 0.75
    assert found["acc_stderr"] == pytest.approx(math.sqrt(0.75 / 3 / 4))
    low, high = found["acc_ci95"]
    assert 0.0 <= low < 0.75 < high <= 1.0
    assert found["acc_n"] == 4


def test_clusters_are_counted():
    alone = quality.block(marked([1, 1, 0, 0]))
    shared = quality.block(marked([1, 1, 0, 0], clusters=list("aabb")))
    assert shared["acc_stderr"] > alone["acc_stderr"]


def test_failures_count_as_zero_and_inapplicable_metrics_not_at_all():
    arms = grouped(
        sample("m", "d0", scores={"acc": 1.0}),
        sample("m", "d1", scores={"acc": 1.0, "f1": 0.5}),
        sample("m", "d2", error="out of memory", error_kind="oom"),
        sample("vanilla", "d2", scores={"acc": 1.0}),
    )
    found = quality.block(quality.marks(arms["m"], quality.expected(arms), ["acc", "f1"]))
    assert found["acc"] == pytest.approx(2 / 3)
    assert found["f1"] == 0.5
    assert found["f1_n"] == 1
    tally = quality.counts(arms["m"])
    assert (tally["errors"], tally["out_of_memory"], tally["documents"]) == (1, 1, 3)


def test_repeats_are_averaged_and_successes_supersede_failures():
    arm = grouped(
        sample("m", repeat=0, scores={"acc": 1.0}),
        sample("m", repeat=1, error="killed", error_kind="failed", session="s1"),
        sample("m", repeat=1, scores={"acc": 0.0}, session="s2"),
    )["m"]
    found = quality.block(quality.marks(arm, quality.expected({"m": arm}), ["acc"]))
    assert found["acc"] == 0.5
    assert quality.counts(arm)["errors"] == 0


def test_unsupported_cells_say_why():
    arm = grouped(sample("m", error="vocabularies differ", error_kind="unsupported", traces=[]))[
        "m"
    ]
    assert quality.reason(arm) == "vocabularies differ"
    assert quality.marks(arm, {}, ["acc"]) == []
    assert quality.block([]) == {}
    mixed = grouped(
        sample("m", "d0", error="no pictures", error_kind="unsupported"),
        sample("m", "d1", scores={"acc": 1.0}),
    )["m"]
    assert quality.reason(mixed) is None
    assert len(quality.marks(mixed, {}, ["acc"])) == 1


def test_aggregates_get_intervals_from_resampled_sources():
    found = marked([1, 0, 1, 0], clusters=list("aabb"))
    docs = {f"d{n}": Doc(f"d{n}", (), None, "a", fields={"worth": n}) for n in range(4)}

    def weighted(rows):
        worth = sum(row.doc.fields["worth"] for row in rows)
        return {"total": sum(r.scores["acc"] * r.doc.fields["worth"] for r in rows) / worth}

    told = quality.block(found, docs, weighted)
    assert told["total"] == pytest.approx(2 / 6)
    # sources: a weighs 0 of 1, b weighs 2 of 5
    assert told["total_ci95"] == pytest.approx([0.0, 0.4])
    assert told["acc"] == 0.5


def test_difference_is_paired_and_signed():
    ours, theirs = marked([1, 1, 1, 1, 1, 1, 0]), marked([0, 0, 0, 0, 0, 0, 0], "vanilla")
    found = quality.difference("custom", "acc", ("m", ours), ("vanilla", theirs))
    assert found["diff"] == pytest.approx(6 / 7)
    assert found["ci95"][0] > 0.5
    assert found["p"] == pytest.approx(2 / 64)
    assert (found["n"], found["test"]) == (7, "mcnemar")
    graded = quality.difference("custom", "acc", ("m", marked([0.5, 1])), ("v", marked([0.25, 1])))
    assert graded["test"] == "sign"
    assert quality.difference("custom", "f1", ("m", ours), ("vanilla", theirs)) is None


def test_holm_within_each_pair_of_methods():
    rows = [
        {"a": "m", "b": "vanilla", "task": t, "metric": "acc", "p": p}
        for t, p in (("x", 0.01), ("y", 0.04), ("z", None))
    ] + [{"a": "k", "b": "vanilla", "task": "x", "metric": "acc", "p": 0.04}]
    found = {(row["a"], row["task"]): row["p_holm"] for row in quality.corrected(rows)}
    assert found == {
        ("m", "x"): pytest.approx(0.02),
        ("m", "y"): pytest.approx(0.04),
        ("m", "z"): None,
        ("k", "x"): pytest.approx(0.04),
    }
