"""The training forward sees what serving sees: every family, packed, pictures and windows."""

from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
import tiny
import torch
from running import engine

from mmspec.core.drafter import Needs
from mmspec.core.request import Media, Prompt, Request, Sampling
from mmspec.core.tree import TokenTree
from mmspec.train.capture import FrozenTarget
from mmspec.train.guards import GuardError
from mmspec.train.packing import Sample, arrange, pack
from mmspec.train.reading import Reader, Reading

LAYERS = (0, 1, 2)


class Spy:
    """A drafter that only watches."""

    needs = Needs(layers=LAYERS)

    def __init__(self):
        self.seen = {}

    def observe(self, sequences, seen):
        for place, sequence in enumerate(sequences):
            cut = slice(seen.offsets[place], seen.offsets[place + 1])
            rows = {layer: states[cut].clone() for layer, states in seen.hidden.items()}
            self.seen.setdefault(sequence.id, []).append(rows)

    def draft(self, sequences, budgets):
        return [TokenTree.chain(sequence.tokens[-1:]) for sequence in sequences]

    def forget(self, id):
        pass


@pytest.mark.parametrize("name", tiny.FAMILIES)
def test_captured_layers_are_those_the_target_shows(name):
    model = tiny.reference(name)
    count = 9
    samples = [
        Sample(prompt, np.array(tiny.greedy(name, index)[:count]))
        for index, prompt in enumerate(tiny.prompts(name))
    ]
    spy = Spy()
    running = engine(tiny.target(name), {"spy": spy})
    for number, said in enumerate(samples):
        running.submit(Request(str(number), said.prompt, Sampling(temperature=0, max_tokens=count)))
    told = {}
    while running.busy:
        for delta in running.step():
            told.setdefault(int(delta.request_id), []).extend(delta.tokens)
    assert told == {k: said.response.tolist() for k, said in enumerate(samples)}

    frozen = FrozenTarget(model, LAYERS)
    width = len(samples[0]) + len(samples[2]) + 3
    rows = pack([samples[::2], samples[1:2]], width, frozen.family, "cpu")
    captured = frozen.read(rows)
    for number, (row, place) in enumerate([(0, 0), (1, 0), (0, 1)]):
        mine = rows.sample[row] == place
        for layer in LAYERS:
            want = torch.cat([part[layer] for part in spy.seen[f"{number}/0"]])
            got = captured.hidden[layer][row, mine][: len(want)]
            assert len(want) >= len(samples[number]) - 2
            assert torch.allclose(got, want, atol=2e-4, rtol=2e-4), (
                layer,
                (got - want).abs().max(),
            )
        best = frozen.logits(captured.final[row, mine]).argmax(-1)
        begin = len(samples[number].prompt.ids) - 1
        assert best[begin:-1].tolist() == samples[number].response.tolist()


@pytest.mark.parametrize("name", sorted({*tiny.FAMILIES} - {"gemma3_text", "phi3"}))
def test_a_sample_alone_in_its_row_is_read_as_among_others(name):
    """Positions that jump belong to one sample still; two families turn keys in their own way."""
    frozen = FrozenTarget(tiny.reference(name), LAYERS, keys=1)
    prompts = tiny.prompts(name)
    samples = [Sample(one, np.arange(3, 40 + 3 * k)) for k, one in enumerate(prompts)]
    among = pack([samples], sum(map(len, samples)), frozen.family, "cpu")
    jump = torch.where(among.index > 6, 9, 0)
    among = replace(among, positions=among.positions + jump)
    together = frozen.read(among)
    for number, said in enumerate(samples):
        rows = pack([[said]], len(said), frozen.family, "cpu")
        jump = torch.where(rows.index > 6, 9, 0)
        alone = frozen.read(replace(rows, positions=rows.positions + jump))
        mine = among.sample[0] == number
        for layer in LAYERS:
            got, want = alone.hidden[layer][0], together.hidden[layer][0, mine]
            torch.testing.assert_close(got, want, atol=2e-4, rtol=2e-4)
        assert alone.keys is not None
        torch.testing.assert_close(alone.keys[0], together.keys[0][:, mine], atol=2e-4, rtol=2e-4)


def test_nothing_of_the_target_needs_a_gradient():
    frozen = FrozenTarget(tiny.reference("llama"), (1,), autocast=True)
    rows = pack([[Sample(tiny.prompts("llama")[0], np.array([1, 2]))]], 8, frozen.family, "cpu")
    captured = frozen.read(rows)
    assert not captured.final.requires_grad
    assert captured.hidden[1].dtype == torch.float32  # the residual stream
    assert not captured.hidden[1].is_inference()


def test_a_layer_that_is_not_there_is_refused():
    with pytest.raises(GuardError, match="layers 0 to 2"):
        FrozenTarget(tiny.reference("llama"), (1, 3))


def test_features_that_do_not_fill_their_places_are_refused():
    frozen = FrozenTarget(tiny.reference("llava"), (1,))
    first = tiny.prompts("llava")[0]
    media = first.media[0]
    short = Media(media.digest, media.start, media.length - 1, media.inputs)
    rows = pack([[Sample(Prompt(first.ids, (short,)), np.array([1]))]], 32, frozen.family, "cpu")
    with pytest.raises(GuardError, match="16 features for 15"):
        frozen.read(rows)


def test_rows_are_filled_whole_and_repeatably():
    lengths = [5, 9, 3, 12, 4, 20, 1, 7, 0]
    rows = arrange(lengths, 12, seed=3)
    assert sorted(chain.from_iterable(rows)) == [
        0,
        1,
        2,
        3,
        4,
        6,
        7,
    ]  # 20 is too long, 0 is nothing
    assert all(sum(lengths[k] for k in row) <= 12 for row in rows)
    assert rows == arrange(lengths, 12, seed=3)
    assert rows != arrange(lengths, 12, seed=4)
    assert len(rows) <= 5


def test_many_samples_leave_little_padding():
    lengths = [1 + (7 * k) % 61 for k in range(500)]
    rows = arrange(lengths, 128, seed=0)
    assert sorted(chain.from_iterable(rows)) == list(range(500))
    assert len(rows) * 128 < 1.1 * sum(lengths)


class Few:
    """Answers of these lengths."""

    def __init__(self, lengths):
        self._lengths = lengths

    def __len__(self):
        return len(self._lengths)

    def lengths(self):
        return self._lengths

    def sample(self, number):
        ids = np.arange(1, self._lengths[number])
        return Sample(Prompt(ids), np.array([number]))


def test_answers_may_have_a_row_for_themselves_that_is_as_wide_as_they_are():
    lengths = [5, 9, 3, 40, 4, 20, 7, 6, 11]
    frozen = FrozenTarget(tiny.reference("llama"), LAYERS)
    reading = Reading(rows=1, width=32, held_out=2, alone=True)
    reader = Reader(Few(lengths), frozen, reading)
    seen = [reader.members(number) for number in range(6)]
    assert sorted(lengths[row[0]] for rows in seen for row in rows) == [3, 4, 5, 7, 9, 20]
    for rows in seen:
        made = reader.rows(rows)
        assert made.tokens.shape == (1, lengths[rows[0][0]])
        assert (made.sample == 0).all()
    assert sorted(reader.tried) == [[[7]], [[8]]]
    pair = Reader(Few(lengths), frozen, Reading(rows=2, width=32, held_out=0, alone=True))
    (first, second) = pair.members(0)
    assert pair.rows([first, second]).tokens.shape == (
        2,
        max(lengths[first[0]], lengths[second[0]]),
    )
