"""What changed between two runs: marks, speedups and tau, paired by document where they share it.

Seconds of two runs are never set against each other, only speedups, each over the plain decoding
of its own run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmspec_evals.results import stats
from mmspec_evals.results.arms import VANILLA
from mmspec_evals.results.markdown import number, p, ranged, table
from mmspec_evals.results.series import cells

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    Result = Mapping[str, Any]
    Row = dict[str, Any]

# Where two runs may differ, and the path of the value in a result.
COMPARED = {
    "model": ("model_name",),
    "weights": ("config", "model_fingerprint"),
    "decoding": ("config", "gen_kwargs"),
    "machine": ("environment", "fingerprint"),
    "commit": ("git_hash",),
    "torch": ("environment", "torch"),
    "transformers": ("environment", "transformers"),
    "dtype": ("environment", "dtype"),
    "numerics": ("environment", "numerics"),
    "task versions": ("versions",),
    "documents": ("task_hashes",),
    "methods' settings": ("config", "methods"),
}


def compare(first: Result, second: Result) -> dict[str, Any]:
    """Differences of the second run from the first, task by task and method by method.

    Differences of marks are second less first; of speedups and tau second over first.
    """
    before = {(task, method): cell for task, method, cell in cells(first)}
    after = {(task, method): cell for task, method, cell in cells(second)}
    rows: list[Row] = []
    for key in (key for key in before if key in after):
        one, two = before[key], after[key]
        found = [*_ratios(one, two), *_marks(one, two)]
        if key[1] == VANILLA:  # the base is no faster than itself
            found = [row for row in found if not row["what"].startswith("speedup")]
        rows += [{"task": key[0], "method": key[1]} | row for row in found]
    names = ("only_in_first", "only_in_second")
    sides = ((before, after), (after, before))
    missing = {
        name: [list(key) for key in held if key not in other]
        for name, (held, other) in zip(names, sides, strict=True)
    }
    return {"differs": list(differs(first, second)), "rows": rows, **missing}


def differs(first: Result, second: Result) -> Iterator[dict[str, Any]]:
    """Settings in which two runs are not alike."""
    for name, path in COMPARED.items():
        one, two = _at(first, path), _at(second, path)
        if one != two:
            yield {"what": name, "first": one, "second": two}


def markdown(found: Mapping[str, Any], names: Sequence[str]) -> str:
    """A comparison as a report; ``names`` are those of both runs."""
    lines = [f"# {names[1]} against {names[0]}", ""]
    differing = [row["what"] for row in found["differs"]]
    lines += [f"They differ in: {', '.join(differing)}." if differing else "They are alike."]
    if {"model", "weights"} & set(differing):
        lines += ["", "**Different models: differences below are the models' as much as ours.**"]
    if "machine" in differing:
        lines += ["", "Different machines: a speedup is over each machine's own plain decoding."]
    rows = [
        [
            row["task"],
            row["method"],
            row["what"],
            number(row["first"], 3),
            number(row["second"], 3),
            ("x " if row["ratio"] else "") + ranged(row["change"], row["ci95"]),
            p(row["p"]),
            f"{row['n']}" if row["paired"] else "not paired",
        ]
        for row in found["rows"]
    ]
    heads = ["task", "method", "what", *names, "change", "p", "documents"]
    lines += ["", *table(heads, rows), ""]
    lines += ["A change marked x is a ratio (1 is none), others are differences (0 is none)."]
    lines += ["Ranges are 95 % intervals over the documents that both runs share."]
    for name, words in (("only_in_first", names[0]), ("only_in_second", names[1])):
        if found[name]:
            told = ", ".join(f"`{task} / {method}`" for task, method in found[name])
            lines += ["", f"Only in {words}: {told}."]
    return "\n".join(lines) + "\n"


def _ratios(one: Mapping[str, Any], two: Mapping[str, Any]) -> Iterator[Row]:
    """Speedups and tau, second over first, over the documents both have."""
    pairs = {
        "speedup_decode": ("speed", "base_decode_s", "decode_s"),
        "speedup_e2e": ("speed", "base_s", "s"),
        "tau": ("spec", "tokens", "passes"),
    }
    for name, (block, above, below) in pairs.items():
        told = [cell[block].get(name) for cell in (one, two)]
        if None in told:
            continue
        rows, clusters = _shared(one, two, (above, below))
        if rows:
            change = stats.bootstrap(rows, clusters, _ratio_of_ratios)
            yield _row(name, told, change, ratio=True)
        else:
            unpaired = stats.Estimate(told[1] / told[0], None, None, 0, 0)
            yield _row(name, told, unpaired, ratio=True)


def _marks(one: Mapping[str, Any], two: Mapping[str, Any]) -> Iterator[Row]:
    """Metrics, second less first."""
    for column in one["documents"]:
        metric = column.removeprefix("score:")
        told = [cell["quality"].get(metric) for cell in (one, two)]
        if metric == column or column not in two["documents"] or None in told:
            continue
        rows, clusters = _shared(one, two, (column,))
        values = [after - before for before, after in rows]
        if values:
            test = stats.sign_test(values, clusters)
            yield _row(metric, told, stats.average(values, clusters), ratio=False, test=test)
        else:
            unpaired = stats.Estimate(told[1] - told[0], None, None, 0, 0)
            yield _row(metric, told, unpaired, ratio=False)


def _row(
    what: str,
    told: Sequence[float],
    change: stats.Estimate,
    *,
    ratio: bool,
    test: float | None = None,
) -> Row:
    return {
        "what": what,
        "first": told[0],
        "second": told[1],
        "change": change.value,
        "ci95": change.ci95,
        "p": test,
        "ratio": ratio,
        "paired": change.n > 0,
        "n": change.n,
    }


def _shared(
    one: Mapping[str, Any], two: Mapping[str, Any], columns: Sequence[str]
) -> tuple[list[list[float]], list[str]]:
    """Columns of the first, then of the second run, of documents known to both; and clusters."""
    place = {sha: index for index, sha in enumerate(two["documents"]["sha"])}
    rows, clusters = [], []
    for index, sha in enumerate(one["documents"]["sha"]):
        if sha not in place:
            continue
        before = [one["documents"][column][index] for column in columns]
        after = [two["documents"][column][place[sha]] for column in columns]
        if None not in (*before, *after):
            rows.append([*before, *after])
            clusters.append(one["documents"]["cluster"][index])
    return rows, clusters


def _ratio_of_ratios(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    return (sums[..., 2] / sums[..., 3]) / (sums[..., 0] / sums[..., 1])


def _at(result: Result, path: Sequence[str]) -> Any:
    value: Any = result
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value
