"""A server of our own for the length of a benchmark."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from mmspec_evals.errors import EvalError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

START_SECONDS = 600.0  # a large model takes long to load
_STOP_SECONDS = 45.0


@contextlib.contextmanager
def launched(model: str, flags: Sequence[str] = ()) -> Iterator[str]:
    """Run ``mmspec serve`` on a free port; gives its base URL, ``http://.../v1``.

    Args:
        model: what to serve. flags: further flags of ``mmspec serve``.

    Raises:
        EvalError: it did not come up; the message ends with what it said.
    """
    port = _free_port()
    command = [sys.executable, "-m", "mmspec", "serve", "--model", model, "--port", str(port)]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "serve.log"
        with log.open("wb") as sink:
            process = subprocess.Popen([*command, *flags], stdout=sink, stderr=subprocess.STDOUT)
        try:
            _await_ready(process, port, log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def _await_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"http://127.0.0.1:{port}/ready", timeout=5).status_code == 200:
                return
        time.sleep(0.2)
    said = log.read_bytes()[-2000:].decode("utf-8", "replace")
    raise EvalError(f"mmspec serve did not come up:\n{said}")
