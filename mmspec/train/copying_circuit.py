"""Two layers that copy from the first step: a previous-token layer and an induction layer.

Left to itself the small model finds the induction circuit (Olsson et al. 2022) late or never, as
most of its tokens are about pictures. So it is given one, as an initialisation: every weight is
trained afterwards. The first layer writes the identities of the tokens one and two places back
into two quiet subspaces; the second finds where they equal the current and the last token, and
writes what stood there.

The constant part of a query comes from a mark that is added to every token's embedding (and to
the pictures' features) along the direction that the embeddings use least. As the output weights
are the same matrix, it shifts all logits alike and changes no probability.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration

from mmspec.train.data import pictures
from mmspec.train.dense import pixels
from mmspec.train.nano_model import restack

HEAD = 64
MARK = 0.7
FAST = 10  # rotary pairs before this one tell neighbouring places apart
SLOW = 16  # pairs from here on turn less than 1.5 radians in 1500 tokens
PREVIOUS, LEVEL = 90.0, 0.96  # sum over the fast pairs, in nats, and the share taken away again
MATCH = 12.0  # attention score, in nats, of a perfect hit
WRITTEN, COPIED = 0.5, 0.6  # size of what is written, relative to an embedding of about 1


@dataclass(frozen=True, slots=True)
class _Spaces:
    """Orthonormal rows in the residual stream and what the embeddings look like in them."""

    shared: Tensor  # [H] direction of the mark that all tokens carry
    along: float  # size of the mark
    norm: float  # norm of a marked embedding
    loud: Tensor  # [64, H] directions in which tokens differ most
    spread: Tensor  # [64] standard deviation along each of them
    middle: Tensor  # [64, H] the next ones
    first: Tensor  # [64, H] quiet ones, to hold the token one place back
    second: Tensor  # [64, H] the token two places back


@torch.no_grad()
def balance(model: LlavaForConditionalGeneration) -> None:
    """Start with a residual stream in which a token is heard: embeddings and features of norm 1.

    Drawn at 0.02 as usual, an embedding is drowned by the first layer's output, and at a high
    rate the first layer only grows louder (300 to 1 was seen). Embeddings keep to half of the
    directions, which leaves the other half for what layers write.
    """
    embedding = model.get_input_embeddings().weight
    half = embedding.shape[1] // 2 - 1
    basis, _ = torch.linalg.qr(torch.randn(embedding.shape[1], half))
    embedding.copy_(torch.randn(embedding.shape[0], half) @ basis.T / half**0.5)
    inner = model.model
    layers = inner.language_model.layers
    for layer in layers:
        layer.self_attn.o_proj.weight /= (2 * len(layers)) ** 0.5
        layer.mlp.down_proj.weight /= (2 * len(layers)) ** 0.5
    projector = inner.multi_modal_projector
    images = pixels([pictures.scene(seed)[0] for seed in range(16)]).to(model.dtype)
    seen = inner.vision_tower(images, output_hidden_states=True).hidden_states[-1][:, 1:]
    projector.linear_1.weight /= projector.linear_1(seen).float().std()
    projector.linear_2.weight /= projector(seen).float().norm(dim=-1).mean()


@torch.no_grad()
def install(model: LlavaForConditionalGeneration) -> LlavaForConditionalGeneration:
    """The model with the two layers in front; needs 4 heads of 64 over 2 KV heads, 256 wide."""
    text = model.config.text_config
    heads = (text.hidden_size, text.num_attention_heads, text.num_key_value_heads, text.head_dim)
    if heads != (256, 4, 2, HEAD):
        raise ValueError(f"the circuit is laid out for (256, 4, 2, {HEAD}), not {heads}")
    spaces = _spaces(model.get_input_embeddings().weight.detach().float())
    old = [(place, False) for place in range(text.num_hidden_layers)]
    made = restack(model, [(0, True), (0, True), *old])
    turns = text.rope_parameters["rope_theta"] ** (-torch.arange(HEAD // 2) / (HEAD // 2))
    _mark(made, spaces)
    layers = made.model.language_model.layers
    for layer in layers[:2]:
        layer.input_layernorm.weight.fill_(1.0)
        for part in ("q_proj", "k_proj", "v_proj"):
            getattr(layer.self_attn, part).weight.normal_(0.0, 0.02)
    _look_back(layers[0].self_attn, spaces, turns)
    _look_up(layers[1].self_attn, spaces)
    return made


def _spaces(embedding: Tensor) -> _Spaces:
    _, _, directions = torch.linalg.svd(embedding, full_matrices=False)
    shared = directions[-1]
    centred = embedding - embedding.mean(0)
    centred = centred - (centred @ shared)[:, None] * shared
    # The mark's direction is made the loudest, so that every other one is orthogonal to it.
    _, sizes, basis = torch.linalg.svd(
        torch.cat([centred, 1e3 * shared[None]]), full_matrices=False
    )
    return _Spaces(
        shared=shared,
        along=MARK,
        norm=float((embedding.norm(dim=1) ** 2 + MARK**2).mean() ** 0.5),
        loud=basis[1 : HEAD + 1],
        spread=sizes[1 : HEAD + 1] / embedding.shape[0] ** 0.5,
        middle=basis[HEAD + 1 : 2 * HEAD + 1],
        first=basis[2 * HEAD :: 2],
        second=basis[2 * HEAD + 1 :: 2],
    )


def _mark(model: LlavaForConditionalGeneration, spaces: _Spaces) -> None:
    """Add the mark to every token, and one of like proportion to what the projector gives."""
    model.get_input_embeddings().weight += MARK * spaces.shared
    inner = model.model
    images = pixels([pictures.scene(seed)[0] for seed in range(16)]).to(model.dtype)
    seen = inner.vision_tower(images, output_hidden_states=True).hidden_states[-1][:, 1:]
    loud = inner.multi_modal_projector(seen).float().norm(dim=-1).mean()
    share = MARK / (spaces.norm**2 - MARK**2) ** 0.5
    inner.multi_modal_projector.linear_2.bias += share * loud * spaces.shared


def _look_back(attention: nn.Module, spaces: _Spaces, turns: Tensor) -> None:
    """Heads 0 and 1 attend one and two places back and write the token found there."""
    gain = 16.0 / spaces.norm  # what the norm before attention does to an embedding
    size = (PREVIOUS / FAST * HEAD**0.5) ** 0.5 / (spaces.along * gain)
    query, key, value, output = _weights(attention)
    for pair in range(FAST):
        for head, places in ((0, 1), (1, 2)):
            angle = -places * turns[pair]
            query[head * HEAD + pair] = size * torch.cos(angle) * spaces.shared
            query[head * HEAD + pair + HEAD // 2] = size * torch.sin(angle) * spaces.shared
        key[pair] = size * spaces.shared
        key[pair + HEAD // 2] = 0.0
        # A slow pair of the other sign takes the level away, lest a louder token beats a nearer.
        slow = HEAD // 2 - 1 - pair
        for head in (0, 1):
            query[head * HEAD + slow] = -LEVEL * size * spaces.shared
            query[head * HEAD + slow + HEAD // 2] = 0.0
        key[slow] = size * spaces.shared
        key[slow + HEAD // 2] = 0.0
    value[:HEAD] = spaces.loud / (spaces.spread[:, None] * gain)
    output.zero_()
    output[:, :HEAD] = spaces.first.T * WRITTEN / HEAD**0.5
    output[:, HEAD : 2 * HEAD] = spaces.second.T * WRITTEN / HEAD**0.5


def _look_up(attention: nn.Module, spaces: _Spaces) -> None:
    """Heads look for the current token (and the one before) at one (and two) places back."""
    gain = 16.0 / (spaces.norm**2 + 2 * WRITTEN**2) ** 0.5
    query, key, value, output = _weights(attention)
    slow = [*range(SLOW, HEAD // 2), *range(SLOW + HEAD // 2, HEAD)]
    size = (MATCH / len(slow) * HEAD**0.5) ** 0.5
    now = spaces.loud / (spaces.spread[:, None] * gain) * size
    first, second = (s * (HEAD**0.5 / WRITTEN / gain * size) for s in (spaces.first, spaces.second))
    ask = torch.cat([now[:20], first[:12]]), torch.cat([first[:20], second[:12]])
    alone = now[32:], first[32:]
    query.zero_()
    for head in range(4):
        query[[head * HEAD + row for row in slow]] = (ask if head < 2 else alone)[0].to(query.dtype)
    key[slow] = ask[1].to(key.dtype)
    key[[HEAD + row for row in slow]] = alone[1].to(key.dtype)
    value[:HEAD], value[HEAD:] = spaces.loud / gain, spaces.middle / gain
    output.zero_()
    for head, space in enumerate((spaces.loud, spaces.loud, spaces.middle, spaces.middle)):
        output[:, head * HEAD : (head + 1) * HEAD] = space.T * COPIED / 2


def _weights(attention: nn.Module) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    names = ("q_proj", "k_proj", "v_proj", "o_proj")
    query, key, value, output = (getattr(attention, name).weight for name in names)
    return query, key, value, output
