"""What a client may ask: each bad value is refused by its name."""

import msgspec
import numpy as np
import pytest
from core.toy import sequence
from hypothesis import given
from hypothesis import strategies as st

from mmspec.core.errors import BadRequestError
from mmspec.core.request import MAX_SEED, Sampling, Speculation

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", NAN), ("temperature", INF), ("temperature", -0.1), ("temperature", 2.1),
        ("top_p", 0.0), ("top_p", 1.1), ("top_p", NAN), ("min_p", -0.1), ("min_p", 1.5),
        ("top_k", -2), ("presence_penalty", 2.5), ("frequency_penalty", -2.5),
        ("repetition_penalty", 0.0), ("repetition_penalty", INF), ("max_tokens", 0),
        ("max_tokens", -5), ("min_tokens", -1), ("n", 0), ("n", 17), ("seed", MAX_SEED + 1),
        ("logprobs", -1), ("logprobs", 21), ("stop", ("",)), ("stop", ("a",) * 17),
        ("stop", ("x" * 257,)), ("logit_bias", {1: 101.0}), ("logit_bias", {1: NAN}),
        ("logit_bias", dict.fromkeys(range(301), 1.0)), ("bad_words", ((),)),
        ("bad_words", ((1,),) * 65), ("bad_words", ((1,) * 33,)),
    ],
)  # fmt: skip
def test_bad_values_are_refused_by_name(field, value):
    with pytest.raises(BadRequestError) as caught:
        Sampling(**{field: value}).check()
    names = {"logprobs": "top_logprobs"}
    assert caught.value.param == names.get(field, field)
    assert str(caught.value)


def test_min_tokens_may_not_exceed_max_tokens():
    with pytest.raises(BadRequestError, match="min_tokens"):
        Sampling(max_tokens=3, min_tokens=4).check()
    Sampling(max_tokens=4, min_tokens=4).check()


@given(
    st.builds(
        Sampling,
        temperature=st.floats(0, 2), top_p=st.floats(0, 1, exclude_min=True),
        min_p=st.floats(0, 1), top_k=st.integers(-1, 10**6),
        repetition_penalty=st.floats(0.1, 10), presence_penalty=st.floats(-2, 2),
        frequency_penalty=st.floats(-2, 2), seed=st.none() | st.integers(-(2**63), MAX_SEED),
        logit_bias=st.dictionaries(st.integers(0, 99), st.floats(-100, 100), max_size=9),
    )
)  # fmt: skip
def test_every_value_in_range_is_taken_and_survives_the_wire(sampling):
    sampling.check()
    assert msgspec.json.decode(msgspec.json.encode(sampling), type=Sampling) == sampling


def test_unknown_fields_are_refused():
    for kind in (Sampling, Speculation):
        with pytest.raises(msgspec.ValidationError, match="beam_width"):
            msgspec.json.decode(b'{"beam_width": 4}', type=kind)


@pytest.mark.parametrize("field", ["max_nodes", "max_depth"])
@pytest.mark.parametrize("value", [0, -1, 1025])
def test_speculation_budgets(field, value):
    Speculation(**{field: 1}).check()
    with pytest.raises(BadRequestError) as caught:
        Speculation(**{field: value}).check()
    assert caught.value.param == f"speculation.{field}"


def test_sequence_grows_and_stays_read_only():
    text = sequence(Sampling(), prompt=(4, 5, 6), choice=2)
    assert (text.id, len(text), text.pending) == ("r/2", 3, 3)
    for start in range(0, 300, 3):
        text.extend(np.arange(start, start + 3))
    assert text.tokens.tolist() == [4, 5, 6, *range(300)]
    assert text.output.tolist() == list(range(300))
    text.cached = 302
    assert text.pending == 1
    with pytest.raises(ValueError, match="read-only"):
        text.tokens[0] = 1
