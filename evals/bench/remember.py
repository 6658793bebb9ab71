"""What memory across requests gains: tau of arms on the same requests, in a fixed order.

Requests are answered once by the bundled model (``own + recycling``, live) and replayed for the
arms whose drafters read text alone; those with recycling run in the engine. tau counts the bonus.
The headline leaves out every answer of which any 32 tokens in a row were remembered or indexed
before (exact repeats). Ablations: A5 an index beside memory, A13 whose word counts, A14 which
occurrences are sampled, A15 ingestion, A18 tenants apart.

    python evals/bench/remember.py --code 60 --out evals/results/retrieval/remember.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from remember_replay import Arm, Played, Source, earliest, first_ones, latest, play
from remember_texts import CAP, PLACES, SHOWN, Told, answer, load, requests, save
from skeleton import provenance

from mmspec.core.config import Config, Drafters, EngineConfig, ModelConfig
from mmspec.core.request import Speculation
from mmspec.engine.build import build
from mmspec.retrieval.index import _ids
from mmspec.train.data.source import modules

if TYPE_CHECKING:
    from collections.abc import Sequence as ListOf

    from remember_texts import Asked

    from mmspec.core.drafter import Facts
    from mmspec.engine.engine import Engine
    from mmspec.model.processor import Processor

TEMPERATURES = (0.0, 0.6, 1.0)
MEMORY = {"remember": True, "prompts": True}
OWN = "own context"
ARMS = {
    OWN: Arm(),
    "+ answers (A15)": Arm(remember=True),
    "+ answers and prompts (A15)": Arm(**MEMORY),
    "+ index of earlier modules (A5)": Arm(index=True),
    "+ answers, prompts, index": Arm(index=True, **MEMORY),
    "+ answers, prompts, index, calibrated": Arm(index=True, fusion="calibrated", **MEMORY),
    "+ answers and prompts, calibrated": Arm(fusion="calibrated", **MEMORY),
    "A13 earliest": Arm(sampler=earliest, **MEMORY),
    "A13 latest": Arm(sampler=latest, **MEMORY),
    "A14 first 64": Arm(index=True, sampler=first_ones, **MEMORY),
    "A14 first 8": Arm(index=True, samples=8, sampler=first_ones, **MEMORY),
    "A14 8 evenly": Arm(index=True, samples=8, **MEMORY),
    "A18 four tenants": Arm(tenants=4, **MEMORY),
}  # fmt: skip
QUOTING: Drafters = {"retrieval": {"suffix": {}, "recycling": {}}}
REMEMBERING: Drafters = {"retrieval": {"suffix": {}, "recycling": {}, "corpus": MEMORY}}
LIVE = {
    "own context, live": (QUOTING, ("retrieval.suffix",)),
    "+ recycling, live": (QUOTING, None),
    "+ recycling, answers and prompts, live": (REMEMBERING, None),
}  # fmt: skip
RECORDED, CHECK = "+ recycling, live", "own context, live"
Recorded = dict[tuple[str, float], list[Told]]


def open_engine(drafters: Drafters) -> tuple[Engine, Processor]:
    """The bundled model; nobody is judged and no prompt is shared."""
    config = EngineConfig(max_sequences=2, prefix_cache=False, judge_rounds=0)
    return build(Config(model=ModelConfig(path="nano"), engine=config, drafters=drafters))


def live(options: argparse.Namespace, arm: str) -> Recorded:
    """One arm's answers by kind and temperature, as far as they are not on the disk already."""
    drafters, named = LIVE[arm]
    engine, processor = open_engine(drafters)
    corpus = engine.panel._drafters.get("retrieval.corpus")  # a bench may look
    told: Recorded = {}
    for kind, asked in kinds(processor, options).items():
        for temperature in options.temperatures:
            path = options.tracks / f"{arm}, {kind}, {temperature}.json"
            if path.exists():
                told[kind, temperature] = load(path, asked)
                continue
            engine.reset()
            rows = told[kind, temperature] = []
            for one in answer(
                engine, asked, Speculation(drafters=named), temperature, options.seed
            ):
                rows.append(one)
                if corpus is not None:
                    corpus.ingest.settle()
            save(path, rows)
            print(kind, temperature, arm, tau(rows), flush=True)
    return told


def everything(
    options: argparse.Namespace,
) -> tuple[dict[str, Recorded], Facts, list[np.ndarray]]:
    """All live arms, whose texts must be the same; facts for replay; the modules' ids."""
    arms = {name: live(options, name) for name in LIVE if options.check or name != CHECK}
    for name, told in arms.items():
        for key, rows in told.items():
            pairs = zip(arms[RECORDED][key], rows, strict=True)
            if any(not np.array_equal(one.answer, other.answer) for one, other in pairs):
                raise SystemExit(f"{name}, {key}: another text than without memory")
    engine, processor = open_engine(QUOTING)
    texts = [_ids(processor, path.read_text("utf-8", errors="replace")) for path in modules()]
    return arms, engine.target.facts, texts


