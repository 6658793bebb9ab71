"""Acceptance from rounds, by hand."""

from __future__ import annotations

import pytest
from evals.results.fabricate import grouped, noisy, sample, trace
from hypothesis import given, settings
from hypothesis import strategies as st
from mmspec_evals.results import spec
from mmspec_evals.trace import Rounds, Seconds, Trace


def of(*samples):
    return spec.block(grouped(*samples)["m"])


def rounds(proposed, depth, accepted, **rest):
    tokens = sum(accepted) + len(accepted)
    return Trace(
        text="",
        tokens=tokens,
        finish_reason="stop",
        seconds=Seconds(total=1.0, first=0.25, decode=0.75, draft=0.1),
        ids=list(range(tokens)),
        passes=len(accepted),
        rounds=Rounds(proposed=proposed, depth=depth, accepted=accepted),
        **rest,
    )


def test_all_numbers_by_hand():
    # five passes, one of which drafted nothing; 4 + 2 + 1 + 1 + 1 = 9 tokens
    answer = rounds([5, 8, 3, 0, 2], [3, 4, 1, 0, 2], [3, 1, 0, 0, 0])
    found = of(sample("m", traces=[answer]))
    assert found["tau"] == pytest.approx(9 / 5)
    assert found["accepted_per_round"] == pytest.approx(4 / 5)
    assert found["draft_rate"] == pytest.approx(4 / 18)
    # of four drafting rounds: at least one accepted in two, two or three in one, four in none
    assert found["accept_at"] == [2 / 4, 1 / 4, 1 / 4, 0.0]
    # position 1: all four; 2: reached by two (depths 3 and 4); 3: by one; 4: by none so deep
    assert found["alpha"] == [2 / 4, 1 / 2, 1.0, None]
    assert found["histogram"] == [2, 1, 0, 1]
    assert found["draft_share"] == pytest.approx(0.1)
    assert found["spec_decode_acceptance_length"] == pytest.approx(1 + 4 / 4)
    assert found["spec_decode_acceptance_rate"] == pytest.approx(100 * 4 / 18)
    assert found["spec_decode_num_drafts"] == 4
    assert found["spec_decode_draft_tokens"] == 18
    assert found["spec_decode_accepted_tokens"] == 4
    assert found["rounds"] == 5
    assert not found["long_enough"]


def test_documents_are_pooled_not_averaged():
    found = of(
        sample("m", "d0", [trace(tokens=100, accepted=[3] * 25)]),
        sample("m", "d1", [trace(tokens=10, accepted=[0] * 10)]),
    )
    assert found["tau"] == pytest.approx(110 / 35)
    assert found["tau_ci95"] == pytest.approx([1.0, 4.0])
    assert found["long_documents"] == 1


def test_plain_decoding_is_one_and_says_nothing_of_drafts():
    found = of(sample("m", traces=[trace(tokens=70, accepted=[0] * 70, depth=0)]))
    assert found["tau"] == 1.0
    assert found["accepted_per_round"] == 0.0
    assert found["long_enough"]
    for name in ("accept_at", "alpha", "histogram", "draft_rate", "spec_decode_acceptance_length"):
        assert found[name] is None
    assert found["spec_decode_num_drafts"] == 0


def test_unknown_is_null_not_zero():
    found = of(sample("m", traces=[trace()]))
    known = {"documents", "tokens_per_document", "long_documents", "long_enough", "buckets"}
    known.add("repeated")  # read off the ids
    assert {name for name, value in found.items() if value is not None} == known
    assert found["buckets"]["context"]["<1k"]["tau"] is None


def test_passes_without_rounds_give_tau_alone():
    found = of(sample("m", traces=[trace(tokens=100, passes=40)]))
    assert found["tau"] == 2.5
    assert found["accepted_per_round"] is None


def test_a_turn_that_does_not_know_makes_its_document_unknown():
    found = of(sample("m", traces=[trace(tokens=4, accepted=[3]), trace(tokens=9)]))
    assert found["tau"] is None


def test_buckets():
    early = trace(tokens=40, accepted=[0] * 32 + [3] * 2)
    found = of(
        sample("m", "d0", [early], has_image=True),
        sample("m", "d1", [trace(tokens=8, accepted=[3, 3])], prompt_tokens=5000),
    )["buckets"]
    assert found["position"]["first_32"]["tau"] == pytest.approx((32 + 8) / (32 + 2))
    assert found["position"]["rest"]["tau"] == pytest.approx(4.0)
    assert found["position"]["rest"]["documents"] == 1
    assert found["image"]["image"]["tau"] == pytest.approx(40 / 34)
    assert found["image"]["no_image"]["tau"] == pytest.approx(4.0)
    assert list(found["context"]) == ["<1k", "4k-16k"]


def test_failed_documents_do_not_count():
    found = of(
        sample("m", "d0", [trace(tokens=8, accepted=[3, 3])]),
        sample("m", "d1", [trace(tokens=1, accepted=[0])], error="oom"),
    )
    assert found["tau"] == 4.0
    assert found["documents"] == 1


ROUND = st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 9))


@settings(max_examples=40)
@given(st.lists(st.lists(ROUND, min_size=1, max_size=12), min_size=1, max_size=5))
def test_identities(documents):
    made = []
    for number, drawn in enumerate(documents):
        accepted = [min(a, b) for a, b, _ in drawn]
        depth = [max(a, b) for a, b, _ in drawn]
        proposed = [d + (more if d else 0) for d, (_, _, more) in zip(depth, drawn, strict=True)]
        made.append(sample("m", f"d{number}", [rounds(proposed, depth, accepted)]))
    found = of(*made)
    assert found["tau"] == pytest.approx(1 + found["accepted_per_round"])
    if found["accept_at"] is None:
        assert not any(a for drawn in documents for a, b, _ in drawn if max(a, b))
        return
    at, alpha = found["accept_at"], found["alpha"]
    assert at == sorted(at, reverse=True)
    assert sum(at) == pytest.approx(found["spec_decode_acceptance_length"] - 1)
    assert sum(found["histogram"]) == found["spec_decode_num_drafts"]
    assert at[0] == pytest.approx(alpha[0])
    assert all(rate is None or 0 <= rate <= 1 for rate in alpha)


def test_made_up_methods_without_rounds_still_have_a_block():
    found = spec.block(grouped(*noisy({"m": 2.0}, 3))["m"])
    assert found["documents"] == 3
    assert found["tokens_per_document"] == 101
