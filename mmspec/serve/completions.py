"""``POST /v1/completions``: the older route, prompts without a template."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET, UnsetType

from mmspec.core.errors import BadRequestError
from mmspec.core.request import Request
from mmspec.serve.chat import call_of
from mmspec.serve.decode import BodyDecoder
from mmspec.serve.logprobs import text_logprobs
from mmspec.serve.protocol import CompletionAsk
from mmspec.serve.reply import TextChoice, TextLogprobs
from mmspec.serve.sampling import check_ids, check_stream, sampling_of, speculation_of
from mmspec.vision.prompt import check_characters

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mmspec.core.request import Prompt, TokenLogprob
    from mmspec.serve.answer import News
    from mmspec.serve.service import Service
    from mmspec.serve.stream import Call, Told

MAX_CHOICES = 128  # prompts times n
DEFAULT_MAX_TOKENS = 16  # OpenAI's
_DECODER = BodyDecoder(CompletionAsk)


def read_completion(service: Service, data: bytes, id: str) -> tuple[Call, TextWording]:
    """Decode, check and tokenise one body. Blocking: run it off the event loop.

    Args:
        service: the model's facts and limits.
        data: the body.
        id: unique; names the answer and the engine's requests.

    Raises:
        BadRequestError: 400, naming the field.
        HttpError: another model was asked for.
    """
    body = _DECODER.decode(data)
    ask = body.ask
    service.check_model(ask.model)
    check_stream(ask)
    _check_support(ask)
    speculation = speculation_of(ask)
    sampling = sampling_of(
        ask,
        service.processor,
        max_tokens=DEFAULT_MAX_TOKENS if ask.max_tokens is None else ask.max_tokens,
        logprobs=ask.logprobs,
        max_context=service.max_context,
    )
    sources = split_prompts(ask.prompt)
    if len(sources) * sampling.n > MAX_CHOICES:
        raise BadRequestError(f"a call may have up to {MAX_CHOICES} choices", "prompt")
    prompts = [_prompt(source, service) for source in sources]
    requests = [
        Request(f"cmpl-{id}-{i}", prompt, sampling, speculation) for i, prompt in enumerate(prompts)
    ]
    echoes = [
        source if isinstance(source, str) else service.processor.decode(source)
        for source in sources
        if ask.echo
    ]
    call = call_of(body, f"cmpl-{id}", requests)
    return call, TextWording(service, requests, echoes, token_ids=bool(ask.return_token_ids))


def split_prompts(prompt: str | list[str | int | list[int]]) -> list[str | list[int]]:
    """The four forms of ``prompt`` as a list of texts and id lists.

    Raises:
        BadRequestError: an empty list, or several forms in one.
    """
    if isinstance(prompt, str):
        return [prompt]
    kinds = {type(item) for item in prompt}
    if kinds == {int}:
        return [[item for item in prompt if isinstance(item, int)]]
    if kinds in ({str}, {list}):
        return [item for item in prompt if not isinstance(item, int)]
    raise BadRequestError(
        "prompt is a string, a list of strings, a list of token ids or a list of such lists",
        "prompt",
    )


def _check_support(ask: CompletionAsk) -> None:
    if ask.best_of is not None and ask.best_of != (ask.n or 1):
        raise BadRequestError("best_of is not supported", "best_of", "unsupported_parameter")
    if ask.logprobs is not None and not 0 <= ask.logprobs <= 20:
        raise BadRequestError("logprobs must be between 0 and 20", "logprobs")
    if ask.echo and ask.logprobs is not None:
        raise BadRequestError(
            "echo with logprobs is not supported", "echo", "unsupported_parameter"
        )


def _prompt(source: str | list[int], service: Service) -> Prompt:
    if isinstance(source, str):
        check_characters(len(source), service.max_context, "prompt")
        return service.processor.text(source)
    check_ids(source, service.processor.vocabulary, "prompt")
    return service.processor.ids(source)


class TextWording:
    """Choices as ``text_completion`` has them; choice ``i * n + j`` answers prompt ``i``."""

    whole_object = "text_completion"
    chunk_object = "text_completion"
    prompt_ids = UNSET

    def __init__(
        self, service: Service, requests: list[Request], echoes: list[str], *, token_ids: bool
    ) -> None:
        self._pieces = service.processor
        self._requests = requests
        self._echoes = echoes
        self._token_ids = token_ids
        self._n = requests[0].sampling.n
        self._top = requests[0].sampling.logprobs
        self.tells_tokens = token_ids or self._top is not None
        self._offsets = dict.fromkeys(range(len(requests) * self._n), 0)

    def opening(self, index: int) -> list[TextChoice]:
        """The echoed prompt and its ids, if asked for."""
        if not self._echoes and not self._token_ids:
            return []
        return [
            TextChoice(
                index=index, text=self._echo(index), prompt_token_ids=self._prompt_ids(index)
            )
        ]

    def piece(self, news: News) -> TextChoice:
        """Text."""
        logprobs = self._logprobs(news.logprobs, self._offsets[news.index])
        self._offsets[news.index] += len(news.text)
        return TextChoice(
            index=news.index,
            text=news.text,
            logprobs=logprobs,
            token_ids=list(news.tokens) if self._token_ids else UNSET,
        )

    def ending(self, news: News) -> TextChoice:
        """No text, and the reason."""
        return TextChoice(
            index=news.index,
            text="",
            finish_reason=news.finish_reason,
            stop_reason=news.stop_reason,
        )

    def whole(self, index: int, told: Told) -> TextChoice:
        """Echo and text together."""
        return TextChoice(
            index=index,
            text=self._echo(index) + "".join(told.texts),
            logprobs=self._logprobs(told.logprobs, 0),
            finish_reason=told.finish_reason,
            stop_reason=told.stop_reason,
            token_ids=told.tokens if self._token_ids else UNSET,
            prompt_token_ids=self._prompt_ids(index),
        )

    def _echo(self, index: int) -> str:
        return self._echoes[index // self._n] if self._echoes else ""

    def _prompt_ids(self, index: int) -> list[int] | UnsetType:
        if not self._token_ids:
            return UNSET
        return self._requests[index // self._n].prompt.ids.tolist()

    def _logprobs(self, entries: Sequence[TokenLogprob], offset: int) -> TextLogprobs | None:
        if self._top is None:
            return None
        return text_logprobs(self._pieces, entries, self._top, offset)
