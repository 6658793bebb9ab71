"""Samples made up for tests: seconds and ids are what the caller says, nothing is measured."""

from __future__ import annotations

import hashlib

import numpy as np
from mmspec_evals.results.arms import arms
from mmspec_evals.trace import Audit, Rounds, Sample, Seconds, Trace


def trace(tokens=101, first=0.5, decode=1.0, ids=True, accepted=None, depth=4, **rest):
    """``tokens`` ids 0, 1, 2, ...; rounds if ``accepted`` is given, each over a chain of 4."""
    rounds = None
    if accepted is not None:
        proposed = [depth] * len(accepted)
        rounds = Rounds(proposed=proposed, depth=list(proposed), accepted=list(accepted))
        rest.setdefault("passes", len(accepted))
    timing = Seconds(
        total=(first or 0.0) + (decode or 0.0) if "total" not in rest else rest.pop("total"),
        first=first,
        decode=decode,
        draft=rest.pop("draft", None),
    )
    given = rest.pop("given", None)
    return Trace(
        text="x",
        tokens=tokens,
        finish_reason="length",
        seconds=timing,
        ids=(given or list(range(tokens))) if ids else None,
        rounds=rounds,
        **rest,
    )


def sample(method="vanilla", doc="d0", traces=None, task="custom", audit=None, **rest):
    """One line of a samples file."""
    kind = Audit(kind=audit) if isinstance(audit, str) else audit
    fields = {
        "key": f"{task}/{method}/{doc}/{rest.get('repeat', 0)}",
        "task_version": 1,
        "repeat": 0,
        "order": 0,
        "doc_sha": hashlib.sha256(doc.encode()).hexdigest()[:16],
        "cluster": doc,
        "prompt_tokens": 100,
        "session": "s1",
    }
    return Sample(
        method=method,
        doc_id=doc,
        task=task,
        traces=[trace()] if traces is None else traces,
        audit=kind,
        **(fields | rest),
    )


def grouped(*samples):
    return arms(samples)


def noisy(methods, documents=30, seed=0, task="custom", spread=0.05, tokens=101, **rest):
    """``methods``: name -> how many times as fast as plain decoding; both plain arms are added."""
    generator = np.random.default_rng(seed)
    made = []
    for number in range(documents):
        own = float(generator.uniform(0.5, 2.0))
        for method, factor in {"vanilla": 1.0, **methods, "vanilla.last": 1.0}.items():
            jitter = float(np.exp(generator.normal(0.0, spread)))
            answer = trace(tokens=tokens, first=0.1 * own, decode=own * jitter / factor)
            made.append(sample(method, f"d{number}", [answer], task=task, **rest))
    return made
