"""``/tokenize``, ``/detokenize`` and ``/tokenizer_info``, in vLLM's shapes.

Text is read here as the tokenizer reads it: what spells a control token becomes that token. The
generation routes never do that; who wants control tokens in a prompt sends their ids.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from mmspec.core.errors import BadRequestError
from mmspec.serve.attached import named_files
from mmspec.serve.decode import BodyDecoder
from mmspec.serve.logprobs import spell
from mmspec.serve.read import Named
from mmspec.serve.sampling import check_ids
from mmspec.vision.prompt import check_characters, compose

if TYPE_CHECKING:
    from mmspec.serve.service import Service
    from mmspec.vision.prompt import PictureSource


class TokenizeAsk(msgspec.Struct, frozen=True, kw_only=True):
    """``POST /tokenize``: a text, or a conversation to be templated."""

    model: str | None = None
    prompt: str | None = None
    messages: list[dict[str, Any]] | None = None
    add_special_tokens: bool = True
    add_generation_prompt: bool = True
    return_token_strs: bool | None = None


class DetokenizeAsk(msgspec.Struct, frozen=True, kw_only=True):
    """``POST /detokenize``."""

    tokens: list[int]
    model: str | None = None


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """A text in token ids."""

    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None = None


class Text(msgspec.Struct, frozen=True, kw_only=True):
    """Token ids as text, special tokens spelt out."""

    prompt: str


_TOKENIZE = BodyDecoder(TokenizeAsk)
_DETOKENIZE = BodyDecoder(DetokenizeAsk)


def tokenize(service: Service, data: bytes, source: PictureSource | None = None) -> Tokens:
    """Read a body of ``/tokenize`` and answer it; nothing is fetched for it. Blocking.

    Args:
        service: has the tokenizer. data: the body. source: of what the body only names.

    Raises:
        BadRequestError: naming the field. HttpError: another model was asked for, or a file that
            is not there.
    """
    ask = _TOKENIZE.decode(data).ask
    if ask.model is not None:
        service.check_model(ask.model)
    if (ask.prompt is None) == (ask.messages is None):
        raise BadRequestError("give either prompt or messages", "prompt")
    processor = service.processor
    if ask.prompt is not None:
        check_characters(len(ask.prompt), service.max_context, "prompt")
        ids = processor.encode(ask.prompt, ask.add_special_tokens)
    else:
        ids = compose(
            ask.messages or [],
            processor,
            service.media,
            max_context=service.max_context,
            add_generation_prompt=ask.add_generation_prompt,
            source=source,
        ).ids.tolist()
    spelt = [spell(processor, id) for id in ids] if ask.return_token_strs else None
    return Tokens(count=len(ids), max_model_len=service.max_context, tokens=ids, token_strs=spelt)


def token_names(service: Service, data: bytes) -> Named:
    """The files a body of ``/tokenize`` names; nothing is fetched for it. Blocking."""
    return Named(files=named_files(_TOKENIZE.decode(data).ask.messages or [], service))


def detokenize(service: Service, data: bytes, _source: PictureSource | None = None) -> Text:
    """Read a body of ``/detokenize`` and answer it. Blocking.

    Raises:
        BadRequestError: naming the field. HttpError: another model was asked for.
    """
    ask = _DETOKENIZE.decode(data).ask
    if ask.model is not None:
        service.check_model(ask.model)
    check_ids(ask.tokens, service.processor.vocabulary, "tokens")
    whole = b"".join(service.processor.token_bytes(id) for id in ask.tokens)
    return Text(prompt=whole.decode("utf-8", "replace"))
