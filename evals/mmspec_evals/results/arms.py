"""The samples of one task, by method and document."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mmspec_evals.trace import Sample

VANILLA, LAST = "vanilla", "vanilla.last"
EXCUSED = ("exact", "near_tie")


@dataclass(frozen=True, slots=True)
class Document:
    """What one method did with one document.

    Attributes:
        samples: every repeat, and every process start it was measured in; the last line wins where
            a cell was measured again within one.
    """

    id: str
    sha: str
    cluster: str
    samples: tuple[Sample, ...]

    @property
    def timed(self) -> tuple[Sample, ...]:
        """Samples that succeeded, in which every turn has at least one token."""
        return tuple(s for s in self.samples if not s.error and _spoke(s))

    @property
    def marked(self) -> tuple[Sample, ...]:
        """One sample a repeat, for the marks: a success if there is any, the latest of them."""
        chosen: dict[int, Sample] = {}
        for sample in self.samples:
            if sample.error is None or chosen.get(sample.repeat, sample).error is not None:
                chosen[sample.repeat] = sample
        return tuple(chosen[repeat] for repeat in sorted(chosen))

    @property
    def told(self) -> tuple[Sample, ...]:
        """One success a repeat: what was said, however often it was measured."""
        return tuple(s for s in self.marked if not s.error and _spoke(s))

    @property
    def unsupported(self) -> bool:
        """The method cannot do this document at all."""
        return all(s.error_kind == "unsupported" for s in self.marked)

    @property
    def excused(self) -> bool:
        """The audit found the same text, or a difference that a near tie explains.

        Plain decoding is what others are audited against, and needs no audit itself.
        """
        return all(
            s.method in (VANILLA, LAST) if s.audit is None else s.audit.kind in EXCUSED
            for s in self.timed
        )


Arm = dict[str, Document]  # by document id, in the order measured


def arms(samples: Iterable[Sample]) -> dict[str, Arm]:
    """Samples of one task, by method, then document."""
    grouped: dict[str, dict[str, dict[tuple[int, str], Sample]]] = {}
    for sample in samples:
        cells = grouped.setdefault(sample.method, {}).setdefault(sample.doc_id, {})
        cells.pop((sample.repeat, sample.session), None)  # so that order stays that of the lines
        cells[sample.repeat, sample.session] = sample
    return {
        method: {doc: _document(tuple(cells.values())) for doc, cells in documents.items()}
        for method, documents in grouped.items()
    }


def together(first: Arm, second: Arm) -> Arm:
    """Two measurements of the same method as one."""
    merged = dict(first)
    for name, document in second.items():
        before = merged[name].samples if name in merged else ()
        merged[name] = _document((*before, *document.samples))
    return merged


def _document(samples: tuple[Sample, ...]) -> Document:
    last = samples[-1]
    return Document(last.doc_id, last.doc_sha, last.cluster, samples)


def _spoke(sample: Sample) -> bool:
    return bool(sample.traces) and all(trace.tokens > 0 for trace in sample.traces)
