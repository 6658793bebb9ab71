"""Equal work: what two arms' seconds are worth once both have the same tokens to their name.

A document counts with the tokens its *base* emitted. Tokens beyond those are taken off the
method's seconds at the method's own rate, so that talking on neither gains nor loses. Tokens it
left out are charged at the slower of both arms' rates, so that falling silent gains nothing, not
even where the silence begins after an easy start. Where the audit put the difference down to a
near tie nobody is to blame: then the base's seconds for the tokens left out are taken off instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmspec_evals.metrics.prefix import shared_length

if TYPE_CHECKING:
    from mmspec_evals.results.arms import Document
    from mmspec_evals.trace import Sample, Trace


@dataclass(frozen=True, slots=True)
class Turn:
    """Tokens and seconds of one turn, the mean over repeats; ``decode`` None if not known."""

    tokens: float
    total: float
    decode: float | None

    @property
    def rate(self) -> float | None:
        """Decode seconds a token after the first."""
        known = self.decode is not None and self.tokens > 1
        return (self.decode or 0.0) / (self.tokens - 1) if known else None


@dataclass(frozen=True, slots=True)
class Pair:
    """One document as two arms did it in the same process, turn by turn.

    Attributes:
        shared: decode seconds (base, method) up to where their ids part; None without ids.
    """

    doc: str
    cluster: str
    base: tuple[Turn, ...]
    method: tuple[Turn, ...]
    excused: bool
    prompt_tokens: int
    shared: tuple[float, float] | None

    @property
    def decode(self) -> tuple[float, float] | None:
        """Credited decode seconds (base, method); None where a phase is unknown or empty."""
        spent = [
            decode_seconds(base, method, self.excused)
            for base, method in zip(self.base, self.method, strict=True)
            if base.tokens > 1
        ]
        known = [seconds for seconds in spent if seconds is not None]
        if not known or len(known) < len(spent):
            return None
        return sum(base for base, _ in known), sum(method for _, method in known)

    @property
    def total(self) -> tuple[float, float]:
        """Credited seconds of whole calls (base, method)."""
        spent = [
            total_seconds(base, method, self.excused)
            for base, method in zip(self.base, self.method, strict=True)
        ]
        return sum(base for base, _ in spent), sum(method for _, method in spent)

    @property
    def tokens(self) -> tuple[float, float]:
        """Tokens emitted (base, method)."""
        return sum(turn.tokens for turn in self.base), sum(turn.tokens for turn in self.method)


def pair(method: Document, base: Document) -> Pair | None:
    """Both arms' seconds within each process start, averaged over starts; None if none is shared.

    Repeats (and the two measurements of plain decoding) are averaged first.
    """
    pairs = []
    for session in dict.fromkeys(s.session for s in method.timed):
        own = [s for s in method.timed if s.session == session]
        other = [s for s in base.timed if s.session == session]
        if other and len({len(s.traces) for s in (*own, *other)}) == 1:
            pairs.append((own, other))
    if not pairs:
        return None
    return Pair(
        doc=method.id,
        cluster=method.cluster,
        base=_mean([_turns(other) for _, other in pairs]),
        method=_mean([_turns(own) for own, _ in pairs]),
        excused=method.excused and base.excused,
        prompt_tokens=pairs[0][0][0].prompt_tokens,
        shared=_shared(pairs[0][1][0], pairs[0][0][0]),
    )


def decode_after_first(trace: Trace) -> float | None:
    """Decode seconds of a trace as if its first pass had said one token.

    The clock starts when the first tokens are out; a speculating arm then already has several for
    the price of one pass, which are put back at its own rate. None where nothing came after them.
    """
    spent, head = trace.seconds.decode, first_tokens(trace)
    if spent is None or head == 1:
        return spent
    return spent * (trace.tokens - 1) / (trace.tokens - head) if trace.tokens > head else None


def first_tokens(trace: Trace) -> int:
    """Tokens that came out with the first; 1 where rounds are not known."""
    rounds = trace.rounds
    whole = rounds is not None and sum(rounds.accepted) + len(rounds.accepted) == trace.tokens
    return rounds.accepted[0] + 1 if whole and rounds and rounds.accepted else 1


def decode_seconds(base: Turn, method: Turn, excused: bool) -> tuple[float, float] | None:
    """Credited decode seconds (base, method) of one turn; the rule is the module's."""
    spent = method.decode if method.tokens > 1 else 0.0
    if base.decode is None or base.rate is None or spent is None:
        return None
    left = base.tokens - method.tokens
    if left > 0 and excused:
        return base.decode - base.rate * left, spent
    slower = max(base.rate, method.rate or 0.0)
    return base.decode, spent + (slower if left > 0 else method.rate or 0.0) * left


def total_seconds(base: Turn, method: Turn, excused: bool) -> tuple[float, float]:
    """Credited seconds (base, method) of one whole turn.

    Tokens in excess are taken off only where the method says how long it decoded: its seconds a
    token with the prompt's share in them would make a long answer look fast.
    """
    left = base.tokens - method.tokens
    if left <= 0:
        return base.total, method.total + (method.rate or 0.0) * left
    rate = base.rate if base.rate is not None else base.total / base.tokens
    if excused:
        return base.total - rate * left, method.total
    return base.total, method.total + max(rate, method.rate or 0.0) * left


def _turns(samples: list[Sample]) -> tuple[Turn, ...]:
    lists = [
        tuple(Turn(t.tokens, t.seconds.total, decode_after_first(t)) for t in sample.traces)
        for sample in samples
    ]
    return _mean(lists)


def _mean(lists: list[tuple[Turn, ...]]) -> tuple[Turn, ...]:
    """The mean of each turn over its measurements."""
    means = []
    for turns in zip(*lists, strict=True):
        decodes = [turn.decode for turn in turns if turn.decode is not None]
        means.append(
            Turn(
                sum(turn.tokens for turn in turns) / len(turns),
                sum(turn.total for turn in turns) / len(turns),
                sum(decodes) / len(decodes) if len(decodes) == len(turns) else None,
            )
        )
    return tuple(means)


def _shared(base: Sample, method: Sample) -> tuple[float, float] | None:
    """Decode seconds (base, method) of the first turn's shared prefix, None if under two ids."""
    first, second = base.traces[0], method.traces[0]
    if first.ids is None or second.ids is None:
        return None
    common = shared_length(first.ids, second.ids)
    spent = (_seconds_up_to(first, common), _seconds_up_to(second, common))
    return None if spent[0] is None or spent[1] is None else (spent[0], spent[1])


def _seconds_up_to(trace: Trace, tokens: int) -> float | None:
    """Decode seconds up to ``tokens``: by passes where rounds are known, else by tokens."""
    if trace.seconds.decode is None or tokens < 2 or trace.tokens < 2:
        return None
    begin, end, whole = 1, tokens, trace.tokens
    rounds = trace.rounds
    if rounds is not None and sum(rounds.accepted) + len(rounds.accepted) == trace.tokens:
        begin, end, whole = (_passes(rounds.accepted, n) for n in (1, tokens, trace.tokens))
    return trace.seconds.decode * (end - begin) / (whole - begin) if whole > begin else None


def _passes(accepted: list[int], tokens: int) -> int:
    """Passes until ``tokens`` are out, ``accepted`` and one more from each."""
    out = 0
    for index, kept in enumerate(accepted):
        out += kept + 1
        if out >= tokens:
            return index + 1
    return len(accepted)
