"""InfiniteBench's two ways to shorten a long prompt: keep both ends, drop the middle."""

from __future__ import annotations

from typing import Literal

Mode = Literal["local", "gpt4"]
MODES: tuple[Mode, ...] = ("local", "gpt4")


def kept(length: int, max_length: int, mode: Mode = "local") -> list[int]:
    """Places of the tokens that stay, in order.

    ``local`` (its scripts for local models) takes half of the limit, rounded down, from either end:
    an odd limit keeps one token less. ``gpt4`` gives the odd one to the tail. A tail of nothing is
    the whole text in both, for that is how a slice from minus zero reads; so a local limit of 0 or
    1 keeps everything, and so does a limit of 0 for GPT-4.

    >>> kept(10, 5), kept(10, 5, "gpt4")
    ([0, 1, 8, 9], [0, 1, 7, 8, 9])

    Args:
        length: tokens of the prompt, the question included. max_length: the limit.
    """
    places = range(length)
    if length <= max_length:
        return list(places)
    head = max_length // 2
    tail = head if mode == "local" else max_length - head
    return [*places[:head], *places[-tail:]]
