"""InfiniteBench's rules: every score here was worked out by hand from the rule, quirks and all."""

# ruff: noqa: RUF001 - full-width digits are cases

from __future__ import annotations

import pytest
from mmspec_evals.metrics.infinitebench import RAISES, official
from mmspec_evals.metrics.infinitebench_cases import score_case, with_letter
from mmspec_evals.metrics.infinitebench_names import official_name

UUID = "2a8d601d-1d69-4e64-9f90-8ad825a74195"
DEBUG = ["run_all", "B"]
CHOICE = ["Elizabeth", "B"]

DIGITS = [  # passkey and number_string share a rule
    ("71432", ["71432"], 1),
    ("The pass key is 71432.", ["71432"], 1),
    ("-71432", ["71432"], 1),
    ("71432.0", ["71432"], 1),
    ("x71432y", "71432", 1),
    ("71,432", ["71432"], 0),
    ("In 2 places: 71432", ["71432"], 0),
    ("７１４３２", ["71432"], 0),
    ("071432", ["71432"], 0),
    ("71432", [71432], 0),
    ("71432", 71432, 0),
    ("", ["71432"], 0),
    ("none", [""], 1),
]
CASES = {
    "passkey": DIGITS,
    "number_string": [*DIGITS, ("1122334455", ["1122334455"], 1)],
    "kv_retrieval": [
        (UUID, UUID, 1),
        (f'"{UUID}".', UUID, 1),
        (f'{{"key": "{UUID}"}}', UUID, 1),
        (f"The value is:\n{UUID}!", UUID, 1),
        (f"{UUID}\u2028and more", UUID, 1),
        (f"({UUID})", UUID, 0),
        (f"**{UUID}**", UUID, 0),
        (f"`{UUID}`", UUID, 0),
        (f"{UUID};", UUID, 0),
        (UUID.upper(), UUID, 0),
        (UUID, [UUID], 0),
        ("", UUID, 0),
    ],
    "code_run": [
        ("4", [4], 1),
        ("The value is 4.", [4], 1),
        ("x = 3\n-12", [-12], 1),
        ("+4", 4, 1),
        ("04", [4], 1),
        ("1_000", [1000], 1),
        ("４", [4], 1),
        ("3.4", [4], 1),
        ("'4'", [4], 1),
        ("4.0", [4], 0),
        ("4)", [4], 0),
        ("**4**", [4], 0),
        ("=4", [4], 0),
        ("4,", [4], 0),
        ("4 in all", [4], 0),
        ("4", ["4"], 0),
        ("", [4], 0),
    ],
    "code_debug": [
        ("B.", DEBUG, 1),
        ("  B: because", DEBUG, 1),
        ("The answer is: B", DEBUG, 1),
        ("The answer is: run_all", DEBUG, 1),
        ("The answer is:\n`run_all`", DEBUG, 1),
        ("answer: B", DEBUG, 1),
        ("The correct option is: B", DEBUG, 1),
        ("This: B", DEBUG, 1),  # "This:" ends in "is:"
        ("this is: B", DEBUG, 1),
        ("B", DEBUG, 0),
        ("B)", DEBUG, 0),
        ("The answer is B", DEBUG, 0),
        ("Answer: B", DEBUG, 0),
        ("The answer is:B", DEBUG, 0),
        ("The answer is:", DEBUG, 0),
        ("The answer is: A. run_all", DEBUG, 0),
        ("", DEBUG, 0),
    ],
    "math_find": [
        ("88", [88], 1),
        ("-88", [88], 1),
        ("It is 88, not 87", [88], 1),
        ("٨٨", [88], 1),
        ("12.5", [12.5], 1),
        ("88", [88.0], 1),
        ("88.0", [88.0], 1),
        ("87 or 88", [88], 0),
        ("12", [12.5], 0),
        ("1e2", [100], 0),
        ("none", [88], 0),
        ("", 88, 0),
        ("88,000", [88], 1),
    ],
    "longdialogue_qa_eng": [
        ("BOBBY", ["BOBBY"], 1),
        ("bobby.", ["BOBBY"], 1),
        ("It's Bobby!", ["BOBBY"], 1),
        ("BOBBY: hello", ["BOBBY", "ROB"], 1),
        ("straße", ["STRASSE"], 1),
        ("ROB", ["BOBBY", "ROB"], 0),
        ("(BOBBY)", ["BOBBY"], 0),
        ("DR. SANGER", ["DR. SANGER"], 0),
        ("MISSION CONTROL", ["MISSION CONTROL"], 0),
        ("Bobby", ["Bobby"], 0),
        ("BOBBYS", ["BOBBY"], 0),
        ("B", "BOBBY", 1),
        ("", ["BOBBY"], 0),
    ],
    "longbook_choice_eng": [
        ("B", CHOICE, 1),
        (" B. Elizabeth", CHOICE, 1),
        ("Because I say so", CHOICE, 1),
        ("Dora", CHOICE, 0),
        ("A, no, B", CHOICE, 0),
        ("Elizabeth", CHOICE, 1),
        ("the answer is B", CHOICE, 1),
        ("the answer is: B", CHOICE, 1),
        ("the answer is Elizabeth", CHOICE, 1),
        ("the answer is: A", CHOICE, 0),
        ("the answer is (B)", CHOICE, 0),
        ("the answer is:", CHOICE, 0),
        ("the option is B", CHOICE, 1),
        ("I think B", CHOICE, 1),
        ("I think (B) or B", CHOICE, 1),
        ("I think BC", CHOICE, 0),
        ("**B**", CHOICE, 0),
        ("  ", CHOICE, 0),
    ],
    "longbook_qa_eng": [
        ("The cat!", ["cat"], 1),
        ("a cat sat", ["cat"], 2 / 3),
        ("cat cat", ["cat"], 2 / 3),
        ("cat dog", ["cat", "dog cat"], 1),
        ("it's", ["its"], 1),
        ("a-n", ["an"], 0),  # punctuation goes first, and then the article that is left
        ("", [""], 0),
        ("the", ["the"], 0),
        ("dog", ["cat"], 0),
        ("b", "abc", 1),  # a label that is one string is taken letter by letter
        ("cat", [], 0),
        ("one two three four", ["two four six"], 2 * (2 / 4) * (2 / 3) / (2 / 4 + 2 / 3)),
    ],
    "longbook_qa_chn": [
        ("张三", ["张三"], 1),
        ("张三。", ["张三"], 1),
        ("张 三", ["张三"], 1),
        ("张三丰", ["张三"], 0.8),
        ("红楼》", ["红楼"], 1),
        ("《红楼》", ["红楼"], 0.8),
        ("〈红楼", ["红楼"], 0.8),
        ("李四", ["张三", "李四"], 1),
        ("ABC", ["abc"], 1),
        ("", ["张三"], 0),
        ("，。", ["，。"], 0),
        ("张．三", ["张三"], 0.8),
        ("王五", ["张三"], 0),
    ],
    "longbook_sum_eng": [
        ("the cat sat", "The cat sat.", 1),
        ("the cat", "the cat sat", 0.8),
        ("sat cat", "cat sat", 0.5),
        ("cat\nsat", "cat sat", 1),  # each line of the answer matches a part of the one line
        ("sat\ncat", "cat sat", 1),
        ("cat sat", "sat\ncat", 1),
        ("cat", "cat cat", 2 / 3),
        ("cat cat", "cat\ncat", 1),
        ("张三", "张三", 0),
        ("", "cat", 0),
        ("", "", 0),
        ("running", "run", 0),
        ("dog", ["cat", "dog"], 1),
        ("wor-ld", "world", 0),
    ],
    "math_calc": [
        ("[3, 5, 7]", [3, 5, 7], 1),
        ("3 5 7 9 11", [3, 5, 7], 1),
        ("3 5", [3, 5, 7], 2 / 3),
        ("3 6 7", [3, 5, 7], 1 / 3),
        ("-3, -5", [3, 5], 1),
        ("3.5", [3, 5], 1),
        ("03", [3], 1),
        ("1 3 5 7", [3, 5, 7], 0),
        ("3 5 7", [[3, 5, 7]], 1),
        ("", [3, 5], 0),
        ("none", [3], 0),
        ("３", [3], 0),
    ],
}

