"""Prompts of LongBench: our own wording, or the templates of the user's checkout."""

# ruff: noqa: RUF001  Chinese is written with its own signs.

from __future__ import annotations

import json
import string
from typing import TYPE_CHECKING, Any

from mmspec_evals.doc import Text
from mmspec_evals.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mmspec_evals.doc import Part

_PASSAGES = (
    "Some passages follow; one question will be asked about them.\n\n{context}\n\n"
    "Using these passages, reply with the answer alone, nothing before or after it.\n\n"
    "Question: {input}\nAnswer:"
)
_CODE = "Here is the beginning of a piece of code.\n"

OWN: dict[str, str] = {
    "narrativeqa": (
        "Here is a story, either a book or the script of a film.\n\n{context}\n\n"
        "Answer a question about this story in as few words as will do, best in a phrase, and give "
        "no reasons.\n\nQuestion: {input}\nAnswer:"
    ),
    "qasper": (
        "Here is a research paper.\n\n{context}\n\n"
        'Answer a question about it in a phrase or one sentence. Reply "yes" or "no" where that '
        'is what is asked, and "unanswerable" where the paper does not tell. Give no reasons.\n\n'
        "Question: {input}\nAnswer:"
    ),
    "multifieldqa_en": (
        "Here is a text.\n\n{context}\n\n"
        "Reply to the question with what this text says, as shortly as you can.\n\n"
        "Question: {input}\nAnswer:"
    ),
    "multifieldqa_zh": (
        "下面是一篇文字。\n\n{context}\n\n根据这篇文字，用中文简短作答，除答案外什么都不要写。\n\n"
        "问题：{input}\n答案："
    ),
    "hotpotqa": _PASSAGES,
    "2wikimqa": _PASSAGES,
    "musique": _PASSAGES,
    "dureader": (
        "下面是几篇文章。\n\n{context}\n\n根据这些文章回答一个问题。\n\n问题：{input}\n答案："
    ),
    "gov_report": (
        "Here is a report of a public body.\n\n{context}\n\n"
        "Sum this report up on about one page.\n\nSummary:"
    ),
    "qmsum": (
        "Here is what was said in a meeting.\n\n{context}\n\n"
        "Reply to what is asked about the meeting in a few sentences.\n\n"
        "Asked: {input}\nReply:"
    ),
    "multi_news": (
        "Here are several news articles on one event.\n\n{context}\n\n"
        "Sum all of them up together on about one page.\n\nSummary:"
    ),
    "vcsum": "下面是一次会议的记录。\n\n{context}\n\n请用一段话概括这次会议。\n\n概括：",
    "trec": "Name the type of the last question, as was done for the others.\n\n{context}\n{input}",
    "triviaqa": (
        "Answer the last question from its passage, as was done for the others, with the answer "
        "alone.\n\n{context}\n\n{input}"
    ),
    "samsum": (
        "Sum the last dialogue up in a few short sentences, as was done for the others.\n\n"
        "{context}\n\n{input}"
    ),
    "lsht": "仿照前面的例子，写出最后一条新闻的类别。\n\n{context}\n{input}",
    "passage_count": (
        "Here are numbered paragraphs; some occur more than once.\n\n{context}\n\n"
        "How many different paragraphs are there, counting repeated ones once? Reply with the "
        "number alone.\n\nNumber of different paragraphs: "
    ),
    "passage_retrieval_en": (
        "Here are thirty numbered paragraphs.\n\n{context}\n\n"
        "And here is what one of them says in short.\n\n{input}\n\n"
        'Which one is it? Reply in the form "Paragraph 7".\n\nReply: '
    ),
    "passage_retrieval_zh": (
        "下面是若干编了号的段落。\n\n{context}\n\n这是其中一段的摘要。\n\n{input}\n\n"
        "它是哪一段的摘要？请按“段落7”这样的格式作答。\n\n答案："
    ),
    "lcc": _CODE + "{context}The line that comes next:\n",
    "repobench-p": _CODE + "{context}{input}The line that comes next:\n",
}
"""Our templates by data set; same fields in the same order as the official ones."""


def official(folder: Path, name: str) -> Any:
    """A JSON file or a text of the user's checkout, wherever in it its version keeps it.

    Args:
        name: such as ``config/dataset2prompt.json``.

    Raises:
        DataError: it is not there, or damaged; says what was looked for.
    """
    last = name.rpartition("/")[2]
    for path in (folder / "LongBench" / name, folder / name, folder / last):
        if path.is_file():
            try:
                text = path.read_text(encoding="utf-8-sig")
                return json.loads(text) if path.suffix == ".json" else text
            except (OSError, ValueError) as error:
                raise DataError(f"{path} cannot be read: {error}") from error
    raise DataError(f"{folder} is no checkout of LongBench: it holds no {name}")


def fill(template: str, row: Mapping[str, Any]) -> tuple[Part, ...]:
    """A template of ``str.format`` with a row's fields; its context is the part to shorten.

    Raises:
        DataError: it asks for a field the row has not.
    """
    parts: list[Part] = []
    for literal, name, _, _ in string.Formatter().parse(template):
        parts.append(Text(literal))
        if name is not None:
            if row.get(name) is None:
                raise DataError(f"a row has no {name!r}, which its prompt asks for")
            parts.append(Text(str(row[name]), trim=name == "context"))
    return _joined(parts)


def replace(template: str, values: Mapping[str, str], long: str) -> tuple[Part, ...]:
    """A template of marks such as ``$Q$``, each replaced everywhere; ``long`` may be shortened."""
    before, mark, after = template.partition(long)
    texts = [before, after]
    for name, value in values.items():
        if name != long:
            texts = [text.replace(name, value) for text in texts]
    middle = [Text(values[long], trim=True)] if mark else []
    return _joined([Text(texts[0]), *middle, Text(texts[1])])


def _joined(parts: list[Part]) -> tuple[Part, ...]:
    """Neighbouring texts that must stay whole as one; empty ones left out."""
    result: list[Part] = []
    for part in parts:
        last = result[-1] if result else None
        if not isinstance(part, Text) or not part.text:
            continue
        if isinstance(last, Text) and not last.trim and not part.trim:
            result[-1] = Text(last.text + part.text)
        else:
            result.append(part)
    return tuple(result)
