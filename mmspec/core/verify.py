"""Verify: walk each tree from its root, at every node taking the token the target itself draws.

If a child carries the drawn token, descend; otherwise emit it and stop. The emitted tokens are the
target's own draws, so any tree from any drafter leaves the served law, and under keyed noise the
text itself, as plain decoding has them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from mmspec.core.errors import EngineFaultError
from mmspec.core.history import History
from mmspec.core.peak import as_bits, peak, row_of
from mmspec.core.sampling import draw, is_greedy, is_shaped, stop_tokens

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Sequence as ListOf

    import torch

    from mmspec.core.sequence import Sequence
    from mmspec.core.tree import TokenTree

_BROKEN = "the target returned logits that are not numbers"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one step decided, for B sequences.

    The tokens to commit to the cache are those of the kept nodes; the tokens decided are those of
    the kept nodes after the root and then ``next``: ``counts`` of them.

    Attributes:
        kept: int32 [B, K], nodes of each sequence's own tree along the accepted path, root first,
            padded with -1.
        counts: int32 [B], how many nodes are kept, at least 1; 0 if the sequence is broken.
        next: int64 [B], the target's own token after the last kept node; -1 if broken.
        faults: sequence index -> why it cannot go on. The others are not affected.
    """

    kept: np.ndarray
    counts: np.ndarray
    next: np.ndarray
    faults: dict[int, str] = field(default_factory=dict)


def verify(
    trees: ListOf[TokenTree],
    logits: torch.Tensor,
    sequences: ListOf[Sequence],
    stops: frozenset[int] = frozenset(),
) -> Verdict:
    """Accept what the target would have said anyway, and one token of its own.

    Args:
        trees: B trees, each rooted at the last decided token of its sequence.
        logits: [T, V], any float dtype and device, the rows of the trees one after another.
        sequences: B sequences; a stop token (see ``stop_tokens``) ends a walk and is in ``next``.
        stops: the model's own stop ids.

    Raises:
        ValueError: the rows are not as many as the nodes.
    """
    # Plain array calls only: this runs cold, right after the model, where each wrapper costs.
    sizes = [len(tree) for tree in trees]
    starts = np.array([0, *accumulate(sizes)])
    if starts[-1] != logits.shape[0]:
        raise ValueError(f"{logits.shape[0]} rows of logits for {starts[-1]} nodes")
    kept = np.empty((len(trees), max(sizes, default=1)), np.int32)
    counts, following = np.empty(len(trees), np.int32), np.empty(len(trees), np.int64)
    kept.fill(-1)
    counts.fill(0)
    following.fill(-1)
    bits = as_bits(logits)
    ends = [stop_tokens(sequence.request.sampling, stops) for sequence in sequences]
    plain = [index for index, sequence in enumerate(sequences) if _is_plain(sequence)]
    if plain:
        _walk_plain(
            _joined([tree.tokens for tree in trees]),
            _joined([tree.parents for tree in trees]),
            starts,
            bits,
            (np.array(plain), _pad([ends[index] for index in plain])),
            (kept, counts, following),
        )
    faults = {index: _BROKEN for index in plain if following[index] < 0}
    for index in sorted(set(range(len(trees))).difference(plain)):
        rows = bits[starts[index] : starts[index + 1]]
        pick = _target(trees[index], rows, sequences[index], ends[index])
        try:
            path, token = walk(trees[index], pick, ends[index])
        except EngineFaultError as error:
            faults[index] = str(error)
            continue
        kept[index, : len(path)], counts[index], following[index] = path, len(path), token
    width = max(counts.tolist(), default=1)
    return Verdict(kept[:, : max(width, 1)], counts, following, faults)


def walk(
    tree: TokenTree, pick: Callable[[int], int], stops: frozenset[int]
) -> tuple[list[int], int]:
    """The accepted path (node indices, root first) and the token emitted after it.

    Args:
        tree: the guess.
        pick: the target's draw at a node; called once for each node of the path, from the root.
        stops: tokens that end the text: nothing below them is visited.
    """
    path = [0]
    while True:
        token = pick(path[-1])
        child = -1 if token in stops else int(_child(tree.tokens, tree.parents, path[-1], token))
        if child < 0:
            return path, token
        path.append(child)


def _target(
    tree: TokenTree, rows: np.ndarray, sequence: Sequence, stops: frozenset[int]
) -> Callable[[int], int]:
    """The target's draw at nodes that follow one another down one path."""
    history = History.of(sequence, rows.shape[1])
    sampling, seed, choice = sequence.request.sampling, sequence.seed, sequence.choice

    def pick(node: int) -> int:
        if node > 0:
            history.push(int(tree.tokens[node]))
        return draw(row_of(rows[node]), sampling, history, stops, seed, choice)

    return pick


def _is_plain(sequence: Sequence) -> bool:
    """Whether the draw is the bare argmax of the row."""
    sampling = sequence.request.sampling
    emitted = len(sequence) - sequence.prompt_length
    return is_greedy(sampling) and not is_shaped(sampling, emitted)


def _joined(arrays: list[np.ndarray]) -> np.ndarray:
    """The arrays one after another; one alone as it is."""
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _pad(stops: list[frozenset[int]]) -> np.ndarray:
    """Sets of ids as rows, int64 [B, S], padded with -1."""
    table = np.full((len(stops), max(1, *map(len, stops))), -1, np.int64)
    for row, ids in zip(table, stops, strict=True):
        row[: len(ids)] = sorted(ids)
    return table


@njit(cache=True, nogil=True)
def _child(tokens: np.ndarray, parents: np.ndarray, node: int, token: int) -> int:
    for candidate in range(node + 1, len(tokens)):
        if parents[candidate] == node and tokens[candidate] == token:
            return candidate
    return -1


@njit(cache=True, nogil=True)
def _walk_plain(
    tokens: np.ndarray,
    parents: np.ndarray,
    starts: np.ndarray,
    bits: np.ndarray,
    which: tuple[np.ndarray, np.ndarray],
    out: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    """Every plain greedy sequence of a batch in one call; writes their rows of ``out``."""
    places, stops = which
    kept, counts, following = out
    for index in range(len(places)):
        place = places[index]
        first, last = starts[place], starts[place + 1]
        node, count = 0, 0
        while node >= 0:
            kept[place, count] = node
            count += 1
            token = peak(bits[first + node])
            following[place] = token
            if token < 0:
                kept[place, :count] = -1
                count = 0
            if token < 0 or np.any(stops[index] == token):
                break
            node = _child(tokens[first:last], parents[first:last], node, token)
        counts[place] = count
