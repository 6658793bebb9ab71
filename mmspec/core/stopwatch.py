"""A stopwatch for parts of a step that several places want to add up."""

from __future__ import annotations

import time


class Stopwatch:
    """Sums wall seconds spent inside ``with`` blocks; not for nesting, not for threads."""

    __slots__ = ("_began", "seconds")

    def __init__(self) -> None:
        self.seconds = 0.0
        self._began = 0.0

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self._began

    def reset(self) -> None:
        """Start from zero."""
        self.seconds = 0.0
