"""The feature drafter: its trees by its formulas, its memory, and what the target says with it."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import running
import tiny
import torch
from drafters.checkpoints import EAGLE, random_network
from drafters.formulas import Known, chances, scores, windows
from drafters.markov import FACTS, MEDIA, Markov, features, observation, prefill, prompt, step

from mmspec.core.drafter import Budget, Needs
from mmspec.core.errors import ConfigError
from mmspec.core.request import Prompt, Request, Sampling
from mmspec.core.sequence import Sequence
from mmspec.text import eagle, eagle_rows
from mmspec.text.eagle_checkpoint import save_checkpoint
from mmspec.text.eagle_config import EagleConfig
from mmspec.text.eagle_network import EagleNetwork

SHAPES = {
    "wide": EAGLE,
    "normed heads, normed stream": msgspec.structs.replace(
        EAGLE, head_norms=True, norm_before_residual=True, attention_bias=True, mlp_bias=True
    ),
    "narrow": msgspec.structs.replace(
        EAGLE, wide=False, hidden=16, layers=(1,), final_norm=False, fc_bias=True
    ),
    "a window of three": msgspec.structs.replace(EAGLE, window=3),
    "few ids": msgspec.structs.replace(EAGLE, draft_vocabulary=12),
    "two a pass": msgspec.structs.replace(EAGLE, parallel=2, window=2, mlp_bias=True),
    "three a pass": msgspec.structs.replace(
        EAGLE, parallel=3, head_norms=True, norm_before_residual=True, confidence=False
    ),
    "four a pass, narrow": msgspec.structs.replace(
        EAGLE, parallel=4, wide=False, hidden=16, layers=(1,), final_norm=False
    ),
}
NOBODY = np.zeros(0, np.int64)
GREEDY = Sampling(temperature=0.0)


def sequence(id, text, sampling=GREEDY, seed=0):
    return Sequence(Request(id, Prompt(np.asarray(text, np.int64)), sampling), 0, seed)


def drafter(config, folder, facts=FACTS, **options):
    save_checkpoint(folder, random_network(config))
    return eagle.build(
        eagle.Config(path=str(folder), **{"floor": 1e-6, "least": 0.0, **options}), facts
    )


def show(mind, one, count):
    """Show the next ``count`` tokens of a sequence at once."""
    part = one.tokens[one.cached : one.cached + count]
    one.cached += len(part)
    mind.observe([one], observation([part], [NOBODY], Markov(), mind.needs.layers))


def by_formulas(network, text, tree):
    """What every node's score should be, each path alone and dense in float64."""
    network, text = network.double(), np.asarray(text).tolist()
    count = len(text) - 1
    states = network.fuse([features(text[:-1], i).double()[None] for i in network.config.layers])
    nodes, place = windows(network, text), torch.arange(count)[None]
    _, keys, values = network.project(nodes, states, place)
    last = network(nodes, states, place)[:, -1:]
    return scores(network, tree, Known(last, keys, values, count, text), None)


@pytest.mark.parametrize("room", [eagle_rows.TABLE_BYTES, 0], ids=["tabled", "multiplied"])
@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES)
@torch.no_grad()
def test_trees_are_what_the_formulas_say(config, room, tmp_path, monkeypatch):
    monkeypatch.setattr(eagle_rows, "TABLE_BYTES", room)
    mind, one = drafter(config, tmp_path, floor=1e-9), sequence("a", prompt(1))
    network = random_network(config)
    prefill(mind, [one], Markov())
    deepest, budget = 0, Budget(24, 6) if config.parallel == 1 else Budget(96, 9)
    for _ in range(6):
        (tree,) = mind.draft([one], [budget])
        expected = by_formulas(network, one.tokens, tree)
        np.testing.assert_allclose(tree.scores, expected, atol=2e-4)
        first = tree.scores[tree.parents == 0]
        best = chances(network, root_state(network, one.tokens)).topk(len(first)).values
        np.testing.assert_allclose(sorted(first), sorted(best.tolist()), atol=2e-4)
        deepest = max(deepest, tree.depths().max())
        step(mind, [one], [budget], Markov())
    assert deepest >= max(3, config.parallel + 1)


