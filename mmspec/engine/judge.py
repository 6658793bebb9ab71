"""Who is verified how: by the target's own law, or, where a request asks for it, a tilted one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mmspec.core.errors import EngineFaultError
from mmspec.core.peak import as_bits, row_of
from mmspec.core.sampling import stop_tokens
from mmspec.core.transfer import walk_tilted
from mmspec.core.verify import Verdict, verify

if TYPE_CHECKING:
    from collections.abc import Sequence as ListOf

    import torch

    from mmspec.core.sequence import Sequence
    from mmspec.core.tree import TokenTree


def judge(
    trees: ListOf[TokenTree],
    logits: torch.Tensor,
    sequences: ListOf[Sequence],
    stops: frozenset[int],
    laws: ListOf[np.ndarray | None],
) -> Verdict:
    """What one step decided.

    Args:
        trees, logits, sequences, stops: as for ``core.verify.verify``.
        laws: a drafter's logits [N, V] after every node of the trees that are tilted.
    """
    tilted = [index for index, said in enumerate(laws) if said is not None]
    if not tilted:
        return verify(trees, logits, sequences, stops)
    firsts = np.cumsum([0, *map(len, trees)])
    spans = [np.arange(firsts[index], firsts[index + 1]) for index in range(len(trees))]
    exact = [index for index, said in enumerate(laws) if said is None]
    found: dict[int, tuple[list[int], int]] = {}
    faults: dict[int, str] = {}
    if exact:
        plain = verify(
            [trees[index] for index in exact],
            logits[np.concatenate([spans[index] for index in exact])],
            [sequences[index] for index in exact],
            stops,
        )
        faults = {exact[place]: why for place, why in plain.faults.items()}
        for place, index in enumerate(exact):
            kept = plain.kept[place, : plain.counts[place]].tolist()
            found[index] = kept, int(plain.next[place])
    for index in tilted:
        try:
            found[index] = _tilted(
                trees[index], logits[spans[index]], laws[index], sequences[index], stops
            )
        except EngineFaultError as error:
            found[index], faults[index] = ([], -1), str(error)
    return _together([found[index] for index in range(len(trees))], faults)


def _tilted(
    tree: TokenTree,
    logits: torch.Tensor,
    said: np.ndarray | None,
    sequence: Sequence,
    stops: frozenset[int],
) -> tuple[list[int], int]:
    bits, eta = as_bits(logits), sequence.request.speculation.transfer
    assert said is not None
    assert eta is not None
    rows = np.stack([row_of(row) for row in bits])
    ends = stop_tokens(sequence.request.sampling, stops)
    return walk_tilted(tree, (rows, said), sequence, ends, eta)


def _together(found: list[tuple[list[int], int]], faults: dict[int, str]) -> Verdict:
    counts = np.array([len(path) for path, _ in found], np.int32)
    kept = np.full((len(found), max(int(counts.max()), 1)), -1, np.int32)
    for row, (path, _) in zip(kept, found, strict=True):
        row[: len(path)] = path
    return Verdict(kept, counts, np.array([token for _, token in found], np.int64), faults)
