"""Hidden states are the model's own and only on demand; attention refuses what it does not know."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch
import transformers as hf
from drafting import Knowing, Random
from running import engine, run, told

from mmspec.core.drafter import Needs
from mmspec.core.errors import UnsupportedModelError
from mmspec.core.request import Request, Sampling
from mmspec.core.sequence import Sequence
from mmspec.model.prefill import Prefill
from mmspec.model.target import Target

families = pytest.mark.parametrize("name", tiny.FAMILIES)


class Watching(Knowing):
    """Knows a part of the text, and writes down all it is shown."""

    def __init__(self, texts, layers):
        super().__init__(texts, tiny.VOCABULARY)
        self.needs = Needs(layers=layers, top=2)
        self.tokens = {id: [] for id in texts}
        self.hidden = {id: {layer: [] for layer in layers} for id in texts}
        self.rows = []

    def observe(self, sequences, seen):
        for index, one in enumerate(sequences):
            part = slice(seen.offsets[index], seen.offsets[index + 1])
            self.tokens[one.request.id] += seen.tokens[part].tolist()
            assert set(seen.hidden) == set(self.needs.layers)
            for layer, rows in seen.hidden.items():
                assert len(rows) == len(seen.tokens)
                self.hidden[one.request.id][layer].append(rows[part])
        if len(seen.node_offsets) > 1:
            assert len(seen.node_tokens) == len(seen.top) == seen.node_offsets[-1]


def truly(name, prompt, said, layers):
    """Outputs of the layers, and logits, over prompt and text, from the untouched model."""
    model, found, hooks = tiny.reference(name), {}, []
    decoder = model.model if name in tiny.TEXT else model.model.language_model
    following = [*list(decoder.layers)[1:], decoder.norm]
    for layer in layers:
        keep = lambda _, args, layer=layer: found.__setitem__(layer, args[0])  # noqa: E731
        hooks.append(following[layer].register_forward_pre_hook(keep))
    whole = tiny.model_inputs(name, prompt, torch.float32)
    ids = torch.cat([whole["input_ids"], torch.tensor([said])], dim=1)
    whole |= {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if "mm_token_type_ids" in whole:
        whole["mm_token_type_ids"] = torch.nn.functional.pad(
            whole["mm_token_type_ids"], (0, len(said))
        )
    with torch.inference_mode():
        output = model(**whole, output_hidden_states=True, use_cache=False)
    for hook in hooks:
        hook.remove()
    if name != "qwen3_vl":  # whose picture features are added after the layer has returned
        assert torch.equal(output.hidden_states[1], found[0])
    return {layer: rows[0] for layer, rows in found.items()}, output.logits[0]


@pytest.mark.parametrize("numerics", ["bitwise", "near-tie"])
@families
def test_hidden_states_are_those_of_transformers(name, numerics):
    prompts = {str(index): prompt for index, prompt in enumerate(tiny.prompts(name))}
    texts = {id: tiny.greedy(name, int(id)) for id in prompts}
    drafter = Watching(texts, (0, 2))
    assert run(engine(tiny.target(name, numerics), {"t.watching": drafter}), prompts) == texts
    for id, prompt in prompts.items():
        # Nobody is shown the end of a text: its last step tells, and the sequence is gone.
        whole = [*prompt.ids.tolist(), *texts[id]]
        count = len(drafter.tokens[id])
        assert drafter.tokens[id] == whole[:count]
        assert count > len(prompt.ids) + 20
        wanted, _ = truly(name, prompt, texts[id][:-1], (0, 2))
        for layer, rows in wanted.items():
            got = torch.cat(drafter.hidden[id][layer])
            torch.testing.assert_close(got, rows[:count], atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("numerics", ["bitwise", "near-tie"])
@families
def test_log_probabilities_are_those_of_transformers(name, numerics):
    prompts = {str(index): prompt for index, prompt in enumerate(tiny.prompts(name))}
    texts = {id: tiny.greedy(name, int(id)) for id in prompts}
    guessing = engine(tiny.target(name, numerics), {"t.knowing": Knowing(texts, tiny.VOCABULARY)})
    likely = told(guessing, prompts, Sampling(temperature=0.0, max_tokens=40, logprobs=5))
    for id, prompt in prompts.items():
        _, logits = truly(name, prompt, texts[id][:-1], (0,))
        wanted = torch.log_softmax(logits[len(prompt.ids) - 1 :].double(), -1)
        best, ids = wanted.topk(5)
        assert [one.token for one in likely[id]] == texts[id]
        for row, one in enumerate(likely[id]):
            assert abs(one.logprob - float(wanted[row, one.token])) < 1e-4
            assert [token for token, _ in one.top] == ids[row].tolist()
            np.testing.assert_allclose([p for _, p in one.top], best[row], atol=1e-4)


@pytest.mark.parametrize("name", ["llama", "qwen3_vl"])
def test_nothing_is_captured_when_nobody_asked(name):
    target = tiny.target(name)
    forward, seen = target.forward, []

    def spy(batch, cache, needs=Needs()):
        output = forward(batch, cache, needs)
        seen.append((needs, output))
        return output

    target.forward = spy
    prompts = {"0": tiny.prompts(name)[1]}
    run(engine(target, {"t.random": Random(tiny.VOCABULARY)}), prompts)
    assert seen
    assert all(needs == Needs() and output.hidden == {} for needs, output in seen)
    hooks = [module for module in target.model.modules() if module._forward_pre_hooks]
    assert not hooks
    assert any(output.logits is None for _, output in seen)  # prefill makes no logits
    assert all(o.logits is None or o.logits.shape[1] == tiny.VOCABULARY for _, o in seen)


@families
def test_an_argument_nobody_knows_is_refused(name):
    target = tiny.target(name)
    decoder = target.family.decoder
    with pytest.raises(TypeError, match="positon_ids"):
        decoder(
            inputs_embeds=torch.zeros(1, 3, 64),
            position_ids=torch.zeros(*([3] if target.family.axes == 3 else []), 1, 3).long(),
            use_cache=False,
            step=None,
            positon_ids=torch.zeros(1, 3),
        )


def test_a_mask_is_refused():
    decoder = tiny.target("llama").family.decoder
    with pytest.raises(TypeError, match="mask"):
        decoder(
            inputs_embeds=torch.zeros(1, 3, 64), position_ids=torch.arange(3)[None],
            use_cache=False, step=None, attention_mask=torch.zeros(1, 1, 3, 3),
        )  # fmt: skip


def test_a_model_that_cannot_be_served_is_refused():
    body = {"vocab_size": 32, "n_embd": 8, "n_layer": 1, "n_head": 2}
    with pytest.raises(UnsupportedModelError, match="gpt2"):
        Target(hf.GPT2LMHeadModel(hf.GPT2Config(**body)))


def test_the_reference_is_never_touched():
    before = {name: weight.clone() for name, weight in tiny.reference("llama").named_parameters()}
    tiny.target("llama")
    after = dict(tiny.reference("llama").named_parameters())
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


@families
def test_a_context_can_be_capped(name):
    target = tiny.target(name, max_context=100)
    assert target.max_context == target.facts.context == 100
    prompt = next(one for one in tiny.prompts(name) if 50 <= len(one.ids) < 99)
    said = run(engine(target), {"0": prompt}, Sampling(temperature=0.0))
    assert len(said["0"]) == 100 - len(prompt.ids)


def test_a_prompt_read_by_hand_encodes_each_picture_once():
    target = tiny.target("llava")
    prompt = tiny.prompts("llava")[2]
    calls = []
    encode = target.family.encode
    target.family.encode = lambda one: calls.append(one.digest) or encode(one)
    sequence = Sequence(Request("a", prompt), 0, 0)
    cache = target.new_cache(len(sequence), 5, 0)
    cache.open(sequence.id, len(sequence))
    prefill = Prefill(target, sequence)
    for stop in range(5, len(sequence), 5):  # several chunks a picture
        batch = prefill.chunk(stop, cache)
        cache.commit(sequence.id, np.arange(batch.count))
        sequence.cached = stop
    assert calls == [one.digest for one in prompt.media]
    assert np.unique(calls).size == len(calls)
