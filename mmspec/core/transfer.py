"""RAPID's transfer: a drafter's law tilts the target's, and the text has exactly the tilted law.

Not lossless, and never part of ``verify``: for requests that ask for it, where a server lets them.

With z the served law's logits (everything of ``core.sampling`` applied), p its chances and q the
drafter's under the same wishes and the same history, the tilted law is the softmax of

    z + eta * m * (q - p),    m: q is at least ``SHARE`` of its largest value,

over what the served law can draw. After Chen et al. (arXiv:2502.20330), section 3.3, whose
acceptance and residual emit neither p nor this law; the walk draws from it outright, so nothing is
left over. The drafter's law is taken at every node, leaves too, so that every token has the tilted
law and none depends on the tree. At temperature 0 it is the argmax of the same sum at temperature
1, untruncated. With eta = 0 everything is as in ``verify``, to the bit.

Axes: N nodes, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from mmspec.core.history import History
from mmspec.core.noise import gumbel_at
from mmspec.core.sampling import Law, is_greedy, law
from mmspec.core.verify import walk

if TYPE_CHECKING:
    from mmspec.core.request import Sampling
    from mmspec.core.sequence import Sequence
    from mmspec.core.tree import TokenTree

SHARE = 0.1  # of the drafter's largest chance, below which it teaches nothing


def tilt(served: Law, said: Law, eta: float) -> Law:
    """The tilted law.

    Args:
        served: the target's. said: the drafter's, over the same vocabulary. eta: how far, from 0.
    """
    p, q = chances(served), chances(said)
    ids = np.minimum(np.searchsorted(said.tokens, served.tokens), len(q) - 1)
    here = np.where(said.tokens[ids] == served.tokens, q[ids], 0.0)
    push = np.where(here >= SHARE * q.max(), eta * (here - p), 0.0)
    weights = served.weights + push.astype(np.float32)
    return Law(served.tokens, weights - weights.max())


def chances(law: Law) -> np.ndarray:
    """Probabilities of the ids of a law, float64 [S]."""
    raw = np.exp(law.weights.astype(np.float64))
    weighed: np.ndarray = raw / raw.sum()
    return weighed


def tilted_law(
    rows: tuple[np.ndarray, np.ndarray],
    sampling: Sampling,
    history: History,
    stops: frozenset[int],
    eta: float,
) -> Law:
    """The tilted law after one history; at temperature 0 the one id that is taken.

    Args:
        rows: the target's and the drafter's logits, float32 [V] each.
        sampling, history, stops: as for ``core.sampling.law``.

    Raises:
        EngineFaultError: as for ``core.sampling.law``, of either.
    """
    greedy = is_greedy(sampling)
    if greedy:
        sampling = msgspec.structs.replace(sampling, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0)
    served, said = (law(row, sampling, history, stops) for row in rows)
    tilted = tilt(served, said, eta)
    if greedy:
        return Law(tilted.tokens[[np.argmax(tilted.weights)]], np.zeros(1, np.float32))
    return tilted


def walk_tilted(
    tree: TokenTree,
    rows: tuple[np.ndarray, np.ndarray],
    sequence: Sequence,
    stops: frozenset[int],
    eta: float,
) -> tuple[list[int], int]:
    """As ``core.verify.walk``, with draws from the tilted law at every node.

    Args:
        rows: the target's and the drafter's logits after every node, float32 [N, V] each.
        stops: tokens that end this text.
    """
    history = History.of(sequence, rows[0].shape[1])
    sampling, seed, choice = sequence.request.sampling, sequence.seed, sequence.choice

    def pick(node: int) -> int:
        if node > 0:
            history.push(int(tree.tokens[node]))
        tilted = tilted_law((rows[0][node], rows[1][node]), sampling, history, stops, eta)
        noise = gumbel_at(seed, choice, history.position, tilted.tokens)
        return int(tilted.tokens[np.argmax(tilted.weights + noise)])

    return walk(tree, pick, stops)
