"""What is measured, in which order, and what a failure does to the rest."""

import json

import pytest
from evals.running.stage import Scripted, doc, perform, task
from mmspec_evals.errors import PlanError
from mmspec_evals.method import UnsupportedError
from mmspec_evals.running.executor import is_out_of_memory
from mmspec_evals.running.layout import read_plan, read_samples
from mmspec_evals.running.scoring import mark_again

DOCS = [doc(f"d{i}") for i in range(4)]


def lines(root, label, name="words"):
    return read_samples(root / "samples" / name / f"{label}.r0.jsonl")


def events(root):
    return [json.loads(line) for line in (root / "log.jsonl").read_bytes().split(b"\n") if line]


def test_every_cell_is_written_marked_and_audited(tmp_path):
    methods = [Scripted("vanilla"), Scripted("ours"), Scripted("wrong", lambda text, _: text)]
    watch = perform(tmp_path, methods, DOCS)
    assert [s.doc_id for s in lines(tmp_path, "ours")] == ["d0", "d1", "d2", "d3"]
    assert {s.scores["right"] for s in lines(tmp_path, "ours")} == {1.0}
    assert {s.scores["right"] for s in lines(tmp_path, "wrong")} == {0.0}
    assert {s.audit.kind for s in lines(tmp_path, "vanilla.last")} == {"exact"}
    assert {s.audit.kind for s in lines(tmp_path, "wrong")} == {"violation"}
    assert lines(tmp_path, "vanilla")[0].audit is None
    assert [s.method for s in watch.samples[::4]] == ["vanilla"] * 4
    assert [s.method for s in watch.samples[3::4]] == ["vanilla.last"] * 4


def test_answers_are_cut_where_the_task_says_and_traces_are_not(tmp_path):
    methods = [Scripted("m", lambda text, _: f"{text}!\nmore")]
    perform(tmp_path, methods, DOCS, [task(stop=("\n",))])
    (one, *_) = lines(tmp_path, "m")
    assert one.answers == ["d0!"]
    assert one.traces[0].text == "d0!\nmore"
    assert one.scores == {"right": 1.0}


def test_later_turns_follow_the_methods_own_answers_and_cases_are_made_once(tmp_path):
    talk = [doc("t", "one", "two", target="one|A|two!")]
    same = lambda text, _: "A" if text == "one" else f"{text}!"  # noqa: E731
    other = lambda text, _: "B" if text == "one" else f"{text}!"  # noqa: E731
    methods = [Scripted("vanilla", same), Scripted("equal", same), Scripted("strays", other)]
    perform(tmp_path, methods, talk)
    assert [case.text for case in methods[1].asked] == ["one", "one|A|two"]
    assert [case.text for case in methods[2].asked] == ["one", "one|B|two"]
    assert methods[1].asked[1] is methods[0].asked[1]
    assert methods[2].asked[0] is methods[0].asked[0]
    assert lines(tmp_path, "equal")[0].scores == {"right": 1.0}
    assert len(lines(tmp_path, "strays")[0].traces) == 2


def test_what_a_method_cannot_do_says_why(tmp_path):
    no = Scripted("no", lambda text, _: UnsupportedError("vocabularies differ"))
    perform(tmp_path, [no, Scripted("vanilla")], [*DOCS, doc("refuse")])
    assert {(s.error, s.error_kind) for s in lines(tmp_path, "no")[:4]} == {
        ("vocabularies differ", "unsupported")
    }
    assert lines(tmp_path, "vanilla")[4].error == "too long"
    assert lines(tmp_path, "vanilla")[4].error_kind == "unsupported"
    assert lines(tmp_path, "vanilla")[3].error is None


def test_a_failure_is_recorded_and_the_rest_goes_on(tmp_path):
    bad = Scripted("bad", lambda text, call: KeyError("lost") if call == 2 else f"{text}!")
    perform(tmp_path, [bad, Scripted("vanilla")], DOCS)
    found = lines(tmp_path, "bad")
    assert [s.error_kind for s in found] == [None, "failed", None, None]
    assert found[1].error == "KeyError: 'lost'"
    assert found[1].scores == {}
    (event,) = [e for e in events(tmp_path) if e["event"] == "failed"]
    assert event["doc"] == "d1"
    assert "Traceback" in event["traceback"]


