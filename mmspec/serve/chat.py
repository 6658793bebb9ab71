"""``POST /v1/chat/completions``: reading the body, wording the answer."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from msgspec import UNSET, UnsetType

from mmspec.core.errors import BadRequestError
from mmspec.core.request import Request
from mmspec.serve.decode import Body, BodyDecoder
from mmspec.serve.logprobs import chat_logprobs
from mmspec.serve.protocol import ChatAsk, StreamOptions
from mmspec.serve.reply import ChatChoice, ChatChunkChoice, ChatDelta, ChatLogprobs, ChatMessage
from mmspec.serve.sampling import check_stream, sampling_of, speculation_of
from mmspec.serve.stream import Call, Told
from mmspec.vision.prompt import compose

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mmspec.core.request import TokenLogprob
    from mmspec.serve.answer import News
    from mmspec.serve.service import Service

_DECODER = BodyDecoder(ChatAsk)


def read_chat(service: Service, data: bytes, id: str) -> tuple[Call, ChatWording]:
    """Decode, check, template and tokenise one body. Blocking: run it off the event loop.

    Args:
        service: the model's facts and limits.
        data: the body.
        id: unique; names the answer and the engine's request.

    Raises:
        BadRequestError: 400, naming the field.
        HttpError: another model was asked for.
    """
    body = _DECODER.decode(data)
    ask = body.ask
    service.check_model(ask.model)
    check_stream(ask)
    speculation = speculation_of(ask)
    sampling = sampling_of(
        ask,
        service.processor,
        max_tokens=ask.max_tokens
        if ask.max_completion_tokens is None
        else (ask.max_completion_tokens),
        logprobs=_logprobs(ask),
        max_context=service.max_context,
    )
    prompt = compose(
        ask.messages,
        service.processor,
        service.media,
        max_context=service.max_context,
        add_generation_prompt=ask.add_generation_prompt is not False,
    )
    requests = [Request(f"chatcmpl-{id}", prompt, sampling, speculation)]
    call = call_of(body, f"chatcmpl-{id}", requests)
    return call, ChatWording(service, requests[0], token_ids=bool(ask.return_token_ids))


def call_of(body: Body, id: str, requests: list[Request]) -> Call:
    """What both routes' bodies say about the shape of the answer."""
    ask = body.ask
    options = ask.stream_options or StreamOptions()
    return Call(
        id=id,
        model=ask.model,
        created=int(time.time()),
        requests=requests,
        stream=bool(ask.stream),
        usage=options.include_usage,
        running_usage=options.include_usage and options.continuous_usage_stats,
        report=requests[0].speculation.report,
        skip_special=ask.skip_special_tokens is not False,
        ignored=body.ignored,
    )


def _logprobs(ask: ChatAsk) -> int | None:
    if ask.logprobs:
        return ask.top_logprobs or 0  # zero is legal: the chosen token's alone
    if ask.top_logprobs is not None:
        raise BadRequestError("top_logprobs needs logprobs: true", "top_logprobs")
    return None


class ChatWording:
    """Choices as ``chat.completion`` and ``chat.completion.chunk`` have them."""

    whole_object = "chat.completion"
    chunk_object = "chat.completion.chunk"

    def __init__(self, service: Service, request: Request, *, token_ids: bool) -> None:
        self._pieces = service.processor
        self._top = request.sampling.logprobs
        self._token_ids = token_ids
        self.tells_tokens = token_ids or self._top is not None
        self.prompt_ids: list[int] | UnsetType = request.prompt.ids.tolist() if token_ids else UNSET

    def opening(self, index: int) -> list[ChatChunkChoice]:
        """The role, before any content."""
        return [ChatChunkChoice(index=index, delta=ChatDelta(role="assistant", content=""))]

    def piece(self, news: News) -> ChatChunkChoice:
        """Content."""
        return ChatChunkChoice(
            index=news.index,
            delta=ChatDelta(content=news.text),
            logprobs=self._logprobs(news.logprobs),
            token_ids=list(news.tokens) if self._token_ids else UNSET,
        )

    def ending(self, news: News) -> ChatChunkChoice:
        """An empty delta and the reason."""
        return ChatChunkChoice(
            index=news.index,
            delta=ChatDelta(),
            finish_reason=news.finish_reason,
            stop_reason=news.stop_reason,
        )

    def whole(self, index: int, told: Told) -> ChatChoice:
        """The message."""
        return ChatChoice(
            index=index,
            message=ChatMessage(content="".join(told.texts)),
            logprobs=self._logprobs(told.logprobs),
            finish_reason=told.finish_reason,
            stop_reason=told.stop_reason,
            token_ids=told.tokens if self._token_ids else UNSET,
        )

    def _logprobs(self, entries: Sequence[TokenLogprob]) -> ChatLogprobs | None:
        return None if self._top is None else chat_logprobs(self._pieces, entries, self._top)
