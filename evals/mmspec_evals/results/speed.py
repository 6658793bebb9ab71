"""How fast one method was, and how much faster than another on the same documents."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from mmspec_evals.results import stats
from mmspec_evals.results.arms import LAST, VANILLA, together
from mmspec_evals.results.timing import decode_after_first, pair

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mmspec_evals.results.arms import Arm
    from mmspec_evals.results.timing import Pair

SAYS_SOMETHING = 20  # documents from which a verdict is given in words
SECONDS = ("base_s", "s", "base_decode_s", "decode_s")
CONTEXT = (1024, 4096, 16384, 65536)  # prompt tokens at which the buckets part


def bases(arms: Mapping[str, Arm]) -> dict[str, Arm]:
    """Arms as they are compared: both measurements of plain decoding are one."""
    merged = {name: arm for name, arm in arms.items() if name != LAST}
    if VANILLA in merged and LAST in arms:
        merged[VANILLA] = together(merged[VANILLA], arms[LAST])
    return merged


def shared_documents(arms: Mapping[str, Arm]) -> set[str]:
    """Documents on which every method can be paired with plain decoding.

    A method that failed on more than half of them is left out of the vote: it is compared on its
    own documents, and the report says so.
    """
    base = arms.get(VANILLA, {})
    paired = {
        name: {doc for doc in arm if doc in base and pair(arm[doc], base[doc]) is not None}
        for name, arm in arms.items()
    }
    possible = paired.get(VANILLA, set())
    for done in paired.values():
        if 2 * len(done) >= len(paired.get(VANILLA, ())):
            possible = possible & done
    return possible


def pairs_of(method: Arm, base: Arm, documents: set[str]) -> list[Pair]:
    """Pairs over ``documents``; over all that can be paired if the method did too few of them."""
    pairs = [
        found
        for doc, done in method.items()
        if doc in base and (found := pair(done, base[doc])) is not None
    ]
    chosen = [found for found in pairs if found.doc in documents]
    return chosen if documents and len(chosen) == len(documents) else pairs


def block(
    name: str, arms: Mapping[str, Arm], raw: Mapping[str, Arm], documents: set[str]
) -> dict[str, Any]:
    """The ``speed`` block of one method; ``raw`` still has plain decoding's two measurements."""
    arm = arms[name]
    result = absolute(arm)
    if VANILLA in arms:
        pairs = pairs_of(arm, arms[VANILLA], documents)
        result |= against(pairs)
        result["by_context"] = by_context(pairs)
        result["own_documents"] = {p.doc for p in pairs} != documents
    if "hf_greedy" in arms and name != "hf_greedy":
        versus = against(pairs_of(arm, arms["hf_greedy"], documents))
        for key in ("speedup_decode", "speedup_e2e"):
            result[f"{key}_vs_hf_greedy"] = versus[key]
            result[f"{key}_vs_hf_greedy_ci95"] = versus[f"{key}_ci95"]
        result["n_vs_hf_greedy"] = versus["n"]
    if name == VANILLA and LAST in raw:
        result |= drift(raw[VANILLA], raw[LAST])
    return result


def against(pairs: list[Pair]) -> dict[str, Any]:
    """Speedups over the base of ``pairs``, decode and end to end, with the ways others average."""
    result: dict[str, Any] = {"n": len(pairs), "clusters": len({p.cluster for p in pairs})}
    result["documents_decode"] = sum(p.decode is not None for p in pairs)
    decode = [(p.cluster, p.decode) for p in pairs]
    whole = [(p.cluster, p.total) for p in pairs]
    shared = [(p.cluster, p.shared) for p in pairs]
    for key, rows in (("decode", decode), ("e2e", whole), ("decode_common", shared)):
        known = [(cluster, both) for cluster, both in rows if both is not None]
        clusters = [cluster for cluster, _ in known]
        both = [seconds for _, seconds in known]
        result |= told(f"speedup_{key}", stats.bootstrap(both, clusters, stats.over))
        if key != "decode_common":
            usable = [(c, b / m) for c, (b, m) in known if b > 0 and m > 0]
            each = stats.geometric_mean([r for _, r in usable], [c for c, _ in usable])
            result |= told(f"speedup_{key}_geometric", each)
    result |= told("ratio_of_mean_tps", _mean_tps(pairs))
    tokens = [p.tokens for p in pairs]
    emitted = sum(min(both) for both in tokens)
    result["equal_tokens_share"] = number(emitted / max(sum(base for base, _ in tokens), 1))
    result["verdict"] = verdict(result["n"], result["speedup_e2e_ci95"])
    result["verdict_decode"] = verdict(result["documents_decode"], result["speedup_decode_ci95"])
    return result


def verdict(documents: int, ci95: list[float] | None) -> str | None:
    """A word, if there are documents enough to say one."""
    if documents < SAYS_SOMETHING or ci95 is None:
        return None
    if ci95[0] > 1.0:
        return "faster"
    return "slower" if ci95[1] < 1.0 else "no difference shown"


