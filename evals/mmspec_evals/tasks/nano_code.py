"""Going on with a module of Python's standard library: real text that repeats itself as code does.

The bundled model read this library while training, so its score says nothing about unseen code;
the task is there for speed, and for models that did not.
"""

from __future__ import annotations

import platform
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

from mmspec.train.data.seeds import generator
from mmspec.train.data.source import modules
from mmspec_evals.doc import Doc, Text
from mmspec_evals.metrics.likeness import edit_similarity
from mmspec_evals.task import Corpus, Metric, Task, Want
from mmspec_evals.tasks.synthetic import corpus

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CAP = 256  # tokens to add
TOKENS = 512  # of the beginning shown, when the run names no lengths
DOCUMENTS = 20


def _beginnings(want: Want) -> Iterator[Doc]:
    """The first lines of modules, up to a wished length, with what stands there next."""
    root = Path(sysconfig.get_path("stdlib"))
    lengths = want.tokens or (TOKENS,)
    long = [path for path in modules() if path.stat().st_size > 8 * (max(lengths) + CAP)]
    chosen = generator(want.seed, "nano_code").sample(long, min(want.limit or DOCUMENTS, len(long)))
    for index, path in enumerate(chosen):
        tokens, name = lengths[index % len(lengths)], path.relative_to(root).as_posix()
        text = path.read_text(encoding="utf-8", errors="replace")
        cut = _cut(text, tokens, want)
        yield Doc(
            id=f"{name}-{tokens}",
            turns=((Text(text[:cut], trim=True),),),
            target=text[cut : cut + 8 * CAP],
            cluster=name,
        )


def _cut(text: str, tokens: int, want: Want) -> int:
    """A line's end at about so many tokens."""
    size = 4 * tokens
    size = size * tokens // max(want.count(text[:size]), 1)
    return text.find("\n", size) + 1 or len(text)


def _alike(answers: tuple[str, ...], doc: Doc) -> Mapping[str, float]:
    """The answer against as many characters of the real module; silence is like nothing."""
    said = answers[0]
    alike = edit_similarity(said, doc.target[: len(said)]) if said else 0.0
    return {"edit_similarity": alike}


def _load(want: Want) -> Corpus:
    return corpus(_beginnings(want), f"standard library of Python {platform.python_version()}")


CODE = Task("nano_code", 1, "speed", "completion", CAP, (Metric("edit_similarity"),), _load, _alike)
