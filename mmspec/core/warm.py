"""Compile the hot path before the first request waits for it."""

from __future__ import annotations

import numpy as np
import torch

from mmspec.core.predicted import Predicted
from mmspec.core.request import Prompt, Request, Sampling
from mmspec.core.sequence import Sequence
from mmspec.core.tree import TokenTree
from mmspec.core.verify import verify

_SAMPLINGS = (
    Sampling(temperature=0.0),
    Sampling(),
    Sampling(top_p=0.9, repetition_penalty=1.1, presence_penalty=0.1),
)


def warm(dtype: torch.dtype) -> None:
    """Verify small trees with every kind of sampling, for a target whose logits have ``dtype``.

    Seconds on a machine's first start; the compiled code is kept on disk after that.
    """
    prompt = Prompt(np.zeros(1, np.int64))
    flying = [Sequence(Request("warm", prompt, sampling), 0, 0) for sampling in _SAMPLINGS]
    tree = TokenTree.chain(np.array([0, 1])).merge(TokenTree.chain(np.array([0, 2]))).prune(2)
    tree.ancestors()
    tree.depths()
    tree.guessed_by(0)
    tree.contexts(tree.tokens[:1], 2)
    Predicted(np.zeros(1, np.int64)).push((0,))
    tree.without(np.zeros(len(tree), np.bool_))
    verify([tree] * len(flying), torch.eye(8, dtype=dtype)[[1, 2] * len(flying)], flying)
