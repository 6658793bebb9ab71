"""A student of a target's own layers: what it reads, what it learns, what its trials count."""

import copy
import json

import msgspec
import numpy as np
import pytest
import tiny
import torch
from answered import Answers
from running import engine, reported

from mmspec.core.request import Prompt
from mmspec.engine.build import build_drafter
from mmspec.model.target import Target
from mmspec.train.blind import blind
from mmspec.train.capture import FrozenTarget
from mmspec.train.drafter_loop import Course, Crew, run
from mmspec.train.guards import GuardError
from mmspec.train.muon import MasterMuon
from mmspec.train.optimizer import MasterAdamW
from mmspec.train.own_answers import Own
from mmspec.train.packing import Sample, pack
from mmspec.train.reading import Reading
from mmspec.train.student_lesson import Aim
from mmspec.train.student_model import kept_layers, layer_matrices, make_student
from mmspec.train.student_stage import Plan, StudentStage

PLAN = Plan(
    course=Course(steps=60, rate=5e-3, rate_end=1e-3, warmup=5, log=30, trial=60, save=1000),
    reading=Reading(rows=8, width=96, held_out=8, bf16=False),
    depth=3,
)


def stage(answers, keep, plan=PLAN, rounds=None):
    student = make_student(answers.model, keep)
    target = FrozenTarget(answers.model, (0,))
    made = StudentStage(student, target, answers, rounds, plan, Crew(), lambda *_: None)
    return made, MasterAdamW(made.trained(), plan.course.betas, clip=plan.course.clip)


def test_pictures_are_left_out_of_what_the_student_reads():
    (front, _, several), (short, *_) = tiny.prompts("llava"), tiny.prompts("llama")
    samples = [[Sample(p, np.arange(3) + 20) for p in row] for row in [(front, short), (several,)]]
    family = FrozenTarget(tiny.reference("llava"), (0,)).family
    rows = pack(samples, 160, family, "cpu")
    told = blind(rows)
    for row, members in enumerate(samples):
        whole = [np.append(s.prompt.ids[s.prompt.ids != tiny.IMAGE], s.response) for s in members]
        text = np.concatenate(whole)
        assert told.tokens[row, : len(text)].tolist() == text.tolist()
        counted = [place for part in whole for place in range(len(part))]
        assert told.positions[row, : len(text)].tolist() == counted
        number = [k for k, part in enumerate(whole) for _ in part]
        assert told.sample[row, : len(text)].tolist() == number
        assert (told.sample[row, len(text) :] == -1).all()
    assert len(told.row) == 9
    before = told.tokens[told.row, told.slot]
    said = rows.tokens[told.row, told.column]
    assert before.tolist()[1:3] == said.tolist()[:2] == [20, 21]
    assert before[0] == front.ids[-1]  # a picture's place is never the last read
    # A response to a picture and nothing else: its first token has nothing to be drafted from.
    alone = Prompt(front.ids[:16], front.media)
    told = blind(pack([[Sample(alone, np.arange(3) + 20)]], 24, family, "cpu"))
    assert told.column.tolist() == [17, 18]
    assert told.slot.tolist() == [0, 1]


@pytest.mark.parametrize(
    "name", ["llama", "llava", "qwen2", "gemma3_text", "qwen2_5_vl", "qwen3_vl"]
)
def test_a_student_of_all_layers_is_its_target(name):
    answers = Answers(name, seeing=False)
    made, _ = stage(answers, (0, 1, 2))
    made.check()
    told = made.trial()
    assert told["held_out_overlap"] == pytest.approx(1, abs=1e-5)
    assert told["held_out_tau"] == 4
    assert told["held_out_accepted"] == told["held_out_accepted/word"] == 1
    step = made.loss(0)
    assert step.metrics["kl"] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(("name", "distance"), [("llama", "hybrid"), ("llava", "kl")])
