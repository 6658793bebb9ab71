"""One clock and one memory gauge for every method, so that what they say can be compared."""

from __future__ import annotations

import gc
import os
import resource
import sys
import time
from pathlib import Path

import torch

_STATM = Path("/proc/self/statm")


class Meter:
    """Measures what happens inside a ``with`` block; garbage is not collected meanwhile.

    On a GPU every reading waits for the work that was queued before it.
    """

    def __init__(self, device: torch.device) -> None:
        self._cuda = device if device.type == "cuda" else None
        self._collecting = False
        self._began = 0.0

    def __enter__(self) -> Meter:
        self._collecting = gc.isenabled()
        gc.disable()
        if self._cuda is not None:
            torch.cuda.reset_peak_memory_stats(self._cuda)
        self._began = self._now()
        return self

    def __exit__(self, *_: object) -> None:
        if self._collecting:
            gc.enable()

    def seconds(self) -> float:
        """Since the block was entered."""
        return self._now() - self._began

    def peak_mib(self) -> float:
        """Largest allocation of the block on a GPU; on a CPU, what the process holds now."""
        if self._cuda is not None:
            return torch.cuda.max_memory_allocated(self._cuda) / 2**20
        return _resident() / 2**20

    def _now(self) -> float:
        if self._cuda is not None:
            torch.cuda.synchronize(self._cuda)
        return time.perf_counter()


def _resident() -> int:
    """Bytes of memory this process holds; where the system does not tell, the most it ever held."""
    if _STATM.is_file():
        return int(_STATM.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
