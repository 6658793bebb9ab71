"""Every drafter on long documents: tau, decoding over plain decoding, what drafting takes.

A document of the wished length holds one section as long as four, which is to be repeated: about
300 tokens. All arms run in one process, in turn, with the same caps; every arm's ids are held to
plain decoding's. The document is read once for all arms (their states rest with the prefix cache),
and once more for the drafter that reads an excerpt beside the target's prefill, from cold caches.

    python evals/bench/long.py --lengths 2048 4096 8192 16384 31000 --count 3 \
        [--longspec runs/longspec/drafter] [--out evals/results/long/drafters.json]

Drafters that can see a part of a text do (``text/asked_pages.py``), unless ``--whole`` is said.
With ``--paired`` the chapter is the same at all lengths, and more of one document stands around it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from arms import Run, decode, speed
from skeleton import provenance

from mmspec.core.config import Config, Drafters, EngineConfig, ModelConfig
from mmspec.core.drafter import Sized
from mmspec.core.request import Sampling, Speculation
from mmspec.engine.build import build
from mmspec.train.data import documents
from mmspec.train.data.seeds import example_seed

if TYPE_CHECKING:
    from mmspec.core.request import Prompt
    from mmspec.engine.engine import Engine
    from mmspec.model.processor import Processor

FIRST = 30_000_000  # held-out seeds that nothing else looks at
PLAIN, EXCERPTS = "plain", "longctx.rapid"
RAPID: dict[str, Any] = {
    "path": "nano-lm", "longer_than": 1500, "passage": 256, "at_least": 1536, "at_most": 2048,
    "tail": 128, "head": 32, "answer": 512,
}  # fmt: skip


# What drafters see of a text, as served; a draft model of some layers can do with more.
SEEN: dict[str, Any] = {"pages": 4, "looks": [1]}
MORE: dict[str, Any] = {"pages": 8, "looks": [1]}


def drafters(options: argparse.Namespace) -> Drafters:
    """One of every kind; what is asked for over the bench's own settings, last."""
    seen, more = ({}, {}) if options.whole else (SEEN, MORE)
    told: Drafters = {
        "text": {
            "eagle": {"path": "nano-eagle", **seen},
            "draft_model": {"path": "nano-lm", **more},
        },
        "longctx": {
            "longspec": {"path": options.longspec, **seen},
            "self_window": {},
            "rapid": RAPID,
        },
        "retrieval": {"suffix": {}, "recycling": {}},
    }
    for address, values in json.loads(options.change).items():
        wing, name = address.split(".")
        told[wing][name] = told[wing][name] | values
    return told


def arms(engine: Engine, options: argparse.Namespace) -> dict[str, Speculation]:
    """Plain decoding first, every model's drafter alone, those that quote together, and all."""
    told = {PLAIN: Speculation(enabled=False)}
    for address in engine.panel.addresses:
        if not address.startswith("retrieval."):
            told[address] = Speculation(drafters=(address,))
    quoting = tuple(one for one in engine.panel.addresses if one.startswith("retrieval."))
    told |= {"retrieval": Speculation(drafters=quoting), "as routed": Speculation()}
    return {name: arm for name, arm in told.items() if not options.arms or name in options.arms}


def chapter(seed: int, tokens: int) -> tuple[documents.Document, documents.Pair]:
    """A document of about so many tokens, and the wish to have a chapter of it repeated."""
    return documents.chapter(example_seed("held_out", FIRST + seed), tokens)


def paired(seed: int, tokens: int, longest: int) -> tuple[documents.Document, documents.Pair]:
    """Of the longest such document about so many tokens around its chapter, and the same wish."""
    document, asked = chapter(seed, longest)
    sections = document.sections
    room = tokens * documents.CHARACTERS_A_TOKEN - 300
    first = next(k for k, section in enumerate(sections) if section.paragraph == asked.answer)
    last = first
    while (
        sum(len(one.paragraph) + len(one.subject) + 15 for one in sections[first : last + 1]) < room
    ):
        if last - first + 1 == len(sections):
            break
        first, last = max(0, first - 1), min(len(sections) - 1, last + 1)
    return documents.Document(document.title, sections[first : last + 1]), asked


