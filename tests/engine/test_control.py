"""Budgets: a constant, shared, and never more than a request asks or has left."""

from __future__ import annotations

import numpy as np
import pytest

from mmspec.core.config import EngineConfig
from mmspec.core.request import Prompt, Request, Sampling, Speculation
from mmspec.core.sequence import Sequence
from mmspec.engine.control import ConstantController

CONTROLLER = ConstantController(EngineConfig(max_nodes=16, max_depth=12, tree_rows=64))


def asking(**speculation) -> Sequence:
    request = Request("a", Prompt(np.zeros(4, np.int64)), Sampling(), Speculation(**speculation))
    return Sequence(request, 0, 0)


@pytest.mark.parametrize(("batch", "nodes"), [(1, 16), (4, 16), (8, 8), (32, 2), (100, 1)])
def test_many_sequences_share_the_rows_of_a_step(batch, nodes):
    assert CONTROLLER.budget(asking(), batch) == (nodes, 12)


def test_a_request_may_ask_for_less_but_not_for_more():
    assert CONTROLLER.budget(asking(max_nodes=5, max_depth=2), 1) == (5, 2)
    assert CONTROLLER.budget(asking(max_nodes=500, max_depth=500), 1) == (16, 12)
    assert CONTROLLER.budget(asking(enabled=False), 1) == (1, 0)
