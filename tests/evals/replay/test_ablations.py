"""The ablations' table: which numbers stand in a cell, and that every row finds its arm."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from mmspec_evals.replay.play import Played
from mmspec_evals.replay.track import track

from mmspec.core.tree import TokenTree

BENCH = Path(__file__).parents[3] / "evals" / "bench"


@pytest.fixture(scope="module")
def bench():
    sys.path.insert(0, str(BENCH))
    try:
        import ablations  # noqa: PLC0415
        import ablations_table  # noqa: PLC0415

        yield ablations, ablations_table
    finally:
        sys.path.remove(str(BENCH))


def tracks(kinds):
    """Two documents a kind, in which the model is right and what quotes is wrong."""
    told = {}
    for kind in kinds:
        trees = [
            TokenTree.chain(np.array([1, 2, 3 if source in (0, 3) else 9]), None, source)
            for source in range(8)
        ]
        sources = tuple(f"text.{number}" for number in range(8))
        one = track("a", sources, np.array([1, 2, 3, 4]), [trees, [], []])
        told[kind] = [one, one]
    return told


def test_every_row_has_its_numbers(bench):
    ablations, table = bench
    own = tracks(ablations.KINDS)
    rows = ablations.rows(1.2)
    arms = {}
    for name, row in rows.items():
        played = ablations.measure(own, "open text", row)
        base = ablations.measure(own, "open text", rows[ablations.BASE])
        assert played.emitted == 6
        arms[name] = ablations.summary(played, base, [1.2], ablations.costs(1.2))
    assert arms["A0 plain"]["tau"] == pytest.approx(1.0)
    assert arms["A1 model's tree"]["tau"] == pytest.approx(3.0)
    assert arms["A1 model's tree"]["worth"]["1.2"] == pytest.approx(3.0 / 2.2)
    assert arms["A4 automaton, tree by votes"]["tau"] == pytest.approx(1.5)
    assert arms[ablations.BASE]["tau_over_A9_interval"] == [0.0, 0.0]
    kinds = dict.fromkeys(ablations.KINDS, arms)
    result = {
        "replayed": dict.fromkeys(table.TEMPERATURES, kinds),
        "remembered": ablations.remembered(),
    }
    for line in table.lines("1.2", list(ablations.costs(1.2))):
        cells = [table.cell(result, line, column) for column in (*table.COLUMNS, table.ACROSS)]
        assert any(cells)
        assert table.counted(line.what)
    line = table.Line("", "A4 automaton, tree by votes")
    assert table.cell(result, line, "quotes") == "1.50 / 1.50 / 1.50"
    assert table.cell(result, line, table.ACROSS) == ""
    assert table.mean(result, line) == "1.50 / 1.50 / 1.50"


def test_costs_rise_and_are_what_was_measured(bench):
    for cost in bench[0].costs(1.2).values():
        assert cost.of(np.array([1]))[0] == 1.0
        assert (np.diff(cost.of(np.arange(1, 17))) >= 0).all()
        assert cost.of(np.array([16]))[0] > 1.0
        assert cost.price == 1.2


def test_what_was_learned_elsewhere_counts_nothing(bench):
    ablations, _ = bench
    own = tracks(ablations.KINDS)
    for warm in ("", "kind", "others"):
        row = ablations.rows(1.2)["asked as learned, cold"]._replace(warm=warm)
        played = ablations.measure(own, "open text", row)
        assert isinstance(played, Played)
        assert len(played.each) == 2
