"""Log-probabilities in the two shapes OpenAI has given them, and in vLLM's for prompts."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

from mmspec.serve.reply import (
    ChatLogprob,
    ChatLogprobs,
    PromptLogprob,
    PromptLogprobs,
    TextLogprobs,
    TopLogprob,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mmspec.core.request import TokenLogprob
    from mmspec.model.detokenize import Pieces

FLOOR = -9999.0  # what OpenAI writes for minus infinity, which JSON cannot


def spell(pieces: Pieces, token: int) -> str:
    """One token as text; bytes that are no whole character become U+FFFD."""
    return pieces.token_bytes(token).decode("utf-8", "replace")


def spell_apart(pieces: Pieces, token: int) -> str:
    r"""One token as text, so that different bytes never look alike: ``bytes:\xe2\x80``.

    The older route keys alternatives by their spelling; two that shared one would be one.
    """
    data = pieces.token_bytes(token)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)


def chat_logprobs(pieces: Pieces, entries: Sequence[TokenLogprob], top: int) -> ChatLogprobs:
    """The shape of ``/v1/chat/completions``, with ``top`` alternatives a token."""
    return ChatLogprobs(
        content=[
            ChatLogprob(
                token=spell(pieces, entry.token),
                logprob=max(entry.logprob, FLOOR),
                bytes=list(pieces.token_bytes(entry.token)),
                top_logprobs=[
                    TopLogprob(
                        token=spell(pieces, token),
                        logprob=max(logprob, FLOOR),
                        bytes=list(pieces.token_bytes(token)),
                    )
                    for token, logprob in entry.top[:top]
                ],
            )
            for entry in entries
        ]
    )


def text_logprobs(
    pieces: Pieces,
    entries: Sequence[TokenLogprob],
    top: int,
    offset: int,
    first: int | None = None,
) -> TextLogprobs:
    """The shape of ``/v1/completions``.

    Args:
        pieces: spells tokens.
        entries: one a token.
        top: alternatives beside each; the token itself is always among them.
        offset: the first token's place in the text, in characters.
        first: a prompt's first token, before which there is nothing that could make it likely:
            it goes in front with null for its numbers.
    """
    before = [] if first is None else [first]
    ids = [*before, *(entry.token for entry in entries)]
    nothing: list[None] = [None] * len(before)
    return TextLogprobs(
        tokens=[spell_apart(pieces, token) for token in ids],
        token_logprobs=[*nothing, *(max(entry.logprob, FLOOR) for entry in entries)],
        top_logprobs=[*nothing, *(_alternatives(pieces, entry, top) for entry in entries)],
        text_offset=_offsets(pieces, ids, offset),
    )


def prompt_logprobs(pieces: Pieces, entries: Sequence[TokenLogprob], top: int) -> PromptLogprobs:
    """A prompt in vLLM's shape: null for its first token, then tables keyed by token id."""
    tables: PromptLogprobs = [None]
    for entry in entries:
        likely = {
            token: (logprob, rank) for rank, (token, logprob) in enumerate(entry.top[:top], start=1)
        }
        shown = {entry.token: (entry.logprob, entry.rank)} | likely
        tables.append(
            {
                str(token): PromptLogprob(
                    logprob=max(logprob, FLOOR), rank=rank, decoded_token=spell(pieces, token)
                )
                for token, (logprob, rank) in shown.items()
            }
        )
    return tables


def _alternatives(pieces: Pieces, entry: TokenLogprob, top: int) -> dict[str, float]:
    # The token itself last, so that of equal spellings its value stands.
    shown = (*entry.top[:top], (entry.token, entry.logprob))
    return {spell_apart(pieces, token): max(logprob, FLOOR) for token, logprob in shown}


def _offsets(pieces: Pieces, ids: Iterable[int], start: int) -> list[int]:
    """Characters before each token; special tokens stand for none, as in the text."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    offsets = []
    for token in ids:
        offsets.append(start)
        if token not in pieces.special_tokens:
            start += len(decoder.decode(pieces.token_bytes(token)))
    return offsets
