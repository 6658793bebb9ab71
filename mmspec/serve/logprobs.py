"""Log-probabilities in the two shapes OpenAI has given them."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

from mmspec.serve.reply import ChatLogprob, ChatLogprobs, TextLogprobs, TopLogprob

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mmspec.core.request import TokenLogprob
    from mmspec.model.detokenize import Pieces

FLOOR = -9999.0  # what OpenAI writes for minus infinity, which JSON cannot


def spell(pieces: Pieces, token: int) -> str:
    """One token as text; bytes that are no whole character become U+FFFD."""
    return pieces.token_bytes(token).decode("utf-8", "replace")


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
    pieces: Pieces, entries: Sequence[TokenLogprob], top: int, offset: int
) -> TextLogprobs:
    """The shape of ``/v1/completions``; ``offset`` is the first token's place in the text."""
    tokens = [spell(pieces, entry.token) for entry in entries]
    return TextLogprobs(
        tokens=tokens,
        token_logprobs=[max(entry.logprob, FLOOR) for entry in entries],
        top_logprobs=[
            {
                spell(pieces, token): max(logprob, FLOOR)
                # the chosen token last, so that of equal spellings its value stands
                for token, logprob in (*entry.top[:top], (entry.token, entry.logprob))
            }
            for entry in entries
        ],
        text_offset=list(accumulate(map(len, tokens[:-1]), initial=offset)) if tokens else [],
    )
