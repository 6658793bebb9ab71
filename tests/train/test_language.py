"""What the model is taught: masks, positions, parallel turns, packing, growth, resuming."""

import json

import numpy as np
import torch

from mmspec.train.data import pictures
from mmspec.train.data.conversation import Conversation, Encoder
from mmspec.train.data.mixture import Mixture, _fill, pack
from mmspec.train.language import LanguageStage, Phase, visible
from mmspec.train.loop import Pace, run
from mmspec.train.nano_model import grow, processor
from mmspec.train.optimizer import MasterAdamW

SHARES = {"scene": 0.5, "repeat": 0.2, "document": 0.2, "source": 0.1}
PHASE = Phase(
    name="tiny", steps=4, layers=2, rows=2, width=384, rate=1e-3, rate_end=1e-3,
    mixture=Mixture(shares=SHARES, objects=(1, 2), tokens=(10, 40)),
)  # fmt: skip
TURNS = (("What is it?", "A red ring."), ("How many?", "One."))


def test_the_loss_falls_on_what_the_assistant_says(tokenizer):
    image, _ = pictures.scene(1, 1)
    for parallel in (True, False):
        said = Conversation("scene", TURNS, (image,), system="Be kind.", parallel=parallel)
        made = Encoder(tokenizer).encode(said)
        taught = tokenizer.decode(made.tokens[made.weight > 0].tolist())
        assert taught == "A red ring.<|end|>One.<|end|>"


def test_source_is_taught_whole_but_for_its_first_token(tokenizer):
    made = Encoder(tokenizer).encode(Conversation("source", source="import os\n"))
    assert made.weight.tolist() == [0.0] + [1.0] * (len(made.tokens) - 1)


def test_a_thread_encodes_as_the_chat_template_writes_it(tokenizer):
    image, _ = pictures.scene(1, 1)
    said = Conversation(
        "scene", TURNS, (image,), document="A text.\nMore", system="Be kind.", parallel=False
    )
    messages = [
        {"role": "system", "content": "Be kind."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "A text.\nMore\n\nWhat is it?"},
                {"type": "image"},
            ],
        },
        {"role": "assistant", "content": "A red ring."},
        {"role": "user", "content": "How many?"},
        {"role": "assistant", "content": "One."},
    ]
    both = processor(tokenizer)
    text = both.apply_chat_template(messages)
    ids = both(text=text, images=[image])["input_ids"][0]
    assert ids == Encoder(tokenizer).encode(said).tokens.tolist()


def test_a_parallel_turn_is_the_prompt_asked_alone(tokenizer, model):
    image, _ = pictures.scene(2, 2)
    encoder = Encoder(tokenizer)
    stage = LanguageStage(PHASE, model, tokenizer, compiled=False)
    other = encoder.encode(Conversation("repeat", TURNS))
    both = encoder.encode(Conversation("scene", TURNS, (image,)))
    alone = encoder.encode(Conversation("scene", TURNS[1:], (image,)))
    ordered = sorted([other, both], key=lambda made: -len(made.tokens))
    packed = stage.hidden(_fill([ordered], 200, ("scene", "repeat")))[0]
    single = stage.hidden(_fill([[alone]], 100, ("scene",)))[0]
    place = int(np.flatnonzero(both.turn == 2)[0])
    start = 0 if len(both.tokens) >= len(other.tokens) else len(other.tokens)
    size = int((alone.turn == 1).sum())
    begin = int(np.flatnonzero(alone.turn == 1)[0])
    got = packed[start + place : start + place + size]
    torch.testing.assert_close(got, single[begin : begin + size], rtol=1e-4, atol=1e-4)


def test_packing_wastes_little_and_repeats_itself(tokenizer):
    mixture = Mixture(shares=SHARES, objects=(1, 2), tokens=(10, 80))
    one, two = (pack(Encoder(tokenizer), mixture, 3, 4, 768) for _ in range(2))
    assert np.array_equal(one.tokens, two.tokens)
    assert (one.conversation < 0).mean() < 0.05
    seen = visible(*(torch.from_numpy(part) for part in (one.conversation, one.turn)))
    assert not seen[0, 0, 1:].any()


def test_growing_keeps_the_function(tokenizer, model):
    grown = grow(model, 5)
    ids = torch.arange(40)[None]
    with torch.no_grad():
        torch.testing.assert_close(grown(input_ids=ids).logits, model(input_ids=ids).logits)
    assert grown.config.text_config.num_hidden_layers == 5
    assert not grown.model.language_model.layers[1].self_attn.o_proj.weight.any()
    assert grow(model, 4, single=1).model.language_model.layers[1].self_attn.o_proj.weight.any()


class _Killed(Exception):
    pass


class _Dies(LanguageStage):
    def loss(self, step):
        if step == 2:
            raise _Killed
        return LanguageStage.loss(self, step)


def test_a_resumed_run_has_the_losses_of_an_uninterrupted_one(tokenizer, model, tmp_path):
    start = {name: value.clone() for name, value in model.state_dict().items()}

    def losses(folder, kinds):
        folder.mkdir()
        for kind in kinds:
            model.load_state_dict(start)
            stage = kind(PHASE, model, tokenizer, compiled=False)
            try:
                run(stage, folder, Pace(log=1, save=1), MasterAdamW(stage.trained()))
            except _Killed:
                assert kind is _Dies
        lines = (folder / "metrics.jsonl").read_text().splitlines()
        return [(row["step"], row["loss"]) for row in map(json.loads, lines)]

    whole = losses(tmp_path / "whole", [LanguageStage])
    assert losses(tmp_path / "halves", [_Dies, LanguageStage]) == whole
    assert [step for step, _ in whole] == [1, 2, 3, 4]
