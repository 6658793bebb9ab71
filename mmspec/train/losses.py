"""What a drafter is taught by: distances between its law and the target's, one value a position.

Axes: N positions, V draft vocabulary, W the target's vocabulary, H hidden. Every loss returns one
value a position, [N]; :func:`mean` weighs them, so a mask is a weight of 0. p is the target's law,
q the drafter's.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, log_softmax, smooth_l1_loss

Distance = Literal["hybrid", "kl", "reverse-kl", "tv", "tvd++"]
SHOWN = ("ce", "kl", "overlap", "accepted", "mass")


class Law(NamedTuple):
    """The target's law as far as the drafter can speak it.

    Attributes:
        log_p: float [N, V], renormalised over the draft vocabulary.
        mass: float [N], what p has inside that vocabulary; 1 - mass is always rejected.
        inside: bool [N], whether the target's most likely token is one of them.
    """

    log_p: Tensor
    mass: Tensor
    inside: Tensor


def law(logits: Tensor, kept: Tensor | None) -> Law:
    """Restrict the target's logits [N, W] to draft ids.

    Args:
        kept: int64 [V], the target id of every draft id; None: the vocabularies are one.
    """
    whole = log_law(logits)
    if kept is None:
        ones = torch.ones_like(whole[:, 0])
        return Law(whole, ones, ones.bool())
    part = whole[:, kept]
    log_mass = part.logsumexp(-1)
    inside = part.amax(-1) >= whole.amax(-1)
    return Law(part - log_mass[:, None], log_mass.exp(), inside)


def log_law(logits: Tensor) -> Tensor:
    """Log-probabilities [N, V], in float32 (float64 where the logits are)."""
    wide = torch.float64 if logits.dtype == torch.float64 else torch.float32
    return log_softmax(logits.to(wide), -1)


def mean(values: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean of [N] values; 0, with a gradient of 0, where all weights are 0."""
    return (values * weight).sum() / weight.sum().clamp_min(torch.finfo(values.dtype).tiny)


