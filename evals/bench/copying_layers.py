"""Which layer of a model looks up what followed a token before: whose keys a drafter should read.

A document is quoted back. Wherever the last tokens of the quotation stood in the document too, its
next token has a source there; told is, layer by layer, how much of each head's attention rests on
that source, and how much on the first four tokens of the text.

    python evals/bench/copying_layers.py --model nano [--tokens 600] [--texts 8]
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mmspec.core.config import ModelConfig
from mmspec.model.families.find import find_family
from mmspec.model.load import load_model, load_processor
from mmspec.train.data.documents import document
from mmspec.train.data.seeds import example_seed
from mmspec.train.questions import Question
from mmspec.train.responses import ask

if TYPE_CHECKING:
    from mmspec.model.processor import Processor

FIRST = 11_500_000  # held-out examples from here on are this file's own
ALIKE = 4  # tokens that must be the same for a place to be a source
SINKS = 4


def sources(ids: np.ndarray, start: int) -> list[tuple[int, int]]:
    """Pairs (place, source of the token after it) from ``start`` on: the longest match wins."""
    found = []
    for at in range(start, len(ids) - 1):
        best, where = 0, -1
        for other in range(ALIKE, at):
            length = 0
            while length < 16 and length <= other and ids[other - length] == ids[at - length]:
                length += 1
            if length > best:
                best, where = length, other
        if best >= ALIKE and ids[where + 1] == ids[at + 1]:
            found.append((at, where + 1))
    return found


def quoted(seed: int, tokens: int, processor: Processor) -> tuple[np.ndarray, int]:
    """A document, a question for a paragraph of it, and the paragraph: ids, the answer's start."""
    read, pairs = document(seed, tokens)
    pair = max((pair for pair in pairs if pair.kind == "quote"), key=lambda pair: len(pair.answer))
    said = {
        "role": "user",
        "content": [{"type": "text", "text": f"{read.text}\n\n{pair.question}"}],
    }
    prompt = ask(Question("document", (said,)), processor).ids
    answer = processor.text(pair.answer).ids
    return np.concatenate([prompt, answer]), len(prompt)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--tokens", type=int, default=600)
    parser.add_argument("--texts", type=int, default=8)
    options = parser.parse_args()
    config = ModelConfig(path=options.model)
    model: Any = load_model(config).float().eval()
    nested = "text_config" in model.config.sub_configs
    model.set_attn_implementation({"text_config": "eager"} if nested else "eager")
    decoder, processor = find_family(model).decoder, load_processor(config)
    shares: list[np.ndarray] = []
    for index in range(options.texts):
        ids, start = quoted(example_seed("held_out", FIRST + index), options.tokens, processor)
        embeds = model.get_input_embeddings()(torch.from_numpy(ids)[None])
        with torch.inference_mode():
            told = decoder(inputs_embeds=embeds, output_attentions=True, use_cache=False)
        seen = torch.stack([layer[0] for layer in told.attentions])  # [L, heads, T, T]
        shares += [
            np.stack([seen[:, :, at, source], seen[:, :, at, :SINKS].sum(-1)])
            for at, source in sources(ids, start + ALIKE)
        ]
    source, sinks = np.mean(shares, 0)
    print(f"{len(shares)} copied tokens; by layer, each head's share on the source (on the start)")
    for layer, (copied, rested) in enumerate(zip(source, sinks, strict=True)):
        row = "  ".join(f"{a:.2f} ({b:.2f})" for a, b in zip(copied, rested, strict=True))
        print(f"{layer:3d}  {row}")


if __name__ == "__main__":
    main()
