"""Time foretold, progress told."""

import io

import pytest
from evals.running.stage import Scripted, doc, make_plan, task
from mmspec_evals.running.order import groups
from mmspec_evals.running.pace import Pace
from mmspec_evals.running.progress import Progress, describe
from mmspec_evals.trace import Rounds, Sample, Seconds, Trace


def cells_of(documents):
    docs = {"words": [doc("x" * (10 * (i + 1))) for i in range(documents)]}
    made = make_plan([task()], docs, [Scripted("m")])
    return [cell for group in groups(made) for cell in group.cells], docs["words"]


def sample(cell, prompt, tokens, first, total, **more):
    trace = Trace(
        text="", tokens=tokens, finish_reason="stop", prompt_tokens=prompt,
        seconds=Seconds(total=total, first=first), **more,
    )  # fmt: skip
    return Sample(
        key="", task="words", task_version=1, method="m", repeat=0, order=0, doc_id=cell.doc.id,
        doc_sha="", cluster="", traces=[trace],
    )  # fmt: skip


def test_what_is_left_is_foretold_from_rates_of_reading_and_writing():
    cells, docs = cells_of(3)  # 10, 20 and 30 characters
    sizes = {("words", d.id): len(d.id) for d in docs}
    pace = Pace(cells, sizes, {"words": 100})
    # Assumed: 0.3 tokens a character, 1000 tokens a second read, 50 written.
    assert pace.seconds() == pytest.approx(60 * 0.3 / 1000 + 3 * 100 / 50)
    # Measured: half a token a character, 0.2 s a token read, 0.1 s a token written, 8 an answer.
    pace.learn(cells[0], sample(cells[0], prompt=5, tokens=8, first=1.0, total=1.8))
    assert pace.seconds() == pytest.approx(50 * 0.5 * 0.2 + 2 * 8 * 0.1)
    pace.learn(cells[1], sample(cells[1], prompt=10, tokens=8, first=2.0, total=2.8))
    assert pace.seconds() == pytest.approx(30 * 0.5 * 0.2 + 8 * 0.1)
    pace.learn(cells[2], sample(cells[2], prompt=15, tokens=8, first=3.0, total=3.8))
    assert pace.seconds() == 0.0


def test_a_sample_is_told_in_numbers():
    cells, _ = cells_of(1)
    rounds = Rounds(proposed=[4, 4], depth=[4, 4], accepted=[2, 1])
    good = sample(cells[0], 5, 6, 0.1, 2.0, passes=3, rounds=rounds)
    assert describe(good) == "3.0 tok/s, tau 2.00, 38% of drafted kept"
    assert describe(sample(cells[0], 5, 6, 0.1, 2.0)) == "3.0 tok/s"


def test_where_there_is_no_terminal_lines_come_now_and_then():
    cells, docs = cells_of(3)
    sizes = {("words", d.id): len(d.id) for d in docs}
    for every, lines in ((0.0, 3), (3600.0, 1)):
        stream = io.StringIO()
        pace = Pace(cells, sizes, {"words": 8})
        with Progress(3, pace, stream, every) as progress:
            for cell in cells:
                progress.begin(cell)
                progress.end(cell, sample(cell, 5, 8, 0.1, 0.5))
        said = stream.getvalue().split("\n")[:-1]
        assert len(said) == lines
        assert said[-1] == "3/3 words m: 16.0 tok/s; 0:00 left"
