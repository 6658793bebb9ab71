"""The served law: what one row of logits becomes before a token is drawn, and the draw.

Everything here is a function of (row, history, sampling, stops) and, for the draw, of the noise
key: the bits know nothing of batches, trees or drafters. Order: repetition, presence and frequency
penalties, logit bias, bans, temperature, top-k, top-p, min-p; float32 throughout.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numba import njit

from mmspec.core.errors import EngineFaultError
from mmspec.core.noise import gumbel_at, race
from mmspec.core.peak import peak_of

if TYPE_CHECKING:
    from mmspec.core.history import History
    from mmspec.core.request import Sampling

_LOWEST = float(np.finfo(np.float32).min)
_BINS, _BINS_PER_NAT, _FLOOR = 1025, np.float32(16.0), np.float32(-64.0)  # of top-p's histogram


class Law(NamedTuple):
    """A served law.

    Attributes:
        tokens: int64 [S], the ids that can be drawn, ascending.
        weights: float32 [S], their log-probabilities up to a constant; the largest is 0.
    """

    tokens: np.ndarray
    weights: np.ndarray


def stop_tokens(sampling: Sampling, eos: frozenset[int]) -> frozenset[int]:
    """Ids that end this text: the request's own and, unless it ignores them, the model's."""
    own = frozenset(sampling.stop_token_ids)
    return own if sampling.ignore_eos else own | eos


def is_greedy(sampling: Sampling) -> bool:
    """Whether the most likely id is taken: temperature 0, or too small for float32."""
    return bool(np.float32(sampling.temperature) == 0.0)


def is_shaped(sampling: Sampling, emitted: int) -> bool:
    """Whether penalties, bias or bans may change a row after ``emitted`` tokens."""
    return bool(
        sampling.repetition_penalty != 1.0
        or sampling.presence_penalty != 0.0
        or sampling.frequency_penalty != 0.0
        or sampling.logit_bias
        or sampling.bad_words
        or emitted < sampling.min_tokens
    )


def shape(
    row: np.ndarray, sampling: Sampling, history: History, stops: frozenset[int]
) -> np.ndarray:
    """Penalties, bias and bans.

    Args:
        row: float32 [V], the target's logits; left as they are.
        sampling: the request's wishes.
        history: tokens before the one to draw.
        stops: ids that ``min_tokens`` bans (see :func:`stop_tokens`).

    Returns:
        float32 [V]; ``row`` itself when nothing applies. A banned id has -inf.
    """
    if not is_shaped(sampling, history.emitted):
        return row
    row = row.copy()
    if sampling.repetition_penalty != 1.0:
        _repeat(row, history.seen, np.float32(sampling.repetition_penalty))
    if sampling.presence_penalty != 0.0 or sampling.frequency_penalty != 0.0:
        presence, frequency = sampling.presence_penalty, sampling.frequency_penalty
        _discourage(row, history.counts, np.float32(presence), np.float32(frequency))
    for token, bias in sampling.logit_bias.items():
        row[token] += np.float32(bias)
    banned = [word[-1] for word in sampling.bad_words if history.ends_with(word[:-1])]
    if history.emitted < sampling.min_tokens:
        banned += stops
    # An id outside the vocabulary cannot be drawn anyway.
    row[[token for token in banned if 0 <= token < len(row)]] = -np.inf
    return row


def law(row: np.ndarray, sampling: Sampling, history: History, stops: frozenset[int]) -> Law:
    """The served law after one history; arguments as for :func:`shape`.

    At temperature 0 it is the single most likely id, the lowest on ties.

    Raises:
        EngineFaultError: the row has a NaN or +inf, or nothing is left to draw.
    """
    shaped, top = _checked(row, sampling, history, stops)
    if is_greedy(sampling):
        return Law(np.array([top]), np.zeros(1, np.float32))
    with np.errstate(over="ignore"):  # hopeless ids may become -inf
        weights = (shaped - shaped[top]) / np.float32(sampling.temperature)
    floor = np.float32(math.log(sampling.min_p) if sampling.min_p > 0.0 else _LOWEST)
    if 0 < sampling.top_k < len(weights):
        # Ids that tie with the k-th stay: the set then depends on values only.
        least = np.partition(weights, len(weights) - sampling.top_k)[-sampling.top_k]
        if sampling.top_p >= 1.0:
            floor = max(floor, least)
        else:
            weights = np.where(weights < least, np.float32(-np.inf), weights)
    if sampling.top_p < 1.0:
        tokens = _nucleus(weights, np.exp(weights), sampling.top_p)
        tokens = tokens[weights[tokens] >= floor]
    else:
        tokens = np.flatnonzero(weights >= floor)
    return Law(tokens, weights[tokens])


def draw(
    row: np.ndarray,
    sampling: Sampling,
    history: History,
    stops: frozenset[int],
    seed: int,
    choice: int = 0,
) -> int:
    """The target's own token after one history: argmax of log p~ + G, the lowest id on ties.

    Raises:
        EngineFaultError: as for :func:`law`.
    """
    if is_greedy(sampling):
        return _checked(row, sampling, history, stops)[1]
    if sampling.top_k <= 0 and sampling.top_p >= 1.0 and sampling.min_p <= 0.0:
        shaped, top = _checked(row, sampling, history, stops)
        return race(shaped, top, sampling.temperature, seed, choice, history.position)
    served = law(row, sampling, history, stops)
    noise = gumbel_at(seed, choice, history.position, served.tokens)
    return int(served.tokens[np.argmax(served.weights + noise)])


def _checked(
    row: np.ndarray, sampling: Sampling, history: History, stops: frozenset[int]
) -> tuple[np.ndarray, int]:
    """The shaped row and its peak."""
    top = peak_of(row)
    if top < 0:
        raise EngineFaultError("the target returned logits that are not numbers")
    shaped = shape(row, sampling, history, stops)
    if shaped is not row:
        top = peak_of(shaped)
        if top < 0:
            raise EngineFaultError("penalties, bias and bans leave no token to draw")
    return shaped, top


@njit(cache=True, nogil=True, error_model="numpy")
def _nucleus(weights: np.ndarray, chances: np.ndarray, top_p: float) -> np.ndarray:
    """The fewest most likely ids whose mass reaches ``top_p``; lower ids first among equals.

    A histogram of mass over weight finds where the goal is reached; only that bin is sorted.
    """
    bins, mass = np.empty(len(weights), np.int32), np.zeros(_BINS, np.float64)
    for token in range(len(weights)):
        bins[token] = np.int32(max(weights[token], _FLOOR) * _BINS_PER_NAT)
        mass[-bins[token]] += chances[token]
    goal = top_p * mass.sum()
    last, reached = 0, mass[0]
    while reached < goal and last < _BINS - 1:
        last += 1
        reached += mass[last]
    reached -= mass[last]
    edge = np.flatnonzero(bins == -last)
    edge = edge[np.argsort(-weights[edge], kind="mergesort")]
    needed = 0
    while needed < len(edge) and reached < goal:
        reached += chances[edge[needed]]
        needed += 1
    kept = bins > -last
    kept[edge[:needed]] = True
    return np.flatnonzero(kept)


@njit(cache=True, nogil=True, error_model="numpy")
def _repeat(row: np.ndarray, seen: np.ndarray, penalty: np.float32) -> None:
    for token in range(len(row)):
        if seen[token]:
            value = row[token]
            row[token] = value / penalty if value > 0 else value * penalty


@njit(cache=True, nogil=True)
def _discourage(
    row: np.ndarray, counts: np.ndarray, presence: np.float32, frequency: np.float32
) -> None:
    for token in range(len(row)):
        if counts[token] > 0:
            row[token] -= presence + frequency * np.float32(counts[token])
