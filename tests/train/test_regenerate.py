"""The target answers for itself: halves, pictures, resuming, provenance, reading back."""

import copy
import json

import msgspec
import numpy as np
import pytest
from PIL import Image
from running import engine

from mmspec.core.errors import ConfigError
from mmspec.model.processor import Processor
from mmspec.model.target import Target
from mmspec.train import draft_vocabulary
from mmspec.train.capture import FrozenTarget
from mmspec.train.data.mixture import Mixture
from mmspec.train.guards import GuardError, check_spans
from mmspec.train.nano_model import processor as nano_processor
from mmspec.train.packing import pack
from mmspec.train.questions import FileQuestions, OwnQuestions
from mmspec.train.regenerate import Regenerator, fingerprint
from mmspec.train.responses import Responses, Writing

MIXTURE = Mixture(
    shares={"scene": 0.4, "lookup": 0.3, "source": 0.3}, objects=(1, 2), tokens=(10, 40)
)
WRITING = Writing(seed=3, max_tokens=6, shard=4)


@pytest.fixture
def folder(tmp_path, model, tokenizer):
    """The tiny model, saved."""
    model.save_pretrained(tmp_path / "model")
    nano_processor(tokenizer).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def reader(folder):
    return Processor.load(str(folder), name="tiny", vocabulary=512, stop_tokens=frozenset({2}))


@pytest.fixture
def made(tmp_path, folder, model, reader):
    """A maker of regenerators over one engine."""
    make_reference = copy.deepcopy(model).eval()
    running = engine(Target(model, stop_tokens=frozenset({2})))

    def make(name="answers", count=10, writing=WRITING):
        questions = OwnQuestions(MIXTURE, count)
        return Regenerator(running, reader, str(folder), questions, tmp_path / name, writing)

    make.reference = make_reference
    return make


def test_a_killed_run_goes_on_and_ends_the_same(made, tmp_path):
    whole = made("whole")
    assert [whole.write(n) for n in whole.missing] == [4, 4, 2]
    first = made("parts")
    first.write(1)
    (tmp_path / "parts" / "shard-00000.tmp").write_text("torn")
    again = made("parts")
    assert again.missing == [0, 2]
    for number in again.missing:
        again.write(number)
    assert made("parts").missing == []
    for number in range(3):
        name = f"shard-{number:05d}.jsonl"
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()


def test_answers_written_otherwise_are_not_mixed_in(made):
    made()
    with pytest.raises(ConfigError, match="or asked otherwise"):
        made(writing=msgspec.structs.replace(WRITING, temperature=0.5))
    with pytest.raises(ConfigError, match="or asked otherwise"):
        made(count=11)


def test_half_is_greedy_half_sampled_and_all_reads_back(made, tmp_path, reader, model):
    writer = made(count=12, writing=msgspec.structs.replace(WRITING, shard=12))
    writer.write(0)
    manifest = json.loads((tmp_path / "answers" / "manifest.json").read_text())
    assert manifest["fingerprint"] == writer.manifest.fingerprint
    assert manifest["writing"]["seed"] == 3
    answers = Responses(tmp_path / "answers", reader)
    samples = [answers.sample(k) for k in range(len(answers))]
    assert [len(said) for said in samples] == answers.lengths()
    assert sum(said.greedy for said in samples) == 6
    assert any(said.prompt.media for said in samples)
    assert {record.kind for record in answers.records} == {"scene", "lookup", "source"}
    frozen = FrozenTarget(made.reference, (0,))
    for said in samples:
        check_spans(said.prompt, {reader._image_id})
        rows = pack([[said]], len(said), frozen.family, "cpu")
        final = frozen.read(rows).final[0, len(said.prompt.ids) - 1 : -1]
        best = frozen.logits(final).argmax(-1)
        assert (best.tolist() == said.response.tolist()) >= said.greedy
    seeds = [record.seed for record in answers.records]
    assert len(set(seeds)) == len(seeds)


def test_another_tokenizer_or_template_is_noticed(made, tmp_path, folder):
    made(count=4).write(0)
    template = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").write_text(template.replace("<|end|>", "<|end|> "))
    changed = Processor.load(str(folder), name="x", vocabulary=512, stop_tokens=frozenset())
    answers = Responses(tmp_path / "answers", changed)
    number = next(k for k, record in enumerate(answers.records) if record.messages)
    with pytest.raises(GuardError, match="another prompt"):
        answers.sample(number)


def test_a_users_file_is_asked(tmp_path):
    Image.new("RGB", (8, 8), "red").save(tmp_path / "red.png")
    content = [{"type": "image"}, {"type": "text", "text": "What?"}]
    lines = [
        {"messages": [{"role": "user", "content": content}], "images": ["red.png"]},
        {"text": "def f(x):"},
    ]
    path = tmp_path / "asked.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    asked = FileQuestions(path)
    assert len(asked) == 2
    assert asked[0].images[0].getpixel((0, 0)) == (255, 0, 0)
    assert asked[1].text == "def f(x):"
    path.write_text('{"text": "a", "messages": [{"role": "user"}]}\n')
    with pytest.raises(ConfigError, match="line 1: either"):
        FileQuestions(path)
    path.write_text('{"texts": "a"}\n')
    with pytest.raises(ConfigError, match="line 1"):
        FileQuestions(path)


def test_no_answers_are_refused(tmp_path, reader):
    with pytest.raises(ConfigError, match="no answers"):
        Responses(tmp_path, reader)


def test_the_fingerprint_is_of_weights_and_template(folder):
    before = fingerprint(str(folder))
    assert before == fingerprint(str(folder))
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)
        file.seek(-1, 2)
        file.write(bytes([last[0] ^ 1]))
    assert fingerprint(str(folder)) != before
    assert fingerprint("someone/model") == fingerprint("someone/model") != before


def test_the_draft_vocabulary_is_what_is_said_most():
    counts = draft_vocabulary.counts([[5, 5, 5, 7], [7, 2, 9], []], 12)
    assert counts.tolist() == [0, 0, 1, 0, 0, 3, 0, 2, 0, 1, 0, 0]
    chosen = draft_vocabulary.choose(counts, 3, always=frozenset({11}))
    assert chosen.kept.tolist() == [5, 7, 11]
    assert chosen.coverage == pytest.approx(5 / 7)
    # As EAGLE-3 stores them: offsets from draft to target ids, and a mask over target ids.
    assert chosen.d2t.tolist() == [5, 6, 9]
    assert (np.arange(3) + chosen.d2t).tolist() == chosen.kept.tolist()
    assert chosen.t2d.nonzero()[0].tolist() == [5, 7, 11]
    told = draft_vocabulary.report(counts, (1, 3, 12), frozenset())
    assert told == {1: pytest.approx(3 / 7), 3: pytest.approx(6 / 7), 12: 1.0}


def test_ties_in_the_draft_vocabulary_go_to_the_lower_id():
    chosen = draft_vocabulary.choose(np.array([1, 0, 1, 1]), 2, always=frozenset())
    assert chosen.kept.tolist() == [0, 2]
    with pytest.raises(GuardError, match="no room"):
        draft_vocabulary.choose(np.array([1, 0, 1, 1]), 1, always=frozenset({0, 1}))
