"""``python -m mmspec.serve.document_process``: one document from standard input, its text out.

A stranger's document meets a parser here, so the process first takes away from itself what a
parser does not need: memory, processor time, files. Its exit status says why there is no text.
"""

from __future__ import annotations

import resource
import sys
from typing import TYPE_CHECKING

from mmspec.serve.document_text import UnreadableError, Why

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

_FILES = 64  # Python imports through them


def main(arguments: list[str]) -> int:
    """Read a document; arguments are kind, seconds, bytes, pages and characters."""
    kind = arguments[0]
    seconds, memory, pages, characters = map(int, arguments[1:])
    parse = parser_of(kind, pages, characters)
    confine(seconds, memory)
    try:
        text = parse(sys.stdin.buffer)
    except UnreadableError as error:
        return error.why
    except (MemoryError, RecursionError):
        return Why.COSTLY
    except Exception:  # noqa: BLE001 - parsers of malformed documents raise anything
        return Why.MALFORMED
    if len(text) > characters:
        return Why.LONG
    sys.stdout.buffer.write(text.encode())
    return 0


def confine(seconds: int, memory: int) -> None:
    """From here on this process may use so much and no more.

    Args:
        seconds: of the processor. memory: bytes of address space.
    """
    for what, limit in (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_NOFILE, _FILES),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (limit, limit))


def parser_of(kind: str, pages: int, characters: int) -> Callable[[BinaryIO], str]:
    """What reads this kind of document; what reads another is not imported."""
    if kind == "pdf":
        from mmspec.serve.document_pdf import pdf_text  # noqa: PLC0415

        return lambda source: pdf_text(source, pages, characters)
    from mmspec.serve.document_html import html_text  # noqa: PLC0415

    return lambda source: html_text(source.read())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
