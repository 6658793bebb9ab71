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
    """The same budget at every step, shared by those who decode, within what a request asks."""

    def __init__(self, config: EngineConfig) -> None:
        self._nodes = config.max_nodes
        self._depth = config.max_depth
        self._rows = config.tree_rows

    def budget(self, sequence: Sequence, batch: int) -> Budget:
        """The configured budget or a share of the rows, or the request's where smaller."""
        asked = sequence.request.speculation
        if not asked.enabled:
            return Budget(1, 0)
        nodes = min(self._nodes, max(1, self._rows // batch), asked.max_nodes or self._nodes)
        depth = min(self._depth, asked.max_depth or self._depth)
        return Budget(nodes, depth)
