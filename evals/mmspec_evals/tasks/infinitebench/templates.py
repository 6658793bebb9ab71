"""Official prompts, from the user's own checkout of InfiniteBench: read, never executed."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from string import Formatter
from typing import TYPE_CHECKING

from mmspec_evals.doc import Text
from mmspec_evals.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mmspec_evals.doc import Part
    from mmspec_evals.task import Style
    from mmspec_evals.tasks.infinitebench.rows import Question

FAMILY = "yarn-mistral"  # what InfiniteBench gives to local models; a text to be continued
_PLACES = ("src/prompt.py", "prompt.py")
_CALL = re.compile(r"func_[0-9]+\(-?[0-9]+\)")
_KIND = re.compile(r"The .+ of")


@dataclass(frozen=True, slots=True)
class Templates:
    """One family of templates.

    Attributes:
        texts: template by official task name. path: the file they were read from.
    """

    family: str
    texts: Mapping[str, str]
    path: str

    @property
    def style(self) -> Style:
        """Only the family for local models is continued; the others are sent as messages."""
        return "completion" if self.family == FAMILY else "chat"

    @property
    def system(self) -> str | None:
        """The system message InfiniteBench sends along."""
        return "You are a helpful assistant" if self.family == "gpt4" else None

    def fill(self, task: str, row: Question) -> tuple[Part, ...]:
        """The official prompt of a row; only the context may be shortened.

        Raises:
            DataError: the family has no fit template for the task, or the row does not fill it.
        """
        if self.family == "gpt4" and task == "math_calc":
            raise DataError("gpt4's Math.Calc is not made from a template; use yarn-mistral's")
        try:
            parts = [*Formatter().parse(self.texts[task])]
            words = _words(task, row)
            return _joined(parts, words, row.context)
        except (KeyError, ValueError) as error:
            why = f"nothing for {error}" if isinstance(error, KeyError) else str(error)
            raise DataError(
                f"{self.path}, family {self.family}, task {task}, row {row.id}: {why}"
            ) from error


def read(asked: Path) -> Templates:
    """Templates of a checkout, ``FOLDER`` or ``FOLDER:FAMILY`` (such as ``gpt4``).

    Raises:
        DataError: there is no such file or family, or it is no dictionary of texts.
    """
    folder, family = asked, FAMILY
    if not asked.exists() and ":" in asked.name:
        name, _, family = asked.name.rpartition(":")
        folder = asked.with_name(name)
    places = [folder] if folder.is_file() else [folder / place for place in _PLACES]
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        raise DataError(
            f"{asked} holds no src/prompt.py; --prompts names a checkout of "
            "github.com/OpenBMB/InfiniteBench"
        )
    return Templates(family, _family(file, family), str(file))


def _family(file: Path, family: str) -> dict[str, str]:
    """The dictionary that the file gives to the family's name."""
    try:
        tree = ast.parse(file.read_bytes(), str(file))
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{file} is no Python that can be read: {error}") from error
    wanted = family.replace("-", "_") + "_templates"
    found: dict[str, ast.expr] = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name) and target.id.endswith("_templates")
    }
    if wanted not in found:
        known = ", ".join(name.removesuffix("_templates") for name in found) or "none"
        raise DataError(f"{file} has no dictionary {wanted}; families it has: {known}")
    try:
        texts = ast.literal_eval(found[wanted])
    except (ValueError, TypeError) as error:
        raise DataError(f"{wanted} of {file} is more than plain texts") from error
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise DataError(f"{wanted} of {file} is no dictionary of texts")
    return texts


def _words(task: str, row: Question) -> dict[str, str]:
    """What InfiniteBench puts into a template of the task, the context apart."""
    letters = "ABCD"[: len(row.options)]
    words = {f"OPTION_{at}": text for at, text in zip(letters, row.options, strict=True)}
    words |= {"input": row.ask, "question": row.ask}
    if task == "code_run":
        call = _CALL.search(row.ask)
        if call is None:
            raise ValueError("its input calls no function such as func_1(2)")
        words |= {"func": call.group().partition("(")[0], "func_call": call.group()}
    if task == "math_find":
        kind = _KIND.search(row.ask)
        if kind is None:
            raise ValueError("its input does not say which number: The ... of")
        number = kind.group().lower().removesuffix(" of")
        words["prefix"] = f"What is {number} in the following list?"
    return words


def _joined(
    parts: list[tuple[str, str | None, str | None, str | None]],
    words: Mapping[str, str],
    context: str,
) -> tuple[Part, ...]:
    made: list[Text] = []
    said = ""
    for text, field, spec, conversion in parts:
        said += text
        if spec or conversion:
            raise ValueError(f"{{{field}:{spec}}} is more than a name")
        if field == "context":
            made += [Text(said), Text(context, trim=True)]
            said = ""
        elif field is not None:
            said += words[field]
    return tuple(part for part in (*made, Text(said)) if part.text)
