"""Rows of the user's own file as documents: prompts, turns, messages, conversations, pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmspec_evals.data.attached import picture
from mmspec_evals.data.official import seal
from mmspec_evals.data.turns import turns
from mmspec_evals.doc import Doc, Picture, Text
from mmspec_evals.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mmspec_evals.doc import Part

MARK = "<image>"
_PICTURES = ("images", "image_files", "image")
_CAPS = ("max_new_tokens", "max_tokens", "output_tokens", "output_tokens_count", "output_len")
_ANSWERS = ("answers", "answer", "reference", "target")
_USERS = frozenset({"user", "human"})


def document(name: str, row: Mapping[str, Any], folder: Path) -> Doc:
    """One row.

    Of ``messages`` the user's are kept, the method's own answers stand between them; of
    ``conversations`` (ShareGPT's) the first of the user's only. Pictures stand where the text
    says ``<image>``, before it if it does not.

    Args:
        name: its id. folder: of the file; pictures are within.

    Raises:
        DataError: it says nothing, or names a picture that cannot be had.
    """
    system = row.get("system")
    if isinstance(row.get("messages"), list):
        spoken = _user_turns(row["messages"], folder)
        system = _system(row["messages"]) or system
    elif isinstance(row.get("conversations"), list):
        spoken = _user_turns(row["conversations"], folder)[:1]
        system = _system(row["conversations"]) or system
    else:
        spoken = [[Text(text)] for text in turns(row, "the row")]
    if not spoken:
        raise DataError("a row has no turn of the user's")
    spoken[0] = _illustrated(spoken[0], _pictures(row, folder))
    return Doc(
        id=name,
        turns=tuple(tuple(turn) for turn in spoken),
        target=next((row[key] for key in _ANSWERS if row.get(key) is not None), None),
        cluster=str(row.get("cluster") or _cluster(spoken)),
        system=system if isinstance(system, str) and system else None,
        fields=_settings(row),
    )


def _user_turns(messages: list[Any], folder: Path) -> list[list[Part]]:
    """Parts of the user's messages; those that follow one another without an answer are one."""
    spoken: list[list[Part]] = []
    joins = False
    for message in messages:
        role, content = _said(message)
        if role == "system":
            continue
        if role in _USERS:
            parts = _parts(content, folder)
            if joins:
                spoken[-1] += [Text("\n\n"), *parts]
            else:
                spoken.append(parts)
        joins = role in _USERS
    return spoken


def _said(message: Any) -> tuple[str, Any]:
    """Role and content under OpenAI's names or ShareGPT's."""
    if not isinstance(message, dict):
        raise DataError(f"a message is an object, not {str(message)[:60]!r}")
    role = message.get("role", message.get("from"))
    content = message.get("content", message.get("value"))
    if not isinstance(role, str) or content is None:
        raise DataError(f"a message needs a role and content, has {', '.join(sorted(message))}")
    return role, content


def _system(messages: list[Any]) -> str | None:
    for message in messages:
        role, content = _said(message)
        if role == "system":
            parts = content if isinstance(content, list) else [{"text": content}]
            return "".join(str(part.get("text", "")) for part in parts)
    return None


def _parts(content: Any, folder: Path) -> list[Part]:
    if isinstance(content, str):
        return [Text(content)]
    parts: list[Part] = []
    for part in content if isinstance(content, list) else [content]:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and isinstance(part.get("text"), str):
            parts.append(Text(part["text"]))
        elif kind in {"image_url", "image"}:
            parts.append(picture(part.get(kind) or part, folder))
        else:
            raise DataError(f"a part of a message is text or a picture, not {str(part)[:60]!r}")
    return parts


def _pictures(row: Mapping[str, Any], folder: Path) -> list[Picture]:
    found: Any = next((row[key] for key in _PICTURES if row.get(key) is not None), [])
    return [picture(one, folder) for one in (found if isinstance(found, list) else [found])]


def _illustrated(turn: list[Part], pictures: list[Picture]) -> list[Part]:
    """Pictures in the places marked, if there are as many; before everything else."""
    if not pictures:
        return turn
    marks = sum(part.text.count(MARK) for part in turn if isinstance(part, Text))
    if marks != len(pictures):
        return [*pictures, *turn]
    left = iter(pictures)
    result: list[Part] = []
    for part in turn:
        if not isinstance(part, Text):
            result.append(part)
            continue
        for place, text in enumerate(part.text.split(MARK)):
            if place:
                result.append(next(left))
            if text:
                result.append(Text(text))
    return result


def _cluster(spoken: list[list[Part]]) -> str:
    """Rows with the same first picture, or else the same words, share it."""
    parts = [part for turn in spoken for part in turn]
    first = next((part for part in parts if isinstance(part, Picture)), None)
    if first is not None:
        return seal(first.read().hex())
    return seal("\n".join(part.text for part in parts if isinstance(part, Text)))


def _settings(row: Mapping[str, Any]) -> dict[str, Any]:
    """Cap and style of this document, and its category."""
    fields: dict[str, Any] = {}
    cap = next((row[key] for key in _CAPS if row.get(key) is not None), None)
    if cap is not None:
        if not isinstance(cap, int) or cap < 1:
            raise DataError(f"a cap on new tokens is a whole number from 1, not {cap!r}")
        fields["max_new_tokens"] = cap
    if row.get("style") is not None:
        if row["style"] not in {"chat", "completion"}:
            raise DataError(f'a style is "chat" or "completion", not {row["style"]!r}')
        fields["style"] = row["style"]
    if row.get("category") is not None:
        fields["category"] = row["category"]
    return fields
