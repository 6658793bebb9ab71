"""``POST /v1/completions``: the older route, prompts without a template."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET, UnsetType

from mmspec.core.errors import BadRequestError
from mmspec.serve.decode import BodyDecoder
from mmspec.serve.logprobs import prompt_logprobs, text_logprobs
from mmspec.serve.protocol import CompletionAsk
from mmspec.serve.read import MAX_CHOICES, Named, Route, Wishes
from mmspec.serve.reply import TextChoice, TextLogprobs
from mmspec.serve.sampling import check_ids
from mmspec.vision.prompt import check_characters

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mmspec.core.request import Prompt, Request, TokenLogprob
    from mmspec.serve.answer import News
    from mmspec.serve.reply import PromptLogprobs
    from mmspec.serve.service import Service
    from mmspec.serve.stream import Told
    from mmspec.vision.prompt import PictureSource

DEFAULT_MAX_TOKENS = 16  # OpenAI's


def _wishes(ask: CompletionAsk) -> Wishes:
    if ask.best_of is not None and ask.best_of != (ask.n or 1):
        raise BadRequestError("best_of is not supported", "best_of", "unsupported_parameter")
    for name in ("logprobs", "prompt_logprobs"):
        value = getattr(ask, name)
        if value is not None and not 0 <= value <= 20:
            raise BadRequestError(f"{name} must be between 0 and 20", name)
    scored = [ask.prompt_logprobs, ask.logprobs if ask.echo else None]
    return Wishes(
        max_tokens=DEFAULT_MAX_TOKENS if ask.max_tokens is None else ask.max_tokens,
        logprobs=ask.logprobs,
        prompt_logprobs=max((top for top in scored if top is not None), default=None),
    )


def _names(_ask: CompletionAsk, _service: Service) -> Named:
    return Named()  # text has no pictures


def _prompts(ask: CompletionAsk, service: Service, _source: PictureSource | None) -> list[Prompt]:
    sources = split_prompts(ask.prompt)
    if len(sources) > MAX_CHOICES:  # before any of them costs a tokeniser's time
        raise BadRequestError(f"a call may have up to {MAX_CHOICES} choices", "prompt")
    return [_prompt(source, service) for source in sources]


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

    def __init__(self, ask: CompletionAsk, service: Service, requests: list[Request]) -> None:
        self._pieces = service.processor
        self._requests = requests
        self._echoes: list[str] = []
        if ask.echo:
            self._echoes = [
                source if isinstance(source, str) else service.processor.decode(source)
                for source in split_prompts(ask.prompt)
            ]
        self._token_ids = bool(ask.return_token_ids)
        self._n = requests[0].sampling.n
        self._top = ask.logprobs
        self._prompt_top = ask.prompt_logprobs
        self.tells_tokens = self._token_ids or self._top is not None
        choices = range(len(requests) * self._n)
        self._offsets = {index: len(self._echo(index)) for index in choices}

    def opening(self, index: int, scored: Sequence[TokenLogprob]) -> list[TextChoice]:
        """The echoed prompt and its ids, if asked for."""
        if not self._echoes and not self._token_ids:
            return []
        choice = TextChoice(
            index=index,
            text=self._echo(index),
            logprobs=self._logprobs(index, (), scored) if self._echoes else None,
            prompt_token_ids=self._prompt_ids(index),
        )
        return [choice]

    def piece(self, news: News) -> TextChoice:
        """Text."""
        logprobs = self._logprobs(news.index, news.logprobs)
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
        scored = told.scored if self._echoes else None
        return TextChoice(
            index=index,
            text=self._echo(index) + "".join(told.texts),
            logprobs=self._logprobs(index, told.logprobs, scored),
            finish_reason=told.finish_reason,
            stop_reason=told.stop_reason,
            token_ids=told.tokens if self._token_ids else UNSET,
            prompt_token_ids=self._prompt_ids(index),
            prompt_logprobs=self._scored(told.scored),
        )

    def prompt_logprobs(self, _scored: Sequence[TokenLogprob]) -> UnsetType:
        """Nothing: here every choice says its own."""
        return UNSET

    def _echo(self, index: int) -> str:
        return self._echoes[index // self._n] if self._echoes else ""

    def _prompt_ids(self, index: int) -> list[int] | UnsetType:
        if not self._token_ids:
            return UNSET
        return self._requests[index // self._n].prompt.ids.tolist()

    def _scored(self, scored: Sequence[TokenLogprob]) -> PromptLogprobs | UnsetType:
        if self._prompt_top is None:
            return UNSET
        return prompt_logprobs(self._pieces, scored, self._prompt_top)

    def _logprobs(
        self,
        index: int,
        entries: Sequence[TokenLogprob],
        scored: Sequence[TokenLogprob] | None = None,
    ) -> TextLogprobs | None:
        """Entries of new tokens, after those of the echoed prompt where ``scored`` is given."""
        if self._top is None:
            return None
        if scored is None:
            return text_logprobs(self._pieces, entries, self._top, self._offsets[index])
        first = int(self._requests[index // self._n].prompt.ids[0])
        return text_logprobs(self._pieces, [*scored, *entries], self._top, 0, first)


ROUTE = Route("cmpl", BodyDecoder(CompletionAsk), _wishes, _names, _prompts, TextWording)
