"""Prompts for the benchmarks, from held-out seeds of the generators."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmspec.train.data import documents, pictures
from mmspec.train.data.seeds import example_seed

if TYPE_CHECKING:
    from mmspec.core.request import Prompt
    from mmspec.model.processor import Processor

QUOTING = ("fact", "quote")


def document_questions(processor: Processor, count: int, tokens: int = 700) -> list[Prompt]:
    """Questions whose answers quote a fictional document."""
    prompts = []
    for index in range(count):
        document, pairs = documents.document(example_seed("held_out", 5000 + index), tokens)
        longest = max((p for p in pairs if p.kind in QUOTING), key=lambda pair: len(pair.answer))
        text = f"{document.text}\n\n{longest.question}"
        prompts.append(processor.chat([{"role": "user", "content": text}], []))
    return prompts


def fact_questions(processor: Processor, count: int, tokens: int = 250) -> list[Prompt]:
    """Questions answered by one quoted sentence and the value in it."""
    prompts = []
    for index in range(count):
        document, pairs = documents.document(example_seed("held_out", 9000 + index), tokens)
        question = next(pair.question for pair in pairs if pair.kind == "fact")
        text = f"{document.text}\n\n{question}"
        prompts.append(processor.chat([{"role": "user", "content": text}], []))
    return prompts


def descriptions(processor: Processor, count: int) -> list[Prompt]:
    """Pictures to describe at length."""
    prompts = []
    for index in range(count):
        image, _ = pictures.scene(example_seed("held_out", 7000 + index), 2 + index % 4)
        content = [{"type": "image"}, {"type": "text", "text": "Describe the picture."}]
        prompts.append(processor.chat([{"role": "user", "content": content}], [image]))
    return prompts


def mixed(processor: Processor, count: int) -> list[Prompt]:
    """Documents and pictures in turn."""
    half = -(-count // 2)
    texts = document_questions(processor, half, 400)
    sights = descriptions(processor, half)
    return [prompt for pair in zip(texts, sights, strict=True) for prompt in pair][:count]
