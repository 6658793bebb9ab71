"""Where pictures stand in a prompt as a drafter reads it: pure functions of spans, no tensors.

A feature drafter reads *slots*: slot t pairs the target's feature of token t with the embedding of
token t + 1. A picture of tokens [s, e) therefore takes the slots [s - 1, e - 1); where s = 0, the
slots [0, e - 1). A vision drafter puts min(m, L) compressed tokens in the place of these L slots;
every other slot is text and stays. Slot e - 1, the picture's last feature beside the first
embedding after it, is text too.

Positions count tokens of the prompt, placeholders included, on one axis: text keeps its slot, and a
picture's compressed tokens take the last slots of its span. The target's own rotary positions, on
three axes for some families, play no part. (ViSpec, arXiv 2509.15235, as its code has it.)

Axes: I pictures, Nd slots of a plan.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from mmspec.core.request import Prompt

TEXT, COMPRESSED = 0, 1


@dataclass(frozen=True, slots=True)
class DraftPlan:
    """The slots a drafter reads, in order.

    Attributes:
        source: int64 [Nd], the slot of a text entry; -1 for a compressed one.
        kind: uint8 [Nd], ``TEXT`` or ``COMPRESSED``.
        image_of_slot: int64 [Nd], the latest picture begun at or before the entry, which for a
            compressed one is its own; -1 before the first.
        compressed_index: int64 [Nd], which of its picture's min(m, L) compressed tokens; -1 for
            text.
        positions: int64 [Nd], strictly ascending.
    """

    source: np.ndarray
    kind: np.ndarray
    image_of_slot: np.ndarray
    compressed_index: np.ndarray
    positions: np.ndarray

    def __len__(self) -> int:
        return len(self.source)


def spans_of(prompt: Prompt) -> np.ndarray:
    """Token spans of a prompt's pictures, int64 [I, 2], each [start, end).

    They come from the media, not from runs of the placeholder: adjacent pictures stay two.

    Raises:
        ValueError: spans that are empty, overlap, are out of order or leave the prompt.
    """
    spans = [(one.start, one.start + one.length) for one in prompt.media]
    before = 0
    for start, end in spans:
        if not before <= start < end <= len(prompt.ids):
            raise ValueError(f"pictures do not stand in order in the prompt: {spans}")
        before = end
    return np.array(spans, np.int64).reshape(-1, 2)


def slots_of(spans: np.ndarray) -> np.ndarray:
    """Slots [first, last) that token spans [I, 2] take; empty for a first token that is one."""
    return np.maximum(spans - 1, 0)


def plan_draft(spans: np.ndarray, start: int, stop: int, m: int) -> DraftPlan:
    """What a drafter reads of the slots [start, stop).

    The plans of consecutive chunks, one after another, are the plan of all: a picture's compressed
    tokens come in the chunk that shows its last token, slot e - 1, even where their positions lie
    before it. The whole of a prompt of N tokens is [0, N): slot N - 1 pairs with the first
    generated token.

    Args:
        spans: token spans of the pictures, from ``spans_of``.
        m: compressed tokens a picture; 0 drops pictures, as many as it has slots keeps them all.
    """
    return DraftPlan(*_plan(slots_of(spans), start, stop, m))


@njit(cache=True, nogil=True)
def _plan(
    slots: np.ndarray, start: int, stop: int, m: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The plan's fields, of pictures at slots int64 [I, 2]."""
    most = max(stop - start, 0)
    for first, last in slots:
        most += min(m, last - first)
    source, image, which, place = (
        np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, np.int64),
        np.empty(most, np.int64),
    )  # fmt: skip
    kind = np.empty(most, np.uint8)
    made, begun, ended = 0, 0, 0  # pictures begun at or before a slot, and ended by it
    for slot in range(start, stop):
        while ended < len(slots) and slots[ended, 1] <= slot:
            first, last = slots[ended]
            kept = min(m, last - first) if last == slot else 0  # others ended in earlier chunks
            for index in range(kept):
                source[made], kind[made], image[made] = -1, COMPRESSED, ended
                which[made], place[made] = index, last - kept + index
                made += 1
            ended += 1
        while begun < len(slots) and slots[begun, 0] <= slot:
            begun += 1
        if begun <= ended:  # the latest picture is over: text
            source[made], kind[made], image[made] = slot, TEXT, begun - 1
            which[made], place[made] = -1, slot
            made += 1
    return source[:made], kind[:made], image[:made], which[:made], place[:made]
