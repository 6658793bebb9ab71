"""Looking over the shoulder of transformers' ``generate``: when tokens come, what was drafted.

Everything is hung on the model for the length of one call and taken off again.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any

from transformers.generation.streamers import BaseStreamer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import torch

    from mmspec_evals.methods.meter import Meter


class Watch(BaseStreamer):
    """What one call of ``generate`` did.

    Attributes:
        times: seconds at which each round's tokens were known. counts: how many they were.
        proposed: drafted tokens of each round; None when drafting could not be watched.
        draft_seconds, draft_forwards: spent in the candidate generator.
        vision_seconds: spent encoding pictures; None when that could not be watched.
    """

    def __init__(self, meter: Meter) -> None:
        self.times: list[float] = []
        self.counts: list[int] = []
        self.proposed: list[int] | None = None
        self.draft_seconds = 0.0
        self.draft_forwards = 0
        self.vision_seconds: float | None = None
        self._meter = meter
        self._drafting = False
        self._prompt_seen = False

    def put(self, value: torch.Tensor) -> None:
        """Take one round's tokens; the first call brings the prompt."""
        if self._prompt_seen:
            self.times.append(self._meter.seconds())
            self.counts.append(value.numel())
        self._prompt_seen = True

    def end(self) -> None:
        """Nothing more will come."""

    @contextmanager
    def on(self, model: Any, drafter: Any | None) -> Iterator[None]:
        """Watch ``model``, and count the forwards of ``drafter`` while it drafts."""
        undo: list[Callable[[], None]] = [self._watch_pictures(model)]
        if hasattr(model, "_get_candidate_generator"):
            undo.append(self._watch_drafting(model))
        if drafter is not None:
            undo.append(drafter.register_forward_hook(self._forward).remove)
        try:
            yield
        finally:
            for step in undo:
                step()

    def _forward(self, *_: object) -> None:
        self.draft_forwards += self._drafting

    def _watch_pictures(self, model: Any) -> Callable[[], None]:
        base = model.base_model
        encode = getattr(base, "get_image_features", None)
        if encode is None:
            return lambda: None

        @wraps(encode)  # generate reads its signature
        def timed(*args: Any, **named: Any) -> Any:
            began = self._meter.seconds()
            said = encode(*args, **named)
            self.vision_seconds = (self.vision_seconds or 0.0) + self._meter.seconds() - began
            return said

        base.get_image_features = timed
        return lambda: delattr(base, "get_image_features")

    def _watch_drafting(self, model: Any) -> Callable[[], None]:
        make = model._get_candidate_generator

        def watched(*args: Any, **named: Any) -> Any:
            generator = make(*args, **named)
            generator.get_candidates = self._timed_candidates(generator.get_candidates)
            return generator

        model._get_candidate_generator = watched
        return lambda: delattr(model, "_get_candidate_generator")

    def _timed_candidates(self, draft: Callable[..., Any]) -> Callable[..., Any]:
        proposed: list[int] = []
        self.proposed = proposed

        def candidates(ids: torch.Tensor, *args: Any, **named: Any) -> Any:
            began = self._meter.seconds()
            self._drafting = True
            try:
                said = draft(ids, *args, **named)
            finally:
                self._drafting = False
                self.draft_seconds += self._meter.seconds() - began
            proposed.append(said[0].shape[1] - ids.shape[1])
            return said

        return candidates
