"""The succession of methods, and the identity of cells and plans."""

from collections import Counter

import msgspec
from evals.running.stage import Scripted, doc, make_plan, task
from hypothesis import given
from hypothesis import strategies as st
from mmspec_evals.running.order import groups, labels
from mmspec_evals.running.plan import LAST, VANILLA, Plan

WORDS = [task()]


def plan(methods=("mmspec", "vanilla", "pld", "hf"), documents=7, **options):
    docs = {"words": [doc(f"d{i}") for i in range(documents)]}
    return make_plan(WORDS, docs, [Scripted(name) for name in methods], **options)


@given(st.integers(1, 5), st.integers(0, 40), st.integers(0, 2), st.integers(0, 9))
def test_plain_decoding_brackets_all_others(count, index, repeat, seed):
    names = [f"m{i}" for i in range(count)]
    order = labels(plan([*names, "vanilla"], 1, seed=seed), "words", index, repeat)
    assert order[0] == VANILLA
    assert order[-1] == LAST
    assert sorted(order[1:-1]) == names


def test_every_method_stands_in_every_place_equally_often():
    made = plan(["a", "b", "c", "vanilla"])
    places = Counter(
        (label, place)
        for index in range(12)
        for place, label in enumerate(labels(made, "words", index, 0))
    )
    assert {places[label, place] for label in "abc" for place in (1, 2, 3)} == {4}


def test_the_succession_varies_with_seed_and_repeat_but_not_between_calls():
    one, other = plan(), plan(seed=1)
    orders = lambda p, r: [labels(p, "words", i, r) for i in range(9)]  # noqa: E731
    assert orders(one, 0) == orders(one, 0)
    assert orders(one, 0) != orders(other, 0)
    assert orders(one, 0) != orders(one, 1)


def test_without_plain_decoding_there_is_nothing_to_bracket_with():
    assert sorted(labels(plan(["a", "b"]), "words", 0, 0)) == ["a", "b"]


def test_cells_are_told_apart_and_repeats_pass_over_everything():
    made = plan(repeats=2)
    found = list(groups(made))
    cells = [cell for group in found for cell in group.cells]
    assert len({cell.key for cell in cells}) == len(cells) == 2 * 7 * 5
    assert [group.repeat for group in found] == [0] * 7 + [1] * 7
    assert [cell.order for cell in found[0].cells] == [0, 1, 2, 3, 4]


def test_keys_change_with_what_shapes_an_answer_and_with_nothing_else():
    def keys(made):
        return {(c.doc.id, c.arm.label): c.key for g in groups(made) for c in g.cells}

    base = keys(plan())
    assert keys(plan(documents=3)).items() <= base.items()  # other documents, other methods:
    assert keys(plan(("pld", "vanilla"))).items() <= base.items()  # the same cells
    hotter = msgspec.structs.replace(plan().generation, temperature=1.0)
    assert not set(keys(msgspec.structs.replace(plan(), generation=hotter)).values()) & set(
        base.values()
    )
    docs = {"words": [doc(f"d{i}") for i in range(7)]}
    tuned = make_plan(WORDS, docs, [Scripted("pld", settings={"n": 4}), Scripted("vanilla")])
    changed = keys(tuned)
    assert changed["d0", "pld"] != base["d0", "pld"]
    assert changed["d0", "vanilla"] == base["d0", "vanilla"]


def test_a_plan_read_again_is_the_same_plan():
    made = plan()
    again = msgspec.json.decode(msgspec.json.encode(made), type=Plan)
    assert again == made
    assert made.plan_hash == plan().plan_hash != plan(seed=3).plan_hash
