"""Evidence stands where it says, or is not told."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmspec.serve.evidence import RUN, Witness

DOCUMENT = """The register

Section 1: Ann
Ann keeps 77   goats
in the garden. The house of Ann has the number 1977. 你好世界 这是一份文件

Section 2: the Bobbin
The captain of the Bobbin is Ann. The sails of the Bobbin are red.
"""


def plain(text):
    return " ".join(text.split())


def check(document, answer):
    found = Witness(document).evidence(answer)
    ends = 0
    for one in found:
        assert document[one.start : one.end] == one.text
        said = answer[one.answer_start : one.answer_end]
        assert plain(one.text) == plain(said) != ""
        assert not one.text[0].isspace()
        assert not one.text[-1].isspace()
        assert ends <= one.answer_start
        ends = one.answer_end
    return [plain(one.text) for one in found]


@pytest.mark.parametrize(
    ("answer", "quoted"),
    [
        ('The text says: "Ann keeps 77 goats in the garden." It is 77.',
         ["Ann keeps 77 goats in the garden."]),
        ("“Ann keeps 77 goats” and «The sails of the Bobbin are red.»",
         ["Ann keeps 77 goats", "The sails of the Bobbin are red."]),
        ("„Ann keeps“ and 「你好世界」", ["Ann keeps", "你好世界"]),
        ('" Ann\n\tkeeps "', ["Ann keeps"]),
        ('It is "77".', ["77"]),
        ('It is "197", or "977", or "oats", or "ha".', []),
        ('"Ann keeps 78 goats"', []),
        ('"" and " " and "', []),
        ('"ann keeps"', []),
        ("The captain of the Bobbin is Ann. That is all.",
         ["The captain of the Bobbin is Ann."]),
        ("He said the house of Ann has the number 1977. Yes.",
         ["house of Ann has the number 1977."]),
        ("It has the number 1977. Yes.", []),
        ("He said The house of Ann has the number 1977. Yes.",
         ["The house of Ann has the number 1977."]),
        ("of the Bobbin is", []),
        ('The "captain" of the Bobbin is Ann. The sails of the Bobbin are red.',
         ["captain", "of the Bobbin is Ann. The sails of the Bobbin are red."]),
        ('So: "The captain of the Bobbin is Ann. The sails of the Bobbin are red."',
         ["The captain of the Bobbin is Ann. The sails of the Bobbin are red."]),
    ],
)  # fmt: skip
def test_what_counts(answer, quoted):
    assert check(DOCUMENT, answer) == quoted


def test_offsets_are_of_the_text_as_it_stands():
    (one,) = Witness(DOCUMENT).evidence('"keeps 77 goats in"')
    assert one.text == "keeps 77   goats\nin"
    assert one.start == DOCUMENT.index("keeps")
    assert (one.answer_start, one.answer_end) == (1, 18)


WORDS = st.lists(st.sampled_from(["a", "b", "c", "d.", "ab", "1", "11", "文", '"']), max_size=60)
GAPS = st.sampled_from([" ", "\n", "  ", "\t", "\n\n"])


@given(WORDS, WORDS, st.data())
def test_whatever_is_said(words, answer, data):
    document = "".join(word + data.draw(GAPS) for word in words)
    check(document, " ".join(answer))


@given(WORDS, st.data())
def test_a_quotation_is_found_whatever_the_space(words, data):
    words = [word for word in words if word != '"']
    document = "".join(word + data.draw(GAPS) for word in words)
    if not words:
        return
    first = data.draw(st.integers(0, len(words) - 1))
    last = data.draw(st.integers(first, len(words) - 1))
    part = words[first : last + 1]
    assert check(document, f'They say "{" ".join(part)}".') == [" ".join(part)]
    if len(part) >= RUN:  # and, long enough, without marks
        assert check(document, "\n".join(part))


def test_much_of_everything_takes_no_time_of_note():
    """A quotation that nearly stands everywhere, and as many as there may be."""
    witness = Witness("ab" * 200_000 + " " + "word " * 100_000)
    assert not witness.evidence('"ba" ' * 500)
    assert not re.search("x", "".join(one.text for one in witness.evidence("word x " * 2000)))
    assert len(witness.evidence("word " * 2000)) == 1
