"""What drafters are shown of the target's queries is what its own layers ask."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import running
import tiny
import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from mmspec.core.drafter import Needs
from mmspec.core.request import Prompt, Sampling
from mmspec.core.tree import TokenTree

LAYERS = (0, 2)
COUNT = 12


class Watcher:
    """Guesses three tokens of a known text, the last of them wrong, and keeps what was asked."""

    needs = Needs(queries=LAYERS)

    def __init__(self, known=()):
        self.known, self.seen, self.drafted = list(known), [], 0

    def observe(self, sequences, seen):
        assert set(seen.queries) <= set(LAYERS)
        if seen.queries:
            assert all(len(rows) == len(seen.tokens) for rows in seen.queries.values())
            self.seen.append(seen.queries)

    def draft(self, sequences, budgets):
        (one,) = sequences
        coming = self.known[len(one) :][: min(2, budgets[0].depth - 1)]
        self.drafted += len(coming)
        wrong = [(coming[-1] + 1) % 150] if coming else []
        return [TokenTree.chain(np.array([one.last, *coming, *wrong]))]

    def forget(self, id):
        pass


def asked(model, ids, name):
    """Layer -> [T, Hq, D] of a text, as the unmodified model's attention is given them."""
    told = {}

    def spy(module, query, key, value, mask, scaling=None, **rest):
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        told[module.layer_idx] = query[0].transpose(0, 1) * scale
        return sdpa_attention_forward(module, query, key, value, mask, scaling=scaling, **rest)

    AttentionInterface.register(name, spy)
    AttentionMaskInterface.register(name, sdpa_mask)  # as for the attention that it calls
    spied = copy.deepcopy(model)
    nested = "text_config" in spied.config.sub_configs
    spied.set_attn_implementation({"text_config": name} if nested else name)
    with torch.no_grad():
        spied(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)))
    return told


@pytest.mark.parametrize("name", tiny.FAMILIES)
def test_committed_tokens_queries_are_the_models_own(name):
    words = np.random.default_rng(4).integers(1, 150, 40)
    target = tiny.target(name)
    greedy = Sampling(temperature=0.0, max_tokens=COUNT, ignore_eos=True)
    plain = running.run(running.engine(target), {"a": Prompt(words)}, greedy)["a"]
    whole = [*words.tolist(), *plain]
    watcher = Watcher(whole)
    loud = running.engine(target, {"watcher": watcher}, enough=1e9)
    assert running.run(loud, {"a": Prompt(words)}, greedy)["a"] == plain
    assert watcher.drafted > 4
    expected = asked(tiny.reference(name), whole, f"asked-{name}")
    for layer in LAYERS:
        shown = torch.cat([rows[layer] for rows in watcher.seen])
        assert len(shown) > COUNT // 2
        # Decoding begins with the prompt's last token; the answer's last one is never read.
        first = len(words) - 1
        wanted = expected[layer][first : first + len(shown)]
        torch.testing.assert_close(shown.flatten(1, 2), wanted, atol=2e-4, rtol=2e-4)
