"""The suffix automaton of one growing text: every substring, how often, and what came next.

Blumer et al. 1985, built online one token at a time. Numba over two int32 arrays, no object per
state, no Python between tokens, the interpreter lock released.

* A state is a set of substrings that end at the same places. Row: longest length, suffix link,
  occurrences, root of its edges.
* An edge leads from a state to another by one token. The edges of one state form a digital search
  tree on the bits of the token id, so finding one costs at most the bits of an id whatever the
  state's degree, and text made to hurt (one token before everything) cannot.

The suffix link of the state of the whole text *is* the longest suffix that occurred before: it is
read off, never searched, and cannot match itself.

A barrier (a placeholder id, or an id outside the vocabulary) becomes a state that no edge enters,
so no match crosses it and it is never proposed.

Counts climb at most ``CLIMB`` suffix links a token, which keeps long periodic text linear; they are
exact wherever fewer suffixes are nested, and in such text all saturate alike.
"""

from __future__ import annotations

import numpy as np
from numba import njit

LENGTH, LINK, COUNT, EDGES = 0, 1, 2, 3  # columns of a state
TOKEN, TARGET, BRANCH = 0, 1, 2  # columns of an edge; the branches are columns 2 and 3
# Entries of the header; the barriers follow.
STATES_USED, EDGES_USED, LAST, VOCABULARY, BARRIERS = 0, 1, 2, 3, 4

CLIMB = 64
TOKEN_BYTES = 16 * (2 + 3)  # at most two states and three edges a token, of 16 bytes each
BUCKET = np.array(
    [0, 1, 2, 3, 4, 5, 5, 6, 6] + [7] * 4 + [8] * 12 + [9],
    np.int8,
)  # match length -> bucket of `trust`; lengths from 25 share the last
# Chance that a text which matched so far goes on as it did before, per bucket of match length.
PRIOR = np.array([0.05, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.85, 0.93, 0.98])
RATE = 1.0 / 32.0  # how fast `trust` follows the text


@njit(cache=True, nogil=True)
def bucket(length: int) -> int:
    """Which entry of ``trust`` speaks for a match of ``length`` tokens."""
    return BUCKET[min(length, len(BUCKET) - 1)]


@njit(cache=True, nogil=True)
def find(edges: np.ndarray, edge: int, token: int) -> int:
    """The edge that carries ``token`` in the search tree rooted at ``edge``, or -1."""
    bits = token
    while edge >= 0 and edges[edge, TOKEN] != token:
        edge = edges[edge, BRANCH + (bits & 1)]
        bits >>= 1
    return edge


@njit(cache=True, nogil=True)
def _reach(
    states: np.ndarray, edges: np.ndarray, header: np.ndarray, state: int, token: int
) -> int:
    """The edge of ``state`` that carries ``token``; made, as the newest edge, if there is none."""
    fresh = header[EDGES_USED]
    edge = states[state, EDGES]
    if edge < 0:
        states[state, EDGES] = fresh
    bits = token
    while edge >= 0:
        if edges[edge, TOKEN] == token:
            return edge
        branch = BRANCH + (bits & 1)
        bits >>= 1
        below = edges[edge, branch]
        if below < 0:
            edges[edge, branch] = fresh
        edge = below
    edges[fresh, TOKEN] = token
    edges[fresh, BRANCH] = -1
    edges[fresh, BRANCH + 1] = -1
    header[EDGES_USED] = fresh + 1
    return fresh


@njit(cache=True, nogil=True)
def _copy_edges(edges: np.ndarray, header: np.ndarray, root: int) -> int:
    """A copy of the search tree at ``root``, breadth first as Cheney's collector copies."""
    if root < 0:
        return -1
    first = header[EDGES_USED]
    edges[first] = edges[root]
    scan, free = first, first + 1
    while scan < free:
        for branch in range(BRANCH, BRANCH + 2):
            below = edges[scan, branch]
            if below >= 0:
                edges[free] = edges[below]
                edges[scan, branch] = free
                free += 1
        scan += 1
    header[EDGES_USED] = free
    return first


@njit(cache=True, nogil=True)
def _new_state(states: np.ndarray, header: np.ndarray, length: int) -> int:
    state = header[STATES_USED]
    header[STATES_USED] = state + 1
    states[state, LENGTH] = length
    states[state, LINK] = 0
    states[state, COUNT] = 0
    states[state, EDGES] = -1
    return state


@njit(cache=True, nogil=True)
def _split(  # a shorter string now ends in more places than the longer ones of its state
    states: np.ndarray, edges: np.ndarray, header: np.ndarray, state: int, edge: int
) -> int:
    whole, token = edges[edge, TARGET], edges[edge, TOKEN]
    part = _new_state(states, header, states[state, LENGTH] + 1)
    states[part, LINK] = states[whole, LINK]
    states[part, COUNT] = states[whole, COUNT]
    states[part, EDGES] = _copy_edges(edges, header, states[whole, EDGES])
    states[whole, LINK] = part
    while edge >= 0 and edges[edge, TARGET] == whole:
        edges[edge, TARGET] = part
        state = states[state, LINK]
        edge = find(edges, states[state, EDGES], token) if state >= 0 else -1
    return part


