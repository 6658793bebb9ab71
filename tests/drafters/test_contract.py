"""Every drafter there is, found by its address, held to what the engine relies on."""

from __future__ import annotations

import gc
import importlib
import pkgutil
import types
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from drafters import checkpoints, kept
from drafters.markov import (
    CONTEXT,
    FACTS,
    MEDIA,
    STOP,
    VOCABULARY,
    Markov,
    observation,
    prefill,
    prompt,
    sequence,
    step,
)

import mmspec
from mmspec.core.drafter import Budget, Sized
from mmspec.core.request import Prompt, Request, Sampling
from mmspec.core.sequence import Sequence
from mmspec.core.tree import TokenTree
from mmspec.engine.settle import together
from mmspec.retrieval.corpus import Corpus

WINGS = ("text", "vision", "longctx", "retrieval")
BUDGETS = [Budget(1, 12), Budget(16, 0), Budget(16, 1), Budget(2, 12), Budget(16, 12)]


def addresses() -> list[str]:
    """Modules of the wings that have a ``build`` and a ``Config``."""
    found = []
    for wing in WINGS:
        package = importlib.import_module(f"{mmspec.__name__}.{wing}")
        for module in pkgutil.iter_modules(package.__path__):
            names = vars(importlib.import_module(f"{package.__name__}.{module.name}"))
            if "build" in names and "Config" in names:
                found.append(f"{wing}.{module.name}")
    return found


BLOCKS = ("text.eagle", "vision.vispec")  # these may also say several tokens a pass
PAGED = ("text.eagle", "text.draft_model")  # these may also see a part of a text
PAGES = {"pages": 2, "page": 4, "recent": 8, "sinks": 2}


@pytest.fixture(
    params=[
        *((one, 1, {}) for one in addresses()),
        *((one, 3, {}) for one in BLOCKS),
        *((one, 1, PAGES) for one in PAGED),
    ],
    ids=lambda told: told[0] + f", {told[1]} a pass" * (told[1] > 1) + ", pages" * bool(told[2]),
)
def build(request, tmp_path):
    """Makes the drafter anew, from a tiny checkpoint if it needs one."""
    address, parallel, pages = request.param
    module = importlib.import_module(f"mmspec.{address}")
    options = checkpoints.options(address, tmp_path, parallel) | pages
    known = kept.facts() if pages or address.startswith("longctx.") else FACTS
    return lambda: kept.keep(module.build(module.Config(**options), known))


def same(one, other) -> bool:
    names = ("tokens", "parents", "scores", "source")
    return all(getattr(one, n).tobytes() == getattr(other, n).tobytes() for n in names)


def test_the_wings_hold_drafters():
    known = {"retrieval.suffix", "retrieval.recycling", "retrieval.stand", "retrieval.prediction"}
    known |= {"text.eagle", "text.draft_model"}
    known |= {"longctx.longspec", "longctx.rapid"}
    assert known <= set(addresses())


def test_options_unknown_to_a_drafter_are_refused():
    for address in addresses():
        config = importlib.import_module(f"mmspec.{address}").Config
        assert config.__struct_config__.frozen
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({"no such option": 1}, config)


@pytest.mark.parametrize("budget", BUDGETS, ids=str)
def test_trees_are_well_formed_and_within_budget(build, budget):
    drafter, target = build(), Markov()
    batch = [sequence(str(index), prompt(index)) for index in range(3)]
    prefill(drafter, batch, target)
    for _ in range(25):
        roots = [one.tokens[-1] for one in batch]
        for root, tree in zip(roots, step(drafter, batch, [budget] * 3, target), strict=True):
            tree.check()
            assert tree.tokens[0] == root
            assert len(tree) <= budget.nodes
            assert tree.depths().max() <= budget.depth
            assert not tree.source.any()
            assert tree.tokens.dtype == np.int64
            assert tree.parents.dtype == np.int32
            assert tree.scores.dtype == np.float32


