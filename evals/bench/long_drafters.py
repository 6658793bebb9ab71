"""Drafters for long texts at real shapes, with random weights: what each reads, holds and says.

Each is as it is by default: its own width and number of guesses. Random weights find everything
unlikely, so nothing is too unlikely here: every depth is reached.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from long_models import random_target
from vlm_drafters import lent, level_bytes

from mmspec.longctx import longspec, rapid, self_window
from mmspec.longctx.longspec import Longspec
from mmspec.longctx.longspec_config import LongspecConfig
from mmspec.longctx.longspec_network import LongspecNetwork
from mmspec.longctx.longspec_published import SPAN
from mmspec.longctx.longspec_rows import LongspecRows
from mmspec.longctx.rapid import Rapid
from mmspec.longctx.self_window import SelfWindow
from mmspec.model.turning import turning
from mmspec.retrieval.random import Random
from mmspec.text import eagle
from mmspec.text.asked_pages import AskedPages, asked_pages
from mmspec.text.eagle import Eagle
from mmspec.text.eagle_config import Rope
from mmspec.text.eagle_network import EagleNetwork
from mmspec.train.eagle_shape import Shape, eagle_config

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable

    from transformers import PretrainedConfig

    from mmspec.core.drafter import Drafter
    from mmspec.model.target import Target

SAID = 32_000  # ids that the feature drafter's own head scores, as EAGLE-3's for Llama-3.1
PAGES = 16  # of 16 tokens, seen besides sinks and window
EVER: dict[str, Any] = {
    "floor": 0.0,
    "least": 0.0,
}  # nothing is too unlikely to be guessed, or to be gone on from


@dataclass(frozen=True)
class Drafted:
    """A drafter and what is fixed of it.

    Attributes:
        shape: nodes expanded at one depth, and guesses at one node.
        weights: bytes of weights that a level reads.
        per_token: bytes that a level reads of every token of the context. constant: of any.
        about: its settings, for the file.
    """

    drafter: Drafter
    shape: tuple[int, int]
    weights: int
    about: dict[str, Any]
    per_token: int = 0
    constant: int = 0


def drafter_makers(
    target: Target, spec: PretrainedConfig, small: PretrainedConfig, slots: int, step_bytes: int,
    options: Namespace,
) -> dict[str, Callable[[], Drafted]]:  # fmt: skip
    """By name, what makes each.

    Args:
        small: of the model that reads excerpts. slots: tokens of the longest text, and a tree's.
        step_bytes: of weights that the target's step reads.
    """
    near = self_window.Config(**EVER)
    paged = self_window.Config(**EVER, pages=PAGES)
    return {
        "longctx.longspec": partial(_longspec, target, spec, 0),
        f"longctx.longspec, {PAGES} pages": partial(_longspec, target, spec, PAGES),
        "text.eagle": partial(_eagle, target, spec, slots),
        "longctx.self_window": partial(_self_window, target, near, step_bytes),
        f"longctx.self_window, {PAGES} pages": partial(_self_window, target, paged, step_bytes),
        "longctx.rapid": partial(_rapid, target, small, options),
    }


def _longspec(target: Target, spec: PretrainedConfig, pages: int) -> Drafted:
    """LongSpec as published: the target's widths, its head and embedding, its last layer read."""
    shape = LongspecConfig(
        hidden=spec.hidden_size, target_hidden=spec.hidden_size, heads=spec.num_attention_heads,
        kv_heads=target.kv_heads, head_dim=target.head_dim, intermediate=spec.intermediate_size,
        vocabulary=spec.vocab_size, eps=spec.rms_norm_eps,
        rope=Rope(theta=spec.rope_parameters["rope_theta"]), final_norm=False, own_head=False,
        reads=target.layers - 1, cross_heads=spec.num_attention_heads,
        target_kv_heads=target.kv_heads, target_head_dim=target.head_dim, span=SPAN,
        attention_bias=True,
    )  # fmt: skip
    with torch.device(target.device):
        network = LongspecNetwork(shape)
    weights = sum(weight.numel() for weight in network.parameters())
    network.lend(target.embed, target.logits, target.family.decoder.norm)
    turned = turning(target.family.decoder, target.head_dim)
    rows = LongspecRows(network, target.dtype, target.device, turned)
    config = longspec.Config(path="", sequences=1, pages=pages, **EVER)
    seen = asked_pages("longctx.longspec", config, target, shape.reads)
    made = Longspec(config, target.facts, rows, seen)
    made.rules.floor = np.float32(-np.inf)
    made.rings.store.normal_()
    head = shape.vocabulary * shape.hidden
    return Drafted(
        made, (config.width, config.children), (weights + head) * target.dtype.itemsize,
        {"span": SPAN, "reads": shape.reads, "said": shape.said, "pages": pages},
        per_token=0 if pages else target.bytes_per_token() // target.layers,
        constant=SPAN * _bytes(shape.kv_heads, shape.head_dim, target)
        + seen.measures.most * bool(pages) * target.bytes_per_token() // target.layers,
    )  # fmt: skip


