"""What every route needs: the engine's bridge, the processor, limits, and hands for heavy work."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from mmspec.model.detokenize import Pieces
from mmspec.serve.answer import Answer
from mmspec.serve.errors import unknown_model
from mmspec.vision.media import DEFAULT_LIMITS, MediaLimits
from mmspec.vision.prompt import ChatProcessor

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL import Image

    from mmspec.core.request import Prompt
    from mmspec.serve.bridge import Bridge
    from mmspec.serve.document_desk import DocumentDesk
    from mmspec.serve.fetch import Fetcher
    from mmspec.serve.file_desk import FileDesk
    from mmspec.serve.metrics import Metrics
    from mmspec.serve.stream import Call
    from mmspec.serve.visit import Visit

T = TypeVar("T")


class WireProcessor(ChatProcessor, Pieces, Protocol):
    """The model's processor, as far as the server uses it."""

    @property
    def name(self) -> str:
        """The id clients ask for."""
        ...

    @property
    def vocabulary(self) -> int:
        """Token ids lie below this."""
        ...

    def text(self, text: str) -> Prompt:
        """A plain text prompt."""
        ...

    def ids(self, ids: list[int]) -> Prompt:
        """A prompt of token ids."""
        ...

    def decode(self, ids: Any) -> str:
        """Token ids as text."""
        ...

    def encode(self, text: str, special: bool = True) -> list[int]:
        """Token ids of a text in which control tokens may be spelt out."""
        ...

    @property
    def card(self) -> dict[str, Any]:
        """The tokenizer's facts, for clients that template and read for themselves."""
        ...


class GuardedProcessor:
    """A processor for several threads: one at a time encodes.

    Tokenizers keep settings of the call (such as how to read special tokens) on themselves, so
    that two calls at once could read each other's.
    """

    def __init__(self, processor: WireProcessor) -> None:
        self._processor = processor
        self._encoding = threading.Lock()
        self.name = processor.name
        self.vocabulary = processor.vocabulary
        self.accepts_images = processor.accepts_images
        self.special_tokens = processor.special_tokens
        self.token_bytes = processor.token_bytes
        self.decode = processor.decode
        self.card = processor.card

    def chat(
        self,
        messages: list[dict[str, Any]],
        images: list[Image.Image],
        add_generation_prompt: bool = True,
    ) -> Prompt:
        """A conversation as a prompt."""
        with self._encoding:
            return self._processor.chat(messages, images, add_generation_prompt)

    def text(self, text: str) -> Prompt:
        """A plain text prompt."""
        with self._encoding:
            return self._processor.text(text)

    def ids(self, ids: list[int]) -> Prompt:
        """A prompt of token ids."""
        return self._processor.ids(ids)

    def encode(self, text: str, special: bool = True) -> list[int]:
        """Token ids of a text in which control tokens may be spelt out."""
        with self._encoding:
            return self._processor.encode(text, special)


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One model, served.

    Attributes:
        max_context: positions of the model.
        root: where the model was loaded from, by which tools find its tokenizer.
        max_calls: calls at a time; the server is not ready for more.
        dead_seconds: a busy engine that has not finished a step for so long is not healthy.
        drafters: addresses of the drafters at work.
        heartbeat: seconds of silence before a stream says that it still lives.
        patience: seconds a stream waits for its first news before it opens with status 200.
        files: uploaded files.
        documents: what is kept of them as text.
        fetcher: brings pictures named by URL; None: they are refused.
        workers: threads that decode pictures, fill templates and tokenise.
    """

    bridge: Bridge
    processor: WireProcessor
    metrics: Metrics
    max_context: int
    root: str = ""
    max_calls: int = 288
    dead_seconds: float = 60.0
    drafters: tuple[str, ...] = ()
    media: MediaLimits = DEFAULT_LIMITS
    heartbeat: float = 10.0
    patience: float = 1.0
    files: FileDesk | None = None
    documents: DocumentDesk | None = None
    fetcher: Fetcher | None = None
    workers: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(2, thread_name_prefix="mmspec-prepare")
    )

    async def heavy(self, work: Callable[[], T]) -> T:
        """Run blocking work off the event loop; at most as many at once as there are workers."""
        return await asyncio.get_running_loop().run_in_executor(self.workers, work)

    async def ask(self, visit: Visit, call: Call) -> Answer:
        """Hand requests to the engine; everything they hold is freed when the visit ends.

        Raises:
            BadRequestError: the engine refuses one.
            OverloadedError: no room, or shutting down.
            EngineFaultError: the engine is dead.
            ClientGoneError: the client left meanwhile.
        """
        ticket = await self.bridge.submit(call.requests)
        visit.adopt(ticket)
        answer = Answer(
            ticket, call.requests, self.processor, call.skip_special, reports=call.report
        )
        visit.answer = answer
        return answer

    def check_model(self, name: str) -> None:
        """Refuse another model's name.

        Raises:
            HttpError: 404.
        """
        if name != self.processor.name:
            raise unknown_model(name)
