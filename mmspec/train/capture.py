"""Online capture: the frozen target reads the batch inside the training step; nothing is dumped.

The model is a plain transformers one of any supported family, pictures included. A layer's hidden
state is what ``mmspec.model.target.Output.hidden`` gives: the input of what follows the layer.

Axes: B rows, T tokens of a row, H hidden, V vocabulary, N chosen positions.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers import DynamicCache

from mmspec.model.families.find import find_family
from mmspec.model.turning import turning
from mmspec.train.guards import GuardError
from mmspec.train.packing import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor, nn

    from mmspec.model.families.family import Encoded
    from mmspec.train.packing import PackedRows

# Decoders that take one mask a kind of layer; the others take the one their layers share.
_MASK_A_KIND = frozenset({"qwen2", "qwen3", "gemma3_text", "qwen2_5_vl_text"})


@dataclass(frozen=True, slots=True)
class Captured:
    """What the target showed.

    Attributes:
        hidden: layer -> [B, T, H].
        final: [B, T, H], normed, from which logits can be had.
        keys, values: of the layer that was asked for, as its cache has them: turned,
            [B, kv heads, T, D].
        angles: cosines and sines of the target's rotation, float32 [B, T, D]; with keys.
    """

    hidden: Mapping[int, Tensor]
    final: Tensor
    keys: Tensor | None = None
    values: Tensor | None = None
    angles: tuple[Tensor, Tensor] | None = None


class FrozenTarget:
    """A target that is read and never trained.

    Args:
        model: a causal language or vision-language model of a supported family, untouched by
            ``Target`` (which replaces its attention).
        layers: decoder layers whose outputs are captured; -1 is what enters the first.
        autocast: run it in bfloat16 whatever its weights are.
        keys: the layer whose keys and values are captured too; None: of none.
    """

    def __init__(
        self, model: Any, layers: tuple[int, ...], *, autocast: bool = False,
        keys: int | None = None,
    ) -> None:  # fmt: skip
        self.family = find_family(model)
        self.model: Any = model.eval().requires_grad_(False)
        self.layers = layers
        self._autocast = autocast
        text = model.config.get_text_config()
        self.config: Any = text
        count: int = text.num_hidden_layers
        asked = layers if keys is None else (*layers, keys)
        if not asked or min(asked) < -1 or max(asked) >= count:
            raise GuardError(f"feature layers {asked}: the target has layers 0 to {count - 1}")
        self._keys = keys
        self._turning = None if keys is None else turning(self.family.decoder, _head_dim(text))

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.family.decoder.device

    @torch.no_grad()
    def read(self, rows: PackedRows) -> Captured:
        """One forward pass over packed rows."""
        embeds = self.embed(rows.tokens)
        extra: Mapping[str, object] = {}
        if rows.pictures:
            encoded = [self.family.encode(placed.media) for placed in rows.pictures]
            embeds, seen = _see(embeds, rows, encoded)
            deep = zip(*(one.deepstack for one in encoded), strict=True)
            extra = self.family.deepstack(seen, tuple(torch.cat(parts) for parts in deep) or None)
        kept: dict[int, Tensor] = {}
        decoder = self.family.decoder
        following = [*list(decoder.layers), decoder.norm]
        with ExitStack() as stack:
            if self._autocast:
                stack.enter_context(torch.autocast(embeds.device.type, torch.bfloat16))
            for layer in self.layers:
                hook = following[layer + 1].register_forward_pre_hook(_keep(kept, layer))
                stack.callback(hook.remove)
            told = decoder(
                inputs_embeds=embeds,
                attention_mask=self._mask(rows.sample),
                position_ids=rows.positions,
                past_key_values=None if self._keys is None else DynamicCache(),
                use_cache=self._keys is not None,
                **extra,
            )
        if self._keys is None or self._turning is None:
            return Captured(kept, told.last_hidden_state)
        held = told.past_key_values.layers[self._keys]
        turned = self._turning.angles(rows.positions)
        return Captured(kept, told.last_hidden_state, held.keys, held.values, turned)

    def _mask(self, sample: Tensor) -> Tensor | dict[str, Tensor] | None:
        """Who sees whom; None where every row is one sample and a model's own mask is as good.

        That one costs no square of a long row. Without a cache transformers would take positions
        that jump for those of another sample.
        """
        if self._keys is not None and not sample.any():
            return None
        return masks(self.config, sample)

    @torch.no_grad()
    def embed(self, tokens: Tensor) -> Tensor:
        """The tokens' own embeddings, [..., H]."""
        return self.model.get_input_embeddings()(tokens)

    @torch.no_grad()
    def norm(self, states: Tensor) -> Tensor:
        """The final norm of hidden states [..., H]."""
        return self.family.decoder.norm(states)

    @torch.no_grad()
    def logits(self, final: Tensor) -> Tensor:
        """The target's logits [N, V] of normed hidden states [N, H]."""
        return self.family.head(final.to(self.model.lm_head.weight.dtype))


def masks(config: Any, sample: Tensor) -> Tensor | dict[str, Tensor]:
    """Who sees whom in packed rows, bool [B, 1, T, T]; per kind of layer where there are several.

    Args:
        config: of the decoder. sample: int64 [B, T], which sample of its row a token is of.
    """
    whole = visible(sample)[:, None]
    width: int | None = getattr(config, "sliding_window", None)
    near = whole
    if width is not None:
        place = torch.arange(whole.shape[-1], device=whole.device)
        near = whole & (place[:, None] - place < width)
    if config.model_type in _MASK_A_KIND:
        return {"full_attention": whole, "sliding_attention": near}
    return near


def _see(embeds: Tensor, rows: PackedRows, encoded: list[Encoded]) -> tuple[Tensor, Tensor]:
    """Put pictures' features in their places: embeddings [B, T, H], and where, bool [B, T]."""
    embeds = embeds.clone()
    seen = torch.zeros(rows.tokens.shape, dtype=torch.bool, device=embeds.device)
    for placed, one in zip(rows.pictures, encoded, strict=True):
        if len(one.embeds) != placed.stop - placed.start:
            raise GuardError(
                f"a picture gives {len(one.embeds)} features for "
                f"{placed.stop - placed.start} placeholders"
            )
        embeds[placed.row, placed.start : placed.stop] = one.embeds.to(embeds.dtype)
        seen[placed.row, placed.start : placed.stop] = True
    return embeds, seen


def _head_dim(text: Any) -> int:
    dim: int = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return dim


def _keep(kept: dict[int, Tensor], layer: int) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    def hook(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        kept[layer] = inputs[0]

    return hook
