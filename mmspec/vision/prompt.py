"""OpenAI messages to a prompt: the one way in, for the server and for Python alike."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from PIL import Image

from mmspec.core.errors import BadRequestError
from mmspec.vision import media

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mmspec.core.request import Prompt

MAX_MESSAGES = 2048
MAX_PARTS = 4096
CHARACTERS_A_TOKEN = 8  # longer text than this per token of context is refused unread
_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
_TEXT_PARTS = ("text", "input_text", "output_text")
_IMAGE_PARTS = ("image_url", "input_image", "image")
_FILE_PART = "file"
AFTER_DOCUMENT = "\n\n"  # between a document and what is said about it
_REMOTE = re.compile(r"https?:", re.IGNORECASE)


class ChatProcessor(Protocol):
    """The part of the model's processor that turns a conversation into token ids."""

    @property
    def accepts_images(self) -> bool:
        """Whether the model has eyes."""
        ...

    def chat(
        self,
        messages: list[dict[str, Any]],
        images: list[Image.Image],
        add_generation_prompt: bool = True,
    ) -> Prompt:
        """Template and tokenise; image parts read ``{"type": "image"}``, pictures in order."""
        ...


class PictureSource(Protocol):
    """Pictures and documents that a conversation only names; a server has them."""

    def stored(self, id: str, param: str) -> bytes:
        """The bytes of an uploaded file that its caller may read. Blocking; raises a refusal."""
        ...

    def remote(self, url: str) -> bytes | None:
        """The bytes fetched from a URL; None: nothing was fetched from it."""
        ...

    def document(self, path: str) -> str | None:
        """The text of what the file part at this dotted path holds; None: it is no document."""
        ...


def compose(
    messages: Sequence[Any],
    processor: ChatProcessor,
    limits: media.MediaLimits = media.DEFAULT_LIMITS,
    *,
    max_context: int | None = None,
    add_generation_prompt: bool = True,
    source: PictureSource | None = None,
) -> Prompt:
    """Check and decode a conversation, then template and tokenise it.

    Content is a string or a list of parts. A picture is ``{"type": "image_url", "image_url":
    {"url": "data:image/png;base64,..."}}`` or, from Python, ``{"type": "image", "image": ...}``
    with a PIL image, encoded bytes or a ``pathlib.Path``. A plain string is never a path. What was
    uploaded is ``{"type": "file", "file": {"file_id": ...}}``, or an image part with a ``file_id``
    in place of its ``url``; ``file_data`` in place of a ``file_id`` has the bytes, in base64. A
    file that is a document becomes a text part of its words and an empty line.

    Args:
        messages: the conversation, in OpenAI's shape.
        processor: the target's own.
        limits: bounds on pictures.
        max_context: positions of the model; far longer text is refused before tokenising.
        add_generation_prompt: open the assistant's turn.
        source: of what the conversation names by file id or URL; None: of nothing.

    Raises:
        BadRequestError: with the dotted path of the field at fault.
    """
    if not messages or len(messages) > MAX_MESSAGES:
        raise BadRequestError(f"messages takes 1 to {MAX_MESSAGES} messages", "messages")
    reader = _Reader(limits, processor.accepts_images, max_context, source)
    told = [reader.message(message, f"messages.{i}") for i, message in enumerate(messages)]
    return processor.chat(told, reader.images, add_generation_prompt)


def remote_pictures(
    messages: Sequence[Any], limits: media.MediaLimits = media.DEFAULT_LIMITS
) -> dict[str, str]:
    """URL -> dotted path of the pictures a conversation names by URL, as many as it may have.

    What is malformed is passed over: ``compose`` refuses it.
    """
    found: dict[str, str] = {}
    for i, message in enumerate(messages[:MAX_MESSAGES]):
        content = message.get("content") if isinstance(message, dict) else None
        for j, part in enumerate(content[:MAX_PARTS] if isinstance(content, list) else ()):
            if not isinstance(part, dict) or part.get("type") not in _IMAGE_PARTS:
                continue
            url, path = _locate(part, f"messages.{i}.content.{j}")
            if isinstance(url, str) and _REMOTE.match(url) and len(found) < limits.max_images:
                found.setdefault(url, path)
    return found


def attachments(messages: Sequence[Any], most: int) -> dict[str, Any]:
    """Dotted path -> ``file`` of up to ``most`` file parts of a conversation, unchecked."""
    found: dict[str, Any] = {}
    for i, message in enumerate(messages[:MAX_MESSAGES]):
        content = message.get("content") if isinstance(message, dict) else None
        for j, part in enumerate(content[:MAX_PARTS] if isinstance(content, list) else ()):
            if isinstance(part, dict) and part.get("type") == _FILE_PART and len(found) < most:
                found[f"messages.{i}.content.{j}.{_FILE_PART}"] = part.get(_FILE_PART)
    return found


def check_characters(count: int, max_context: int | None, param: str) -> None:
    """Refuse text that cannot fit, before it costs a tokeniser's time.

    Raises:
        BadRequestError: ``context_length_exceeded``.
    """
    if max_context is not None and count > CHARACTERS_A_TOKEN * max_context:
        raise BadRequestError(
            f"this model's context is {max_context} tokens; the text has {count} characters, "
            f"more than {CHARACTERS_A_TOKEN * max_context}",
            param,
            "context_length_exceeded",
        )


