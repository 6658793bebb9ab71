"""``POST /v1/chat/completions``: reading the body, wording the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET, UnsetType

from mmspec.core.errors import BadRequestError
from mmspec.serve.attached import named_files
from mmspec.serve.decode import BodyDecoder
from mmspec.serve.logprobs import chat_logprobs, prompt_logprobs
from mmspec.serve.protocol import ChatAsk, ChatFields
from mmspec.serve.read import Named, Route, Wishes
from mmspec.serve.reply import ChatChoice, ChatChunkChoice, ChatDelta, ChatLogprobs, ChatMessage
from mmspec.vision.prompt import compose, remote_pictures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mmspec.core.request import Prompt, Request, TokenLogprob
    from mmspec.serve.answer import News
    from mmspec.serve.reply import PromptLogprobs
    from mmspec.serve.service import Service
    from mmspec.serve.stream import Told
    from mmspec.vision.prompt import PictureSource


def chat_wishes(ask: ChatFields) -> Wishes:
    """Limits and log-probabilities, as chats spell them.

    Raises:
        BadRequestError: ``top_logprobs`` alone.
    """
    limit = ask.max_tokens if ask.max_completion_tokens is None else ask.max_completion_tokens
    logprobs = None
    if ask.logprobs:
        logprobs = ask.top_logprobs or 0  # zero is legal: the chosen token's alone
    elif ask.top_logprobs is not None:
        raise BadRequestError("top_logprobs needs logprobs: true", "top_logprobs")
    return Wishes(limit, logprobs, ask.prompt_logprobs)


def _names(ask: ChatAsk, service: Service) -> Named:
    links: dict[str, str] = {}
    if service.fetcher is not None and service.processor.accepts_images:  # else they are refused
        links = remote_pictures(ask.messages, service.media)
    return Named(links, named_files(ask.messages, service))


def _prompts(ask: ChatAsk, service: Service, source: PictureSource | None) -> list[Prompt]:
    prompt = compose(
        ask.messages,
        service.processor,
        service.media,
        max_context=service.max_context,
        add_generation_prompt=ask.add_generation_prompt is not False,
        source=source,
    )
    return [prompt]


class ChatWording:
    """Choices as ``chat.completion`` and ``chat.completion.chunk`` have them."""

    whole_object = "chat.completion"
    chunk_object = "chat.completion.chunk"

    def __init__(self, ask: ChatFields, service: Service, requests: list[Request]) -> None:
        (request,) = requests
        self._pieces = service.processor
        self._prompt = request.prompt.ids
        self._sampling = request.sampling
        self._token_ids = bool(ask.return_token_ids)
        self.tells_tokens = self._token_ids or self._sampling.logprobs is not None
        self.prompt_ids: list[int] | UnsetType = self._prompt.tolist() if self._token_ids else UNSET

    def opening(self, index: int, _scored: Sequence[TokenLogprob]) -> list[ChatChunkChoice]:
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

    def prompt_logprobs(self, scored: Sequence[TokenLogprob]) -> PromptLogprobs | UnsetType:
        """The prompt's own log-probabilities, if asked for."""
        top = self._sampling.prompt_logprobs
        if top is None:
            return UNSET
        return prompt_logprobs(self._pieces, scored, top)

    def _logprobs(self, entries: Sequence[TokenLogprob]) -> ChatLogprobs | None:
        top = self._sampling.logprobs
        return None if top is None else chat_logprobs(self._pieces, entries, top)


ROUTE = Route("chatcmpl", BodyDecoder(ChatAsk), chat_wishes, _names, _prompts, ChatWording)
