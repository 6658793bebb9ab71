"""Published checkpoints: read strictly, and what is read computes what its authors say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from text import layouts

from mmspec.core.errors import ConfigError
from mmspec.text.eagle_checkpoint import load_checkpoint, save_checkpoint
from mmspec.text.eagle_load import load_network

TARGET_LAYERS, SLOTS = 12, 9
LAYOUTS = {
    "eagle1": layouts.eagle1(),
    "eagle1 without bias": layouts.eagle1(bias=False),
    "eagle3": layouts.eagle3(),
    "speculators": layouts.speculators(),
    "speculators, norm before residual": layouts.speculators(early=True),
}


@pytest.fixture(params=LAYOUTS, ids=str)
def layout(request):
    return LAYOUTS[request.param]


def features(count):
    draw = torch.Generator().manual_seed(count)
    return [torch.randn(SLOTS, layouts.HIDDEN, generator=draw) for _ in range(count)]


def test_states_are_those_of_the_published_formulas(layout, tmp_path):
    network = load_network(layout.write(tmp_path), TARGET_LAYERS).double()
    network.lend(torch.nn.Embedding(layouts.VOCABULARY, layouts.HIDDEN).double(), norm=lambda x: x)
    tokens = torch.arange(SLOTS)[None] * 7
    seen = [part.double() for part in features(len(network.config.layers))]
    states = network.fuse([part[None] for part in seen])
    with torch.no_grad():
        said = network(tokens, states, torch.arange(SLOTS)[None])
        embeds = network.embed(tokens)[0].numpy()
    expected, normed = layouts.formulas(layout, embeds, [part.numpy() for part in seen])
    np.testing.assert_allclose(said[0].detach(), expected, atol=1e-5)
    np.testing.assert_allclose(network.norm(said)[0].detach(), normed, atol=1e-5)


def test_a_head_that_says_few_ids_says_the_right_ones(tmp_path):
    layout = LAYOUTS["eagle3"]
    network = load_network(layout.write(tmp_path), TARGET_LAYERS)
    kept = np.flatnonzero(layout.tensors["t2d"].numpy())
    assert network.target_ids().tolist() == kept.tolist()
    state = torch.randn(3, layouts.HIDDEN)
    expected = network.norm(state) @ layout.tensors["lm_head.weight"].T
    torch.testing.assert_close(network.logits(state), expected)


def test_which_layers_are_read(tmp_path):
    read = {
        name: load_network(layout.write(tmp_path / str(index)), TARGET_LAYERS).config.layers
        for index, (name, layout) in enumerate(LAYOUTS.items())
    }
    assert read["eagle1"] == (11,)  # the last, normed
    assert read["eagle3"] == (1, 5, 8)  # what enters layers 2, L / 2 and L - 3
    assert read["speculators"] == (0, 1, 2)  # what enters those its config tells


def test_sizes_of_a_grouped_target_with_wide_heads(tmp_path):
    config = load_network(LAYOUTS["eagle3"].write(tmp_path), TARGET_LAYERS).config
    assert (config.heads, config.kv_heads, config.head_dim) == (4, 2, 24)  # 4 * 24 > 64
    assert (config.hidden, config.intermediate, config.said) == (64, 96, 48)
    assert (config.eps, config.rope.theta) == (1e-5, 50_000.0)


def test_a_file_of_torchs_own_is_read_too(tmp_path):
    layout = LAYOUTS["eagle1"]
    one = load_network(layout.write(tmp_path / "a"), TARGET_LAYERS).state_dict()
    other = load_network(layout.write(tmp_path / "b", binary=True), TARGET_LAYERS).state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_every_wrong_tensor_is_named(layout, tmp_path):
    tensors = dict(layout.tensors)
    (up,) = (name for name in tensors if "up_proj" in name)
    (down,) = (name for name in tensors if "down_proj" in name)
    tensors[down] = torch.zeros(3, 5)
    del tensors[up]
    tensors["layers.1.mlp.up_proj.weight"] = torch.zeros(2)
    with pytest.raises(ConfigError) as caught:
        load_network(layouts.Layout(tensors, layout.config).write(tmp_path), TARGET_LAYERS)
    said = str(caught.value)
    assert f"missing {up}" in said
    assert "unknown layers.1.mlp.up_proj.weight" in said
    assert f"{down} is (3, 5), not (64, 96)" in said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"num_attention_heads": None}, "num_attention_heads"),
        ({"rms_norm_eps": None}, "rms_norm_eps"),
        ({"num_attention_heads": 8}, "disagree about num_attention_heads"),
        ({"num_key_value_heads": 4}, "disagree about num_key_value_heads"),
        ({"head_dim": 16}, "disagree about num_attention_heads"),
        ({"rope_scaling": {"rope_type": "default", "mrope_section": [2, 3, 3]}}, "mrope_section"),
        ({"rope_scaling": {"type": "yarn", "factor": 4.0}}, "yarn"),
    ],
)
def test_what_the_config_leaves_out_or_gets_wrong_is_refused(change, said, tmp_path):
    layout = LAYOUTS["eagle3"]
    spoilt = layouts.Layout(layout.tensors, {**layout.config, **change})
    with pytest.raises(ConfigError, match=said):
        load_network(spoilt.write(tmp_path), TARGET_LAYERS)


def test_a_map_that_contradicts_its_mask_is_refused(tmp_path):
    layout = LAYOUTS["eagle3"]
    tensors = {**layout.tensors, "d2t": layout.tensors["d2t"] + 1}
    with pytest.raises(ConfigError, match="d2t"):
        load_network(layouts.Layout(tensors, layout.config).write(tmp_path), TARGET_LAYERS)


def test_a_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no drafter"):
        load_network(tmp_path, TARGET_LAYERS)


def test_our_own_folder_comes_back_as_it_went(tmp_path):
    network = load_network(LAYOUTS["speculators"].write(tmp_path / "theirs"), TARGET_LAYERS)
    save_checkpoint(tmp_path / "ours", network, tokenizer="abc", training={"steps": 3})
    again, told = load_checkpoint(tmp_path / "ours")
    assert again.config == network.config
    assert (told.tokenizer, told.training) == ("abc", {"steps": 3})
    before, after = network.state_dict(), again.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_our_own_folder_is_strict(tmp_path):
    network = load_network(LAYOUTS["eagle3"].write(tmp_path / "theirs"), TARGET_LAYERS)
    save_checkpoint(tmp_path / "ours", network)
    path = tmp_path / "ours" / "config.json"
    path.write_text(path.read_text().replace('"intermediate": 96', '"intermediate": 95'))
    with pytest.raises(ConfigError, match=r"down_proj\.weight is .*gate_proj\.weight is .*up_proj"):
        load_network(tmp_path / "ours", TARGET_LAYERS)
    path.write_text(path.read_text().replace('"eps"', '"epsilon"'))
    with pytest.raises(ConfigError, match="epsilon"):
        load_network(tmp_path / "ours", TARGET_LAYERS)


def test_llama3_turns_are_those_of_transformers(tmp_path):
    from transformers import LlamaConfig  # noqa: PLC0415
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS  # noqa: PLC0415

    scaling = {
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    }  # fmt: skip
    layout = LAYOUTS["eagle3"]
    stretched = layouts.Layout(layout.tensors, {**layout.config, "rope_scaling": scaling})
    network = load_network(stretched.write(tmp_path), TARGET_LAYERS)
    theirs = LlamaConfig(
        hidden_size=64, num_attention_heads=4, head_dim=24,
        rope_parameters={**scaling, "rope_theta": 50_000.0},
    )  # fmt: skip
    expected, _ = ROPE_INIT_FUNCTIONS["llama3"](theirs, device="cpu")
    torch.testing.assert_close(network.frequencies, expected)
