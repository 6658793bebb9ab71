"""RAPID's drafter: what it reads and when, and that the text is the target's whatever it reads."""

from __future__ import annotations

import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
from drafters.checkpoints import EXCERPTS, save_language_model
from drafting import Random, random_tree
from ranking import Noise, Shared, pieces
from running import engine, reported, run
from transformers import LlamaForCausalLM

from mmspec.core.drafter import Budget, Observation
from mmspec.core.errors import BadRequestError, ConfigError
from mmspec.core.request import Media, Prompt, Request, Sampling, Speculation
from mmspec.core.sequence import Sequence
from mmspec.core.tree import TokenTree
from mmspec.engine.build import RANKERS, build_drafters
from mmspec.longctx import rapid
from mmspec.longctx.excerpt import excerpt
from mmspec.model.cache import prefix_of
from mmspec.text import draft_model

GREEDY = Sampling(temperature=0.0, max_tokens=40)
NOISY = Sampling(temperature=1.0, seed=5, max_tokens=40)
SHAPED = Sampling(temperature=0.8, top_p=0.9, repetition_penalty=1.2, seed=3, max_tokens=40)
ADDRESS = "longctx.rapid"
NOTHING = Observation(np.zeros(1, np.int32), np.zeros(0, np.int64))


@pytest.fixture(scope="module")
def target():
    return tiny.target("llama")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("model")
    save_language_model(made, tiny.VOCABULARY)
    return made


def known(target, ranker):
    return replace(target.facts, ranker=lambda _: ranker, pieces=pieces(tiny.VOCABULARY))


def drafter(target, path, ranker=None, **options):
    config = rapid.Config(path=str(path or ""), **{**EXCERPTS, "least": 0.0, **options})
    return rapid.build(config, known(target, ranker or Shared()))


def prompts(*lengths):
    return {
        str(length): Prompt(np.random.default_rng(length).integers(1, 150, length))
        for length in lengths
    }


def sequence(id, length, sampling=GREEDY):
    one = Sequence(Request(id, prompts(length)[str(length)], sampling), 0, 0)
    one.cached = length - 1
    return one


@pytest.mark.parametrize("sampling", [GREEDY, NOISY], ids=["greedy", "seeded"])
@pytest.mark.parametrize("itself", [False, True], ids=["small", "itself"])
def test_noise_for_passages_leaves_the_text_as_it_is(target, folder, sampling, itself):
    asked = prompts(20, 100, 230, 290)
    plain = run(engine(target), asked, sampling)
    drafted = 0
    for seed in range(2):
        mind = drafter(target, None if itself else folder, Noise(seed), beside=True)
        told = reported(engine(target, {ADDRESS: mind}), asked, sampling)
        assert {id: text for id, (text, _) in told.items()} == plain
        drafted += sum(report.drafted for _, report in told.values())
        assert all(report.rag_mode == "lossless" for _, report in told.values())
        assert "excerpts are made of more than 24" in told["20"][1].off_reasons[ADDRESS]
        assert mind._memories.cache.used == 0
    assert drafted > 100


def test_it_guesses_as_the_small_model_does_over_the_excerpt(target, folder):
    mind, one = drafter(target, folder, floor=0.0), sequence("a", 230)
    plain = draft_model.build(
        draft_model.Config(path=str(folder), floor=0.0, least=0.0), target.facts
    )
    ids = excerpt(one.tokens, mind._spelt, Shared(), mind._measures)
    short = Sequence(Request("b", Prompt(ids), GREEDY), 0, 0)
    assert len(ids) < 60
    for _ in range(3):
        (ours,), (theirs,) = (
            who.draft([text], [Budget(12, 5)]) for who, text in ((mind, one), (plain, short))
        )
        assert np.array_equal(ours.tokens, theirs.tokens)
        assert np.array_equal(ours.parents, theirs.parents)
        np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-4)
        assert len(ours) > 4
        for text in (one, short):
            text.extend(np.array([3, 7]))


class Waits(Shared):
    """Ranks when it is let."""

    def __init__(self):
        self.may, self.thread = threading.Event(), None

    def read(self, passages):
        self.thread = threading.current_thread()
        assert self.may.wait(30)
        return super().read(passages)


class Broken:
    """Cannot read."""

    def read(self, passages):
        raise KeyError


