"""The draft plan against a loop that does it slot by slot, and chunks against the whole."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st

from mmspec.core.request import Media, Prompt
from mmspec.vision.spans import (
    COMPRESSED,
    TEXT,
    DraftPlan,
    plan_draft,
    slots_of,
    spans_of,
)

FIELDS = ("source", "kind", "image_of_slot", "compressed_index", "positions")
ALL = 10**6


def naive(spans, total, m):
    """The plan of the slots [0, total), one slot after another."""
    rows = []
    owner = {}
    for image, (start, end) in enumerate(spans):
        for token in range(start, end):
            if token >= 1:
                owner[token - 1] = image
    for slot in range(total):
        if slot not in owner:
            begun = [i for i, (start, _) in enumerate(spans) if max(start - 1, 0) <= slot]
            rows.append((slot, TEXT, begun[-1] if begun else -1, -1, slot))
            continue
        image = owner[slot]
        own = [one for one in owner if owner[one] == image]
        if slot == max(own):
            kept = min(m, len(own))
            rows += [
                (-1, COMPRESSED, image, k, position)
                for k, position in enumerate(own[len(own) - kept :])
            ]
    return [np.array(column) for column in zip(*rows, strict=True)] or [np.zeros(0)] * 5


@st.composite
def prompts(draw):
    """Spans with and without text between them, at either end, of one token or of many."""
    at, spans = draw(st.integers(0, 3)), []
    for _ in range(draw(st.integers(0, 5))):
        length = draw(st.integers(1, 9))
        spans.append((at, at + length))
        at += length + draw(st.integers(0, 3))
    return np.array(spans, np.int64).reshape(-1, 2), at + draw(st.integers(1, 6))


def columns(plan):
    return [getattr(plan, name) for name in FIELDS]


def joined(plans):
    return DraftPlan(*(np.concatenate(parts) for parts in zip(*map(columns, plans), strict=True)))


def same(plan, wanted):
    for name, have, want in zip(FIELDS, columns(plan), wanted, strict=True):
        np.testing.assert_array_equal(have, want, name)
        assert have.dtype == (np.uint8 if name == "kind" else np.int64), name


@given(prompts(), st.sampled_from([0, 1, 2, 4, ALL]))
def test_a_plan_is_that_of_the_naive_loop(prompt, m):
    spans, total = prompt
    plan = plan_draft(spans, 0, total, m)
    same(plan, naive(spans.tolist(), total, m))
    assert (np.diff(plan.positions) > 0).all()


@given(prompts(), st.sampled_from([0, 1, 3, ALL]), st.data())
def test_chunks_one_after_another_are_the_whole(prompt, m, data):
    spans, total = prompt
    cuts = data.draw(st.lists(st.integers(0, total)))
    edges = [0, *sorted(cuts), total]
    plans = [plan_draft(spans, a, b, m) for a, b in itertools.pairwise(edges)]
    same(joined(plans), columns(plan_draft(spans, 0, total, m)))


def test_an_image_between_words():
    """Tokens 0 1 [2 3 4 5) 5 6: slots 1 to 3 are the picture's, slot 4 is text."""
    plan = plan_draft(np.array([[2, 5]]), 0, 6, 1)
    assert plan.source.tolist() == [0, -1, 4, 5]
    assert plan.positions.tolist() == [0, 3, 4, 5]
    assert plan.image_of_slot.tolist() == [-1, 0, 0, 0]
    assert plan.compressed_index.tolist() == [-1, 0, -1, -1]
    assert plan_draft(np.array([[2, 5]]), 0, 6, 0).source.tolist() == [0, 4, 5]
    every = plan_draft(np.array([[2, 5]]), 0, 6, 64)
    assert every.positions.tolist() == list(range(6))
    assert every.compressed_index.tolist() == [-1, 0, 1, 2, -1, -1]


def test_compressed_tokens_wait_until_the_last_token_of_their_picture_is_shown():
    """Tokens 0 1 [2 3 4 5) 5 6: token 4's feature and embedding are there with slot 4."""
    spans = np.array([[2, 5]])
    assert plan_draft(spans, 0, 4, 2).source.tolist() == [0]
    late = plan_draft(spans, 4, 6, 2)
    assert late.source.tolist() == [-1, -1, 4, 5]
    assert late.positions.tolist() == [2, 3, 4, 5]  # the first two before the chunk


def test_an_image_first_of_all_has_one_slot_fewer():
    spans = np.array([[0, 3], [3, 4]])
    assert slots_of(spans).tolist() == [[0, 2], [2, 3]]
    assert plan_draft(spans, 0, 4, 4).positions.tolist() == [0, 1, 2, 3]
    assert plan_draft(np.array([[0, 1]]), 0, 2, 4).source.tolist() == [0, 1]
    assert plan_draft(np.array([[0, 1]]), 0, 2, 4).image_of_slot.tolist() == [0, 0]


@pytest.mark.parametrize("name", tiny.SEEING)
def test_spans_are_where_the_placeholders_are(name):
    for prompt in tiny.prompts(name):
        spans = spans_of(prompt)
        assert len(spans) == len(prompt.media)
        covered = np.concatenate([np.arange(a, b) for a, b in spans])
        np.testing.assert_array_equal(covered, np.flatnonzero(prompt.ids == tiny.IMAGE))
        plan = plan_draft(spans, 0, len(prompt.ids) - 1, 1)
        assert (plan.kind == COMPRESSED).sum() == len(spans)
        # Every text slot's next token is text, and all such slots are there.
        want = np.flatnonzero(prompt.ids[1:] != tiny.IMAGE)
        np.testing.assert_array_equal(plan.source[plan.kind == TEXT], want)


def test_a_prompt_without_pictures_is_read_as_it_is():
    prompt = Prompt(np.arange(5))
    plan = plan_draft(spans_of(prompt), 2, 4, 1)
    assert plan.source.tolist() == plan.positions.tolist() == [2, 3]
    assert plan.image_of_slot.tolist() == [-1, -1]


@pytest.mark.parametrize("places", [[(2, 3), (4, 2)], [(4, 2), (0, 2)], [(3, 9)], [(1, 0)]])
def test_spans_that_cannot_be_are_refused(places):
    media = tuple(Media("x", start, length, {}) for start, length in places)
    with pytest.raises(ValueError, match="in order"):
        spans_of(Prompt(np.zeros(8, np.int64), media))


def test_every_frame_of_many_has_its_compressed_token():
    frames = 2000
    spans = np.stack([np.arange(frames) * 66 + 2, np.arange(frames) * 66 + 66], axis=1)
    plan = plan_draft(spans, 0, 66 * frames, 1)
    assert len(plan) == 66 * frames - 63 * frames
    assert plan.image_of_slot[-1] == frames - 1
