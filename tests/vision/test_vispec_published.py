"""Published drafters that see: read strictly, and what is read computes what its authors say."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from mmspec.core.errors import ConfigError
from mmspec.train.capture import Captured
from mmspec.train.looking import Looking
from mmspec.train.packing import PackedRows, Placed
from mmspec.vision.vispec_load import load_network

HIDDEN, HEADS, INNER, VOCABULARY, LAYERS = 48, 4, 80, 90, 6
DIM = HIDDEN // HEADS
SPANS, COUNT = ((3, 9), (9, 14), (17, 20)), 26
CONFIG = {
    "hidden_size": HIDDEN, "num_attention_heads": HEADS, "num_key_value_heads": HEADS,
    "intermediate_size": INNER, "vocab_size": VOCABULARY, "rms_norm_eps": 1e-5,
    "rope_theta": 20_000.0,
}  # fmt: skip


def draw(*shape, seed=0):
    given = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(shape, generator=given) * shape[-1] ** -0.5


def layer(kv_heads=HEADS, *, bias=False, norm=False):
    sizes = {
        "self_attn.q_proj": (HIDDEN, HIDDEN), "self_attn.k_proj": (kv_heads * DIM, HIDDEN),
        "self_attn.v_proj": (kv_heads * DIM, HIDDEN), "self_attn.o_proj": (HIDDEN, HIDDEN),
        "mlp.gate_proj": (INNER, HIDDEN), "mlp.up_proj": (INNER, HIDDEN),
        "mlp.down_proj": (HIDDEN, INNER),
    }  # fmt: skip
    told = {
        f"layers.0.{name}.weight": draw(*size, seed=place)
        for place, (name, size) in enumerate(sizes.items())
    }
    told["layers.0.post_attention_layernorm.weight"] = 1 + draw(HIDDEN)
    told |= {"embed_tokens.weight": draw(VOCABULARY, HIDDEN, seed=9)}
    told |= {"fc.weight": draw(HIDDEN, 2 * HIDDEN, seed=10), "fc.bias": draw(HIDDEN, seed=11)}
    if bias:
        for name in ("q_proj", "k_proj", "v_proj"):
            rows = told[f"layers.0.self_attn.{name}.weight"].shape[0]
            told[f"layers.0.self_attn.{name}.bias"] = draw(rows, seed=ord(name[0]))
    if norm:
        told["layers.0.input_layernorm.weight"] = 1 + draw(HIDDEN, seed=3)
    return told


def reader(part, query, queries=2, *, bias=False):
    told = {f"{part}.{query}": draw(queries, HEADS, DIM, seed=20)}
    for place, name in enumerate(("k_proj", "v_proj", "o_proj")):
        told[f"{part}.{name}.weight"] = draw(HIDDEN, HIDDEN, seed=21 + place)
        if bias and name != "o_proj":
            told[f"{part}.{name}.bias"] = draw(HIDDEN, seed=31 + place)
    told["img_fc.weight"] = draw(HIDDEN, 2 * HIDDEN, seed=40)
    return told | {"img_fc.bias": draw(HIDDEN, seed=41)}


LAYOUTS = {
    "vispec, LLaVA": layer() | reader("imadpt", "q"),
    "vispec, Qwen": layer(bias=True) | reader("imadpt", "q", bias=True),
    "vispec, four tokens": layer() | reader("imadpt", "q", 5),
    "vispec, a vector alone": layer() | reader("imadpt", "q", 1),
    "nemo_vispec": layer() | reader("img_adaptor", "query") | {"norm.weight": 1 + draw(HIDDEN)},
    "msd, LLaVA": layer(),
    "msd, Qwen2-VL": layer(2, bias=True, norm=True),
}


def write(folder, tensors, **changes):
    folder.mkdir(exist_ok=True)
    kv_heads = tensors["layers.0.self_attn.k_proj.weight"].shape[0] // DIM
    config = CONFIG | {"num_key_value_heads": kv_heads} | changes
    (folder / "config.json").write_text(json.dumps(config))
    save_file(tensors, folder / "model.safetensors")
    return folder


def shown():
    """Final features and input embeddings of a text, pictures' in their places."""
    draws = torch.Generator().manual_seed(3)
    tokens = torch.randint(0, 80, (COUNT,), generator=draws)
    features, seen = (torch.randn(COUNT, HIDDEN, generator=draws).double() for _ in range(2))
    return tokens, features, seen


