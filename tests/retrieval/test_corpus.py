"""The corpus drafter in an engine: lossless, private, never in the way."""

from __future__ import annotations

import logging
import os
import time

import msgspec
import numpy as np
import pytest
from drafters.markov import FACTS, MEDIA, Markov, observation, prompt, sequence
from running import engine, reported, run
from tiny import greedy, prompts, target

from mmspec.core.drafter import Budget, Facts, Keeper
from mmspec.core.errors import ConfigError
from mmspec.core.request import Prompt, Request, Sampling, Speculation
from mmspec.core.sequence import Sequence
from mmspec.retrieval.corpus import Config, Corpus, build
from mmspec.retrieval.segment import PUBLIC, identity_of, owner_of
from mmspec.retrieval.segment_build import Draft
from mmspec.retrieval.shelf import Shelf

ADDRESS = "retrieval.corpus"
NAME = "llama"


@pytest.fixture(scope="module")
def model():
    return target(NAME)


def index(folder, texts, facts: Facts) -> str:
    with Draft(folder, identity_of(facts), PUBLIC) as draft:
        for text in texts:
            draft.add(np.array(text))
        Shelf(folder, identity_of(facts), PUBLIC).add(draft)
    return str(folder)


def same(one, other) -> bool:
    names = ("tokens", "parents", "scores", "source")
    return all(getattr(one, n).tobytes() == getattr(other, n).tobytes() for n in names)


def finished(drafter, tenant, text, reason="stop", shared=0):
    """A request of a tenant that said the second half of a text; the drafter has taken it in."""
    half = len(text) // 2
    asked = Request("r", Prompt(np.array(text[:half]), shared=shared), tenant=tenant)
    one = Sequence(asked, 0, 0)
    one.extend(np.array(text[half:]))
    assert drafter.declines(asked) is None
    drafter.finish(one, reason)
    drafter.forget(one.id)
    drafter.ingest.settle()


def ask(drafter, tenant, text, budget=Budget(16, 12)):  # noqa: B008
    one = Sequence(Request("q", Prompt(np.array(text)), tenant=tenant), 0, 0)
    drafter.declines(one.request)
    (tree,) = drafter.draft([one], [budget])
    drafter.forget(one.id)
    return tree


@pytest.mark.parametrize("sampling", [Sampling(temperature=0.0), Sampling(seed=7)], ids=str)
def test_texts_are_the_same_with_and_without(model, tmp_path, sampling):
    """A corpus that knows two of three answers, and lies beside."""
    sampling = msgspec.structs.replace(sampling, max_tokens=40)
    asked = {str(place): one for place, one in enumerate(prompts(NAME))}
    plain = run(engine(model), asked, sampling)
    lies = [[*plain["0"][:9], 5, 6, 7], [*plain["1"][4:20], 8] * 3]
    folder = index(tmp_path, [plain["0"], plain["1"], *lies], model.facts)
    drafter = build(Config(paths=(folder,)), model.facts)
    told = reported(engine(model, {ADDRESS: drafter}), asked, sampling)
    assert {id: said for id, (said, _) in told.items()} == plain
    assert told["0"][1].tau > 1.5
    assert told["0"][1].by_source[ADDRESS][1] > 5
    if sampling.temperature == 0:
        assert plain["0"] == greedy(NAME, 0)


def test_what_was_said_is_quoted_the_next_time_to_the_same_tenant(model):
    drafter = build(Config(remember=True), model.facts)
    serving = engine(model, {ADDRESS: drafter})
    asked = {"1": prompts(NAME)[1]}
    first, told = reported(serving, asked)["1"]
    assert told.drafted == 0
    drafter.ingest.settle()
    again, retold = reported(serving, asked)["1"]
    assert again == first
    assert retold.tau > 4


def test_a_finished_text_is_there_within_a_second(model):
    drafter = build(Config(remember=True), model.facts)
    text = list(range(3, 60))
    began = time.monotonic()
    drafter.finish(sequence("x", []), "stop")  # nothing was said: nothing is kept
    one = Sequence(Request("r", Prompt(np.array(text[:9]))), 0, 0)
    one.extend(np.array(text[9:]))
    drafter.finish(one, "stop")
    while len(ask(drafter, "", text[:12])) == 1 and time.monotonic() - began < 5:
        time.sleep(0.005)
    assert time.monotonic() - began < 1
    assert ask(drafter, "", text[:12]).tokens.tolist()[:3] == [14, 15, 16]


CANARY = [*range(3, 27)] * 2
QUESTIONS = [CANARY[:7], CANARY[:12], list(prompt(1)), [5, 6, 7, 8]]