def test_nobody_waits_for_an_excerpt_and_a_cancel_frees_it(target, folder):
    """The whole text comes out while the ranker is held up; slots go back when it is let go."""
    ranker, asked = Waits(), prompts(230)
    mind = drafter(target, folder, ranker, beside=True)
    told = reported(engine(target, {ADDRESS: mind}), asked)
    assert told["230"][0] == run(engine(target), asked)["230"]
    assert told["230"][1].drafted == 0
    assert ranker.thread is not threading.current_thread()
    assert mind._memories._held == {}
    assert mind._memories.cache.used > 0  # the thread may still write there
    again = sequence("230", 230)
    mind.observe([again], NOTHING)  # the same id, while the one before is not over
    ranker.may.set()
    mind.worker.shutdown()
    assert len(mind.draft([again], [Budget(8, 4)])[0]) > 1
    mind.forget(again.id)
    assert mind._memories.cache.used == 0


def test_an_excerpt_is_read_while_the_prompt_is(target, folder):
    """By a thread that begins with the first chunk; the first tree may use it."""
    mind = drafter(target, folder, beside=True)
    loop = engine(target, {ADDRESS: mind})
    loop.submit(Request("a", prompts(290)["290"], GREEDY))
    loop.step()
    (memory,) = mind._memories._held.values()
    if memory.reading is not None:
        assert memory.reading.advance(30)
    assert memory.sequence.pending > 100
    loop.step()
    assert memory.lead is not None
    loop.close()


def test_itself_reads_piece_by_piece_in_the_engines_thread(target, monkeypatch):
    monkeypatch.setattr(rapid, "CHUNK", 8)
    mind, one = drafter(target, None, beside=True), sequence("a", 230)
    assert mind.worker is None
    sizes = []
    for _ in range(8):
        mind.observe([one], NOTHING)
        sizes.append(mind._memories.of(one).lead)
    assert sizes.count(None) == 5 - 1  # 4 + 16 + 15 tokens in pieces of 8
    assert len(mind.draft([one], [Budget(8, 4)])[0]) > 1


def test_memory_is_a_constant_and_long_answers_go_on(target, folder):
    mind = drafter(target, folder, answer=128)
    used = []
    for length in (60, 230, 400):
        one = sequence(str(length), length)
        mind.observe([one], NOTHING)
        used.append(mind._memories.cache.used)
        mind.forget(one.id)
    assert len(set(used)) == 1
    one, dice = sequence("long", 60), np.random.default_rng(0)
    for _ in range(120):
        (tree,) = mind.draft([one], [Budget(8, 4)])
        assert len(tree) > 1
        memory = mind._memories.of(one)
        assert memory.filled + tree.depths().max() <= memory.room
        one.extend(dice.integers(1, 150, 4))
        one.cached = len(one) - 1
    assert len(one.output) > 3 * 128


def test_an_excerpt_serves_no_other_question(target, folder):
    """Two prompts that begin the same way: the second's trees are those of its own excerpt."""
    texts = [np.random.default_rng(0).integers(1, 150, 230) for _ in range(2)]
    texts[1][-20:] = np.random.default_rng(1).integers(1, 150, 20)
    known, fresh = drafter(target, folder), drafter(target, folder)
    told = []
    for place, text, minds in ((0, texts[0], [known]), (1, texts[1], [known, fresh])):
        for mind in minds:
            shared = prefix_of(Prompt(text), 32)
            one = Sequence(Request(str(place), Prompt(text), GREEDY), 0, 0, shared)
            for cached in (*range(32, 230, 32), 229):
                one.cached = cached
                mind.observe([one], NOTHING)
            told.append(mind.draft([one], [Budget(12, 5)])[0])
            for _ in range(40):
                one.extend(np.array([3]))
                one.cached += 1
                mind.observe([one], NOTHING)
            mind.forget(one.id)
            assert mind._memories.cache.used == 0
    assert np.array_equal(told[1].tokens, told[2].tokens)


def test_who_finds_no_room_is_silent_until_there_is(target, folder):
    first, second = sequence("a", 100), sequence("b", 100)
    mind = drafter(target, folder, tokens=300)
    trees = mind.draft([first, second], [Budget(8, 4)] * 2)
    assert [len(tree) > 1 for tree in trees] == [True, False]
    mind.forget(first.id)
    assert len(mind.draft([second], [Budget(8, 4)])[0]) > 1


def test_a_full_store_is_the_reason_in_the_report(target, folder):
    mind = drafter(target, folder, tokens=300)
    asked = prompts(100, 230)
    told = reported(engine(target, {ADDRESS: mind}, enough=1e9), asked)
    assert {id: text for id, (text, _) in told.items()} == run(engine(target), asked)
    assert told["100"][1].off_reasons == {}
    assert told["100"][1].drafted > 0
    assert "no room: would hold " in told["230"][1].off_reasons[ADDRESS]
    assert told["230"][1].drafted == 0


