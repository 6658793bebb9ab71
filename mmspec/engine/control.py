"""Which part of the guesses is worth verifying now. Today a constant; the seat is here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from mmspec.core.drafter import Budget

if TYPE_CHECKING:
    from mmspec.core.config import EngineConfig
    from mmspec.core.sequence import Sequence


class Controller(Protocol):
    """Decides how large a tree a sequence may have in this step; one node is plain decoding."""

    def budget(self, sequence: Sequence, batch: int) -> Budget:
        """The budget of one of ``batch`` sequences decoding in this step."""
        ...


class ConstantController:
    """The same budget at every step, within what the request asks and has left."""

    def __init__(self, config: EngineConfig) -> None:
        self._nodes = config.max_nodes
        self._depth = config.max_depth

    def budget(self, sequence: Sequence, batch: int) -> Budget:
        """The configured budget, or the request's where that is smaller."""
        asked = sequence.request.speculation
        if not asked.enabled:
            return Budget(1, 0)
        nodes = min(self._nodes, asked.max_nodes or self._nodes)
        depth = min(self._depth, asked.max_depth or self._depth)
        return Budget(nodes, depth)