def root_state(network, text):
    states = network.fuse([features(text[:-1], i).double()[None] for i in network.config.layers])
    nodes = windows(network, np.asarray(text).tolist())
    said = network(nodes, states, torch.arange(len(text) - 1)[None])[0, -1]
    return said.reshape(network.config.parallel, -1)[0]


def test_what_was_guessed_and_refused_leaves_no_trace(tmp_path):
    """After many steps the trees are those of a drafter that was shown the text alone."""
    mind, one = drafter(EAGLE, tmp_path), sequence("a", prompt(2))
    prefill(mind, [one], Markov())
    for size in range(3, 20):
        step(mind, [one], [Budget(size, 8)], Markov())
        fresh, again = (
            eagle.build(eagle.Config(path=str(tmp_path), floor=1e-6, least=0.0), FACTS),
            one,
        )
        whole = observation([again.tokens[: one.cached]], [NOBODY], Markov(), fresh.needs.layers)
        fresh.observe([again], whole)
        ours, theirs = (who.draft([one], [Budget(16, 6)])[0] for who in (mind, fresh))
        assert ours.tokens.tolist() == theirs.tokens.tolist()
        np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-4)


def test_a_sequence_met_in_the_middle_is_read_from_there(tmp_path):
    mind, one = drafter(EAGLE, tmp_path), sequence("a", prompt(3))
    one.cached = 30
    show(mind, one, one.prompt_length - 31)
    (tree,) = mind.draft([one], [Budget(16, 4)])
    assert len(tree) > 1
    one = sequence("b", prompt(3)[30:])  # turns are relative: only the missing text is missed
    show(mind, one, one.prompt_length - 1)
    (same,) = mind.draft([one], [Budget(16, 4)])
    assert tree.tokens.tolist() == same.tokens.tolist()
    np.testing.assert_allclose(tree.scores, same.scores, atol=1e-4)


@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES)
def test_the_networks_own_formulas_serve_where_nothing_is_compiled(config, tmp_path):
    swift, plain = (drafter(config, tmp_path) for _ in range(2))
    plain.rows.compiled = False
    one, again = sequence("a", prompt(7)), sequence("a", prompt(7))
    for mind, who in ((swift, one), (plain, again)):
        prefill(mind, [who], Markov())
    for _ in range(5):
        ours = step(swift, [one], [Budget(16, 6)], Markov())[0]
        theirs = step(plain, [again], [Budget(16, 6)], Markov())[0]
        assert ours.tokens.tolist() == theirs.tokens.tolist()
        np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-4)


def test_turns_keep_their_digits_whatever_the_weights_are():
    network = random_network(msgspec.structs.replace(EAGLE, heads=2, kv_heads=2, head_dim=16))
    truth = network.frequencies.clone()
    rows = eagle_rows.EagleRows(network, torch.bfloat16, torch.device("cpu"))
    # Rounded to bfloat16, some would be a radian off after a thousand tokens.
    assert torch.equal(torch.from_numpy(rows._frequencies), truth)
    assert torch.equal(rows.network.frequencies, truth)


def test_a_gap_begins_a_new_memory(tmp_path):
    mind, one = drafter(EAGLE, tmp_path), sequence("a", prompt(3))
    show(mind, one, 20)
    one.cached += 5
    show(mind, one, one.prompt_length - 26)
    (tree,) = mind.draft([one], [Budget(16, 4)])
    fresh, again = drafter(EAGLE, tmp_path), sequence("a", prompt(3))
    again.cached = 25
    show(fresh, again, again.prompt_length - 26)
    (same,) = fresh.draft([again], [Budget(16, 4)])
    assert len(tree) > 1
    assert tree.scores.tobytes() == same.scores.tobytes()


def test_where_nothing_was_seen_nothing_is_said(tmp_path):
    mind, one = drafter(EAGLE, tmp_path), sequence("a", prompt(3))
    assert len(mind.draft([one], [Budget(16, 4)])[0]) == 1
    show(mind, one, 20)  # its last token was not seen
    assert len(mind.draft([one], [Budget(16, 4)])[0]) == 1


