"""A step's tables on the device, as the Triton kernels read them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from mmspec_kernels import triton_shared
from mmspec_kernels.layout import tail_width

if TYPE_CHECKING:
    from mmspec_kernels.layout import Reading, TreeLayout


@dataclass(frozen=True, slots=True)
class Tables:
    """A layout and one of its readings on a device; shapes as the kernels name them.

    Attributes:
        extras: most keys a row reads before its tail. longest: most keys of a window.
        slots: int32 [NW, K], of each window, where any counts along slots of its own; or None.
    """

    windows: torch.Tensor
    rows: torch.Tensor
    path: torch.Tensor
    extras: int
    longest: int
    slots: torch.Tensor | None


def tables(layout: TreeLayout, reading: Reading, device: torch.device) -> Tables:
    """The step's tables, copied to the device at the first layer of this kind and kept."""
    found: Tables | None = reading.placed.get(device)
    if found is None:
        found = reading.placed[device] = _placed(layout, reading, device)
    return found


def _placed(layout: TreeLayout, reading: Reading, device: torch.device) -> Tables:
    apart = _apart(reading)
    windows = np.array(
        [
            (w.first, w.start, w.stop) if apart is None else (w.first, 0, w.stop - w.start)
            for w in reading.windows
        ],
        np.int32,
    )
    rows = np.zeros((len(layout.slots), triton_shared.COLUMNS.value), np.int32)
    columns = {
        "SLOT": layout.slots, "TAIL": layout.tail, "WINDOW": reading.window,
        "OFFSET": reading.offset, "EXTRA": reading.extra, "EXTRA_END": reading.extra_end,
        "SKIP": reading.skip,
    }  # fmt: skip
    for name, column in columns.items():
        rows[:, getattr(triton_shared, name).value] = column
    # Rounded up, so that few kernels are compiled.
    most, step = int((reading.extra_end - reading.extra).max(initial=0)), tail_width(layout.reach)
    # One copy for all of them: they are small, and each copy waits for the device to listen.
    parts = [rows, layout.path, windows]
    flat = torch.from_numpy(np.concatenate([part.ravel() for part in parts])).to(device)
    cut = flat.split([part.size for part in parts])
    return Tables(
        rows=cut[0].view(rows.shape),
        path=cut[1].view(layout.path.shape),
        windows=cut[2].view(-1, 3),
        longest=max((w.stop - w.start for w in reading.windows), default=0),
        extras=-(-most // step) * step,
        slots=None if apart is None else torch.from_numpy(apart).to(device),
    )


def _apart(reading: Reading) -> np.ndarray | None:
    """The slots of all windows, int32 [NW, K], where those of any do not follow one another."""
    if all(window.slots is None for window in reading.windows):
        return None
    longest = max(window.stop - window.start for window in reading.windows)
    table = np.zeros((len(reading.windows), longest), np.int32)
    for row, window in zip(table, reading.windows, strict=True):
        row[: window.stop - window.start] = window.read()
    return table
