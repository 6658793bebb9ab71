"""Text and pictures to token ids, and back. The only reader of tokenizers and image processors."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from transformers import AutoProcessor, PreTrainedTokenizerBase

from mmspec.core.errors import BadRequestError, ConfigError
from mmspec.core.request import Media, Prompt
from mmspec.model.pieces import byte_pieces

if TYPE_CHECKING:
    import torch
    from PIL import Image

PICTURES = 32  # processed pictures kept, so that a picture in every turn is processed once


class Processor:
    """The tokenizer, chat template and image processor of one model.

    Attributes:
        name: what clients call the model. vocabulary: ids the model knows.
        stop_tokens: ids that end a text. special_tokens: ids that stand for no text.
    """

    def __init__(
        self, wrapped: Any, *, name: str, vocabulary: int, stop_tokens: frozenset[int]
    ) -> None:
        self.name = name
        self.vocabulary = vocabulary
        self.stop_tokens = stop_tokens
        self._images = None if isinstance(wrapped, PreTrainedTokenizerBase) else wrapped
        self._tokenizer: Any = wrapped if self._images is None else wrapped.tokenizer
        self.special_tokens = frozenset(self._tokenizer.all_special_ids)
        self._pieces = byte_pieces(self._tokenizer)
        self._settings = _settings(wrapped)
        self._processed = lru_cache(PICTURES)(self._process)
        if self._images is not None:
            self._image_token: str = self._images.image_token
            self._image_id: int = self._tokenizer.convert_tokens_to_ids(self._image_token)
            self.special_tokens |= {self._image_id}

    @classmethod
    def load(
        cls, folder: str, *, name: str, vocabulary: int, stop_tokens: frozenset[int]
    ) -> Processor:
        """Read a model folder or hub id.

        Raises:
            ConfigError: there is no tokenizer to be found.
        """
        try:
            wrapped = AutoProcessor.from_pretrained(folder)
        except (OSError, ValueError) as error:
            raise ConfigError(f"no processor or tokenizer for {folder}: {error}") from error
        return cls(wrapped, name=name, vocabulary=vocabulary, stop_tokens=stop_tokens)

    @property
    def pieces(self) -> list[bytes]:
        """The bytes of every token id; empty where it spells nothing."""
        return self._pieces

    @property
    def accepts_images(self) -> bool:
        """Whether the model has eyes."""
        return self._images is not None

    def chat(
        self,
        messages: list[dict[str, Any]],
        images: list[Image.Image],
        add_generation_prompt: bool = True,
    ) -> Prompt:
        """Template and tokenise a conversation; image parts read ``{"type": "image"}``.

        Raises:
            BadRequestError: no chat template, a role order it refuses, or a picture in the wrong
                place.
        """
        shaped, hidden = self._shield(messages)
        template = self._images if self._images is not None else self._tokenizer
        try:
            text = template.apply_chat_template(
                shaped, tokenize=False, add_generation_prompt=add_generation_prompt
            )
        except Exception as error:
            # What a template raises on purpose is for the client; anything else is not.
            why = f": {error}" if type(error).__module__.startswith("jinja2") else ""
            raise BadRequestError(f"the chat template refused{why}", "messages") from error
        return self._expand(self._tokenise(text, hidden), images)

    def text(self, text: str) -> Prompt:
        """Plain text as the model's tokenizer reads it; what looks like control stays text."""
        ids = self._tokenizer(text, split_special_tokens=True)["input_ids"]
        return Prompt(np.array(ids, np.int64))

    def encode(self, text: str, special: bool = True) -> list[int]:
        """Token ids of a text in which control tokens may be spelt out.

        Args:
            special: add the tokens a text begins or ends with.
        """
        ids: list[int] = self._tokenizer(text, add_special_tokens=special)["input_ids"]
        return ids

    @property
    def card(self) -> dict[str, Any]:
        """What a client needs to template and read for itself; in the words of a tokenizer file."""
        wrapped, tokenizer = self._images, self._tokenizer
        return {
            "tokenizer_class": type(tokenizer).__name__,
            "bos_token": tokenizer.bos_token,
            "eos_token": tokenizer.eos_token,
            "pad_token": tokenizer.pad_token,
            "chat_template": getattr(wrapped, "chat_template", None) or tokenizer.chat_template,
        }

    def offsets(self, text: str) -> np.ndarray:
        """Where each token of a plain text stands in it: characters, int64 [T, 2].

        Raises:
            ConfigError: a slow tokenizer, which cannot tell.
        """
        if not self._tokenizer.is_fast:
            raise ConfigError("a slow tokenizer cannot tell where its tokens stand")
        said = self._tokenizer(
            text, split_special_tokens=True, add_special_tokens=False, return_offsets_mapping=True
        )
        return np.array(said["offset_mapping"], np.int64).reshape(-1, 2)

    def ids(self, ids: list[int]) -> Prompt:
        """Token ids as they are.

        Raises:
            BadRequestError: a placeholder for a picture that is not there.
        """
        if self._images is not None and self._image_id in ids:
            raise BadRequestError("picture placeholders cannot be given as ids", "prompt")
        return Prompt(np.array(ids, np.int64))

    def decode(self, ids: list[int] | np.ndarray) -> str:
        """Text of token ids, special tokens left out."""
        pieces = [self.token_bytes(int(id)) for id in ids if int(id) not in self.special_tokens]
        return b"".join(pieces).decode("utf-8", "replace")

    def token_bytes(self, id: int) -> bytes:
        """The bytes one token stands for; they need not be whole characters."""
        return self._pieces[id] if id < len(self._pieces) else b""

    def _shield(self, messages: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[str]]:
        """Hide user text that spells control tokens behind marks the template copies through.

        Ordinary text is left alone, so it is tokenised together with the template around it, as
        the model was trained.
        """
        control = [token for token in self._tokenizer.all_special_tokens if token]
        if self._images is not None:
            control.append(self._image_token)
        hidden: list[str] = []

        def shield(text: str) -> str:
            if not any(token in text for token in control) and "\ue000" not in text:
                return text
            hidden.append(text)
            return f"\ue000{len(hidden) - 1}\ue001"

        shaped = []
        for message in messages:
            content = message["content"]
            if isinstance(content, str):
                content = shield(content)
            else:
                content = [
                    part if part["type"] == "image" else {**part, "text": shield(part["text"])}
                    for part in content
                ]
            shaped.append({**message, "content": content})
        return shaped, hidden

    def _tokenise(self, text: str, hidden: list[str]) -> list[int]:
        ids: list[int] = []
        for index, part in enumerate(text.split("\ue000") if hidden else [text]):
            plain = part
            if index > 0:
                number, plain = part.split("\ue001", 1)
                ids += self._tokenizer(
                    hidden[int(number)], split_special_tokens=True, add_special_tokens=False
                )["input_ids"]
            if plain:
                ids += self._tokenizer(plain, add_special_tokens=False)["input_ids"]
        return ids

    def _expand(self, ids: list[int], images: list[Image.Image]) -> Prompt:
        """Widen each placeholder to the length of its picture's features."""
        if self._images is None:
            return Prompt(np.array(ids, np.int64))
        if ids.count(self._image_id) != len(images):
            raise BadRequestError("the chat template misplaced the images", "messages")
        wide: list[int] = []
        media: list[Media] = []
        waiting = iter(images)
        for id in ids:
            if id != self._image_id:
                wide.append(id)
                continue
            image = next(waiting)
            digest, count, inputs = self._processed(_Picture(image, self._settings))
            media.append(Media(digest=digest, start=len(wide), length=count, inputs=inputs))
            wide += [self._image_id] * count
        return Prompt(np.array(wide, np.int64), tuple(media))

    def _process(self, picture: _Picture) -> tuple[str, int, dict[str, torch.Tensor]]:
        """Digest, placeholder count and tower inputs of one picture."""
        assert self._images is not None
        said = self._images(text=self._image_token, images=[picture.image], return_tensors="pt")
        count = int((said["input_ids"] == self._image_id).sum())
        known = ("pixel_values", "image_sizes", "image_grid_thw")
        picture.image = None  # a remembered key holds no pixels
        return picture.digest, count, {name: said[name] for name in known if name in said}


class _Picture:
    """A picture that is equal to another with the same pixels under the same settings."""

    __slots__ = ("digest", "image")

    def __init__(self, image: Image.Image, settings: bytes) -> None:
        colours = image.convert("RGB")
        size = json.dumps(colours.size).encode()
        self.image: Image.Image | None = colours
        self.digest = hashlib.sha256(settings + size + colours.tobytes()).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Picture) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)


def _settings(wrapped: Any) -> bytes:
    """Everything that decides what a picture becomes: the image processor and what wraps it."""
    plain = (str, int, float, type(None))
    own = [
        (name, value)
        for name, value in vars(wrapped).items()
        if isinstance(value, plain) and name != "chat_template"
    ]
    return f"{getattr(wrapped, 'image_processor', '')!r} {sorted(own)}".encode()


def default_name(folder: str) -> str:
    """What clients call a model loaded from here, unless told otherwise."""
    return Path(folder).name if Path(folder).exists() else folder
