"""RAPID's drafter: a small model that reads an excerpt of a long prompt drafts for all of it.

Chen et al. (arXiv:2502.20330), in its lossless form: passages only change speed. A draft model of
the same tokenizer, or the target itself, reads the prompt's beginning, the passages that have to do
with its end, and its end, into a store of its own and of constant size. Passages are found and read
beside the target's own prefill: in a thread, or, where the drafter is the target itself, piece by
piece between its chunks.

For requests that ask for transfer it also says its law at every node (``laws``).
"""

from __future__ import annotations

from concurrent.futures import Executor, ThreadPoolExecutor
from typing import TYPE_CHECKING, Annotated

import numpy as np
import torch
from msgspec import Meta

from mmspec.core.errors import ConfigError, EngineFaultError
from mmspec.longctx.excerpt import Measures, Spelt, excerpt
from mmspec.longctx.rapid_memory import Excerpted, Excerpts
from mmspec.longctx.rapid_reading import Reading
from mmspec.model.target import Target
from mmspec.text import draft_model
from mmspec.text.asked_pages import AskedPages
from mmspec.text.draft_model import CHUNK, DraftModel, read_roots
from mmspec.text.draft_model_load import load_draft_model
from mmspec.text.spots import REACH, Home
from mmspec.text.tree_spots import tree_spots

if TYPE_CHECKING:
    from collections.abc import Sequence as ListOf

    from mmspec.core.drafter import Facts, Observation
    from mmspec.core.ranker import Ranker
    from mmspec.core.request import Request
    from mmspec.core.sequence import Sequence
    from mmspec.core.tree import TokenTree
    from mmspec.model.cache import KVCache
    from mmspec.text.draft_model_memory import Memory

ADDRESS = "longctx.rapid"
MOMENT = 0.001  # seconds that asking whether a law can be had may take


