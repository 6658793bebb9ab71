"""The unrolled step against drafting done one slot at a time; tau against decoding done by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mmspec.core.request import Prompt
from mmspec.model.families.text import TextFamily
from mmspec.train import chain
from mmspec.train.packing import Sample, pack
from mmspec.train.unroll import attend, chains, ground, unroll

STEPS, HIDDEN, HEADS, KV, SIZE, WORDS = 5, 12, 4, 2, 6, 20


class Toy(nn.Module):
    """One attention layer whose rotation is by real angles a slot; fp64."""

    def __init__(self, window=1, parallel=1):
        super().__init__()
        torch.manual_seed(0)
        self.window, self.parallel = window, parallel
        self.words = nn.Embedding(WORDS, HIDDEN)
        self.mix = nn.Linear((window + 1) * HIDDEN, HIDDEN)
        self.q, self.k, self.v = (nn.Linear(HIDDEN, n * SIZE) for n in (HEADS, KV, KV))
        self.o, self.out = nn.Linear(HEADS * SIZE, parallel * HIDDEN), nn.Linear(HIDDEN, WORDS)
        self.double()

    def fuse(self, features):
        return torch.tanh(sum(features))

    def _read(self, tokens, states):
        words = self.words(tokens)
        words = words.flatten(-2) if self.window > 1 else words
        return torch.tanh(self.mix(torch.cat([words, states], -1)))

    def project(self, tokens, states, positions, _bias=None):
        read = self._read(tokens, states)
        angle = positions[..., None, None].double() * torch.tensor([0.9, 0.2, 0.05])

        def turn(x):
            one, two = x.chunk(2, -1)
            return torch.cat(
                [one * angle.cos() - two * angle.sin(), two * angle.cos() + one * angle.sin()], -1
            )

        q, k, v = (f(read).unflatten(-1, (-1, SIZE)) for f in (self.q, self.k, self.v))
        return turn(q), turn(k), v

    def finish(self, tokens, states, attended, _bias=None):
        read, said = self._read(tokens, states), self.o(attended.flatten(-2)).tanh()
        if self.parallel == 1:
            return read + said
        return read[..., None, :] + said.unflatten(-1, (self.parallel, HIDDEN))


def draft_slowly(body, tokens, features, origin, steps):
    """What drafting says after the features up to ``origin`` are known: one slot at a time."""
    keys, values = [], []

    def say(place, state, position):
        told = [tokens[max(0, place - back)] for back in range(body.window)]
        token = torch.tensor([[told if body.window > 1 else told[0]]])
        position = torch.tensor([[position]])
        q, k, v = body.project(token, state[None, None], position)
        keys.append(k[0, 0])
        values.append(v[0, 0])
        heads, size = q.shape[2:]
        out = []
        for head in range(heads):
            group = head // (heads // k.shape[2])
            scores = torch.stack([key[group] @ q[0, 0, head] / math.sqrt(size) for key in keys])
            share = torch.exp(scores - scores.max())
            out.append(
                sum(s * value[group] for s, value in zip(share, values, strict=True)) / share.sum()
            )
        return body.finish(token, state[None, None], torch.stack(out)[None, None])[0, 0]

    for slot in range(origin + 1):
        said = say(slot + 1, body.fuse([layer[slot] for layer in features]), slot)
    told = list(said.view(-1, HIDDEN))
    while len(told) < steps:
        for state in told[-body.parallel :]:
            said = say(len(keys) + 1, state, len(keys))
        told += said.view(-1, HIDDEN)
    return told[:steps]


def spread(made, slots):
    """What was said, at its slots: K of [B, S, H], NaN where nothing is learned."""
    told = []
    for states, valid in zip(made.states, made.valid, strict=True):
        full = states.new_full((len(states), slots, HIDDEN), torch.nan)
        for row, at in enumerate(valid):
            full[row, made.slots[row, at]] = states[row, at]
        told.append(full)
    return told


def packed(lengths, width, seed=0):
    draw = np.random.default_rng(seed)
    rows = [
        [
            Sample(Prompt(draw.integers(0, WORDS, p)), draw.integers(0, WORDS, r), bool(p % 2))
            for p, r in row
        ]
        for row in lengths
    ]
    return rows, pack(rows, width, TextFamily.__new__(TextFamily), "cpu")


@pytest.mark.parametrize(
    ("window", "parallel"), [(1, 1), (2, 1), (4, 1), (1, 2), (3, 2), (2, 3), (2, 5), (1, 7)]
)
def test_every_step_says_what_drafting_would(window, parallel):
    body = Toy(window, parallel)
    samples, rows = packed([[(3, 6), (1, 4)], [(2, 9)], [(4, 1), (1, 1), (2, 5)]], 15)
    draw = torch.Generator().manual_seed(1)
    features = [torch.randn(3, 15, HIDDEN, generator=draw, dtype=torch.float64) for _ in "abc"]
    with torch.no_grad():
        said = spread(unroll(body, rows, ground(body, rows, features), STEPS), 14)
    valid = chains(rows, STEPS)
    seen = 0
    for row, members in enumerate(samples):
        start = 0
        for sample in members:
            tokens = [*sample.prompt.ids.tolist(), *sample.response.tolist()]
            mine = [layer[row, start : start + len(tokens)] for layer in features]
            for origin in range(len(tokens) - 1):
                reach = min(STEPS, len(tokens) - 1 - origin)
                with torch.no_grad():
                    slow = draft_slowly(body, tokens, mine, origin, reach)
                for step in range(reach):
                    slot = origin + step
                    guessed = slot + 2  # the token this draft is compared with
                    ought = guessed < len(tokens) and origin + 2 >= len(sample.prompt.ids)
                    assert valid[step, row, start + slot].item() == ought
                    if ought:
                        fast = said[step][row, start + slot]
                        assert torch.allclose(fast, slow[step], atol=1e-12), (origin, step)
                        seen += 1
            start += len(tokens)
    assert seen == int(valid.sum()) > 60


@pytest.mark.parametrize("parallel", [1, 2, 3])
def test_no_draft_looks_at_what_decoding_does_not_know(parallel):
    """Changing a token or a feature changes only what comes after it."""
    body = Toy(1, parallel)
    _, rows = packed([[(2, 12)]], 14)
    features = [torch.randn(1, 14, HIDDEN, dtype=torch.float64)]
    said = spread(unroll(body, rows, ground(body, rows, features), STEPS), 13)
    later = features[0].clone()
    later[0, 7] += 1
    with torch.no_grad():
        changed = spread(unroll(body, rows, ground(body, rows, [later]), STEPS), 13)
    for step in range(STEPS):
        same = (said[step] == changed[step]).all(-1)[0, step:12]
        # Step k of slot s starts at s - k, and so sees the feature of token 7 from s = 7 + k on.
        assert same.tolist() == [slot < 7 + step for slot in range(step, 12)]
    # A loss at the last step reaches all steps before it: nothing is cut off.
    leaf = features[0].requires_grad_()
    last = spread(unroll(body, rows, ground(body, rows, [leaf]), STEPS), 13)[-1][0, 9]
    (grad,) = torch.autograd.grad(last.sum(), leaf)
    assert (grad[0, :6] != 0).all()
    assert (grad[0, 6:] == 0).all()


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_a_chain_attends_as_a_dense_mask_says(steps):
    """The few products of a chain against one softmax over all keys of all steps."""
    rows, count, whole, heads, kv_heads, width = 2, 4, 7, 4, 2, 8
    draw = torch.Generator().manual_seed(3)

    def some(*shape):
        return torch.randn(shape, generator=draw, dtype=torch.float64)

    query = some(rows, count, heads, width)
    first = some(rows, whole, kv_heads, width), some(rows, whole, kv_heads, width)
    later = [
        (some(rows, count, kv_heads, width), some(rows, count, kv_heads, width))
        for _ in range(steps)
    ]
    seen = torch.rand((rows, count, whole), generator=draw) < 0.6
    seen[:, :, 0] = True
    fast = attend(query, first, later, seen)
    keys = torch.cat([first[0], *(key for key, _ in later)], 1)
    values = torch.cat([first[1], *(value for _, value in later)], 1)
    ahead = torch.arange(count)[:, None] - torch.arange(count)
    own = [(ahead == steps - 1 - step).expand(rows, -1, -1) for step in range(steps)]
    slow = torch.nn.functional.scaled_dot_product_attention(
        query.transpose(1, 2), keys.transpose(1, 2), values.transpose(1, 2),
        attn_mask=torch.cat([seen, *own], -1)[:, None], enable_gqa=True,
    ).transpose(1, 2)  # fmt: skip
    reach = max(0, steps - 1)  # the first states have no chain so long
    assert torch.allclose(fast[:, reach:], slow[:, reach:], atol=1e-12)


def decode(right, prompt, response):
    """Passes of greedy chain drafting, by playing it out."""
    told, passes, deepest = 0, 0, len(right)
    while told < response:
        first = prompt + told
        drafts = [
            bool(right[k][first + k]) for k in range(deepest) if first + k < prompt + response
        ]
        kept = drafts.index(False) if False in drafts else len(drafts)
        told = min(response, told + kept + 1)
        passes += 1
    return passes


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 12), st.integers(1, 5))
def test_walking_is_decoding(seed, prompt, response, depth):
    right = np.random.default_rng(seed).random((depth, prompt + response)) < 0.7
    told = chain.walk(right, prompt, response)
    assert told.tokens == response
    assert told.passes == decode(right, prompt, response)
    assert (told.accepted <= told.tried).all()
    assert told.accepted.sum() <= response


def test_tau_of_a_drafter_that_is_always_right_and_of_one_that_never_is():
    right = np.ones((4, 20), bool)
    told = chain.walk(right, 5, 15)
    assert (told.passes, told.tau) == (3, 5.0)
    assert told.accepted.tolist() == told.tried.tolist() == [3, 3, 3, 3]
    never = chain.walk(~right, 5, 15)
    assert (never.passes, never.tau) == (15, 1.0)
    assert never.tried.tolist() == [15, 0, 0, 0]
    both = told.join(never)
    assert both.tau == pytest.approx(30 / 18)
