"""What clients are told: bodies and stream chunks of the two generation routes."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

FINGERPRINT = "mmspec"
ChatObject = Literal["chat.completion", "chat.completion.chunk"]


class PromptDetails(msgspec.Struct, frozen=True, kw_only=True):
    """``cached_tokens`` were found in the prefix cache, ``image_tokens`` stand for pictures."""

    cached_tokens: int
    image_tokens: int


class CompletionDetails(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of a prediction that came after the same token as there, in order, and all others.

    Zero without a prediction; rejected ones are in no other count. ``reasoning_tokens`` is always
    zero, and there because clients read it.
    """

    reasoning_tokens: int = 0
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens the client sees; rejected drafts and tokens past a stop string never count."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails
    completion_tokens_details: CompletionDetails = CompletionDetails()


class TopLogprob(msgspec.Struct, frozen=True, kw_only=True):
    """One token the target could have said."""

    token: str
    logprob: float
    bytes: list[int]


class ChatLogprob(TopLogprob, frozen=True, kw_only=True):
    """The token the target said, and the most likely ones."""

    top_logprobs: list[TopLogprob]


class ChatLogprobs(msgspec.Struct, frozen=True, kw_only=True):
    """One entry a token, in order."""

    content: list[ChatLogprob]
    refusal: None = None


class TextLogprobs(msgspec.Struct, frozen=True, kw_only=True):
    """The older shape of ``/v1/completions``; null for the first token of an echoed prompt."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class PromptLogprob(msgspec.Struct, frozen=True, kw_only=True):
    """One token that stands, or could have stood, in a prompt; rank 1 is the most likely."""

    logprob: float
    rank: int
    decoded_token: str


PromptLogprobs = list[dict[str, PromptLogprob] | None]


class ChatMessage(msgspec.Struct, frozen=True, kw_only=True):
    """The whole answer."""

    content: str
    role: str = "assistant"
    refusal: None = None


class ChatDelta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A piece of it; ``{}`` in the chunk that carries the finish reason."""

    role: str | UnsetType = UNSET
    content: str | UnsetType = UNSET


class ChatChoice(msgspec.Struct, frozen=True, kw_only=True):
    """One choice of a whole answer."""

    index: int
    message: ChatMessage
    logprobs: ChatLogprobs | None
    finish_reason: str
    stop_reason: str | int | None = None
    token_ids: list[int] | UnsetType = UNSET


class ChatChunkChoice(msgspec.Struct, frozen=True, kw_only=True):
    """One choice of a chunk."""

    index: int
    delta: ChatDelta
    logprobs: ChatLogprobs | None = None
    finish_reason: str | None = None
    stop_reason: str | int | UnsetType | None = UNSET
    token_ids: list[int] | UnsetType = UNSET


class TextChoice(msgspec.Struct, frozen=True, kw_only=True):
    """One choice of ``/v1/completions``, whole or a chunk of it."""

    index: int
    text: str
    logprobs: TextLogprobs | None = None
    finish_reason: str | None = None
    stop_reason: str | int | UnsetType | None = UNSET
    token_ids: list[int] | UnsetType = UNSET
    prompt_token_ids: list[int] | UnsetType = UNSET
    prompt_logprobs: PromptLogprobs | UnsetType = UNSET


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """An answer or a chunk of one.

    ``usage`` of a chunk is unset (not asked for), null (asked for, comes last) or the numbers;
    ``mmspec`` is the report a request asked for with ``speculation.report``.
    """

    id: str
    object: str
    created: int
    model: str
    choices: list[Any]
    system_fingerprint: str = FINGERPRINT
    usage: Usage | UnsetType | None = UNSET
    prompt_token_ids: list[int] | UnsetType = UNSET
    prompt_logprobs: PromptLogprobs | UnsetType = UNSET
    mmspec: dict[str, Any] | UnsetType = UNSET
