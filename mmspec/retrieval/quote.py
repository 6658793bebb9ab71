"""Trees quoted from a text's own suffix automaton: what followed, the last times it stood so.

Every node knows the state of the text matched so far. Its continuations are the state's edges, by
count share; with the chance that the text leaves what it did before, those of the next shorter
suffix (prediction by partial matching, Cleary and Witten 1984, with exclusion). The likeliest
unopened guess is always taken next, so the tree is deep where the text repeats and wide where it
forks, and ends where a guess is not worth a row.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from mmspec.retrieval.automaton import (
    BRANCH,
    COUNT,
    EDGES,
    LENGTH,
    LINK,
    TARGET,
    TOKEN,
    bucket,
    find,
)
from mmspec.retrieval.frontier import pop, push

WIDTH = 32  # continuations of one node looked at
SUFFIXES = 8  # suffixes of one node asked, longest first
SURE = 0.99  # no guess is surer than this, and none less sure than its complement
PARENT, GUESS, STATE, MATCH = 0, 1, 2, 3  # columns of a frontier row


@njit(cache=True, nogil=True)
def _continuations(
    states: np.ndarray, edges: np.ndarray, state: int, known: int, found: np.ndarray,
    queue: np.ndarray,
) -> tuple[int, int]:  # fmt: skip
    """Up to ``WIDTH`` edges of ``state`` whose tokens the tree ``known`` lacks; and their total.

    ``found`` is filled with them; ``queue`` is room for twice as many.
    """
    head, tail, count, total = 0, 0, 0, 0
    if states[state, EDGES] >= 0:
        queue[0], tail = states[state, EDGES], 1
    while head < tail and count < WIDTH:
        edge = queue[head]
        head += 1
        if find(edges, known, edges[edge, TOKEN]) < 0:
            found[count] = edge
            count += 1
            total += states[edges[edge, TARGET], COUNT]
        for branch in range(BRANCH, BRANCH + 2):
            if edges[edge, branch] >= 0 and tail < len(queue):
                queue[tail] = edges[edge, branch]
                tail += 1
    if head < tail:  # the rest was not looked at, but it did occur
        total = max(total, states[state, COUNT])
    return count, total


@njit(cache=True, nogil=True)
def grow(  # compiled: an array an argument
    states: np.ndarray,
    edges: np.ndarray,
    match: tuple[int, int],
    trust: np.ndarray,
    stops: np.ndarray,
    nodes: int,
    depth: int,
    floor: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The tree of the ``nodes`` likeliest continuations of what was matched.

    Args:
        states: see the automaton.
        edges: see the automaton.
        match: the state that the text stands in, and how many of its tokens that matches; state 0:
            nothing does.
        trust: see the automaton.
        stops: int64 [M], ids below which nothing is guessed.
        nodes: most nodes, the root included.
        depth: most edges below the root.
        floor: least chance of acceptance of a guess.

    Returns:
        tokens int64 [N] (the root's is left to the caller), parents int32 [N], scores float32 [N],
        source uint8 [N].
    """
    tokens, parents = np.zeros(nodes, np.int64), np.full(nodes, -1, np.int32)
    chances, depths = np.ones(nodes), np.zeros(nodes, np.int32)
    keys, order = np.empty(nodes * WIDTH), np.empty(nodes * WIDTH, np.int32)
    items, found = np.empty((nodes * WIDTH, 4), np.int32), np.empty(WIDTH, np.int32)
    queue, rows, size, count = np.empty(2 * WIDTH, np.int32), 0, 0, 1
    node, state, length = 0, match[0], match[1]
    while count < nodes:
        # Open `node`: offer its continuations, then those of ever shorter suffixes.
        chance, known, room = chances[node], -1, rows + WIDTH
        closed = depths[node] >= depth
        for stop in stops:
            closed = closed or (node > 0 and tokens[node] == stop)
        asked = SUFFIXES if closed else 0
        while state > 0 and chance >= floor and asked < SUFFIXES:
            trusted = min(max(trust[bucket(length)], 1.0 - SURE), SURE)
            some, total = _continuations(states, edges, state, known, found, queue)
            for edge in found[:some]:
                target = edges[edge, TARGET]
                key = chance * trusted * states[target, COUNT] / total
                if key >= floor and rows < room:
                    keys[rows] = key
                    items[rows, PARENT], items[rows, GUESS] = node, edges[edge, TOKEN]
                    items[rows, STATE], items[rows, MATCH] = target, length + 1
                    size = push(keys, order, size, rows)
                    rows += 1
            if some > 0:  # a suffix that has nothing to say, as at the text's end, costs nothing
                chance *= 1.0 - trusted
            asked += 1
            known = states[state, EDGES]
            state = states[state, LINK]
            length = states[max(state, 0), LENGTH]
        if size == 0:
            break
        row = pop(keys, order, size)
        size -= 1
        node, state, length = count, items[row, STATE], items[row, MATCH]
        tokens[node], parents[node] = items[row, GUESS], items[row, PARENT]
        chances[node], depths[node] = keys[row], depths[items[row, PARENT]] + 1
        count += 1
    scores = np.log(chances[:count]).astype(np.float32)
    return tokens[:count], parents[:count], scores, np.zeros(count, np.uint8)
