"""Recording tracks: plain decoding, with every drafter asked at every place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mmspec.core.request import Request, Speculation
from mmspec.core.tree import TokenTree
from mmspec.engine.draft import Panel
from mmspec_evals.replay.track import Track, track

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Sequence as ListOf

    from mmspec.core.drafter import Budget, Drafter
    from mmspec.core.request import Prompt, Sampling
    from mmspec.core.sequence import Sequence
    from mmspec.engine.engine import Engine
    from mmspec.engine.stats import Tally


class Recorder(Panel):
    """A panel that keeps what its drafters guess, and has none of it verified.

    Args:
        wide: the budget they are asked with, whatever the engine's; a track serves smaller ones.
    """

    def __init__(self, drafters: Mapping[str, Drafter], engine: Engine, wide: Budget) -> None:
        super().__init__(drafters, engine.target.facts.vocabulary, cache=engine.cache)
        self._wide = wide
        self.kept: list[list[TokenTree]] = []

    def draft(
        self, sequences: ListOf[Sequence], budgets: ListOf[Budget], tallies: Mapping[str, Tally]
    ) -> list[TokenTree]:
        """Roots alone."""
        self.kept += self.guess(sequences, [self._wide] * len(sequences), tallies)
        return [TokenTree.root(int(sequence.tokens[-1])) for sequence in sequences]


def record(
    engine: Engine, drafters: Mapping[str, Drafter], prompts: Mapping[str, Prompt],
    sampling: Sampling, wide: Budget,
) -> list[Track]:  # fmt: skip
    """Tracks of the answers to some prompts, one after another, each from what it knows alone.

    Raises:
        RuntimeError: a request failed, or a drafter did in it.
    """
    own, tracks = engine.panel, []
    engine.panel = recorder = Recorder(drafters, engine, wide)
    try:
        for name, prompt in prompts.items():
            engine.reset()
            recorder.kept = []
            engine.submit(Request("track", prompt, sampling, Speculation(drafters=tuple(drafters))))
            told: list[int] = []
            while engine.busy:
                for delta in engine.step():
                    told += delta.tokens
                    off = delta.report.off_reasons if delta.report is not None else {}
                    if delta.error is not None or off:
                        raise RuntimeError(delta.error or f"{name}: {off}")
            # The first token came from the pass over the prompt's last: a place like all others.
            root = int(prompt.ids[-1])
            tracks.append(track(name, drafters, np.array([root, *told]), recorder.kept))
    finally:
        engine.panel = own
    return tracks
