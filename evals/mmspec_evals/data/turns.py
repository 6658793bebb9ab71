"""Rows of prompts without marks: one turn or several, as Spec-Bench and its kin write them."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from mmspec_evals.data.official import named, seal
from mmspec_evals.doc import Doc, Text
from mmspec_evals.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

IDS = ("question_id", "prompt_id", "id", "_id", "task_id")


def turns(row: Mapping[str, Any], where: str) -> list[str]:
    """What the user says, in order: ``turns``, or ``prompt``, a text or a list of texts.

    A turn may be an object with ``content``, its user's ones alone counting.

    Args:
        where: what an error calls the file.

    Raises:
        DataError: there is none, or it is something else.
    """
    said = row.get("turns")
    if said is None:
        said = row.get("prompt")
    listed = [said] if isinstance(said, str) else said
    if not isinstance(listed, list) or not listed:
        raise DataError(f"{where}: a row needs turns or a prompt, has {', '.join(sorted(row))}")
    texts = []
    for turn in listed:
        if isinstance(turn, dict) and turn.get("role", "user") not in {"user", "human"}:
            continue
        text = turn.get("content") if isinstance(turn, dict) else turn
        if not isinstance(text, str):
            raise DataError(f"{where}: a turn is to be a text, not {str(text)[:60]!r}")
        texts.append(text)
    if not texts:
        raise DataError(f"{where}: a row has no turn of the user's")
    return texts


def docs(rows: Sequence[Mapping[str, Any]], where: str) -> list[Doc]:
    """A document a row; its category is kept, and its reference as target.

    Raises:
        DataError: a row has no turns.
    """
    made = []
    for name, row in zip(named(rows, IDS), rows, strict=True):
        said = turns(row, where)
        made.append(
            Doc(
                id=name,
                turns=tuple((Text(text),) for text in said),
                target=row.get("reference"),
                cluster=seal("\n".join(said)),
                fields={"category": row.get("category")},
            )
        )
    return made


def in_turn(found: Sequence[Doc], limit: int | None) -> list[Doc]:
    """At most ``limit`` documents, one of each category after the other; all in their own order.

    A prefix of a file sorted by category would show one category only.
    """
    if limit is None or limit >= len(found):
        return list(found)
    groups: dict[Any, deque[int]] = {}
    for place, doc in enumerate(found):
        groups.setdefault(doc.fields.get("category"), deque()).append(place)
    chosen: list[int] = []
    while len(chosen) < limit:
        for group in groups.values():
            if group and len(chosen) < limit:
                chosen.append(group.popleft())
    return [found[place] for place in sorted(chosen)]
