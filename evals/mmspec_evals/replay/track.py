"""A track: a text as it was said, and what every drafter guessed at each of its places.

What a verifier accepts of a tree is the path that the text itself takes: exactly so for greedy and
for seeded sampling, where a token is a function of what came before it. So a track is all that an
arm of drafting, budgets, fusing and calibration needs; the model is not.

Axes: T places of the answer (place t guesses token t and on), G trees, N nodes of all trees.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mmspec.core.tree import TokenTree

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Track:
    """One answer.

    Attributes:
        name: of its document. sources: addresses of the drafters, by number.
        tokens: int64 [T + 1], the answer; a place stands before each but the first.
        place: int32 [G], where each tree was guessed. source: uint8 [G], by whom.
        ends: int64 [G], where each tree's nodes end.
        nodes: int64 [N]. parents: int32 [N]. scores: float32 [N].
    """

    name: str
    sources: tuple[str, ...]
    tokens: np.ndarray
    place: np.ndarray
    source: np.ndarray
    ends: np.ndarray
    nodes: np.ndarray
    parents: np.ndarray
    scores: np.ndarray

    def trees(self) -> list[list[TokenTree]]:
        """What was guessed at every place, [T] lists."""
        told: list[list[TokenTree]] = [[] for _ in range(len(self.tokens) - 1)]
        begin = 0
        for place, source, end in zip(self.place, self.source, self.ends, strict=True):
            part = slice(begin, end)
            stamp = np.full(end - begin, source, np.uint8)
            tree = TokenTree(self.nodes[part], self.parents[part], self.scores[part], stamp)
            told[place].append(tree)
            begin = end
        return told


def track(
    name: str, sources: Iterable[str], tokens: np.ndarray, guesses: list[list[TokenTree]]
) -> Track:
    """From the trees of every place."""
    trees = [(place, tree) for place, trees in enumerate(guesses) for tree in trees]
    empty = np.zeros(0, np.int64)
    return Track(
        name, tuple(sources), tokens,
        np.array([place for place, _ in trees], np.int32),
        np.array([tree.source[-1] for _, tree in trees], np.uint8),
        np.cumsum([len(tree) for _, tree in trees], dtype=np.int64),
        np.concatenate([empty, *(tree.tokens for _, tree in trees)]),
        np.concatenate([empty.astype(np.int32), *(tree.parents for _, tree in trees)]),
        np.concatenate([empty.astype(np.float32), *(tree.scores for _, tree in trees)]),
    )  # fmt: skip


FIELDS = ("tokens", "place", "source", "ends", "nodes", "parents", "scores")


def save(path: Path, tracks: list[Track]) -> None:
    """All tracks in one file, written whole or not at all."""
    arrays = {
        f"{number}.{field}": getattr(one, field)
        for number, one in enumerate(tracks)
        for field in FIELDS
    }
    names = np.array([one.name for one in tracks])
    sources = np.array(tracks[0].sources if tracks else ())
    partial = path.with_suffix(".partial.npz")
    np.savez_compressed(partial, names=names, sources=sources, **arrays)
    partial.replace(path)


def load(path: Path) -> Iterator[Track]:
    """The tracks of a file.

    Raises:
        ValueError: the file is not one of tracks.
    """
    with np.load(path, allow_pickle=False) as told:
        if "names" not in told or "sources" not in told:
            raise ValueError(f"{path} holds no tracks")
        sources = tuple(map(str, told["sources"]))
        for number, name in enumerate(told["names"]):
            arrays = [told[f"{number}.{field}"] for field in FIELDS]
            yield Track(str(name), sources, *arrays)
