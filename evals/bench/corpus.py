"""What a corpus costs: to build, to hold, to search; and how soon a finished text is found again.

The text is the Python of this environment's libraries, in words, each a token by the order in which
it is first seen. Questions are contexts out of files that are not in the corpus, and, harder,
out of files that are, where long matches are found. First, at any time, then with nothing else
running:

    python evals/bench/corpus.py --prepare WORDS.npy
    python evals/bench/corpus.py --words WORDS.npy --out evals/results/retrieval/corpus.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import site
import subprocess
import sysconfig
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
from suffix import Clock

from mmspec.core.drafter import Budget, Facts
from mmspec.core.request import Prompt, Request
from mmspec.core.sequence import Sequence
from mmspec.retrieval import corpus
from mmspec.retrieval.memtable import Memtable
from mmspec.retrieval.segment import PUBLIC, Segment, identity_of
from mmspec.retrieval.segment_build import Draft
from mmspec.retrieval.segment_search import longest, sample
from mmspec.retrieval.shelf import Shelf

SEED = 0
TOKENS = 20_000_000
HELD_OUT = 400_000  # tokens after the corpus that questions are taken from
QUESTIONS = 4000
MATCH, SAMPLES, REACH = 32, 64, 16
VOCABULARIES = {"16 bit": 32_768, "32 bit": 151_936}
FILE = -1  # ends a file in the prepared words


def prepare(path: Path) -> None:
    """Write enough words, int32, each file followed by -1."""
    ids: dict[str, int] = {}
    words: list[np.ndarray] = []
    count = 0
    folders = [sysconfig.get_path("stdlib"), *site.getsitepackages()]
    files = sorted({one for folder in folders for one in Path(folder).rglob("*.py")})
    np.random.default_rng(SEED).shuffle(files)
    for one in files:
        said = re.findall(r"\w+|\s+|[^\w\s]", one.read_text("utf-8", errors="replace"))
        words.append(np.array([*(ids.setdefault(w, len(ids)) for w in said), FILE], np.int32))
        count += len(said)
        if count > TOKENS + HELD_OUT:
            break
    np.save(path, np.concatenate(words))
    print(f"{count} words of {len(words)} files, {len(ids)} different ones")


def texts(words: np.ndarray, vocabulary: int) -> list[np.ndarray]:
    """The files, int64, rarer words sharing ids."""
    parts = np.split(words, np.flatnonzero(words == FILE) + 1)
    return [part[:-1].astype(np.int64) % vocabulary for part in parts if len(part) > 1]


def build(folder: Path, corpus_texts: list[np.ndarray], facts: Facts) -> dict[str, object]:
    """Index some texts; what that took."""
    began = time.perf_counter()
    with Draft(folder, identity_of(facts), PUBLIC) as draft:
        for one in corpus_texts:
            draft.add(one)
        added = time.perf_counter()
        shelf = Shelf(folder, identity_of(facts), PUBLIC)
        shelf.add(draft)
    took = time.perf_counter() - began
    (segment,) = shelf.mounted
    return {
        "tokens": len(segment),
        "seconds": round(took, 2),
        "of_those_adding": round(added - began, 2),
        "million_tokens_a_second": round(len(segment) / took / 1e6, 2),
        "bytes_a_token": round(segment.bytes / len(segment), 3),
        "fits_3_million_a_second": len(segment) / took >= 3e6,
    }


def mount(folder: Path, facts: Facts) -> dict[str, object]:
    """Mount it anew: time, and memory that the process has more of."""
    before, clock = resident(), Clock()
    with clock:
        shelf = Shelf(folder, identity_of(facts), PUBLIC)
    return {"milliseconds": clock.spread(1e6)["p50"], "resident_kib": resident() - before,
            "mapped_bytes": shelf.mounted[0].bytes}  # fmt: skip


def resident() -> int:
    """Memory of this process that is its own, KiB."""
    status = Path("/proc/self/status").read_text("ascii")
    return int(re.search(r"RssAnon:\s+(\d+)", status)[1])  # type: ignore[index]


def questions(sources: list[np.ndarray]) -> list[np.ndarray]:
    """Contexts at random places of some texts."""
    noise = np.random.default_rng(SEED)
    joined = [one for one in sources if len(one) > 2 * MATCH]
    asked = []
    for _ in range(QUESTIONS):
        one = joined[noise.integers(len(joined))]
        end = int(noise.integers(MATCH, len(one)))
        context = one[end - MATCH : end].copy()
        context.flags.writeable = False
        asked.append(context)
    return asked


def search(segment: Segment, asked: list[np.ndarray], facts: Facts) -> dict[str, object]:
    """The longest suffix of each context, and 64 continuations."""
    bars = np.array([facts.vocabulary], np.int64)
    rows, lengths = np.empty((SAMPLES, REACH), np.int32), np.empty(SAMPLES, np.int32)
    clock, matches, found = Clock(), [], []
    for context in asked:
        with clock:
            match = longest(segment.tokens, segment.order, segment.buckets, context, 1)
            some = 0
            if match[0]:
                some = sample(
                    segment.tokens, segment.order, segment.starts, segment.dead, match, bars,
                    rows, lengths,
                )  # fmt: skip
        matches.append(match[0])
        found.append(some)
    spent = clock.spread()
    return {
        "microseconds": spent,
        "match_p50_p90": np.percentile(matches, [50, 90]).tolist(),
        "continuations_mean": round(float(np.mean(found)), 1),
        "within_20_p50_and_100_p99": spent["p50"] <= 20 and spent["p99"] <= 100,
    }


def draft(folder: Path, asked: list[np.ndarray], facts: Facts) -> dict[str, float]:
    """The whole drafter, to a tree of at most 16 nodes, microseconds."""
    drafter = corpus.build(corpus.Config(paths=(str(folder),)), facts)
    clock = Clock()
    for context in asked[:1500]:
        one = Sequence(Request("q", Prompt(context)), 0, 0)
        with clock:
            drafter.draft([one], [Budget(16, 12)])
        drafter.forget(one.id)
    return clock.spread()


def remember(words: list[np.ndarray], facts: Facts) -> dict[str, object]:
    """A text of 500 tokens beside 64 thousand in memory; and from its end until it is quoted."""
    table = Memtable(identity_of(facts), MATCH)
    joined = np.concatenate(words)
    for first in range(0, 1 << 16, 500):
        table.add(joined[first : first + 500], 0)
    let_in = Clock()
    for first in range(1 << 16, (1 << 16) + 20_000, 500):
        with let_in:
            table.add(joined[first : first + 500], 0)
    drafter = corpus.build(corpus.Config(remember=True), facts)
    visible = Clock()
    for round_ in range(20):
        said = np.random.default_rng(round_).integers(0, facts.vocabulary, 500)
        one = Sequence(Request("r", Prompt(said[:4])), 0, 0)
        one.extend(said[4:])
        with visible:
            drafter.finish(one, "stop")
            asked = Sequence(Request("q", Prompt(said[4:20])), 0, 0)
            while len(drafter.draft([asked], [Budget(2, 1)])[0]) == 1:
                time.sleep(0.0005)
    return {"let_in_500_tokens_ms": let_in.spread(1e6), "end_until_quoted_ms": visible.spread(1e6)}


def measure(words: np.ndarray, tokens: int) -> dict[str, object]:
    """Everything, for ids of 16 and of 32 bits."""
    told: dict[str, object] = {}
    for name, vocabulary in VOCABULARIES.items():
        facts = Facts(vocabulary=vocabulary, context=1 << 20)
        said = texts(words, vocabulary)
        sizes = np.cumsum([len(one) + 1 for one in said])
        split = int(np.searchsorted(sizes, tokens))
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            own: dict[str, object] = {"vocabulary": vocabulary}
            own["build"] = build(folder, said[:split], facts)
            own["mount"] = mount(folder, facts)
            corpus.build(corpus.Config(paths=(place,)), facts)  # compiled before clocks start
            (segment,) = Shelf(folder, identity_of(facts), PUBLIC).mounted
            for where, sources in (("held_out", said[split:]), ("in_corpus", said[:split])):
                asked = questions(sources)
                search(segment, asked[:200], facts)
                own[f"search_{where}"] = search(segment, asked, facts)
                own[f"draft_16_nodes_{where}_us"] = draft(folder, asked, facts)
            own["remember"] = remember(said[split:], facts)
        told[name] = own
    return told


def provenance() -> dict[str, object]:
    """Where and when this ran."""
    said = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": said,
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "numba": version("numba"),
        "numpy": version("numpy"),
        "pydivsufsort": version("pydivsufsort"),
        "command": "evals/bench/corpus.py",
    }


def main() -> None:
    """Prepare, or measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prepare", type=Path, help="write the words here and end")
    parser.add_argument("--words", type=Path, help="what was prepared")
    parser.add_argument("--tokens", type=int, default=TOKENS, help="of the corpus")
    parser.add_argument("--out", type=Path, help="where the JSON goes")
    options = parser.parse_args()
    if options.prepare:
        prepare(options.prepare)
        return
    measured = {
        "what": "corpus drafter: building, mounting and searching an index",
        **provenance(),
        "seed": SEED,
        "config": {
            "tokens": options.tokens, "questions": QUESTIONS, "max_match": MATCH,
            "samples": SAMPLES, "continuation_tokens": REACH,
        },
        **measure(np.load(options.words), options.tokens),
    }  # fmt: skip
    print(json.dumps(measured, indent=2))
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
