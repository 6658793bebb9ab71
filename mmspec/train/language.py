"""Language stages: the whole model but its frozen tower, on packed rows of conversations."""

import re
from collections.abc import Mapping
from functools import partial

import msgspec
import torch
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast

from mmspec.train.ahead import Ahead
from mmspec.train.data.conversation import Encoder
from mmspec.train.data.mixture import Mixture, Rows, pack
from mmspec.train.dense import Dense, scaled
from mmspec.train.loop import StepLoss
from mmspec.train.nano_model import language_parameters


class Long(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every `every`-th step reads long rows instead."""

    every: int
    rows: int
    width: int
    mixture: Mixture


class Phase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One stretch of the curriculum: depth, rows a step, learning rate, and what is read."""

    name: str
    steps: int
    layers: int
    rows: int
    width: int
    rate: float
    rate_end: float
    mixture: Mixture
    long: tuple[Long, ...] = ()  # the first whose turn it is
    circuit: bool = False  # put the two copying layers in front before this phase
    places: bool = False  # give the projector its code of places before this phase
    sharpen: Dense | None = None  # teach the tower on, patch by patch, before this phase
    frozen: int = 0  # layers, from the first, whose attention stays as it is
    muon: bool = False  # Muon for the matrices, but for the copying layers' attention
    warmup: int = 20
    first_step: int = 0

    def reading(self, step: int) -> "Phase | Long":
        """Where a step's mixture and row sizes come from."""
        due = (long for long in self.long if step % long.every == long.every - 1)
        return next(due, self)


def rows_of(phase: Phase, encoder: Encoder, step: int) -> Rows:
    """What a step of a phase reads."""
    read = phase.reading(step)
    return pack(encoder, read.mixture, phase.first_step + step, read.rows, read.width)


def trained_parameters(
    model: LlavaForConditionalGeneration, frozen: int
) -> dict[str, nn.Parameter]:
    """All parameters but the tower's and the attention of the first `frozen` layers."""
    held = tuple(f"model.language_model.layers.{place}.self_attn." for place in range(frozen))
    named = language_parameters(model).items()
    return {name: value for name, value in named if not held or not name.startswith(held)}


def muon_matrices(trained: Mapping[str, nn.Parameter]) -> frozenset[str]:
    """Names of the layers' matrices, but for the attention of the two copying layers."""
    copying = re.compile(r"\.layers\.[01]\.self_attn\.")
    return frozenset(
        name
        for name, value in trained.items()
        if value.ndim == 2 and ".layers." in name and not copying.search(name)
    )


class LanguageStage:
    """A phase as a stage of the loop, on the model's device.

    Args:
        workers: processes that make rows ahead; 0: made when they are read.
    """

    def __init__(
        self, phase: Phase, model: LlavaForConditionalGeneration,
        tokenizer: PreTrainedTokenizerFast, compiled: bool, workers: int = 0,
    ) -> None:  # fmt: skip
        self.name, self.steps, self._phase, self._model = phase.name, phase.steps, phase, model
        self._rows = Ahead(partial(rows_of, phase, Encoder(tokenizer)), phase.steps, workers)
        model.model.vision_tower.requires_grad_(False)
        if compiled:
            for layer in model.model.language_model.layers:
                layer.compile(dynamic=False)

    def module(self) -> nn.Module:
        """The model that is exported."""
        return self._model

    def trained(self) -> dict[str, nn.Parameter]:
        """Projector and language model, but for frozen attention."""
        return trained_parameters(self._model, self._phase.frozen)

    def rate(self, step: int) -> float:
        """Warm-up, then a straight line from `rate` to `rate_end`."""
        phase = self._phase
        line = phase.rate + (phase.rate_end - phase.rate) * step / phase.steps
        return line * min(1.0, (step + 1) / max(1, phase.warmup))

    def loss(self, step: int) -> StepLoss:
        """Weighted cross-entropy of what the assistant says, and its mean by kind."""
        rows, kinds = self._rows(step), tuple(self._phase.reading(step).mixture.shares)
        weights = torch.from_numpy(rows.weight)[:, 1:].reshape(-1)
        learned = weights.nonzero().squeeze(1)  # before it goes to the device: sizes are known
        weight, truth, kind = (
            self._here(values[learned])
            for values in (
                weights,
                torch.from_numpy(rows.tokens)[:, 1:].reshape(-1),
                torch.from_numpy(rows.kinds)[:, 1:].reshape(-1),
            )
        )
        hidden = self.hidden(rows)[:, :-1].reshape(-1, self._model.config.text_config.hidden_size)
        scores = nn.functional.linear(hidden[self._here(learned)], self._model.lm_head.weight)
        each = nn.functional.cross_entropy(scores.float(), truth, reduction="none")
        loss = (each * weight).sum() / weight.sum()
        told = torch.zeros(2, len(kinds), device=each.device)
        told[0].index_add_(0, kind, each.detach())
        told[1].index_add_(0, kind, torch.ones_like(each))
        sums, counts = told.tolist()
        metrics = {
            name: total / count
            for name, total, count in zip(kinds, sums, counts, strict=True)
            if count
        }
        return StepLoss(loss, int((rows.conversation >= 0).sum()), metrics)

    def hidden(self, rows: Rows) -> Tensor:
        """Last hidden states after the norm, [B, T, H]."""
        seen = None
        if not rows.causal:
            members = (torch.from_numpy(part) for part in (rows.conversation, rows.turn))
            seen = visible(*(self._here(part) for part in members))[:, None]
        return self._model.model.language_model(
            inputs_embeds=self.embedded(rows),
            attention_mask=seen,
            position_ids=self._here(torch.from_numpy(rows.positions)),
            use_cache=False,
        ).last_hidden_state

    def embedded(self, rows: Rows) -> Tensor:
        """What the first layer reads, [B, T, H]: token embeddings, and pictures' features."""
        inner = self._model.model
        tokens = self._here(torch.from_numpy(rows.tokens))
        embedded: Tensor = inner.language_model.embed_tokens(tokens)
        if len(rows.images):
            with torch.no_grad():
                values = scaled(self._here(torch.from_numpy(rows.images))).to(embedded.dtype)
                seen = inner.vision_tower(values, output_hidden_states=True).hidden_states[-1]
            features = inner.multi_modal_projector(seen[:, 1:]).to(embedded.dtype)
            places = (tokens == self._model.config.image_token_index).unsqueeze(-1)
            embedded = embedded.masked_scatter(places, features)
        return embedded

    def _here(self, values: Tensor) -> Tensor:
        return values.to(self._model.device, non_blocking=True)


def visible(conversation: Tensor, turn: Tensor) -> Tensor:
    """Which key (last axis) each query sees: bool [B, T, T], of two int64 [B, T]."""
    same = conversation[:, :, None] == conversation[:, None, :]
    common = (turn[:, None, :] == 0) | (turn[:, None, :] == turn[:, :, None])
    return (same & common).tril()
