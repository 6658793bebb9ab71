"""Our own engine: speculating (``mmspec``), and with speculation off (``vanilla``)."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

import msgspec

from mmspec.core.errors import BadRequestError, EngineFaultError
from mmspec.core.request import Request
from mmspec.engine.fault import OUT_OF_MEMORY
from mmspec_evals.method import UnsupportedError
from mmspec_evals.methods.ending import trim_rounds
from mmspec_evals.methods.meter import Meter
from mmspec_evals.trace import Rounds, Seconds, Trace

if TYPE_CHECKING:
    from mmspec.core.request import Delta, RoundLog, Speculation, SpeculationReport
    from mmspec.engine.engine import Engine
    from mmspec_evals.method import Case
    from mmspec_evals.methods.models import Models

_NO_MODEL = "retrieval."  # drafters of this wing run no model


class EngineMethod:
    """Drives an engine step by step, one request at a time, from cold caches.

    Args:
        name: its label. models: where the engine is, shared by all labels.
        speculation: what each request says; ``report`` is set in any case.
    """

    lossless = True

    def __init__(self, name: str, models: Models, speculation: Speculation) -> None:
        self.name = name
        self._models = models
        self._speculation = msgspec.structs.replace(speculation, report=True)
        self._ids = count()
        config = models.config
        spoken = speculation.drafters
        self._drafters = tuple(
            address
            for wing, names in config.drafters.items()
            for name in names
            if (address := f"{wing}.{name}") in (spoken or (address,))
        )
        self.settings: dict[str, Any] = _plain(
            {
                "kind": "engine",
                "model": config.model,
                "engine": config.engine,
                "drafters": config.drafters if speculation.enabled else {},
                "speculation": self._speculation,
            }
        )

    def generate(self, case: Case) -> Trace:
        """Answer one case.

        Raises:
            UnsupportedError: the engine refuses it. MemoryError: there is no room.
            EngineFaultError: a fault of the engine.
        """
        engine = self._models.engine
        engine.reset()
        request = Request(f"eval-{next(self._ids)}", case.prompt, case.sampling, self._speculation)
        said = _Said()
        with Meter(engine.target.device) as meter:
            try:
                engine.submit(request)
                while engine.busy:
                    said.read(engine.step(), meter)
            except BadRequestError as error:
                raise UnsupportedError(str(error)) from error
            finally:
                _abandon(engine, request.id)
            total = meter.seconds()
            peak = meter.peak_mib()
        return self._trace(case, said, total, peak)

    def close(self) -> None:
        """Nothing of its own to give back; the models are the run's."""

    def _trace(self, case: Case, said: _Said, total: float, peak: float) -> Trace:
        stats, report = self._models.engine.stats, said.report
        assert report is not None
        assert report.log is not None
        return Trace(
            text=self._models.processor.decode(said.ids),
            tokens=len(said.ids),
            finish_reason=said.reason,
            seconds=Seconds(
                total=total,
                first=said.first,
                decode=said.last - said.first,
                vision=stats.vision_seconds,
                prefill=said.first - stats.vision_seconds,
                draft=stats.draft_seconds,
            ),
            ids=said.ids,
            prompt_tokens=len(case.prompt.ids),
            image_tokens=sum(media.length for media in case.prompt.media),
            passes=report.rounds,
            drafts=self._drafts(),
            rounds=trim_rounds(_rounds(report.log), len(said.ids)),
            peak_mib=peak,
            seed=said.seed,
        )

    def _drafts(self) -> int | None:
        """Forwards of draft models: none where no drafter has a model, else nobody counts them."""
        silent = not self._speculation.enabled
        alone = all(address.startswith(_NO_MODEL) for address in self._drafters)
        return 0 if silent or alone else None


@dataclass(slots=True)
class _Said:
    """What the engine has told of one request, and when."""

    ids: list[int] = field(default_factory=list)
    first: float = 0.0
    last: float = 0.0
    reason: str = ""
    report: SpeculationReport | None = None
    seed: int | None = None

    def read(self, deltas: list[Delta], meter: Meter) -> None:
        """Take one step's news."""
        for delta in deltas:
            if delta.error is not None:
                if delta.error == OUT_OF_MEMORY:
                    raise MemoryError(delta.error)
                raise EngineFaultError(delta.error)
            if delta.tokens:
                self.last = meter.seconds()
                self.first = self.first or self.last
            self.ids += delta.tokens
            self.seed = delta.seed
            if delta.finish_reason is not None:
                self.reason, self.report = delta.finish_reason, delta.report


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    """As a JSON file would give it back."""
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(settings))
    return plain


def _rounds(log: RoundLog) -> Rounds:
    return Rounds(proposed=log.proposed, depth=log.depth, accepted=log.accepted)


def _abandon(engine: Engine, id: str) -> None:
    """Leave nothing of a request in flight, however it ended."""
    engine.cancel(id)
    while engine.busy:
        engine.step()
