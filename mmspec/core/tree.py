"""TokenTree: a guess. A tree of one node is plain decoding; a chain is a draft without branches.

Axes: N nodes. Node 0 is the root, the last decided token; parents precede their children, and the
children of one node carry different tokens. Flat arrays only: no object per node.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

WORD = 64  # nodes per ancestor word
Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # a tree's, in their order


@dataclass(frozen=True, slots=True)
class TokenTree:
    """Guessed continuations of one sequence.

    Attributes:
        tokens: int64 [N].
        parents: int32 [N], -1 at the root.
        scores: float32 [N], log-probability that the whole path to the node is accepted; 0 at the
            root, never rising from parent to child.
        source: uint8 [N], which drafter guessed the node (index given by the engine).
    """

    tokens: np.ndarray
    parents: np.ndarray
    scores: np.ndarray
    source: np.ndarray

    def __len__(self) -> int:
        return len(self.tokens)

    @staticmethod
    def root(token: int) -> TokenTree:
        """The tree of one node: nothing is guessed.

        >>> len(TokenTree.root(7))
        1
        """
        return TokenTree.chain(np.array([token], np.int64))

    @staticmethod
    def chain(tokens: np.ndarray, scores: np.ndarray | None = None, source: int = 0) -> TokenTree:
        """A path; ``tokens[0]`` is the root.

        >>> TokenTree.chain(np.array([7, 8, 9])).parents.tolist()
        [-1, 0, 1]
        """
        count = len(tokens)
        return TokenTree(
            tokens=np.ascontiguousarray(tokens, np.int64),
            parents=np.arange(-1, count - 1, dtype=np.int32),
            scores=np.zeros(count, np.float32) if scores is None else scores.astype(np.float32),
            source=np.full(count, source, np.uint8),
        )

    def depths(self) -> np.ndarray:
        """Edges from the root, int32 [N]."""
        return _depths(self.parents)

    def extent(self) -> tuple[int, int, int]:
        """Edges down to the deepest node, the least token, the greatest token.

        >>> TokenTree.chain(np.array([7, 8, 9])).extent()
        (2, 7, 9)
        """
        return _extent(self.tokens, self.parents)

    def guessed_by(self, sources: int) -> bool:
        """Whether a node is a guess of one of some sources: bit i stands for source i.

        >>> TokenTree.chain(np.array([7, 8]), source=1).guessed_by(0b10)
        True
        """
        return _guessed_by(self.source, sources)

    def contexts(self, text: np.ndarray, width: int) -> np.ndarray:
        """The last tokens of the text as it would stand at each node: int64 [N, width].

        Args:
            text: int64 [K], what is decided, the root last.

        >>> TokenTree.chain(np.array([7, 8, 9])).contexts(np.array([5, 7]), 3).tolist()
        [[-1, 5, 7], [5, 7, 8], [7, 8, 9]]
        """
        rows = np.full((len(self), width), -1, np.int64)
        near = text[max(len(text) - width, 0) :]
        rows[0, width - len(near) :] = near
        if width > 0:
            _follow(self.tokens, self.parents, rows)
        return rows

    def ancestors(self) -> np.ndarray:
        """Bit j of row i says that node j is node i or above it: uint64 [N, ceil(N / 64)]."""
        return _ancestors(self.parents)

    def merge(self, other: TokenTree) -> TokenTree:
        """Union as a trie: equal paths share a node, which keeps the better score and its source.

        Raises:
            ValueError: the roots differ.
        """
        if self.tokens[0] != other.tokens[0]:
            raise ValueError("trees with different roots cannot be merged")
        return TokenTree(*merged(self._arrays(), other._arrays()))

    def prune(self, budget: int) -> TokenTree:
        """The ``budget`` best nodes, closed under parents; the root always stays."""
        if len(self) <= max(budget, 1):
            return self
        return TokenTree(*pruned(self._arrays(), max(budget, 1)))

    def truncate(self, depth: int) -> TokenTree:
        """Only nodes at most ``depth`` edges from the root."""
        return self.select(np.flatnonzero(self.depths() <= depth))

    def select(self, kept: np.ndarray) -> TokenTree:
        """The nodes ``kept`` (ascending indices, closed under parents, root included)."""
        if len(kept) == len(self):
            return self
        place = np.full(len(self) + 1, -1, np.int32)
        place[kept] = np.arange(len(kept), dtype=np.int32)
        parents = place[self.parents[kept]]
        parents[0] = -1
        return TokenTree(self.tokens[kept], parents, self.scores[kept], self.source[kept])

    def without(self, banned: np.ndarray) -> TokenTree:
        """Drop guessed nodes where ``banned`` bool [N] is set, and everything below them."""
        return self.select(_surviving(self.parents, banned))

    def check(self) -> None:
        """Raise ValueError unless the four invariants hold."""
        count = len(self)
        if count == 0 or self.parents[0] != -1:
            raise ValueError("a tree starts at its root")
        index = np.arange(1, count)
        above = self.parents[1:]
        if np.any(above < 0) or np.any(above >= index):
            raise ValueError("parents precede their children")
        if len({(int(p), int(t)) for p, t in zip(above, self.tokens[1:], strict=True)}) < count - 1:
            raise ValueError("siblings carry different tokens")
        if not np.all(np.isfinite(self.scores)) or np.any(self.scores[1:] > self.scores[above]):
            raise ValueError("scores are finite and never rise from parent to child")

    def _arrays(self) -> Arrays:
        return self.tokens, self.parents, self.scores, self.source


@njit(cache=True, nogil=True)
def _depths(parents: np.ndarray) -> np.ndarray:
    depths = np.zeros(len(parents), np.int32)
    for node in range(1, len(parents)):
        depths[node] = depths[parents[node]] + 1
    return depths


@njit(cache=True, nogil=True)
def _extent(tokens: np.ndarray, parents: np.ndarray) -> tuple[int, int, int]:
    depths = np.zeros(len(parents), np.int32)
    deepest, least, most = 0, tokens[0], tokens[0]
    for node in range(1, len(parents)):
        depths[node] = depths[parents[node]] + 1
        deepest = max(deepest, depths[node])
        least, most = min(least, tokens[node]), max(most, tokens[node])
    return deepest, least, most


@njit(cache=True, nogil=True)
def _guessed_by(source: np.ndarray, sources: int) -> bool:
    return bool((sources >> source[1:].astype(np.int64) & 1).any())


@njit(cache=True, nogil=True)
def _follow(tokens: np.ndarray, parents: np.ndarray, rows: np.ndarray) -> None:
    for node in range(1, len(tokens)):
        rows[node, :-1] = rows[parents[node], 1:]
        rows[node, -1] = tokens[node]


@njit(cache=True, nogil=True)
def _ancestors(parents: np.ndarray) -> np.ndarray:
    count = len(parents)
    bits = np.zeros((count, (count + 63) // 64), np.uint64)
    for node in range(count):
        if node > 0:
            bits[node] = bits[parents[node]]
        bits[node, node // 64] |= np.uint64(1) << np.uint64(node % 64)
    return bits


@njit(cache=True, nogil=True)
def merged(one: Arrays, other: Arrays) -> Arrays:
    """What ``TokenTree.merge`` does, for compiled code."""
    tokens, parents, scores, source = one
    other_tokens, other_parents, other_scores, other_source = other
    first, room = len(tokens), len(tokens) + len(other_tokens)
    out_tokens, out_parents = np.empty(room, np.int64), np.empty(room, np.int32)
    out_scores, out_source = np.empty(room, np.float32), np.empty(room, np.uint8)
    out_tokens[:first], out_parents[:first] = tokens, parents
    out_scores[:first], out_source[:first] = scores, source
    place = np.zeros(len(other_tokens), np.int32)
    count = first
    for node in range(1, len(other_tokens)):
        above = place[other_parents[node]]
        found = -1
        for candidate in range(above + 1, count):
            if out_parents[candidate] == above and out_tokens[candidate] == other_tokens[node]:
                found = candidate
                break
        if found < 0:
            found = count
            count += 1
            out_tokens[found], out_parents[found] = other_tokens[node], above
            out_scores[found], out_source[found] = other_scores[node], other_source[node]
        elif other_scores[node] > out_scores[found]:
            out_scores[found], out_source[found] = other_scores[node], other_source[node]
        # A path score may not exceed its parent's, whichever tree each came from.
        out_scores[found] = min(out_scores[found], out_scores[above])
        place[node] = found
    return out_tokens[:count], out_parents[:count], out_scores[:count], out_source[:count]


@njit(cache=True, nogil=True)
def _best(parents: np.ndarray, scores: np.ndarray, budget: int) -> np.ndarray:
    count = len(parents)
    effective = np.empty(count, np.float64)
    effective[0] = np.inf
    for node in range(1, count):
        effective[node] = min(np.float64(scores[node]), effective[parents[node]])
    # A stable sort puts a parent before a child of equal score, so any leading part is closed.
    order = np.argsort(-effective, kind="mergesort")[:budget]
    return np.sort(order)


@njit(cache=True, nogil=True)
def pruned(tree: Arrays, budget: int) -> Arrays:
    """What ``TokenTree.prune`` does, for compiled code."""
    tokens, parents, scores, source = tree
    kept = _best(parents, scores, budget)
    place, count = np.zeros(len(tokens), np.int32), len(kept)
    above = np.full(count, -1, np.int32)
    for index in range(1, count):
        place[kept[index]] = index
        above[index] = place[parents[kept[index]]]
    return tokens[kept], above, scores[kept], source[kept]


@njit(cache=True, nogil=True)
def _surviving(parents: np.ndarray, banned: np.ndarray) -> np.ndarray:
    alive = np.ones(len(parents), np.bool_)
    for node in range(1, len(parents)):
        alive[node] = alive[parents[node]] and not banned[node]
    return np.flatnonzero(alive)
