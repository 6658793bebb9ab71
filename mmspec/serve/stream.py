"""News to bytes: server-sent events in the order clients rely on, or one whole body.

Order of a stream: for each choice a role chunk with its first news (so that a client's clock to the
first chunk is the clock to the first token), content chunks (one a step), a finish chunk with an
empty delta; the usage chunk if asked for, ``[DONE]``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from msgspec import UNSET, UnsetType

from mmspec.core.errors import EngineFaultError
from mmspec.serve.errors import fault
from mmspec.serve.reply import PromptLogprobs, Reply, Usage
from mmspec.serve.ticket import ClientGoneError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from mmspec.core.request import Request, TokenLogprob
    from mmspec.serve.answer import Answer, News

DONE = b"data: [DONE]\n\n"
PING = b": ping\n\n"
_ENCODER = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A body that has been read: what to ask the engine and how to word the answer.

    Attributes:
        id: ``chatcmpl-...`` or ``cmpl-...``.
        created: seconds since the epoch.
        requests: one a prompt.
        usage: stream only: send usage last.
        running_usage: stream only: send usage with every chunk.
        report: add ``mmspec`` (seed and speculation) to the answer.
        ignored: fields of the body that had no effect.
    """

    id: str
    model: str
    created: int
    requests: list[Request]
    stream: bool
    usage: bool = False
    running_usage: bool = False
    report: bool = False
    skip_special: bool = True
    ignored: tuple[str, ...] = ()


@dataclass(slots=True)
class Told:
    """Everything one choice said."""

    texts: list[str] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    scored: Sequence[TokenLogprob] = ()
    finish_reason: str = "stop"
    stop_reason: str | int | None = None


class Wording(Protocol):
    """How one route words choices."""

    @property
    def whole_object(self) -> str:
        """``object`` of a whole body."""
        ...

    @property
    def chunk_object(self) -> str:
        """``object`` of a chunk."""
        ...

    @property
    def prompt_ids(self) -> list[int] | UnsetType:
        """The prompt's token ids, where the route says them once for all choices."""
        ...

    @property
    def tells_tokens(self) -> bool:
        """Whether tokens without text are worth a chunk, for their ids or log-probabilities."""
        ...

    def prompt_logprobs(self, scored: Sequence[TokenLogprob], /) -> PromptLogprobs | UnsetType:
        """The prompt's log-probabilities, where the route says them once for all choices."""
        ...

    def opening(self, index: int, scored: Sequence[TokenLogprob], /) -> list[Any]:
        """Chunk choices before the first word of choice ``index``, its prompt being scored."""
        ...

    def piece(self, news: News) -> Any:
        """A content chunk's choice."""
        ...

    def ending(self, news: News) -> Any:
        """A finish chunk's choice."""
        ...

    def whole(self, index: int, told: Told) -> Any:
        """A choice of a whole body."""
        ...


@dataclass(frozen=True, slots=True)
class Frames:
    """Chunks of one stream."""

    answer: Answer
    call: Call
    wording: Wording
    _opened: set[int] = field(default_factory=set)

    def chunk(self, choices: list[Any], last: bool = False, first: bool = False) -> Reply:
        """One chunk; the last one carries usage and report, as far as they were asked for."""
        call, answer = self.call, self.answer
        usage: Usage | UnsetType | None = None if call.usage else UNSET
        if call.running_usage or (last and call.usage):
            usage = answer.usage()
        return Reply(
            id=call.id,
            object=self.wording.chunk_object,
            created=call.created,
            model=call.model,
            choices=choices,
            usage=usage,
            prompt_token_ids=self.wording.prompt_ids if first else UNSET,
            mmspec=answer.report() if last and call.report else UNSET,
        )

    def opening(self, index: int) -> list[Reply]:
        """What comes before the first word of a choice."""
        if index in self._opened:
            return []
        first = not self._opened
        self._opened.add(index)
        scored = self.answer.scored(index)
        return [self.chunk([choice], first=first) for choice in self.wording.opening(index, scored)]

    def progress(self) -> Reply:
        """How much of the prompt is read, before there is anything to say."""
        return msgspec.structs.replace(self.chunk([]), mmspec={"prefill": self.answer.prefill()})

    def step(self, told: list[News]) -> list[Reply]:
        """Content and finish chunks of one step."""
        chunks: list[Reply] = []
        for news in told:
            chunks += self.opening(news.index)
            if news.text or (news.tokens and self.wording.tells_tokens):
                chunks.append(self.chunk([self.wording.piece(news)]))
            if news.finish_reason is not None:
                chunks.append(self.chunk([self.wording.ending(news)]))
        if self.answer.complete() and not self.call.usage:
            chunks[-1] = self.chunk(chunks[-1].choices, last=True)  # a finish chunk
        return chunks


async def events(
    answer: Answer, call: Call, wording: Wording, heartbeat: float
) -> AsyncIterator[bytes]:
    """The stream, one block of bytes a step; a comment after ``heartbeat`` silent seconds."""
    frames = Frames(answer, call, wording)
    read = 0
    try:
        async for told in answer.news(heartbeat):
            if answer.prefilled > read:
                read = answer.prefilled
                yield encode([frames.progress()])
            elif not told:
                yield PING
            if told:
                yield encode(frames.step(told))
    except ClientGoneError:
        return
    except EngineFaultError as error:
        # After a 200 this is the only way to say so; never a finish reason on a fault.
        yield b"data: " + fault(str(error)).body.encode() + b"\n\n"
    else:
        if call.usage:
            yield encode([frames.chunk([], last=True)])
    yield DONE


async def collect(answer: Answer, call: Call, wording: Wording) -> Reply:
    """The whole body.

    Raises:
        EngineFaultError: the engine gave up.
        ClientGoneError: nobody waits any more.
    """
    told = [Told() for _ in answer.choices]
    async for batch in answer.news():
        for news in batch:
            choice = told[news.index]
            choice.texts.append(news.text)
            choice.tokens.extend(news.tokens)
            choice.logprobs.extend(news.logprobs)
            if news.finish_reason is not None:
                choice.finish_reason, choice.stop_reason = news.finish_reason, news.stop_reason
    for index, choice in enumerate(told):
        choice.scored = answer.scored(index)
    return Reply(
        id=call.id,
        object=wording.whole_object,
        created=call.created,
        model=call.model,
        choices=[wording.whole(index, choice) for index, choice in enumerate(told)],
        usage=answer.usage(),
        prompt_token_ids=wording.prompt_ids,
        prompt_logprobs=wording.prompt_logprobs(answer.scored(0)),
        mmspec=answer.report() if call.report else UNSET,
    )


def encode(replies: list[Reply]) -> bytes:
    """Chunks as server-sent events."""
    return b"".join(b"data: " + _ENCODER.encode(reply) + b"\n\n" for reply in replies)
