"""The twelve tasks of InfiniteBench and the ways papers and harnesses spell them."""

from __future__ import annotations

SPELLINGS: dict[str, tuple[str, ...]] = {
    "passkey": ("Retrieve.PassKey",),
    "number_string": ("Retrieve.Number",),
    "kv_retrieval": ("Retrieve.KV", "kv_retrieval_prefix", "kv_retrieval_both"),
    "longbook_sum_eng": ("En.Sum", "longbook_sum_en"),
    "longbook_qa_eng": ("En.QA", "longbook_qa_en"),
    "longbook_choice_eng": ("En.MC", "longbook_choice_en"),
    "longbook_qa_chn": ("Zh.QA", "longbook_qa_cn", "longbook_qa_zh"),
    "longdialogue_qa_eng": ("En.Dia", "longdialogue_qa_en"),
    "math_find": ("Math.Find",),
    "math_calc": ("Math.Calc",),
    "code_run": ("Code.Run",),
    "code_debug": ("Code.Debug",),
}


def official_name(spelling: str) -> str | None:
    """The official name of a task, None when it means none of them.

    Case does not matter, nor does a group before it.

    >>> official_name("infinitebench/en.qa"), official_name("infinitebench_longbook_qa_en")
    ('longbook_qa_eng', 'longbook_qa_eng')
    """
    bare = spelling.rpartition("/")[2].lower().removeprefix("infinitebench_")
    for name, others in SPELLINGS.items():
        if bare == name or bare in {other.lower() for other in others}:
            return name
    return None
