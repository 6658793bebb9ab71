"""The drafter that sees: its trees by the formulas it is trained by, chunks, leaks, checkpoints."""

from __future__ import annotations

import itertools

import msgspec
import numpy as np
import pytest
import torch
from drafters.checkpoints import EAGLE
from drafters.formulas import Known, attended, scores
from drafters.markov import FACTS, HIDDEN, MEDIA, Markov, features, observation, prefill, step

from mmspec.core.drafter import Budget
from mmspec.core.errors import ConfigError
from mmspec.core.request import Media, Prompt, Request, Sampling
from mmspec.core.sequence import Sequence
from mmspec.train.capture import Captured
from mmspec.train.looking import Looking
from mmspec.train.packing import PackedRows, Placed
from mmspec.vision import vispec
from mmspec.vision.sight import SightConfig
from mmspec.vision.vispec_checkpoint import load_checkpoint, save_checkpoint
from mmspec.vision.vispec_network import VispecConfig, VispecNetwork

NOBODY = np.zeros(0, np.int64)
GREEDY = Sampling(temperature=0.0)
SIGHTS = {
    "one token and a glance": SightConfig(),
    "four tokens of embeddings": SightConfig(tokens=4, keys="embeds", glance=False),
    "two tokens of features": SightConfig(tokens=2, keys="features"),
    "a glance alone": SightConfig(how="none", tokens=0),
    "places among pictures": SightConfig(how="none", tokens=0, orders=2),
    "blind": SightConfig(how="none", tokens=0, glance=False),
    "latents": SightConfig(how="latent", tokens=3, glance=False),
    "compact positions": SightConfig(compact=True),
}
BODY = msgspec.structs.replace(EAGLE, window=3)
SQUARE = msgspec.structs.replace(BODY, hidden=HIDDEN)
NARROW = msgspec.structs.replace(
    EAGLE, wide=False, hidden=HIDDEN, layers=(1,), final_norm=False, fc_bias=True
)
SHAPES = {name: (BODY, sight) for name, sight in SIGHTS.items()} | {
    "kept whole": (SQUARE, SightConfig(how="keep", tokens=0, glance=False)),
    "narrow, as ViSpec": (NARROW, SightConfig(keys="embeds", plain=True, key_bias=True)),
    "narrow, as MSD": (NARROW, SightConfig(how="keep", tokens=0, glance=False)),
    "as FLASH": (
        msgspec.structs.replace(BODY, parallel=4), SightConfig(how="latent", tokens=3, glance=False)
    ),
    "two a pass, a glance": (msgspec.structs.replace(BODY, parallel=2), SightConfig()),
    "three a pass, narrow": (
        msgspec.structs.replace(NARROW, parallel=3), SightConfig(keys="embeds", plain=True)
    ),
}  # fmt: skip
# Adjacent pictures, one of a single token, one that a chunk's end cuts.
SPANS = ((3, 9), (9, 10), (14, 22))


def network(name, seed=0):
    body, sight = SHAPES[name]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = VispecNetwork(VispecConfig(**msgspec.structs.asdict(body), sight=sight))
        for key, value in made.named_parameters():
            if "norm" in key or "gates" in key:
                value.data += 0.3 * torch.randn_like(value)
            elif key == "head.weight":
                value.data *= 3.0
            elif key in {
                "embedding.weight",
                "sight.lean.weight",
                "sight.choose.weight",
                "sight.order",
            }:
                value.data.normal_(0.0, 0.5 if "sight" in key else 1.0)
    return made


def pictured(id="a", seed=0, spans=SPANS, length=40, picture="x"):
    noise = np.random.default_rng(seed)
    text = noise.integers(0, 28, length)
    for start, stop in spans:
        text[start:stop] = MEDIA
    media = tuple(Media(f"{picture}{a}", a, b - a, {}) for a, b in spans)
    return Sequence(Request(id, Prompt(text.astype(np.int64), media), GREEDY), 0, seed)


def drafter(made, folder, **options):
    save_checkpoint(folder, made)
    return vispec.build(
        vispec.Config(path=str(folder), **{"floor": 1e-9, "least": 0.0, **options}), FACTS
    )


def by_formulas(made, text, spans, tree):
    """Every node's score, dense in float64, from the ground that training stands on."""
    made = made.double()
    tokens = torch.tensor(text.tolist())[None]
    count = tokens.shape[1] - 1
    hidden = {i: features(text, i).double()[None] for i in (-1, *made.config.layers)}
    placed = tuple(Placed(None, 0, a, b) for a, b in spans)
    nothing = torch.zeros_like(tokens)
    rows = PackedRows(
        tokens, torch.arange(count + 1)[None], torch.arange(count + 1)[None], nothing,
        nothing.bool(), nothing.bool(), placed,
    )  # fmt: skip
    watched = [hidden[i] for i in made.config.layers]
    tokens, states, place, whose, lift = Looking(made)(rows, Captured(hidden, hidden[-1]), watched)
    bias = None if lift is None else lift(states, None)
    query, key, value = made.project(tokens, states, place, bias)
    kept = (whose[0] == 0).nonzero().squeeze(1)
    last = attended(query[:, -1:], key[:, kept], value[:, kept])
    given = None if bias is None else bias[:, -1:]
    said = made.finish(tokens[:, -1:], states[:, -1:], last, given)
    root = Known(said, key[:, kept], value[:, kept], int(place[0, -1]) + 1, list(text))
    at = torch.tensor([[count - 1]])
    return scores(made, tree, root, None if lift is None else lambda state: lift(state, at))


