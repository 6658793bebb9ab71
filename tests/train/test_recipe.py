"""The recipe: the phases after a start, a tower taught on, quizzes, and the shipped file."""

import json

import pytest
import torch
from transformers import AutoModelForImageTextToText

from mmspec.train.data.mixture import HARD, Mixture, converse
from mmspec.train.data.picture_language import questions
from mmspec.train.data.pictures import scene
from mmspec.train.dense import Dense, DenseStage
from mmspec.train.language import Phase
from mmspec.train.nano_model import export
from mmspec.train.recipes.nano import Recipe, Start, main, read, train

TOWER = Dense(steps=2, batch=4, rate=1e-3, busy=2.0, anchor=1.0)


def _phase(name, **rest):
    mixture = Mixture(shares={"quiz": 1.0}, objects=(2, 3))
    return Phase(
        name=name, steps=2, layers=2, rows=1, width=768, rate=1e-3, rate_end=0.0,
        mixture=mixture, muon=True, **rest,
    )  # fmt: skip


@pytest.fixture
def recipe(shape):
    phases = (_phase("past"), _phase("next", sharpen=TOWER))
    return Recipe(seed=1, shape=shape, dense=TOWER, phases=phases, compiled=False)


def test_a_run_from_a_folder_does_the_phases_after_it(recipe, tokenizer, model, tmp_path):
    export(model.to(torch.bfloat16), tokenizer, tmp_path / "start")
    out = tmp_path / "run"
    train(recipe, out, Start(tmp_path / "start", "past"))
    lines = (out / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["stage"] for line in lines] == ["next-tower", "next"]
    made = AutoModelForImageTextToText.from_pretrained(out / "export").state_dict()
    moved = {name for name, old in model.state_dict().items() if not torch.equal(old, made[name])}
    for part in ("vision_tower", "projector", "layers.0.self_attn", "layers.1.mlp", "embed"):
        assert any(part in name for name in moved)
    told = json.loads((out / "export" / "training.json").read_text())
    assert (told["phase"], told["step"]) == ("next", 2)
    again = {path: path.stat().st_mtime_ns for path in out.glob("*.pt")}
    train(recipe, out, Start(tmp_path / "start", "past"))
    assert {path: path.stat().st_mtime_ns for path in out.glob("*.pt")} == again


def test_a_start_after_no_phase_of_the_recipe_is_refused(recipe, tokenizer, model, tmp_path):
    export(model, tokenizer, tmp_path / "start")
    with pytest.raises(ValueError, match="no phase 'never', only past, next"):
        train(recipe, tmp_path / "run", Start(tmp_path / "start", "never"))
    with pytest.raises(SystemExit):
        main(["--start", str(tmp_path / "start")])


def test_a_far_anchor_costs_what_the_features_moved(model):
    tower = model.model.vision_tower
    stage = DenseStage("tower", tower, TOWER)
    assert stage.loss(0).metrics["drift"] == 0.0
    with torch.no_grad():
        tower.embeddings.patch_embedding.weight.mul_(3.0)
    assert stage.loss(0).metrics["drift"] > 1e-3


def test_a_quiz_asks_true_questions_once_each():
    for seed in range(0, 40, 2):
        mixture = Mixture(shares={"quiz": 1.0}, objects=(4, 4), quiz=(7, 3))
        said = converse("quiz", seed, mixture)
        _, facts = scene(seed, 4)
        true = {(a.question, a.answer): a.kind for a in questions(facts, seed, 80)}
        assert said.parallel
        assert len(set(said.turns)) == len(said.turns)
        assert sum(true[turn] in HARD for turn in said.turns) == 7
        assert len(said.turns) == 10


def test_the_shipped_recipe_is_whole():
    recipe = read(None)
    names = [phase.name for phase in recipe.phases]
    assert len(set(names)) == len(names)
    assert recipe.phases[-1].rate_end == 0.0
    depths = [phase.layers for phase in recipe.phases]
    assert depths == sorted(depths)
