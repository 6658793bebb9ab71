"""Our own words around a context: for a chat, and for a text to be continued."""

# ruff: noqa: RUF001 - Chinese has marks of its own

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmspec_evals.doc import Text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mmspec_evals.doc import Part
    from mmspec_evals.task import Style
    from mmspec_evals.tasks.infinitebench.rows import Question


@dataclass(frozen=True, slots=True)
class Wording:
    """What stands before the context and after it; ``{ask}`` and ``{A}`` to ``{D}`` are filled.

    Attributes:
        chat: after the context when somebody answers. open: when somebody continues the text.
    """

    before: str
    chat: str
    open: str


_OPTIONS = "\n\n{ask}\nA. {A}\nB. {B}\nC. {C}\nD. {D}\n\n"
_LETTER = "Reply with the letter of the right option and nothing more."
WORDINGS: dict[str, Wording] = {
    "passkey": Wording(
        "The long text below is idle talk, but a pass key is mentioned somewhere in it. Keep that "
        "key in mind: you will be asked for it at the end.\n\n",
        "\n\n{ask} Reply with the key alone.",
        "\n\n{ask}\nAs the text says, the key is",
    ),
    "number_string": Wording(
        "The long text below is idle talk, but a row of digits is mentioned somewhere in it. Keep "
        "it in mind: you will be asked for it at the end.\n\n",
        "\n\n{ask} Reply with the digits alone.",
        "\n\n{ask}\nAs the text says, the digits are",
    ),
    "kv_retrieval": Wording(
        "Below is one large JSON object. At the end you are given a key of it; look up its value."
        "\n\n",
        "\n\n{ask}",
        "\n\n{ask}",
    ),
    "longbook_sum_eng": Wording(
        "Here is a whole book.\n\n",
        "\n\nThe book ends here. Tell what it is about: write a summary of it from beginning to "
        "end.",
        "\n\nThe book ends here.\n\nIts story in short:",
    ),
    "longbook_qa_eng": Wording(
        "Here is a whole book; a question about it follows.\n\n",
        "\n\nQuestion: {ask}\nUse as few words as you can.",
        "\n\nQuestion: {ask}\nShort answer:",
    ),
    "longbook_choice_eng": Wording(
        "Here is a whole book; a question with four options follows.\n\n",
        _OPTIONS + _LETTER,
        _OPTIONS + "The right option has the letter",
    ),
    "longbook_qa_chn": Wording(
        "下面是一整本书，书后有一个问题。\n\n",
        "\n\n问题：{ask}\n请用最少的字作答。",
        "\n\n问题：{ask}\n简短回答：",
    ),
    "longdialogue_qa_eng": Wording(
        "In the script below, the name of one speaker has been struck out once and $$MASK$$ put in "
        "its place.\n\n",
        "\n\nThe script ends here. Whose name was struck out? Reply with that one name, as the "
        "script writes it, and nothing more.",
        "\n\nThe script ends here. The name that was struck out is",
    ),
    "math_find": Wording("Below is a list of numbers.\n\n", "\n\n{ask}", "\n\n{ask}"),
    "math_calc": Wording(
        "Work through the sum below from left to right. After every single addition or "
        "subtraction, write down the value reached, and write nothing else.\n\nFor 7 + 5 - 3 + 10 "
        "you would write: 12, 9, 19\n\n",
        "\n\nNow write all the values reached, in order.",
        "\n\nThe values reached:",
    ),
    "code_run": Wording(
        "Below are Python functions that call each other.\n\n",
        "\n\n{ask} Reply with the number alone.",
        "\n\n{ask}\nThe number is",
    ),
    "code_debug": Wording(
        "One function of the program below was broken on purpose, so that it fails when it runs."
        "\n\n",
        _OPTIONS.replace("{ask}", "Which of these is the broken one?") + _LETTER,
        _OPTIONS.replace("{ask}", "Which of these is the broken one?")
        + "The broken function has the letter",
    ),
}


def worded(
    task: str, row: Question, style: Style, wordings: Mapping[str, Wording] = WORDINGS
) -> tuple[Part, ...]:
    """The parts of a prompt; only the context may be shortened."""
    words = wordings[task]
    after = words.chat if style == "chat" else words.open
    options = dict(zip("ABCD"[: len(row.options)], row.options, strict=True))
    ends = (words.before, after.format(ask=row.ask, **options))
    parts = (Text(ends[0]), Text(row.context, trim=True), Text(ends[1]))
    return tuple(part for part in parts if part.text)