@pytest.mark.parametrize("stored", [False, True], ids=["memory", "store"])
def test_a_tenants_trees_are_the_same_bytes_with_and_without_anothers_data(tmp_path, stored):
    """The canary of A, its sealed segments too, never reaches B."""
    public = index(tmp_path, [prompt(1)[prompt(1) != MEDIA], [5, 6, 7, 9]], FACTS)
    trees = {}
    for company in (False, True):
        store = str(tmp_path / f"store-{company}") if stored else None
        drafter = build(Config(paths=(public,), remember=True, store=store), FACTS)
        if company:
            finished(drafter, "a", CANARY * 3)
            for memory in drafter._memories._held.values():
                memory.seal()
            assert len(ask(drafter, "a", CANARY[:7])) > 5
        finished(drafter, "b", [5, 6, 7, 8, 5, 6, 7, 8, 10, 11])
        trees[company] = [ask(drafter, tenant, one) for tenant in "bc" for one in QUESTIONS]
    assert any(len(tree) > 1 for tree in trees[False])
    assert all(map(same, trees[False], trees[True]))


def test_only_tenants_that_agreed_are_remembered():
    drafter = build(Config(remember=("a",)), FACTS)
    finished(drafter, "a", CANARY)
    one = Sequence(Request("r", Prompt(np.array(CANARY)), tenant="b"), 0, 0)
    one.extend(np.array(CANARY))
    assert drafter.declines(one.request) == "no corpus is mounted"
    drafter.finish(one, "stop")
    drafter.ingest.settle()
    assert len(ask(drafter, "a", CANARY[:40])) > 1
    assert drafter._memories.get("b") is None


@pytest.mark.parametrize(
    ("reason", "kept"), [("stop", True), ("length", True), ("error", False), ("cancelled", False)]
)
def test_what_did_not_end_well_is_not_remembered(reason, kept):
    drafter = build(Config(remember=True), FACTS)
    finished(drafter, "", CANARY, reason)
    assert (len(ask(drafter, "", CANARY[:40])) > 1) == kept


def test_prompts_are_remembered_only_as_far_as_they_are_documents_and_wanted():
    before, document = [20, 21, 22, 20, 21], [*range(3, 19)]
    for documents, shared, kept in ((False, 16, False), (True, 0, False), (True, 16, True)):
        drafter = build(Config(remember=True, documents=documents), FACTS)
        text = [*document, *before, *[25, 26, 27] * 7]
        finished(drafter, "", text, shared=shared)
        assert (len(ask(drafter, "", [*before, *document[:4]])) > 1) == kept


def test_whole_prompts_are_remembered_where_that_is_wanted():
    for wanted in (False, True):
        drafter = build(Config(remember=True, prompts=wanted), FACTS)
        finished(drafter, "", [*range(3, 19), *[25, 26, 27] * 6])
        assert (len(ask(drafter, "", [*range(3, 9)])) > 1) == wanted
        assert len(ask(drafter, "another", [*range(3, 9)])) == 1


def test_what_one_request_taught_of_trust_serves_its_tenants_next_and_nobody_else(tmp_path):
    drafter = build(Config(paths=(index(tmp_path, [[*range(3, 20)] * 9], FACTS),)), FACTS)

    def score(tenant):
        asked = Sequence(Request("s", Prompt(np.arange(3, 9)), tenant=tenant), 0, 0)
        told = drafter.draft([asked], [Budget(8, 7)])[0]
        drafter.forget("s")
        return told.scores[1]

    before = score("one")
    text = Sequence(Request("t", Prompt(np.arange(3, 9)), tenant="one"), 0, 0)
    drafter.draft([text], [Budget(8, 7)])
    text.extend(np.array([20]))  # not what the corpus said
    drafter.observe([text], observation([text.tokens], [text.tokens[:0]], Markov()))
    drafter.forget("t")
    assert score("one") < before
    assert score("another") == before
    drafter.clear()
    assert score("one") == before


def test_a_request_that_asked_for_no_speculation_is_not_remembered(model):
    drafter = build(Config(remember=True), model.facts)
    serving = engine(model, {ADDRESS: drafter})
    for asked in (Speculation(enabled=False), Speculation(drafters=())):
        run(serving, {"1": prompts(NAME)[1]}, speculation=asked)
    drafter.ingest.settle()
    assert drafter._memories.get("") is None or not drafter._memories.get("").segments


def test_an_end_is_told_once_with_its_reason_before_all_is_forgotten(model):
    told = []

    class Keeping:
        needs = Corpus.needs

        def observe(self, sequences, seen):
            pass

        def draft(self, sequences, budgets):
            raise RuntimeError("it never can")

        def forget(self, id):
            told.append(("forget", id))

        def finish(self, sequence, reason):
            told.append((reason, sequence.id, len(sequence.output)))
            raise RuntimeError("nor this")

    keeping = Keeping()
    assert isinstance(keeping, Keeper)
    serving = engine(
        model, {"retrieval.keeping": keeping, ADDRESS: build(Config(remember=True), model.facts)}
    )
    serving.submit(Request("gone", prompts(NAME)[1]))
    serving.cancel("gone")
    serving.step()
    assert told == [("cancelled", "gone/0", 0), ("forget", "gone/0")]
    told.clear()
    first = run(serving, {"a": prompts(NAME)[1]})  # it failed, so it is not asked to keep
    assert set(told) == {("forget", "a/0")}
    assert len(first["a"]) == 40