class Config(draft_model.Config, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of ``[drafters.longctx.rapid]``; lengths are in tokens."""

    path: str = ""  # a model folder, a hub id, a bundled model's name; empty: the target itself
    longer_than: Annotated[int, Meta(ge=1)] = 8192  # prompts up to this long are left to others
    passage: Annotated[int, Meta(ge=2)] = 512  # most of one passage
    share: Annotated[int, Meta(ge=1)] = 24  # one token in so many of the prompt is read
    at_least: Annotated[int, Meta(ge=1)] = 4096  # of passages, whatever the share
    at_most: Annotated[int, Meta(ge=1)] = 8192
    follow: Annotated[int, Meta(ge=0)] = 1  # passages read behind each that is relevant
    head: Annotated[int, Meta(ge=0)] = 64  # of the prompt's beginning: always read
    tail: Annotated[int, Meta(ge=8)] = 256  # of its end
    question: Annotated[int, Meta(ge=8)] = 128  # most of its end that passages are ranked by
    answer: Annotated[int, Meta(ge=128)] = 1024  # of the answer it keeps in sight
    ranker: str = "lexical"  # what finds passages; "dense:MODEL", "random:SEED", "oracle:FILE"
    beside: bool = True  # read excerpts in a thread; the target itself never does


class Rapid(DraftModel):
    """A draft model over excerpts.

    Args:
        facts: of the target. model: the drafter's. ranker: finds passages.
    """

    _memories: Excerpts

    def __init__(self, config: Config, facts: Facts, model: Target, ranker: Ranker) -> None:
        self._asked = config
        self._measures = Measures(
            config.head, config.tail, config.passage, config.question, config.share,
            min(config.at_least, config.at_most), config.at_most, config.follow,
        )  # fmt: skip
        super().__init__(config, facts, model, AskedPages(config, None))
        self._vocabulary = facts.vocabulary
        self._spelt = Spelt(_pieces(facts))
        self._ranker = ranker
        # Two threads in one model's own layers could change what the target says, where a family
        # keeps state there; and the target's bits are nobody's to risk.
        beside = config.beside and model is not facts.model
        # Its thread starts with the first excerpt, and ends when this object goes.
        self.worker: Executor | None = (
            ThreadPoolExecutor(1, thread_name_prefix="mmspec-excerpts") if beside else None
        )

    def declines(self, request: Request) -> str | None:
        """Short prompts, pictures, and answers to be tilted that would outgrow its memory."""
        count, most = len(request.prompt.ids), self._asked.longer_than
        if request.prompt.media:
            return "it reads no pictures"
        if count <= most:
            return f"the prompt has {count} tokens; excerpts are made of more than {most}"
        asked = request.sampling.max_tokens
        if request.speculation.transfer is not None and not 0 < (asked or 0) <= self._asked.answer:
            return f"transfer is for answers of at most {self._asked.answer} tokens (max_tokens)"
        return None

    def reach(self, request: Request) -> int | None:
        """Any text: its excerpt is as long as it may be, and of an answer it keeps the end."""
        return None

    @torch.inference_mode()
    def observe(self, sequences: ListOf[Sequence], seen: Observation) -> None:
        """Have the excerpt made and read as soon as the prompt is met; then keep up."""
        self._memories.sweep()
        for sequence in sequences:
            memory = self._memories.of(sequence)
            if memory is not None and self._open(memory):
                self._catch_up(memory, min(sequence.cached, len(sequence) - 1))

    def ready(self, sequence: Sequence) -> bool:
        """Whether the excerpt is read; begins that where nobody has."""
        memory = self._memories.of(sequence)
        return memory is None or self._open(memory, MOMENT)

    @torch.inference_mode()
    def laws(self, sequence: Sequence, tree: TokenTree) -> tuple[TokenTree, np.ndarray | None]:
        """What it would say after every node, by one pass over the tree; waits for the excerpt."""
        held = self._memories.of(sequence)
        if held is None:
            raise EngineFaultError("there is no room for the drafter that was to be transferred")
        while not self._open(held, None):
            pass
        memory = self._ready(sequence)
        if memory is None:
            return tree.truncate(0), None
        unknown = np.array([len(self._memories.readable(one)) == 0 for one in tree.tokens[:, None]])
        tree = tree.without(unknown).truncate(REACH).prune(self._memories.cache.scratch + 1)
        states = read_roots(self._rows, self._memories, [memory])
        if len(tree) > 1:
            spots = tree_spots(memory.home, tree)
            states = torch.cat([states, self._rows.states(tree.tokens[1:], spots)])
        said = self._rows.logits(states).float().cpu().numpy()[:, : self._vocabulary]
        laws = np.full((len(tree), self._vocabulary), -np.inf, np.float32)
        laws[:, : said.shape[1]] = said
        return tree, laws

    def _memory(self, cache: KVCache, known: np.ndarray, facts: Facts, model: Target) -> Excerpts:
        room = self._measures.most + self._asked.answer + REACH
        if room > model.max_context:
            raise ConfigError(
                f"drafter {ADDRESS}: excerpt and answer take {room} tokens, its model's context "
                f"holds {model.max_context}"
            )
        return Excerpts(cache, known, room)

    def _ready(self, sequence: Sequence) -> Memory | None:
        memory = self._memories.of(sequence)
        if memory is None or not self._open(memory):
            return None
        if memory.filled + len(sequence) - memory.read + REACH > memory.room:
            memory.rewind(self._asked.answer // 2)
        return super()._ready(sequence)

    def _open(self, memory: Excerpted, seconds: float | None = 0.0) -> bool:
        """Whether the excerpt is read, after waiting so long for it (None: to its end)."""
        if memory.lead is not None:
            return True
        sibling = self._memories.sibling(memory) if memory.reading is None else None
        if sibling is not None:  # another choice of the same request: its excerpt is ours
            return self._open(sibling, seconds) and self._memories.share(sibling, memory)
        if memory.reading is None:
            memory.reading = self._begin(memory)
        if not memory.reading.advance(seconds):
            return False
        memory.lead, memory.reading = memory.reading.count, None
        memory.keep(memory.lead, memory.sequence.prompt_length - 1)
        return True

    def _begin(self, memory: Excerpted) -> Reading:
        """Start on a sequence's excerpt; its last token is the first tree's root."""
        ids, base = memory.sequence.prompt.ids, memory.base

        def make() -> np.ndarray:
            whole = excerpt(ids, self._spelt, self._ranker, self._measures)
            return self._memories.readable(whole[:-1])

        def read(tokens: np.ndarray, filled: int) -> None:
            self._rows.chunk(tokens, Home(base, filled))

        return Reading(make, read, CHUNK, self.worker)


def _pieces(facts: Facts) -> list[bytes]:
    """Of every id the target knows: tokenizers know some more, or fewer."""
    unknown = max(facts.vocabulary - len(facts.pieces), 0)
    return [*facts.pieces[: facts.vocabulary], *[b""] * unknown]


def build(config: Config, facts: Facts) -> Rapid:
    """A drafter from its model's folder, in the target's arithmetic and on its device.

    Raises:
        ConfigError: no model we can run, one of other tokens, nothing to rank passages with, or
            lengths that do not go together.
    """
    target = facts.model if isinstance(facts.model, Target) else None
    if config.pages:
        raise ConfigError(f"drafter {ADDRESS}: pages are of a text that is read whole")
    if facts.ranker is None or not facts.pieces:
        raise ConfigError(f"drafter {ADDRESS}: there is nothing to rank passages with")
    if config.longer_than <= config.head + config.tail:
        raise ConfigError(f"drafter {ADDRESS}: longer_than leaves nothing between head and tail")
    if config.path:
        model = load_draft_model(config.path, facts, target, ADDRESS)
    elif target is not None:
        model = target
    else:
        raise ConfigError(f"drafter {ADDRESS}: no model at path, and no target to draft for itself")
    return Rapid(config, facts, model, facts.ranker(config.ranker))
