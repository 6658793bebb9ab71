"""The draft model: its trees by plain transformers, what it has read, and what the target says."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import running
import tiny
import torch
from drafters.checkpoints import save_language_model
from drafters.markov import FACTS, MEDIA, VOCABULARY, Markov, prefill, prompt, step
from drafting import random_tree
from plain_children import children
from transformers import LlamaForCausalLM

from mmspec.core.drafter import Budget, Facts, Needs
from mmspec.core.errors import ConfigError
from mmspec.core.grow import Level
from mmspec.core.request import Prompt, Request, Sampling
from mmspec.core.sequence import Sequence
from mmspec.model.load import locate
from mmspec.text import draft_model

GREEDY = Sampling(temperature=0.0)
NOISY = Sampling(temperature=1.0, seed=5, max_tokens=40)
TINY = Facts(vocabulary=tiny.VOCABULARY, context=512)


def sequence(id, text, sampling=GREEDY, seed=0):
    one = Sequence(Request(id, Prompt(np.asarray(text, np.int64)), sampling), 0, seed)
    one.cached = one.prompt_length - 1
    return one


def drafter(folder, facts=FACTS, **options):
    if not (folder / "config.json").exists():
        save_language_model(folder)
    return draft_model.build(
        draft_model.Config(path=str(folder), **{"floor": 1e-6, "least": 0.0, **options}), facts
    )


def saved(name, folder):
    tiny.reference(name).save_pretrained(folder)
    return folder


@torch.no_grad()
def plain(model, text):
    """Logits [V] of what follows, by one dense forward of the model."""
    tokens = torch.from_numpy(np.asarray(text, np.int64).copy())[None]
    return model(input_ids=tokens, use_cache=False).logits[0, -1].float()


def path(tree, node):
    found = []
    while node > 0:
        found.append(int(tree.tokens[node]))
        node = int(tree.parents[node])
    return found[::-1]


def check_tree(model, text, tree, children=4, media=()):
    """Every score is the model's own, and every expanded node has its best children."""
    for node in sorted(set(tree.parents[1:].tolist())):
        logits = plain(model, [*text, *path(tree, node)])
        logits[list(media)] = -torch.inf
        likely = torch.log_softmax(logits, -1)
        below = np.flatnonzero(tree.parents == node)
        expected = tree.scores[node] + likely[tree.tokens[below]].numpy()
        np.testing.assert_allclose(tree.scores[below], expected, atol=5e-4)
        best = likely.topk(children).values.numpy() + tree.scores[node]
        ours = np.sort(tree.scores[below])[::-1]
        np.testing.assert_allclose(ours, best[: len(below)], atol=5e-4)


@pytest.mark.parametrize("name", [*tiny.TEXT, "qwen2_5_vl"])
def test_trees_are_what_transformers_says(name, tmp_path):
    """Ragged sequences, some shown as they are read and some never, over many rounds."""
    mind, dice = drafter(saved(name, tmp_path), TINY), np.random.default_rng(3)
    texts = [np.random.default_rng(n).integers(1, 150, n) for n in (1, 4, 30, 121, 300)]
    batch = [sequence(str(len(text)), text) for text in texts]
    deepest = 0
    for turn in range(4):
        trees = mind.draft(batch, [Budget(12, 5), Budget(20, 6)] * 2 + [Budget(9, 1)])
        for one, tree in zip(batch, trees, strict=True):
            if one.prompt_length != 300 or turn == 3:
                check_tree(tiny.reference(name), one.tokens, tree)
            deepest = max(deepest, tree.depths().max())
            grown = path(tree, int(dice.integers(0, len(tree))))
            one.extend(np.array([*grown, int(dice.integers(1, 150))]))
            one.cached = len(one) - 1
        seen = nothing_shown(batch[:3])
        mind.observe(batch[:3], seen)
    assert deepest >= 3


def nothing_shown(batch):
    """It reads the sequences, not what it is shown."""
    offsets = np.zeros(len(batch) + 1, np.int32)
    return draft_model.Observation(offsets=offsets, tokens=np.zeros(0, np.int64))


def test_it_asks_for_nothing(tmp_path):
    assert drafter(tmp_path).needs == Needs()


