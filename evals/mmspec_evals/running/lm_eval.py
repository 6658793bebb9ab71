"""Flags as lm-eval spells them, for commands that were written for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmspec_evals.errors import PlanError
from mmspec_evals.running.settings import pairs

if TYPE_CHECKING:
    from collections.abc import Mapping

NAMES = {
    "model_args": "lm-eval's: pretrained=PATH,dtype=..",
    "gen_kwargs": "lm-eval's: temperature=0,max_gen_toks=128",
    "batch_size": "lm-eval's; only 1",
}
_BACKENDS = ("hf", "hf-auto", "hf-multimodal", "huggingface", "vllm", "vllm-vlm", "sglang")
_MODEL = {
    "path": "model",
    "pretrained": "model",
    "model": "model",
    "dtype": "dtype",
    "device": "device",
    "max_length": "max_context",
    "max_model_len": "max_context",
    "numerics": "numerics",
    "threads": "threads",
    "assistant": "assistant",
}
_GENERATION = {
    "temperature": "temperature",
    "top_p": "top_p",
    "max_gen_toks": "max_new_tokens",
    "max_new_tokens": "max_new_tokens",
    "max_tokens": "max_new_tokens",
    "ignore_eos": "ignore_eos",
    "seed": "seed",
}


def translated(given: Mapping[str, Any]) -> dict[str, Any]:
    """Flags under our own names; those given under our own names win.

    Raises:
        PlanError: a value that we cannot honour.
    """
    values = dict(given)
    batch = str(values.pop("batch_size", "1"))
    if batch != "1":
        raise PlanError(
            f"--batch_size {batch}: answers are timed one at a time; leave it out or say 1"
        )
    found = _renamed("model_args", values.pop("model_args", ""), _MODEL)
    kwargs = values.pop("gen_kwargs", "")
    asked = pairs(kwargs)
    sample = asked.pop("do_sample", None)
    found |= _renamed("gen_kwargs", asked, _GENERATION)
    if sample is not None and sample.lower() == "false":
        found["temperature"] = 0.0
    elif sample is not None:
        found.setdefault("temperature", 1.0)
    if values.get("model") in _BACKENDS:
        del values["model"]
    return found | values


def _renamed(flag: str, said: str | Mapping[str, str], names: Mapping[str, str]) -> dict[str, Any]:
    words = pairs(said) if isinstance(said, str) else said
    strange = sorted(set(words) - set(names))
    if strange:
        raise PlanError(f"--{flag}: {', '.join(strange)} means nothing here ({', '.join(names)})")
    return {names[name]: value for name, value in words.items()}
