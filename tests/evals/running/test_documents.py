"""Documents kept with a run are what was asked, to the character."""

import pytest
from evals.running.stage import doc
from hypothesis import given
from hypothesis import strategies as st
from mmspec_evals.doc import Doc, Picture, Text
from mmspec_evals.errors import DataError
from mmspec_evals.running.documents import LONG, read_docs, stored, write_docs
from mmspec_evals.running.layout import Layout


def kept(root, *docs):
    write_docs(root, "g/t", [(d, stored(d)) for d in docs])
    return read_docs(root, "g/t")


def test_documents_come_back(tmp_path):
    book = "line\r\nnext\u2028line\x85" * LONG
    parts = (Text(book, trim=True), Text("Who?"), Picture("p.png", lambda: b"png"))
    one = Doc("a", (parts, (Text("And?"),)), ["x", 3], "book", "Be brief.", {"options": ("a", 1)})
    two = Doc("b", ((Text(book, trim=True), Text("Why?")),), None, "book")
    found = kept(tmp_path, one, two)
    assert list(found) == ["a", "b"]
    assert found["a"].turns[0][:2] == one.turns[0][:2]
    assert found["a"].turns[1] == one.turns[1]
    assert (found["a"].target, found["a"].system) == (["x", 3], "Be brief.")
    assert found["a"].fields == {"options": ["a", 1]}
    assert found["b"].turns == two.turns
    assert len(list(Layout(tmp_path).texts().iterdir())) == 1  # the shared book, once


def test_a_picture_keeps_its_name_only(tmp_path):
    found = kept(tmp_path, Doc("a", ((Picture("p.png", lambda: b"png"),),), 1, "a"))
    assert found["a"].turns[0][0].name == "p.png"
    with pytest.raises(DataError, match=r"p\.png"):
        found["a"].turns[0][0].read()


def test_a_missing_picture_is_named():
    def gone():
        raise FileNotFoundError("no such file")

    with pytest.raises(DataError, match=r"q\.png.*no such file"):
        stored(Doc("a", ((Picture("q.png", gone),),), 1, "a"))


@given(st.text(), st.text())
def test_other_words_have_another_digest(one, other):
    assert (stored(doc("d", one)).sha == stored(doc("d", other)).sha) == (one == other)


def test_whatever_is_shown_or_marked_counts():
    base = Doc("a", ((Text("q"),),), 1, "c", None, {"k": 1})
    others = [
        Doc("b", ((Text("q"),),), 1, "c", None, {"k": 1}),
        Doc("a", ((Text("q", trim=True),),), 1, "c", None, {"k": 1}),
        Doc("a", ((Text("q"),),), 2, "c", None, {"k": 1}),
        Doc("a", ((Text("q"),),), 1, "c", "s", {"k": 1}),
        Doc("a", ((Text("q"),),), 1, "c", None, {"k": 2}),
        Doc("a", ((Text("q"), Picture("p", lambda: b"1")),), 1, "c", None, {"k": 1}),
        Doc("a", ((Text("q"), Picture("p", lambda: b"2")),), 1, "c", None, {"k": 1}),
    ]
    assert len({stored(d).sha for d in (base, *others)}) == 8


def test_missing_documents_are_an_error(tmp_path):
    with pytest.raises(DataError, match="missing"):
        read_docs(tmp_path, "g/t")
