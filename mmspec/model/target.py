"""Target: the model whose word is law. Any supported Hugging Face model, unmodified."""

from __future__ import annotations

import copy
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import torch
from mmspec_kernels.layout import ChunkLayout
from transformers import PretrainedConfig

from mmspec.core.drafter import Facts, Needs
from mmspec.core.errors import UnsupportedModelError
from mmspec.core.request import Prompt, Request
from mmspec.core.sequence import Sequence
from mmspec.core.tree import TokenTree
from mmspec.model.attend import NAME, Step
from mmspec.model.batch import pack_trees
from mmspec.model.cache import KVCache
from mmspec.model.families.family import decode
from mmspec.model.families.find import find_family
from mmspec.model.lean import LeanDecoder, lean, sliding_width
from mmspec.model.packed import PackedLinear, pack_model

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from mmspec.core.request import Media
    from mmspec.model.attend import Look, Read
    from mmspec.model.batch import Batch
    from mmspec.model.families.family import Encoded

_log = logging.getLogger(__name__)
Numerics = Literal["bitwise", "near-tie"]
TRIAL = 6  # rows on which compiled layers must agree with the model's own


@dataclass(frozen=True, slots=True)
class Output:
    """What one forward pass gives.

    Attributes:
        logits: [T, V] of the rows that are not padding; None after a prefill chunk.
        hidden: layer -> [T, H], for declared layers only.
        final: [T, H], normed hidden states of a prefill chunk, from which ``Target.logits`` can
            be had row by row; None after trees.
        queries: layer -> [T, Hkv, G, D], of rows that are not padding, rotated and times the
            layer's scale; for declared layers, after trees.
    """

    logits: torch.Tensor | None
    hidden: dict[int, torch.Tensor] = field(default_factory=dict)
    final: torch.Tensor | None = None
    queries: dict[int, torch.Tensor] = field(default_factory=dict)


class Stored(Protocol):
    """What has the store of keys and values, [layers, 2, Hkv, S, D]."""

    store: torch.Tensor


