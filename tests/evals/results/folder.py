"""A run's folder written by hand: plan, environment and samples, as a run leaves them."""

from __future__ import annotations

import msgspec
from evals.results.fabricate import noisy, sample, trace
from mmspec_evals.running.environment import Environment, Machine, Session
from mmspec_evals.running.layout import Layout
from mmspec_evals.running.plan import (
    ArmPlan,
    DocRef,
    Generation,
    MetricRef,
    ModelPlan,
    Plan,
    Source,
    TaskPlan,
    arms_of,
    seal,
)
from mmspec_evals.trace import Audit

MACHINE = Machine(
    python="3.11.9",
    torch="2.13.0",
    transformers="5.23.0",
    mmspec="0.1.0",
    system="Linux x86_64",
    cpu="a processor",
    cores=2,
    threads=2,
    device="cpu",
    gpu=None,
    driver=None,
    dtype="bfloat16",
    numerics="bitwise",
)


def source(kind="synthetic", rows=20):
    return Source(kind=kind, path=None, sha256="ab" * 32, rows=rows, prompts="own")


def task(name, docs, metrics=("acc",), kind="synthetic"):
    return TaskPlan(
        name=name,
        version=1,
        profile="both",
        style="chat",
        modality="text",
        max_new_tokens=128,
        stop=[],
        metrics=[MetricRef(name=m, higher_is_better=True, percent=True) for m in metrics],
        source=source(kind),
        docs=docs,
    )


def plan(tasks, arms, repeats=1, **more):
    return seal(
        Plan(
            code="c" * 64,
            model=ModelPlan(
                path="nano",
                fingerprint=more.pop("fingerprint", "f" * 64),
                dtype="bfloat16",
                device="cpu",
                numerics="bitwise",
            ),
            generation=Generation(**more),
            profile="speed",
            seed=0,
            repeats=repeats,
            arms=arms,
            tasks=tasks,
        )
    )


def arms(*labels, lossless=True):
    found: list[ArmPlan] = []
    for label in labels:
        found += arms_of(label, {"name": label}, lossless)
    return found


def write(root, planned, samples, mixed=()):
    """Lay a run down in ``root``."""
    layout = Layout(root)
    root.mkdir(parents=True, exist_ok=True)
    layout.plan.write_bytes(msgspec.json.encode(planned))
    started = Session(
        id="s1", started="2026-11-21T09:00:00+00:00", argv=[], commit="a" * 40, dirty=False
    )
    layout.env.write_bytes(
        msgspec.json.encode(
            Environment(fingerprint="e", machine=MACHINE, sessions=[started], mixed=list(mixed))
        )
    )
    for one in samples:
        path = layout.samples(one.task, one.method, one.repeat)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(msgspec.json.encode(one) + b"\n")
    return root


def refs(samples):
    found = {s.doc_id: DocRef(id=s.doc_id, sha=s.doc_sha, cluster=s.cluster) for s in samples}
    return list(found.values())


def rich(root, documents=24, gain=2.0, seed=0, audit="exact", **more):
    """Two tasks, four methods: ours, plain, prompt lookup, and one that cannot."""
    samples, tasks = [], []
    for number, name in enumerate(("custom", "infinitebench_synth/passkey")):
        made = noisy({"mmspec": gain, "pld": 1.3}, documents, seed + number, task=name)
        made = [_dressed(one, index) for index, one in enumerate(made)]
        samples += [one if one.method != "mmspec" else _audited(one, audit) for one in made]
        why = {"error": "vocabularies differ", "error_kind": "unsupported"}
        samples += [sample("hf_assisted", f"d{n}", [], task=name, **why) for n in range(documents)]
        tasks.append(task(name, refs(made), ("acc",) if number else ("acc", "f1")))
    planned = plan(tasks, arms("vanilla", "mmspec", "pld", "hf_assisted"), **more)
    return write(root, planned, samples)


def _dressed(one, index):
    """Marks, lengths and rounds that vary."""
    kept = {"mmspec": 3, "pld": 1}.get(one.method, 0)
    number = int(one.doc_id[1:])
    accepted = []
    while (left := 101 - sum(accepted) - len(accepted)) > 0:
        accepted.append(min((number + len(accepted)) % (kept + 1), left - 1))
    seconds = one.traces[0].seconds
    told = trace(
        tokens=101,
        first=seconds.first,
        decode=seconds.decode,
        accepted=accepted,
        depth=4 if kept else 0,
        draft=0.02 if kept else None,
    )
    return msgspec.structs.replace(
        one,
        traces=[told],
        answers=["x"],
        scores={"acc": float((index + number) % 3 > 0), "f1": 0.5},
        prompt_tokens=200 * 4 ** (number % 4),
        has_image=number % 2 == 0,
    )


def _audited(one, kind):
    if kind is None:
        return one
    return msgspec.structs.replace(one, audit=Audit(kind=kind, at=3, gap=1.5, bound=0.1))