class Counts(Shared):
    """Counts how often it ranks."""

    def __init__(self):
        self.times = 0

    def read(self, passages):
        self.times += 1
        return super().read(passages)


@pytest.mark.parametrize("beside", [False, True])
def test_choices_of_one_request_share_its_excerpt(target, folder, monkeypatch, beside):
    """Ranked and read once; trees are those of an excerpt of one's own, to the bit."""
    ranker, chunks = Counts(), []
    mind = drafter(target, folder, ranker, beside=beside)
    read = mind._rows.chunk
    monkeypatch.setattr(mind._rows, "chunk", lambda *told: (chunks.append(1), read(*told)))
    prompt = prompts(230)["230"]
    request = Request("a", prompt, Sampling(temperature=0.0, n=3))
    trio = [Sequence(request, choice, 1) for choice in range(3)]
    alone = Sequence(Request("b", prompt, GREEDY), 0, 0)
    for one in (*trio, alone):
        one.cached = 229
        mind.observe([one], NOTHING)
    if beside:
        mind.worker.shutdown()
        mind.worker = None
    mind.forget(trio[1].id)  # one may leave, and what it lent stays with the others
    trees = mind.draft([trio[0], trio[2], alone], [Budget(12, 5)] * 3)
    assert ranker.times == 2  # the request's, and the other request's
    assert len(chunks) == 2
    for tree in trees[:2]:
        assert np.array_equal(tree.tokens, trees[2].tokens)
        assert np.array_equal(tree.scores, trees[2].scores)
    assert len(trees[0]) > 4


def test_the_engine_ranks_once_for_all_choices(target, folder):
    ranker, texts = Counts(), {}
    loop = engine(target, {ADDRESS: drafter(target, folder, ranker)}, prefix_cache=True, enough=1e9)
    loop.submit(Request("a", prompts(230)["230"], Sampling(temperature=0.0, n=3, max_tokens=40)))
    while loop.busy:
        for delta in loop.step():
            texts.setdefault(delta.choice, []).extend(delta.tokens)
            assert delta.report is None or delta.report.drafted > 0
    assert list(texts.values()) == [run(engine(target), prompts(230))["230"]] * 3
    assert ranker.times == 1
    assert loop.stats.drafter_bytes == 0


def test_a_choice_goes_on_when_the_one_that_read_for_it_has_left(target, folder):
    ranker = Counts()
    mind = drafter(target, None, ranker)
    request = Request("a", prompts(230)["230"], Sampling(temperature=1.0, n=2, seed=1))
    first, second = (Sequence(request, choice, 1) for choice in range(2))
    first.cached = second.cached = 229
    mind._memories.of(first).reading = mind._begin(mind._memories.of(first))
    assert mind._memories.sibling(mind._memories.of(second)) is mind._memories.of(first)
    mind.forget(first.id)
    assert len(mind.draft([second], [Budget(8, 4)])[0]) > 1
    assert ranker.times == 1


def test_a_failed_excerpt_stays_failed(target, folder):
    """Also where it is first asked for in a batch, and then again alone."""
    for itself in (True, False):
        mind = drafter(target, None if itself else folder, Broken())
        batch = [sequence(str(length), length) for length in (100, 230)]
        for _ in range(2):
            for one in batch:
                with pytest.raises(KeyError):
                    mind.draft([one], [Budget(8, 4)])


def test_what_a_ranker_raises_silences_it_with_a_reason(target, folder):
    asked = prompts(100, 230)
    for beside in (True, False):
        mind = drafter(target, folder, Broken(), beside=beside)
        told = reported(engine(target, {ADDRESS: mind}), asked)
        assert {id: text for id, (text, _) in told.items()} == run(engine(target), asked)
        assert {report.off_reasons[ADDRESS] for _, report in told.values()} == {"failed: KeyError"}
        assert mind._memories.cache.used == 0


def test_pictures_are_declined(target, folder):
    prompt = Prompt(np.arange(1, 100), (Media("x", 1, 2, {}),))
    assert "no pictures" in drafter(target, folder).declines(Request("a", prompt))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"path": ""}, "no model"),
        ({"answer": 4096}, "context"),
        ({"longer_than": 20}, "leaves nothing"),
    ],
)
def test_lengths_and_models_that_do_not_fit_are_refused(target, folder, options, says):
    facts = known(target, Shared())
    if not options.get("path", True):
        facts = replace(facts, model=None)
    config = rapid.Config(**{"path": str(folder), **EXCERPTS, **options})
    with pytest.raises(ConfigError, match=says):
        rapid.build(config, facts)
    with pytest.raises(ConfigError, match="rank"):
        rapid.build(rapid.Config(), target.facts)


