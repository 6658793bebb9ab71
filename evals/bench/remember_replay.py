"""Replaying recorded answers with drafters that read text alone: rounds as the engine runs them.

Such a drafter sees nothing but decided tokens, so its rounds over a recorded answer are the
engine's own; ``remember.py`` checks that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np
from mmspec_evals.replay.play import walk

from mmspec.core.calibration import Calibration
from mmspec.core.drafter import Budget, Facts, Observation
from mmspec.core.fuse import Fusion, fuse
from mmspec.core.request import Request
from mmspec.core.sequence import Sequence
from mmspec.retrieval import corpus, quotes, stack, suffix
from mmspec.retrieval.segment import PUBLIC, identity_of
from mmspec.retrieval.segment_build import Draft
from mmspec.retrieval.segment_search import sample
from mmspec.retrieval.shelf import Shelf

if TYPE_CHECKING:
    from collections.abc import Sequence as ListOf
    from pathlib import Path

    from remember_texts import Told

    from mmspec.core.drafter import Drafter

BUDGET = Budget(16, 16)  # the engine's own
GRAM = 32  # tokens in a row that make an exact repeat
NOTHING = np.zeros(0, np.int64)
UNSEEN = Observation(
    np.zeros(2, np.int32), NOTHING, np.zeros(2, np.int32), NOTHING, np.zeros((0, 8), np.int64)
)
Sampler = Callable[..., int]


def first_ones(*given: Any) -> int:
    """The first K occurrences in sorted order, in the place of K spread evenly over all (A14)."""
    *segment, (length, first, end), bars, rows, lengths = given
    return sample(*segment, (length, first, min(end, first + len(rows))), bars, rows, lengths)


def _one(choose: Callable[[np.ndarray], Any]) -> Sampler:
    """One occurrence alone speaks (A13)."""

    def sampler(*given: Any) -> int:
        *segment, (length, first, end), bars, rows, lengths = given
        chosen = first + int(choose(segment[1][first:end]))
        return sample(*segment, (length, chosen, chosen + 1), bars, rows[:1], lengths[:1])

    return sampler


earliest, latest = _one(np.argmin), _one(np.argmax)


@contextmanager
def sampling(by: Sampler) -> Iterator[None]:
    """Have occurrences chosen another way; uncompiled, so that it is looked up by name."""
    if by is sample:
        yield
        return
    with (
        patch.object(stack, "sample", by),
        patch.object(stack, "_fill", stack._fill.py_func),
        patch.object(quotes, "search", stack.search.py_func),
    ):
        yield


@dataclass(frozen=True)
class Arm:
    """What may be quoted.

    Attributes:
        remember: earlier answers; with ``prompts``, the prompts as well.
        index: the source of earlier modules. tenants: who take turns to ask.
        sampler: which occurrences speak. fusion: how two trees become one.
    """

    remember: bool = False
    prompts: bool = False
    index: bool = False
    tenants: int = 1
    samples: int = 64
    sampler: Sampler = sample
    fusion: str = "union"


@dataclass
class Played:
    """One answer's rounds.

    Attributes:
        kept, drafted: guesses by address. repeated: share of the answer's 32-grams that were
            remembered, or indexed, before. bytes: of its tenant's memory, then.
    """

    rounds: int
    emitted: int
    drafted: dict[str, int]
    kept: dict[str, int]
    repeated: float
    bytes: int


def grams(ids: np.ndarray, size: int = GRAM) -> np.ndarray:
    """Hashes of all runs of ``size`` tokens, uint64, sorted, each once."""
    if len(ids) < size:
        return np.zeros(0, np.uint64)
    told, count = np.zeros(len(ids) - size + 1, np.uint64), len(ids) - size + 1
    for offset in range(size):
        told = told * np.uint64(0x9E3779B97F4A7C15) + ids[offset : offset + count].astype(np.uint64)
        told ^= told >> np.uint64(29)
    return np.unique(told)


class Source:
    """The source of modules in order, indexed as time passes; ``hashes`` of their 32-grams."""

    def __init__(self, folder: Path, facts: Facts, texts: ListOf[np.ndarray]) -> None:
        self._shelf = Shelf(folder, identity_of(facts), PUBLIC)
        self._texts, self._done = texts, 0
        self.hashes: set[int] = set()

    def reach(self, module: int) -> None:
        """Index all modules before number ``module``, as ``mmspec index build`` would."""
        if module <= self._done:
            return
        with Draft(self._shelf.folder, self._shelf.identity, PUBLIC) as draft:
            for ids in self._texts[self._done : module]:
                draft.add(ids)
                self.hashes.update(grams(ids).tolist())
            self._shelf.add(draft)
        self._done = module


def play(
    arm: Arm, told: ListOf[Told], facts: Facts, source: Source | None, folder: Path
) -> list[Played]:
    """All answers in order; each is remembered before the next is asked for."""
    drafters: dict[str, Drafter] = {"retrieval.suffix": suffix.build(suffix.Config(), facts)}
    memory: corpus.Corpus | None = None
    if source is not None:
        source.reach(max(told[0].asked.module, 1))
    if arm.remember or arm.index:
        config = corpus.Config(
            paths=(str(folder),) if source is not None else (), remember=arm.remember,
            prompts=arm.prompts, samples=arm.samples,
        )  # fmt: skip
        memory = drafters["retrieval.corpus"] = corpus.build(config, facts)
    calibrations = [Calibration() for _ in range(arm.tenants)]
    known: list[set[int]] = [set() for _ in range(arm.tenants)]
    played = []
    with sampling(arm.sampler):
        for turn, one in enumerate(told):
            if source is not None:
                source.reach(one.asked.module)
            whose = turn % arm.tenants
            request = Request(one.asked.name, one.asked.prompt, tenant=f"tenant {whose}")
            if memory is not None:
                memory.declines(request)  # looks what became of the index
            now = _rounds(arm, drafters, request, one.answer, calibrations[whose])
            before = [known[whose], *([source.hashes] if source is not None else [])]
            said = grams(one.answer).tolist()
            now.repeated = sum(any(gram in some for some in before) for gram in said) / max(
                len(said), 1
            )
            if memory is not None:
                memory.ingest.settle()
                if arm.remember:
                    now.bytes = memory.ingest.memories.open(request.tenant).bytes
                    known[whose].update(said)
                if arm.prompts:
                    known[whose].update(grams(one.asked.prompt.ids).tolist())
            played.append(now)
    return played


def _rounds(
    arm: Arm, drafters: dict[str, Drafter], request: Request, answer: np.ndarray,
    calibration: Calibration,
) -> Played:  # fmt: skip
    """One answer, round by round; the first has the prompt's last token for its root."""
    one = Sequence(request, 0, 0)
    kept, drafted = dict.fromkeys(drafters, 0), dict.fromkeys(drafters, 0)
    names, rounds, at = list(drafters), 0, 0
    while at < len(answer):
        one.cached = len(one) - 1
        for drafter in drafters.values():
            drafter.observe([one], UNSEEN)
        trees = [
            replace(made, source=np.full(len(made), number, np.uint8))
            for number, drafter in enumerate(drafters.values())
            for made in drafter.draft([one], [BUDGET])
        ]
        tree, cells = fuse(trees, BUDGET, Fusion(arm.fusion), calibration)
        path, rounds = walk(tree, answer[at:]), rounds + 1
        if cells is not None:
            calibration.learn(cells, tree.parents, path)
        for number, count in enumerate(np.bincount(tree.source[1:], minlength=len(names))):
            drafted[names[number]] += int(count)
        for node in path[1:]:
            kept[names[tree.source[node]]] += 1
        said = answer[at : at + len(path)]  # at the text's end the bonus is not said
        one.extend(said)
        at += len(said)
    for drafter in drafters.values():
        if isinstance(drafter, corpus.Corpus):
            drafter.finish(one, "length")
        drafter.forget(one.id)
    return Played(rounds, len(answer), drafted, kept, 0.0, 0)