def transcribed(tensors, tokens, h, seen):
    """ViSpec's and MSD's graphs as their papers' code has them, unfolded: [slots, H], text's."""
    w = {name: value.double() for name, value in tensors.items()}
    e = w["embed_tokens.weight"][tokens].clone()
    for start, stop in SPANS:
        e[start:stop] = seen[start:stop]
    part = "imadpt" if "imadpt.q" in w else "img_adaptor" if "img_adaptor.query" in w else None
    g = torch.zeros(HIDDEN, dtype=torch.float64)
    xs, places, texts = [], [], []
    slot = 0
    spans = list(SPANS)
    while slot < COUNT - 1:
        if spans and slot == max(spans[0][0] - 1, 0):
            start, stop = spans.pop(0)
            if part is None:
                kept = e[start:stop][-(stop - 1 - slot) :]
            else:
                both = adapted(w, part, e[start:stop])
                kept, g = both[:-1], both[-1]
                kept = kept[-(stop - 1 - slot) :]
            for back, token in enumerate(kept):
                xs.append(token)
                places.append(stop - 1 - len(kept) + back)
                texts.append(False)
            slot = stop - 1
            continue
        state = h[slot]
        if part is not None:
            state = F.linear(torch.cat([state, g]), w["img_fc.weight"], w["img_fc.bias"])
        xs.append(F.linear(torch.cat([e[slot + 1], state]), w["fc.weight"], w["fc.bias"]))
        places.append(slot)
        texts.append(True)
        slot += 1
    out = decoded(w, torch.stack(xs), torch.tensor(places))
    return out[torch.tensor(texts)]


def adapted(w, part, e):
    q = w[f"{part}.q" if part == "imadpt" else f"{part}.query"]
    k, v = (
        F.linear(e, w[f"{part}.{n}.weight"], w.get(f"{part}.{n}.bias")).view(-1, HEADS, DIM)
        for n in ("k_proj", "v_proj")
    )
    shares = torch.einsum("qhd,lhd->hql", q, k).div(DIM**0.5).softmax(-1)
    said = torch.einsum("hql,lhd->qhd", shares, v).reshape(len(q), HIDDEN)
    return said @ w[f"{part}.o_proj.weight"].T


def decoded(w, x, places):
    read = x
    if "layers.0.input_layernorm.weight" in w:
        read = normed(x, w["layers.0.input_layernorm.weight"])
    heads = {}
    for name in "qkv":
        weight = w[f"layers.0.self_attn.{name}_proj.weight"]
        said = F.linear(read, weight, w.get(f"layers.0.self_attn.{name}_proj.bias"))
        heads[name] = said.view(len(x), -1, DIM)
    for name in "qk":
        heads[name] = turned(heads[name], places)
    group = HEADS // heads["k"].shape[1]
    k, v = (heads[name].repeat_interleave(group, 1) for name in "kv")
    scores = torch.einsum("ihd,jhd->hij", heads["q"], k) / DIM**0.5
    scores = scores.masked_fill(~torch.ones(len(x), len(x)).bool().tril(), -torch.inf)
    seen = torch.einsum("hij,jhd->ihd", scores.softmax(-1), v).reshape(len(x), -1)
    x = x + seen @ w["layers.0.self_attn.o_proj.weight"].T
    inner = normed(x, w["layers.0.post_attention_layernorm.weight"])
    gate, up = (inner @ w[f"layers.0.mlp.{n}_proj.weight"].T for n in ("gate", "up"))
    return x + (F.silu(gate) * up) @ w["layers.0.mlp.down_proj.weight"].T


