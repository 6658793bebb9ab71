"""A sequence's text, as it is seen from outside."""

from __future__ import annotations

import numpy as np
import pytest

from mmspec.core.request import Prompt, Request
from mmspec.core.sequence import Sequence


def test_the_text_is_told_as_it_is_now_and_cannot_be_written():
    sequence = Sequence(Request("a", Prompt(np.arange(5))), 0, 0)
    told = list(range(5))
    for count in (1, 3, 60, 200):  # beyond the room it began with, twice
        before = sequence.tokens
        assert sequence.tokens is before
        fresh = np.arange(count) + 100 * count
        sequence.extend(fresh)
        assert before.tolist() == told  # a view from before says what it said
        told += fresh.tolist()
        assert sequence.tokens.tolist() == told
        assert sequence.output.tolist() == told[5:]
        assert sequence.last == told[-1]
        with pytest.raises(ValueError, match="read-only"):
            sequence.tokens[0] = 1
