"""From a document's turn to a case: everything every method needs, made once, outside any timer."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from mmspec.core.errors import BadRequestError
from mmspec.core.request import MAX_SEED, Sampling
from mmspec_evals.method import Case, UnsupportedError
from mmspec_evals.running.draft import Draft

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mmspec.core.request import Prompt
    from mmspec.model.processor import Processor
    from mmspec_evals.doc import Doc
    from mmspec_evals.task import Task

Truncate = Literal["context", "official"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a run says about all its cases.

    Attributes:
        max_new_tokens: cap of every answer; None takes the document's or the task's own.
        truncate: "context" shortens only the parts meant for it; "official" cuts the whole text of
            the last turn as InfiniteBench's scripts do, question and all.
        official_tokens: longest official prompt; None, or what leaves no room, takes what fits.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    max_new_tokens: int | None = None
    ignore_eos: bool = False
    truncate: Truncate = "context"
    official_tokens: int | None = None


class Preparer:
    """Makes cases for one target.

    Args:
        processor: the target's. context: most tokens of prompt and answer together.
        asked: temperature, seed, caps and truncation of the run.
    """

    def __init__(self, processor: Processor, context: int, asked: Asked = Asked()) -> None:
        self._processor = processor
        self._context = context
        self._asked = asked

    def count(self, text: str) -> int:
        """Tokens of a bare text."""
        return len(self._processor.text(text).ids)

    def case(
        self, task: Task, doc: Doc, turn: int = 0, answers: Sequence[str] = (), repeat: int = 0
    ) -> Case:
        """Turn number ``turn`` after the ``answers`` given to the turns before it.

        Raises:
            UnsupportedError: it cannot fit the context, or the target cannot read it.
        """
        if len(answers) != turn:
            raise ValueError(f"turn {turn} follows {turn} answers, not {len(answers)}")
        style = doc.fields.get("style", task.style)
        cap = self._asked.max_new_tokens or doc.fields.get("max_new_tokens", task.max_new_tokens)
        draft = Draft(self._processor, doc, doc.turns[: turn + 1], tuple(answers), style, {})
        try:
            fitted, prompt, missing = self._fit(draft, self._context - cap)
        except BadRequestError as error:
            where = f" ({error.param})" if error.param else ""
            raise UnsupportedError(f"{error}{where}") from error
        sampling = Sampling(
            temperature=self._asked.temperature,
            top_p=self._asked.top_p,
            seed=_seed(self._asked.seed, task.name, doc.id, turn, repeat),
            max_tokens=cap,
            ignore_eos=self._asked.ignore_eos,
        )
        chat = style == "chat"
        return Case(
            prompt=prompt,
            sampling=sampling,
            messages=fitted.messages() if chat else None,
            text=None if chat else fitted.text(),
            truncated=missing,
        )

    def _fit(self, draft: Draft, room: int) -> tuple[Draft, Prompt, int]:
        """A draft whose prompt has at most ``room`` tokens, the prompt, and how many are gone."""
        prompt = draft.prompt()
        whole, limit = len(prompt.ids), room
        official = self._asked.truncate == "official"
        if official and self._asked.official_tokens is not None:
            limit = min(room, self._asked.official_tokens)
        if room < 1 or (whole > limit and not (official or draft.trimmable())):
            raise _too_long(whole, room, self._context)
        shorter, excess = draft, 0
        while len(prompt.ids) > limit:
            # Text that was joined anew may count a few tokens more than its parts did.
            excess += len(prompt.ids) - limit
            found = draft.cut(excess) if official else draft.trim(excess)
            if found is None:
                raise _too_long(whole, room, self._context)
            shorter, prompt = found, found.prompt()
        return shorter, prompt, whole - len(prompt.ids)


def prompt_sha(prompt: Prompt) -> str:
    """SHA-256 over a prompt's ids and its pictures: equal prompts, and no others, share it."""
    seal = hashlib.sha256(prompt.ids.astype("<i8").tobytes())
    for one in prompt.media:
        seal.update(f"{one.digest} {one.start} {one.length} ".encode())
    return seal.hexdigest()


def _seed(*parts: object) -> int:
    """A seed of this case's own, the same for every method."""
    text = "\n".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "little") & MAX_SEED


def _too_long(whole: int, room: int, context: int) -> UnsupportedError:
    return UnsupportedError(
        f"the prompt has {whole} tokens; a context of {context} leaves it {max(0, room)} beside "
        "the answer, and no more of it may be left out"
    )