def test_a_sampled_requests_children_follow_its_noise(tmp_path):
    mind = drafter(tmp_path, children=6, width=1, floor=0.0)
    model = LlamaForCausalLM.from_pretrained(tmp_path)
    for heat, seed in ((0.7, 1), (1.0, 2), (1.3, 3)):
        one = sequence("a", prompt(1), Sampling(temperature=heat), seed)
        (tree,) = mind.draft([one], [Budget(30, 3)])
        for depth, node in enumerate([0, *np.unique(tree.parents[tree.parents > 0])]):
            text = [token for token in one.tokens.tolist() if token != MEDIA]
            logits = plain(model, [*text, *path(tree, node)])[None]
            logits[:, MEDIA] = -torch.inf
            level = Level(np.zeros(1, np.int64), tree.tokens[[node]], np.zeros(1, int), depth)
            tokens, chances = children(logits, level, [one], 6, reach=VOCABULARY)
            below = np.flatnonzero(tree.parents == node)
            assert tree.tokens[below].tolist() == tokens[0][: len(below)].tolist()
            np.testing.assert_allclose(
                tree.scores[below] - tree.scores[node], chances[0][: len(below)], atol=2e-3
            )
        mind.forget(one.id)


@pytest.mark.parametrize("sampling", [running.GREEDY, NOISY], ids=["greedy", "sampled"])
@pytest.mark.parametrize("name", ["llama", "gemma3_text"])
def test_a_target_that_drafts_for_itself_is_always_believed(name, sampling, tmp_path):
    target = tiny.target(name)
    mind = drafter(saved(name, tmp_path), target.facts, children=1, floor=0.0)
    prompts = {str(index): one for index, one in enumerate(tiny.prompts(name))}
    engine = running.engine(target, {"text.draft_model": mind}, max_depth=4)
    alone = running.run(running.engine(target), prompts, sampling)
    for id, (said, report) in running.reported(engine, prompts, sampling).items():
        assert said == alone[id]
        assert report.accepted == report.drafted > 0
        assert report.rounds == len(said) / 5  # the root's own child and four guesses each time
        assert report.tau == 5


@pytest.mark.parametrize("name", ["llama", "llava", "qwen2_5_vl"])
def test_the_target_says_the_same_with_and_without_it(name, tmp_path):
    """Also after a picture, which the draft model never sees, and from a prefix known before."""
    target = tiny.target(name)
    save_language_model(tmp_path, tiny.VOCABULARY, max_position_embeddings=512)
    mind = drafter(tmp_path, target.facts, floor=0.0)
    prompts = {str(index): one for index, one in enumerate(tiny.prompts(name))}
    loud = running.engine(target, {"text.draft_model": mind}, prefix_cache=True)
    quiet = running.engine(target)
    for _ in range(2):
        said = running.reported(loud, prompts)
        for index in range(len(prompts)):
            assert said[str(index)][0] == tiny.greedy(name, index)
        assert all(report.drafted > 0 for _, report in said.values())
        assert not any(report.off_reasons for _, report in said.values())
    assert loud.stats.reused_tokens > 0
    assert running.run(loud, prompts, NOISY) == running.run(quiet, prompts, NOISY)


def test_bfloat16_runs_and_says_the_same(tmp_path):
    target = tiny.target("llama", dtype=torch.bfloat16)
    mind = drafter(saved("llama", tmp_path), target.facts, children=1, floor=0.0)
    assert mind._memories.cache.store.dtype == torch.bfloat16
    prompts = {str(index): one for index, one in enumerate(tiny.prompts("llama"))}
    loud = running.engine(target, {"text.draft_model": mind}, max_depth=4)
    said = running.reported(loud, prompts)
    alone = running.run(running.engine(target), prompts)
    assert {id: text for id, (text, _) in said.items()} == alone
    assert all(report.tau > 3.5 for _, report in said.values())  # this model has many near ties


def close(ours, theirs, atol=1e-4):
    assert len(ours) > 1
    assert ours.tokens.tolist() == theirs.tokens.tolist()
    assert ours.parents.tolist() == theirs.parents.tolist()
    np.testing.assert_allclose(ours.scores, theirs.scores, atol=atol)


def test_what_was_guessed_and_refused_leaves_no_trace(tmp_path):
    """After many steps the trees are those of a drafter that meets the text now."""
    mind, one = drafter(tmp_path), sequence("a", prompt(2))
    one.cached = 0
    prefill(mind, [one], Markov())
    for size in range(3, 20):
        step(mind, [one], [Budget(size, 8)], Markov())
        ours, theirs = (who.draft([one], [Budget(16, 6)])[0] for who in (mind, drafter(tmp_path)))
        close(ours, theirs)