def test_a_full_store_silences_who_comes_late_until_there_is_room(tmp_path):
    mind = drafter(EAGLE, tmp_path, tokens=400)
    first, second, third = (sequence(name, prompt(4), Sampling(max_tokens=200)) for name in "abc")
    prefill(mind, [first, second], Markov())
    sizes = [len(tree) for tree in mind.draft([first, second], [Budget(16, 4)] * 2)]
    assert sizes[0] > 1
    assert sizes[1] == 1
    mind.forget(first.id)
    prefill(mind, [third], Markov())
    assert len(mind.draft([third], [Budget(16, 4)])[0]) > 1


def test_few_ids_are_said_and_never_a_picture(tmp_path):
    config = msgspec.structs.replace(EAGLE, draft_vocabulary=12)
    mind = drafter(config, tmp_path, children=12, width=8, floor=0.0)
    known = set(random_network(config).target_ids().tolist()) - {MEDIA}
    one, said = sequence("a", prompt(5)), set()
    prefill(mind, [one], Markov())
    for _ in range(10):
        said |= set(step(mind, [one], [Budget(64, 4)], Markov())[0].tokens[1:].tolist())
    assert said == known


def test_the_floor_and_confidence_thin_the_tree(tmp_path):
    one = sequence("a", prompt(6))
    sure = drafter(EAGLE, tmp_path / "sure", floor=0.05)
    prefill(sure, [one], Markov())
    (tree,) = sure.draft([one], [Budget(64, 6)])
    assert tree.scores[1:].min() >= np.log(0.05) - 1e-5
    doubting = random_network(msgspec.structs.replace(EAGLE, confidence=True))
    plain = random_network(EAGLE).state_dict()
    doubting.load_state_dict(plain, strict=False)
    torch.nn.init.zeros_(doubting.judge.weight)
    torch.nn.init.constant_(doubting.judge.bias, 0.0)  # one half at every node
    save_checkpoint(tmp_path / "doubt", doubting)
    mind = eagle.build(eagle.Config(path=str(tmp_path / "doubt"), floor=0.05, least=0.0), FACTS)
    again = sequence("a", prompt(6))
    prefill(mind, [again], Markov())
    (thin,) = mind.draft([again], [Budget(64, 6)])
    top = {t: s for t, s, p in zip(tree.tokens, tree.scores, tree.parents, strict=True) if p == 0}
    for token, score, parent in zip(thin.tokens, thin.scores, thin.parents, strict=True):
        if parent == 0:
            assert score == pytest.approx(top[token] + np.log(0.5), abs=1e-4)
    assert len(thin) < len(tree)


def test_a_sampled_requests_children_follow_its_noise(tmp_path):
    """The same text under other seeds grows other trees; under the same seed the same one."""
    trees = []
    for seed in (1, 2, 1):
        mind = drafter(EAGLE, tmp_path)
        one = sequence("a", prompt(6), Sampling(temperature=1.0), seed)
        prefill(mind, [one], Markov())
        trees.append(mind.draft([one], [Budget(16, 4)])[0].tokens.tolist())
    assert trees[0] == trees[2]
    assert trees[0] != trees[1]


def test_a_drafter_of_another_target_is_refused(tmp_path):
    target = tiny.target("llama")
    for change, said in (
        ({"target_hidden": 32}, "width 32"),
        ({"layers": (0, 9)}, "layer 9"),
        ({"vocabulary": 99}, "knows 99 ids"),
    ):
        config = msgspec.structs.replace(shape(target), **change)
        save_checkpoint(tmp_path, EagleNetwork(config))
        with pytest.raises(ConfigError, match=said):
            eagle.build(eagle.Config(path=str(tmp_path)), target.facts)
    save_checkpoint(tmp_path, EagleNetwork(shape(target)))
    with pytest.raises(ConfigError, match="there is none"):
        eagle.build(eagle.Config(path=str(tmp_path)), FACTS)


def shape(target, **options) -> EagleConfig:
    """A drafter's shape for a tiny target."""
    settings = {
        "hidden": 64, "target_hidden": 64, "layers": (0, 1, 2), "heads": 4, "kv_heads": 2,
        "head_dim": 16, "intermediate": 96, "vocabulary": target.facts.vocabulary,
    }  # fmt: skip
    return EagleConfig(**{**settings, **options})


