"""Language stages: the whole model but its frozen tower, on packed rows of conversations."""

import re
from collections.abc import Mapping

import msgspec
import numpy as np
import torch
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast

from mmspec.train.data.conversation import Encoder
from mmspec.train.data.mixture import Mixture, Rows, pack
from mmspec.train.dense import Dense, pixels
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
    long: Long | None = None
    circuit: bool = False  # put the two copying layers in front before this phase
    places: bool = False  # give the projector its code of places before this phase
    sharpen: Dense | None = None  # teach the tower on, patch by patch, before this phase
    frozen: int = 0  # layers, from the first, whose attention stays as it is
    muon: bool = False  # Muon for the matrices, but for the copying layers' attention
    warmup: int = 20
    first_step: int = 0

    def reading(self, step: int) -> "Phase | Long":
        """Where a step's mixture and row sizes come from."""
        long = self.long
        return long if long is not None and step % long.every == long.every - 1 else self


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
    """A phase as a stage of the loop."""

    def __init__(
        self, phase: Phase, model: LlavaForConditionalGeneration,
        tokenizer: PreTrainedTokenizerFast, compiled: bool,
    ) -> None:  # fmt: skip
        self.name, self.steps, self._phase, self._model = phase.name, phase.steps, phase, model
        self._encoder = Encoder(tokenizer)
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
        read, number = self._phase.reading(step), self._phase.first_step + step
        rows = pack(self._encoder, read.mixture, number, read.rows, read.width)
        weight = torch.from_numpy(rows.weight)[:, 1:].reshape(-1)
        learned = weight.nonzero().squeeze(1)
        hidden = self.hidden(rows)[:, :-1].reshape(-1, self._model.config.text_config.hidden_size)
        truth = torch.from_numpy(rows.tokens)[:, 1:].reshape(-1)[learned]
        scores = nn.functional.linear(hidden[learned], self._model.lm_head.weight).float()
        each = nn.functional.cross_entropy(scores, truth, reduction="none")
        weight = weight[learned]
        loss = (each * weight).sum() / weight.sum()
        kinds = torch.from_numpy(rows.kinds)[:, 1:].reshape(-1)[learned]
        values = each.detach()
        metrics = {
            kind: float(values[kinds == place].mean())
            for place, kind in enumerate(read.mixture.shares)
            if bool((kinds == place).any())
        }
        return StepLoss(loss, int((rows.conversation >= 0).sum()), metrics)

    def hidden(self, rows: Rows) -> Tensor:
        """Last hidden states after the norm, [B, T, H]."""
        return self._model.model.language_model(
            inputs_embeds=self.embedded(rows),
            attention_mask=None if rows.causal else torch.from_numpy(visible(rows))[:, None],
            position_ids=torch.from_numpy(rows.positions),
            use_cache=False,
        ).last_hidden_state

    def embedded(self, rows: Rows) -> Tensor:
        """What the first layer reads, [B, T, H]: token embeddings, and pictures' features."""
        inner = self._model.model
        tokens = torch.from_numpy(rows.tokens)
        embedded: Tensor = inner.language_model.embed_tokens(tokens)
        if rows.images:
            with torch.no_grad():
                values = pixels(rows.images).to(embedded.dtype)
                seen = inner.vision_tower(values, output_hidden_states=True).hidden_states[-1]
            features = inner.multi_modal_projector(seen[:, 1:]).to(embedded.dtype)
            places = (tokens == self._model.config.image_token_index).unsqueeze(-1)
            embedded = embedded.masked_scatter(places, features)
        return embedded


def visible(rows: Rows) -> np.ndarray:
    """Which key (last axis) each query sees: bool [B, T, T]."""
    width = rows.tokens.shape[1]
    same = rows.conversation[:, :, None] == rows.conversation[:, None, :]
    turn = (rows.turn[:, None, :] == 0) | (rows.turn[:, None, :] == rows.turn[:, :, None])
    return same & turn & np.tril(np.ones((width, width), dtype=bool))
