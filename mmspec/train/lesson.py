"""One micro-batch of a feature drafter: capture, unroll, loss; and the same on held-out text.

Axes: B rows, S slots, K steps, N slots that are learned from, V draft vocabulary, H hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, cast

import msgspec
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mmspec.train import chain, guards, losses
from mmspec.train.losses import Distance
from mmspec.train.unroll import Body, Ground, Unrolled, ground, pick, unroll

if TYPE_CHECKING:
    from mmspec.train.capture import Captured, FrozenTarget
    from mmspec.train.chain import Decoded
    from mmspec.train.losses import Law
    from mmspec.train.packing import PackedRows

Look = Callable[["PackedRows", "Captured", list[Tensor]], Ground]
COLUMNS = ("loss", *losses.SHOWN)


class Mix(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the loss of a step is made of, and how the steps weigh.

    Attributes:
        distance: of the drafter's law from the target's; hybrid weighs KL and total variation by
            running acceptance (``eta``), tvd++ is total variation as a policy gradient.
        ranking: weight of the order of the target's ``top`` best.
        confidence: weight of the confidence head; its label is whether the drafter's first choice
            is the target's (what greedy verification accepts). ``rejection`` weighs its misses.
        features: weight of smooth L1 between a state and the next slot's fused true feature.
        unroll: steps K, at least as many as a pass of the network makes. depth: drafts of a chain
            in trials; None: K.
        decay: weight of step k is decay^k. momentum: of the running acceptance.
        chunk: slots whose logits exist at once, and are made again in backward; 0: all of them,
            once, which is faster where they fit.
        compiled: fuse the losses' many small steps (torch.compile; a minute at the start).
    """

    distance: Distance = "hybrid"
    eta: float = 3.0
    ranking: float = 0.1
    top: int = 10
    confidence: float = 0.1
    rejection: float = 1.0
    features: float = 0.0
    unroll: int = 5
    depth: int | None = None
    decay: float = 0.8
    momentum: float = 0.95
    chunk: int = 1024
    compiled: bool = False


class Network(Protocol):
    """A drafter's network as it is trained; one that ``unroll`` drafts with is a ``Body`` too."""

    @property
    def parallel(self) -> int:
        """How many states it says at a slot."""
        ...

    def fuse(self, features: Sequence[Tensor]) -> Tensor:
        """The watched layers' true features, each [..., E], as a state [..., H]."""
        ...

    def logits(self, states: Tensor) -> Tensor:
        """Draft logits [N, V] of states [N, H]."""
        ...

    def confidence(self, states: Tensor) -> Tensor:
        """Logits [N] of the chance that the first choice is accepted."""
        ...


