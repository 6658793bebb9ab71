"""How likely a prompt's own tokens are: read off the logits of its prefill, slice by slice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mmspec.core.logprobs import logprobs

if TYPE_CHECKING:
    import torch

    from mmspec.core.request import TokenLogprob
    from mmspec.core.sequence import Sequence
    from mmspec.model.target import Target

SLICE = 64  # rows whose logits exist at once: a vocabulary is wide, a chunk is long


def score(
    target: Target, sequence: Sequence, stop: int, final: torch.Tensor, top: int
) -> list[TokenLogprob]:
    """Log-probabilities of the tokens that follow the rows of one prefill chunk.

    The row of token i says how likely token i + 1 was, so a prompt's first token has none.

    Args:
        target: whose law it is.
        sequence: cached up to the chunk. stop: where the chunk ends, before the last token.
        final: normed hidden states of the chunk's rows, [T, H].
        top: how many of the most likely tokens to list beside each.

    Returns:
        One entry for each of the tokens ``sequence.cached + 1`` to ``stop``.
    """
    following = np.asarray(sequence.tokens[sequence.cached + 1 : stop + 1])
    told: list[TokenLogprob] = []
    for first in range(0, len(following), SLICE):
        rows = slice(first, first + SLICE)
        told += logprobs(target.logits(final[rows]), following[rows], top)
    return told