def _eagle(target: Target, spec: PretrainedConfig, slots: int) -> Drafted:
    """The bundled drafters' form: three layers read, a head and ids of its own."""
    said = min(SAID, spec.vocab_size // 2)
    shape = eagle_config(spec, Shape(draft_vocabulary=said, window=3))
    with torch.device(target.device):
        network = EagleNetwork(shape)
    config = eagle.Config(path="", tokens=slots, **EVER)
    made = Eagle(config, target.facts, lent(network, target), AskedPages(config, None))
    made.rules.floor = np.float32(-np.inf)
    made.store.normal_()
    return Drafted(
        made, (config.width, config.children), level_bytes(made, target),
        {"layers": list(shape.layers), "said": said, "window": shape.window},
        per_token=_bytes(shape.kv_heads, shape.head_dim, target),
    )  # fmt: skip


def _self_window(target: Target, config: self_window.Config, step_bytes: int) -> Drafted:
    pages = asked_pages("longctx.self_window", config.asking, target)
    made = SelfWindow(config, target.facts, target, pages)
    made._rules.floor = np.float32(-np.inf)
    seen = config.sinks + config.window + config.pages * config.page
    about = {
        "sinks": config.sinks, "window": config.window, "pages": config.pages,
        "page": config.page,
    }  # fmt: skip
    return Drafted(
        made, (config.width, config.children), step_bytes, about,
        constant=seen * target.bytes_per_token(),
    )  # fmt: skip


def _rapid(target: Target, small: PretrainedConfig, options: Namespace) -> Drafted:
    """A small model over an excerpt; passages are chosen at random, so finding them costs less."""
    model, weights = random_target(small, target.device, options.numerics, options.seed + 2)
    head, tail = (16, 32) if options.tiny else (64, 256)
    read = options.excerpt - head - tail
    passage = read // 8  # so that passages fill what there is room for
    config = rapid.Config(
        longer_than=head + tail + 1, head=head, tail=tail, passage=passage, question=tail // 2,
        at_least=read, at_most=read, tokens=2 * options.excerpt + 4096, beside=False, **EVER,
    )  # fmt: skip
    # Every id spells a word, so that passages have text and no pauses.
    facts = replace(target.facts, pieces=[b" word"] * target.facts.vocabulary)
    made = Rapid(config, facts, model, Random(options.seed))
    made._rules.floor = np.float32(-np.inf)
    return Drafted(
        made, (config.width, config.children), weights,
        {"model": small.to_diff_dict(), "excerpt": options.excerpt, "ranker": "random"},
        constant=options.excerpt * model.bytes_per_token(),
    )  # fmt: skip


def _bytes(kv_heads: int, dim: int, target: Target) -> int:
    """Of keys and values of one token on one layer."""
    return math.prod((2, kv_heads, dim, target.dtype.itemsize))
