"""The recipe `nano-lm`: whole runs of tiny models, exact resuming, recipe files."""

import json
import math
import shutil

import msgspec
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from mmspec.__main__ import main
from mmspec.core.config import ModelConfig
from mmspec.core.errors import ConfigError
from mmspec.core.request import Sampling
from mmspec.llm import LLM
from mmspec.model.load import load_model, load_processor, stop_tokens
from mmspec.train.asked import Asked
from mmspec.train.drafter_loop import Crew
from mmspec.train.guards import GuardError
from mmspec.train.nano_model import processor as nano_processor
from mmspec.train.own_answers import OwnAnswers
from mmspec.train.recipe_file import read
from mmspec.train.recipes import nano_lm
from mmspec.train.regenerate import Regenerator, tokenizer_digest
from mmspec.train.responses import Responses
from mmspec.train.student_check import Recipe, dry_run
from mmspec.train.student_model import export, make_student
from mmspec.train.student_stage import StudentStage

RECIPE = """
questions = 32
depth = 3
[student]
keep = [0]
muon = true
[writing]
max_tokens = 12
shard = 16
[reading]
rows = 2
width = 256
held_out = 8
bf16 = BF16
[own]
refresh = 2
questions = 6
[own.writing]
greedy = 0.0
max_tokens = 8
shard = 3
[course]
steps = 6
log = 2
save = 3
trial = 6
[mixture]
objects = [1, 1]
tokens = [10, 40]
shares = SHARES
"""


@pytest.fixture
def llava(tmp_path, model, tokenizer):
    """A tiny LLaVA's folder."""
    model.lm_head.weight.data *= 40
    model.save_pretrained(tmp_path / "target")
    nano_processor(tokenizer).save_pretrained(tmp_path / "target")
    return tmp_path / "target"


@pytest.fixture
def llama(tmp_path, llava):
    """A tiny Llama's folder: the LLaVA's whole text model."""
    model = load_model(ModelConfig(path=str(llava)))
    export(make_student(model, (0, 1)), str(llava), tmp_path / "llama", {})
    return tmp_path / "llama"


def written(folder, shares, bf16="false"):
    path = folder / "recipe.toml"
    path.write_text(RECIPE.replace("SHARES", shares).replace("BF16", bf16))
    return path


@pytest.mark.parametrize(
    ("name", "shares", "bf16"),
    [("llava", "{ scene = 0.5, source = 0.5 }", "false"), ("llama", "{ source = 1.0 }", "true")],
)
def test_a_whole_run(name, shares, bf16, tmp_path, request):
    target, out = request.getfixturevalue(name), tmp_path / "run"
    config = written(tmp_path, shares, bf16)
    line = ["train", "nano-lm", "--target", str(target), "--out", str(out), "--config", str(config)]
    assert main([*line, "--dry-run"]) == 0
    assert not out.exists()
    assert main(line) == 0
    student = out / "student"
    told = json.loads((student / "training.json").read_text())
    assert told["layers"] == [0]
    assert (told["step"], told["seed"], told["answers"]) == (6, 1, 32)
    assert told["trial"]["held_out_tau"] >= 1
    assert told["trial"]["held_out_overlap/source"] > 0
    assert len(told["fingerprint"]) == 64
    assert [path.name for path in sorted((out / "rounds").iterdir())] == ["00001", "00002"]
    for folder in (out / "rounds").iterdir():
        said = Responses(folder, load_processor(ModelConfig(path=str(target))))
        assert len(said) == 6
        assert {record.kind for record in said.records} == {"source"}
        assert not (folder / "student").exists()
        said.sample(5)  # the student's prompts are the target's
    loads_everywhere(student, target)
    rows = [json.loads(row) for row in (out / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 4, 6]
    recipe, asked = read(Recipe, "", config), Asked(str(target), out)
    assert "32 answers" in dry_run(recipe, asked)
    nano_lm.train(recipe, asked)  # all is done: nothing happens
    assert len((out / "metrics.jsonl").read_text().splitlines()) == 3
    other = msgspec.structs.replace(recipe, questions=33)
    with pytest.raises(ConfigError, match="or asked otherwise"):
        nano_lm.train(other, asked)


def loads_everywhere(student, target):
    """transformers and our engine read the folder, and say the same."""
    model = AutoModelForCausalLM.from_pretrained(student).eval()
    assert isinstance(model, LlamaForCausalLM)
    assert model.dtype == torch.bfloat16
    assert model.config.num_hidden_layers == 1
    assert tokenizer_digest(str(student)) == tokenizer_digest(str(target))
    theirs = load_model(ModelConfig(path=str(target)))
    tied = [said.lm_head.weight is said.get_input_embeddings().weight for said in (model, theirs)]
    assert tied[0] == tied[1]
    assert stop_tokens(str(student), model.config) == stop_tokens(str(target), theirs.config)
    tokenizer = AutoTokenizer.from_pretrained(student)
    asked = [{"role": "user", "content": "Say something."}]
    ids = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_dict=False)
    with torch.inference_mode():
        said = model.float().generate(
            torch.tensor([ids]), do_sample=False, max_new_tokens=12, pad_token_id=0
        )
    ours = LLM(str(student))
    answer = ours.chat(asked, Sampling(temperature=0, max_tokens=12))
    assert list(answer.token_ids) == said[0, len(ids) :].tolist()