def absolute(arm: Arm) -> dict[str, Any]:
    """Rates and latencies of a method alone, over every document it did."""
    done = [(document.cluster, document.timed) for document in arm.values() if document.timed]
    clusters, rows, firsts, each, peaks = [], [], [], [], []
    for cluster, samples in done:
        traces = [trace for sample in samples for trace in sample.traces]
        peaks += [trace.peak_mib for trace in traces if trace.peak_mib is not None]
        firsts += [
            (cluster, trace.seconds.first * 1000.0)
            for trace in traces
            if trace.seconds.first is not None
        ]
        timed = [(t.tokens - 1, decode_after_first(t)) for t in traces if t.tokens > 1]
        long = [(tokens, seconds) for tokens, seconds in timed if seconds is not None]
        if long:
            clusters.append(cluster)
            tokens, decode = (sum(column) / len(samples) for column in zip(*long, strict=True))
            rows.append((tokens, decode))
            each += [1000.0 * seconds / tokens for tokens, seconds in long]
    ttft = stats.average([ms for _, ms in firsts], [cluster for cluster, _ in firsts])
    return {
        **told("decode_tps", stats.bootstrap(rows, clusters, stats.over)),
        **told("ttft_ms", ttft),
        **quantiles("ttft_ms", [ms for _, ms in firsts]),
        "tpot_ms": number(sum(each) / len(each)) if each else None,
        **quantiles("tpot_ms", each),
        "peak_mib": max(peaks) if peaks else None,
    }


def columns(arm: Arm, base: Arm | None) -> dict[str, list[Any]]:
    """Every document of a method, a list a field: what plots and comparisons of runs are made of.

    Seconds are credited ones, this method's and its base's; None where they cannot be paired.
    """
    rows: dict[str, list[Any]] = {
        name: [] for name in ("id", "sha", "cluster", "prompt_tokens", *SECONDS)
    }
    for document in arm.values():
        found = pair(document, base[document.id]) if base and document.id in base else None
        rows["id"].append(document.id)
        rows["sha"].append(document.sha)
        rows["cluster"].append(document.cluster)
        rows["prompt_tokens"].append(document.samples[-1].prompt_tokens)
        spent = (None, None, None, None) if found is None else (*found.total, *_decode(found))
        for name, value in zip(SECONDS, spent, strict=True):
            rows[name].append(None if value is None else float(f"{value:.6g}"))
    return rows


def drift(first: Arm, last: Arm) -> dict[str, Any]:
    """Seconds of plain decoding measured last over those measured first: 1 on a steady machine."""
    found = [
        (p.cluster, p.total)
        for doc, done in last.items()
        if doc in first and (p := pair(done, first[doc])) is not None
    ]
    rows = [(late, early) for _, (early, late) in found]
    return told("drift", stats.bootstrap(rows, [cluster for cluster, _ in found], stats.over))


def by_context(pairs: list[Pair]) -> dict[str, Any]:
    """Speedups by prompt length; only buckets that hold documents."""
    sorted_in: dict[str, list[Pair]] = {}
    for p in sorted(pairs, key=lambda p: p.prompt_tokens):
        sorted_in.setdefault(bucket(p.prompt_tokens), []).append(p)
    kept = ("speedup_decode", "speedup_decode_ci95", "speedup_e2e", "speedup_e2e_ci95", "n")
    return {
        name: {key: value for key, value in against(held).items() if key in kept}
        | {"prompt_tokens": sum(p.prompt_tokens for p in held) / len(held)}
        for name, held in sorted_in.items()
    }


def bucket(tokens: int) -> str:
    """The name of a prompt length's bucket, such as ``1k-4k``."""
    low = max((edge for edge in CONTEXT if edge <= tokens), default=0)
    high = min((edge for edge in CONTEXT if edge > tokens), default=0)
    if not high:
        return f">={low // 1024}k"
    return f"{low // 1024}k-{high // 1024}k" if low else f"<{high // 1024}k"


def told(name: str, estimate: stats.Estimate) -> dict[str, Any]:
    """An estimate as two fields: the number, and its interval beside it."""
    return {name: number(estimate.value), f"{name}_ci95": estimate.ci95}


def quantiles(name: str, values: Sequence[float]) -> dict[str, float | None]:
    """Median and ninetieth percentile."""
    cut = np.percentile(values, (50, 90)) if len(values) else (None, None)
    return {f"{name}_{key}": number(value) for key, value in zip(("p50", "p90"), cut, strict=True)}


def number(value: float | None) -> float | None:
    """A JSON number, or None for what is not one."""
    return float(value) if value is not None and math.isfinite(value) else None


def _decode(found: Pair) -> tuple[float | None, float | None]:
    return (None, None) if found.decode is None else found.decode


def _mean_tps(pairs: list[Pair]) -> stats.Estimate:
    rows = [(p.tokens[1] / _spent(p.method), p.tokens[0] / _spent(p.base)) for p in pairs]
    return stats.bootstrap(rows, [p.cluster for p in pairs], stats.over)


def _spent(turns: Sequence[Any]) -> float:
    return sum(turn.total for turn in turns)
