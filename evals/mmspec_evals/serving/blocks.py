"""The result as a terminal shows it: vLLM's blocks, so that two printouts lie side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmspec_evals.serving.summary import PARTS, spelled

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

WIDTH = 50
_TITLES = {
    "ttft": "Time to First Token",
    "tpot": "Time per Output Token (excl. 1st token)",
    "itl": "Inter-token Latency",
    "e2el": "End-to-end Latency",
}
_TOTALS = (
    ("Successful requests:", "completed"),
    ("Failed requests:", "failed"),
    ("Maximum request concurrency:", "max_concurrency"),
    ("Request rate configured (RPS):", "request_rate"),
    ("Benchmark duration (s):", "duration"),
    ("Total input tokens:", "total_input_tokens"),
    ("Total generated tokens:", "total_output_tokens"),
    ("Request throughput (req/s):", "request_throughput"),
    ("Request goodput (req/s):", "request_goodput"),
    ("Output token throughput (tok/s):", "output_throughput"),
    ("Peak concurrent requests:", "max_concurrent_requests"),
    ("Total token throughput (tok/s):", "total_token_throughput"),
)
_SPECULATION = (
    ("Acceptance rate (%):", "spec_decode_acceptance_rate"),
    ("Acceptance length:", "spec_decode_acceptance_length"),
    ("Tokens per target pass (tau):", "spec_decode_tau"),
    ("Drafts:", "spec_decode_num_drafts"),
    ("Draft tokens:", "spec_decode_draft_tokens"),
    ("Accepted tokens:", "spec_decode_accepted_tokens"),
)


def blocks(result: Mapping[str, Any], percentiles: Sequence[float]) -> str:
    """All blocks, ready to print; a line whose value is absent is left out."""
    lines = [" Serving Benchmark Result ".center(WIDTH, "="), *_lines(_TOTALS, result)]
    if result.get("uncounted"):
        lines.append(
            f"({result['uncounted']} answers came without usage: their chunks are counted)"
        )
    for part in PARTS:
        title = f"{_TITLES[part]} (per chunk)" if part == "itl" else _TITLES[part]
        words = [("Mean", "mean"), ("Median", "median"), ("Std", "std")]
        words += [(f"P{spelled(p)}", f"p{spelled(p)}") for p in percentiles]
        labelled = [(f"{word} {part.upper()} (ms):", f"{key}_{part}_ms") for word, key in words]
        lines += [title.center(WIDTH, "-"), *_lines(labelled, result, absent="n/a")]
    if "spec_decode_num_drafts" in result:
        lines += ["Speculative Decoding".center(WIDTH, "-"), *_lines(_SPECULATION, result)]
        lines.append("Per-position acceptance (%):")
        rates = result["spec_decode_per_position_acceptance_rates"]
        lines += [_line(f"  Position {place}:", 100 * rate) for place, rate in enumerate(rates)]
    lines.append("=" * WIDTH)
    return "\n".join(lines) + "\n"


def _lines(
    labelled: Sequence[tuple[str, str]], result: Mapping[str, Any], absent: str | None = None
) -> list[str]:
    found = [(label, result.get(key)) for label, key in labelled]
    return [
        _line(label, absent if value is None else value)
        for label, value in found
        if (value is not None or absent is not None) and value != "inf"
    ]


def _line(label: str, value: object) -> str:
    shown = f"{value:<10.2f}" if isinstance(value, float) else f"{value!s:<10}"
    return f"{label:<40} {shown}"
