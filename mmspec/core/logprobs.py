"""Log-probabilities to report: under the target's own law, before any shaping."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mmspec.core.peak import as_bits, row_of
from mmspec.core.request import TokenLogprob

if TYPE_CHECKING:
    import torch


def logprobs(logits: torch.Tensor, tokens: np.ndarray, top: int) -> list[TokenLogprob]:
    """One report a row; a row's numbers do not depend on the other rows.

    Args:
        logits: [K, V], any float dtype: the rows the tokens were drawn from.
        tokens: int64 [K], the tokens decided.
        top: how many of the most likely tokens to list, best first, lower ids first among equals.
    """
    bits = as_bits(logits)
    return [_report(row_of(row), int(token), top) for row, token in zip(bits, tokens, strict=True)]


def _report(row: np.ndarray, token: int, top: int) -> TokenLogprob:
    largest = row.max()
    total = float(largest) + float(np.log(np.exp(row - largest).sum(dtype=np.float64)))
    best = np.zeros(0, np.int64)
    if top > 0:
        least = np.partition(row, -top)[-top] if top < len(row) else row.min()
        best = np.flatnonzero(row >= least)
        best = best[np.argsort(-row[best], kind="stable")][:top]
    return TokenLogprob(
        token=token,
        logprob=float(row[token]) - total,
        top=tuple((int(id), float(row[id]) - total) for id in best),
        rank=1 + int(np.count_nonzero(row > row[token])),
    )
