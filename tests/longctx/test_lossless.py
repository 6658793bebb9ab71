"""With drafters that read its keys the target says what it says without: greedy, seeded."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import running
import tiny
import torch

from mmspec.core.errors import ConfigError
from mmspec.core.request import Prompt, Sampling, Speculation
from mmspec.engine.build import build_drafters
from mmspec.longctx.longspec_checkpoint import save_checkpoint
from mmspec.longctx.longspec_config import LongspecConfig
from mmspec.longctx.longspec_network import LongspecNetwork

NOISY = Sampling(temperature=0.8, seed=5, max_tokens=24)
# Of those that run a model one watches a request, unless it asks for more.
ALL = Speculation(drafters=("longctx.longspec", "longctx.self_window", "retrieval.suffix"))
FULL = {"llama": 2, "qwen2": 1, "qwen3": 2, "llava": 2, "qwen2_5_vl": 1, "qwen3_vl": 2}


def shape(target, layer):
    return LongspecConfig(
        hidden=64, target_hidden=64, heads=4, kv_heads=2, head_dim=16, intermediate=96,
        vocabulary=target.facts.vocabulary, features=(0, 2), reads=layer, cross_heads=4,
        target_kv_heads=target.kv_heads, target_head_dim=target.head_dim, span=24, window=2,
        direct=True,
    )  # fmt: skip


def drafters(target, folder, layer, told=None, **changes):
    """Both, of which one has random weights, and a third that quotes; ``told``: options of it."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        config = msgspec.structs.replace(shape(target, layer), **changes)
        save_checkpoint(folder, LongspecNetwork(config))
    options = {"floor": 0.0, "least": 0.0}
    table = {
        "longctx": {
            "longspec": {"path": str(folder), **options, **(told or {})},
            "self_window": {"window": 20, "width": 2, **options},
        },
        "retrieval": {"suffix": {}},
    }
    return build_drafters(table, target.facts)


def mixed(name):
    """Requests with and without pictures, the shortest of one token."""
    words = np.random.default_rng(1).integers(1, 150, 90)
    given = {str(index): one for index, one in enumerate(tiny.prompts(name))}
    return given | {"words": Prompt(words), "few": Prompt(words[:1])}


@pytest.mark.parametrize("name", FULL)
def test_the_target_says_the_same_with_and_without_them(name, tmp_path):
    target = tiny.target(name)
    loud = running.engine(target, drafters(target, tmp_path, FULL[name]))
    quiet, prompts = running.engine(target), mixed(name)
    said = running.reported(loud, prompts, speculation=ALL)
    for index in range(len(tiny.prompts(name))):
        assert said[str(index)][0] == tiny.greedy(name, index)
    spoke = set().union(*(report.by_source for _, report in said.values()))
    assert {"longctx.longspec", "longctx.self_window"} <= spoke
    assert running.run(loud, prompts, NOISY, ALL) == running.run(quiet, prompts, NOISY)


def test_without_features_too(tmp_path):
    target = tiny.target("llama")
    loud = running.engine(
        target, drafters(target, tmp_path, 2, features=(), window=1, direct=False)
    )
    prompts = mixed("llama")
    assert running.run(loud, prompts, speculation=ALL) == running.run(
        running.engine(target), prompts
    )


@pytest.mark.parametrize("name", ["llama", "qwen2_5_vl"])
def test_company_changes_nothing(name, tmp_path):
    target = tiny.target(name)
    made, prompts = drafters(target, tmp_path, FULL[name]), mixed(name)
    together = running.run(running.engine(target, made), prompts, NOISY, ALL)
    for id, prompt in prompts.items():
        alone = running.run(running.engine(target, made), {id: prompt}, NOISY, ALL)
        assert alone == {id: together[id]}


def test_a_prompt_found_in_the_cache_is_drafted_for_as_one_that_was_read(tmp_path):
    target = tiny.target("llama")
    # Calibrated, the second request would profit from what the first one taught.
    loud = running.engine(
        target, drafters(target, tmp_path, 2, features=()), prefix_cache=True, fusion="union"
    )
    prompt = Prompt(np.random.default_rng(2).integers(1, 150, 129))
    first = running.reported(loud, {"a": prompt}, speculation=ALL)["a"]
    second = running.reported(loud, {"b": prompt}, speculation=ALL)["b"]
    assert loud.stats.reused_tokens > 0
    assert second[0] == first[0]
    assert second[1].by_source == first[1].by_source


def test_with_a_part_of_the_targets_keys_too(tmp_path):
    """What it reads of them is chosen by what was verified last, whoever stands beside it."""
    target, prompts = tiny.target("llama"), mixed("llama")
    some = {"pages": 2, "page": 8, "recent": 16}
    union = {"fusion": "union"}  # calibrated, one request would profit from another
    loud = running.engine(target, drafters(target, tmp_path, 2, told=some), **union)
    together = running.reported(loud, prompts, NOISY, speculation=ALL)
    said = {id: ids for id, (ids, _) in together.items()}
    assert said == running.run(running.engine(target), prompts, NOISY)
    for id, prompt in prompts.items():
        alone = running.engine(target, drafters(target, tmp_path, 2, told=some), **union)
        report = running.reported(alone, {id: prompt}, NOISY, speculation=ALL)[id][1]
        assert report.by_source == together[id][1].by_source


def test_layers_that_see_only_near_tokens_are_refused(tmp_path):
    for name in ("mistral", "gemma3_text", "phi3"):
        target = tiny.target(name)
        with pytest.raises(ConfigError, match=r"sees only|rotation"):
            drafters(target, tmp_path, 0)


@pytest.mark.parametrize("name", ["mistral", "gemma3_text", "phi3"])
def test_the_target_may_guess_for_itself_whatever_its_layers_see(name):
    target = tiny.target(name)
    table = {"longctx": {"self_window": {"window": 20, "width": 2, "floor": 0.0, "least": 0.0}}}
    loud = running.engine(target, build_drafters(table, target.facts))
    said = running.reported(loud, mixed(name))
    for index in range(len(tiny.prompts(name))):
        assert said[str(index)][0] == tiny.greedy(name, index)
        assert said[str(index)][1].drafted > 0
