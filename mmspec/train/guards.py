"""What stops a training run early, while it has cost little: each check names what is wrong."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mmspec.core.errors import MmspecError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np

    from mmspec.core.request import Prompt

START_SLACK = 1.5  # times ln V: a fresh head is near ln V, one from the target may be above
TARGET_SHARE = 0.8  # of ln V: a text that a model wrote itself is far likelier than chance


class GuardError(MmspecError):
    """A run that would waste its time; the message says what to mend."""


def check_spans(prompt: Prompt, media_tokens: Iterable[int]) -> None:
    """Placeholders and pictures match: as many spans as pictures, where they are said to stand.

    Raises:
        GuardError: they do not.
    """
    ids = set(media_tokens)
    places = [index for index, id in enumerate(prompt.ids.tolist()) if id in ids]
    stated = [m.start + offset for m in prompt.media for offset in range(m.length)]
    if places != stated:
        raise GuardError(
            f"{len(prompt.media)} pictures take {len(stated)} placeholders, the prompt has "
            f"{len(places)} or has them elsewhere: processor and model disagree"
        )


def check_valid(valid: int, step: int) -> None:
    """Something is learned from.

    Raises:
        GuardError: a step without one token to learn from.
    """
    if valid <= 0:
        raise GuardError(
            f"step {step} has no token to learn from: prompts (pictures count) fill whole rows, "
            "or the draft vocabulary misses every token"
        )


def check_unroll(steps: int, parallel: int) -> None:
    """Every state that a pass says is learned from.

    Raises:
        GuardError: fewer steps than states of a pass.
    """
    if steps < parallel:
        raise GuardError(
            f"unroll is {steps}, and the drafter says {parallel} states a pass: the last would "
            "never be learned; unroll at least that far, twice as far to learn from its own states"
        )


def check_start(loss: float, vocabulary: int) -> None:
    """The first cross-entropy is what an untrained drafter's should be, at most about ln V.

    Raises:
        GuardError: it is far above, or below 0, or no number.
    """
    ceiling = START_SLACK * math.log(vocabulary) + 1
    if not 0 <= loss <= ceiling:
        raise GuardError(
            f"cross-entropy {loss:.3g} at the first step, at most {ceiling:.3g} is expected with "
            f"{vocabulary} draft tokens: head, features or embeddings are wrongly scaled"
        )


def check_target(surprise: float, vocabulary: int) -> None:
    """The target finds its own texts likely.

    Args:
        surprise: mean of -log p of the responses' tokens, in nats.

    Raises:
        GuardError: they look random to it, as with weights that were never loaded.
    """
    ceiling = TARGET_SHARE * math.log(vocabulary)
    if not surprise <= ceiling:
        raise GuardError(
            f"the target gives its own responses {surprise:.3g} nats a token (chance is "
            f"{math.log(vocabulary):.3g}): its weights, its template or the data are not the ones "
            "the responses came from"
        )


def check_finite(loss: float, step: int) -> None:
    """The loss is a number.

    Raises:
        FloatingPointError: it is not; a run must not go on from there.
    """
    if not math.isfinite(loss):
        raise FloatingPointError(f"loss {loss} at step {step}")


def check_vocabulary(kept: np.ndarray, vocabulary: int) -> None:
    """Draft ids are ascending, different, and the target's.

    Raises:
        GuardError: they are not.
    """
    values = kept.tolist()
    if values != sorted(set(values)) or not values or values[0] < 0 or values[-1] >= vocabulary:
        raise GuardError(f"draft ids must ascend within the target's {vocabulary}")