def normed(x, weight):
    return x / (x.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * weight


def turned(x, places):
    angles = places[:, None].double() / CONFIG["rope_theta"] ** (torch.arange(0, DIM, 2) / DIM)
    cos, sin = (part.repeat(1, 2)[:, None] for part in (angles.cos(), angles.sin()))
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat([-second, first], -1) * sin


@pytest.mark.parametrize("name", LAYOUTS)
@torch.no_grad()
def test_states_are_those_of_the_published_graph(name, tmp_path):
    tensors = LAYOUTS[name]
    network = load_network(write(tmp_path, tensors), LAYERS).double()
    network.lend(None, norm=lambda x: x)
    tokens, h, seen = shown()
    zeros = torch.zeros(1, COUNT, dtype=torch.int64)
    placed = tuple(Placed(None, 0, a, b) for a, b in SPANS)
    rows = PackedRows(
        tokens[None], zeros, torch.arange(COUNT)[None], zeros, zeros.bool(), zeros.bool(), placed
    )
    given, states, place, whose, lift = Looking(network)(
        rows, Captured({-1: seen[None], LAYERS - 1: h[None]}, h[None]), [h[None]]
    )
    kept = (whose[0] == 0).nonzero().squeeze(1)
    given, states, place = given[:, kept], states[:, kept], place[:, kept]
    bias = None if lift is None else lift(states, kept[None])
    query, key, value = network.project(given, states, place, bias)
    attended = F.scaled_dot_product_attention(
        query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), is_causal=True,
        enable_gqa=True,
    )  # fmt: skip
    said = network.finish(given, states, attended.transpose(1, 2), bias)[0]
    expected = transcribed(tensors, tokens, h, seen)
    np.testing.assert_allclose(said[(given[0] >= 0).nonzero().squeeze(1)], expected, atol=1e-5)
    assert network.config.layers == (LAYERS - 1,)


def test_uploads_with_another_prefix_are_read_alike(tmp_path):
    tensors = LAYOUTS["vispec, LLaVA"]
    plain = load_network(write(tmp_path / "plain", tensors), LAYERS)
    other = {f"model.{name}": value for name, value in tensors.items()}
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text((tmp_path / "plain/config.json").read_text())
    save_file(other, tmp_path / "other" / "model.safetensors")
    read = load_network(tmp_path / "other", LAYERS)
    for name, value in plain.state_dict().items():
        assert torch.equal(value, read.state_dict()[name])


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"imadpt.q": None}, "not there"),
        ({"imadpt.q": draw(2, HIDDEN)}, r"imadpt.q is \(2, 48\)"),
        ({"imadpt.v_proj.weight": None}, "missing sight.v_proj.weight"),
        ({"imadpt.extra": draw(3)}, "unknown their imadpt.extra"),
        ({"img_fc.weight": None}, "img_fc.weight is None"),
        ({"img_fc.weight": draw(HIDDEN, HIDDEN)}, r"not \[H, 2 H\]"),
        ({"layers.0.mlp.up_proj.weight": draw(3, HIDDEN)}, "up_proj.weight is"),
        ({"layers.1.mlp.up_proj.weight": draw(3, HIDDEN)}, "layers.1"),
    ],
)
def test_what_does_not_fit_is_named(change, match, tmp_path):
    tensors = {n: v for n, v in (LAYOUTS["vispec, LLaVA"] | change).items() if v is not None}
    with pytest.raises(ConfigError, match=match):
        load_network(write(tmp_path, tensors), LAYERS)


def test_nothing_is_assumed_where_config_json_is_silent(tmp_path):
    for missing in ("num_attention_heads", "rms_norm_eps"):
        folder = write(tmp_path / missing, LAYOUTS["vispec, LLaVA"], **{missing: None})
        with pytest.raises(ConfigError, match=missing):
            load_network(folder, LAYERS)
    (folder / "config.json").unlink()
    with pytest.raises(ConfigError, match="no drafter"):
        load_network(folder, LAYERS)
