"""A clock that waits for the device, a deadline, and a file that is whole at every moment."""

from __future__ import annotations

import json
import statistics
import time
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Timing = dict[str, float]  # "ms", the median; "low" and "high", the range; "repeats"


class Laps:
    """Seconds by name, each since the lap before; the device is waited for at every lap."""

    def __init__(self, device: torch.device) -> None:
        self.seconds: dict[str, float] = {}
        self._cuda = device.type == "cuda"
        self._at = self._now()

    def __call__(self, name: str) -> None:
        """What went before took its time for ``name``."""
        now = self._now()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._at
        self._at = now

    def _now(self) -> float:
        if self._cuda:
            torch.cuda.synchronize()
        return time.perf_counter()


class Meter:
    """Measures until a deadline.

    Args:
        repeats: runs that count, of each measurement. limit: seconds after which a measurement
            has no more of them, two apart. until: ``time.perf_counter`` after which nothing more
            is begun.

    Attributes:
        left_out: what was not begun.
    """

    def __init__(self, device: torch.device, repeats: int, limit: float, until: float) -> None:
        self.device, self._repeats, self._limit, self._until = device, repeats, limit, until
        self.left_out: list[str] = []

    def measure(self, name: str, run: Callable[[Laps], object]) -> dict[str, Timing] | None:
        """Run once or twice to warm up, then for the median; None past the deadline.

        Args:
            run: calls what it is given after each part, with the part's name.
        """
        if time.perf_counter() > self._until:
            self.left_out.append(name)
            return None
        began = time.perf_counter()
        self.once(run)
        if time.perf_counter() - began < self._limit:
            self.once(run)
        began = time.perf_counter()
        seen: list[dict[str, float]] = []
        while len(seen) < self._repeats:
            seen.append(self.once(run))
            if len(seen) >= 2 and time.perf_counter() - began > self._limit:
                break
        return medians(seen)

    def once(self, run: Callable[[Laps], object]) -> dict[str, float]:
        """One run: seconds by part."""
        laps = Laps(self.device)
        run(laps)
        return laps.seconds


def medians(seen: list[dict[str, float]]) -> dict[str, Timing]:
    """Milliseconds by part, of several runs' seconds."""
    return {
        part: {
            "ms": 1e3 * statistics.median(one[part] for one in seen),
            "low": 1e3 * min(one[part] for one in seen),
            "high": 1e3 * max(one[part] for one in seen),
            "repeats": len(seen),
        }
        for part in seen[0]
    }


def floors(meter: Meter, sizes: dict[str, int], block: int) -> dict[str, object]:
    """What reading weights alone would take, by name: bytes, and milliseconds no pass falls below.

    The memory's speed is that of copying ``block`` bytes, each read and written.
    """
    source = torch.zeros(block, dtype=torch.uint8, device=meter.device)
    target = torch.empty_like(source)

    def run(lap: Laps) -> None:
        target.copy_(source)
        lap("copy")

    speed = 2 * block / min(meter.once(run)["copy"] for _ in range(6))
    told: dict[str, object] = {"bytes_a_second": speed}
    return told | {name: {"bytes": size, "ms": 1e3 * size / speed} for name, size in sizes.items()}


def write(path: Path, result: dict[str, object]) -> None:
    """Put the result so far in place of the last one, in one move."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)
