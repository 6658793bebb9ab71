"""Making an excerpt and reading it, piece by piece, while the target reads the whole prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Executor

    import numpy as np


class Reading:
    """One excerpt on its way into the draft model's store.

    Args:
        make: the tokens to be read, int64 [C]. read: puts some of them behind so many others.
        piece: tokens read at once; between two pieces it can be stopped.
        worker: reads it in its own thread; None: it is read by ``advance``, a piece at a time.

    Attributes:
        count: tokens of the excerpt, once it is made.
    """

    def __init__(
        self,
        make: Callable[[], np.ndarray],
        read: Callable[[np.ndarray, int], None],
        piece: int,
        worker: Executor | None,
    ) -> None:
        self._make, self._read, self._piece = make, read, piece
        self.count = 0
        self._stopped = False
        self._pieces = self._run()
        # The number of threads inside an operator is the asker's, as for the vision tower.
        threads = torch.get_num_threads()
        self._future = None if worker is None else worker.submit(self._all, threads)
        self._done = False
        self._error: Exception | None = None

    @property
    def over(self) -> bool:
        """Whether nothing more will be written."""
        return self._done if self._future is None else self._future.done()

    def advance(self, seconds: float | None = 0.0) -> bool:
        """Read one more piece, or wait so long for the thread that does; whether all is read.

        Raises:
            Exception: whatever making or reading it raised.
        """
        if self._error is not None:  # its pieces have ended, and it is not read
            raise self._error
        if self._future is None:
            try:
                self._done = self._done or next(self._pieces, True)
            except Exception as error:
                self._error = error
                raise
            return self._done
        try:
            self._future.result(seconds)
        except TimeoutError:
            return False
        return True

    def stop(self) -> bool:
        """Read no further piece; False: one is under way."""
        self._stopped = True
        return self._future is None or self._future.cancel() or self._future.done()

    def _all(self, threads: int) -> None:
        torch.set_num_threads(threads)
        for _ in self._pieces:
            pass

    def _run(self) -> Iterator[bool]:
        """True after the last piece; stopped, it just ends."""
        tokens = self._make()
        self.count = len(tokens)
        for start in range(0, len(tokens), self._piece):
            if self._stopped:
                return
            with torch.inference_mode():
                self._read(tokens[start : start + self._piece], start)
            yield start + self._piece >= len(tokens)