RAISING = [
    ("passkey", "71432", []),
    ("passkey", None, ["71432"]),
    ("kv_retrieval", 5, "5"),
    ("code_debug", "B", ["B"]),
    ("code_debug", "answer: B", ["run_all", 2]),
    ("math_find", "88.0", [88]),
    ("math_find", "88", ["88"]),
    ("math_find", "88", None),
    ("longdialogue_qa_eng", "x", []),
    ("longbook_choice_eng", "B", None),
    ("longbook_qa_eng", "cat", 5),
    ("longbook_qa_eng", "cat", [5]),
    ("longbook_sum_eng", "cat", 5),
    ("longbook_sum_eng", "cat", []),
    ("math_calc", "3", 3),
    ("math_calc", "3", []),
    ("math_calc", "3", [[]]),
]


@pytest.mark.parametrize(
    ("task", "answer", "label", "score"),
    [(task, *case) for task, cases in CASES.items() for case in cases],
)
def test_official_score(task, answer, label, score):
    assert official(task, answer, label) == pytest.approx(score, abs=1e-12)


def test_every_task_has_ten_cases():
    assert len(CASES) == 12
    assert min(map(len, CASES.values())) >= 10


@pytest.mark.parametrize(("task", "answer", "label"), RAISING)
def test_where_the_official_scorer_stops_a_row_scores_nothing_and_says_so(task, answer, label):
    with pytest.raises(RAISES):
        official(task, answer, label)
    told = score_case({"task": task, "prediction": answer, "ground_truth": label})
    assert told.score == 0
    assert "the official scorer stops" in told.error


def test_only_gpt4_may_repeat_the_first_operand():
    row = {"task": "math_calc", "prediction": "[1, 3, 5]", "ground_truth": [3, 5]}
    assert score_case(row).score == 0
    assert score_case(row | {"model_name": "gpt4"}).score == 1


def test_rows_are_read_in_every_spelling():
    told = {"pred": "the cat", "label": ["cat"]}
    for name in ("En.QA", "longbook_qa_en", "infinitebench/longbook_qa_eng", "LONGBOOK_QA_ENG"):
        assert score_case({"metric": name} | told).score == 1
    assert official_name("infinitebench_kv_retrieval_both") == "kv_retrieval"
    assert official_name("en.qa.x") is None


def test_a_row_that_lacks_something_says_what():
    assert "no task 'chess'" in score_case({"task": "chess"}).error
    assert "no task 5" in score_case({"task": 5}).error
    assert "'prediction'" in score_case({"task": "passkey", "ground_truth": "1"}).error
    assert "'ground_truth'" in score_case({"task": "passkey", "prediction": "1"}).error


def test_the_label_of_a_choice_is_made_from_its_options():
    options = ["x", "run_all", "x", "run_all"]
    assert with_letter("run_all", options) == ["run_all", "B"]
    assert with_letter(["x"], options) == ["x", "A"]
    assert with_letter(["any", "D"], options) == ["any", "D"]
    row = {"task": "code_debug", "prediction": "B.", "ground_truth": ["run_all"]}
    assert score_case(row | {"options": options}).score == 1
    assert score_case(row | {"options": ["x"]}).error is not None
