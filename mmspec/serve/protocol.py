"""What clients may send: the bodies of the two generation routes, strictly typed.

OpenAI's fields and vLLM's extras. A field that is declared here has effect; what would change
the answer but is not supported is refused (``REFUSED``); the rest is ignored, and said to be.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from mmspec.core.request import Speculation

Stop = str | list[str] | None
TokenIds = list[int]


class StreamOptions(msgspec.Struct, frozen=True, kw_only=True):
    """``{}`` asks for nothing."""

    include_usage: bool = False
    continuous_usage_stats: bool = False


class PredictionPart(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of a prediction."""

    type: Literal["text"]
    text: str


class PredictedText(msgspec.Struct, frozen=True, kw_only=True):
    """What the caller expects the answer to be (OpenAI's Predicted Outputs)."""

    type: Literal["content"]
    content: str | list[PredictionPart]

    @property
    def text(self) -> str:
        """All of it."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content)


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """Fields both routes share; null means the default, as OpenAI's clients expect."""

    model: str
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    n: int | None = None
    stop: Stop = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[int, float] | None = None
    prediction: PredictedText | None = None
    # vLLM's extras
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    min_tokens: int | None = None
    ignore_eos: bool | None = None
    stop_token_ids: list[int] | None = None
    include_stop_str_in_output: bool | None = None
    skip_special_tokens: bool | None = None
    bad_words: list[str] | None = None
    return_token_ids: bool | None = None
    prompt_logprobs: int | None = None
    # ours
    speculation: Speculation | None = None


class ChatFields(Ask, frozen=True, kw_only=True):
    """What is said of an answer that is a message."""

    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None


class ChatAsk(ChatFields, frozen=True, kw_only=True):
    """``POST /v1/chat/completions``; messages are read by ``mmspec.vision.prompt``."""

    messages: list[dict[str, Any]]
    add_generation_prompt: bool | None = None


class CompletionAsk(Ask, frozen=True, kw_only=True):
    """``POST /v1/completions``."""

    prompt: str | list[str | int | TokenIds]
    echo: bool | None = None
    logprobs: int | None = None
    best_of: int | None = None


# Field -> values that mean "not asked for". Anything else is a 400: to ignore it would be to give
# another answer than the one asked for.
REFUSED: dict[str, tuple[Any, ...]] = {
    "tools": (None, []),
    "functions": (None, []),
    "tool_choice": (None, "none", "auto"),
    "function_call": (None, "none", "auto"),
    "response_format": (None, {"type": "text"}),
    "audio": (None,),
    "modalities": (None, ["text"]),
    "web_search_options": (None,),
    "suffix": (None, ""),
    "allowed_token_ids": (None,),
    "truncate_prompt_tokens": (None,),
    "structured_outputs": (None,),
    "guided_json": (None,),
    "guided_regex": (None,),
    "guided_choice": (None,),
    "guided_grammar": (None,),
    "continue_final_message": (None, False),
    "chat_template": (None,),
    "chat_template_kwargs": (None, {}),
    "prompt_embeds": (None,),
}
# Bookkeeping that never changes an answer: accepted without a word.
SILENT = frozenset(
    {"user", "metadata", "store", "safety_identifier", "prompt_cache_key", "service_tier"}
)
