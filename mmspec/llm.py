"""The Python face: ``LLM(model).chat(messages)`` and ``.generate(prompts)``."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from mmspec.core.config import Config, load
from mmspec.core.errors import EngineFaultError
from mmspec.core.request import (
    Prompt,
    Request,
    Sampling,
    Speculation,
    SpeculationReport,
    TokenLogprob,
)
from mmspec.engine.build import build
from mmspec.model.detokenize import TextStream
from mmspec.vision.expected import predicted
from mmspec.vision.prompt import compose

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Sequence as ListOf

    from mmspec.core.request import Delta


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One finished choice.

    ``speculation.tau`` counts tokens per target pass after prefill, the bonus included.
    """

    text: str
    token_ids: list[int]
    finish_reason: str
    seed: int
    prompt_tokens: int
    cached_tokens: int
    speculation: SpeculationReport
    logprobs: list[TokenLogprob] | None = None
    prompt_logprobs: list[TokenLogprob] | None = None  # from the prompt's second token on


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """What one step added to one choice; the last piece carries the whole answer."""

    index: int
    text: str
    token_ids: list[int]
    answer: Answer | None = None


class LLM:
    """A model, its drafters and its engine in this process and thread.

    Args:
        model: ``"nano"``, a folder, or a hub id; None takes what ``config`` names.
        config: a ``Config``, or the path of a TOML file.
    """

    def __init__(self, model: str | None = None, config: Config | str | Path | None = None) -> None:
        base = config if isinstance(config, Config) else load(Path(config)) if config else Config()
        if model is not None:
            named = msgspec.structs.replace(base.model, path=model)
            base = msgspec.structs.replace(base, model=named)
        self.config = base
        self.engine, self.processor = build(base)
        self._ids = count()

    def chat(
        self,
        messages: list[dict[str, Any]],
        sampling: Sampling | None = None,
        speculation: Speculation | None = None,
        prediction: str | list[int] = "",
    ) -> Answer:
        """Answer a conversation in OpenAI's shape; pictures may be PIL images, bytes or paths.

        Args:
            prediction: what the answer will mostly be, such as a text that is to be edited. It
                makes a right guess fast and never changes the answer.

        Raises:
            BadRequestError: the conversation cannot be served.
        """
        return self._run([self._compose(messages)], sampling, speculation, prediction)[0]

    def chat_stream(
        self,
        messages: list[dict[str, Any]],
        sampling: Sampling | None = None,
        speculation: Speculation | None = None,
        prediction: str | list[int] = "",
    ) -> Iterator[Piece]:
        """The same, piece by piece; closing the iterator cancels the rest."""
        return self._stream([self._compose(messages)], sampling, speculation, prediction)

    def generate(
        self,
        prompts: str | list[int] | ListOf[str | list[int] | Prompt],
        sampling: Sampling | None = None,
        speculation: Speculation | None = None,
        prediction: str | list[int] = "",
    ) -> list[Answer]:
        """Continue prompts (text, token ids or ``Prompt``) together; answers in their order.

        With ``n`` choices a prompt has n answers in a row. A prediction is one of all of them.
        """
        several: Any = prompts
        if isinstance(prompts, str) or (prompts and isinstance(prompts[0], int)):
            several = [prompts]
        read = [self._prompt(prompt) for prompt in several]
        return self._run(read, sampling, speculation, prediction)

    def generate_stream(
        self,
        prompt: str | list[int] | Prompt,
        sampling: Sampling | None = None,
        speculation: Speculation | None = None,
        prediction: str | list[int] = "",
    ) -> Iterator[Piece]:
        """Continue one prompt piece by piece; closing the iterator cancels the rest."""
        return self._stream([self._prompt(prompt)], sampling, speculation, prediction)

    def _compose(self, messages: list[dict[str, Any]]) -> Prompt:
        return compose(messages, self.processor, max_context=self.engine.target.max_context)

    def _prompt(self, prompt: str | list[int] | Prompt) -> Prompt:
        if isinstance(prompt, Prompt):
            return prompt
        if isinstance(prompt, str):
            return self.processor.text(prompt)
        return self.processor.ids(prompt)

    def _predicted(self, prediction: str | list[int]) -> np.ndarray:
        if isinstance(prediction, str) and prediction:
            return predicted(prediction, self.processor, self.engine.target.max_context)
        return np.array(list(prediction), np.int64)

    def _run(
        self, prompts: list[Prompt], sampling: Sampling | None, speculation: Speculation | None,
        prediction: str | list[int],
    ) -> list[Answer]:  # fmt: skip
        answers: dict[int, Answer] = {}
        for piece in self._stream(prompts, sampling, speculation, prediction):
            if piece.answer is not None:
                answers[piece.index] = piece.answer
        return [answers[index] for index in sorted(answers)]

    def _stream(
        self, prompts: list[Prompt], sampling: Sampling | None, speculation: Speculation | None,
        prediction: str | list[int],
    ) -> Iterator[Piece]:  # fmt: skip
        asked, guess = sampling or Sampling(), self._predicted(prediction)
        requests = {
            f"llm-{next(self._ids)}": (index, prompt) for index, prompt in enumerate(prompts)
        }
        open_choices: dict[tuple[str, int], _Choice] = {}
        try:
            for id, (index, prompt) in requests.items():
                request = Request(id, prompt, asked, speculation or Speculation(), prediction=guess)
                self.engine.submit(request)
                for choice in range(asked.n):
                    stream = TextStream(self.processor, asked.stop, asked.include_stop)
                    place = index * asked.n + choice
                    open_choices[id, choice] = _Choice(place, len(prompt.ids), stream)
            while open_choices:
                for delta in self.engine.step():
                    choice_read = open_choices.get((delta.request_id, delta.choice))
                    if choice_read is None:
                        continue
                    piece = choice_read.read(delta)
                    if piece.answer is not None:
                        del open_choices[delta.request_id, delta.choice]
                    elif choice_read.stopped:
                        # Its last Delta, with the report, comes with the next step.
                        self.engine.cancel(delta.request_id, delta.choice, "stop")
                    yield piece
        finally:
            for id in requests:
                self.engine.cancel(id)