def test_only_committed_tokens_stay(tmp_path):
    """Growing trees of every size over and over writes nothing below the committed slots."""
    mind, one = drafter(tmp_path, width=8, children=8, floor=0.0), sequence("a", prompt(2))
    mind.draft([one], [Budget(2, 1)])
    memory = mind._memories.of(one)
    count = len(one) - int((one.tokens == MEDIA).sum())
    assert memory.filled == count
    here = slice(memory.base, memory.base + count)
    before = mind._memories.cache.store[:, :, :, here].clone()
    mind.draft([one], [Budget(64, 12)])
    assert torch.equal(mind._memories.cache.store[:, :, :, here], before)
    assert memory.filled == count


def test_pictures_are_left_out(tmp_path):
    """Trees are those of the text without its placeholders, whose places do not count."""
    mind = drafter(tmp_path)
    text = prompt(4)
    seeing, blind = sequence("a", text), sequence("b", text[text != MEDIA])
    assert seeing.prompt_length > blind.prompt_length
    for _ in range(3):
        close(*mind.draft([seeing, blind], [Budget(16, 6)] * 2), atol=0)
        for one in (seeing, blind):
            one.extend(np.array([3, 7]))
    early = sequence("c", [MEDIA, MEDIA, 5])  # nothing but a picture before
    (tree,) = mind.draft([early], [Budget(8, 3)])
    check_tree(LlamaForCausalLM.from_pretrained(tmp_path), [5], tree, media=[MEDIA])
    late = sequence("d", [5, MEDIA])
    assert len(mind.draft([late], [Budget(8, 3)])[0]) == 1
    late.extend(np.array([5]))
    assert len(mind.draft([late], [Budget(8, 3)])[0]) > 1


@pytest.mark.parametrize("shown", [True, False])
def test_a_text_forgotten_in_the_middle_is_read_again(shown, tmp_path):
    mind, one = drafter(tmp_path), sequence("a", prompt(3))
    prefill(mind, [one], Markov())
    for turn in range(6):
        step(mind, [one], [Budget(16, 6)], Markov())
        if turn % 2:
            mind.forget(one.id)
        if shown:
            mind.observe([one], nothing_shown([one]))
    close(mind.draft([one], [Budget(16, 6)])[0], drafter(tmp_path).draft([one], [Budget(16, 6)])[0])


def test_an_id_used_again_is_another_text(tmp_path):
    mind = drafter(tmp_path)
    mind.draft([sequence("a", prompt(5))], [Budget(16, 6)])
    again = sequence("a", prompt(6))
    close(
        mind.draft([again], [Budget(16, 6)])[0],
        drafter(tmp_path).draft([again], [Budget(16, 6)])[0],
    )
    assert (
        mind._memories.cache.used == mind._memories._held["a/0"].room + mind._memories.cache.scratch
    )


def test_a_text_far_behind_is_read_at_a_pace_and_drafted_then(tmp_path, monkeypatch):
    monkeypatch.setattr(draft_model, "PACE", 40)
    monkeypatch.setattr(draft_model, "CHUNK", 32)
    mind, one = drafter(tmp_path), sequence("a", prompt(5, 150))
    sizes = [len(mind.draft([one], [Budget(16, 6)])[0]) for _ in range(5)]
    assert sizes[:3] == [1, 1, 1]
    assert sizes[-1] > 1
    monkeypatch.undo()
    close(mind.draft([one], [Budget(16, 6)])[0], drafter(tmp_path).draft([one], [Budget(16, 6)])[0])


def test_beyond_its_context_it_is_silent(tmp_path):
    save_language_model(tmp_path, max_position_embeddings=70)
    mind, one = drafter(tmp_path, floor=0.0), sequence("a", prompt(1)[:60])
    one.cached = 0
    held = 60 - int((one.tokens == MEDIA).sum())
    prefill(mind, [one], Markov())
    depths = []
    for length in range(held + 1, 76):
        (tree,) = mind.draft([one], [Budget(64, 8)])
        depths.append((length, int(tree.depths().max())))
        one.extend(np.array([int(length % 20)]))
        one.cached += 1
        mind.observe([one], nothing_shown([one]))
    assert depths == [(length, max(0, min(8, 71 - length))) for length, _ in depths]
    mind.forget(one.id)
    mind.observe([one], nothing_shown([one]))
    assert len(mind.draft([one], [Budget(16, 6)])[0]) == 1
    long = sequence("b", [3] * 71)
    mind.observe([long], nothing_shown([long]))
    assert len(mind.draft([long], [Budget(16, 6)])[0]) == 1
    assert "b/0" not in mind._memories._held


def test_a_full_store_silences_who_comes_late_until_there_is_room(tmp_path):
    mind = drafter(tmp_path, tokens=400)
    first, second = (sequence(name, prompt(4), Sampling(max_tokens=200)) for name in "ab")
    sizes = [len(tree) for tree in mind.draft([first, second], [Budget(16, 4)] * 2)]
    assert sizes[0] > 1
    assert sizes[1] == 1
    mind.forget(first.id)
    assert len(mind.draft([second], [Budget(16, 4)])[0]) > 1