class Lesson(nn.Module):
    """A network with the loss it is trained by; what ``DistributedDataParallel`` wraps.

    Args:
        network: a module that is also a ``Network``.
        kept: int64 [V], target ids of the draft ids; None: all.
        look: what the chains start from where the network sees pictures.

    Raises:
        GuardError: the network says states that no step would learn from.
    """

    running: Tensor

    def __init__(
        self, network: nn.Module, target: FrozenTarget, kept: Tensor | None, mix: Mix,
        look: Look | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        guards.check_unroll(mix.unroll, cast("Network", network).parallel)
        self.network = network
        self.mix = mix
        self._target, self._kept, self._look = target, kept, look
        self._each_part: Callable[..., Tensor] = self._sums
        if mix.compiled:
            self._each_part = torch.compile(self._sums, dynamic=True)
        self.register_buffer("running", torch.zeros(mix.unroll))

    def forward(self, rows: PackedRows, captured: Captured) -> tuple[Tensor, Tensor, Tensor]:
        """Loss, means by step [K, len(COLUMNS)], and how many slots each step learned from [K]."""
        features = self._features(captured)
        said, slots, valid = self._unrolled(rows, captured, features, self.mix.unroll)
        valid = valid.flatten(1)
        where = valid[0].nonzero().squeeze(1)
        final = pick(captured.final, slots + 1).flatten(0, 1)
        true = self._truth(features, slots) if self.mix.features else None
        shares = losses.hybrid_share(self.running, self.mix.eta)
        total = final.new_zeros((self.mix.unroll, len(COLUMNS)), dtype=torch.float32)
        for part in where.split(self.mix.chunk or len(where)):
            states = [state.flatten(0, 1)[part] for state in said]
            given = (shares, final[part], valid[:, part], None if true is None else true[part])
            if self.mix.chunk:
                made = checkpoint(self._each_part, *given, *states, use_reentrant=False)
            else:
                made = self._each_part(*given, *states)
            total = total + made
        counts = valid.sum(1)
        means = total / counts.clamp_min(1)[:, None]
        share = self.mix.decay ** torch.arange(self.mix.unroll, device=means.device)
        share = share * (counts > 0)
        loss = (share * means[:, 0]).sum() / share.sum().clamp_min(1e-9)
        if self.training:
            with torch.no_grad():
                fresh = torch.where(counts > 0, means[:, 3], self.running)
                self.running.lerp_(fresh, 1 - self.mix.momentum)
        return loss, means.detach(), counts

    @torch.no_grad()
    def trial(self, rows: PackedRows, captured: Captured) -> tuple[list[Decoded], Tensor]:
        """Greedy samples decoded with chains of ``depth`` drafts, and overlaps of step 0.

        The second is sum and count [2] of what could be accepted of one draft at temperature 1.
        """
        features = self._features(captured)
        depth = self.mix.depth or self.mix.unroll
        said, slots, valid = self._unrolled(rows, captured, features, depth)
        following = rows.tokens.gather(1, (slots + 2).clamp(max=rows.tokens.shape[1] - 1))
        right = torch.zeros((len(said), *rows.tokens.shape), dtype=torch.bool, device=slots.device)
        row = torch.arange(len(slots), device=slots.device)[:, None].expand_as(slots)
        for step, states in enumerate(said):
            at = valid[step]
            best = self._body.logits(states[at]).argmax(-1)
            best = best if self._kept is None else self._kept[best]
            right[step, row[at], slots[at] + 2] = best == following[at]
        at = valid[0]
        final = pick(captured.final, slots + 1)[at]
        law = losses.law(self._target.logits(final), self._kept)
        log_q = losses.log_law(self._body.logits(said[0][at]))
        overlap = losses.overlap(law.log_p, log_q, law.mass)
        return chain.decode(rows, right), torch.stack(
            [overlap.sum(), overlap.new_tensor(len(overlap))]
        )

    @property
    def _body(self) -> Network:
        return cast("Network", self.network)

    def _unrolled(
        self, rows: PackedRows, captured: Captured, features: list[Tensor], steps: int
    ) -> Unrolled:
        """What the network says at the slots that are learned from, ``steps`` drafts in a row."""
        if self._look is None:
            start = ground(cast("Body", self.network), rows, features)
        else:
            start = self._look(rows, captured, features)
        return unroll(cast("Body", self.network), rows, start, steps)

    def _features(self, captured: Captured) -> list[Tensor]:
        """The watched layers, [B, T, H] each, in the network's own arithmetic."""
        dtype = next(self.network.parameters()).dtype
        layers = [layer for layer in self._target.layers if layer >= 0]
        return [captured.hidden[layer].to(dtype) for layer in layers]

    def _truth(self, features: list[Tensor], slots: Tensor) -> Tensor:
        """Fused true features of the slots after, [B N, H]; they are aims, not learned."""
        with torch.no_grad():
            return self._body.fuse([pick(layer, slots + 1) for layer in features]).flatten(0, 1)

    def _sums(
        self,
        shares: Tensor,
        final: Tensor,
        valid: Tensor,
        true: Tensor | None,
        *states: Tensor,
    ) -> Tensor:
        """Sums over the chunk's valid slots, [K, len(COLUMNS)]; only the loss has a gradient.

        It is run again in backward, so it may read nothing that changes in between.
        """
        law = losses.law(self._target.logits(final), self._kept)
        rows = []
        for step, (state, at) in enumerate(zip(states, valid, strict=True)):
            log_q = losses.log_law(self._body.logits(state))
            weight = at.float()
            each = self._each(law, log_q, state, shares[step])
            if true is not None:
                each = each + self.mix.features * losses.features(state.float(), true.float())
            with torch.no_grad():
                shown = losses.shown(law, log_q)
            rows.append(torch.stack([(weight * values).sum() for values in (each, *shown)]))
        return torch.stack(rows)

    def _each(self, law: Law, log_q: Tensor, state: Tensor, share: Tensor) -> Tensor:
        """Loss of every slot, [N]."""
        mix = self.mix
        each = losses.distance(mix.distance, law, log_q, share)
        if mix.ranking:
            each = each + mix.ranking * law.mass * losses.list_mle(law.log_p, log_q, mix.top)
        if mix.confidence:
            label = losses.accepted(law.log_p, log_q, law.inside).detach()
            said = self._body.confidence(state).float()
            each = each + mix.confidence * losses.confidence(said, label, mix.rejection)
        return each