def test_eight_samples_are_learned_by_heart(name, distance, tmp_path):
    answers = Answers(name)
    plan = msgspec.structs.replace(PLAN, aim=Aim(distance=distance))
    made, optimizer = stage(answers, (0, 2), plan)
    before = made.trial()
    after = run(made, optimizer, plan.course, tmp_path)
    assert before["held_out_accepted"] < 0.5
    assert after["held_out_accepted"] > 0.9
    assert after["held_out_overlap"] > 0.8
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["kl"] < rows[0]["kl"]
    for name in ("tau", "accepted", "overlap"):
        assert after[f"held_out_{name}/word"] == after[f"held_out_{name}"]
    passes_are_rounds(answers, made, tmp_path / "student")


def passes_are_rounds(answers, made, folder):
    """The engine with this student as `draft_model` needs as many target passes as a trial says."""
    lesson = made.module().eval()
    lesson.student.save_pretrained(folder)
    served = Target(copy.deepcopy(answers.model))
    options = {
        "path": str(folder),
        "width": 1,
        "children": 1,
        "floor": 0.0,
        "least": 0.0,
        "tokens": 4096,
    }
    drafters = {"text.draft_model": build_drafter("text.draft_model", options, served.facts)}
    running = engine(served, drafters, max_nodes=4, max_depth=3)
    asked = {str(number): said.prompt for number, said in enumerate(answers.samples[:2])}
    asked["unseen"] = Prompt(np.arange(3, 60))
    frozen = FrozenTarget(answers.model, (0,))
    for id, (text, report) in reported(running, asked).items():
        sample = Sample(asked[id], np.array(text))
        rows = pack([[sample]], len(sample), frozen.family, "cpu")
        (tried,) = lesson.trial(rows, frozen.read(rows), 3)
        assert report.rounds == tried.passes.passes


def test_chunks_change_nothing_and_everything_has_a_gradient():
    answers, told = Answers("llava"), []
    for chunk in (1024, 7):
        made, _ = stage(answers, (0, 2), msgspec.structs.replace(PLAN, aim=Aim(chunk=chunk)))
        step = made.loss(0)
        step.loss.backward()
        named = made.trained()
        assert all(
            value.grad is not None and value.grad.abs().sum() > 0 for value in named.values()
        )
        told.append((step.loss.detach(), named["model.layers.1.mlp.up_proj.weight"].grad))
        assert made.trial()["held_out_tau"] >= 1
    assert torch.allclose(told[0][0], told[1][0])
    assert torch.allclose(told[0][1], told[1][1], atol=1e-6)


def test_its_own_answers_are_a_share_from_the_first_round_on():
    answers, asked = Answers("llama"), []

    def rounds(number):
        asked.append(number)
        return Answers("llama", shift=number)

    course = msgspec.structs.replace(PLAN.course, accumulate=2)
    reading = msgspec.structs.replace(PLAN.reading, rows=1)
    own = Own(share=0.5, refresh=3)
    plan = msgspec.structs.replace(PLAN, course=course, reading=reading, own=own)
    made, _ = stage(answers, (0, 2), plan, rounds)
    theirs = [made.rows(number) for number in range(18)]
    assert asked == [1, 2]
    first = [int(rows.tokens[0, 0]) for rows in theirs]
    text = int(answers.samples[0].prompt.ids[0])
    assert first[:6] == [text] * 6
    assert first[6:12] == [text, text + 1] * 3
    assert first[12:] == [text, text + 2] * 3
    again, _ = stage(answers, (0, 2), plan, rounds)  # as after a kill
    assert torch.equal(again.rows(15).tokens, theirs[15].tokens)
    assert torch.equal(again.rows(14).tokens, theirs[14].tokens)


def test_layers_and_matrices_are_chosen_by_number():
    assert kept_layers((), 10) == (0, 1, 9)
    assert kept_layers((), 1) == (0,)
    for wrong in ((1, 0), (0, 10), (-1, 2), (3, 3)):
        with pytest.raises(GuardError, match="ascend"):
            kept_layers(wrong, 10)
    made, _ = stage(Answers("llama"), (1, 2))
    chosen = layer_matrices(made.trained(), (1, 2), (0, 1))
    assert "model.layers.1.self_attn.q_proj.weight" in chosen
    assert "model.layers.0.self_attn.q_proj.weight" not in chosen
    assert "model.layers.0.mlp.up_proj.weight" in chosen
    assert not {"lm_head.weight", "model.norm.weight"} & chosen
    MasterMuon(made.trained(), chosen)
