"""The target's own word on one position, read by the path that plain decoding takes."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from mmspec.core.request import Request
from mmspec.core.sequence import Sequence
from mmspec.core.tree import TokenTree
from mmspec.engine.engine import REACH
from mmspec.model.batch import pack_trees
from mmspec.model.prefill import Prefill
from mmspec_evals.running.audit import audit_turns

if TYPE_CHECKING:
    from collections.abc import Sequence as ListOf

    import torch

    from mmspec.core.request import Prompt
    from mmspec.engine.engine import Engine
    from mmspec_evals.method import Case, Method
    from mmspec_evals.methods.models import Models
    from mmspec_evals.trace import Audit, Trace


class Auditor:
    """Compares conversations with plain decoding's, asking the run's own target where they part.

    Args:
        models: where the target is. ulps: spacings that make a near tie; None takes those of the
            target's arithmetic.
    """

    def __init__(self, models: Models, ulps: float | None = None) -> None:
        self._models = models
        self._ulps = ulps

    def __call__(
        self, plain: ListOf[Trace], other: ListOf[Trace], cases: ListOf[Case], method: Method
    ) -> Audit | None:
        """None when there is nothing to compare."""
        return audit_turns(
            plain,
            other,
            cases,
            self._judge,
            lossless=method.lossless,
            ours=method.settings.get("kind") == "engine",
            ulps=self._ulps,
        )

    @cached_property
    def _judge(self) -> EngineJudge:
        return EngineJudge(self._models.engine)


class EngineJudge:
    """Teacher-forces an engine's target while the engine is idle.

    The prompt goes in on the engine's own grid of chunks, the shared text as chains, so that at
    the ``bitwise`` level the logits are those that plain decoding had.

    Attributes:
        dtype: of the target. bitwise: whether it promises equal bits.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.dtype: torch.dtype = engine.target.dtype
        self.bitwise = engine.target.numerics == "bitwise"

    def logits(self, prompt: Prompt, shared: ListOf[int]) -> np.ndarray:
        """Logits float64 [V] of the token after the prompt and the shared tokens.

        Raises:
            RuntimeError: the engine is busy.
        """
        engine, cache = self._engine, self._engine.cache
        if engine.busy:
            raise RuntimeError("the engine has requests in flight")
        sequence = Sequence(Request("judge", prompt), 0, 0)
        cache.open(sequence.id, len(prompt.ids) + len(shared))
        try:
            self._prefill(sequence)
            tokens = np.array([prompt.ids[-1], *shared], np.int64)
            width = engine.config.max_nodes
            for start in range(0, len(tokens), width):
                row = self._read(sequence, tokens[start : start + width])
        finally:
            cache.free(sequence.id)
        return row

    def _prefill(self, sequence: Sequence) -> None:
        target, cache, chunk = self._engine.target, self._engine.cache, self._engine.config.chunk
        prefill = Prefill(target, sequence)
        last = sequence.prompt_length - 1
        while sequence.cached < last:
            stop = min((sequence.cached // chunk + 1) * chunk, last)
            target.forward(prefill.chunk(stop, cache), cache)
            cache.commit(sequence.id, np.arange(stop - sequence.cached))
            sequence.cached = stop

    def _read(self, sequence: Sequence, tokens: np.ndarray) -> np.ndarray:
        """Commit a chain of decided tokens; the logits after the last, float64 [V]."""
        target, cache = self._engine.target, self._engine.cache
        batch = pack_trees(
            [sequence],
            [TokenTree.chain(tokens)],
            cache,
            reach=max(REACH, self._engine.config.max_depth, len(tokens) - 1),
            grouped=target.numerics == "bitwise",
            axes=target.family.axes,
        )
        output = target.forward(batch, cache)
        assert output.logits is not None
        row: np.ndarray = output.logits[-1].double().cpu().numpy()
        cache.commit(sequence.id, np.arange(len(tokens)))
        sequence.cached += len(tokens)
        return row
