"""Ablations A0 to A15 and A18 in one file: replayed on tracks, or read from what was measured.

    for T in 0.0 0.6 1.0: python evals/bench/replay.py record --tracks runs/arms/$T --temperature $T
    python evals/bench/ablations.py --tracks runs/arms --out evals/results/retrieval/ablations.json
    python evals/bench/ablations_table.py

Every arm has 16 nodes and depth 16 unless its name says otherwise, and knows nothing when a kind of
text begins. ``worth`` is tokens per pass of the target where asking a model costs ``--price``
passes besides. Gains are over A9 and come with 95 % of draws of documents.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest.mock import patch

import numpy as np
from mmspec_evals.replay.play import Arm, Cost, Played, play
from mmspec_evals.replay.pruned import by_count, softly
from mmspec_evals.replay.track import load
from replay import (
    ALONE,
    CALIBRATED,
    DETERMINISTIC,
    EARLIEST,
    KINDS,
    MODELS,
    OWN,
    PLD,
    QUOTING,
    RECENT,
    RECYCLING,
    SUFFIX,
    VOTE,
    WIDE,
)
from skeleton import provenance

from mmspec.core.drafter import Budget
from mmspec.core.fuse import Fusion
from mmspec.engine import fusing
from mmspec.engine.fusing import Fuser

if TYPE_CHECKING:
    from collections.abc import Sequence as ListOf

    from mmspec_evals.replay.track import Track

RESULTS = Path(__file__).parents[1] / "results"
TEMPERATURES = ("0.0", "0.6", "1.0")
UNION = Fusion("union", models=MODELS)
BASE = "A9 calibrated"
Tracks = dict[str, list["Track"]]


class Row(NamedTuple):
    """An arm and how it is played.

    Attributes:
        nodes: of a tree. warm: what is learned from first: other documents of the kind ("kind"),
            all other kinds ("others"). told: the price of asking the engine's rule is told.
    """

    arm: Arm
    nodes: int = WIDE.nodes
    warm: str = ""
    told: float | None = None


def costs(price: float) -> dict[str, Cost]:
    """t(n) by where it was measured, in passes over one node, a line between what was timed.

    A larger tree that was timed faster than a smaller one is noise, and costs as much.

    ``one request``: ``verify_ms_at_512`` of ``skeleton.json`` (bitwise, 512 tokens). ``near-tie,
    8192 tokens``: whole passes of ``hybrid_cpu.json``. ``batch of 32``: a bound. No trees were
    timed there, but 2 nodes a sequence say 2 tokens at most, and speculation with them had
    ``speculation_batch_32`` times the speed (``skeleton.json``), so t(2) is at most 2 over that.
    """
    skeleton = json.loads((RESULTS / "skeleton.json").read_text(encoding="utf-8"))
    hybrid = json.loads((RESULTS / "hybrid_cpu.json").read_text(encoding="utf-8"))["found"]
    alone = {int(nodes): ms for nodes, ms in skeleton["verify_ms_at_512"].items()}
    risen = np.maximum.accumulate(list(alone.values()))
    far = hybrid["8192: 16 nodes over 1, whole pass of nano, near-tie"]["ratio"]
    row = 2.0 / skeleton["speculation_batch_32"]["ratio"] - 1.0
    return {
        "one request": Cost(tuple(alone), tuple((risen / alone[1]).tolist()), price),
        "near-tie, 8192 tokens": Cost((1, 16), (1.0, far), price),
        "batch of 32": Cost((1, 16), (1.0, 1.0 + 15 * row), price),
    }


def rows(price: float) -> dict[str, Row]:
    """All that is replayed, by name."""
    told = {
        "A0 plain": Row(Arm(frozenset())),
        "A1 model's tree": Row(Arm(ALONE, UNION)),
        "A2 prompt lookup, chain": Row(Arm(frozenset({PLD}), UNION)),
        "A3 automaton, chain": Row(Arm(frozenset({EARLIEST}), UNION)),
        "A4 automaton, tree by votes": Row(Arm(frozenset({SUFFIX}), UNION)),
        "A6 tree by votes + successor rows": Row(Arm(QUOTING, UNION)),
        "A6 model + tree by votes, no successor rows": Row(Arm(OWN - {RECYCLING}, CALIBRATED)),
        **{
            f"A7 switch at {enough}": Row(Arm(OWN, Fusion("switch", enough, MODELS)))
            for enough in (1.0, 2.5, 4.0)
        },
        "A8 union": Row(Arm(OWN, UNION)),
        BASE: Row(Arm(OWN, CALIBRATED)),
        **{
            f"A10 t(n), {name}": Row(Arm(OWN, CALIBRATED, None, cost=cost))
            for name, cost in costs(price).items()
        },
        **{f"A10 {nodes} nodes": Row(Arm(OWN, CALIBRATED, None), nodes) for nodes in (2, 4, 8, 16)},
        "A11 pruned by count": Row(Arm(OWN, UNION, shape=by_count)),
        "A11 pruned by the model, hard (RASD)": Row(Arm(OWN, Fusion("rasd", models=MODELS))),
        "A11 pruned by both, soft": Row(Arm(OWN, UNION, shape=softly)),
        "A12 model's tree, deterministic": Row(Arm(frozenset({DETERMINISTIC}), UNION)),
        "A12 calibrated, deterministic": Row(Arm(QUOTING | {DETERMINISTIC}, CALIBRATED)),
        "A13 earliest, chain": Row(Arm(frozenset({EARLIEST}), UNION)),
        "A13 recent, chain": Row(Arm(frozenset({RECENT}), UNION)),
        "A13 vote, chain": Row(Arm(frozenset({VOTE}), UNION)),
    }
    return told | asking(price)


def asking(price: float) -> dict[str, Row]:
    """When a model is asked: never, from fixed thresholds, and as the engine learns it."""
    learned = Arm(OWN, CALIBRATED, enough=None)
    return {
        "asked never": Row(Arm(QUOTING, CALIBRATED)),
        **{
            f"asked under {enough}": Row(Arm(OWN, CALIBRATED, enough=enough))
            for enough in (1.0, 2.5, 4.0, 6.0)
        },
        "asked as learned, cold": Row(learned),
        "asked as learned, after other documents": Row(learned, warm="kind"),
        "asked as learned, after other kinds": Row(learned, warm="others"),
        f"asked as learned, told {price} passes": Row(learned, told=price),
    }


def measure(tracks: Tracks, kind: str, row: Row) -> Played:
    """One arm over one kind of text: every document counts once."""
    own, budget, played = tracks[kind], Budget(row.nodes, WIDE.depth), Played()
    half = len(own) // 2
    before: list[tuple[ListOf[Track], ListOf[Track]]] = [([], own)]
    if row.warm == "kind":
        before = [(own[half:], own[:half]), (own[:half], own[half:])]
    elif row.warm == "others":
        before = [([one for name in KINDS if name != kind for one in tracks[name]], own)]
    with patch.object(fusing, "PRICE", row.told or fusing.PRICE):
        for first, then in before:
            fuser = Fuser(row.arm.how)
            for one in first:
                play(one, row.arm, budget, Played(), fuser)
            for one in then:
                play(one, row.arm, budget, played, fuser)
    return played


def summary(
    played: Played, base: Played, prices: ListOf[float], at: dict[str, Cost] | None = None
) -> dict[str, Any]:
    """An arm's numbers, and its gain over the base; ``at``: costs of trees at which it counts."""
    told: dict[str, Any] = {
        "tau": played.tau,
        "nodes": played.nodes,
        "asked": played.asked / played.rounds,
        "worth": {f"{one:g}": played.worth(one) for one in prices},
        "tau_over_A9": played.tau / base.tau - 1.0,
        "tau_over_A9_interval": None,
    }  # fmt: skip
    if at:
        told["worth_at_t(n)"] = {name: played.worth(one.price, one) for name, one in at.items()}
    if len(played.each) == len(base.each):
        mine, theirs = np.array(played.each), np.array(base.each)
        draw, gains = np.random.default_rng(0), []
        for _ in range(1000):
            drawn = draw.integers(0, len(mine), len(mine))
            one, other = mine[drawn].sum(0), theirs[drawn].sum(0)
            gains.append(one[0] / one[1] / (other[0] / other[1]) - 1.0)
        told["tau_over_A9_interval"] = [float(np.quantile(gains, q)) for q in (0.025, 0.975)]
    return told


