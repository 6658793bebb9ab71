"""From a verdict to what the drafters are shown."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np
import torch

from mmspec.core.drafter import Observation
from mmspec.core.top import log_chances, top_tokens

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sized
    from collections.abc import Sequence as ListOf

    from mmspec.core.drafter import Needs
    from mmspec.core.sequence import Sequence
    from mmspec.core.tree import TokenTree
    from mmspec.model.target import Output


def reading(tokens: np.ndarray, hidden: Mapping[int, torch.Tensor]) -> Observation:
    """What the drafters are shown of one chunk of a prompt: int64 [C], layer -> [C, H]."""
    return Observation(np.array([0, len(tokens)], np.int32), tokens, hidden)


def observation(
    trees: ListOf[TokenTree],
    kept: ListOf[np.ndarray],
    going: ListOf[int],
    output: Output,
    needs: Needs,
    sequences: ListOf[Sequence],
) -> Observation:
    """What the drafters are shown of a verified step, for the sequences ``going`` on.

    Args:
        trees, kept, sequences: all of the step; what was kept is committed.
        output: rows of all trees, packed.
    """
    assert output.logits is not None
    firsts = [0, *accumulate(map(len, trees))]
    cached = np.concatenate([firsts[i] + kept[i] for i in going])
    tokens = np.concatenate([tree.tokens for tree in trees])
    node_tokens, logits = tokens, output.logits
    if len(going) < len(trees):
        nodes = np.concatenate([np.arange(firsts[i], firsts[i + 1]) for i in going])
        node_tokens, logits = tokens[nodes], logits[nodes]
    nothing = np.zeros((len(node_tokens), 0), np.int64)
    top = top_tokens(logits, needs.top) if needs.top else nothing
    contexts = nothing
    if needs.context:
        roots = [one.cached - len(kept[i]) for i, one in enumerate(sequences)]
        contexts = np.concatenate([
            trees[i].contexts(sequences[i].tokens[: roots[i] + 1], needs.context) for i in going
        ])  # fmt: skip
    return Observation(
        offsets=_ends(kept[i] for i in going),
        tokens=tokens[cached],
        hidden={layer: rows[cached] for layer, rows in output.hidden.items()},
        node_offsets=_ends(trees[i] for i in going),
        node_tokens=node_tokens,
        top=top,
        chances=log_chances(logits, top) if needs.chances else top[:, :0].astype(np.float32),
        contexts=contexts,
        queries={layer: rows[cached] for layer, rows in output.queries.items()},
    )


def _ends(parts: Iterable[Sized]) -> np.ndarray:
    """Where each part begins, and the last ends: int32 [B + 1]."""
    return np.array([0, *accumulate(map(len, parts))], np.int32)


def together(shown: ListOf[Observation]) -> Observation:
    """What one sequence was shown in several steps, as if in one."""
    if len(shown) == 1:
        return shown[0]
    tokens = np.concatenate([seen.tokens for seen in shown])
    nodes = np.concatenate([seen.node_tokens for seen in shown])
    return Observation(
        offsets=np.array([0, len(tokens)], np.int32),
        tokens=tokens,
        hidden={
            layer: torch.cat([seen.hidden[layer] for seen in shown]) for layer in shown[0].hidden
        },
        node_offsets=np.array([0, len(nodes)], np.int32),
        node_tokens=nodes,
        top=np.concatenate([seen.top for seen in shown]),
        chances=np.concatenate([seen.chances for seen in shown]),
        contexts=np.concatenate([seen.contexts for seen in shown]),
        queries={
            layer: torch.cat([seen.queries[layer] for seen in shown])
            for layer in shown[0].queries
            if all(layer in seen.queries for seen in shown)  # prefill shows none
        },
    )