@dataclass(slots=True)
class _Reader:
    """One pass over a conversation, collecting pictures and counting what has a bound."""

    limits: media.MediaLimits
    accepts_images: bool
    max_context: int | None
    source: PictureSource | None
    images: list[Image.Image] = field(default_factory=list)
    parts: int = 0
    characters: int = 0
    decoded_bytes: int = 0

    def message(self, message: Any, path: str) -> dict[str, Any]:
        if not isinstance(message, dict):
            raise BadRequestError("a message is an object with role and content", path)
        role = message.get("role")
        if not isinstance(role, str) or role not in _ROLES:
            allowed = ", ".join(_ROLES)
            raise BadRequestError(f"role must be one of {allowed}", f"{path}.role")
        if message.get("tool_calls") or message.get("function_call"):
            raise BadRequestError(
                "tool calls are not supported", f"{path}.tool_calls", "unsupported_parameter"
            )
        content = message.get("content")
        if isinstance(content, list):
            told: Any = [self.part(part, f"{path}.content.{i}") for i, part in enumerate(content)]
        else:
            told = self.text(content, f"{path}.content")
        return {"role": _ROLES[role], "content": told}

    def part(self, part: Any, path: str) -> dict[str, str]:
        self.parts += 1
        if self.parts > MAX_PARTS:
            raise BadRequestError(f"messages may have up to {MAX_PARTS} parts", path)
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in _TEXT_PARTS:
            return {"type": "text", "text": self.text(part.get("text"), f"{path}.text")}
        if kind in _IMAGE_PARTS:
            self.one_more(f"{path}.{kind}")
            self.picture(*_locate(part, path))
            return {"type": "image"}
        if kind == _FILE_PART:
            return self.file(part.get(kind), f"{path}.{kind}")
        raise BadRequestError(
            "a content part is an object whose type is text, image_url or file", f"{path}.type"
        )

    def file(self, file: Any, path: str) -> dict[str, str]:
        text = self.source.document(path) if self.source is not None else None
        if text is not None:
            return {"type": "text", "text": self.text(text, path) + AFTER_DOCUMENT}
        self.one_more(path)
        held = file if isinstance(file, dict) else {}
        if held.get("file_id") is None and held.get("file_data") is not None:
            self.picture(held["file_data"], f"{path}.file_data")
        else:
            self.picture(_FileId(held.get("file_id")), f"{path}.file_id")
        return {"type": "image"}

    def text(self, text: Any, path: str) -> str:
        if not isinstance(text, str):
            raise BadRequestError("expected a string", path)
        self.characters += len(text)
        check_characters(self.characters, self.max_context, path)
        return text

    def one_more(self, path: str) -> None:
        if not self.accepts_images:
            raise BadRequestError("this model reads text only", path, "unsupported_parameter")
        if len(self.images) >= self.limits.max_images:
            count = self.limits.max_images
            raise BadRequestError(f"a request may have up to {count} images", path)

    def picture(self, source: Any, path: str) -> None:
        image = self.open(source, path)
        self.decoded_bytes += 3 * image.width * image.height
        if self.decoded_bytes > self.limits.max_decoded_bytes:
            raise BadRequestError("the images are too large together", path, "image_too_large")
        self.images.append(image)

    def open(self, source: Any, path: str) -> Image.Image:
        if isinstance(source, _FileId):
            source = self.uploaded(source.id, path)
        if isinstance(source, Image.Image):  # from Python only: JSON has no such value
            media.check_size(source.size, self.limits, path)
            return media.to_rgb(source)
        if isinstance(source, Path):
            source = source.read_bytes()
        elif isinstance(source, str):
            fetched = self.source.remote(source) if self.source is not None else None
            if fetched is None:
                fetched = media.parse_data_uri(source, self.limits, path)
            source = fetched
        if not isinstance(source, bytes):
            raise BadRequestError("expected a data: URI", path, "invalid_image_url")
        return media.decode(source, self.limits, path)

    def uploaded(self, id: Any, path: str) -> bytes:
        if not isinstance(id, str):
            raise BadRequestError("expected the id of an uploaded file", path)
        if self.source is None:
            raise BadRequestError("there are no uploaded files", path, "unsupported_parameter")
        return self.source.stored(id, path)


@dataclass(frozen=True, slots=True)
class _FileId:
    """What an image part has in place of a picture; not checked yet."""

    id: Any


def _locate(part: dict[str, Any], path: str) -> tuple[Any, str]:
    """What an image part's picture is, or where, and the dotted path of the field that says so.

    Raises:
        BadRequestError: it says so twice.
    """
    kind = part["type"]
    source: Any = part.get(kind, part.get("image_url"))
    holder, place = part, f"{path}.{kind}"
    if isinstance(source, dict):
        holder, path, place = source, place, f"{place}.url"
        source = source.get("url")
    id = holder.get("file_id")
    if id is None:
        return source, place
    if source is not None:
        raise BadRequestError("a picture has either a url or a file_id", f"{path}.file_id")
    return _FileId(id), f"{path}.file_id"
