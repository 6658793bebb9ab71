"""What drafters are told of verified nodes, and the text that comes out with those who use it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import running
import tiny
from drafting import Knowing

from mmspec.core.drafter import Needs, Observation, part
from mmspec.core.request import Request, Sampling
from mmspec.engine.build import build_drafters
from mmspec.engine.settle import together

NOISY = Sampling(temperature=0.8, seed=5, max_tokens=60)


class Watching(Knowing):
    """Knows a part of the text, and writes down the law of every node it is shown."""

    needs = Needs(top=4, chances=True, context=3)

    def __init__(self, texts, vocabulary) -> None:
        super().__init__(texts, vocabulary)
        self.laws = {}

    def observe(self, sequences, seen) -> None:
        for index, one in enumerate(sequences):
            if len(seen.node_offsets) == 1:
                return
            rows = slice(seen.node_offsets[index], seen.node_offsets[index + 1])
            told = zip(seen.contexts[rows], seen.top[rows], seen.chances[rows], strict=True)
            for context, top, chances in told:
                self.laws.setdefault((one.request.id, *context.tolist()), []).append((top, chances))
            assert np.array_equal(seen.contexts[rows][:, -1], seen.node_tokens[rows])


@pytest.mark.parametrize("name", ["llama", "qwen2_5_vl"])
def test_contexts_and_chances_are_the_text_s_own(name):
    """At every place of the text a node was told with the law that its own report has."""
    target = tiny.target(name)
    prompts = {str(index): one for index, one in enumerate(tiny.prompts(name))}
    plain = Sampling(temperature=0.0, max_tokens=24, logprobs=4)
    said = running.run(running.engine(target), prompts, plain)
    watching = Watching(said, tiny.VOCABULARY)
    likely = running.told(running.engine(target, {"text.known": watching}), prompts, plain)
    found = 0
    for id, prompt in prompts.items():
        text = [*prompt.ids.tolist(), *said[id]]
        for place, entry in enumerate(likely[id], len(prompt.ids)):
            context = [-1, -1, *text[:place]][-3:]
            for top, chances in watching.laws.get((id, *context), []):
                if [token for token, _ in entry.top] == top.tolist():
                    expected = [logprob for _, logprob in entry.top]
                    found += bool(np.allclose(chances, expected, atol=1e-4))
    # All but the first token, which the prompt's pass says, and what the last round decides.
    assert found >= sum(map(len, said.values())) - 14 * len(prompts)
    wrong = [key for key in watching.laws if list(key[1:]) not in _windows(prompts, said, key[0])]
    assert wrong  # guesses that were rejected are told too


def _windows(prompts, said, id):
    text = [-1, -1, *prompts[id].ids.tolist(), *said[id]]
    return [list(three) for three in zip(text, text[1:], text[2:], strict=False)]


def test_parts_and_sums_keep_them():
    offsets = np.array([0, 1, 3], np.int32)
    seen = Observation(
        offsets=offsets, tokens=np.arange(3), node_offsets=offsets, node_tokens=np.arange(3),
        top=np.arange(6).reshape(3, 2), chances=np.arange(6, dtype=np.float32).reshape(3, 2),
        contexts=np.arange(9).reshape(3, 3),
    )  # fmt: skip
    second = part(seen, [1])
    assert second.chances.tolist() == [[2, 3], [4, 5]]
    assert second.contexts.tolist() == [[3, 4, 5], [6, 7, 8]]
    both = together([second, part(seen, [0])])
    assert both.chances.tolist() == [[2, 3], [4, 5], [0, 1]]
    assert both.contexts[-1].tolist() == [0, 1, 2]
    assert all(a <= b for a, b in pairwise(both.node_offsets))


@pytest.mark.parametrize("sampling", [running.GREEDY, NOISY], ids=["greedy", "seeded"])
@pytest.mark.parametrize("name", ["llama", "qwen2_5_vl"])
def test_the_target_says_the_same_with_and_without_them(name, sampling):
    target = tiny.target(name)
    table = {"retrieval": {"stand": {"floor": 0.001}, "prediction": {"floor": 0.001}}}
    prompts = {str(index): one for index, one in enumerate(tiny.prompts(name))}
    said = running.run(running.engine(target), prompts, sampling)
    loud = running.engine(target, build_drafters(table, target.facts))
    spoke = {}
    for id, prompt in prompts.items():
        wrong = [*said[id][:15], 3, *said[id][16:]]
        loud.submit(Request(id, prompt, sampling, prediction=np.array(wrong)))
    tokens = {id: [] for id in prompts}
    while loud.busy:
        for delta in loud.step():
            tokens[delta.request_id] += delta.tokens
            if delta.report is not None:
                spoke |= delta.report.by_source
                assert "retrieval.prediction" not in delta.report.off_reasons
    assert tokens == said
    assert "retrieval.prediction" in spoke
    if sampling is running.GREEDY:  # sampled, so short a text may stand nowhere twice
        assert "retrieval.stand" in spoke


@pytest.mark.parametrize("temperature", [0.0, 0.3])
def test_choices_are_the_same_however_they_teach_each_other(temperature):
    target = tiny.target("llama")
    (prompt, *_) = tiny.prompts("llama")
    sampling = Sampling(temperature=temperature, seed=1, max_tokens=60, n=6)
    table = {"retrieval": {"stand": {}}}
    heard = {}
    for drafters in ({}, build_drafters(table, target.facts)):
        engine = running.engine(target, drafters, max_sequences=2)
        engine.submit(Request("one", prompt, sampling))
        tokens, reports = [[] for _ in range(6)], []
        while engine.busy:
            for delta in engine.step():
                tokens[delta.choice] += delta.tokens
                reports += [delta.report] if delta.report is not None else []
        heard[bool(drafters)] = tokens
    assert heard[True] == heard[False]
    assert sum(report.accepted for report in reports) > 0
    assert not drafters["retrieval.stand"]._requests
