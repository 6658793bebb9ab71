"""A drafter that has read the beginning of the answer, and a server that runs it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import numpy as np
import tiny
from running import engine, run
from serve.conftest import running
from serve.fake import ByteProcessor

from mmspec.core.drafter import Needs
from mmspec.core.request import Prompt, Sampling
from mmspec.core.tree import TokenTree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from serve.conftest import Running

TEXT = "the way of it"
COUNT, KNOWN, AHEAD = 24, 12, 3


class Quoting:
    """Guesses the next three tokens of a known text, and a wrong one; then has nothing to say."""

    needs = Needs()

    def __init__(self, text: list[int], vocabulary: int) -> None:
        self._text = text
        self._wrong = vocabulary - 2

    def observe(self, sequences, seen) -> None:
        """Nothing to learn."""

    def draft(self, sequences, budgets) -> list[TokenTree]:
        """A chain a sequence, a lie at its end."""
        return [self._tree(one, budget) for one, budget in zip(sequences, budgets, strict=True)]

    def forget(self, id) -> None:
        """Nothing is held."""

    def _tree(self, sequence, budget) -> TokenTree:
        said = len(sequence.output)
        ahead = (
            self._text[said : said + AHEAD] if sequence.output.tolist() == self._text[:said] else []
        )
        chain = [int(sequence.tokens[-1]), *ahead, *([self._wrong] if ahead else [])]
        return TokenTree.chain(np.array(chain[: budget.depth + 1], np.int64))


@contextlib.contextmanager
def quoting_server(**options) -> Iterator[Running]:
    """A tiny llama whose answer to ``TEXT`` begins as its drafter knows."""
    target = tiny.target("llama", "bitwise")
    prompt = Prompt(np.array(list(TEXT.encode()), np.int64))
    plain = Sampling(temperature=0.0, max_tokens=COUNT)
    text = run(engine(target), {"a": prompt}, plain)["a"]
    drafters = {"quoting": Quoting(text[:KNOWN], target.facts.vocabulary)}
    with running(engine(target, drafters, prefix_cache=True), ByteProcessor(), **options) as server:
        yield server
