"""The largest logit of a row: lowest id on ties, -1 when the row is broken."""

from __future__ import annotations

import numpy as np
import torch
from numba import njit

_MAGNITUDE = np.int32(0x7FFFFFFF)
_INFINITY = np.int32(0x7F800000)
_LOWEST = np.int32(-(2**31))


def as_bits(logits: torch.Tensor) -> np.ndarray:
    """The bit patterns of a [T, V] tensor, for :func:`peak`: int16 (bfloat16) or int32 (float32).

    A view where it can be (float32 and bfloat16 on the CPU), a copy in float32 otherwise.
    """
    if logits.requires_grad or logits.device.type != "cpu" or not logits.is_contiguous():
        logits = logits.detach().cpu().contiguous()
    if logits.dtype == torch.bfloat16:
        return logits.view(torch.int16).numpy()
    return logits.float().view(torch.int32).numpy()


def row_of(bits: np.ndarray) -> np.ndarray:
    """The float32 [V] row whose bits these are, int32 [V] or int16 [V] (bfloat16)."""
    if bits.dtype == np.int16:
        bits = bits.astype(np.int32) << 16
    return bits.view(np.float32)


def peak_of(row: np.ndarray) -> int:
    """``peak`` of a float32 [V] row."""
    return int(peak(row.view(np.int32)))


@njit(cache=True, nogil=True)
def peak(bits: np.ndarray) -> int:
    """Index of the first largest float whose bits these are; int32 [V] or int16 [V] (bfloat16).

    Returns -1 when any value is NaN, the largest is +inf, or all are -inf. Integer comparisons
    order floats of either sign, and unlike float ones they run in vector registers.
    """
    shift = np.int32(32 - 8 * bits.itemsize)
    largest, magnitude = _LOWEST, np.int32(0)
    for index in range(len(bits)):
        value = np.int32(np.int32(bits[index]) << shift)
        magnitude = max(magnitude, np.int32(value & _MAGNITUDE))
        largest = max(largest, np.int32(value ^ ((value >> np.int32(31)) & _MAGNITUDE)))
    if magnitude > _INFINITY or largest == _INFINITY:
        return -1
    if largest == np.int32((_INFINITY ^ _MAGNITUDE) | _LOWEST):
        return -1
    for index in range(len(bits)):
        value = np.int32(np.int32(bits[index]) << shift)
        order = np.int32(value ^ ((value >> np.int32(31)) & _MAGNITUDE))
        # -0.0 orders just below +0.0 but ties with it.
        if order == largest or (largest == 0 and order == -1):
            return index
    return -1
