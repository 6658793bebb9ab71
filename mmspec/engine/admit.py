"""What a request must satisfy before it costs anything, and the room there is for all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmspec.core.errors import BadRequestError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mmspec.core.config import EngineConfig
    from mmspec.core.drafter import Facts
    from mmspec.core.request import Prompt, Request
    from mmspec.model.cache import KVCache
    from mmspec.model.target import Target


def new_cache(target: Target, config: EngineConfig) -> KVCache:
    """Keys and values for as many tokens as may be in flight, or as many as are affordable."""
    scratch, affordable = config.max_nodes + 1, config.cache_bytes // target.bytes_per_token()
    slots = max(1, min(config.max_sequences * (target.max_context + scratch), affordable))
    pinned = config.pinned_bytes // target.bytes_per_token()
    return target.new_cache(slots, config.chunk, scratch, pinned)


def check_request(request: Request, facts: Facts, addresses: tuple[str, ...], room: int) -> None:
    """Refuse what this target cannot serve; ``room`` is the most tokens its cache can hold.

    Raises:
        BadRequestError: naming the offending field.
    """
    request.sampling.check()
    request.speculation.check()
    _check_prompt(request.prompt, facts)
    sampling = request.sampling
    wanted = facts.context
    if sampling.max_tokens is not None:
        wanted = min(wanted, len(request.prompt.ids) + sampling.max_tokens)
    if wanted > room:
        raise BadRequestError(
            f"prompt and answer may take {wanted} tokens; this server's cache holds {room}",
            "max_tokens",
            "context_length_exceeded",
        )
    _check_ids(sampling.logit_bias, facts, "logit_bias")
    _check_ids(sampling.stop_token_ids, facts, "stop_token_ids")
    _check_ids((token for word in sampling.bad_words for token in word), facts, "bad_words")
    for address in request.speculation.drafters or ():
        if address not in addresses:
            known = ", ".join(addresses) or "none"
            raise BadRequestError(
                f"unknown drafter {address!r} (this server has: {known})", "speculation.drafters"
            )


def _check_prompt(prompt: Prompt, facts: Facts) -> None:
    count = len(prompt.ids)
    if count == 0:
        raise BadRequestError("the prompt is empty", "prompt")
    if count >= facts.context:
        raise BadRequestError(
            f"the prompt has {count} tokens; this model's context holds {facts.context}, "
            "the answer included",
            "messages",
            "context_length_exceeded",
        )
    # The last token is the root of the first tree, and trees are embedded as text.
    if prompt.media and prompt.media[-1].start + prompt.media[-1].length == count:
        raise BadRequestError(
            "a prompt cannot end in a picture: say something after it", "messages"
        )
    _check_ids((int(prompt.ids.min()), int(prompt.ids.max())), facts, "prompt")


def _check_ids(ids: Iterable[int], facts: Facts, param: str) -> None:
    for token in ids:
        if not 0 <= token < facts.vocabulary:
            raise BadRequestError(f"token id {token} is outside the vocabulary", param)
