"""Official templates: read as text, filled as InfiniteBench fills them."""

from __future__ import annotations

import pytest
from mmspec_evals.doc import Text
from mmspec_evals.errors import DataError
from mmspec_evals.tasks.infinitebench.rows import Question
from mmspec_evals.tasks.infinitebench.templates import read

SOURCE = """
raise SystemExit("this file must never run")

yarn_mistral_templates = {
    # a comment
    "passkey": "Look: {context} - {input} ->",  # noqa
    "kv_retrieval": "{context}{input}",
    "longbook_choice_eng": "{context}|{question}|{OPTION_A}{OPTION_B}{OPTION_C}{OPTION_D}",
    "code_run": "{func} in {context} gives {func_call} = {func_call}?",
    "math_find": "{prefix} {context} {input}",
    "math_calc": "{{{context}}}",
    "longbook_qa_eng": "{context} {missing}",
    "longbook_sum_eng": "{file:{context}}",
}
gpt4_templates = {"passkey": "Chat: {context} {input}", "math_calc": "{context}"}
kimi_templates = {"passkey": "a" + "b"}
lists_templates = {"passkey": ["a"]}
other = 3
"""


@pytest.fixture
def checkout(tmp_path):
    (tmp_path / "IB" / "src").mkdir(parents=True)
    (tmp_path / "IB" / "src" / "prompt.py").write_text(SOURCE)
    return tmp_path / "IB"


def row(context="CONTEXT", ask="ASK", options=()):
    return Question("7", context, ask, None, options)


def filled(templates, task, **fields):
    return "".join(part.text for part in templates.fill(task, row(**fields)))


def test_the_family_for_local_models_is_continued(checkout):
    templates = read(checkout)
    assert (templates.family, templates.style, templates.system) == (
        "yarn-mistral", "completion", None,
    )  # fmt: skip
    assert templates.fill("passkey", row()) == (
        Text("Look: "), Text("CONTEXT", trim=True), Text(" - ASK ->"),
    )  # fmt: skip
    assert (
        filled(templates, "longbook_choice_eng", options=("w", "x", "y", "z")) == "CONTEXT|ASK|wxyz"
    )
    assert filled(templates, "math_calc") == "{CONTEXT}"


def test_braces_of_a_context_are_its_own(checkout):
    assert filled(read(checkout), "kv_retrieval", context='{"a": 1}') == '{"a": 1}ASK'


def test_the_call_and_the_kind_of_number_are_taken_from_the_input(checkout):
    templates = read(checkout)
    ask = "Give func_12(-7), then func_3(1)."
    assert (
        filled(templates, "code_run", ask=ask)
        == "func_12 in CONTEXT gives func_12(-7) = func_12(-7)?"
    )
    ask = "One number only. The Second Largest number of the list is: "
    assert filled(templates, "math_find", ask=ask) == (
        f"What is the second largest number in the following list? CONTEXT {ask}"
    )


def test_another_family_is_a_chat(checkout):
    templates = read(checkout.with_name("IB:gpt4"))
    assert (templates.style, templates.system) == ("chat", "You are a helpful assistant")
    assert filled(templates, "passkey") == "Chat: CONTEXT ASK"
    with pytest.raises(DataError, match="yarn-mistral"):
        templates.fill("math_calc", row())


def test_the_file_or_its_folder_will_do(checkout):
    for place in (checkout / "src" / "prompt.py", checkout / "src"):
        assert read(place).texts == read(checkout).texts


@pytest.mark.parametrize(
    ("task", "ask", "words"),
    [
        ("longbook_qa_eng", "x", "nothing for 'missing'"),
        ("longbook_sum_eng", "x", "more than a name"),
        ("number_string", "x", "nothing for 'number_string'"),
        ("code_run", "no call", "calls no function"),
        ("math_find", "which one", "which number"),
    ],
)
def test_what_cannot_be_filled_is_named(checkout, task, ask, words):
    with pytest.raises(DataError, match=words) as caught:
        read(checkout).fill(task, row(ask=ask))
    assert task in str(caught.value)


def test_what_cannot_be_read_is_named(checkout, tmp_path):
    with pytest.raises(DataError, match=r"src/prompt\.py.*OpenBMB/InfiniteBench"):
        read(tmp_path)
    with pytest.raises(DataError, match="families it has: yarn_mistral, gpt4, kimi, lists"):
        read(checkout.with_name("IB:claude9"))
    with pytest.raises(DataError, match="more than plain texts"):
        read(checkout.with_name("IB:kimi"))
    with pytest.raises(DataError, match="no dictionary of texts"):
        read(checkout.with_name("IB:lists"))
    (checkout / "src" / "prompt.py").write_text("a = (")
    with pytest.raises(DataError, match="no Python"):
        read(checkout)
