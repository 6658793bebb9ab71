"""Marking what was said: apart from generating, so that it can be done again without a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mmspec_evals.doc import Doc
    from mmspec_evals.task import Task
    from mmspec_evals.trace import Sample

FAILED = "score"  # error_kind of a sample whose answer is whole and whose scorer broke


def cut(text: str, stops: Sequence[str]) -> str:
    """The text before the first of the stop strings.

    >>> cut("4 apples. Q: next", ("Q:", "A:"))
    '4 apples. '
    """
    places = [at for stop in stops if stop and (at := text.find(stop)) >= 0]
    return text[: min(places)] if places else text


def mark(sample: Sample, task: Task, doc: Doc) -> Sample:
    """The sample with its answers as scored, and their scores; a failure is left as it is.

    The scorer sees the document as it is stored, so that marking again gives the same.

    Raises:
        Exception: whatever the scorer raises (it should not).
    """
    if sample.error is not None and sample.error_kind != FAILED:
        return sample
    answers = [cut(trace.text, task.stop) for trace in sample.traces]
    scores = {name: float(value) for name, value in task.score(tuple(answers), doc).items()}
    return msgspec.structs.replace(
        sample, answers=answers, scores=scores, error=None, error_kind=None
    )