@njit(cache=True, nogil=True)
def _append(states: np.ndarray, edges: np.ndarray, header: np.ndarray, token: int) -> bool:
    """Grow by one token; says whether the longest earlier match had been followed by it before."""
    last = header[LAST]
    matched = states[last, LINK]
    new = _new_state(states, header, states[last, LENGTH] + 1)
    header[LAST] = new
    state = last
    while state >= 0:
        fresh = header[EDGES_USED]
        edge = _reach(states, edges, header, state, token)
        if edge != fresh:
            target = edges[edge, TARGET]
            if states[target, LENGTH] != states[state, LENGTH] + 1:
                target = _split(states, edges, header, state, edge)
            states[new, LINK] = target
            break
        edges[edge, TARGET] = new
        state = states[state, LINK]
    climbed, above = 0, new
    while above > 0 and climbed <= CLIMB:
        states[above, COUNT] += 1
        above = states[above, LINK]
        climbed += 1
    return state == matched


@njit(cache=True, nogil=True)
def extend(  # arguments are described by the class
    states: np.ndarray,
    edges: np.ndarray,
    header: np.ndarray,
    trust: np.ndarray,
    tokens: np.ndarray,
) -> None:
    """Grow by ``tokens`` int64 [K]; the arrays must have room for them."""
    for token in tokens:
        barrier = token < 0 or token >= header[VOCABULARY]
        for entry in range(BARRIERS, len(header)):
            barrier = barrier or token == header[entry]
        last = header[LAST]
        if barrier:
            header[LAST] = _new_state(states, header, states[last, LENGTH] + 1)
            continue
        length = states[max(states[last, LINK], 0), LENGTH]
        again = _append(states, edges, header, token)
        if length > 0:
            entry = bucket(length)
            trust[entry] += RATE * ((1.0 if again else 0.0) - trust[entry])


class Automaton:
    """The automaton of one sequence's text, with room that doubles.

    Attributes:
        states: int32 [S, 4].
        edges: int32 [E, 4].
        header: int64 [4 + M], how much of both is used, the state of the whole text, the size of
            the vocabulary, the barriers.
        trust: float64 [10], how often text that matched went on as before, by match length; learned
            from this text alone.
        size: tokens held.
    """

    __slots__ = ("edges", "header", "room", "size", "states", "trust")

    def __init__(self, vocabulary: int, barriers: np.ndarray, room: int = 64) -> None:
        """Empty, for ids below ``vocabulary``; ``barriers`` int64 [M] are ids no match crosses."""
        self.size = 0
        self.room = room
        # A text of n tokens has at most 2n states and 3n edges. Pages never touched cost nothing.
        self.states = np.empty((2 * room + 1, 4), np.int32)
        self.edges = np.empty((3 * room, 4), np.int32)
        self.header = np.array([1, 0, 0, vocabulary, *barriers], np.int64)
        self.states[0] = (0, -1, 0, -1)
        self.trust = PRIOR.copy()

    def extend(self, tokens: np.ndarray) -> None:
        """Read ``tokens`` int64 [K]."""
        self.size += len(tokens)
        if self.size > self.room:
            self._grow(max(self.size, self.room + self.room // 2))
        extend(self.states, self.edges, self.header, self.trust, tokens)

    @property
    def bytes(self) -> int:
        """Bytes in use (reserved room not counted)."""
        return 16 * int(self.header[STATES_USED] + self.header[EDGES_USED])

    @property
    def match(self) -> int:
        """The state of the longest suffix that also ended earlier; 0 when there is none."""
        return max(self.states.item(self.header.item(LAST), LINK), 0)

    @property
    def match_length(self) -> int:
        """Tokens of that suffix."""
        return self.states.item(self.match, LENGTH)

    def count(self, tokens: np.ndarray) -> int:
        """How often ``tokens`` int64 [K], K > 0, occurs."""
        state = 0
        for token in tokens:
            edge = find(self.edges, self.states[state, EDGES], token)
            if edge < 0:
                return 0
            state = self.edges[edge, TARGET]
        return int(self.states[state, COUNT])

    def _grow(self, room: int) -> None:
        self.room = room
        used = self.header
        states = np.empty((2 * room + 1, 4), np.int32)
        edges = np.empty((3 * room, 4), np.int32)
        states[: used[STATES_USED]] = self.states[: used[STATES_USED]]
        edges[: used[EDGES_USED]] = self.edges[: used[EDGES_USED]]
        self.states, self.edges = states, edges
