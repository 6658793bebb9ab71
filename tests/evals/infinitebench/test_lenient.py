"""What a reader would call right, and what stays wrong."""

# ruff: noqa: RUF001 - full-width digits are cases

from __future__ import annotations

import pytest
from mmspec_evals.metrics.infinitebench_lenient import lenient
from mmspec_evals.metrics.letters import chosen_letter

OPTIONS = ["init", "run_all", "A Tale of Two Cities", "close"]
RUN = ["run_all", "B"]


@pytest.mark.parametrize(
    ("task", "answer", "label"),
    [
        ("passkey", "71,432", ["71432"]),
        ("passkey", "In 2 places: 71432", ["71432"]),
        ("passkey", "７１４３２", ["71432"]),
        ("passkey", "71432", 71432),
        ("number_string", "It is 1,122,334,455.", ["1122334455"]),
        ("kv_retrieval", "**ab-12**", "ab-12"),
        ("kv_retrieval", "(AB-12)", ["ab-12"]),
        ("code_run", "4.0", [4]),
        ("code_run", "**-4**)", [-4]),
        ("code_run", "func_3(2) = 4, I think", ["4"]),
        ("math_find", "88.0", [88]),
        ("math_find", "The 2nd largest is 88", ["88"]),
        ("longdialogue_qa_eng", "Dr. Sanger", ["DR. SANGER"]),
        ("longdialogue_qa_eng", "It was Rob.", ["BOBBY", "Rob"]),
        ("math_calc", "1, 3, 5", [3, 5]),
        ("longbook_qa_chn", "《红楼》", ["红楼"]),
        ("code_debug", "B", RUN),
        ("code_debug", "run_all", RUN),
        ("longbook_choice_eng", "**(B)**", RUN),
    ],
)
def test_right_in_spite_of_the_rule(task, answer, label):
    assert lenient(task, answer, label) == 1


@pytest.mark.parametrize(
    ("task", "answer", "label"),
    [
        ("passkey", "12345 or 71432", ["71432"]),
        ("passkey", "171432", ["71432"]),
        ("kv_retrieval", "ab-123", "ab-12"),
        ("code_run", "3.5", [4]),
        ("code_run", "4 and not 5", [4]),
        ("math_find", "87 or 88", [88]),
        ("longdialogue_qa_eng", "SANGERSON", ["SANGER"]),
        ("code_debug", "A or B", RUN),
        ("code_debug", "I do not know", RUN),
        ("math_calc", "no idea", "not a list"),
    ],
)
def test_wrong_all_the_same(task, answer, label):
    assert lenient(task, answer, label) == 0


def test_tasks_judged_well_have_no_lenient_score():
    assert lenient("longbook_sum_eng", "a", "a") is None
    assert lenient("longbook_qa_eng", "a", ["a"]) is None


def test_never_less_than_the_official_score():
    assert lenient("longbook_choice_eng", "Because I say so", RUN) == 1


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("c", "C"),
        ("D.", "D"),
        ("run_all", "B"),
        ("A Tale of Two Cities", "C"),
        ("Not C; the answer is B", "B"),
        ("answer: **D**", "D"),
        ("The answer is A because it is", "A"),
        ("I choose (B)", "B"),
        ("It must be `close`, clearly", "D"),
        ("A man broke it", None),
        ("B, perhaps C", "B"),
        ("either C or D", None),
        ("init and close", None),
        ("", None),
    ],
)
def test_the_letter_an_answer_settles_on(answer, letter):
    assert chosen_letter(answer, OPTIONS) == letter
