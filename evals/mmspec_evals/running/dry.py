"""What a run would do, told without loading any weights."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mmspec_evals.method import UnsupportedError
from mmspec_evals.running.order import groups
from mmspec_evals.running.pace import OUTPUT_RATE, PROMPT_RATE, span

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mmspec_evals.running.bench import Preparing
    from mmspec_evals.running.plan import Plan, TaskPlan
    from mmspec_evals.task import Corpus, Task

# Two-sided test at 5 %, power 80 %: the sum of both normal quantiles.
QUANTILES = 1.96 + 0.84
SPREAD = 0.5  # assumed standard deviation of a paired difference between scores of 0 to 1


@dataclass(slots=True)
class Prompts:
    """First turns of a task's documents under the target's tokenizer."""

    tokens: list[int] = field(default_factory=list)
    truncated: int = 0
    refused: Counter[str] = field(default_factory=Counter)


def preview(
    plan: Plan, tasks: Sequence[Task], corpora: dict[str, Corpus], preparer: Preparing
) -> str:
    """Documents, prompt lengths, cells, time and the smallest difference worth looking for."""
    said: list[str] = []
    prompt_seconds = output_seconds = 0.0
    for task in tasks:
        row = plan.task(task.name)
        prompts = measure(task, corpora[task.name], preparer)
        said += _task(row, prompts)
        rounds = len(plan.arms) * plan.repeats
        turns = sum(len(doc.turns) for doc in corpora[task.name].docs)
        prompt_seconds += rounds * sum(prompts.tokens) / PROMPT_RATE
        output_seconds += rounds * turns * row.max_new_tokens / OUTPUT_RATE
    cells = sum(len(group.cells) for group in groups(plan))
    said += [
        f"arms: {', '.join(arm.label for arm in plan.arms)}; repeats: {plan.repeats}",
        f"cells: {cells}",
        f"time: at most {span(prompt_seconds + output_seconds)}, if every method reads "
        f"{PROMPT_RATE:g} and writes {OUTPUT_RATE:g} tokens a second and every answer is as long "
        "as allowed (assumed, not measured)",
        f"plan: {plan.plan_hash[:16]}",
    ]
    return "\n".join(said)


def measure(task: Task, corpus: Corpus, preparer: Preparing) -> Prompts:
    """Prepare the first turn of every document."""
    found = Prompts()
    for doc in corpus.docs:
        try:
            case = preparer.case(task, doc)
        except UnsupportedError as error:
            found.refused[str(error)] += 1
            continue
        found.tokens.append(len(case.prompt.ids))
        found.truncated += case.truncated > 0
    return found


def detectable(clusters: int) -> float:
    """Smallest true difference of two methods' mean scores that a run will likely tell, 0 to 1."""
    return min(1.0, QUANTILES * SPREAD / math.sqrt(clusters))


def quantile(values: Sequence[int], share: float) -> int:
    """The value below or at which this share of the values lies."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _task(row: TaskPlan, prompts: Prompts) -> Iterator[str]:
    source, clusters = row.source, len({doc.cluster for doc in row.docs})
    yield (
        f"{row.name}: {len(row.docs)} documents ({clusters} sources) of {source.rows}, "
        f"{source.kind}, {source.prompts} prompts, up to {row.max_new_tokens} new tokens a turn"
    )
    if prompts.tokens:
        low, middle, high = (quantile(prompts.tokens, share) for share in (0.0, 0.5, 0.9))
        yield (
            f"  prompt tokens: least {low}, median {middle}, p90 {high}, "
            f"most {max(prompts.tokens)}; truncated: {prompts.truncated}"
        )
    for why, times in prompts.refused.items():
        yield f"  {times} cannot be asked: {why}"
    yield (
        f"  a difference under {100 * detectable(clusters):.0f} points is likely not to show "
        f"(5 %, power 80 %, s.d. {SPREAD:g} of paired differences assumed)"
    )
