"""What the target is asked when it writes training data: our own generators, or a user's file."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from PIL import Image

from mmspec.core.errors import ConfigError
from mmspec.train.data.mixture import Mixture, converse
from mmspec.train.data.seeds import example_seed, generator

if TYPE_CHECKING:
    from pathlib import Path

    from mmspec.train.data.conversation import Conversation

SHOWN = 0.4  # of a source file stands in the prompt, the rest is the target's to write
FIRST = 1 << 24  # example number of the first question: far from those that nano trains on


@dataclass(frozen=True, slots=True)
class Question:
    """A conversation in OpenAI's shape, whose pictures are ``{"type": "image"}``, or plain text."""

    kind: str
    messages: tuple[dict[str, Any], ...] = ()
    text: str = ""
    images: tuple[Image.Image, ...] = ()


class Questions(Protocol):
    """Questions by number, always the same ones; ``name`` says where they come from."""

    name: str

    def __len__(self) -> int:
        """How many there are."""
        ...

    def __getitem__(self, index: int) -> Question:
        """One of them."""
        ...


class OwnQuestions:
    """Drawn from the generators that the bundled model learns from, on training seeds of its own.

    Args:
        mixture: what is asked; shares count questions here, not tokens.
        count: how many there are.
    """

    def __init__(self, mixture: Mixture, count: int) -> None:
        self._mixture, self._count = mixture, count
        self._kinds = list(mixture.shares)
        self._ends = list(accumulate(mixture.shares.values()))
        self.name = f"own {msgspec.json.encode(mixture).decode()}"

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Question:
        seed = example_seed("train", FIRST + index)
        rng = generator(seed, "question")
        place = rng.random() * self._ends[-1]
        kind = next(k for k, end in zip(self._kinds, self._ends, strict=True) if place < end)
        said = converse(kind, seed, self._mixture)
        if said.source:
            lines = said.source.splitlines(keepends=True)
            return Question(kind, text="".join(lines[: max(1, int(SHOWN * len(lines)))]))
        return _asked(said, rng.randrange(len(said.turns)), rng.random() < 0.5)


def _asked(said: Conversation, turn: int, long: bool) -> Question:
    """One of a conversation's questions by itself; with ``long`` the one of longest answer."""
    if long:
        turn = max(range(len(said.turns)), key=lambda k: len(said.turns[k][1]))
    words = said.turns[turn][0]
    if said.document:
        words = f"{said.document}\n\n{words}"
    system = ({"role": "system", "content": said.system},) if said.system else ()
    parts: list[dict[str, Any]] = [{"type": "image"} for _ in said.images]
    parts.append({"type": "text", "text": words})
    return Question(said.kind, (*system, {"role": "user", "content": parts}), images=said.images)


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    messages: tuple[dict[str, Any], ...] = ()
    text: str = ""
    images: tuple[str, ...] = ()
    kind: str = "file"


class FileQuestions:
    """JSON lines: ``{"messages": [...], "images": [...]}`` or ``{"text": "..."}``.

    Pictures are paths relative to the file; in the messages each is ``{"type": "image"}``.

    Raises:
        ConfigError: a line that is not of this shape.
    """

    def __init__(self, path: Path) -> None:
        self._folder, self.name = path.parent, f"file {path.name}"
        self._lines: list[_Line] = []
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            if not line.strip():
                continue
            try:
                said = msgspec.json.decode(line, type=_Line)
            except msgspec.DecodeError as error:
                raise ConfigError(f"{path} line {number}: {error}") from error
            if bool(said.messages) == bool(said.text):
                raise ConfigError(f"{path} line {number}: either messages or text")
            self._lines.append(said)

    def __len__(self) -> int:
        return len(self._lines)

    def __getitem__(self, index: int) -> Question:
        said = self._lines[index]
        images = tuple(Image.open(self._folder / name).convert("RGB") for name in said.images)
        return Question(said.kind, said.messages, said.text, images)
