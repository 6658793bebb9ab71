"""A small language model out of a target's own layers: made, and written as a plain folder."""

from __future__ import annotations

import copy
import json
import shutil
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoProcessor

from mmspec.model.families.find import find_family, refuse_unsupported
from mmspec.model.load import locate
from mmspec.train.guards import GuardError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

# Text decoders that live only inside a model that sees, and what they are on text alone: there
# all rotary axes say the same.
_ALONE = {"qwen2_5_vl_text": "qwen2", "qwen3_vl_text": "qwen3"}
_MROPE = ("mrope_section", "mrope_interleaved")
_NOT_COPIED = ("model_type", "layer_types", "num_hidden_layers", "architectures")


def kept_layers(keep: tuple[int, ...], count: int) -> tuple[int, ...]:
    """The layers asked for, or the first two and the last of ``count``.

    Raises:
        GuardError: they do not ascend, or the target does not have them.
    """
    chosen = keep or tuple(sorted({0, min(1, count - 1), count - 1}))
    if list(chosen) != sorted(set(chosen)) or chosen[0] < 0 or chosen[-1] >= count:
        raise GuardError(f"student.keep {list(chosen)} must ascend within the target's {count}")
    return chosen


def student_spec(spec: Any, keep: tuple[int, ...]) -> Any:
    """The student's configuration: the target's text architecture with the layers ``keep``.

    Args:
        spec: the target's configuration.

    Raises:
        UnsupportedModelError: a text model of this kind is not served.
    """
    text = spec.get_text_config()
    told = {name: value for name, value in text.to_dict().items() if name not in _NOT_COPIED}
    kind = _ALONE.get(text.model_type, text.model_type)
    if kind != text.model_type and told.get("rope_parameters"):
        rope = told["rope_parameters"]
        told["rope_parameters"] = {n: value for n, value in rope.items() if n not in _MROPE}
    kinds = getattr(text, "layer_types", None)
    if kinds:
        told["layer_types"] = [kinds[layer] for layer in keep]
    told |= {"num_hidden_layers": len(keep), "tie_word_embeddings": spec.tie_word_embeddings}
    made = AutoConfig.for_model(kind, **told)
    refuse_unsupported(made)
    return made


def make_student(model: Any, keep: tuple[int, ...]) -> Any:
    """A copy in fp32, to be trained, of a target's embeddings, layers ``keep``, norm and head."""
    student = AutoModelForCausalLM.from_config(student_spec(model.config, keep)).float()
    state = {"lm_head.weight": model.lm_head.weight}
    places = {str(source): str(place) for place, source in enumerate(keep)}
    for name, value in find_family(model).decoder.state_dict().items():
        part, _, rest = name.partition(".")
        if part != "layers":
            state[f"model.{name}"] = value
            continue
        source, _, tail = rest.partition(".")
        if source in places:
            state[f"model.layers.{places[source]}.{tail}"] = value
    student.load_state_dict(state, strict=True)
    student.generation_config = copy.deepcopy(model.generation_config)
    return student.to(model.device).requires_grad_(True)


def layer_matrices(
    trained: Mapping[str, Tensor], keep: tuple[int, ...], spared: tuple[int, ...]
) -> frozenset[str]:
    """Names of the layers' matrices among a student's parameters, as Muon takes them.

    Args:
        spared: layers of the target whose attention is left out.
    """
    held = tuple(f"model.layers.{p}.self_attn." for p, layer in enumerate(keep) if layer in spared)
    return frozenset(
        name
        for name, value in trained.items()
        if value.ndim == 2 and ".layers." in name and not name.startswith(held)
    )


def export(student: Any, target: str, folder: Path, training: Mapping[str, object]) -> None:
    """Write bf16 weights, configurations, tokenizer, template and ``training.json``.

    The folder is there whole or not at all. The tokenizer's file is the target's to the byte.

    Args:
        target: "nano", a folder or a hub id, whose tokenizer it is.
    """
    draft = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(draft, ignore_errors=True)
    copy.deepcopy(student).to(torch.bfloat16).save_pretrained(draft)
    source = locate(target)
    wrapped = AutoProcessor.from_pretrained(source)
    tokenizer: Any = getattr(wrapped, "tokenizer", wrapped)
    tokenizer.chat_template = getattr(wrapped, "chat_template", None) or tokenizer.chat_template
    tokenizer.save_pretrained(draft)
    _forget_eyes(draft / "tokenizer_config.json")
    (draft / "training.json").write_text(json.dumps(training, indent=1) + "\n")
    if folder.exists():
        folder.rename(folder.with_name(folder.name + ".old"))
    draft.rename(folder)
    shutil.rmtree(folder.with_name(folder.name + ".old"), ignore_errors=True)


def _forget_eyes(path: Path) -> None:
    """Take the processor of pictures out of a tokenizer's settings: AutoProcessor would ask it."""
    settings = json.loads(path.read_text())
    settings.pop("processor_class", None)
    path.write_text(json.dumps(settings, indent=2) + "\n")
