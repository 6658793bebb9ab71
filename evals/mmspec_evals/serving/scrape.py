"""Speculation as a server counts it: its ``/metrics`` before and after, in vLLM's names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

_LINE = re.compile(
    r"(?P<name>[A-Za-z_:][\w:]*)(?:\{(?P<labels>.*)\})?\s+(?P<value>\S+)(?:\s+\d+)?$"
)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_STEM = "vllm:spec_decode_num_"
_TOTALS = {"drafts": "drafts", "draft_tokens": "draft_tokens", "accepted_tokens": "accepted"}
_PASSES = "mmspec_engine_passes_total"


class Counts(msgspec.Struct, kw_only=True):
    """A server's counters at one moment, summed over its engines.

    ``drafts`` are verified guesses (trees, for us) with at least one guessed token,
    ``draft_tokens`` all guessed tokens (nodes of trees), ``accepted_at[k]`` the guesses that kept
    more than k. ``passes`` are target passes with or without a guess: our own counter, None
    elsewhere.
    """

    drafts: float = 0.0
    draft_tokens: float = 0.0
    accepted: float = 0.0
    accepted_at: dict[int, float] = {}
    passes: float | None = None


class Speculation(msgspec.Struct, frozen=True, kw_only=True):
    """What happened between two moments.

    ``acceptance_length`` is 1 + accepted / drafts (rounds without a guess are not in it), ``tau``
    1 + accepted / passes (they are); ``per_position`` is unconditional.
    """

    acceptance_rate: float  # per cent of guessed tokens
    acceptance_length: float
    drafts: int
    draft_tokens: int
    accepted: int
    per_position: list[float]
    tau: float | None = None

    def named(self) -> dict[str, object]:
        """Under the keys of vLLM's result files, and one of our own."""
        found: dict[str, object] = {
            "spec_decode_acceptance_rate": self.acceptance_rate,
            "spec_decode_acceptance_length": self.acceptance_length,
            "spec_decode_num_drafts": self.drafts,
            "spec_decode_draft_tokens": self.draft_tokens,
            "spec_decode_accepted_tokens": self.accepted,
            "spec_decode_per_position_acceptance_rates": self.per_position,
        }
        return found if self.tau is None else found | {"spec_decode_tau": self.tau}


def parse(text: str) -> Counts | None:
    """Read a Prometheus exposition; None where nothing speculative is counted.

    Lines that are not samples are passed over: a scrape must never end a benchmark.
    """
    found = False
    counts = Counts()
    for name, labels, value in _samples(text):
        if name == _PASSES:
            counts.passes = (counts.passes or 0.0) + value
        if not (name.startswith(_STEM) and name.endswith("_total")):
            continue
        stem = name.removeprefix(_STEM).removesuffix("_total")
        if stem in _TOTALS:
            found = True
            setattr(counts, _TOTALS[stem], getattr(counts, _TOTALS[stem]) + value)
        elif stem == "accepted_tokens_per_pos" and labels.get("position", "").isdecimal():
            place = int(labels["position"])
            counts.accepted_at[place] = counts.accepted_at.get(place, 0.0) + value
    return counts if found else None


def between(before: Counts | None, after: Counts | None) -> Speculation | None:
    """The difference of two scrapes; None without any guess, or if the server began anew."""
    if before is None or after is None:
        return None
    drafts, tokens = after.drafts - before.drafts, after.draft_tokens - before.draft_tokens
    accepted = after.accepted - before.accepted
    if drafts <= 0 or tokens <= 0 or accepted < 0:
        return None
    places = sorted({*before.accepted_at, *after.accepted_at})
    kept = [after.accepted_at.get(k, 0.0) - before.accepted_at.get(k, 0.0) for k in places]
    passes = None
    if before.passes is not None and after.passes is not None:
        passes = after.passes - before.passes
    return Speculation(
        acceptance_rate=100.0 * accepted / tokens,
        acceptance_length=1.0 + accepted / drafts,
        drafts=int(drafts),
        draft_tokens=int(tokens),
        accepted=int(accepted),
        per_position=[count / drafts for count in kept],
        tau=1.0 + accepted / passes if passes else None,
    )


def _samples(text: str) -> Iterator[tuple[str, dict[str, str], float]]:
    for line in text.split("\n"):
        found = _LINE.match(line.strip())
        if found is None:
            continue
        try:
            value = float(found["value"])
        except ValueError:
            continue
        yield found["name"], dict(_LABEL.findall(found["labels"] or "")), value
