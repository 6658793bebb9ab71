"""Writing the folder of a run: samples synced one by one, events, one writer at a time."""

from __future__ import annotations

import os
import time
import traceback
from typing import TYPE_CHECKING, Any

import msgspec

from mmspec_evals.errors import PlanError
from mmspec_evals.running.layout import Layout

if TYPE_CHECKING:
    from pathlib import Path

    from mmspec_evals.running.plan import Plan
    from mmspec_evals.trace import Sample


class Journal:
    """The pen of one process start.

    Args:
        root: the run's folder, made if need be. session: this process start, in every line.

    Raises:
        PlanError: another process writes here.
    """

    def __init__(self, root: Path, session: str) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.layout = Layout(root)
        self.session = session
        self._lock = (root / ".lock").open("ab")
        try:
            _claim(self._lock.fileno(), root)
        except PlanError:
            self._lock.close()
            raise

    def sample(self, sample: Sample) -> None:
        """Append one line and wait until the disk has it."""
        path = self.layout.samples(sample.task, sample.method, sample.repeat)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as opened:
            opened.write(msgspec.json.encode(sample) + b"\n")
            opened.flush()
            os.fsync(opened.fileno())

    def event(self, event: str, **facts: Any) -> None:
        """Append one line to the log."""
        row = {"time": round(time.time(), 3), "session": self.session, "event": event, **facts}
        with self.layout.log.open("ab") as opened:
            opened.write(msgspec.json.encode(row, enc_hook=str) + b"\n")

    def failure(self, event: str, error: BaseException, **facts: Any) -> None:
        """Log an exception with its traceback."""
        trail = "".join(traceback.format_exception(error))
        self.event(event, error=told(error), traceback=trail, **facts)

    def mend(self, plan: Plan) -> None:
        """Cut half-written last lines off, so that what is appended starts a line of its own."""
        paths = [
            self.layout.samples(task.name, arm.label, repeat)
            for task in plan.tasks
            for arm in plan.arms
            for repeat in range(plan.repeats)
        ]
        for path in (*paths, self.layout.log):
            lost = mend(path)
            if lost:
                self.event("mended", path=str(path.relative_to(self.layout.root)), bytes=lost)

    def close(self) -> None:
        """Let others write."""
        self._lock.close()


def mend(path: Path) -> int:
    """Truncate a file after its last newline; returns the bytes that went."""
    if not path.is_file():
        return 0
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.truncate(path, whole)
    return len(data) - whole


def replace(path: Path, value: Any) -> None:
    """Write a JSON file that is either the old one or the new one, never half of it."""
    part = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    with part.open("wb") as opened:
        opened.write(msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n")
        opened.flush()
        os.fsync(opened.fileno())
    part.replace(path)


def told(error: BaseException) -> str:
    """Class and message of an exception."""
    return f"{type(error).__name__}: {error}"


def _claim(descriptor: int, root: Path) -> None:
    """Hold a lock until the file is closed or the process ends, however it ends."""
    try:
        import fcntl  # noqa: PLC0415  # where there is none, two writers are the user's care
    except ImportError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise PlanError(f"another process writes to {root}") from error
