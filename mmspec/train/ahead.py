"""What the next steps read, made by worker processes while the model learns from this one's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from torch.utils.data import DataLoader, Dataset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Made = TypeVar("Made")
WAITING = 4  # steps that a worker may be ahead


class _Steps(Dataset[Made]):
    def __init__(self, make: Callable[[int], Made]) -> None:
        self._make = make

    def __getitem__(self, step: int) -> Made:
        return self._make(step)


class Ahead(Generic[Made]):
    """A pure function of the step, asked for one step after another.

    Args:
        make: picklable, and without a model: workers have no accelerator.
        steps: how many there are.
        workers: processes; with 0 each value is made when it is asked for.
    """

    def __init__(self, make: Callable[[int], Made], steps: int, workers: int = 0) -> None:
        self._make, self._steps, self._workers = make, steps, workers
        self._stream: Iterator[Made] = iter(())
        self._next = -1

    def __call__(self, step: int) -> Made:
        """The value of a step; steps that do not follow one another start the workers anew."""
        if self._workers == 0:
            return self._make(step)
        if step != self._next:
            loader = DataLoader(
                _Steps(self._make),
                batch_size=None,
                sampler=range(step, self._steps),
                num_workers=self._workers,
                prefetch_factor=WAITING,
                collate_fn=_as_made,
            )
            self._stream = iter(loader)
        self._next = step + 1
        return next(self._stream)


def _as_made(value: Made) -> Made:
    return value