def test_three_exhaustions_in_a_row_stop_one_method_alone(tmp_path):
    full = lambda text, call: f"{text}!" if call == 2 else MemoryError("no room")  # noqa: E731
    big, docs = Scripted("big", full), [doc(f"d{i}") for i in range(8)]
    perform(tmp_path, [big, Scripted("vanilla")], docs)
    found = lines(tmp_path, "big")
    assert [s.error_kind for s in found] == ["oom", None, *["oom"] * 6]
    assert len(big.asked) == 5
    assert "not tried" in found[5].error
    assert all(s.error is None for s in lines(tmp_path, "vanilla.last"))
    assert [e["method"] for e in events(tmp_path) if e["event"] == "stopped"] == ["big"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("shapes do not match"), False),
    ],
)
def test_exhaustion_is_known_by_type_or_words(error, said):
    assert is_out_of_memory(error) is said


def test_a_missing_model_ends_the_run(tmp_path):
    gone = Scripted("gone", lambda text, _: PlanError("no model at x"))
    with pytest.raises(PlanError, match="no model at x"):
        perform(tmp_path, [gone], DOCS)


def test_a_broken_scorer_keeps_the_answer_and_marking_again_mends_it(tmp_path, monkeypatch):
    def broken(answers, doc):
        raise ZeroDivisionError("scorer")

    perform(tmp_path, [Scripted("m")], DOCS, [task(score=broken)])
    (one, *_) = lines(tmp_path, "m")
    assert (one.error, one.error_kind) == ("ZeroDivisionError: scorer", "score")
    assert one.traces[0].text == "d0!"
    monkeypatch.setattr("mmspec_evals.running.scoring.all_tasks", lambda: {"words": task()})
    assert mark_again(tmp_path, read_plan(tmp_path)) == 4
    again = lines(tmp_path, "m")
    assert {(s.error, s.scores["right"]) for s in again} == {(None, 1.0)}
    assert next(s.traces for s in again) == one.traces


def test_answers_may_be_left_unmarked(tmp_path):
    perform(tmp_path, [Scripted("m")], DOCS, score=False)
    assert {(s.error, len(s.scores), s.traces[0].text) for s in lines(tmp_path, "m")} == {
        (None, 0, f"{d.id}!") for d in DOCS
    }


def test_marking_again_refuses_another_version(tmp_path, monkeypatch):
    perform(tmp_path, [Scripted("m")], DOCS)
    plan = read_plan(tmp_path)
    plan.tasks[0] = type(plan.tasks[0])(
        **{name: getattr(plan.tasks[0], name) for name in plan.tasks[0].__struct_fields__}
        | {"version": 7}
    )
    monkeypatch.setattr("mmspec_evals.running.scoring.all_tasks", lambda: {"words": task()})
    with pytest.raises(PlanError, match="version 7"):
        mark_again(tmp_path, plan)


def test_warming_up_is_twice_at_first_and_once_at_a_jump(tmp_path):
    sizes = [4, 5, 6, 40, 41, 10]  # 40 is more than twice 6; 10 lies between
    docs = [doc("x" * size) for size in sizes]
    method = Scripted("m")
    perform(tmp_path, [method], docs, warm_up=2)
    asked = [(len(case.prompt.ids), case.sampling.max_tokens) for case in method.asked]
    cold, real = 64, 100
    assert asked == [
        (4, cold), (5, cold), (4, real), (5, real), (6, real),
        (40, cold), (40, real), (41, real), (10, real),
    ]  # fmt: skip
    assert len(lines(tmp_path, "m")) == 6


def test_a_warm_up_that_fails_is_no_sample(tmp_path):
    shaky = Scripted("m", lambda text, call: ValueError("cold") if call < 3 else f"{text}!")
    perform(tmp_path, [shaky], DOCS, warm_up=2)
    assert [s.error for s in lines(tmp_path, "m")] == [None] * 4
    assert [e["event"] for e in events(tmp_path)] == ["warm-up failed"] * 2
