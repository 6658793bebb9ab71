"""What every drafter with a network of its own shares with its target, and how it speaks.

Axes: V the target's vocabulary, E its hidden, H the drafter's hidden.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mmspec.text.eagle_config import inverse_frequencies

if TYPE_CHECKING:
    from collections.abc import Callable

    from mmspec.text.eagle_config import VoiceConfig


@dataclass(frozen=True, slots=True)
class _Lent:
    """The target's parts; not submodules, whose weights a checkpoint would hold."""

    embed: Callable[[Tensor], Tensor] | None = None
    head: Callable[[Tensor], Tensor] | None = None
    norm: Callable[[Tensor], Tensor] | None = None


class Voice(nn.Module):
    """Embeddings, head, reduced vocabulary and confidence of a drafter's network."""

    d2t: Tensor
    t2d: Tensor
    frequencies: Tensor
    shape: VoiceConfig

    def give_voice(self, config: VoiceConfig) -> None:
        """Make the parts; called once, at the end of a network's ``__init__``."""
        hidden = config.hidden
        self.shape = config
        self.norm: nn.Module = (
            nn.RMSNorm(hidden, config.eps) if config.final_norm else nn.Identity()
        )
        self.head = nn.Linear(hidden, config.said, bias=False) if config.own_head else None
        self.judge = nn.Linear(hidden, 1) if config.confidence else None
        self.embedding = (
            nn.Embedding(config.vocabulary, config.target_hidden).requires_grad_(False)
            if config.own_embedding
            else None
        )
        if config.draft_vocabulary is not None:
            self.register_buffer("d2t", torch.zeros(config.draft_vocabulary, dtype=torch.int64))
            self.register_buffer("t2d", torch.zeros(config.vocabulary, dtype=torch.bool))
        self.register_buffer("frequencies", inverse_frequencies(config), persistent=False)
        self._lent = _Lent()

    def lend(
        self,
        embed: Callable[[Tensor], Tensor],
        head: Callable[[Tensor], Tensor] | None = None,
        norm: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """Give it what it shares with the target; a checkpoint holds none of these.

        Args:
            embed: token ids [...] -> embeddings [..., E]; unused when it has its own.
            head: states [T, E] -> logits [T, V]; needed when it has no head of its own.
            norm: the target's final norm; needed when its features were normed (EAGLE-1 and 2).
        """
        self._lent = _Lent(embed, head, norm)

    def speak_only(self, kept: Tensor) -> None:
        """Fix the reduced vocabulary: ``kept`` int64 [draft_vocabulary], ascending target ids."""
        self.d2t.copy_(kept - torch.arange(len(kept), device=kept.device))
        self.t2d.zero_()
        self.t2d[kept] = True

    @property
    def window(self) -> int:
        """Of how many tokens a slot reads the embedding."""
        return self.shape.window

    def target_ids(self) -> Tensor:
        """The target id of every draft id, int64 [said]."""
        places = torch.arange(self.shape.said, device=self.frequencies.device)
        return places if self.shape.draft_vocabulary is None else places + self.d2t

    def embed(self, tokens: Tensor) -> Tensor:
        """Embeddings [..., E]; an id beyond the vocabulary reads as its last one."""
        known = tokens.clamp(max=self.shape.vocabulary - 1)
        if self.embedding is not None:
            return self.embedding(known)
        if self._lent.embed is None:
            raise RuntimeError("the target's embedding has not been lent")
        return self._lent.embed(known)

    def lent_norm(self, states: Tensor) -> Tensor:
        """The target's final norm of states [..., E]."""
        if self._lent.norm is None:
            raise RuntimeError("the target's final norm has not been lent")
        return self._lent.norm(states)

    def logits(self, states: Tensor) -> Tensor:
        """Logits [..., said] over draft ids: what token comes after the slot's next."""
        return self.head_logits(self.norm(states))

    def head_logits(self, normed: Tensor) -> Tensor:
        """As :meth:`logits`, of states that :attr:`norm` has seen."""
        if self.head is not None:
            return self.head(normed)
        if self._lent.head is None:
            raise RuntimeError("the target's head has not been lent")
        logits = self._lent.head(normed.flatten(0, -2)).unflatten(0, normed.shape[:-1])
        return logits if self.shape.draft_vocabulary is None else logits[..., self.target_ids()]

    def confidence(self, states: Tensor) -> Tensor:
        """Logits [...] of the chance that what it says here will be accepted."""
        if self.judge is None:
            raise RuntimeError("this network has no confidence head")
        return self.judge(self.norm(states)).squeeze(-1)

    def angles(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines [..., D] of the rotation at ``positions`` [...], float32."""
        half = positions[..., None].float() * self.frequencies
        turns = torch.cat([half, half], -1)
        return turns.cos(), turns.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding of [B, S, heads, D] by angles [B, S, D], halves paired."""
    first, second = x.float().chunk(2, -1)
    turned = torch.cat([-second, first], -1)
    return (x.float() * cos[..., None, :] + turned * sin[..., None, :]).to(x.dtype)
