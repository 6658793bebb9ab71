"""Whether an answer is the target's own: exact, parted at a near tie, or a violation.

Two answers that part are judged at the first token in which they differ: the target reads the text
both share and its own scores say whether either token could have been its choice.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from mmspec.core.noise import gumbel
from mmspec.core.sampling import is_greedy
from mmspec_evals.metrics.prefix import shared_length
from mmspec_evals.trace import Audit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mmspec.core.request import Prompt, Sampling
    from mmspec_evals.method import Case
    from mmspec_evals.trace import Trace

# How many spacings of the arithmetic two right answers may lie apart. Rounded logits tie often and
# their neighbours swap; unrounded ones differ by the order of long sums only.
ULPS = {torch.bfloat16: 2.0, torch.float16: 2.0, torch.float32: 64.0, torch.float64: 64.0}


class Judge(Protocol):
    """The target, asked for one position.

    Attributes:
        dtype: arithmetic in which logits were rounded.
        bitwise: whether our engine promises the same bits for every arm of its own.
    """

    dtype: torch.dtype
    bitwise: bool

    def logits(self, prompt: Prompt, shared: Sequence[int]) -> np.ndarray:
        """Logits float64 [V] of the token after the prompt and the shared tokens."""
        ...


def audit(
    plain: Trace,
    other: Trace,
    case: Case,
    judge: Judge,
    *,
    lossless: bool = True,
    ours: bool = False,
    ulps: float | None = None,
) -> Audit | None:
    """Compare an answer with plain decoding of the same case.

    Args:
        lossless: whether its method claims to equal plain decoding.
        ours: whether it came from the same engine as ``plain``. Only then can sampled answers be
            compared: they share their noise.
        ulps: spacings that make a near tie; None takes those of the arithmetic.

    Returns:
        None when there is nothing to compare: text without ids, or noise of another kind.
    """
    if plain.ids is None or other.ids is None:
        return None
    greedy = is_greedy(case.sampling)
    if not greedy and (not ours or plain.seed is None or plain.seed != other.seed):
        return None
    common = shared_length(plain.ids, other.ids)
    if common == len(plain.ids) == len(other.ids):
        return Audit(kind="exact", common=common)
    if not lossless:
        return Audit(kind="approximate", at=common, common=common)
    if common == min(len(plain.ids), len(other.ids)):
        # One goes on where the other, by the same rule of ending, has ended.
        return Audit(kind="violation", at=common, common=common)
    row = judge.logits(case.prompt, plain.ids[:common])
    if not greedy:
        row = _drawn(row, case, common, plain.seed or 0)
    said, meant = float(row[other.ids[common]]), float(row[plain.ids[common]])
    best = float(row.max())
    bound = near(max(abs(best), abs(said)), judge.dtype, ulps)
    tie = best - said <= bound and best - meant <= bound and not (ours and judge.bitwise)
    return Audit(
        kind="near_tie" if tie else "violation",
        at=common,
        gap=best - said,
        bound=bound,
        common=common,
    )


def audit_turns(
    plain: Sequence[Trace],
    other: Sequence[Trace],
    cases: Sequence[Case],
    judge: Judge,
    *,
    lossless: bool = True,
    ours: bool = False,
    ulps: float | None = None,
) -> Audit | None:
    """The audit of a conversation: of the first turn that differs, else of the last.

    After a difference the turns that follow have other prompts, and say nothing more. ``cases`` are
    those of ``plain``.

    Raises:
        ValueError: the conversations have not the same number of turns.
    """
    found: Audit | None = None
    for one, two, case in zip(plain, other, cases, strict=True):
        found = audit(one, two, case, judge, lossless=lossless, ours=ours, ulps=ulps)
        if found is None or found.kind != "exact":
            return found
    return found


def near(magnitude: float, dtype: torch.dtype, ulps: float | None = None) -> float:
    """How far apart two logits of this size may lie and still be tied.

    >>> near(20.0, torch.bfloat16)
    0.25
    """
    if magnitude == 0.0 or not math.isfinite(magnitude):
        return 0.0
    spacing = torch.finfo(dtype).eps * 2.0 ** math.floor(math.log2(magnitude))
    return (ULPS[dtype] if ulps is None else ulps) * spacing


def _drawn(row: np.ndarray, case: Case, common: int, seed: int) -> np.ndarray:
    """Logits as the draw saw them: with the noise of this seed and position, in logit units.

    Tokens that top-k, top-p or min-p left out are not put down; both arms leave out the same.
    """
    sampling: Sampling = case.sampling
    noise = gumbel(seed, 0, len(case.prompt.ids) + common, len(row))
    return row + sampling.temperature * noise.astype(np.float64)