def cross_entropy(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Of q under p: -sum p log q; both [N, V] log-probabilities, [N]."""
    return -(log_p.exp() * log_q).sum(-1)


def kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q) = sum p (log p - log q) of two [N, V] laws, [N]."""
    return (log_p.exp() * (log_p - log_q)).sum(-1)


def reverse_kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(q || p) = sum q (log q - log p) of two [N, V] laws, [N].

    It drops tokens of p rather than invent any (MiniLLM, arXiv:2306.08543).
    """
    return kl(log_q, log_p)


def overlap(log_p: Tensor, log_q: Tensor, mass: Tensor) -> Tensor:
    """Sum of min(p, q): the most any rule can accept of one drafted token, [N]."""
    return torch.minimum(mass[:, None] * log_p.exp(), log_q.exp()).sum(-1)


def total_variation(log_p: Tensor, log_q: Tensor, mass: Tensor) -> Tensor:
    """Half the sum of |p - q| over the target's whole vocabulary, [N].

    p is not renormalised here: what lies outside the draft vocabulary counts as rejected.
    """
    inside = (mass[:, None] * log_p.exp() - log_q.exp()).abs().sum(-1)
    return (inside + 1 - mass) / 2


def hybrid_share(acceptance: Tensor, eta: float) -> Tensor:
    """Weight of KL beside TV at running acceptances, exp(-eta a): far off, KL leads better."""
    return torch.exp(-eta * acceptance)


def hybrid(log_p: Tensor, log_q: Tensor, mass: Tensor, share: float | Tensor) -> Tensor:
    """Mix of KL, weighted ``share``, and TV, weighted 1 - share, [N].

    KL is weighted by the mass inside, as it is where p is cut and not renormalised.
    """
    return share * mass * kl(log_p, log_q) + (1 - share) * total_variation(log_p, log_q, mass)


def distance(kind: Distance, law: Law, log_q: Tensor, share: float | Tensor) -> Tensor:
    """The chosen distance of the drafter's law from the target's, [N].

    Args:
        share: weight of KL in ``hybrid``; the others do without.
    """
    match kind:
        case "hybrid":
            return hybrid(law.log_p, log_q, law.mass, share)
        case "kl":
            return law.mass * kl(law.log_p, log_q)
        case "reverse-kl":
            return law.mass * reverse_kl(law.log_p, log_q)
        case "tv":
            return total_variation(law.log_p, log_q, law.mass)
        case "tvd++":
            return tvd_plus_plus(law.log_p, log_q, law.mass)


def list_mle(log_p: Tensor, log_q: Tensor, count: int = 10) -> Tensor:
    """Plackett-Luce: how unlikely q's scores make the target's order of its ``count`` best, [N].

    Minus log of the product over ranks j of e^(s_j) / sum_(k >= j) e^(s_k), over ``count``, so
    that lists of different lengths weigh alike; the order of tree children is what it teaches.
    """
    best = log_p.topk(min(count, log_p.shape[-1])).indices
    scores = log_q.gather(-1, best)
    rest = scores.flip(-1).logcumsumexp(-1).flip(-1)
    return (rest - scores).mean(-1)


def features(drafted: Tensor, true: Tensor) -> Tensor:
    """Smooth L1 (quadratic within 1) between feature vectors [N, H], mean over H, [N]."""
    return smooth_l1_loss(drafted, true, reduction="none").mean(-1)


def tvd_plus_plus(
    log_p: Tensor,
    log_q: Tensor,
    mass: Tensor,
    drawn: Tensor | None = None,
    *,
    normalise: bool = True,
) -> Tensor:
    """Total variation as a policy gradient with normalised costs (arXiv:2403.00858), [N].

    The gradient of TV is E_(x~q)[grad log q(x) r(x)] with the cost r(x) = 1 where q(x) > p(x),
    else 0; TVD++ replaces r by (r - mean) / deviation over the batch. Only the gradient means
    anything, the value does not.

    Args:
        drawn: int64 [N, S], tokens drawn from q; None takes the exact expectation over V, in
            which the mean has no effect and the deviation sets the scale.
        normalise: whether to subtract the mean and divide by the deviation.
    """
    q = log_q.detach().exp()
    cost = (q > mass[:, None] * log_p.exp()).to(log_q.dtype)
    if drawn is not None:
        cost, log_q = cost.gather(-1, drawn), log_q.gather(-1, drawn)
        q = torch.full_like(cost, 1 / drawn.shape[-1])
    if normalise:
        share = q / len(q)
        centre = (share * cost).sum()
        spread = (share * (cost - centre).square()).sum().sqrt()
        cost = (cost - centre) / spread.clamp_min(1e-6)
    return (q * cost * log_q).sum(-1)


def accepted(log_p: Tensor, log_q: Tensor, inside: Tensor) -> Tensor:
    """Whether the drafter's most likely token is the target's, 0 or 1, [N]."""
    return (inside & (log_p.argmax(-1) == log_q.argmax(-1))).to(log_q.dtype)


def shown(law: Law, log_q: Tensor) -> tuple[Tensor, ...]:
    """What is told of a law beside the loss, [N] each, in the order of ``SHOWN``."""
    return (
        law.mass * cross_entropy(law.log_p, log_q),
        law.mass * kl(law.log_p, log_q),
        overlap(law.log_p, log_q, law.mass),
        accepted(law.log_p, log_q, law.inside),
        law.mass,
    )


def confidence(said: Tensor, label: Tensor, rejection_weight: float = 1.0) -> Tensor:
    """Binary cross-entropy of a confidence head's logits [N], [N].

    Args:
        label: [N] in 0..1: :func:`accepted` for greedy requests, :func:`overlap` for the chance
            that a sampled token is kept.
        rejection_weight: how much more a rejection weighs (SpecDec++ takes 6: few are seen).
    """
    each = binary_cross_entropy_with_logits(said, label, reduction="none")
    return each * (label + (1 - label) * rejection_weight)
