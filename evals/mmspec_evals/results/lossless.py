"""Whether a method's text is the target's own: counts of audited documents by what was found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmspec_evals.results.arms import Arm, Document
    from mmspec_evals.trace import Audit

WORST_FIRST = ("violation", "approximate", "near_tie", "exact")
EXAMPLES = 5


def block(arm: Arm, claimed: bool) -> dict[str, Any]:
    """The ``lossless`` block of one method.

    A document counts once, with the worst of its repeats, if it was answered or audited.
    ``claimed`` says whether the method promises to equal plain decoding; only then is the absence
    of an audit a failure.
    """
    audits = {
        document.id: audit
        for document in arm.values()
        if (audit := worst(document)) is not None or document.timed
    }
    found = {doc: audit for doc, audit in audits.items() if audit is not None}
    kinds = [WORST_FIRST[_gravity(audit.kind)] for audit in found.values()]
    parted = [audit.at for audit in found.values() if audit.at is not None]
    gaps = [audit.gap for audit in found.values() if audit.gap is not None]
    bad = [(doc, audit) for doc, audit in found.items() if not _gravity(audit.kind)]
    return {
        "claimed": claimed,
        **{kind: kinds.count(kind) for kind in reversed(WORST_FIRST)},
        "not_compared": len(audits) - len(found),
        "documents": len(audits),
        "first_divergence": min(parted, default=None),
        "worst_gap": max(gaps, default=None),
        "violations": [
            {"doc": doc, "at": audit.at, "gap": audit.gap, "bound": audit.bound}
            for doc, audit in bad[:EXAMPLES]
        ],
    }


def worst(document: Document) -> Audit | None:
    """The gravest audit of a document's repeats."""
    audits = [sample.audit for sample in document.samples if sample.audit is not None]
    return min(audits, key=lambda audit: _gravity(audit.kind), default=None)


def verdict(found: dict[str, Any], minimum: int = 0) -> str | None:
    """Why a ``lossless`` block fails the gate; None if it passes."""
    if found["violation"]:
        return f"{found['violation']} of {found['documents']} documents differ beyond a near tie"
    compared = found["documents"] - found["not_compared"]
    if found["claimed"] and not compared:
        return "claims to be lossless, and no document was audited"
    if found["claimed"] and compared < minimum:
        return f"only {compared} documents audited, {minimum} wanted"
    return None


def _gravity(kind: str) -> int:
    """Place in the order of gravity; a kind nobody knows counts as a violation."""
    return WORST_FIRST.index(kind) if kind in WORST_FIRST else 0
