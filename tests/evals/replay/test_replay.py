"""Replay: a track says of an arm what the engine does, and files give back what was saved."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
from mmspec_evals.replay.play import Arm, Cost, Played, best_size, play, walk
from mmspec_evals.replay.record import record
from mmspec_evals.replay.track import FIELDS, load, save, track
from running import engine, reported

from mmspec.core.drafter import Budget
from mmspec.core.fuse import Fusion
from mmspec.core.request import Prompt, Sampling
from mmspec.core.tree import TokenTree
from mmspec.engine.fusing import Fuser
from mmspec.retrieval import suffix

SAMPLINGS = {
    "greedy": Sampling(temperature=0.0, max_tokens=60),
    "seeded": Sampling(temperature=0.7, seed=5, max_tokens=60),
}


@pytest.fixture(scope="module")
def target():
    return tiny.target("llama", "bitwise")


def drafters(target):
    return {
        f"retrieval.{name}": suffix.build(suffix.Config(floor=floor), target.facts)
        for name, floor in (("one", 0.02), ("other", 0.2))
    }


def prompts():
    rng = np.random.default_rng(2)
    return {name: Prompt(np.tile(rng.integers(3, 90, 12), 4)) for name in ("a", "b")}


@pytest.mark.parametrize("sampling", SAMPLINGS.values(), ids=SAMPLINGS)
@pytest.mark.parametrize("arm", ["union", "calibrated"])
def test_replay_foretells_the_engine_round_by_round(target, sampling, arm):
    running = engine(target, drafters(target), fusion=arm)
    told = reported(running, prompts(), sampling)
    tracks = record(engine(target), drafters(target), prompts(), sampling, Budget(16, 16))
    budget = Budget(16, 16)
    for one in tracks:
        said, report = told[one.name]
        assert one.tokens[1:].tolist() == said  # recording decodes plainly
        if arm == "calibrated":  # what is learned depends on who was met before: nobody
            running = engine(target, drafters(target), fusion=arm)
            _, report = reported(running, {one.name: prompts()[one.name]}, sampling)[one.name]
        played = Played()
        play(one, Arm(how=Fusion(arm)), budget, played)
        assert played.rounds == report.rounds
        assert played.emitted == len(said)
        assert played.tau == pytest.approx(report.tau)
    assert any(len(trees) for one in tracks for trees in one.trees())


class Dear(suffix.Suffix):
    runs_model = True


@pytest.mark.parametrize("sampling", SAMPLINGS.values(), ids=SAMPLINGS)
def test_replay_asks_a_model_when_the_engine_would(target, sampling):
    def two():
        return {
            "text.dear": Dear(suffix.Config(), target.facts),
            "retrieval.one": suffix.build(suffix.Config(floor=0.3), target.facts),
        }

    running = engine(target, two(), fusion="calibrated", enough=None)
    how = Fusion("calibrated", models=0b1)
    fuser, asked = Fuser(how), []
    tracks = record(engine(target), two(), prompts(), sampling, Budget(16, 16))
    for one in tracks:  # what is learned of one is known of the next
        _, report = reported(running, {one.name: prompts()[one.name]}, sampling)[one.name]
        played = Played()
        play(one, Arm(how=how, enough=None), Budget(16, 16), played, fuser)
        assert (played.rounds, played.tau) == (report.rounds, pytest.approx(report.tau))
        asked.append(played.asked / played.rounds)
    assert 0 < np.mean(asked) < 1


def test_texts_with_pictures_are_learned_from_apart():
    guessed = TokenTree.chain(np.array([1, 4, 5]), np.log([1.0, 0.9, 0.9]), 0)
    fuser = Fuser(Fusion("calibrated", models=0b1))
    for number, source in enumerate(("text.m", "vision.m", "text.m")):
        one = track(str(number), (source,), np.array([1, 7]), [[guessed]])
        play(one, Arm(how=Fusion("calibrated", models=0b1)), Budget(16, 8), Played(), fuser)
    tried = {key: float(own.calibration.cells[:, 0].sum()) for key, own in fuser._tenants.items()}
    assert tried == {("", True): 1.0, ("", False): pytest.approx(2.0, abs=0.01)}


def test_a_drafter_that_fails_is_no_track(target):
    class Broken(suffix.Suffix):
        def draft(self, sequences, budgets):
            raise ValueError

    drafters = {"retrieval.broken": Broken(suffix.Config(), target.facts)}
    with pytest.raises(RuntimeError, match="broken"):
        record(engine(target), drafters, prompts(), SAMPLINGS["greedy"], Budget(8, 8))


def test_a_tree_is_as_large_as_pays():
    tree = TokenTree.chain(np.array([1, 2, 3, 4]), np.log([1.0, 0.9, 0.5, 0.1]))
    free, steep = Cost((1, 4), (1.0, 1.0)), Cost((1, 4), (1.0, 4.0))
    assert best_size(tree, free, asked=False) == 4
    assert best_size(tree, steep, asked=False) == 1
    # A pass that is dear anyway is worth more rows.
    assert best_size(tree, steep._replace(price=1.0), asked=True) == 2
    one = track("a", ("text.m",), np.array([1, 2, 3, 4, 5]), [[tree], [], [], []])
    played = Played()
    play(one, Arm(cost=steep), Budget(16, 8), played)
    assert played.sizes == [1, 1, 1, 1]
    played = Played()
    play(one, Arm(), Budget(16, 8), played)
    assert played.worth(0.0, steep) == pytest.approx(4 / 4)


def test_fewer_nodes_and_nobody_take_more_rounds(target):
    wide = Budget(16, 16)
    one, _ = record(engine(target), drafters(target), prompts(), SAMPLINGS["greedy"], wide)
    rounds = []
    for arm, nodes in ((Arm(), 16), (Arm(), 3), (Arm(frozenset()), 16)):
        played = Played()
        play(one, arm, Budget(nodes, 16), played)
        rounds.append(played.rounds)
    assert rounds[0] <= rounds[1] <= rounds[2] == len(one.tokens) - 1


def test_a_model_is_not_asked_where_what_quotes_promises_enough():
    quoted = TokenTree.chain(np.array([1, 2, 3]), np.log([1.0, 0.9, 0.9]), 1)
    guessed = TokenTree.chain(np.array([1, 4, 5]), np.log([1.0, 0.9, 0.9]), 0)
    one = track("a", ("text.m", "retrieval.q"), np.array([1, 4, 5, 6]), [[guessed, quoted], [], []])
    # Where nothing is quoted, the model is asked, whether or not it has a guess.
    for enough, rounds, asked in ((1.0, 3, 2), (3.0, 1, 1)):
        played = Played()
        play(one, Arm(how=Fusion(models=0b1), enough=enough), Budget(16, 8), played)
        assert played.each == [(3, rounds, asked)]
        assert played.worth(2.0) == pytest.approx(3 / (rounds + 2.0 * asked))


def test_a_walk_ends_where_the_text_leaves_the_tree():
    tree = TokenTree(
        np.array([9, 1, 2, 3]), np.array([-1, 0, 0, 2], np.int32), np.zeros(4, np.float32),
        np.zeros(4, np.uint8),
    )  # fmt: skip
    assert walk(tree, np.array([2, 3, 4])).tolist() == [0, 2, 3]
    assert walk(tree, np.array([5])).tolist() == [0]


def test_tracks_come_back_as_they_were_saved(target, tmp_path):
    tracks = record(engine(target), drafters(target), prompts(), SAMPLINGS["greedy"], Budget(8, 8))
    save(tmp_path / "some.npz", tracks)
    for one, again in zip(tracks, load(tmp_path / "some.npz"), strict=True):
        assert (one.name, one.sources) == (again.name, again.sources)
        for field in FIELDS:
            assert np.array_equal(getattr(one, field), getattr(again, field))
    np.savez(tmp_path / "other.npz", x=np.zeros(1))
    with pytest.raises(ValueError, match="no tracks"):
        list(load(tmp_path / "other.npz"))