def test_a_restart_finds_what_was_stored(tmp_path):
    config = Config(remember=True, store=str(tmp_path))
    drafter = build(config, FACTS)
    finished(drafter, "a", CANARY)
    del drafter
    assert len(ask(build(config, FACTS), "a", CANARY[:40])) > 1
    assert len(ask(build(config, FACTS), "b", CANARY[:40])) == 1


def test_clearing_forgets_what_is_not_stored():
    drafter = build(Config(remember=True), FACTS)
    finished(drafter, "", CANARY)
    drafter.clear()
    assert len(ask(drafter, "", CANARY[:40])) == 1


@pytest.mark.parametrize(("what", "said"), [
    ("nothing", "not a folder"), ("empty", "holds no index"), ("junk.mmsa", "not an index"),
    ("foreign", "another tokenizer"), ("smaller", "vocabulary of 7"),
])  # fmt: skip
def test_a_server_with_a_corpus_that_cannot_be_read_does_not_start(tmp_path, what, said):
    path = tmp_path / what
    if what == "junk.mmsa":
        path.write_bytes(b"junk" * 2000)
    elif what != "nothing":
        path.mkdir()
    if what in ("foreign", "smaller"):
        pieces = [b"x%d" % id for id in range(1024 if what == "foreign" else 7)]
        index(path, [[1, 2, 3]], Facts(vocabulary=32, context=9, pieces=pieces))
    with pytest.raises(ConfigError, match=f"retrieval.corpus.*{said}"):
        build(Config(paths=(str(path),)), FACTS)


@pytest.mark.parametrize("harm", ["truncate", "remove", "folder"])
def test_a_corpus_that_goes_while_mounted_is_let_go_of(model, tmp_path, harm, caplog):
    """Serving goes on, with the reason in the report of whoever comes next."""
    asked = {"1": prompts(NAME)[1]}
    plain = run(engine(model), asked)
    folder = index(
        tmp_path / "public" if (tmp_path / "public").mkdir() is None else tmp_path,
        [plain["1"]],
        model.facts,
    )
    drafter = build(Config(paths=(folder,)), model.facts)
    serving = engine(model, {ADDRESS: drafter})
    assert reported(serving, asked)["1"][1].drafted > 0
    serving.submit(Request("during", asked["1"], Sampling(temperature=0.0, max_tokens=40)))
    said = [token for _ in range(6) for delta in serving.step() for token in delta.tokens]
    (path,) = (tmp_path / "public").glob("*.mmsa")
    if harm == "truncate":
        path.chmod(0o600)
        os.truncate(path, 100)
    elif harm == "remove":
        path.unlink()
    else:
        (tmp_path / "public").rename(tmp_path / "away")
        (tmp_path / "away" / path.name).unlink()
    while serving.busy:
        said += [token for delta in serving.step() for token in delta.tokens]
    assert said == plain["1"]
    with caplog.at_level(logging.WARNING):
        text, told = reported(serving, asked)["1"]
    assert text == plain["1"]
    assert told.off_reasons == {ADDRESS: "no corpus is mounted"}
    assert caplog.text


def test_a_store_that_cannot_be_used_turns_the_drafter_off_with_a_reason(tmp_path):
    (tmp_path / owner_of("a")).write_text("in the way")
    drafter = build(Config(remember=True, store=str(tmp_path)), FACTS)
    request = Request("r", Prompt(np.array([1, 2])), tenant="a")
    assert "exists" in drafter.declines(request)
    assert drafter.declines(Request("r", Prompt(np.array([1, 2])), tenant="b")) is None


def test_a_picture_is_never_quoted_or_crossed():
    drafter = build(Config(remember=True), FACTS)
    finished(drafter, "", [1, 2, 3, 4, 5, 6, 7, MEDIA, 8, 9, 10, 11])
    assert ask(drafter, "", [6, 7]).tokens.tolist() == [7]
    assert len(ask(drafter, "", [8, 9])) > 1
    assert len(ask(drafter, "", [9, MEDIA])) == 1


def test_trust_is_learned_by_what_comes_and_by_nothing_else(tmp_path):
    drafter = build(Config(paths=(index(tmp_path, [[*range(3, 20)] * 9], FACTS),)), FACTS)
    one = sequence("x", [*range(3, 9)])
    drafter.observe([one], observation([one.tokens], [one.tokens[:0]], Markov()))
    before = drafter.draft([one], [Budget(8, 7)])[0]
    assert same(before, drafter.draft([one], [Budget(8, 7)])[0])
    one.extend(np.array([20, 3, 4, 5, 6, 7, 8]))  # not what the corpus said
    drafter.observe([one], observation([one.tokens[:0]], [one.tokens[:0]], Markov()))
    after = drafter.draft([one], [Budget(8, 7)])[0]
    assert after.tokens.tolist() == before.tokens.tolist()
    assert after.scores[1] < before.scores[1]


@pytest.mark.parametrize(
    "wrong", [{"quota_bytes": 1}, {"min_match": 40}, {"floor": 2.0}, {"samples": 0}]
)
def test_options_out_of_range_are_refused(wrong):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, Config)