SHARED = {
    "of its own": {},
    "the target's head": {"own_head": False},
    "narrow": {
        "own_head": False, "wide": False, "layers": (2,), "final_norm": False,
        "normed_features": True,
    },
    "three tokens a pass": {"parallel": 3, "window": 2},
    "four tokens a pass, the target's head": {"parallel": 4, "own_head": False},
}  # fmt: skip
NOISY = Sampling(temperature=0.8, seed=5, max_tokens=24)


@pytest.mark.parametrize("name", ["llama", "qwen3", "qwen2_5_vl"])
def test_the_target_says_the_same_with_and_without_it(name, tmp_path):
    target = tiny.target(name)
    drafters = {}
    for index, (label, options) in enumerate(SHARED.items()):
        save_checkpoint(tmp_path / str(index), random_network(shape(target, **options)))
        config = eagle.Config(path=str(tmp_path / str(index)), floor=0.0, least=0.0)
        drafters[label] = eagle.build(config, target.facts)
    prompts = {str(index): one for index, one in enumerate(tiny.prompts(name))}
    loud, quiet = running.engine(target, drafters), running.engine(target)
    said = running.reported(loud, prompts)
    for index in range(len(prompts)):
        assert said[str(index)][0] == tiny.greedy(name, index)
    assert all(report.drafted > 0 for _, report in said.values())
    assert not any(report.off_reasons for _, report in said.values())
    assert running.run(loud, prompts, NOISY) == running.run(quiet, prompts, NOISY)


class Spy:
    """Writes down the features of what is committed."""

    needs = Needs(layers=(0, 1, 2))

    def __init__(self):
        self.seen = {layer: [] for layer in self.needs.layers}

    def observe(self, sequences, seen):
        for layer in self.needs.layers:
            self.seen[layer].append(seen.hidden[layer].clone())

    def draft(self, sequences, budgets):
        return [eagle.TokenTree.root(int(one.tokens[-1])) for one in sequences]

    def forget(self, id):
        pass


def rehearse(network, text, layers, first, steps=150, unroll=3):
    """Learn one text by heart, from its own states too, guesses from slot ``first`` on."""
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], 3e-3)
    slots = len(text) - 2
    tokens, answers = torch.tensor(text[1:-1])[None], torch.tensor(text[2:])
    place = torch.arange(slots)
    behind = place[:, None] - place
    for _ in range(steps):
        states = network.fuse([layer[None, :slots] for layer in layers])
        keys, values, masks, loss = [], [], [], 0.0
        for k in range(unroll):
            query, key, value = network.project(tokens, states, place[None])
            keys.append(key), values.append(value)
            masks = [behind >= k, *(behind == k - later for later in range(1, k + 1))]
            attended = torch.nn.functional.scaled_dot_product_attention(
                query.transpose(1, 2), torch.cat(keys, 1).transpose(1, 2),
                torch.cat(values, 1).transpose(1, 2), attn_mask=torch.cat(masks, 1),
                enable_gqa=True,
            ).transpose(1, 2)  # fmt: skip
            said = network.finish(tokens, states, attended)
            logits = network.logits(said)[0]
            start = first + k
            loss = loss + torch.nn.functional.cross_entropy(logits[start:], answers[start:])
            states = torch.cat([torch.zeros_like(said[:, :1]), said[:, :-1]], 1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def test_a_drafter_that_knows_the_text_is_believed(tmp_path):
    target, prompt = tiny.target("llama"), tiny.prompts("llama")[1]
    spy = Spy()
    (said,) = running.run(running.engine(target, {"spy": spy}), {"a": prompt}).values()
    text = [*prompt.ids.tolist(), *said]
    layers = [torch.cat(parts).clone() for parts in spy.seen.values()]
    torch.manual_seed(0)
    network = EagleNetwork(shape(target))
    embedding = torch.nn.Embedding.from_pretrained(
        target.embed(torch.arange(tiny.VOCABULARY)).detach().clone()
    )
    network.lend(embedding)
    rehearse(network, text, layers, len(prompt.ids) - 2)
    save_checkpoint(tmp_path, network)
    mind = eagle.build(eagle.Config(path=str(tmp_path), children=1), target.facts)
    engine = running.engine(target, {"text.eagle": mind}, max_depth=4)
    ((again, report),) = running.reported(engine, {"a": prompt}).values()
    assert again == said
    assert report.accepted > 0.8 * report.drafted
    assert report.tau > 3