def kinds(processor: Processor, options: argparse.Namespace) -> dict[str, list[Asked]]:
    """Requests by kind: ``--code`` of either kind of code, ``--count`` of others."""
    return requests(processor, options.code, options.count, options.documents)


def tau(rows: ListOf[Told] | ListOf[Played]) -> float:
    """Tokens a target pass, all rows together."""
    return sum(one.emitted for one in rows) / max(sum(one.rounds for one in rows), 1)


def gain(rows: ListOf[Played], base: ListOf[Played]) -> float:
    """Tau over the base's, less one."""
    return tau(rows) / tau(base) - 1.0 if rows else float("nan")


def interval(rows: ListOf[Played], base: ListOf[Played]) -> list[float]:
    """95 % of the gain over draws of requests."""
    draw, told = np.random.default_rng(0), []
    for _ in range(1000):
        chosen = draw.integers(0, len(rows), len(rows))
        told.append(gain([rows[i] for i in chosen], [base[i] for i in chosen]))
    return [float(np.quantile(told, q)) for q in (0.025, 0.975)]


def summary(rows: ListOf[Played], base: ListOf[Played], tenants: int = 1) -> dict[str, object]:
    """An arm's numbers over own context alone; the headline is ``gain``."""
    new = [i for i, one in enumerate(rows) if one.repeated == 0.0]
    fresh, fresh_base = [rows[i] for i in new], [base[i] for i in new]
    half = len(rows) // 2
    return {
        "tau": tau(fresh),
        "own_context": tau(fresh_base),
        "gain": gain(fresh, fresh_base),
        "gain_interval": interval(fresh, fresh_base) if fresh else None,
        "requests": len(new),
        "left_out_as_repeats": len(rows) - len(new),
        "repeats_included": {"tau": tau(rows), "gain": gain(rows, base)},
        "gain_of_halves": [gain(rows[:half], base[:half]), gain(rows[half:], base[half:])],
        "repeated_32_grams": [round(one.repeated, 4) for one in rows],
        "by_source": {
            name: [sum(one.drafted[name] for one in rows), sum(one.kept[name] for one in rows)]
            for name in rows[0].kept
        },
        "memory_bytes_of_all_tenants": sum(one.bytes for one in rows[-tenants:]),
    }


def replayed(told: ListOf[Told], facts: Facts, texts: ListOf[np.ndarray]) -> dict[str, object]:
    """Every arm over one kind's answers."""
    rows: dict[str, list[Played]] = {}
    for name, arm in ARMS.items():
        if arm.index and told[0].asked.module < 0:
            continue
        with tempfile.TemporaryDirectory() as place:
            source = Source(Path(place), facts, texts) if arm.index else None
            rows[name] = play(arm, told, facts, source, Path(place))
    return {name: summary(own, rows[OWN], ARMS[name].tenants) for name, own in rows.items()}


def report(
    own: dict[str, list[Told]], facts: Facts, texts: ListOf[np.ndarray]
) -> dict[str, object]:
    """One kind at one temperature: live arms, replayed arms, and that the two agree."""
    arms = replayed(own[RECORDED], facts, texts)
    engine: dict[str, object] = {
        name: {
            "tau": tau(rows),
            "by_source": {
                source: [sum(one.by_source.get(source, (0, 0))[i] for one in rows) for i in (0, 1)]
                for source in rows[-1].by_source
            },  # nothing where the tracks say nothing of it
        }
        for name, rows in own.items()
    }
    return {"engine": engine, "replayed": arms}


def main() -> None:
    """Answer, replay, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--code", type=int, default=40, help="requests of either kind of code")
    parser.add_argument("--count", type=int, default=20, help="requests of every other kind")
    parser.add_argument("--documents", type=int, default=3, help="seed of documents")
    parser.add_argument("--seed", type=int, default=1, help="of sampling")
    parser.add_argument("--temperatures", type=float, nargs="+", default=TEMPERATURES)
    parser.add_argument("--tracks", type=Path, default=Path("runs/remember"), help="of answers")
    parser.add_argument("--check", action="store_true", help="own context in the engine as well")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    options.model, options.device, options.threads = "nano", "cpu", 1
    torch.set_num_threads(1)
    options.tracks.mkdir(parents=True, exist_ok=True)
    arms, facts, texts = everything(options)
    measured: dict[str, dict[str, object]] = {}
    for kind, temperature in arms[RECORDED]:
        own = {name: told[kind, temperature] for name, told in arms.items()}
        measured.setdefault(kind, {})[f"temperature {temperature}"] = report(own, facts, texts)
        print(kind, temperature, flush=True)
    result = {
        "what": "tau with memory across requests, over own context alone (retrieval.suffix)",
        "provenance": provenance(options, "llava") | {"command": "evals/bench/remember.py"},
        "config": {
            "cap": CAP, "shown": SHOWN, "places_of_a_module": PLACES, "nodes": 16, "depth": 16,
            "temperatures": options.temperatures, "requests_of_code": options.code,
            "requests_of_others": options.count,
        },
        "seed": {"documents": options.documents, "sampling": options.seed},
        "measured": measured,
    }  # fmt: skip
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
