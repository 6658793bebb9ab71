"""The part of a result that tools made for lm-eval's files read."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from mmspec_evals.results import stats
from mmspec_evals.results.arms import LAST, VANILLA
from mmspec_evals.running.plan import digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mmspec_evals.running.environment import Environment
    from mmspec_evals.running.plan import Plan, TaskPlan

OURS = "mmspec"


def harness(
    plan: Plan, environment: Environment, cells: Mapping[str, Mapping[str, Any]], spent: float
) -> dict[str, Any]:
    """Keys and shapes of lm-eval's results, for one arm: ours, or the first that is not plain.

    Args:
        cells: ``methods`` of the result. spent: seconds of all answers.
    """
    arm = headline_arm(plan)
    first = environment.sessions[0] if environment.sessions else None
    last = environment.sessions[-1] if environment.sessions else None
    tasks = {task.name: task for task in plan.tasks}
    return {
        "results_method": arm,
        "results": {name: _scores(name, cells.get(name, {}).get(arm, {})) for name in tasks},
        "group_subtasks": _groups(plan),
        "configs": {name: _config(plan, task) for name, task in tasks.items()},
        "versions": {name: task.version for name, task in tasks.items()},
        "n-shot": dict.fromkeys(tasks, 0),
        "higher_is_better": {
            name: {metric.name: metric.higher_is_better for metric in task.metrics}
            for name, task in tasks.items()
        },
        "n-samples": {
            name: {"original": task.source.rows, "effective": len(task.docs)}
            for name, task in tasks.items()
        },
        "config": _settings(plan, arm),
        "git_hash": last.commit if last else None,
        "date": datetime.fromisoformat(first.started).timestamp() if first else None,
        "transformers_version": environment.machine.transformers,
        "task_hashes": {name: digest([doc.sha for doc in t.docs]) for name, t in tasks.items()},
        "model_name": plan.model.path,
        "total_evaluation_time_seconds": spent,
    }


def headline_arm(plan: Plan) -> str:
    """The arm that single-arm tools see."""
    labels = [arm.label for arm in plan.arms if arm.label != LAST]
    if OURS in labels:
        return OURS
    return next((label for label in labels if label != VANILLA), VANILLA)


def _scores(task: str, cell: Mapping[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {"alias": task, "sample_len": cell.get("n", 0)}
    quality = cell.get("quality", {})
    for metric in (key for key in quality if f"{key}_stderr" in quality):
        result[f"{metric},none"] = quality[metric]
        result[f"{metric}_stderr,none"] = quality[f"{metric}_stderr"]
    return result


def _groups(plan: Plan) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for task in plan.tasks:
        group, slash, _ = task.name.partition("/")
        if slash:
            groups.setdefault(group, []).append(task.name)
    return groups


def _config(plan: Plan, task: TaskPlan) -> dict[str, Any]:
    return {
        "task": task.name,
        "output_type": "generate_until",
        "num_fewshot": 0,
        "repeats": plan.repeats,
        "generation_kwargs": {
            "until": task.stop,
            "max_gen_toks": task.max_new_tokens,
            "do_sample": plan.generation.temperature > 0,
            "temperature": plan.generation.temperature,
            "top_p": plan.generation.top_p,
        },
        "metric_list": [
            {
                "metric": metric.name,
                "aggregation": "mean",
                "higher_is_better": metric.higher_is_better,
                "percent": metric.percent,
            }
            for metric in task.metrics
        ],
        "style": task.style,
        "modality": task.modality,
        "profile": task.profile,
        "metadata": {"version": task.version},
    }


def _settings(plan: Plan, arm: str) -> dict[str, Any]:
    model = plan.model
    return {
        "model": arm,
        "model_args": {"pretrained": model.path, "dtype": model.dtype, "numerics": model.numerics},
        "model_fingerprint": model.fingerprint,
        "assistant": model.assistant,
        "batch_size": 1,
        "device": model.device,
        "gen_kwargs": msgspec.to_builtins(plan.generation),
        "bootstrap_iters": stats.RESAMPLES,
        "random_seed": plan.seed,
        "repeats": plan.repeats,
        "profile": plan.profile,
        "methods": {a.label: a.settings for a in plan.arms if a.label != LAST},
        "plan_hash": plan.plan_hash,
        "code": plan.code,
    }
