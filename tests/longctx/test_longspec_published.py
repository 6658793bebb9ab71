"""LongSpec's own checkpoints: read strictly, and what is read computes what its authors say."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tiny
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from mmspec.core.errors import ConfigError
from mmspec.longctx.longspec_load import load_network
from mmspec.model.turning import turning

HIDDEN, HEADS, KV_HEADS, DIM, INNER, COUNT = 64, 4, 2, 16, 80, 14
CONFIG = {
    "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "rms_norm_eps": 1e-5,
    "rope_theta": 20_000.0,
}  # fmt: skip


def draw(*shape, seed=0):
    given = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(shape, generator=given) * shape[-1] ** -0.5


def tensors():
    """The twenty of a released file, as the module tree of its code names them."""
    told = {}
    for place, part in enumerate(("self_attn", "cross_attn")):
        rows = {"q_proj": HEADS * DIM, "k_proj": KV_HEADS * DIM, "v_proj": KV_HEADS * DIM}
        for index, (name, size) in enumerate(rows.items()):
            told[f"{part}.{name}.weight"] = 2 * draw(size, HIDDEN, seed=9 * place + index)
            told[f"{part}.{name}.bias"] = draw(size, seed=20 + 9 * place + index)
        told[f"{part}.o_proj.weight"] = draw(HIDDEN, HEADS * DIM, seed=40 + place)
    for place, name in enumerate(("gate_proj", "up_proj")):
        told[f"mlp.{name}.weight"] = draw(INNER, HIDDEN, seed=50 + place)
    told["mlp.down_proj.weight"] = draw(HIDDEN, INNER, seed=52)
    norms = ("input", "post_self_attention", "post_cross_attention")
    for place, name in enumerate(norms):
        told[f"{name}_layernorm.weight"] = 1 + draw(HIDDEN, seed=60 + place)
    return told


def write(folder, given, **changes):
    config = {name: value for name, value in (CONFIG | changes).items() if value is not None}
    (folder / "config.json").write_text(json.dumps(config))
    save_file(given, folder / "model.safetensors")
    return folder


def transcribed(w, embeds, far_key, far_value, lag):
    """One layer of its graph over a text; queries see the target up to ``lag`` places back."""
    w = {name: value.double() for name, value in w.items()}
    places = torch.arange(COUNT)
    angles = places[:, None].double() / CONFIG["rope_theta"] ** (torch.arange(0, DIM, 2) / DIM)
    read = normed(embeds, w["input_layernorm.weight"])
    q, k, v = (
        F.linear(read, w[f"self_attn.{n}_proj.weight"], w[f"self_attn.{n}_proj.bias"])
        .view(COUNT, -1, DIM) for n in "qkv"
    )  # fmt: skip
    q, k = turned(q, angles), turned(k, angles)
    told = attend(q, k, v, places[:, None] >= places)
    first = embeds + told @ w["self_attn.o_proj.weight"].T
    read = normed(first, w["post_self_attention_layernorm.weight"])
    q = F.linear(read, w["cross_attn.q_proj.weight"], w["cross_attn.q_proj.bias"])
    q = turned(q.view(COUNT, -1, DIM), angles)
    seen = attend(q, far_key, far_value, places[:, None] - lag >= places)
    second = first + seen @ w["cross_attn.o_proj.weight"].T
    read = normed(second, w["post_cross_attention_layernorm.weight"])
    gate, up = (read @ w[f"mlp.{n}_proj.weight"].T for n in ("gate", "up"))
    return second + (F.silu(gate) * up) @ w["mlp.down_proj.weight"].T


def attend(q, k, v, seen):
    group = HEADS // KV_HEADS
    k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    scores = torch.einsum("ihd,jhd->hij", q, k) / DIM**0.5
    shares = scores.masked_fill(~seen, -torch.inf).softmax(-1).nan_to_num(0)
    return torch.einsum("hij,jhd->ihd", shares, v).reshape(COUNT, -1)


def normed(x, weight):
    return x / (x.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * weight


def turned(x, angles):
    cos, sin = (part.repeat(1, 2)[:, None] for part in (angles.cos(), angles.sin()))
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat([-second, first], -1) * sin


@pytest.mark.parametrize("lag", [1, 2, 5])
@torch.no_grad()
def test_states_are_those_of_the_published_graph(lag, tmp_path):
    target, given = tiny.target("llama"), tensors()
    network = load_network(write(tmp_path, given), target).double()
    network.frequencies = network.frequencies.double()
    draws = torch.Generator().manual_seed(3)
    ids = torch.randint(0, 150, (1, COUNT), generator=draws)
    key, value = torch.randn(2, COUNT, KV_HEADS, DIM, generator=draws).double()
    table = target.embed(torch.arange(target.facts.vocabulary)).double()
    network.lend(lambda tokens: table[tokens])
    places = torch.arange(COUNT)[None]
    shown = network.shown(ids)
    own_key, own_value = network.keys(shown, places)
    stream, query = network.begin(ids, shown, None, places)
    near = attend(query[0], own_key[0], own_value[0], places[0][:, None] >= places[0])
    stream, asked = network.ask(
        shown, stream, near.view(1, COUNT, HEADS, DIM), network.angles(places)
    )
    far = attend(asked[0], key, value, places[0][:, None] - lag >= places[0])
    said = network.finish(stream, far.view(1, COUNT, HEADS, DIM))[0]
    expected = transcribed(given, table[ids[0]], key, value, lag)
    np.testing.assert_allclose(said, expected, atol=1e-5)


def test_its_shape_is_the_targets(tmp_path):
    target = tiny.target("llama")
    config = load_network(write(tmp_path, tensors()), target).config
    assert (config.reads, config.features, config.window) == (2, (), 1)
    assert (config.own_head, config.final_norm, config.direct) == (False, False, False)
    assert config.span == 513
    sliding = tiny.target("qwen2")  # its last layer sees near tokens alone
    assert load_network(write(tmp_path, tensors()), sliding).config.reads == 1
    assert turning(target.family.decoder, DIM).frequencies.shape == (DIM // 2,)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"cross_attn.v_proj.weight": None}, r"cross_attn.v_proj.weight is None, not \(32, 64\)"),
        ({"cross_attn.k_proj.bias": draw(3)}, r"cross_attn.k_proj.bias is \(3,\)"),
        ({"cross_attn.q_proj.bias": None}, "missing cross_attn.q_proj.bias"),
        ({"self_attn.o_proj.bias": draw(HIDDEN)}, "unknown their self_attn.o_proj.bias"),
        ({"mlp.up_proj.weight": None}, "missing mlp.up_proj.weight"),
        ({"mlp.gate_proj.weight": draw(3, HIDDEN)}, r"mlp.gate_proj.weight is \(3, 64\)"),
        ({"draft_model.mlp.up_proj.weight": draw(INNER, HIDDEN)}, "unknown their draft_model"),
    ],
)
def test_what_does_not_fit_is_named(change, match, tmp_path):
    given = {name: value for name, value in (tensors() | change).items() if value is not None}
    with pytest.raises(ConfigError, match=match):
        load_network(write(tmp_path, given), tiny.target("llama"))


def test_nothing_is_assumed_where_config_json_is_silent(tmp_path):
    for missing in ("num_attention_heads", "rms_norm_eps"):
        with pytest.raises(ConfigError, match=missing):
            load_network(write(tmp_path, tensors(), **{missing: None}), tiny.target("llama"))
    with pytest.raises(ConfigError, match="yarn"):
        load_network(
            write(tmp_path, tensors(), rope_scaling={"rope_type": "yarn", "factor": 2.0}),
            tiny.target("llama"),
        )
    (tmp_path / "config.json").unlink()
    with pytest.raises(ConfigError, match="no drafter"):
        load_network(tmp_path, tiny.target("llama"))
