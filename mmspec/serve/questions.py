"""``POST /v1/documents/{id}/questions``: one question about one document, with evidence.

The document stands before the question, so that all questions about it begin alike: its keys and
values are found in the prefix cache, pinned there, and what it says is what drafters quote from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmspec.core.errors import BadRequestError
from mmspec.core.request import Prompt
from mmspec.serve.chat import ChatWording, chat_wishes
from mmspec.serve.decode import BodyDecoder
from mmspec.serve.evidence import Evidence, Witness
from mmspec.serve.protocol import ChatFields
from mmspec.serve.read import Named, Route
from mmspec.serve.reply import ChatChoice, ChatChunkChoice
from mmspec.vision.prompt import AFTER_DOCUMENT, compose

if TYPE_CHECKING:
    from mmspec.core.request import Request
    from mmspec.serve.answer import News
    from mmspec.serve.service import Service
    from mmspec.serve.stream import Told
    from mmspec.vision.prompt import PictureSource


class QuestionAsk(ChatFields, frozen=True, kw_only=True):
    """A question. The model may be left out; temperature is 0 unless something else is said.

    Attributes:
        system: what stands before the document.
        progress: in a stream, tell how far the document is read.
    """

    question: str
    model: str = ""
    system: str | None = None
    temperature: float | None = 0.0
    progress: bool | None = None


class AnswerChoice(ChatChoice, frozen=True, kw_only=True):
    """A whole answer with its evidence."""

    evidence: list[Evidence]


class LastChunkChoice(ChatChunkChoice, frozen=True, kw_only=True):
    """The end of an answer, with the evidence of all of it."""

    evidence: list[Evidence]


class QuestionWording(ChatWording):
    """As a chat, with evidence where an answer ends."""

    def __init__(
        self, ask: QuestionAsk, service: Service, requests: list[Request], witness: Witness
    ) -> None:
        super().__init__(ask, service, requests)
        self._witness = witness
        self._said: dict[int, list[str]] = {}

    def piece(self, news: News) -> ChatChunkChoice:
        """Content."""
        self._said.setdefault(news.index, []).append(news.text)
        return super().piece(news)

    def ending(self, news: News) -> ChatChunkChoice:
        """The reason and the evidence."""
        end = super().ending(news)
        answer = "".join(self._said.get(news.index, []))
        return LastChunkChoice(**_fields(end), evidence=self._witness.evidence(answer))

    def whole(self, index: int, told: Told) -> ChatChoice:
        """The message and the evidence."""
        choice = super().whole(index, told)
        evidence = self._witness.evidence("".join(told.texts))
        return AnswerChoice(**_fields(choice), evidence=evidence)


def question_route(document: str) -> Route[QuestionAsk]:
    """The route of questions about one document."""

    def prompts(ask: QuestionAsk, service: Service, _source: PictureSource | None) -> list[Prompt]:
        return [question_prompt(ask, document, service)]

    def wording(ask: QuestionAsk, service: Service, requests: list[Request]) -> QuestionWording:
        return QuestionWording(ask, service, requests, Witness(document))

    return Route(
        "chatcmpl", _ASK, chat_wishes, _nothing_named, prompts, wording,
        progress=lambda ask: ask.progress is not False, any_model=True,
    )  # fmt: skip


def question_prompt(ask: QuestionAsk, document: str, service: Service) -> Prompt:
    """System, document, question. Blocking.

    Raises:
        BadRequestError: no question, or more text than the model's context.
    """
    if not ask.question.strip():
        raise BadRequestError("there is no question", "question")
    messages = [{"role": "user", "content": document + AFTER_DOCUMENT + ask.question}]
    if ask.system is not None:
        messages.insert(0, {"role": "system", "content": ask.system})
    prompt = compose(messages, service.processor, service.media, max_context=service.max_context)
    asked = len(service.processor.encode(ask.question, False))
    # As far as the template's own end the question may lie within; then a chunk is kept in vain.
    return Prompt(prompt.ids, prompt.media, shared=max(len(prompt.ids) - asked, 0))


def _nothing_named(_ask: QuestionAsk, _service: Service) -> Named:
    return Named()


def _fields(choice: Any) -> dict[str, Any]:
    return {name: getattr(choice, name) for name in choice.__struct_fields__}


_ASK = BodyDecoder(QuestionAsk)
