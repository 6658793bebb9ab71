"""A result as a report one can read: the headline first, what it means under it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mmspec_evals.results.series import cells

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    Result = Mapping[str, Any]

POSITIONS = 6  # drafted positions in the table; the file has them all


def report(result: Result, plots: Sequence[str] = ()) -> str:
    """The whole report; ``plots`` are paths of pictures to show, relative to the report."""
    sections = [
        [f"# Evaluation of {result['model_name']}", "", *header(result)],
        ["## Quality and speed", "", *headline(result)],
        ["## Latency", "", *latency(result)],
        ["## Acceptance", "", *acceptance(result)],
        ["## By prompt length", "", *by_context(result)],
        ["## Marks, and differences from plain decoding", "", *differences(result)],
        ["## Data", "", *data(result)],
        ["## Not comparable because", "", *reasons(result)],
        ["## Plots", "", *(f"![{path}]({path})\n" for path in plots)] if plots else [],
        ["## What the numbers mean", "", *definitions(result)],
    ]
    return "\n".join("\n".join(section).rstrip() + "\n" for section in sections if section)


def header(result: Result) -> list[str]:
    """Model, machine, versions, how it was asked."""
    machine, config = result["environment"], result["config"]
    generation = config["gen_kwargs"]
    commit = (result["git_hash"] or "unknown commit")[:7] + ("+" if machine["dirty"] else "")
    made = result["date"] and datetime.fromtimestamp(result["date"], UTC).strftime("%Y-%m-%d")
    kinds = dict.fromkeys(source["kind"] for source in result["data"].values())
    how = f"temperature {generation['temperature']:g}" if generation["temperature"] else "greedy"
    return [
        f"- model `{result['model_name']}`, {machine['dtype']}, numerics `{machine['numerics']}`",
        f"- machine: {machine['gpu'] or machine['cpu']}, {machine['threads']} threads, "
        f"on `{machine['device']}`",
        f"- mmspec {machine['mmspec']} ({commit}), torch {machine['torch']}, "
        f"transformers {machine['transformers']}, {made or 'undated'}",
        f"- {how}, batch 1, {config['repeats']} repeat(s), seed {config['random_seed']}; "
        f"data: {', '.join(kinds)}",
    ]


def headline(result: Result) -> list[str]:
    """One line a task and method."""
    changes = {(r["task"], r["metric"], r["a"]): r for r in result["comparisons"]}
    rows = []
    for task, methods in result["methods"].items():
        metric = next((m["metric"] for m in result["configs"][task]["metric_list"]), None)
        for method, cell in methods.items():
            if "unsupported" in cell:
                rows.append([task, method, "0", f"cannot: {cell['unsupported']}", *[""] * 6])
                continue
            speed = cell["speed"]
            change = changes.get((task, metric, method))
            rows.append(
                [
                    task,
                    method,
                    str(cell["n"]),
                    score(result, task, metric, cell),
                    "" if change is None else gain(result, task, change),
                    "" if method == "vanilla" else times(speed, "speedup_decode"),
                    "" if method == "vanilla" else times(speed, "speedup_e2e"),
                    number(cell["spec"]["tau"]),
                    "reference" if method == "vanilla" else text(cell["lossless"]),
                    "" if method == "vanilla" else verdict(speed),
                ]
            )
    names = ["task", "method", "n", "score", "less vanilla", "decoding", "end to end", "tau"]
    lines = table([*names, "text", "verdict"], rows)
    return [
        *lines,
        "",
        "Ranges are 95 % intervals; speedups are over vanilla at equal tokens; "
        "of two words in verdict the first is for decoding.",
    ]


def latency(result: Result) -> list[str]:
    """Milliseconds, rates and memory."""
    rows = [
        [
            task,
            method,
            number(cell["speed"]["decode_tps"], 1),
            f"{number(speed['ttft_ms_p50'], 1)} / {number(speed['ttft_ms_p90'], 1)}",
            f"{number(speed['tpot_ms_p50'], 2)} / {number(speed['tpot_ms_p90'], 2)}",
            share(cell["spec"]["draft_share"]),
            number(speed["peak_mib"], 0),
            times(speed, "speedup_decode_vs_hf_greedy"),
            times(speed, "speedup_e2e_vs_hf_greedy"),
            times(speed, "drift"),
        ]
        for task, method, cell in cells(result)
        for speed in [cell["speed"]]
    ]
    names = ["task", "method", "tokens/s", "TTFT ms p50 / p90", "TPOT ms p50 / p90", "drafting"]
    others = ["peak MiB", "decoding over hf_greedy", "end to end over hf_greedy", "drift"]
    return table(names + others, rows)


def acceptance(result: Result) -> list[str]:
    """Tau and acceptance by position, where answers are long enough to tell."""
    rows = []
    for task, method, cell in cells(result):
        spec = cell["spec"]
        if spec["long_enough"] and spec["accept_at"]:
            pairs = list(zip(spec["accept_at"], spec["alpha"], strict=True))[:POSITIONS]
            told = [f"{number(at)} ({number(rate)})" for at, rate in pairs]
            rows.append(
                [
                    task,
                    method,
                    ranged(spec["tau"], spec["tau_ci95"]),
                    number(spec["accepted_per_round"]),
                    share(spec["draft_rate"]),
                    share(spec.get("repeated")),
                    *told,
                    *[""] * (POSITIONS - len(told)),
                ]
            )
    if not rows:
        return ["No task has answers long enough (64 tokens) from a method that drafts."]
    names = ["task", "method", "tau", "accepted a pass", "drafts kept", "said again"]
    lines = table([*names, *(f"k={k}" for k in range(1, POSITIONS + 1))], rows)
    return [*lines, "", "Under k: accept_at[k] (alpha[k])."]


def by_context(result: Result) -> list[str]:
    """Speed and tau by prompt length."""
    rows = []
    for task, method, cell in cells(result):
        lengths = cell["spec"]["buckets"]["context"]
        for bucket, found in cell["speed"].get("by_context", {}).items():
            if method != "vanilla":
                tau = lengths.get(bucket, {}).get("tau")
                kinds = [times(found, f"speedup_{kind}") for kind in ("decode", "e2e")]
                rows.append([task, method, bucket, str(found["n"]), *kinds, number(tau)])
    return table(["task", "method", "prompt tokens", "n", "decoding", "end to end", "tau"], rows)


def differences(result: Result) -> list[str]:
    """Every metric, paired with plain decoding."""
    rows = []
    told = {(r["task"], r["metric"], r["a"]): r for r in result["comparisons"]}
    for task, method, cell in cells(result):
        for metric in (key for key in cell["quality"] if f"{key}_stderr" in cell["quality"]):
            row = told.get((task, metric, method))
            mark = [task, method, metric, score(result, task, metric, cell, named=False)]
            tested = [gain(result, task, row), p(row["p"]), p(row["p_holm"])] if row else [""] * 3
            rows.append([*mark, *tested])
    return table(["task", "method", "metric", "value", "less vanilla", "p", "p (Holm)"], rows)


def data(result: Result) -> list[str]:
    """Where the documents came from."""
    rows = [
        [
            task,
            source["kind"],
            f"{result['n-samples'][task]['effective']} of {source['rows']}",
            f"`{source['path']}`" if source["path"] else "made here",
            source["sha256"][:12],
            source["prompts"],
        ]
        for task, source in result["data"].items()
    ]
    return table(["task", "kind", "rows", "from", "SHA-256", "wording"], rows)


def reasons(result: Result) -> list[str]:
    """Every flag, those with the same words together."""
    grouped: dict[str, list[str]] = {}
    for row in result["flags"]:
        where = " / ".join(part for part in (row["task"], row["method"]) if part)
        grouped.setdefault(row["text"], []).append(where)
    lines = []
    for words, places in grouped.items():
        where = ", ".join(f"`{place}`" for place in places if place)
        lines.append(f"- {words}" + (f": {where}" if where else ""))
    return lines or ["Nothing was found that speaks against it."]


def definitions(result: Result) -> list[str]:
    """Definitions as a list."""
    return [f"- **{name}**: {words}" for name, words in result["definitions"].items()]


def table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table; columns that are empty in every row are left out."""
    held = list(rows)
    if not held:
        return ["Nothing was measured."]
    used = [i for i in range(len(names)) if any(row[i] not in ("", "-", "- / -") for row in held)]
    lines = ["| " + " | ".join(names[i] for i in used) + " |", "|---" * len(used) + "|"]
    return lines + [
        "| " + " | ".join(row[i].replace("|", "\\|").replace("\n", " ") for i in used) + " |"
        for row in held
    ]