@pytest.mark.parametrize("name", SHAPES)
@torch.no_grad()
def test_trees_are_what_training_says(name, tmp_path):
    mind, one = drafter(network(name), tmp_path), pictured()
    prefill(mind, [one], Markov())
    deepest = 0
    for _ in range(4):
        (tree,) = mind.draft([one], [Budget(24, 6)])
        expected = by_formulas(network(name), one.tokens, SPANS, tree)
        np.testing.assert_allclose(tree.scores, expected, atol=3e-4)
        deepest = max(deepest, tree.depths().max())
        step(mind, [one], [Budget(24, 6)], Markov())
    assert deepest >= max(3, SHAPES[name][0].parallel + 1)


@pytest.mark.parametrize("name", SHAPES)
def test_chunks_of_any_size_leave_the_same_memory(name, tmp_path):
    minds = [drafter(network(name), tmp_path) for _ in range(4)]
    trees = []
    for mind, chunk in zip(minds, (40, 16, 7, 1), strict=True):
        one = pictured()
        prefill(mind, [one], Markov(), chunk)
        trees += mind.draft([one], [Budget(16, 5)])
    for tree in trees[1:]:
        assert tree.tokens.tolist() == trees[0].tokens.tolist()
        np.testing.assert_allclose(tree.scores, trees[0].scores, atol=1e-4)


@pytest.mark.parametrize("name", ["one token and a glance", "narrow, as ViSpec", "blind"])
def test_what_is_drafted_follows_the_picture(name, tmp_path, monkeypatch):
    """The same words after other pictures give other trees, and a blind drafter's do not.

    A picture's last token is left as it is: its feature stands in the slot of the word after.
    """

    def trees(made, shift):
        mind, one = drafter(made, tmp_path), pictured()
        plain = features

        def other(tokens, layer):
            said = plain(tokens, layer).clone()
            seen = np.asarray(tokens) == MEDIA
            last = np.append(seen[1:], False)
            said[torch.from_numpy(seen & last)] += shift
            return said

        monkeypatch.setattr("drafters.markov.features", other)
        prefill(mind, [one], Markov(), 40)
        monkeypatch.setattr("drafters.markov.features", plain)
        return mind.draft([one], [Budget(16, 5)])[0].scores

    same = np.allclose(trees(network(name), 0.0), trees(network(name), 1.0), atol=1e-3)
    assert same == (name == "blind")


def test_requests_between_one_another_are_drafted_for_as_alone(tmp_path):
    """With none, one and several pictures, chunk by chunk in turn: nobody sees another's."""
    made = network("one token and a glance")
    kinds = {"none": (), "one": ((4, 30),), "more": SPANS, "last": ((20, 26), (30, 39))}
    alone = {}
    for id, spans in kinds.items():
        mind, one = drafter(made, tmp_path), pictured(id, 1, spans)
        prefill(mind, [one], Markov())
        alone[id] = mind.draft([one], [Budget(12, 5)])[0]
    mind = drafter(made, tmp_path)
    all_of_them = [pictured(id, 1, spans) for id, spans in kinds.items()]
    while any(one.cached < one.prompt_length for one in all_of_them):
        for one in all_of_them:
            part = one.tokens[one.cached : one.cached + 8]
            one.cached += len(part)
            if one.cached == one.prompt_length:
                one.extend(np.array([Markov().next(one.tokens[-1], len(one))]))
            seen = observation([part], [NOBODY], Markov(), mind.needs.layers)
            mind.observe([one], seen)
    trees = mind.draft(all_of_them, [Budget(12, 5)] * len(all_of_them))
    for one, tree in zip(all_of_them, trees, strict=True):
        assert tree.tokens.tolist() == alone[one.request.id].tokens.tolist()
        np.testing.assert_allclose(tree.scores, alone[one.request.id].scores, atol=1e-5)


@pytest.mark.parametrize("name", SHAPES)
def test_a_picture_whose_beginning_was_not_shown_is_left_out(name, tmp_path):
    """As after a prefix that was found in a cache: the text goes on, nothing breaks."""
    mind, one = drafter(network(name), tmp_path), pictured()
    one.cached = 6  # inside the first picture
    prefill(mind, [one], Markov())
    (tree,) = mind.draft([one], [Budget(12, 4)])
    assert len(tree) > 4
    held = mind._memories.ready(one)
    assert held.home.start == (0 if held.dense else held.end - held.filled)
    step(mind, [one], [Budget(12, 4)], Markov())
    assert len(mind.draft([one], [Budget(12, 4)])[0]) > 4


@pytest.mark.parametrize("name", SHAPES)
def test_a_checkpoint_comes_back_as_it_was(name, tmp_path):
    made = network(name)
    save_checkpoint(tmp_path, made, tokenizer="t", training={"by": "hand"})
    read = load_checkpoint(tmp_path)
    assert read.config == made.config
    for key, value in made.state_dict().items():
        assert torch.equal(read.state_dict()[key], value)


def test_a_checkpoint_that_is_not_one_is_refused(tmp_path):
    save_checkpoint(tmp_path, network("one token and a glance"))
    path = tmp_path / "config.json"
    told = msgspec.json.decode(path.read_bytes())
    for change, match in (
        ({"positions": "compact"}, "compact"),
        ({"address": "text.eagle"}, "address"),
        ({"network": told["network"] | {"sight": {"tokens": 2}}}, "sight.query"),
    ):
        path.write_bytes(msgspec.json.encode(told | change))
        with pytest.raises(ConfigError, match=match):
            vispec.build(vispec.Config(path=str(tmp_path)), FACTS)


def test_sights_that_make_no_sense_are_refused():
    for wrong in ({"how": "none"}, {"tokens": 0}, {"plain": True}, {"tokens": -1}):
        with pytest.raises(ValueError, match=r"tokens|plain"):
            SightConfig(**wrong)
    for a, b in itertools.pairwise(SIGHTS.values()):
        assert a != b
