"""Tiny random checkpoints for drafters that cannot be made without one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import torch
from drafters.markov import FACTS, HIDDEN, MEDIA, STOP, VOCABULARY, prompt
from transformers import LlamaConfig, LlamaForCausalLM

from mmspec.longctx.longspec_checkpoint import save_checkpoint as save_far
from mmspec.longctx.longspec_config import LongspecConfig
from mmspec.longctx.longspec_network import LongspecNetwork
from mmspec.retrieval.segment import PUBLIC, identity_of
from mmspec.retrieval.segment_build import Draft
from mmspec.retrieval.shelf import Shelf
from mmspec.text.eagle_checkpoint import save_checkpoint
from mmspec.text.eagle_config import EagleConfig
from mmspec.text.eagle_network import EagleNetwork
from mmspec.vision.vispec_checkpoint import save_checkpoint as save_seeing
from mmspec.vision.vispec_network import VispecConfig, VispecNetwork

if TYPE_CHECKING:
    from pathlib import Path

EAGLE = EagleConfig(
    hidden=24, target_hidden=HIDDEN, layers=(0, 2), heads=4, kv_heads=2, head_dim=8,
    intermediate=40, vocabulary=VOCABULARY, own_embedding=True,
)  # fmt: skip


LONGSPEC = LongspecConfig(
    hidden=24, target_hidden=HIDDEN, features=(0, 2), heads=4, kv_heads=2, head_dim=6,
    intermediate=40, vocabulary=VOCABULARY, reads=1, cross_heads=4, target_kv_heads=2,
    target_head_dim=8, span=40, window=2, direct=True, confidence=True,
)  # fmt: skip


EXCERPTS = {
    "longer_than": 24, "head": 4, "tail": 16, "passage": 8, "at_least": 16, "at_most": 16,
    "answer": 128, "tokens": 1 << 13, "beside": False,
}  # fmt: skip


def options(address: str, folder: Path, parallel: int = 1) -> dict[str, object]:
    """What the drafter at ``address`` must be told; ``parallel``: tokens it says a pass."""
    shape = msgspec.structs.replace(EAGLE, parallel=parallel)
    if address == "text.eagle":
        save_checkpoint(folder, random_network(shape))
        return {"path": str(folder), "floor": 1e-4, "least": 0.0}
    if address == "vision.vispec":
        save_seeing(folder, random_seeing(shape))
        return {"path": str(folder), "floor": 1e-4, "least": 0.0}
    if address == "longctx.longspec":
        save_far(folder, random_far(LONGSPEC))
        asked = {"pages": 2, "page": 4, "recent": 8, "sinks": 2}
        return {"path": str(folder), "floor": 1e-4, "least": 0.0, **asked}
    if address == "text.draft_model":
        save_language_model(folder)
        return {"path": str(folder), "floor": 1e-4, "least": 0.0}
    if address == "longctx.rapid":
        save_language_model(folder)
        return {"path": str(folder), "floor": 1e-4, "least": 0.0, **EXCERPTS}
    if address == "longctx.self_window":
        return {"window": 12, "pages": 2, "page": 4}
    if address == "retrieval.corpus":
        save_corpus(folder)
        return {"paths": (str(folder),)}
    return {}


def save_corpus(folder: Path) -> None:
    """Texts like those that the tests write."""
    known = identity_of(FACTS)
    draft = Draft(folder, known, PUBLIC)
    for text in (*map(prompt, range(10)), [*range(3, 9), STOP, 1, 2] * 6):
        ids = np.array(text, np.int64)
        draft.add(ids[ids != MEDIA])
    Shelf(folder, known, PUBLIC).add(draft)


def save_language_model(folder: Path, vocabulary: int = VOCABULARY, **options: object) -> None:
    """A Llama of some opinion, without a tokenizer, as transformers writes it."""
    settings = {
        "vocab_size": vocabulary, "hidden_size": 32, "intermediate_size": 48,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 4096, "bos_token_id": None, "eos_token_id": None,
        "tie_word_embeddings": False,
    }  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(vocabulary)
        model = LlamaForCausalLM(LlamaConfig(**{**settings, **options}))
        for name, value in model.named_parameters():
            value.data.normal_(1.0 if "norm" in name else 0.0, 0.2)
    model.lm_head.weight.data *= 3
    model.save_pretrained(folder)


def random_far(config: LongspecConfig, seed: int = 0) -> LongspecNetwork:
    """A network of bounded memory, of some opinion."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = LongspecNetwork(config)
        for name, value in network.named_parameters():
            if "norm" in name:
                value.data += 0.2 * torch.randn_like(value)
            elif name == "head.weight":
                value.data *= 3.0
    return network


def random_seeing(config: EagleConfig) -> VispecNetwork:
    """A network that sees, of some opinion."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        made = VispecNetwork(VispecConfig(**msgspec.structs.asdict(config)))
    own = {name: value for name, value in made.state_dict().items() if "sight." in name}
    made.load_state_dict(random_network(config).state_dict() | own)
    return made


def random_network(config: EagleConfig, seed: int = 0, loud: float = 3.0) -> EagleNetwork:
    """A network of some opinion: the larger ``loud``, the more peaked what it says."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = EagleNetwork(config)
        for name, value in network.named_parameters():
            if "norm" in name:
                value.data += 0.2 * torch.randn_like(value)
            elif name == "head.weight":
                value.data *= loud
            elif name == "embedding.weight":
                value.data.normal_()
        if config.draft_vocabulary is not None:
            kept = torch.randperm(config.vocabulary)[: config.draft_vocabulary]
            network.speak_only(kept.sort().values)
    return network