def score(
    result: Result, task: str, metric: str | None, cell: Mapping[str, Any], named: bool = True
) -> str:
    """A metric with its interval, in percent if it is a share."""
    quality = cell["quality"]
    if metric is None or quality.get(metric) is None:
        return "-"
    scale, unit = scaled(result, task, metric)
    ends = quality[f"{metric}_ci95"]
    value = f"{quality[metric] * scale:.1f}{unit}"
    words = value + (f" ({ends[0] * scale:.1f} to {ends[1] * scale:.1f})" if ends else "")
    return f"{metric} {words}" if named else words


def gain(result: Result, task: str, row: Mapping[str, Any]) -> str:
    """A paired difference with its interval."""
    scale, _ = scaled(result, task, row["metric"])
    ends = [f"{end * scale:+.1f}" for end in row["ci95"] or ()]
    return f"{row['diff'] * scale:+.1f}" + (f" ({' to '.join(ends)})" if ends else "")


def scaled(result: Result, task: str, metric: str) -> tuple[float, str]:
    """(factor, unit) in which a metric is shown."""
    known = {m["metric"]: m["percent"] for m in result["configs"][task]["metric_list"]}
    return (100.0, " %") if known.get(metric) else (1.0, "")


def times(block: Mapping[str, Any], name: str) -> str:
    """A ratio with its interval; empty where it was not made."""
    if name not in block:
        return ""
    value, ends = block[name], block[f"{name}_ci95"]
    if value is None:
        return "-"
    return f"{value:.2f}x" + (f" ({ends[0]:.2f} to {ends[1]:.2f})" if ends else "")


def verdict(speed: Mapping[str, Any]) -> str:
    """One word if decoding and whole calls agree, else both; a dash where none is given."""
    words = [speed.get(name) or "-" for name in ("verdict_decode", "verdict")]
    return " / ".join(dict.fromkeys(words))


def text(found: Mapping[str, Any]) -> str:
    """Counts of the audit in words."""
    kinds = ("violation", "exact", "near_tie", "approximate", "not_compared")
    parts = [f"{found[kind]} {kind.replace('_', ' ')}" for kind in kinds if found[kind]]
    words = ", ".join(parts) or "-"
    return f"**{words}**" if found["violation"] else words


def ranged(value: float | None, ends: Sequence[float] | None) -> str:
    """A number with its interval."""
    return number(value) + (f" ({number(ends[0])} to {number(ends[1])})" if ends else "")


def number(value: float | None, digits: int = 2) -> str:
    """A number, or a dash."""
    return "-" if value is None else f"{value:.{digits}f}"


def share(value: float | None) -> str:
    """A share in percent, or a dash."""
    return "-" if value is None else f"{value:.0%}"


def p(value: float | None) -> str:
    """A p value."""
    if value is None:
        return "-"
    return "<0.001" if value < 0.001 else f"{value:.3f}"
