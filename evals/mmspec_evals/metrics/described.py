"""What a description of a picture of ours claims: which thing stands where."""

from __future__ import annotations

import re

from mmspec.train.data.pictures import COLOURS, PLACES, SHAPES, SIZES

_THING = f"({'|'.join(SIZES)}) ({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})"
_PLACE = f"({'|'.join(sorted(PLACES, key=len, reverse=True))})"
_PLACE_FIRST = re.compile(rf"(?:At the|The) {_PLACE} (?:there is|holds) an? {_THING}")
_THING_FIRST = re.compile(rf"An? {_THING} is at the {_PLACE}\.")


def claims(text: str) -> dict[str, tuple[str, str, str]]:
    """Place -> (size, colour, shape), of the last thing claimed for it.

    >>> claims("At the top left there is a small red circle.")
    {'top left': ('small', 'red', 'circle')}
    """
    found: dict[str, tuple[str, str, str]] = {}
    for place, size, colour, shape in _PLACE_FIRST.findall(text):
        found[place] = (size, colour, shape)
    for size, colour, shape, place in _THING_FIRST.findall(text):
        found[place] = (size, colour, shape)
    return found
