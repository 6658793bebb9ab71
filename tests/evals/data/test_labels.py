"""Every row has an id of its own, whatever ids the file gives."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from mmspec_evals.data import official
from mmspec_evals.data.rows import Table


def table(ids):
    rows = [{"id": one, "at": place} for place, one in enumerate(ids)]
    return Table(rows=rows, path="x.jsonl", sha256="0")


def test_a_made_up_id_does_not_take_one_that_a_row_has():
    # the third row would be called a.2, as the second already is
    found = official.labelled(table(["a", "a.2", "a"]), ("id",), None)
    assert [name for name, _ in found] == ["a", "a.2", "a.2.2"]
    assert [row["at"] for _, row in found] == [0, 1, 2]


@given(st.lists(st.sampled_from(["a", "a.1", "a.2", "a.2.2", 1, None, "1"]), max_size=12))
def test_ids_are_unique_and_stay_with_their_rows(ids):
    found = official.labelled(table(ids), ("id",), None)
    assert [row["at"] for _, row in found] == list(range(len(ids)))
    assert len({name for name, _ in found}) == len(ids)
    assert official.labelled(table(ids), ("id",), 2) == found[:2]