def replayed(options: argparse.Namespace) -> dict[str, Any]:
    """Temperature -> kind of text -> arm -> numbers."""
    told: dict[str, Any] = {}
    for temperature in TEMPERATURES:
        folder = options.tracks / temperature
        tracks = {kind: list(load(folder / f"{kind}.npz")) for kind in KINDS}
        for kind in KINDS:
            arms = rows(options.price)
            base = measure(tracks, kind, arms[BASE])
            told.setdefault(temperature, {})[kind] = {
                name: summary(
                    measure(tracks, kind, row),
                    base,
                    options.prices,
                    costs(options.price) if name.startswith("A10") else None,
                )
                for name, row in arms.items()
            }
            print(temperature, kind, flush=True)
    return told


def remembered() -> dict[str, Any]:
    """A5, A6, A13, A14, A15 and A18 of requests in a row, as ``remember.py`` measured them.

    Kind of text -> temperature -> arm -> numbers. A6 ran in the engine, where successor rows learn
    from wrong guesses, too; it is held against own text alone, replayed, repeats included in both.
    """
    told: dict[str, Any] = {}
    fields = ("tau", "gain", "gain_interval", "requests")
    for path in sorted((RESULTS / "retrieval").glob("remember*.json")):
        measured = json.loads(path.read_text(encoding="utf-8"))["measured"]
        for kind, by_temperature in measured.items():
            for temperature, one in by_temperature.items():
                arms = {
                    arm: {field: row[field] for field in fields}
                    for arm, row in one["replayed"].items()
                }
                live = one["engine"]["+ recycling, live"]["tau"]
                own = one["replayed"]["own context"]["repeats_included"]["tau"]
                arms["+ successor rows, live (A6)"] = {"tau": live, "gain": live / own - 1.0}
                told.setdefault(kind, {})[temperature.removeprefix("temperature ")] = arms
    return told


def rounded(told: Any) -> Any:
    """All numbers to four places."""
    if isinstance(told, dict):
        return {key: rounded(one) for key, one in told.items()}
    if isinstance(told, list | tuple):
        return [rounded(one) for one in told]
    return round(told, 4) if isinstance(told, float) else told


def main() -> None:
    """Replay, join, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tracks", type=Path, default=Path("runs/arms"), help="a folder each T")
    parser.add_argument("--price", type=float, default=1.2, help="passes that asking costs")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    options.prices = sorted({options.price, fusing.PRICE})
    options.model, options.device, options.threads = "nano", "cpu", 1
    result = {
        "what": "ablations of drafting: tau (bonus included) and tokens per pass",
        "provenance": provenance(options, "llava") | {"command": "evals/bench/ablations.py"},
        "config": {
            "nodes": WIDE.nodes, "depth": WIDE.depth, "price": options.price,
            "engine_price": fusing.PRICE, "engine_start": fusing.START,
        },
        "costs": {name: cost._asdict() for name, cost in costs(options.price).items()},
        "replayed": replayed(options),
        "remembered": remembered(),
    }  # fmt: skip
    text = json.dumps(rounded(result), indent=1) + "\n"
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text, encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
