"""Text, stop and count do not depend on how tokens were grouped, and lose or split nothing."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from mmspec.model.detokenize import StopMatcher, TextStream

SPECIAL = 600


class Pieces:
    """Token i < 256 is byte i; i from 256 is a pair of letters; 600 is special."""

    special_tokens = frozenset({SPECIAL})

    def token_bytes(self, id: int) -> bytes:
        if id == SPECIAL:
            return b"<s>"
        return bytes([id]) if id < 256 else b"ab"[id % 2 : id % 2 + 1] * (1 + id % 3)


texts = st.text(alphabet="abAé🦊\n", max_size=30)
tokens = st.one_of(
    texts.map(lambda text: list(text.encode())),
    st.lists(st.sampled_from([97, 98, 0xC3, 0xA9, 0xF0, 0x9F, 256, 257, 258, 259, SPECIAL])),
)
stops = st.lists(st.text(alphabet="abé�", min_size=1, max_size=5), max_size=4)


def reference(ids, stop, include):
    """One token at a time, the plain way: decode all, search all."""
    data = b"".join(Pieces().token_bytes(id) for id in ids if id != SPECIAL)
    text = data.decode("utf-8", "replace")
    ends = [(text.find(s) + len(s), -len(s), s) for s in stop if s in text]
    if not ends:
        return text, None
    end, _, found = min(ends)
    return text[: end if include else end - len(found)], found


@given(tokens, stops, st.booleans(), st.lists(st.integers(1, 7), max_size=30))
@settings(max_examples=400, deadline=None)
def test_chunking_changes_nothing(ids, stop, include, sizes):
    def run(groups):
        stream = TextStream(Pieces(), stop, include)
        pieces = [stream.push(group) for group in groups] + [stream.finish()]
        return "".join(pieces), stream.stopped, stream.count

    groups, at = [], 0
    for size in sizes:
        groups.append(ids[at : at + size])
        at += size
    groups.append(ids[at:])
    one_by_one = run([[id] for id in ids])
    assert run(groups) == one_by_one
    assert one_by_one[:2] == reference(ids, stop, include)


@given(texts, stops)
@settings(max_examples=200, deadline=None)
def test_nothing_told_is_ever_taken_back(text, stop):
    """What was pushed is a prefix of the final text at every moment, and is held no longer."""
    stream = TextStream(Pieces(), stop)
    final, _ = reference(list(text.encode()), stop, include=False)
    told = ""
    for id in text.encode():
        told += stream.push([id])
        assert final.startswith(told)
        assert "�" not in told
    if not stop:
        assert told == text


def test_count_stops_at_the_token_that_completed():
    stream = TextStream(Pieces(), ["bb"])
    assert stream.push(list(b"aab")) == "aa"
    assert stream.push(list(b"bcccc")) == ""
    assert (stream.stopped, stream.count) == ("bb", 4)
    assert stream.push([97]) == stream.finish() == ""
    assert stream.count == 4


def test_partial_stop_is_told_when_it_cannot_be():
    stream = TextStream(Pieces(), ["abc"])
    assert stream.push(list(b"xab")) == "x"
    assert stream.push(list(b"abd")) == "ababd"
    assert stream.push(list(b"ab")) == ""
    assert stream.finish() == "ab"


def test_special_tokens():
    ids = [97, SPECIAL, 98]
    assert TextStream(Pieces()).push(ids) == "ab"
    assert TextStream(Pieces(), skip_special=False).push(ids) == "a<s>b"


@given(st.text("ab", min_size=1, max_size=6), st.text("ab", max_size=40))
def test_matcher_finds_the_first_end(pattern, text):
    matcher = StopMatcher(pattern)
    ends = [i + 1 for i, c in enumerate(text) if matcher.matched < len(pattern) and matcher.push(c)]
    assert ends == ([text.find(pattern) + len(pattern)] if pattern in text else [])
