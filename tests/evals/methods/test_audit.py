"""The audit: what is the target's own word, what may pass for it, and what may not."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch
from evals.methods import folders
from mmspec_evals.methods.build import build_methods
from mmspec_evals.methods.models import Models
from mmspec_evals.metrics.prefix import shared_length
from mmspec_evals.running.audit import audit, audit_turns, near
from mmspec_evals.running.judge import EngineJudge
from mmspec_evals.trace import Seconds, Trace

from mmspec.core.noise import gumbel
from mmspec.engine import judge as verdicts

CASE = folders.case()


def said(*ids, seed=None):
    return Trace(
        text="", tokens=len(ids), finish_reason="length", seconds=Seconds(total=1.0),
        ids=list(ids), seed=seed,
    )  # fmt: skip


class Scripted:
    """Knows one row; remembers what it was asked."""

    def __init__(self, row, dtype=torch.float32, bitwise=False):
        self.row, self.dtype, self.bitwise = np.array(row, np.float64), dtype, bitwise
        self.shared = None

    def logits(self, prompt, shared):
        self.shared = list(shared)
        return self.row


class Silent(Scripted):
    def __init__(self):
        super().__init__([])

    def logits(self, prompt, shared):
        pytest.fail("nobody needs to be asked")


def test_near_is_a_few_spacings_of_the_arithmetic():
    assert near(20.0, torch.bfloat16) == 2 * 0.125  # between 16 and 32 bf16 has steps of 1/8
    assert near(15.9, torch.bfloat16) == 2 * 0.0625
    assert near(20.0, torch.float16) == 2 * 2**-6
    assert near(1.0, torch.float32) == 64 * 2**-23
    assert near(20.0, torch.bfloat16, ulps=4.0) == 0.5
    assert near(0.0, torch.bfloat16) == near(float("inf"), torch.bfloat16) == 0.0


def test_the_same_ids_are_exact():
    found = audit(said(1, 2, 3), said(1, 2, 3), CASE, Silent())
    assert (found.kind, found.at, found.gap, found.common) == ("exact", None, None, 3)


def test_a_tie_within_the_bound_is_near():
    judge = Scripted([0, 0, 9.0, 8.9375], torch.bfloat16)
    found = audit(said(5, 2, 1), said(5, 3, 0), CASE, judge)
    assert judge.shared == [5]
    assert (found.kind, found.at, found.common) == ("near_tie", 1, 1)
    assert found.gap == 0.0625
    assert found.bound == 2 * 0.0625
    wider = Scripted([0, 0, 9.0, 8.8125], torch.bfloat16)
    assert audit(said(5, 2, 1), said(5, 3, 0), CASE, wider).kind == "violation"
    assert audit(said(5, 2, 1), said(5, 3, 0), CASE, wider, ulps=3).kind == "near_tie"
    assert audit(said(5, 2, 1), said(5, 3, 0), CASE, Scripted([0, 0, 9.0, 8.9375])).kind == (
        "violation"
    )


def test_both_tokens_must_be_near_the_best():
    judge = Scripted([9.0, 0, 9.0, 5.0], torch.bfloat16)
    assert audit(said(3), said(2), CASE, judge).kind == "violation"  # plain itself is wrong


def test_bits_that_were_promised_must_be_kept():
    judge = Scripted([0, 0, 9.0, 9.0], torch.bfloat16, bitwise=True)
    assert audit(said(2), said(3), CASE, judge, ours=True).kind == "violation"
    assert audit(said(2), said(3), CASE, judge, ours=False).kind == "near_tie"


def test_logits_that_are_no_numbers_are_no_tie():
    judge = Scripted([0, 0, np.nan, 9.0], torch.bfloat16)
    assert audit(said(2), said(3), CASE, judge).kind == "violation"


@pytest.mark.parametrize(("one", "two"), [((1, 2, 3), (1, 2)), ((1, 2), (1, 2, 3)), ((), (1,))])
def test_stopping_early_or_late_is_a_violation(one, two):
    found = audit(said(*one), said(*two), CASE, Silent())
    assert (found.kind, found.at) == ("violation", min(len(one), len(two)))


def test_who_promises_nothing_breaks_nothing():
    found = audit(said(1, 2), said(1, 3), CASE, Silent(), lossless=False)
    assert (found.kind, found.at) == ("approximate", 1)
    assert audit(said(1, 2), said(1, 2), CASE, Silent(), lossless=False).kind == "exact"


def test_what_cannot_be_compared_is_not():
    text_only = msgspec.structs.replace(said(1), ids=None)
    assert audit(said(1), text_only, CASE, Silent()) is None
    sampled = folders.case(temperature=1.0, seed=3)
    assert audit(said(1, seed=3), said(2, seed=3), sampled, Silent()) is None
    assert audit(said(1, seed=3), said(2, seed=4), sampled, Silent(), ours=True) is None
    assert audit(said(1, seed=3), said(1, seed=3), sampled, Silent(), ours=True).kind == "exact"


def test_a_sampled_tie_is_one_with_its_noise():
    sampled = folders.case(temperature=0.5, seed=3)
    noise = gumbel(3, 0, len(sampled.prompt.ids) + 1, 4)
    row = np.array([-9.0, -9.0, 8.0, 8.0 + 0.5 * float(noise[2] - noise[3])])
    arms = said(1, 2, seed=3), said(1, 3, seed=3)
    for more, kind in ((0.0, "near_tie"), (1.0, "violation")):
        row[2] += more
        assert audit(*arms, sampled, Scripted(row, torch.bfloat16), ours=True).kind == kind


def test_of_a_conversation_the_first_difference_counts():
    judge = Scripted([0, 9.0, 9.0], torch.bfloat16)
    plain, other = [said(1), said(1), said(1)], [said(1), said(2), said(0)]
    found = audit_turns(plain, other, [CASE] * 3, judge)
    assert (found.kind, found.at) == ("near_tie", 0)
    assert audit_turns(plain, plain, [CASE] * 3, judge).kind == "exact"


def test_shared_length():
    assert shared_length([1, 2], [1, 3]) == 1
    assert shared_length([1, 2], [1, 2, 3]) == 2
    assert shared_length([], [1]) == 0


def test_the_judge_says_what_plain_decoding_saw(text, seeing, seen):
    for models, case in ((text, folders.case(75, max_tokens=40)), (seeing, seen)):
        (vanilla,) = build_methods(["vanilla"], models)
        trace = vanilla.generate(case)
        judge = EngineJudge(models.engine)
        for count in (0, 1, 15, 16, 17, trace.tokens - 1):
            row = judge.logits(case.prompt, trace.ids[:count])
            assert int(row.argmax()) == trace.ids[count]
        assert models.engine.cache.used == 0


def test_the_judge_and_transformers_agree(text):
    case = folders.case()
    shared = folders.case(60, draw=5).prompt.ids[:29].tolist()
    ids = torch.tensor([[*case.prompt.ids.tolist(), *shared]])
    with torch.inference_mode():
        meant = text.plain(ids).logits[0, -1].double().numpy()
    assert np.allclose(EngineJudge(text.engine).logits(case.prompt, shared), meant, atol=1e-4)


@pytest.fixture(scope="module", params=["float32", "float64"])
def exact(request, text):
    if request.param == "float32":
        return text
    model = msgspec.structs.replace(text.config.model, dtype=request.param)
    return Models(msgspec.structs.replace(text.config, model=model))


def test_one_wrong_token_is_a_violation(exact, monkeypatch):
    vanilla, ours = build_methods(["vanilla", "mmspec"], exact)
    case = folders.case(max_tokens=40)
    plain = vanilla.generate(case)
    judge = EngineJudge(exact.engine)
    assert judge.dtype == getattr(torch, exact.config.model.dtype)
    assert audit(plain, ours.generate(case), case, judge, ours=True).kind == "exact"
    verify, calls = verdicts.verify, []

    def careless(trees, *rest):
        verdict = verify(trees, *rest)
        calls.append(1)
        if len(calls) == 4:
            verdict.next[0] = (verdict.next[0] + 1) % 60
        return verdict

    with monkeypatch.context() as patch:
        patch.setattr(verdicts, "verify", careless)
        broken = ours.generate(case)
    found = audit(plain, broken, case, judge, ours=False)
    assert found.kind == "violation"
    assert found.gap > 10 * found.bound
    assert found.at == found.common < 40
