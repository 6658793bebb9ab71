"""From a document's turn to a case: everything every method needs, made once, outside any timer."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mmspec.core.errors import BadRequestError
from mmspec.core.request import MAX_SEED, Sampling
from mmspec.vision import media
from mmspec.vision.prompt import compose
from mmspec_evals.doc import Picture, Text
from mmspec_evals.method import Case, UnsupportedError
from mmspec_evals.running.trim import shares, shortened

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from PIL import Image

    from mmspec.core.request import Prompt
    from mmspec.model.processor import Processor
    from mmspec_evals.doc import Doc, Part
    from mmspec_evals.task import Task

Truncate = Literal["context", "official"]
_Turns = tuple[tuple["Part", ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a run says about all its cases.

    Attributes:
        max_new_tokens: cap of every answer; None takes the document's or the task's own.
        truncate: "context" shortens only the parts meant for it; "official" cuts the whole text of
            the last turn as InfiniteBench's scripts do, question and all.
        official_tokens: longest official prompt; None, or what leaves no room, takes what fits.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    max_new_tokens: int | None = None
    ignore_eos: bool = False
    truncate: Truncate = "context"
    official_tokens: int | None = None


class Preparer:
    """Makes cases for one target.

    Args:
        processor: the target's. context: most tokens of prompt and answer together.
        asked: temperature, seed, caps and truncation of the run.
    """

    def __init__(self, processor: Processor, context: int, asked: Asked = Asked()) -> None:
        self._processor = processor
        self._context = context
        self._asked = asked

    def count(self, text: str) -> int:
        """Tokens of a bare text."""
        return len(self._processor.text(text).ids)

    def case(
        self, task: Task, doc: Doc, turn: int = 0, answers: Sequence[str] = (), repeat: int = 0
    ) -> Case:
        """Turn number ``turn`` after the ``answers`` given to the turns before it.

        Raises:
            UnsupportedError: it cannot fit the context, or the target cannot read it.
        """
        if len(answers) != turn:
            raise ValueError(f"turn {turn} follows {turn} answers, not {len(answers)}")
        style = doc.fields.get("style", task.style)
        cap = self._asked.max_new_tokens or doc.fields.get("max_new_tokens", task.max_new_tokens)
        draft = _Draft(self._processor, doc, doc.turns[: turn + 1], tuple(answers), style, {})
        try:
            fitted, prompt, missing = self._fit(draft, self._context - cap)
        except BadRequestError as error:
            where = f" ({error.param})" if error.param else ""
            raise UnsupportedError(f"{error}{where}") from error
        sampling = Sampling(
            temperature=self._asked.temperature,
            top_p=self._asked.top_p,
            seed=_seed(self._asked.seed, task.name, doc.id, turn, repeat),
            max_tokens=cap,
            ignore_eos=self._asked.ignore_eos,
        )
        chat = style == "chat"
        return Case(
            prompt=prompt,
            sampling=sampling,
            messages=fitted.messages() if chat else None,
            text=None if chat else fitted.text(),
            truncated=missing,
        )

    def _fit(self, draft: _Draft, room: int) -> tuple[_Draft, Prompt, int]:
        """A draft whose prompt has at most ``room`` tokens, the prompt, and how many are gone."""
        prompt = draft.prompt()
        whole, limit = len(prompt.ids), room
        official = self._asked.truncate == "official"
        if official and self._asked.official_tokens is not None:
            limit = min(room, self._asked.official_tokens)
        if room < 1 or (whole > limit and not (official or draft.trimmable())):
            raise _too_long(whole, room, self._context)
        shorter, excess = draft, 0
        while len(prompt.ids) > limit:
            # Text that was joined anew may count a few tokens more than its parts did.
            excess += len(prompt.ids) - limit
            found = draft.cut(excess) if official else draft.trim(excess)
            if found is None:
                raise _too_long(whole, room, self._context)
            shorter, prompt = found, found.prompt()
        return shorter, prompt, whole - len(prompt.ids)


@dataclass(frozen=True, slots=True)
class _Draft:
    """A conversation up to the turn in question, not yet known to fit.

    Attributes:
        opened: decoded pictures, by identity of their part.
    """

    processor: Processor
    doc: Doc
    turns: _Turns
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
        said = [turn + answer for turn, answer in zip(turns, self.answers, strict=False)]
        return (self.doc.system or "") + "".join(said) + turns[-1]

    def trimmable(self) -> bool:
        """Whether any part may be shortened."""
        return any(_is_long(part) for turn in self.turns for part in turn)

    def trim(self, excess: int) -> _Draft | None:
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

    def cut(self, excess: int) -> _Draft | None:
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


def prompt_sha(prompt: Prompt) -> str:
    """SHA-256 over a prompt's ids and its pictures: equal prompts, and no others, share it."""
    seal = hashlib.sha256(prompt.ids.astype("<i8").tobytes())
    for one in prompt.media:
        seal.update(f"{one.digest} {one.start} {one.length} ".encode())
    return seal.hexdigest()


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


def _seed(*parts: object) -> int:
    """A seed of this case's own, the same for every method."""
    text = "\n".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "little") & MAX_SEED


def _too_long(whole: int, room: int, context: int) -> UnsupportedError:
    return UnsupportedError(
        f"the prompt has {whole} tokens; a context of {context} leaves it {max(0, room)} beside "
        "the answer, and no more of it may be left out"
    )
