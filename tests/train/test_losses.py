"""Losses against closed forms, finite differences, and each other, in fp64."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck
from torch.nn.functional import log_softmax

from mmspec.train import losses


def laws(seed, count=3, size=12):
    draw = torch.Generator().manual_seed(seed)
    p, q = (torch.randn(count, size, generator=draw, dtype=torch.float64) * 2 for _ in "pq")
    return log_softmax(p, -1), q


def logs(*rows):
    return torch.tensor(rows, dtype=torch.float64).log()


def test_kl_tv_and_overlap_of_two_known_laws():
    p, q = logs([0.5, 0.25, 0.25]), logs([0.25, 0.5, 0.25])
    one = torch.ones(1, dtype=torch.float64)
    assert losses.kl(p, q).item() == pytest.approx(0.25 * math.log(2))
    assert losses.cross_entropy(p, p).item() == pytest.approx(1.5 * math.log(2))
    assert losses.total_variation(p, q, one).item() == pytest.approx(0.25)
    assert losses.overlap(p, q, one).item() == pytest.approx(0.75)


def test_reverse_kl_is_kl_with_the_laws_exchanged():
    p, q = logs([0.5, 0.25, 0.25]), logs([0.125, 0.75, 0.125])
    want = 0.125 * math.log(1 / 4) + 0.75 * math.log(3) + 0.125 * math.log(1 / 2)
    assert losses.reverse_kl(p, q).item() == pytest.approx(want)
    told = losses.law(p, None)
    assert losses.distance("reverse-kl", told, q, 0.0).item() == losses.reverse_kl(p, q).item()


def test_a_cut_vocabulary_keeps_count_of_what_it_lost():
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]], dtype=torch.float64).log() + 7
    told = losses.law(logits, torch.tensor([2, 1]))
    assert told.log_p.exp().tolist() == [pytest.approx([1 / 3, 2 / 3])]
    assert told.mass.item() == pytest.approx(0.45)
    assert not told.inside.item()
    assert losses.law(logits, torch.tensor([3, 0])).inside.item()
    # q = (1/3, 2/3) is p renormalised: still 0.55 of p can never be accepted.
    q = told.log_p
    assert losses.overlap(told.log_p, q, told.mass).item() == pytest.approx(0.45)
    assert losses.total_variation(told.log_p, q, told.mass).item() == pytest.approx(0.55)
    # Nothing accepted even if q speaks one token that p has: min(0.15, 1) of it.
    only = torch.tensor([[1.0, 1e-300]], dtype=torch.float64).log()
    assert losses.total_variation(told.log_p, only, told.mass).item() == pytest.approx(0.85)


def test_no_mass_at_all_is_no_trouble():
    logits = torch.tensor([[0.0, -200.0, -201.0]], dtype=torch.float64, requires_grad=True)
    told = losses.law(logits, torch.tensor([1, 2]))
    assert told.mass.item() == pytest.approx(0, abs=1e-80)
    assert told.log_p.exp().sum().item() == pytest.approx(1)


@given(st.integers(0, 10**6))
def test_total_variation_and_overlap_make_one(seed):
    p, q = laws(seed)
    wide = torch.cat([p, p[:, :4]], -1)
    told = losses.law(wide, torch.arange(12))
    log_q = log_softmax(q, -1)
    both = losses.overlap(told.log_p, log_q, told.mass)
    both = both + losses.total_variation(told.log_p, log_q, told.mass)
    assert torch.allclose(both, torch.ones(3, dtype=torch.float64))
    assert (losses.kl(p, log_q) >= 0).all()
    # Pinsker: TV <= sqrt(KL / 2).
    one = torch.ones(3, dtype=torch.float64)
    assert (losses.total_variation(p, log_q, one) <= (losses.kl(p, log_q) / 2).sqrt() + 1e-12).all()


@pytest.mark.parametrize(
    "loss",
    [
        lambda p, q, m: losses.kl(p, q),
        lambda p, q, m: losses.reverse_kl(p, q),
        lambda p, q, m: losses.cross_entropy(p, q),
        losses.total_variation,
        losses.overlap,
        lambda p, q, m: losses.hybrid(p, q, m, losses.hybrid_share(torch.tensor(0.4), 3.0)),
        lambda p, q, m: losses.list_mle(p, q, 5),
        lambda p, q, m: losses.confidence(q[:, 0], m, 6.0),
        lambda p, q, m: losses.features(q, p),
    ],
    ids=["kl", "reverse-kl", "ce", "tv", "overlap", "hybrid", "list", "confidence", "features"],
)
def test_gradients_are_those_of_finite_differences(loss):
    p, q = laws(5)
    mass = torch.tensor([0.9, 0.5, 1.0], dtype=torch.float64)
    assert gradcheck(lambda x: loss(p, log_softmax(x, -1), mass), (q.requires_grad_(),))


def test_hybrid_is_kl_when_nothing_is_accepted_and_nearly_tv_when_all_is():
    p, q = laws(2)
    q, one = log_softmax(q, -1), torch.ones(3, dtype=torch.float64)
    assert torch.allclose(
        losses.hybrid(p, q, one, losses.hybrid_share(torch.tensor(0.0), 3.0)), losses.kl(p, q)
    )
    share = losses.hybrid_share(torch.tensor(1.0), 3.0)
    assert share == pytest.approx(math.exp(-3))
    want = share * losses.kl(p, q) + (1 - share) * losses.total_variation(p, q, one)
    assert torch.allclose(losses.hybrid(p, q, one, share), want)


def test_list_mle_of_equal_scores_is_the_log_of_the_number_of_orders():
    p, _ = laws(1)
    flat = torch.full((3, 12), -math.log(12), dtype=torch.float64)
    assert (
        losses.list_mle(p, flat, 10).tolist()
        == [pytest.approx(math.log(math.factorial(10)) / 10)] * 3
    )
    # Three tokens with scores 3, 2, 1 in the target's order.
    p, q = logs([0.5, 0.3, 0.2]), torch.tensor([[3.0, 2.0, 1.0]], dtype=torch.float64)
    want = math.log(math.e**3 + math.e**2 + math.e) - 3 + math.log(math.e**2 + math.e) - 2
    assert losses.list_mle(p, q, 10).item() == pytest.approx(want / 3)
    assert losses.list_mle(p, q, 10) < losses.list_mle(p, q.flip(-1), 10)


def test_tvd_plus_plus_without_normalising_has_the_gradient_of_tv():
    p, q = laws(3)
    q.requires_grad_()
    mass = torch.tensor([0.7, 0.9, 1.0], dtype=torch.float64)
    grads = [
        torch.autograd.grad(value.sum(), q)[0]
        for value in (
            losses.total_variation(p, log_softmax(q, -1), mass),
            losses.tvd_plus_plus(p, log_softmax(q, -1), mass, normalise=False),
            losses.tvd_plus_plus(p, log_softmax(q, -1), mass),
        )
    ]
    assert torch.allclose(grads[0], grads[1], atol=1e-12)
    # Normalised: the same direction, divided by the deviation of the costs over the batch.
    law = log_softmax(q.detach(), -1).exp()
    cost = (law > mass[:, None] * p.exp()).double()
    centre = (law * cost).sum() / 3
    spread = ((law * (cost - centre) ** 2).sum() / 3).sqrt()
    assert torch.allclose(grads[2] * spread, grads[0], atol=1e-12)


def test_drawn_tvd_plus_plus_agrees_on_average_with_the_exact_one():
    p, q = laws(4, count=1, size=5)
    q.requires_grad_()
    one = torch.ones(1, dtype=torch.float64)
    log_q = log_softmax(q, -1)
    want = torch.autograd.grad(losses.tvd_plus_plus(p, log_q, one, normalise=False).sum(), q)[0]
    draw = torch.Generator().manual_seed(0)
    drawn = log_q.detach().exp().multinomial(40_000, replacement=True, generator=draw)
    log_q = log_softmax(q, -1)
    got = torch.autograd.grad(losses.tvd_plus_plus(p, log_q, one, drawn, normalise=False).sum(), q)[
        0
    ]
    assert torch.allclose(got, want, atol=0.01)
    log_q = log_softmax(q, -1)
    scaled = torch.autograd.grad(losses.tvd_plus_plus(p, log_q, one, drawn).sum(), q)[0]
    cosine = torch.nn.functional.cosine_similarity(scaled, want)
    assert cosine.item() > 0.99


def test_masks_are_weights():
    values = torch.tensor([1.0, 5.0, 100.0], requires_grad=True)
    assert losses.mean(values, torch.tensor([3.0, 1.0, 0.0])).item() == 2.0
    nothing = losses.mean(values, torch.zeros(3))
    nothing.backward()
    assert nothing.item() == 0
    assert values.grad.tolist() == [0, 0, 0]


def test_confidence_weighs_rejections():
    said = torch.tensor([0.0, 0.0, math.log(3)])
    label = torch.tensor([1.0, 0.0, 0.0])
    want = [math.log(2), 6 * math.log(2), 6 * math.log(4)]
    assert losses.confidence(said, label, 6.0).tolist() == pytest.approx(want)


def test_accepted_needs_the_targets_own_choice():
    p, q = logs([0.6, 0.4], [0.6, 0.4], [0.4, 0.6]), logs([0.9, 0.1], [0.1, 0.9], [0.1, 0.9])
    inside = torch.tensor([True, True, False])
    assert losses.accepted(p, q, inside).tolist() == [1, 0, 0]
