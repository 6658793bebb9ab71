"""What the drafter that sees gains on pictures, and that its eyes change no answer.

All arms run in one process, in turn, on the same held-out pictures (scenes of 7 to 9 things, whose
descriptions have 150 tokens and more; the same beside another picture; pairs of all kinds) with
the same caps; every arm's ids are held to those of plain decoding. Speedups are ratios of tokens a
second of decoding, prefill left out, with bootstrap intervals over prompts; tau counts the bonus.

    python evals/bench/pictures.py [--count 20] [--out evals/results/vispec/pictures.json]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from arms import decode, versus
from skeleton import provenance

from mmspec.core.config import Config, Drafters, EngineConfig, ModelConfig
from mmspec.core.drafter import Observation
from mmspec.core.request import Request, Sampling, Speculation
from mmspec.engine.build import build
from mmspec.engine.draft import Panel
from mmspec.train.data import pictures, two_pictures
from mmspec.train.data.seeds import example_seed

if TYPE_CHECKING:
    from collections.abc import Sequence as ListOf

    from mmspec.core.drafter import Budget, Drafter, Facts
    from mmspec.core.request import Prompt
    from mmspec.core.sequence import Sequence
    from mmspec.core.tree import TokenTree
    from mmspec.engine.engine import Engine
    from mmspec.model.processor import Processor

FIRST = 20_000_000  # held-out seeds that nothing else looks at
TEXT, EYES = "text.eagle", "vision.vispec"
ARMS = {
    "plain": Speculation(enabled=False),
    "text drafter": Speculation(drafters=(TEXT,)),
    "vision drafter": Speculation(drafters=(EYES,)),
    "all that suit": Speculation(),
}


def scenes(processor: Processor, count: int) -> list[Prompt]:
    """Pictures to describe, one a message."""
    said = [{"type": "image"}, {"type": "text", "text": "Describe the picture."}]
    seeds = [example_seed("held_out", FIRST + index) for index in range(count)]
    images = [pictures.scene(seed, 7 + index % 3)[0] for index, seed in enumerate(seeds)]
    return [processor.chat([{"role": "user", "content": said}], [image]) for image in images]


def beside(processor: Processor, count: int) -> list[Prompt]:
    """The pictures of :func:`scenes`, each before or after another one, and described."""
    prompts = []
    for index in range(count):
        seed = example_seed("held_out", FIRST + index)
        own = pictures.scene(seed, 7 + index % 3)[0]
        other = pictures.scene(seed + two_pictures.APART, 7 + (index + 1) % 3)[0]
        both = [own, other] if index % 2 == 0 else [other, own]
        words = f"Describe the {two_pictures.ORDER[index % 2]} picture."
        said = [{"type": "image"}, {"type": "image"}, {"type": "text", "text": words}]
        prompts.append(processor.chat([{"role": "user", "content": said}], both))
    return prompts


def pairs(processor: Processor, count: int) -> list[Prompt]:
    """The longest answer about one of two pictures."""
    prompts = []
    for index in range(count):
        images, asked = two_pictures.two_pictures(example_seed("held_out", FIRST + 10_000 + index))
        longest = max(asked, key=lambda one: len(one.answer))
        said = [{"type": "image"}, {"type": "image"}, {"type": "text", "text": longest.question}]
        prompts.append(processor.chat([{"role": "user", "content": said}], list(images)))
    return prompts


class Misled:
    """A drafter that is shown other pictures than the target: other features in their places."""

    runs_model = True

    def __init__(self, drafter: Drafter, facts: Facts, how: str) -> None:
        self._drafter, self._how, self.needs = drafter, how, drafter.needs
        self._media = sorted(facts.media_tokens)
        self._before: dict[int, torch.Tensor] = {}

    def observe(self, sequences: ListOf[Sequence], seen: Observation) -> None:
        """Put nothing, or the last picture's features, in the place of a picture's."""
        where = torch.from_numpy(np.isin(seen.tokens, self._media))
        if where.any():
            hidden = {layer: rows.clone() for layer, rows in seen.hidden.items()}
            for layer, rows in hidden.items():
                own = rows[where].clone()
                other = self._before.get(layer, own)
                rows[where] = 0.0 if self._how == "blank" or len(other) != len(own) else other
                self._before[layer] = own
            seen = Observation(seen.offsets, seen.tokens, hidden, seen.node_offsets,
                               seen.node_tokens, seen.top)  # fmt: skip
        self._drafter.observe(sequences, seen)

    def draft(self, sequences: ListOf[Sequence], budgets: ListOf[Budget]) -> list[TokenTree]:
        """As the drafter does."""
        return self._drafter.draft(sequences, budgets)

    def forget(self, id: str) -> None:
        """As the drafter does."""
        self._drafter.forget(id)


def prefill_share(engine: Engine, prompts: ListOf[Prompt], arm: str) -> dict[str, float]:
    """A drafter's time while a prompt is read, over the target's own: medians over prompts.

    ``of_prefill``: of the steps that say nothing yet, the prefill chunks; ``to_first_token``: with
    the pass over the prompt's last token, which is the root of the first tree.
    """
    shares: dict[str, list[float]] = {"of_prefill": [], "to_first_token": []}
    for prompt in prompts:
        sampling = Sampling(temperature=0.0, max_tokens=1)
        engine.submit(Request("prefill", prompt, sampling, ARMS[arm]))
        drafting, total = 0.0, 0.0
        while engine.busy:
            before = engine.stats.draft_seconds, engine.stats.step_seconds
            said = any(delta.tokens for delta in engine.step())
            after = engine.stats
            if said:
                shares["of_prefill"].append(drafting / (total - drafting))
            drafting += after.draft_seconds - before[0]
            total += after.step_seconds - before[1]
        shares["to_first_token"].append(drafting / (total - drafting))
    return {name: float(np.median(values)) for name, values in shares.items()}


def misled(engine: Engine, prompts: ListOf[Prompt], cap: Sampling) -> dict[str, object]:
    """Tau and text when the drafter alone is shown no picture, or another."""
    told: dict[str, object] = {}
    own, eyes = engine.panel, engine.panel._drafters[EYES]  # a bench may look
    truth = [decode(engine, [prompt], ARMS["plain"], cap).ids for prompt in prompts]
    for how in ("as it is", "blank", "swapped"):
        drafter = eyes if how == "as it is" else Misled(eyes, engine.target.facts, how)
        engine.panel = Panel({EYES: drafter}, engine.target.facts.vocabulary)
        runs = [decode(engine, [prompt], ARMS["vision drafter"], cap) for prompt in prompts]
        told[how] = {
            "tau": sum(run.emitted for run in runs) / sum(run.rounds for run in runs),
            "same_text": float(np.mean([r.ids == t for r, t in zip(runs, truth, strict=True)])),
        }
    engine.panel = own
    return told


def main() -> None:
    """Measure, print and write down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cap", type=int, default=320)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--eyes", default="nano-vispec", help="checkpoint of the vision drafter")
    parser.add_argument("--prefill", action="store_true", help="measure the prefill alone")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    options.device = "cpu"
    torch.set_num_threads(options.threads)
    drafters: Drafters = {
        "text": {"eagle": {"path": "nano-eagle"}},
        "vision": {"vispec": {"path": options.eyes}},
        "retrieval": {"suffix": {}, "recycling": {}},
    }
    engine, processor = build(
        Config(
            model=ModelConfig(path=options.model),
            engine=EngineConfig(prefix_cache=False, max_sequences=8, judge_rounds=0),
            drafters=drafters,
        )
    )
    singles, both = scenes(processor, options.count), beside(processor, options.count)
    mixed = pairs(processor, options.count)
    greedy = Sampling(temperature=0.0, max_tokens=options.cap)
    warm = [
        Sampling(temperature=1.0, max_tokens=options.cap, seed=seed)
        for seed in range(options.seeds)
    ]
    for arm in ARMS.values():
        decode(engine, singles[:1], arm, greedy)
    kind = engine.target.model.config.model_type
    result: dict[str, object] = {"provenance": provenance(options, kind)}
    alone = [[prompt] for prompt in singles]
    parts = {
        "one picture, T=0": (alone, [greedy], list(ARMS)),
        "one picture, T=1": (alone, warm, list(ARMS)),
        "beside another picture, T=0": ([[prompt] for prompt in both], [greedy], list(ARMS)),
        "pairs of all kinds, T=0": ([[prompt] for prompt in mixed], [greedy], list(ARMS)),
        "one picture, T=0, batch 8": (
            [(singles * 2)[at : at + 8] for at in range(0, options.count - 7, 4)], [greedy],
            ["plain", "text drafter", "vision drafter"],
        ),
    }  # fmt: skip
    for name, (groups, samplings, arms) in ({} if options.prefill else parts).items():
        result[name] = versus(engine, groups, samplings, {arm: ARMS[arm] for arm in arms})
        print(name, json.dumps(result[name], indent=1), flush=True)
    result["draft prefill over target prefill"] = {
        arm: prefill_share(engine, singles, arm) for arm in ("text drafter", "vision drafter")
    }
    if not options.prefill:
        result["the drafter misled"] = misled(engine, singles, greedy)
    for name in list(result)[-2:]:
        print(name, json.dumps(result[name], indent=1), flush=True)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
