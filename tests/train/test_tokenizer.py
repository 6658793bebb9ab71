"""The tokenizer gives every text back, and may be fed in parts."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmspec.train.tokenizer import SPECIALS

QUIET = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@QUIET
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_comes_back(tokenizer, text):
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer.decode(ids) == text


@QUIET
@given(st.text(st.characters(exclude_categories=["Cs"])).filter(lambda t: not t.endswith("\n")))
def test_a_document_and_its_question_may_be_encoded_apart(tokenizer, text):
    def ids(part):
        return tokenizer.encode(part, add_special_tokens=False)

    assert ids(text + "\n\n") + ids("What is it?") == ids(text + "\n\nWhat is it?")


def test_specials_come_first_and_digits_stand_alone(tokenizer):
    assert tokenizer.convert_tokens_to_ids(list(SPECIALS)) == list(range(len(SPECIALS)))
    assert tokenizer.tokenize("4096")[-4:] == ["4", "0", "9", "6"]
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == (
        "<|bos|>", "<|end|>", "<|pad|>",
    )  # fmt: skip