class Target:
    """A loaded model behind one attention function and one packed forward pass.

    Args:
        model: a causal language or vision-language model of a supported family, in eval mode.
            Its linear layers are repacked in place.
        stop_tokens: ids that end a text.
        numerics: ``bitwise`` (plain decoding and verification give the same bits) or ``near-tie``.
        max_context: cap on sequence length; None takes the model's own.

    Attributes:
        source: the folder or hub id the model was read from; empty when it was made by hand.
    """

    def __init__(
        self,
        model: Any,
        *,
        stop_tokens: frozenset[int] = frozenset(),
        numerics: Numerics = "bitwise",
        max_context: int | None = None,
    ) -> None:
        self.model = model.eval()
        _own_configs(model)
        self.family = find_family(model)
        self.numerics = numerics
        self.source: str = model.config.name_or_path
        text = model.config.get_text_config()
        self.layers: int = text.num_hidden_layers
        self.kv_heads: int = text.num_key_value_heads
        self.heads: int = text.num_attention_heads
        self.head_dim: int = getattr(text, "head_dim", None) or text.hidden_size // self.heads
        limit: int = text.max_position_embeddings
        self.max_context = limit if max_context is None else min(limit, max_context)
        self.dtype: torch.dtype = self.family.decoder.dtype
        self.device: torch.device = self.family.decoder.device
        self.facts = Facts(
            vocabulary=text.vocab_size,
            context=self.max_context,
            media_tokens=self.family.media_tokens,
            stop_tokens=stop_tokens,
            model=self,
        )
        nested = "text_config" in model.config.sub_configs
        model.set_attn_implementation({"text_config": NAME} if nested else NAME)
        if text._attn_implementation != NAME:  # the only place it can be read
            raise UnsupportedModelError(f"{model.config.model_type}: attention cannot be replaced")
        pack_model(self.family.decoder)
        model.lm_head = _packed_head(model)
        compiled = lean(self.family.decoder, self.kv_heads, self.head_dim, self.family.axes)
        self._lean = self._proven(compiled)

    def new_cache(self, slots: int, chunk: int, scratch: int, pinned: int = 0) -> KVCache:
        """An empty store for this model: ``slots`` tokens over all sequences."""
        return KVCache(
            (self.layers, self.kv_heads, self.head_dim),
            slots,
            dtype=self.dtype,
            device=self.device,
            chunk=chunk,
            scratch=scratch,
            pinned=pinned,
        )

    def bytes_per_token(self) -> int:
        """Bytes of keys and values one token takes."""
        return 2 * self.layers * self.kv_heads * self.head_dim * self.dtype.itemsize

    def sliding(self, layer: int) -> int | None:
        """How many tokens back a decoder layer sees; None: all."""
        return sliding_width(self.family.decoder.layers[layer].self_attn)

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        """The tokens' own embeddings, [..., H]."""
        return self.model.get_input_embeddings()(tokens.to(self.device))

    @torch.inference_mode()
    def encode(self, media: Media) -> Encoded:
        """Run the vision tower on one picture; a pure function of it, for any thread to call.

        Pictures never share a call: what the tower says of one, to the bit, would depend on the
        shapes of the others. ``mmspec.model.encoder`` remembers and shares.
        """
        return self.family.encode(media)

    def positions(self, prompt: Prompt) -> tuple[torch.Tensor, int]:
        """Rotary positions of a prompt, int64 [P] or [3, P], and the shift of what follows."""
        return self.family.positions(prompt)

    @torch.inference_mode()
    def forward(self, batch: Batch, cache: KVCache, needs: Needs = Needs()) -> Output:
        """One packed pass: writes the rows' keys and values, reads what each row may see.

        Logits are computed for trees only; hidden states for the layers in ``needs`` only.
        """
        asked = _Asked(needs.queries, batch.count) if needs.queries else None
        hidden, kept = self.states(batch, cache, needs.layers, look=asked)
        if isinstance(batch.layout, ChunkLayout):
            return Output(None, kept, hidden.flatten(0, 1)[: batch.count])
        logits = self.family.head(hidden).flatten(0, 1)[: batch.count]
        return Output(logits, kept, queries={} if asked is None else asked.seen)

    @torch.inference_mode()
    def states(
        self, batch: Batch, cache: Stored, layers: tuple[int, ...] = (),
        read: Read | None = None, look: Look | None = None,
    ) -> tuple[torch.Tensor, dict[int, torch.Tensor]]:  # fmt: skip
        """One packed pass up to the head: normed hidden states [G, R, H].

        Also the outputs [T, H] of ``layers``, of rows that are not padding. ``read`` says what
        tree rows read in place of all that they may see; ``look`` is shown what they ask.
        """
        step = Step(cache.store, batch.layout, read, look)
        embeds = self.embed(batch.tokens) if batch.embeds is None else batch.embeds
        if self._lean is not None and not step.is_chunk:
            return self._lean(embeds, batch.positions, step, layers)
        return self._through_layers(batch, embeds, step, layers)

    @torch.inference_mode()
    def logits(self, final: torch.Tensor) -> torch.Tensor:
        """Logits [T, V] of normed hidden states [T, H], such as a chunk's."""
        return self.family.head(final[None])[0]

    def _through_layers(
        self, batch: Batch, embeds: torch.Tensor, step: Step, layers: tuple[int, ...]
    ) -> tuple[torch.Tensor, dict[int, torch.Tensor]]:
        """The model's own decoder: hidden states [G, R, H], and watched layers' [T, H]."""
        extra = self.family.deepstack(batch.seen, batch.deepstack)
        watched = _Watch(self.family.decoder, layers)
        positions = batch.positions.to(self.device)
        with watched:
            hidden = decode(self.family.decoder, embeds, positions, step, extra)
        return hidden, {i: rows.flatten(0, 1)[: batch.count] for i, rows in watched.seen.items()}

    @torch.inference_mode()
    def _proven(self, candidate: LeanDecoder | None) -> LeanDecoder | None:
        """The compiled decoder, if it and the model's own layers agree on a trial tree."""
        if candidate is None:
            return None
        cache = self.new_cache(slots=TRIAL, chunk=TRIAL, scratch=0)
        trial = Sequence(Request("trial", Prompt(np.zeros(1, np.int64))), 0, 0)
        cache.open(trial.id, TRIAL)
        tokens = np.arange(TRIAL) % self.facts.vocabulary
        tree = TokenTree.chain(tokens)
        batch = pack_trees([trial], [tree], cache, reach=TRIAL, grouped=False, axes=1)
        embeds = self.embed(batch.tokens)
        own, _ = self._through_layers(batch, embeds, Step(cache.store, batch.layout), ())
        ours, _ = candidate(embeds, batch.positions, Step(cache.store, batch.layout))
        spread = float((own - ours).double().norm() / own.double().norm())
        if not spread < (0.05 if self.dtype == torch.bfloat16 else 1e-4):
            _log.warning("compiled layers differ by %.2g; the model's own are used", spread)
            return None
        return candidate


class _Watch:
    """Captures the output of some decoder layers for the length of a ``with`` block.

    Layer -1 is what enters the first: embeddings, with pictures' in their places.

    Layer i's output is read as the input of what follows it, because some families add picture
    features after a layer has returned.
    """

    def __init__(self, decoder: Any, layers: tuple[int, ...]) -> None:
        self.seen: dict[int, torch.Tensor] = {}
        following = [*list(decoder.layers), decoder.norm]
        self._watched = [(layer, following[layer + 1]) for layer in layers]
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> None:
        for layer, module in self._watched:
            self._hooks.append(module.register_forward_pre_hook(self._keep(layer)))

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _keep(self, layer: int) -> Callable[[nn.Module, tuple[torch.Tensor, ...]], None]:
        def hook(_module: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
            self.seen[layer] = args[0]

        return hook


class _Asked:
    """Keeps what the first ``count`` rows of a tree step ask on some decoder layers."""

    def __init__(self, layers: tuple[int, ...], count: int) -> None:
        self.seen: dict[int, torch.Tensor] = {}
        self._layers, self._count = layers, count

    def __call__(self, layer: int, query: torch.Tensor, scale: float, sliding: int | None) -> None:
        """Queries [Hkv, T, G, D] of one layer, in a buffer that the next one writes over."""
        if layer in self._layers:
            self.seen[layer] = query[:, : self._count].transpose(0, 1) * scale


def _own_configs(model: nn.Module) -> None:
    """Give the model configurations of its own: transformers shares them, and we change them."""
    copies: dict[int, object] = {}
    for module in model.modules():
        if isinstance(getattr(module, "config", None), PretrainedConfig):
            module.config = copy.deepcopy(module.config, copies)


def _packed_head(model: Any) -> nn.Module:
    """The language head, prepacked. A tied embedding keeps its own weight."""
    head = model.lm_head
    return PackedLinear(head.weight.data, None if head.bias is None else head.bias.data)