def test_nothing_is_proposed_outside_the_vocabulary_below_a_stop_or_into_a_picture(build):
    drafter, target = build(), Markov()
    texts = [
        prompt(0),
        [31, 30, 29, 29, 31, 30, 5, 31, 30],
        [40, 31, 1000, 31, 40, 31],
        [MEDIA] * 9,
    ]
    batch = [sequence(str(index), text) for index, text in enumerate(texts)]
    for one in batch:  # an id beyond the vocabulary may stand in a prompt, as a picture's does
        one.cached = one.prompt_length - 1
    trees = drafter.draft(batch, [Budget(64, 12)] * len(batch))
    batch = [sequence(f"{index}/long", prompt(index)) for index in range(3)]
    prefill(drafter, batch, target)
    for _ in range(25):
        trees += step(drafter, batch, [Budget(64, 12)] * 3, target)
    assert any(len(tree) > 1 for tree in trees)
    for tree in trees:
        guesses, above = tree.tokens[1:], tree.parents[1:]
        assert np.all((guesses >= 0) & (guesses < VOCABULARY))
        assert not np.any(guesses == MEDIA)
        assert not np.any((tree.tokens[above] == STOP) & (above > 0))


def test_each_request_says_where_its_text_ends(build):
    """Its own stop ids bar the way as the model's do; the model's need not where ignored."""
    text = [*range(3, 9), STOP, 1, 2] * 6
    below = {}
    for name, sampling in {
        "model": Sampling(),
        "own": Sampling(stop_token_ids=(5, 1)),
        "ignored": Sampling(ignore_eos=True),
        "both": Sampling(stop_token_ids=(7,), ignore_eos=True),
    }.items():
        drafter, seen = build(), set()
        for end in range(40, 54):  # from every place of the phrase
            prompted = Prompt(np.array(text[:end], np.int64))
            coming = np.array(text[end % 9 :], np.int64)
            request = Request(f"{name}{end}", prompted, sampling, prediction=coming)
            one = Sequence(request, 0, 0)
            one.cached = one.prompt_length - 1
            drafter.observe([one], as_if_said(one.tokens, drafter.needs.layers))
            (tree,) = drafter.draft([one], [Budget(64, 12)])
            parents = tree.parents[1:]
            seen |= set(tree.tokens[parents[parents > 0]].tolist())
        below[name] = seen
    assert below["model"]
    assert not below["model"] & {STOP}
    assert not below["own"] & {STOP, 5, 1}
    assert not below["both"] & {7}
    if build().__module__.startswith("mmspec.retrieval."):  # these quote all that stood there
        assert below["ignored"] - below["model"] == {STOP}
        assert below["model"] - below["own"] == {5, 1}


def as_if_said(text: np.ndarray, layers: tuple[int, ...]):
    """All of a text but its last token was verified, one by one, and the target was sure of it."""
    said = text[:-1]
    rows = [TokenTree.root(token).contexts(text[: i + 1], CONTEXT) for i, token in enumerate(said)]
    seen = observation([said], [said], Markov(), layers, rows)
    chances = np.full((len(said), 1), np.log(0.99), np.float32)
    return replace(seen, top=text[1:, None], chances=chances)


def test_guessing_teaches_nothing(build):
    drafter, target = build(), Markov()
    batch = [sequence(str(index), prompt(index)) for index in range(2)]
    prefill(drafter, batch, target)
    for _ in range(10):
        budgets = [Budget(16, 12)] * 2
        first = drafter.draft(batch, budgets)
        drafter.draft(batch, [Budget(64, 3)] * 2)
        again = drafter.draft(batch, budgets)
        assert all(map(same, first, again))
        step(drafter, batch, budgets, target)