def test_a_batch_says_what_each_says_alone(tmp_path):
    """To the bit, whatever else is in the batch, and however its rows fall into groups."""
    dice = np.random.default_rng(0)
    batch = [sequence(str(n), dice.integers(0, 28, n)) for n in (5, 40, 61, 33, 90, 17, 130)]
    budgets = [Budget(int(dice.integers(2, 20)), int(dice.integers(1, 9))) for _ in batch]
    mind = drafter(tmp_path)
    for _ in range(4):
        together = mind.draft(batch, budgets)
        for one, budget, tree in zip(batch, budgets, together, strict=True):
            (alone,) = mind.draft([one], [budget])
            assert alone.tokens.tobytes() == tree.tokens.tobytes()
            assert alone.scores.tobytes() == tree.scores.tobytes()
        for one in batch:
            grown = random_tree(dice, int(one.tokens[-1]), Budget(5, 4), 28)
            one.extend(grown.tokens[1:])
            one.cached = len(one) - 1


def tokenizer(folder, **changes):
    """A tokenizer.json whose ids spell two-letter words."""
    words = {f"{first}{second}": 8 * i + j
             for i, first in enumerate("abcd") for j, second in enumerate("qrstuvwx")}  # fmt: skip
    told = {"model": {"type": "BPE", "vocab": words | changes, "merges": []}, "added_tokens": []}
    folder.mkdir(exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(told))


def test_a_model_of_other_tokens_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=f"knows {VOCABULARY} ids, the target 99"):
        drafter(tmp_path / "one", replace(FACTS, vocabulary=99))
    target = tiny.target("llama")
    save_language_model(tmp_path / "two", tiny.VOCABULARY + 8)
    with pytest.raises(ConfigError, match="knows 168 ids, the target 160"):
        drafter(tmp_path / "two", target.facts)
    target.source = str(tmp_path / "target")
    tokenizer(tmp_path / "target")
    tokenizer(tmp_path / "two", aq=31, dx=0)
    with pytest.raises(ConfigError, match="other meanings"):
        drafter(tmp_path / "two", target.facts)
    tokenizer(tmp_path / "two")  # only padded to another size: the same words
    mind = drafter(tmp_path / "two", target.facts, floor=0.0, children=160)
    (tree,) = mind.draft([sequence("a", [3, 165, 9])], [Budget(512, 1)])
    assert sorted(tree.tokens[1:].tolist()) == list(range(160))


def test_a_model_with_fewer_ids_leaves_out_what_it_does_not_know(tmp_path):
    target = tiny.target("llama")
    target.source = str(tmp_path / "target")
    tokenizer(tmp_path / "target")
    tokenizer(tmp_path)
    mind = drafter(tmp_path, target.facts)
    odd, even = sequence("a", [3, 150, 9, 31]), sequence("b", [3, 9, 31])
    close(*mind.draft([odd, even], [Budget(16, 4)] * 2), atol=0)
    assert len(mind.draft([sequence("c", [3, 150])], [Budget(16, 4)])[0]) == 1


def test_where_there_is_no_model_to_run_a_config_error_says_so(tmp_path):
    with pytest.raises(ConfigError, match="no model"):
        draft_model.build(draft_model.Config(path=str(tmp_path / "nowhere")), FACTS)
    (tmp_path / "config.json").write_text('{"model_type": "gpt2", "vocab_size": 32}')
    with pytest.raises(ConfigError, match="gpt2"):
        draft_model.build(draft_model.Config(path=str(tmp_path)), FACTS)
    (tmp_path / "config.json").write_text('{"model_type": "llama", "vocab_size": 32}')
    with pytest.raises(ConfigError, match="no model to run"):  # no weights
        draft_model.build(draft_model.Config(path=str(tmp_path)), FACTS)
    half = tiny.target("llama", dtype=torch.float16)
    with pytest.raises(ConfigError, match="float16"):
        drafter(saved("llama", tmp_path / "half"), half.facts)


def test_a_bundled_model_goes_by_its_name(tmp_path):
    assert locate("nano").endswith("nano")
    assert locate(str(tmp_path)) == str(tmp_path)
    assert locate("no-such-model") == "no-such-model"
    mind = draft_model.build(draft_model.Config(path="nano"), Facts(vocabulary=4096, context=512))
    assert len(mind.draft([sequence("a", [1, 40, 41])], [Budget(8, 3)])[0]) > 1
