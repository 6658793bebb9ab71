"""What one context costs: the target's steps, and each drafter's drafts and memory."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from vlm_projection import Told, level_cost, projections, step_ms

from mmspec.core.drafter import Pooled, Sized

if TYPE_CHECKING:
    from long_drafters import Drafted
    from long_scene import LongScene
    from vlm_meter import Meter

NODES, DEPTHS = (16, 64), (4, 8)


class Context:
    """One context: what is measured of it.

    Args:
        speed: bytes a second of the card's own copy. step_bytes: weights of a target's step.
    """

    def __init__(
        self, scene: LongScene, drafted: dict[str, Drafted], meter: Meter, at: str, speed: float,
        step_bytes: int,
    ) -> None:  # fmt: skip
        self._scene, self._drafted, self._meter, self._at = scene, drafted, meter, at
        self._speed, self._step_bytes = speed, step_bytes
        self._length = len(scene.sequence)
        kv = self._length * scene.target.bytes_per_token()
        self.told: Told = {
            "target_kv_bytes": kv, "floor_ms": self._floor(step_bytes + kv), "target": {},
            "draft": {}, "projection": {}, "memory": {},
        }  # fmt: skip

    def target(self) -> None:
        """The last prefill chunk, then steps; the text is at its end thereafter."""
        scene, told = self._scene, self.told
        timing = self._meter.measure(f"{self._at}, chunk", scene.chunk)
        if timing is not None:
            size = len(scene.sequence) - 1 - scene.sequence.cached
            rate = size / timing["chunk"]["ms"] * 1e3
            told["prefill_chunk"] = {**timing["chunk"], "tokens": size, "tokens_a_second": rate}
        scene.end_prefill()
        for nodes in (1, *NODES):
            timing = self._meter.measure(
                f"{self._at}, {nodes} nodes", partial(scene.step, 1, nodes)
            )
            told["target"][str(nodes)] = timing
            if timing is not None:
                share = told["floor_ms"] / timing["forward"]["ms"]
                whole = told["floor_ms"] / step_ms(timing)
                timing["share_of_ceiling"] = {"forward": share, "with the verdict": whole}

    def draft(self, name: str) -> None:
        """Bring one drafter to the text's end; whole drafts by depth, and its memory."""
        scene, meter, told, one = self._scene, self._meter, self.told, self._drafted[name]
        at = f"{self._at}, {name}"
        told["memory"][name] = self._memory(one)
        entered = meter.measure(f"{at}, enter", partial(scene.enter, name))
        if entered is None:
            return
        whole: Told = {"enter": entered["enter"]}
        for depth in DEPTHS:
            run = partial(scene.draft, name, depth)
            timing = meter.measure(f"{at}, draft {depth} deep", run)
            if timing is not None:
                whole[f"depth {depth}"] = timing["draft"]
        read = one.weights + one.constant + one.per_token * self._length
        whole |= level_cost(whole, DEPTHS, told["target"].get("1"))
        whole |= {"level_bytes": read, "level_floor_ms": self._floor(read)}
        told["draft"][name] = {f"width {one.shape[0]}": whole}

    def settle(self) -> None:
        """Commit and show all drafters; it moves the text on, so it comes last."""
        timing = self._meter.measure(f"{self._at}, settle", partial(self._scene.settle, 1))
        self.told["settle"] = timing

    def project(self, name: str, taus: dict[str, float]) -> None:
        """Projections of one drafter; none where a part is missing."""
        if name in self.told["draft"] and self.told.get("settle") is not None:
            width = self._drafted[name].shape[0]
            self.told["projection"][name] = projections(self.told, name, taus, width, NODES, DEPTHS)

    def _floor(self, size: int) -> float:
        return 1e3 * size / self._speed

    def _memory(self, one: Drafted) -> Told:
        """What it holds of this text, by its own account, and all that it has set aside."""
        drafter, kv = one.drafter, self.told["target_kv_bytes"]
        held = drafter.room(self._length) if isinstance(drafter, Sized) else 0
        pool = {"pool_bytes": drafter.pool} if isinstance(drafter, Pooled) else {}
        return {"bytes": held, "share_of_target_kv": held / kv, **pool}


def table(result: Told) -> None:
    """The last lines: short, for little of a far machine's output is kept."""
    for length, told in result["contexts"].items():
        steps = {nodes: timing for nodes, timing in told["target"].items() if timing is not None}
        said = ", ".join(
            f"{nodes}: {step_ms(one):.2f} ({one['share_of_ceiling']['forward']:.0%})"
            for nodes, one in steps.items()
        )
        chunk = told.get("prefill_chunk")
        end = "" if chunk is None else f"; chunk {chunk['tokens_a_second']:.0f} tokens/s"
        kv = told["target_kv_bytes"] / 1e9
        print(f"{length}: KV {kv:.2f} GB; step ms by nodes (of ceiling) {said}{end}")
        for name, by_width in told["draft"].items():
            ((_, whole),) = by_width.items()
            memory = told["memory"][name]
            level, share = whole.get("level_ms"), whole.get("level_share_of_step")
            line = f"  {name}: {memory['bytes'] / 1e6:.1f} MB"
            if level is not None and share is not None:
                line += f", level {level:.2f} ms = {share:.0%} of a step"
            print(line + _projected(told["projection"].get(name, {})))
    for at, error in result["errors"].items():
        print(f"FAILED {at}: {error.strip().splitlines()[-1]}")


def _projected(rows: Told) -> str:
    """The best tree's projection, by tau."""
    said = ""
    for source, found in rows.items():
        tree, best = max(found.items(), key=lambda pair: pair[1]["projected_speedup_whole_draft"])
        said += f"; PROJECTED {best['projected_speedup_whole_draft']:.2f} ({tree}; tau {source})"
    return said
