"""The k most likely tokens of each row, for drafters that learn from the target's runners-up."""

from __future__ import annotations

import numpy as np
import torch
from numba import njit

from mmspec.core.peak import as_bits


def top_tokens(logits: torch.Tensor, count: int) -> np.ndarray:
    """Ids of the ``count`` largest logits of each row, best first, lowest id on ties.

    Args:
        logits: [T, V].

    Returns:
        int64 [T, count].
    """
    return _top(as_bits(logits), min(count, logits.shape[-1]))


def log_chances(logits: torch.Tensor, tokens: np.ndarray) -> np.ndarray:
    """Log-probabilities, before any shaping, of some tokens of each row: float32 [T, k].

    Args:
        logits: [T, V]. tokens: int64 [T, k].
    """
    some = logits.gather(-1, torch.from_numpy(tokens).to(logits.device)).float()
    whole = torch.logsumexp(logits.float(), -1, keepdim=True)
    return (some - whole).cpu().numpy()


@njit(cache=True, nogil=True)
def _top(bits: np.ndarray, count: int) -> np.ndarray:
    shift = np.int32(32 - 8 * bits.itemsize)
    best = np.empty((len(bits), count), np.int64)
    level = np.empty(count, np.int32)
    for row in range(len(bits)):
        held = 0
        threshold = np.int32(-(2**31))
        for token in range(bits.shape[1]):
            value = np.int32(np.int32(bits[row, token]) << shift)
            # Integers that order as the floats they are the bits of.
            value = np.int32(value ^ ((value >> np.int32(31)) & np.int32(0x7FFFFFFF)))
            if held == count and value <= threshold:
                continue
            place = min(held, count - 1)
            while place > 0 and level[place - 1] < value:
                level[place], best[row, place] = level[place - 1], best[row, place - 1]
                place -= 1
            level[place], best[row, place] = value, token
            held = min(held + 1, count)
            threshold = level[held - 1]
    return best