def test_a_killed_run_goes_on_bit_for_bit(tmp_path, llava, monkeypatch):
    recipe = read(Recipe, "", written(tmp_path, "{ scene = 0.5, source = 0.5 }"))
    whole = Asked(str(llava), tmp_path / "whole")
    nano_lm.train(recipe, whole)
    killed = msgspec.structs.replace(whole, out=tmp_path / "killed")
    killed.out.mkdir()
    shutil.copytree(whole.answers, killed.answers)

    def dies(kind, name, at):
        """Let a method fail at its call number ``at``."""
        method, calls = getattr(kind, name), []

        def dying(self, *arguments):
            calls.append(arguments)
            if len(calls) == at:
                raise KeyboardInterrupt
            return method(self, *arguments)

        with monkeypatch.context() as patch:
            patch.setattr(kind, name, dying)
            with pytest.raises(KeyboardInterrupt):
                nano_lm.train(recipe, killed)

    dies(Regenerator, "write", 2)  # amid round 1, before any checkpoint
    assert (killed.out / "rounds" / "00001" / "student").exists()
    dies(StudentStage, "loss", 6)  # amid round 2, after the checkpoint of step 3
    nano_lm.train(recipe, killed)
    one, two = (torch.load(asked.out / "nano-lm.pt") for asked in (whole, killed))
    assert one["step"] == two["step"] == 6
    assert all(torch.equal(one["model"][name], two["model"][name]) for name in one["model"])
    assert one["model"]["running"] > 0
    for path in ("student/model.safetensors", "rounds/00001/shard-00001.jsonl",
                 "rounds/00002/shard-00000.jsonl"):  # fmt: skip
        assert (whole.out / path).read_bytes() == (killed.out / path).read_bytes()
    other = msgspec.structs.replace(recipe.own, questions=5)
    answers = Responses(whole.answers, None)
    rounds = OwnAnswers(whole.out / "rounds", answers, 8, other, None, "cpu", Crew(), print)
    with pytest.raises(ConfigError, match="asked otherwise"):
        rounds(1)
    answers.records = [record for record in answers.records if record.pictures]
    with pytest.raises(GuardError, match="pictures"):
        OwnAnswers(whole.out / "rounds", answers, 8, other, None, "cpu", Crew(), print)


def test_the_shipped_recipe_reads_and_typos_are_told(tmp_path, capsys):
    recipe = read(Recipe, "nano_lm.toml", None)
    assert recipe.student.muon
    assert 0 < recipe.own.share < 1
    assert math.isclose(sum(recipe.mixture.shares.values()), 1)
    for number, wrong in enumerate(("[own]\nshares = 3\n", "[aim]\ndistance = 'k'\n", "keeps = 1")):
        path = tmp_path / f"{number}.toml"
        path.write_text(wrong)
        assert (
            main(["train", "nano-lm", "--target", "nano", "--out", "x", "--config", str(path)]) == 2
        )
        assert str(path) in capsys.readouterr().err
    assert main(["train", "nano-llm"]) == 2
    assert "no training recipe named 'nano-llm'" in capsys.readouterr().err