def test_the_engine_hands_the_ranker_over_to_those_who_read_long_texts(target, folder, monkeypatch):
    lexical, told = f"{RANKERS}.lexical", []
    facts = replace(target.facts, pieces=pieces(tiny.VOCABULARY))
    options = {"path": str(folder), **EXCERPTS}
    for name in ("lexical", "random:3"):
        made = build_drafters({"longctx": {"rapid": {**options, "ranker": name}}}, facts)
        told.append(type(made[ADDRESS]._ranker).__name__)
    assert told == ["Lexical", "Random"]
    with pytest.raises(ConfigError, match="no ranker"):
        build_drafters({"longctx": {"rapid": {**options, "ranker": "nobody"}}}, facts)
    monkeypatch.setitem(sys.modules, lexical, None)  # nobody else pays for it
    assert build_drafters({"retrieval": {"suffix": {}}}, facts).keys() == {"retrieval.suffix"}


def test_by_chance_or_by_words_the_text_is_the_same(target, folder):
    """The arms of an ablation, made as a configuration makes them."""
    asked = prompts(100, 230)
    facts = replace(target.facts, pieces=pieces(tiny.VOCABULARY))
    plain, drafted = run(engine(target), asked), {}
    for name in ("lexical", "random:0", "random:1"):
        options = {"path": str(folder), **EXCERPTS, "least": 0.0, "ranker": name}
        loud = engine(target, build_drafters({"longctx": {"rapid": options}}, facts))
        told = reported(loud, asked)
        assert {id: text for id, (text, _) in told.items()} == plain
        drafted[name] = sum(report.drafted for _, report in told.values())
    assert min(drafted.values()) > 50


# Transfer


def test_laws_are_what_transformers_says_after_the_excerpt_and_each_path(target, folder):
    """Also behind the committed answer, and for trees of any shape, whoever made them."""
    model = LlamaForCausalLM.from_pretrained(folder)
    mind, one, dice = drafter(target, folder), sequence("a", 230), np.random.default_rng(0)
    lead = excerpt(one.tokens, mind._spelt, Shared(), mind._measures)
    for size in (1, 2, 9, 40):
        tree = random_tree(dice, int(one.tokens[-1]), Budget(size, 6), 150)
        mind.draft([one], [Budget(int(dice.integers(1, 9)), 4)])
        told, laws = mind.laws(one, tree)
        assert np.array_equal(told.tokens, tree.tokens)
        for node in range(len(tree)):
            path, above = [], node
            while above > 0:
                path.append(int(tree.tokens[above]))
                above = int(tree.parents[above])
            text = torch.from_numpy(np.array([*lead, *one.output, *path[::-1]]))
            with torch.no_grad():
                want = model(input_ids=text[None], use_cache=False).logits[0, -1]
            np.testing.assert_allclose(laws[node], want.float().numpy(), atol=2e-3)
        one.extend(dice.integers(1, 150, 5))
        one.cached = len(one) - 1


def test_laws_end_where_it_cannot_read(target, folder):
    """What the target may say and the small model does not know: cut, and no law after it."""
    facts = replace(known(target, Shared()), media_tokens=frozenset({7}))
    mind = rapid.build(rapid.Config(path=str(folder), **EXCERPTS), facts)
    one = sequence("a", 230)
    root = int(one.tokens[-1])
    parents = np.array([-1, 0, 1, 2, 0], np.int32)
    tokens = np.array([root, 3, 7, 4, 5])
    told, laws = mind.laws(one, TokenTree(tokens, parents, np.zeros(5, np.float32), parents))
    assert told.tokens.tolist() == [root, 3, 5]
    assert laws.shape == (3, tiny.VOCABULARY)
    one.extend(np.array([7]))
    told, laws = mind.laws(one, TokenTree.chain(np.array([7, 3])))
    assert (len(told), laws) == (1, None)


def tilted(target, folder, eta, sampling=NOISY, asked=None, beside=(), **options):
    """Texts and reports of requests whose law is tilted."""
    drafters = {ADDRESS: drafter(target, folder, beside=True), **dict(beside)}
    loop = engine(target, drafters, transfer=True, **options)
    return reported(loop, asked or prompts(100, 230), sampling, Speculation(transfer=eta))


def texts(told):
    return {id: text for id, (text, _) in told.items()}