def test_no_sequence_sees_another(build):
    """The second sequence's trees are the same bytes beside another tenant's canary and alone.

    Of its own tenant's a drafter may have learned how often its guesses come true.
    """
    alone, beside = [], []
    for company, trees in ((False, alone), (True, beside)):
        drafter, target = build(), Markov()
        one = sequence("b", prompt(1))
        batch = [one]
        if company:
            text = [*prompt(1), *prompt(7), *prompt(1)[:20]]
            canary = sequence("a", text, tenant="another")
            batch = [canary, one]
            prefill(drafter, [canary], Markov(5))
        prefill(drafter, [one], target)
        for _ in range(15):
            trees.append(step(drafter, batch, [Budget(16, 12)] * len(batch), target)[-1])
        drafter.forget("a/0")
        trees.append(drafter.draft([one], [Budget(16, 12)])[0])
    assert any(len(tree) > 1 for tree in alone)
    assert all(map(same, alone, beside))


def held(drafter) -> tuple[int, int]:
    """Objects and array bytes reachable from ``drafter``, code and types left out."""
    code = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType)
    queue, seen, size = [drafter], {id(drafter)}, 0
    while queue:
        thing = queue.pop()
        size += thing.nbytes if isinstance(thing, np.ndarray) else 0
        for other in gc.get_referents(thing):
            if id(other) not in seen and not isinstance(other, code):
                seen.add(id(other))
                queue.append(other)
    return len(seen), size


def test_forgetting_frees_everything_and_leaves_no_trace(build):
    drafter, target = build(), Markov()
    before = held(drafter)
    batch = [sequence(str(index), prompt(index)) for index in range(3)]
    prefill(drafter, batch, target)
    for _ in range(5):
        step(drafter, batch, [Budget(16, 12)] * 3, target)
    assert held(drafter) > before
    for one in [*batch, batch[0]]:  # unknown ids are fine
        drafter.forget(one.id)
    if isinstance(getattr(drafter, "drafter", drafter), Corpus):
        drafter.clear()  # how far a tenant's texts are trusted outlives each of them
    assert held(drafter) == before
    fresh = build()
    trees = []
    for mind in (drafter, fresh):  # an id used again is another text
        again = sequence("0", prompt(9))
        prefill(mind, [again], target)
        trees.append([step(mind, [again], [Budget(16, 12)], target)[0] for _ in range(5)])
    assert all(map(same, *trees))


def test_many_steps_may_be_shown_at_once(build):
    """One that was silent is shown all that it missed together, and goes on from there."""
    prompt_, target = prompt(1), Markov()
    trees = {}
    for name, every in (("as they come", 1), ("together", 40)):
        drafter = build()
        one = sequence("a", prompt_)
        prefill(drafter, [one], target)
        missed = []
        for turn in range(40):
            missed.append(observation(
                [one.tokens[-1:]], [one.tokens[-1:]], target, drafter.needs.layers,
                [one.tokens[None, -CONTEXT:]],
            ))  # fmt: skip
            one.extend(np.array([target.next(int(one.tokens[-1]), len(one))]))
            one.cached = len(one) - 1
            if (turn + 1) % every == 0:
                drafter.observe([one], together(missed))
                missed = []
        first = drafter.draft([one], [Budget(16, 12)])[0]
        later = [step(drafter, [one], [Budget(16, 12)], target)[0] for _ in range(10)]
        trees[name] = [first, *later]
    for one_by_one, at_once in zip(*trees.values(), strict=True):
        at_once.check()
        # What their rows were worth meanwhile these cannot say.
        if build().__module__.rpartition(".")[2] not in ("recycling", "stand"):
            assert one_by_one.tokens.tolist() == at_once.tokens.tolist()
    assert any(len(tree) > 1 for tree in trees["together"])


def test_what_it_holds_of_a_sequence_can_be_known_before(build):
    """Whole numbers of bytes that never shrink with the text; a self-drafter holds next to none."""
    made = build()
    drafter = getattr(made, "drafter", made)
    assert isinstance(drafter, Sized)
    rooms = [drafter.room(tokens) for tokens in (0, 1, 100, 101, 4096, 1 << 20)]
    assert rooms == sorted(rooms)
    assert all(isinstance(size, int) for size in rooms)
    assert rooms[-1] > 0


def test_an_empty_batch_is_fine(build):
    drafter = build()
    drafter.forget("nobody")
    assert drafter.draft([], []) == []