class _Choice:
    """One choice being read: tokens so far, and the text they are certain to be."""

    def __init__(self, index: int, prompt_tokens: int, stream: TextStream) -> None:
        self.index = index
        self.prompt_tokens = prompt_tokens
        self._stream = stream
        self._text: list[str] = []
        self._tokens: list[int] = []
        self._logprobs: list[TokenLogprob] = []
        self._scored: list[TokenLogprob] = []

    @property
    def stopped(self) -> bool:
        """Whether a stop string completed."""
        return self._stream.stopped is not None

    def read(self, delta: Delta) -> Piece:
        """Take one Delta; the piece has an answer when the choice is over."""
        if delta.error is not None:
            raise EngineFaultError(delta.error)
        before = self._stream.count
        text = self._stream.push(delta.tokens)
        fresh = list(delta.tokens[: self._stream.count - before])
        self._tokens += fresh
        self._logprobs += (delta.logprobs or ())[: len(fresh)]
        self._scored += delta.prompt_logprobs or ()
        over = delta.finish_reason is not None
        if over:
            text += self._stream.finish()
        self._text.append(text)
        reason = "stop" if self.stopped else str(delta.finish_reason)
        answer = self._answer(delta, reason) if over else None
        return Piece(index=self.index, text=text, token_ids=fresh, answer=answer)

    def _answer(self, delta: Delta, reason: str) -> Answer:
        return Answer(
            text="".join(self._text),
            token_ids=self._tokens,
            finish_reason=reason,
            seed=delta.seed,
            prompt_tokens=self.prompt_tokens,
            cached_tokens=delta.cached_tokens,
            speculation=delta.report or SpeculationReport(),
            logprobs=self._logprobs or None,
            prompt_logprobs=self._scored or None,
        )