@pytest.mark.parametrize("sampling", [GREEDY, NOISY], ids=["greedy", "seeded"])
def test_a_tilted_text_does_not_depend_on_trees(target, folder, sampling):
    """One node, many, or other drafters' beside: every token has the drafter's law behind it."""
    plain = run(engine(target), prompts(100, 230), sampling)
    whole = tilted(target, folder, 8.0, sampling)
    alone = tilted(target, folder, 8.0, sampling, max_nodes=1)
    others = tilted(target, folder, 8.0, sampling, beside={"text.random": Random(tiny.VOCABULARY)})
    assert texts(whole) == texts(alone) == texts(others)
    assert all(texts(whole)[id] != plain[id] for id in plain)
    reports = [report for _, report in whole.values()]
    assert all(not one.lossless and one.rag_mode == "transfer" and one.eta == 8 for one in reports)
    assert sum(one.accepted for one in reports) > 10
    assert all(one.rounds == 40 for _, one in alone.values())


@pytest.mark.parametrize("sampling", [GREEDY, NOISY, SHAPED], ids=["greedy", "seeded", "shaped"])
def test_eta_0_is_the_targets_own_text(target, folder, sampling):
    told = tilted(target, folder, 0.0, sampling)
    assert texts(told) == run(engine(target), prompts(100, 230), sampling)
    assert all(report.lossless and report.rag_mode == "transfer" for _, report in told.values())


def test_a_tilted_request_leaves_its_neighbours_lossless(target, folder):
    asked = prompts(100, 230)
    loop = engine(target, {ADDRESS: drafter(target, folder, beside=True)}, transfer=True)
    said = {id: [] for id in asked}
    loop.submit(Request("100", asked["100"], NOISY, Speculation(transfer=8.0)))
    loop.submit(Request("230", asked["230"], NOISY))
    while loop.busy:
        for delta in loop.step():
            said[delta.request_id] += delta.tokens
    assert said["230"] == run(engine(target), asked, NOISY)["230"]
    assert said["100"] == texts(tilted(target, folder, 8.0))["100"]


@pytest.mark.parametrize(
    ("length", "sampling", "speculation", "allowed", "says"),
    [
        (230, NOISY, Speculation(transfer=5.0), False, "engine.transfer"),
        (20, NOISY, Speculation(transfer=5.0), True, "more than 24"),
        (230, Sampling(), Speculation(transfer=5.0), True, "at most 128"),
        (230, Sampling(max_tokens=129), Speculation(transfer=5.0), True, "at most 128"),
        (230, NOISY, Speculation(transfer=5.0, enabled=False), True, "no drafter"),
        (230, NOISY, Speculation(transfer=5.0, drafters=("text.random",)), True, "no drafter"),
    ],
)
def test_a_transfer_that_cannot_be_had_is_refused(
    target, folder, length, sampling, speculation, allowed, says
):
    drafters = {ADDRESS: drafter(target, folder), "text.random": Random(tiny.VOCABULARY)}
    loop = engine(target, drafters, transfer=allowed)
    request = Request("a", prompts(length)[str(length)], sampling, speculation)
    with pytest.raises(BadRequestError, match=says) as refused:
        loop.submit(request)
    assert refused.value.param == "speculation.transfer"
    assert not loop.busy


def test_a_tilted_text_waits_for_its_drafter_and_others_do_not(target, folder):
    ranker, asked = Waits(), prompts(100, 230)
    mind = drafter(target, folder, ranker, beside=True)
    loop = engine(target, {ADDRESS: mind}, transfer=True)
    loop.submit(Request("230", asked["230"], NOISY, Speculation(transfer=8.0)))
    loop.submit(Request("100", asked["100"], NOISY, Speculation(enabled=False)))
    said = {id: [] for id in asked}
    over = []
    while loop.busy:
        for delta in loop.step():
            said[delta.request_id] += delta.tokens
            over += [delta.request_id] if delta.finish_reason else []
        if over == ["100"]:
            ranker.may.set()
        else:
            assert over or not said["230"]
    assert over == ["100", "230"]
    assert said["230"] == texts(tilted(target, folder, 8.0))["230"]


def test_without_its_drafter_a_tilted_text_ends_in_an_error(target, folder):
    mind = drafter(target, folder, Broken(), beside=True)
    loop = engine(target, {ADDRESS: mind}, transfer=True)
    loop.submit(Request("a", prompts(230)["230"], NOISY, Speculation(transfer=8.0)))
    told = []
    while loop.busy:
        told += loop.step()
    assert told[-1].finish_reason == "error"
    assert not any(delta.tokens for delta in told)
