"""Reading long prompts leaves those who stream their share of the time."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st
from running import engine, run

from mmspec.core.request import Prompt, Request, Sampling
from mmspec.engine.pace import Pace

seconds = st.floats(0.001, 1.0)


class Never(Pace):
    """Never lets a long prompt be read beside a stream."""

    def __init__(self) -> None:
        super().__init__(0.5)

    @property
    def due(self) -> bool:
        return False


@given(share=st.floats(0.05, 0.95), chunk=seconds, step=seconds)
def test_a_stream_is_slowed_by_no_more_than_the_share_says(share, chunk, step):
    pace, spent, read, steps = Pace(share), 0.0, 0, 0
    while read < 50:
        reads = pace.due
        pace.spent(chunk if reads else 0.0, step)
        read += reads
        steps += 1
        spent += step + chunk * reads
    # A last chunk may not have been paid for yet.
    assert spent - chunk <= steps * step / (1 - share) * (1 + 1e-9)
    # And reading goes on as soon as a chunk has been paid for, one step's grain aside.
    assert steps <= read * (chunk * (1 - share) / share / step + 1 + 1e-9) + 1


@given(st.lists(st.tuples(seconds, seconds), max_size=20))
def test_all_of_the_time_is_no_limit_and_alone_nothing_is_owed(steps):
    free, held = Pace(1.0), Pace(0.1)
    for reading, decoding in steps:
        free.spent(reading, decoding)
        held.spent(reading, decoding)
        assert free.due
    held.spent(1.0, 0.0)
    assert held.due


def test_a_long_prompt_waits_beside_a_stream_a_short_one_does_not():
    told = engine(tiny.target("llama", "bitwise"), step_tokens=64)
    told.scheduler.pace = Never()
    rng = np.random.default_rng(0)
    lengths = {"stream": 20, "long": 200, "short": 40}
    prompts = {name: Prompt(rng.integers(3, 90, n)) for name, n in lengths.items()}
    greedy = Sampling(temperature=0.0, max_tokens=24, ignore_eos=True)
    said: dict[str, list[int]] = {}
    order: list[str] = []
    for name, prompt in prompts.items():
        told.submit(Request(name, prompt, greedy))
        while name == "stream" and not said:
            take(told, said, order)
    while told.busy:
        take(told, said, order)
    assert order == ["stream", "short", "long"]
    assert said == run(engine(tiny.target("llama", "bitwise")), prompts, greedy)


def take(told, said, order):
    for delta in told.step():
        if delta.tokens and delta.request_id not in said:
            order.append(delta.request_id)
        said.setdefault(delta.request_id, []).extend(delta.tokens)


@pytest.mark.parametrize("share", [0.1, 1.0])
def test_the_text_does_not_depend_on_the_share(share):
    prompts = {str(n): Prompt(np.random.default_rng(n).integers(3, 90, n)) for n in (30, 150, 90)}
    here = run(engine(tiny.target("llama", "bitwise"), prefill_share=share), prompts)
    assert here == run(engine(tiny.target("llama", "bitwise")), prompts)
