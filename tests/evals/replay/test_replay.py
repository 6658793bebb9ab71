"""Replay: a track says of an arm what the engine does, and files give back what was saved."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
from mmspec_evals.replay.play import Arm, Played, play, walk
from mmspec_evals.replay.record import record
from mmspec_evals.replay.track import FIELDS, load, save, track
from running import engine, reported

from mmspec.core.calibration import Calibration
from mmspec.core.drafter import Budget
from mmspec.core.fuse import Fusion
from mmspec.core.request import Prompt, Sampling
from mmspec.core.tree import TokenTree
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
    table = Calibration()
    for one in tracks:
        said, report = told[one.name]
        assert one.tokens[1:].tolist() == said  # recording decodes plainly
        if arm == "calibrated":  # what is learned depends on who was met before: nobody
            table = Calibration()
            running = engine(target, drafters(target), fusion=arm)
            _, report = reported(running, {one.name: prompts()[one.name]}, sampling)[one.name]
        played = Played()
        play(one, Arm(how=Fusion(arm)), budget, played, table)
        assert played.rounds == report.rounds
        assert played.emitted == len(said)
        assert played.tau == pytest.approx(report.tau)
    assert any(len(trees) for one in tracks for trees in one.trees())


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
    for enough, asked in ((1.0, 0), (3.0, 1)):
        played = Played()
        play(one, Arm(how=Fusion(models=0b1), enough=enough), Budget(16, 8), played)
        assert played.model_rounds == asked
        assert played.emitted == 3


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
