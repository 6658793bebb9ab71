"""Where a text stands in another one that it is expected to repeat, with changes here and there.

Two readings, kept together. The longest suffix of the text that occurs in the other, as a state of
its automaton: it finds its way back by itself wherever the text comes to a known place. And a
place, which after a change is not known but may be guessed: as much of the other text was replaced
as is new (a name for a name), or nothing was (an insertion). How often each guess was right, by
the tokens since the change, is learned from the text itself.

Numba over flat arrays; index 0 of the other text is a sign that stands before its beginning.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from mmspec.core.tree import Arrays, merged, pruned
from mmspec.retrieval.automaton import COUNT, EDGES, LENGTH, LINK, RATE, TARGET, bucket, find
from mmspec.retrieval.quote import grow

STATE, MATCH, PLACE, ASTRAY = 0, 1, 2, 3  # entries of a stand
START = 4  # the beginning is trusted as a match of so many tokens
REPLACED, INSERTED = 0, 1  # rows of the rates of resuming
# Chance that a text that matched so far goes on as the other does, per bucket of match length.
TRUST = np.array([0.05, 0.5, 0.7, 0.8, 0.85, 0.9, 0.92, 0.95, 0.97, 0.985])
# Chance that it resumes now, by tokens since it left; entry 0: it has not, but that is not sure.
RESUME = np.array(
    [
        [0.8, 0.35, 0.25, 0.2, 0.1, 0.05, 0.03, 0.02],
        [0.0, 0.15, 0.1, 0.05, 0.05, 0.03, 0.02, 0.01],
    ]
)
ON = 0.9  # chance that a text which resumed goes on, per token


def new_stand(start: int) -> np.ndarray:
    """Before a first token: int64 [4], state, match, place of the next token, tokens astray.

    Args:
        start: the state of the sign before the beginning.
    """
    return np.array([start, START, 1, 0], np.int64)


@njit(cache=True, nogil=True)
def sure(states: np.ndarray, stand: np.ndarray) -> bool:
    """Whether the match stands at one place alone, and that is where the text is."""
    state = stand[STATE]
    here = states[state, LENGTH] == stand[PLACE] and states[state, COUNT] == 1
    return state > 0 and here and stand[ASTRAY] == 0


@njit(cache=True, nogil=True)
def follow(  # compiled: an array an argument
    states: np.ndarray,
    edges: np.ndarray,
    other: np.ndarray,
    trust: np.ndarray,
    resume: np.ndarray,
    stand: np.ndarray,
    fresh: np.ndarray,
) -> None:
    """Go on by int64 [K] ``fresh`` tokens of the text.

    Args:
        states: of the other text's automaton.
        edges: of that.
        other: int64 [L], the other text.
        trust: float64 [10], how often a match went on, by its length; learns.
        resume: float64 [2, 8], how often guesses of the place were right; learns.
        stand: see :func:`new_stand`; changes.
    """
    for token in fresh:
        state, length, place, astray = stand
        replaced = place + astray < len(other) and other[place + astray] == token
        inserted = place < len(other) and other[place] == token
        if not sure(states, stand):
            late = min(astray, resume.shape[1] - 1)
            resume[REPLACED, late] += RATE * ((1.0 if replaced else 0.0) - resume[REPLACED, late])
            resume[INSERTED, late] += RATE * ((1.0 if inserted else 0.0) - resume[INSERTED, late])
        if replaced:
            place, astray = place + astray + 1, 0
        elif inserted:
            place, astray = place + 1, 0
        else:
            astray += 1
        edge = find(edges, states[state, EDGES], token)
        if state > 0:
            again = 1.0 if edge >= 0 else 0.0
            entry = bucket(length)
            trust[entry] += RATE * (again - trust[entry])
        while edge < 0 and state > 0:
            state = states[state, LINK]
            length = states[state, LENGTH]
            edge = find(edges, states[state, EDGES], token)
        if edge >= 0:
            state, length = edges[edge, TARGET], length + 1
        if state > 0 and states[state, COUNT] == 1:
            # What occurs once ends where the whole beginning that belongs to its state ends.
            place, astray = states[state, LENGTH], 0
        stand[STATE], stand[MATCH], stand[PLACE], stand[ASTRAY] = state, length, place, astray


@njit(cache=True, nogil=True)
def _chain(
    other: np.ndarray, resume: np.ndarray, stand: np.ndarray, how: int, stops: np.ndarray,
    shape: tuple[int, int, float],
) -> Arrays:  # fmt: skip
    """What comes next if the text resumes now, ``how``; the root's token is left to the caller."""
    nodes, depth, floor = shape
    astray = stand[ASTRAY]
    first = stand[PLACE] + (astray if how == REPLACED else 0)
    chance = resume[how, min(astray, resume.shape[1] - 1)]
    count, most, going = 0, min(nodes - 1, depth), True
    scores = np.zeros(max(most, 0) + 1, np.float32)
    while going and count < most and first + count < len(other) and chance >= floor:
        scores[count + 1] = np.log(min(chance, 1.0))
        for stop in stops:
            going = going and other[first + count] != stop
        chance *= ON
        count += 1
    tokens = np.zeros(count + 1, np.int64)
    tokens[1:] = other[first : first + count]
    parents = np.arange(-1, count).astype(np.int32)
    return tokens, parents, scores[: count + 1], np.zeros(count + 1, np.uint8)


@njit(cache=True, nogil=True)
def guess(  # compiled: an array an argument
    states: np.ndarray,
    edges: np.ndarray,
    other: np.ndarray,
    trust: np.ndarray,
    resume: np.ndarray,
    stand: np.ndarray,
    stops: np.ndarray,
    shape: tuple[int, int, int, float],
) -> Arrays:
    """What comes next: as it went on there, and, where that is not sure, if it resumes now.

    Args:
        states: of the other text's automaton.
        edges: of that.
        other: int64 [L], the other text.
        trust: float64 [10], how often a match went on, by its length.
        resume: float64 [2, 8], how often guesses of the place were right.
        stand: see :func:`new_stand`.
        stops: int64 [M], ids after which nothing comes.
        shape: the root's token, most nodes with the root, most edges below it, least chance of a
            guess.
    """
    root, nodes, depth, floor = shape
    match = stand[STATE], stand[MATCH]
    tree = grow(states, edges, match, trust, stops, nodes, depth, floor)
    tree[0][0] = root
    if sure(states, stand):
        return tree
    for how in (REPLACED, INSERTED):
        tree = merged(tree, _chain(other, resume, stand, how, stops, (nodes, depth, floor)))
    return pruned(tree, nodes) if len(tree[0]) > nodes else tree
