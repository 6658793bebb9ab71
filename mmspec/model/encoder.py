"""Encoder: the vision tower in a thread of its own, so that a new picture stalls nobody's text.

One worker encodes one picture at a time, in the order asked for, each in a call of its own shape
and with as many threads inside an operator as the asker has. So a picture's features have the same
bits alone or among others, beside decoding or not, in this thread or another.

Features are a pure function of a picture's pixels and the processor's settings, both in its digest.
Sharing them between requests therefore tells nobody anything, except by time: who sends a picture
and is answered sooner than usual may conclude that somebody sent the very same pixels lately. The
prefix cache allows the same conclusion. Where that is too much, a limit of 0 shares nothing between
requests, not even between two that are in flight together.
"""

from __future__ import annotations

import logging
import time
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from mmspec.model.features import FeatureCache

if TYPE_CHECKING:
    from collections.abc import Callable

    from mmspec.core.request import Media
    from mmspec.core.sequence import Sequence
    from mmspec.model.families.family import Encoded

    Timed = tuple[Encoded, float]

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Job:
    """One run of the tower, and the sequences that wait for it."""

    future: Future[Timed]
    waiting: list[str]


class Encoder:
    """Pictures are ordered, waited for, looked at and released, by sequence.

    All methods are for one thread, the engine's; the worker touches nothing here.

    Args:
        encode: the tower; a pure function of the picture. limit: bytes of features to remember.
        device: where the tower runs. On CUDA it gets a stream of its own.

    Attributes:
        worker: runs the tower, one picture at a time.
        hits, misses: pictures of admitted prompts whose features were there or on their way, and
            those for which the tower was asked. seconds: spent in the tower.
    """

    def __init__(
        self, encode: Callable[[Media], Encoded], limit: int, device: torch.device
    ) -> None:
        self._encode = encode
        self._cache = FeatureCache(limit)
        self._jobs: dict[str, _Job] = {}
        self._held: dict[str, list[str]] = {}  # sequence id -> keys of its pictures
        # Its thread starts with the first picture, and ends when this object goes.
        self.worker: Executor = ThreadPoolExecutor(1, thread_name_prefix="mmspec-encoder")
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self.hits = self.misses = 0
        self.seconds = 0.0

    @property
    def bytes(self) -> int:
        """Bytes of features held now."""
        return self._cache.bytes

    def order(self, sequence: Sequence) -> None:
        """Have the pictures of what is not cached encoded, unless they are; returns at once."""
        held = self._held.setdefault(sequence.id, [])
        for one in sequence.prompt.media:
            if one.start + one.length <= sequence.cached:
                continue
            key = self._key(sequence, one)
            if key in held or self._cache.hold(key):
                self.hits += 1
            elif key in self._jobs:
                self.hits += 1
                self._jobs[key].waiting.append(sequence.id)
            else:
                self.misses += 1
                # The number of threads decides bits, and a new thread would take torch's default.
                future = self.worker.submit(self._run, one, torch.get_num_threads())
                self._jobs[key] = _Job(future, [sequence.id])
            if key not in held:
                held.append(key)

    def collect(self) -> dict[str, BaseException]:
        """Take in what the worker has finished: by sequence, what it failed on.

        A picture that cannot be encoded fails all who wait for it, and is not remembered.
        """
        failures: dict[str, BaseException] = {}
        for key, job in [item for item in self._jobs.items() if item[1].future.done()]:
            del self._jobs[key]
            error = job.future.exception()
            if error is None:
                encoded, seconds = job.future.result()
                self.seconds += seconds
                self._adopt(encoded)
                self._cache.add(key, encoded, len(job.waiting))
                continue
            _log.error("a picture could not be encoded", exc_info=error)
            for id in job.waiting:
                self._held[id].remove(key)
                failures[id] = error
        return failures

    def ready(self, id: str) -> bool:
        """Whether everything ordered for a sequence can be looked at."""
        return all(key in self._cache for key in self._held.get(id, ()))

    def wait(self, seconds: float) -> bool:
        """Sleep until a picture is done, but no longer than this; False: none is awaited."""
        futures = [job.future for job in self._jobs.values() if job.waiting]
        wait(futures, seconds, FIRST_COMPLETED)
        return bool(futures)

    def look(self, sequence: Sequence, media: Media) -> Encoded:
        """Features of a picture that was ordered and is ready."""
        return self._cache[self._key(sequence, media)]

    def release(self, id: str) -> None:
        """A sequence needs its pictures no more; what nobody waits for is not begun."""
        for key in self._held.pop(id, ()):
            if (job := self._jobs.get(key)) is None:
                self._cache.release(key)
                continue
            job.waiting.remove(id)
            if not job.waiting and job.future.cancel():
                del self._jobs[key]

    def reset(self) -> None:
        """Forget all pictures and count anew; nothing may be in flight."""
        self._jobs.clear()
        self._cache.clear()
        self.hits = self.misses = 0
        self.seconds = 0.0

    def _key(self, sequence: Sequence, media: Media) -> str:
        return media.digest if self._cache.limit else f"{media.digest} {sequence.request.id}"

    def _run(self, media: Media, threads: int) -> Timed:
        """The worker's part."""
        torch.set_num_threads(threads)
        began = time.perf_counter()
        if self._stream is None:
            return self._encode(media), time.perf_counter() - began
        with torch.cuda.stream(self._stream):
            encoded = self._encode(media)
        self._stream.synchronize()
        return encoded, time.perf_counter() - began

    def _adopt(self, encoded: Encoded) -> None:
        """Tell CUDA's allocator that the engine's stream reads what another one wrote."""
        if self._stream is not None:
            reader = torch.cuda.current_stream(self._stream.device)
            for part in (encoded.embeds, *encoded.deepstack):
                part.record_stream(reader)
