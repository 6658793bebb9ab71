"""Counts of the audit, and what fails the gate."""

from __future__ import annotations

import pytest
from evals.results.fabricate import grouped, sample
from mmspec_evals.results import lossless
from mmspec_evals.trace import Audit


def of(*audits, claimed=True):
    made = [sample("m", f"d{n}", audit=audit) for n, audit in enumerate(audits)]
    return lossless.block(grouped(*made)["m"], claimed)


def test_counts():
    found = of(
        "exact",
        "exact",
        Audit(kind="near_tie", at=40, gap=0.01, bound=0.05),
        Audit(kind="violation", at=7, gap=2.5, bound=0.05),
        "approximate",
        None,
    )
    wanted = {"exact": 2, "near_tie": 1, "violation": 1, "approximate": 1, "not_compared": 1}
    assert {name: found[name] for name in wanted} == wanted
    assert found["documents"] == sum(wanted.values())
    assert found["first_divergence"] == 7
    assert found["worst_gap"] == 2.5
    assert found["violations"] == [{"doc": "d3", "at": 7, "gap": 2.5, "bound": 0.05}]


def test_a_document_counts_once_with_its_worst_repeat():
    repeats = [sample("m", repeat=k, audit=a) for k, a in enumerate(("exact", "violation"))]
    found = lossless.block(grouped(*repeats)["m"], True)
    assert (found["exact"], found["violation"], found["documents"]) == (0, 1, 1)


def test_an_answer_stopped_at_the_gate_still_counts():
    stopped = sample("m", audit="violation", error="another text", error_kind="gate")
    failed = sample("m", "d1", traces=[], error="out of memory", error_kind="oom")
    found = lossless.block(grouped(stopped, failed)["m"], True)
    assert (found["violation"], found["documents"]) == (1, 1)


def test_a_kind_nobody_knows_is_a_violation():
    assert of("fine, trust me")["violation"] == 1


@pytest.mark.parametrize(
    ("audits", "claimed", "minimum", "says"),
    [
        (["exact", "near_tie"], True, 0, None),
        (["exact", "violation"], True, 0, "1 of 2"),
        (["exact", "violation"], False, 0, "1 of 2"),
        ([None, None], True, 0, "no document was audited"),
        ([None, None], False, 0, None),
        (["approximate"], False, 0, None),
        (["exact"] * 3, True, 4, "only 3"),
        (["exact"] * 4, True, 4, None),
        ([None], False, 4, None),
    ],
)
def test_gate(audits, claimed, minimum, says):
    reason = lossless.verdict(of(*audits, claimed=claimed), minimum)
    assert (reason is None) == (says is None)
    assert says is None or says in reason
