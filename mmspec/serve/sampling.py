"""From the wire's words to core's: sampling, speculation, limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mmspec.core.errors import BadRequestError
from mmspec.core.request import Sampling, Speculation
from mmspec.vision.expected import predicted

if TYPE_CHECKING:
    from mmspec.serve.protocol import Ask
    from mmspec.serve.service import WireProcessor

# Same name and same meaning on the wire and in core.
_SHARED = (
    "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "presence_penalty",
    "frequency_penalty", "logit_bias", "min_tokens", "ignore_eos", "seed", "n",
)  # fmt: skip


def sampling_of(
    ask: Ask,
    processor: WireProcessor,
    *,
    max_tokens: int | None,
    logprobs: int | None,
    prompt_logprobs: int | None = None,
    max_context: int,
) -> Sampling:
    """What a body asks of the sampler, checked.

    Args:
        ask: the body.
        processor: spells bad words in tokens and knows the vocabulary.
        max_tokens: the route's own reading of its limit field or fields.
        logprobs, prompt_logprobs: the route's own reading of its log-probability fields.
        max_context: positions of the model; asking for more new tokens than that is an error,
            asking for more than remain is not (generation ends with ``length``).

    Raises:
        BadRequestError: naming the field.
    """
    values: dict[str, Any] = {
        name: value for name in _SHARED if (value := getattr(ask, name)) is not None
    }
    if max_tokens is not None and max_tokens > max_context:
        raise BadRequestError(
            f"max_tokens is {max_tokens}, but this model's context is {max_context} tokens",
            "max_tokens",
        )
    stop = [ask.stop] if isinstance(ask.stop, str) else ask.stop or []
    values |= {
        "max_tokens": max_tokens,
        "logprobs": logprobs,
        "prompt_logprobs": prompt_logprobs,
        "stop": tuple(stop),
        "include_stop": bool(ask.include_stop_str_in_output),
        "stop_token_ids": tuple(ask.stop_token_ids or ()),
        "bad_words": bad_words(ask.bad_words or [], processor),
    }
    check_ids(values["stop_token_ids"], processor.vocabulary, "stop_token_ids")
    check_ids(values.get("logit_bias", ()), processor.vocabulary, "logit_bias")
    if len(values["stop_token_ids"]) > 64:
        raise BadRequestError("stop_token_ids takes up to 64 ids", "stop_token_ids")
    sampling = Sampling(**values)
    sampling.check()
    return sampling


def speculation_of(ask: Ask) -> Speculation:
    """What a body says about speculation, checked.

    Raises:
        BadRequestError: naming the field.
    """
    speculation = ask.speculation or Speculation()
    speculation.check()
    return speculation


def prediction_of(
    ask: Ask, processor: WireProcessor, *, choices: int, max_context: int
) -> np.ndarray:
    """Token ids of what a body predicts: int64 [K], none where it predicts nothing. Blocking.

    Args:
        choices: that the call has, over all prompts.

    Raises:
        BadRequestError: there are several choices, or it is longer than the context.
    """
    text = ask.prediction.text if ask.prediction is not None else ""
    if ask.prediction is not None and choices > 1:
        raise BadRequestError("a call with a prediction has one choice (n = 1)", "prediction")
    return predicted(text, processor, max_context) if text else np.zeros(0, np.int64)


def check_stream(ask: Ask) -> None:
    """Refuse stream options without a stream, and what no chunk can carry.

    Raises:
        BadRequestError: naming the field.
    """
    if ask.stream_options is not None and not ask.stream:
        raise BadRequestError("stream_options is only allowed with stream", "stream_options")
    if ask.stream and ask.prompt_logprobs is not None:
        raise BadRequestError("prompt_logprobs is not available in a stream", "prompt_logprobs")


def bad_words(words: list[str], processor: WireProcessor) -> tuple[tuple[int, ...], ...]:
    """Token spellings of words that may not appear: at the start of a word and inside one.

    Raises:
        BadRequestError: an empty word.
    """
    spelt: dict[tuple[int, ...], None] = {}
    for word in words[:65]:  # core's check refuses more than 64; do not tokenise them first
        if not word.strip() or len(word) > 256:
            raise BadRequestError("bad_words takes words of 1 to 256 characters", "bad_words")
        for text in (word, " " + word.lstrip()):
            ids = processor.text(text).ids.tolist()
            spelt[tuple(id for id in ids if id not in processor.special_tokens)] = None
    if len(words) > 64:
        raise BadRequestError("bad_words takes up to 64 words", "bad_words")
    return tuple(ids for ids in spelt if ids)


def check_ids(ids: Any, vocabulary: int, param: str) -> None:
    """Refuse token ids outside the vocabulary.

    Raises:
        BadRequestError: naming the field.
    """
    if any(not 0 <= id < vocabulary for id in ids):
        raise BadRequestError(f"token ids lie between 0 and {vocabulary - 1}", param)
