"""A drafter of bounded memory in training: a feature drafter's stage on stretched positions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmspec.longctx.longspec_network import LongspecNetwork
from mmspec.train.eagle_stage import EagleStage, Plan
from mmspec.train.far import FarLesson
from mmspec.train.stretching import Stretching, stretch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor, nn

    from mmspec.train.capture import FrozenTarget
    from mmspec.train.drafter_loop import Crew
    from mmspec.train.lesson import Lesson, Look
    from mmspec.train.packing import PackedRows
    from mmspec.train.reading import Answers


class FarPlan(Plan, frozen=True, forbid_unknown_fields=True):
    """A feature drafter's plan, and how positions are stretched; trials read them as they are.

    ``drawn``: one lag of U{1..depth} a micro-batch, as LongSpec has it, in place of all in turn.
    ``spans``: of its own tokens a micro-batch sees one of these many back, trials the fewest, so
    that short texts too have to be read from the target's keys; none: what drafting sees.
    ``crowd``: how often a key of a row's other samples counts beside a sample's own, in trials too.
    """

    stretching: Stretching = Stretching()
    drawn: bool = False
    spans: tuple[int, ...] = ()
    crowd: float = 0.0


class LongspecStage(EagleStage):
    """Micro-batches by number, losses, trials."""

    name = "longspec"

    def __init__(
        self, network: LongspecNetwork, target: FrozenTarget, answers: Answers,
        kept: Tensor | None, plan: FarPlan, crew: Crew,
        keep: Callable[[int, Mapping[str, float]], None],
    ) -> None:  # fmt: skip
        super().__init__(network, target, answers, kept, plan, crew, keep)
        self._stretching, self._seed = plan.stretching, plan.reading.seed
        self._limit = int(target.config.max_position_embeddings)

    def _teach(
        self, network: nn.Module, target: FrozenTarget, kept: Tensor | None, plan: Plan,
        look: Look | None,
    ) -> Lesson:  # fmt: skip
        assert isinstance(network, LongspecNetwork)
        assert isinstance(plan, FarPlan)
        return FarLesson(
            network, target, kept, plan.mix, drawn=plan.drawn, spans=plan.spans, crowd=plan.crowd
        )

    def _micro_batch(self, number: int) -> PackedRows:
        rows = super()._micro_batch(number)
        # Seeds of different runs and numbers must not meet.
        return stretch(rows, self._stretching, self._limit, (self._seed << 32) + number)

    def first(self, count: int) -> list[PackedRows]:
        """The first micro-batches."""
        return [self._micro_batch(number) for number in range(count)]
