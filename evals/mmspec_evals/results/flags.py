"""Reasons why numbers of a run should not be set beside others, found from the run itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmspec_evals.results.repetition import LOOPING
from mmspec_evals.results.speed import SAYS_SOMETHING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mmspec_evals.running.environment import Environment
    from mmspec_evals.running.plan import Plan, TaskPlan

FEW_CLUSTERS = 10
STEADY = 0.05  # drift of plain decoding that may pass without a word
Flag = dict[str, Any]


def flags(plan: Plan, environment: Environment, methods: Mapping[str, Any]) -> list[Flag]:
    """Every flag: of the run, then task by task."""
    found = [flag(code, text) for code, text in _of_run(plan, environment)]
    for task in plan.tasks:
        cells = methods.get(task.name, {})
        found += [flag(code, text, task.name) for code, text in _of_data(task)]
        found += [flag(code, text, task.name) for code, text in _of_task(task, cells)]
        for method, cell in cells.items():
            if "unsupported" not in cell:
                found += [flag(c, text, task.name, method) for c, text in _of_cell(cell)]
    return found


def flag(code: str, text: str, task: str | None = None, method: str | None = None) -> Flag:
    """One reason; without a task it is the whole run's."""
    return {"code": code, "task": task, "method": method, "text": text}


def _of_run(plan: Plan, environment: Environment) -> Iterator[tuple[str, str]]:
    if environment.mixed:
        yield "mixed", f"parts of this run differ: {'; '.join(environment.mixed)}"
    if environment.machine.gpu is None:
        yield "cpu", "measured on a CPU: speedups do not carry over to an accelerator"
    if plan.generation.temperature > 0:
        yield "sampled", f"sampled at temperature {plan.generation.temperature:g}, not greedy"
    if plan.generation.ignore_eos:
        yield "ignore_eos", "answers go on past their end token: repetition flatters acceptance"
    if any(session.dirty for session in environment.sessions):
        yield "dirty", "measured from a checkout with uncommitted changes"
    if all(arm.method != "vanilla" for arm in plan.arms):
        yield "no_base", "plain decoding was not measured: there are no speedups"


def _of_data(task: TaskPlan) -> Iterator[tuple[str, str]]:
    source = task.source
    if source.kind in ("synthetic", "mini"):
        yield source.kind, f"{source.kind} data of our own: not a published benchmark's score"
    if source.kind == "custom":
        yield "custom", "the user's own data"
    if source.kind == "official" and source.prompts == "own":
        yield "own_prompts", "official rows in our own prompt wording: scores compare loosely"
    if source.note:
        yield "note", source.note


def _of_task(task: TaskPlan, cells: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    documents = len(task.docs)
    clusters = len({doc.cluster for doc in task.docs})
    if documents < SAYS_SOMETHING:
        yield "few_documents", f"only {documents} documents: intervals, but no verdicts"
    if clusters < min(FEW_CLUSTERS, documents):
        yield "few_clusters", f"the {documents} documents come from only {clusters} sources"
    truncated = max((cell["counts"]["truncated"] for cell in cells.values()), default=0)
    if truncated:
        yield "truncated", f"{truncated} of {documents} prompts were shortened to fit"
    told = {name for cell in cells.values() for name in cell.get("quality", {})}
    missing = [metric.name for metric in task.metrics if metric.name not in told]
    if missing and cells:
        yield "no_metric", f"no value for {', '.join(missing)} (a judge or reference is absent)"
    lenient = [metric.name for metric in task.metrics if "lenient" in metric.name]
    if lenient:
        yield "lenient", f"{', '.join(lenient)} is more forgiving than the official rule"
    again = cells.get("vanilla", {}).get("spec", {}).get("repeated")
    if again is not None and again > LOOPING:
        yield (
            "looping",
            f"{again:.0%} of plain decoding's tokens only repeat: this flatters drafting",
        )
    if any(cell.get("spec", {}).get("long_enough") is False for cell in cells.values()):
        yield (
            "short_answers",
            ("the median answer is under 64 tokens: no acceptance table; end to end is prefill"),
        )


def _of_cell(cell: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    counts, speed, lossless = cell["counts"], cell["speed"], cell["lossless"]
    documents = counts["documents"]
    if counts["missing"]:
        yield "incomplete", f"{counts['missing']} of {documents + counts['missing']} not measured"
    if counts["errors"]:
        yield "errors", f"failed on {counts['errors']} of {documents} documents (scored 0)"
    if counts["unsupported"]:
        yield "partial", f"cannot do {counts['unsupported']} of {documents} documents (left out)"
    if lossless["violation"]:
        yield "violation", f"another text than the target's on {lossless['violation']} documents"
    if lossless["approximate"]:
        yield "approximate", "does not claim the target's text"
    if speed.get("own_documents"):
        yield "own_documents", "failed on most: its speed is over documents of its own"
    share = speed.get("equal_tokens_share")
    if share is not None and share < 0.95:
        yield "unequal_tokens", f"emitted only {share:.0%} of the base's tokens"
    drift, interval = speed.get("drift"), speed.get("drift_ci95")
    outside = interval is not None and not interval[0] <= 1.0 <= interval[1]
    if drift is not None and abs(drift - 1) > STEADY and outside:
        yield "drift", f"the machine drifted: plain decoding took {drift:.2f} of its first time"
