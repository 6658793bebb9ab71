"""Made rows: their answers worked out anew from their own text, their lengths counted anew."""

from __future__ import annotations

import json
import re
import statistics
import time
from itertools import pairwise

import pytest
from mmspec_evals.errors import DataError
from mmspec_evals.tasks.infinitebench import arithmetic, generate
from mmspec_evals.tasks.infinitebench.fit import fitted
from mmspec_evals.tasks.infinitebench.rows import questions

from mmspec.train.data.seeds import example_seed

PIECE = re.compile(r"[A-Za-z]{1,4}|[0-9]|[^A-Za-z0-9 ]")
SECRET = re.compile(r"The (?:pass key|secret number) is ([0-9]+)\. Remember it\.")


def count(text):
    """Something like a tokenizer: four letters, a digit or a mark."""
    return len(PIECE.findall(text))


def made(task, tokens=(900,), grid=(5, 2), seed=3):
    return list(generate.make_rows(task, tokens, grid, seed, count))


def prompt_of(task, row):
    return "".join(part.text for part in generate.prompt(task, questions(task, [row], "x")[0]))


@pytest.mark.parametrize("task", generate.GENERATORS)
def test_lengths_depths_and_seeds(task):
    rows = made(task, (600, 3000))
    assert [row["tokens"] for row in rows] == [600, 3000] * 10
    assert [row["depth"] for row in rows[::4]] == [0, 0.25, 0.5, 0.75, 1]
    for row in rows:
        assert count(prompt_of(task, row)) == pytest.approx(row["tokens"], rel=0.02)
    assert rows == made(task, (600, 3000))
    assert rows != made(task, (600, 3000), seed=4)
    assert len({row["context"] for row in rows}) == len(rows)
    assert {"id", "context", "input", "answer", "options"} <= rows[0].keys()
    assert json.loads(json.dumps(rows)) == rows


@pytest.mark.parametrize(("task", "digits"), [("passkey", 5), ("number_string", 10)])
def test_a_secret_stands_once_at_its_depth(task, digits):
    for row in made(task):
        (told,) = SECRET.findall(row["context"])
        assert row["answer"] == [told]
        assert len(told) == digits
        before, after = (len(part.split(". ")) for part in SECRET.split(row["context"])[::2])
        assert before / (before + after) == pytest.approx(row["depth"], abs=0.06)


def test_half_of_a_number_string_repeats_its_neighbour():
    for row in made("number_string"):
        digits = row["answer"][0]
        assert sum(a == b for a, b in pairwise(digits)) >= 5


def test_the_pair_asked_for_is_at_its_depth():
    for row in made("kv_retrieval"):
        pairs = [line.split(": ") for line in row["context"].split("\n")]
        key = re.fullmatch(r"What is the value of (\w+)\?", row["input"])[1]
        keys = [name for name, _ in pairs]
        assert len(set(keys)) == len(keys)
        assert dict(pairs)[key] == row["answer"]
        assert keys.index(key) / (len(keys) - 1) == pytest.approx(row["depth"], abs=0.01)


def test_numbers_are_found_anew():
    kinds = set()
    for row in made("math_find", grid=(7, 4)):
        numbers = [int(word) for word in row["context"].strip("[]").split(", ")]
        kind = re.search(r"The (.+) number of the list is: $", row["input"])[1]
        kinds.add(kind)
        rank = {"second": 2, "third": 3}.get(kind.split()[0], 1)
        up = sorted(set(numbers))
        ends = {"median": None, "smallest": up[rank - 1], "largest": up[-rank]}
        expected = ends[kind.split()[-1]]
        expected = statistics.median(numbers) if expected is None else expected
        assert row["answer"] == [expected]
        if kind == "median" and len(numbers) % 2 == 0:
            assert isinstance(row["answer"][0], float)
    assert kinds == set(arithmetic.KINDS)


def test_running_values_are_worked_out_anew():
    for row in made("math_calc"):
        words = row["context"].split(" ")
        ends = range(3, len(words) + 1, 2)
        assert row["answer"] == [eval(" ".join(words[:end])) for end in ends]
        assert all(0 <= value <= 99 for value in row["answer"])


def test_code_is_run():
    depths = set()
    for row in made("code_run"):
        space = {}
        exec(row["context"], space)
        call = re.search(r"func_[0-9]+\(-?[0-9]+\)", row["input"])[0]
        assert [eval(call, space)] == row["answer"]
        bodies = dict(
            re.findall(r"def func_(\d+)\(x\):\n    return (?:func_(\d+))?", row["context"])
        )
        assert list(bodies) == sorted(bodies, key=int)
        at, calls = call[5:].partition("(")[0], 1
        while at := bodies[at]:
            calls += 1
        depths.add(calls)
    assert depths == {2, 4, 6, 8, 10}


def test_held_out_seeds_only(monkeypatch):
    used = []
    seen = lambda split, index: used.append((split, index)) or example_seed(split, index)  # noqa: E731
    monkeypatch.setattr(generate, "example_seed", seen)
    made("passkey", seed=0)
    made("passkey", seed=1)
    assert {split for split, _ in used} == {"held_out"}
    assert len(set(used)) == len(used) == 20


def test_long_prompts_take_few_counts():
    sizes = []

    def counted(text):
        sizes.append(count(text))
        return sizes[-1]

    start = time.perf_counter()
    list(generate.make_rows("passkey", (16384,), (4, 1), 0, counted))
    assert sum(sizes) < 4 * 3 * 16384
    assert time.perf_counter() - start < 10


def test_what_cannot_be_made():
    with pytest.raises(DataError, match="nearest has"):
        made("math_calc", (20,))


def test_the_nearest_of_coarse_units_is_taken():
    assert fitted(lambda units: "x" * (3 + 10 * units), 100, len) == 10
    assert fitted(lambda units: "x" * (10 * units), 10, len) == 1
    with pytest.raises(DataError):
        fitted(lambda units: "x" * (300 + units), 100, len)