def prompt(processor: Processor, seed: int, tokens: int, longest: int | None = None) -> Prompt:
    """Such a document and wish, as a message; ``longest``: cut out of one of so many tokens."""
    document, asked = chapter(seed, tokens) if longest is None else paired(seed, tokens, longest)
    words = f"{document.text}\n\n{asked.question}"
    return processor.chat([{"role": "user", "content": words}], [])


def measure(
    engine: Engine, prompts: list[Prompt], told: dict[str, Speculation], sampling: Sampling
) -> dict[str, object]:
    """All arms on all documents of one length."""
    runs: dict[str, list[Run]] = {arm: [] for arm in told}
    everyone = Speculation(drafters=engine.panel.addresses)
    one = Sampling(temperature=0.0, max_tokens=1)
    for turn, asked in enumerate(prompts):
        if EXCERPTS in told:
            engine.reset()
            runs[EXCERPTS].append(decode(engine, [asked], told[EXCERPTS], sampling))
        engine.reset()
        decode(engine, [asked], everyone, one)
        warm = [arm for arm in told if arm != EXCERPTS]
        for arm in warm[turn % len(warm) :] + warm[: turn % len(warm)]:
            runs[arm].append(decode(engine, [asked], told[arm], sampling))
    plain = runs[PLAIN]
    result: dict[str, object] = {
        "prompt_tokens": sum(len(one.ids) for one in prompts) / len(prompts),
        "answer_tokens": sum(len(run.ids[0]) for run in plain) / len(plain),
    }
    for arm, own in runs.items():
        if [run.ids for run in own] != [run.ids for run in plain]:
            raise SystemExit(f"{arm}: text differs from plain decoding")
        result[arm] = speed(own, plain) | {
            "drafter_bytes": held(engine, told[arm], prompts, sampling)
        }
    return result


def held(
    engine: Engine, arm: Speculation, prompts: list[Prompt], sampling: Sampling
) -> dict[str, int]:
    """Bytes that an arm's drafters set aside for the longest of these prompts, and the target."""
    tokens = max(len(one.ids) for one in prompts) + (sampling.max_tokens or 0)
    asked = arm.drafters or engine.panel.addresses
    every = engine.panel._drafters  # a bench may look
    sized = {one: every[one] for one in asked if arm.enabled}
    told = {one: mind.room(tokens) for one, mind in sized.items() if isinstance(mind, Sized)}
    return told | {"target": tokens * engine.cache.slot_bytes}


def main() -> None:
    """Measure, print and write down, a length at a time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--lengths", type=int, nargs="*", default=[2048, 4096, 8192, 16384, 31000])
    parser.add_argument("--count", type=int, default=3, help="documents of a length")
    parser.add_argument("--cap", type=int, default=400)
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--longspec", default="nano-longspec", help="checkpoint")
    parser.add_argument("--arms", nargs="*", help="these alone, plain decoding among them")
    parser.add_argument("--whole", action="store_true", help="everybody sees all of a text")
    parser.add_argument("--paired", action="store_true", help="one chapter at all lengths")
    parser.add_argument("--first", type=int, default=0, help="number of the first document")
    parser.add_argument("--change", default="{}", help="JSON: drafter's address -> options")
    parser.add_argument("--evidence", type=Path, help="write what oracle:FILE is to know")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.evidence:
        asked = [chapter(k, n)[1] for n in options.lengths for k in range(options.count)]
        known = {one.question: [one.answer] for one in asked}
        options.evidence.write_text(json.dumps(known), encoding="utf-8")
    options.device = "cpu"
    torch.set_num_threads(options.threads)
    config = EngineConfig(max_sequences=2)
    engine, processor = build(
        Config(model=ModelConfig(path=options.model), engine=config, drafters=drafters(options))
    )
    told = arms(engine, options)
    sampling = Sampling(temperature=options.temperature, max_tokens=options.cap, seed=1)
    kind = engine.target.model.config.model_type
    result: dict[str, object] = {"provenance": provenance(options, kind) | {"arms": list(told)}}
    result["drafters"] = drafters(options)
    for arm in told.values():
        decode(engine, [prompt(processor, 1_000_000, 1800)], arm, sampling)
    for length in options.lengths:
        longest = max(options.lengths) if options.paired else None
        numbers = range(options.first, options.first + options.count)
        prompts = [prompt(processor, index, length, longest) for index in numbers]
        result[str(length)] = measure(engine, prompts, told, sampling)
        print(length, json.dumps(result[str(length)], indent=1), flush=True)
        if options.out:
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
