"""Which family a model belongs to; the one list of families, each proven by a test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmspec.core.errors import UnsupportedModelError
from mmspec.model.families import llava, qwen_vl, text

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from mmspec.model.families.family import Family

SUPPORTED = tuple(sorted(text.TYPES | llava.TYPES | qwen_vl.TYPES))


def refuse_unsupported(config: PretrainedConfig) -> None:
    """Check a configuration before any weight is read.

    Raises:
        UnsupportedModelError: with the family's name and the reason.
    """
    name = config.model_type
    if name not in SUPPORTED:
        known = ", ".join(SUPPORTED)
        raise UnsupportedModelError(f"model family {name!r} is not supported (supported: {known})")
    decoder = config.get_text_config()
    if name in llava.TYPES and decoder.model_type not in text.TYPES:
        raise UnsupportedModelError(f"{name} over {decoder.model_type!r} is not supported")
    kinds = set(getattr(decoder, "layer_types", None) or ())
    if odd := kinds - {"full_attention", "sliding_attention"}:
        raise UnsupportedModelError(f"{name}: layers of kind {sorted(odd)} are not supported")
    if getattr(decoder, "attn_logit_softcapping", None):
        raise UnsupportedModelError(f"{name}: capped attention logits are not supported")
    if getattr(decoder, "use_bidirectional_attention", False):
        raise UnsupportedModelError(f"{name}: bidirectional attention is not supported")
    rope = getattr(decoder, "rope_parameters", None) or {}
    tables = [rope, *(value for value in rope.values() if isinstance(value, dict))]
    if any(table.get("rope_type") in {"dynamic", "longrope"} for table in tables):
        raise UnsupportedModelError(f"{name}: rotary tables that change with length")


def find_family(model: Any) -> Family:
    """The family of a loaded model.

    Raises:
        UnsupportedModelError: the family is not among the supported ones.
    """
    refuse_unsupported(model.config)
    name = model.config.model_type
    if name in llava.TYPES:
        return llava.LlavaFamily(model)
    if name in qwen_vl.TYPES:
        return qwen_vl.QwenVlFamily(model)
    return text.TextFamily(model)
