"""Children of a level's nodes in one compiled pass, every id competing.

For a greedy request they are the drafter's most likely tokens. For a sampled one the target will
draw argmax of log p + G, so they are ranked by log q + w G with the very same noise, and a child's
chance is the softmax of that over what it strays by. A law near the target's hears all of the
noise, w = 1. One with too much in its tail, where the whole noise would find it, hears less: half
of the noise is the whole noise under the law sharpened to its square.

Axes: F nodes, A nodes of the level before, V ids the head scores, k children, B sequences,
M ids that end a text.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from mmspec_kernels.scalar import FAST, exponentials, widen
from numba import njit

from mmspec.core.noise import gumbel_of, uniform_bits

TAU = 0.5  # how far the drafter's logits stray from the target's: their noise's scale


class Guessed(NamedTuple):
    """A level's guesses; -inf where one is not worth a row.

    Attributes:
        tokens: int64 [F, k]. chances: log-chances float32 [F, k].
        paths: float32 [F], the log-chance that the path to each node is right.
    """

    tokens: np.ndarray
    chances: np.ndarray
    paths: np.ndarray


class Words(NamedTuple):
    """What may be said.

    Attributes:
        ids: int64 [V], target ids of the columns. never: columns that are never said.
        stops: int64 [B, M], ids that end each sequence's text, padded with -1.
        floor: least log-chance of a path for which a guess is made.
        heard: share of the noise that competes, w.
    """

    ids: np.ndarray
    never: np.ndarray
    stops: np.ndarray
    floor: np.float32
    heard: np.float32


class Nodes(NamedTuple):
    """A level.

    Attributes:
        owner, tokens, parents: int64 [F], as in ``core.grow.Level``.
        warmth: float32 [F], temperatures. states: uint64 [F], noise keys. first: the roots'.
    """

    owner: np.ndarray
    tokens: np.ndarray
    parents: np.ndarray
    warmth: np.ndarray
    states: np.ndarray
    first: bool


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def choose_children(
    said: np.ndarray, judged: bool, nodes: Nodes, before: Guessed, words: Words, out: Guessed
) -> None:
    """Rank log q, or for a warm node the softmax of log q + noise, as above; the best k of each.

    Args:
        said: stored form [F, V], or [F, V + 1] where ``judged``: the last column is then the
            logit of the chance that what is guessed at a node is accepted.
        before: the guesses of the level before.
    """
    size = len(words.ids)
    scores, weights = np.empty(size, np.float32), np.empty(size, np.float32)
    whole, bits = np.empty(size, np.int32), scores.view(np.uint32)
    for row in range(len(said)):
        widen(said[row, :size], scores, bits)
        for column in words.never:
            scores[column] = -np.inf
        if nodes.warmth[row] > 0:
            _warm(scores, words, nodes.warmth[row], nodes.states[row])
        chances = out.chances[row]
        _best(scores, words.ids, out.tokens[row], chances)
        top = chances[0]
        weights[:] = scores
        exponentials(weights, size, top, whole)
        total = np.float32(0.0)
        for i in range(size):
            total += weights[i]
        away = top + np.log(total)
        if judged:
            away += _doubt(said[row, size:])
        path, ended = _followed(nodes, row, before, words.stops)
        out.paths[row] = path
        for place in range(len(chances)):
            chance = chances[place] - away
            hopeless = ended or path + chance < words.floor
            chances[place] = np.float32(-np.inf) if hopeless else chance


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _warm(scores: np.ndarray, words: Words, warmth: np.float32, state: np.uint64) -> None:
    """What competes at a temperature: log q and the request's own noise."""
    spread = words.heard * np.float32(TAU) + np.float32(1.0) - words.heard
    for i in range(len(words.ids)):
        noise = gumbel_of(uniform_bits(state, words.ids[i]))
        scores[i] = (scores[i] / warmth + words.heard * noise) / spread


@njit(cache=True, nogil=True)
def _followed(
    nodes: Nodes, row: int, before: Guessed, stops: np.ndarray
) -> tuple[np.float32, bool]:
    """The log-chance of the path to a node, and whether the text ends there."""
    if nodes.first:
        return np.float32(0.0), False
    above, token, own = nodes.parents[row], nodes.tokens[row], np.float32(0.0)
    for place in range(before.tokens.shape[1]):
        if before.tokens[above, place] == token:
            own = min(before.chances[above, place], np.float32(0.0))
            break
    ended = False
    for stop in stops[nodes.owner[row]]:
        ended = ended or stop == token
    return before.paths[above] + own, ended


@njit(cache=True, nogil=True)
def _best(scores: np.ndarray, ids: np.ndarray, tokens: np.ndarray, best: np.ndarray) -> None:
    """The highest scores and their ids, best first; unfilled places are -1 and below, -inf."""
    count = len(best)
    for place in range(count):
        best[place], tokens[place] = -np.inf, -1 - place
    least = np.float32(-np.inf)
    for i in range(len(scores)):
        if scores[i] > least:
            place = count - 1
            while place > 0 and scores[i] > best[place - 1]:
                best[place], tokens[place] = best[place - 1], tokens[place - 1]
                place -= 1
            best[place], tokens[place] = scores[i], ids[i]
            least = best[count - 1]


@njit(cache=True, nogil=True)
def _doubt(last: np.ndarray) -> np.float32:
    """Minus the log of the chance whose logit is the one number of ``last``."""
    logit = np.empty(1, np.float32)
    widen(last, logit, logit.view(np.uint32))
    return np.float32(math.log1p(math.exp(-abs(logit[0]))) + max(-logit[0], np.float32(0.0)))
