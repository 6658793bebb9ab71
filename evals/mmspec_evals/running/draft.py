"""A conversation on its way to a prompt: how it reads, and how it is made shorter."""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mmspec.vision import media
from mmspec.vision.prompt import compose
from mmspec_evals.doc import Picture, Text
from mmspec_evals.method import UnsupportedError
from mmspec_evals.running.trim import shares, shortened

if TYPE_CHECKING:
    from collections.abc import Iterable

    from PIL import Image

    from mmspec.core.request import Prompt
    from mmspec.model.processor import Processor
    from mmspec_evals.doc import Doc, Part


@dataclass(frozen=True, slots=True)
class Draft:
    """A conversation up to the turn in question, not yet known to fit.

    Attributes:
        opened: decoded pictures, by identity of their part.
    """

    processor: Processor
    doc: Doc
    turns: tuple[tuple[Part, ...], ...]
    answers: tuple[str, ...]
    style: str
    opened: dict[int, tuple[Image.Image, str]]

    def prompt(self) -> Prompt:
        """Template and tokenise, once: the template's own tokens are not added again."""
        if self.style != "chat":
            return self.processor.text(self.text())
        messages = self._messages(lambda part: {"type": "image", "image": self._open(part)[0]})
        return compose(messages, self.processor)

    def messages(self) -> list[dict[str, Any]]:
        """OpenAI's shape."""
        return self._messages(
            lambda part: {"type": "image_url", "image_url": {"url": self._open(part)[1]}}
        )

    def text(self) -> str:
        """All words with nothing between them; answers follow their turns.

        Raises:
            UnsupportedError: there is a picture among them.
        """
        if any(isinstance(part, Picture) for turn in self.turns for part in turn):
            raise UnsupportedError("bare text cannot hold a picture")
        turns = ["".join(_words(turn)) for turn in self.turns]
        said = [turn + answer for turn, answer in zip(turns[:-1], self.answers, strict=True)]
        return (self.doc.system or "") + "".join(said) + turns[-1]

    def trimmable(self) -> bool:
        """Whether any part may be shortened."""
        return any(_is_long(part) for turn in self.turns for part in turn)

    def trim(self, excess: int) -> Draft | None:
        """The long parts without ``excess`` tokens in all; None when they have no more."""
        places = [
            (i, j)
            for i, turn in enumerate(self.turns)
            for j, part in enumerate(turn)
            if _is_long(part)
        ]
        texts = [self._text_at(place) for place in places]
        offsets = [self.processor.offsets(text) for text in texts]
        if excess >= sum(map(len, offsets)):
            return None
        keeps = shares([len(where) for where in offsets], excess)
        cut = {
            place: Text(shortened(text, where, keep), trim=True)
            for place, text, where, keep in zip(places, texts, offsets, keeps, strict=True)
        }
        turns = tuple(
            tuple(cut.get((i, j), part) for j, part in enumerate(turn))
            for i, turn in enumerate(self.turns)
        )
        return replace(self, turns=turns)

    def cut(self, excess: int) -> Draft | None:
        """The last turn's whole text without ``excess`` tokens: ids cut, decoded, read again.

        As InfiniteBench's scripts for local models do it: equal halves from both ends, so that an
        odd number loses one more.
        """
        last = self.turns[-1]
        if any(isinstance(part, Picture) for part in last):
            raise UnsupportedError("official truncation is for prompts without pictures")
        ids = self.processor.text("".join(_words(last))).ids
        if len(ids) - excess < 2:
            return None
        half = (len(ids) - excess) // 2
        text = self.processor.decode(np.concatenate([ids[:half], ids[-half:]]))
        return replace(self, turns=(*self.turns[:-1], (Text(text),)))

    def _text_at(self, place: tuple[int, int]) -> str:
        part = self.turns[place[0]][place[1]]
        assert isinstance(part, Text)
        return part.text

    def _messages(self, shown: Any) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = []
        if self.doc.system is not None:
            messages.append({"role": "system", "content": self.doc.system})
        for index, turn in enumerate(self.turns):
            messages.append({"role": "user", "content": _content(turn, shown)})
            if index < len(self.answers):
                messages.append({"role": "assistant", "content": self.answers[index]})
        return messages

    def _open(self, part: Picture) -> tuple[Image.Image, str]:
        """The decoded picture and its data URL."""
        found = self.opened.get(id(part))
        if found is None:
            data = part.read()
            url = f"data:{_kind(data)};base64,{base64.b64encode(data).decode('ascii')}"
            found = self.opened[id(part)] = (media.decode(data, param=part.name), url)
        return found


def _content(turn: tuple[Part, ...], shown: Any) -> str | list[dict[str, Any]]:
    """A string where there are only words, else parts in their order, neighbouring words joined."""
    if all(isinstance(part, Text) for part in turn):
        return "".join(_words(turn))
    parts: list[dict[str, Any]] = []
    for part in turn:
        if isinstance(part, Picture):
            parts.append(shown(part))
        elif parts and parts[-1]["type"] == "text":
            parts[-1] = {"type": "text", "text": parts[-1]["text"] + part.text}
        else:
            parts.append({"type": "text", "text": part.text})
    return parts


def _words(turn: Iterable[Part]) -> list[str]:
    return [part.text for part in turn if isinstance(part, Text)]


def _is_long(part: Part) -> bool:
    return isinstance(part, Text) and part.trim


def _kind(data: bytes) -> str:
    """Media type by signature; what is none of these is refused when it is decoded."""
    signs = ((b"\x89PNG", "image/png"), (b"\xff\xd8", "image/jpeg"), (b"GIF8", "image/gif"))
    return next((kind for sign, kind in signs if data.startswith(sign)), "image/webp")
