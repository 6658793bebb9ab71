"""From costs and a tau to a speedup: a projection, never a measurement."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

Told = dict[str, Any]
NODES, DEPTHS = (8, 16, 32, 64), (4, 6, 8)
FORMULA = "tau * t1 / (t_verify(nodes) + depth * t_level + overhead)"
LABEL = "a projection from measured costs and a tau measured elsewhere; not a measured speedup"
# Tokens a verify, the bonus token included: the mean of the published greedy table, and one
# (ViSpec, arXiv:2509.15235). LLaVA-1.6's stands in for LLaVA-1.5, which they do not have.
PUBLISHED = {
    "llava-1.5-7b": {"ViSpec's, LLaVA-1.6-7B": 3.98},
    "qwen2.5-vl-7b": {"ViSpec's, LLaVA-1.6-7B": 3.98, "ViSpec's, Qwen2.5-VL-7B": 3.24},
}


def projected_speedup(
    tau: float, t1: float, t_verify: float, t_draft: float, overhead: float
) -> float:
    """Tokens a second over plain decoding's, of times in one unit; see the module."""
    return tau * t1 / (t_verify + t_draft + overhead)


def level_cost(whole: Told, depths: tuple[int, ...], step: Told | None) -> Told:
    """What one level of a drafter's trees costs; nothing where the deadline cut a depth off.

    Args:
        whole: timings of whole drafts by depth. step: the target's, of a tree of one node.
    """
    if not all(f"depth {depth}" in whole for depth in depths):
        return {}
    first, last = depths[0], depths[-1]
    span = whole[f"depth {last}"]["ms"] - whole[f"depth {first}"]["ms"]
    told: Told = {"level_ms": span / (last - first)}
    share = {} if step is None else {"level_share_of_step": told["level_ms"] / step_ms(step)}
    return told | share


def projections(
    told: Told, name: str, taus: dict[str, float], width: int,
    nodes: tuple[int, ...] = NODES, depths: tuple[int, ...] = DEPTHS,
) -> Told:  # fmt: skip
    """Of one drafter, by tau and by the trees measured; none where the deadline cut a part off.

    A tau that a depth cannot reach (all its levels and the bonus token) has no row there.

    Args:
        nodes, depths: of the trees that were measured.
    """
    draft, settle, target = told["draft"][name], told["settle"], told["target"]
    whole = draft[f"width {width}"]
    if settle is None or target["1"] is None or whole.get("level_ms", 0.0) <= 0.0:
        return {}  # a level that takes no time is noise
    overhead, t1 = settle["commit"]["ms"] + settle[name]["ms"], step_ms(target["1"])
    sizes = [size for size in nodes if target[str(size)] is not None]
    rows: Told = {source: {} for source in taus}
    for source, tau in taus.items():
        for size, depth in itertools.product(sizes, depths):
            if tau > depth + 1:
                continue
            project = partial(projected_speedup, tau, t1, step_ms(target[str(size)]))
            rows[source][f"{size} nodes, depth {depth}"] = {
                "projected_speedup": project(depth * whole["level_ms"], overhead),
                "projected_speedup_whole_draft": project(whole[f"depth {depth}"]["ms"], overhead),
            }
    return {source: found for source, found in rows.items() if found}


def show(told: Told, name: str, at: str, width: int) -> None:
    """Print a drafter's share and, by tau, the range of its projections over trees."""
    share = told["draft"][name][f"width {width}"].get("level_share_of_step")
    if share is not None:
        print(f"{at}, {name}: a level of {width} is {share:.1%} of a step", flush=True)
    for source, rows in told["projection"][name].items():
        found = sorted((row["projected_speedup"], tree) for tree, row in rows.items())
        low, high = found[0], found[-1]
        print(
            f"  PROJECTED with tau {source}: {low[0]:.2f} ({low[1]}) to {high[0]:.2f} ({high[1]})",
            flush=True,
        )


def step_ms(timing: Told) -> float:
    """A whole step: the pass and the verdict."""
    return timing["forward"]["ms"] + timing["verdict"]["ms"]
