"""Going on after a crash: nothing twice but plain decoding, nothing lost, nothing mixed."""

import msgspec
import pytest
from evals.running.stage import Scripted, Watch, doc, make_plan, perform, task
from mmspec_evals.errors import DataError, MixedRunError, PlanError
from mmspec_evals.running.environment import Environment, Machine, Session
from mmspec_evals.running.journal import Journal, mend, replace
from mmspec_evals.running.layout import read_plan, read_samples
from mmspec_evals.running.resume import check, failures, remaining

DOCS = [doc(f"d{i}") for i in range(3)]
MACHINE = Machine(
    python="3.11", torch="2", transformers="5", mmspec="0", system="Linux", cpu="c", cores=2,
    threads=1, device="cpu", gpu=None, driver=None, dtype="float32", numerics="bitwise",
)  # fmt: skip


def methods():
    return [Scripted("vanilla"), Scripted("a"), Scripted("b")]


def rows(root, label):
    return read_samples(root / "samples" / "words" / f"{label}.r0.jsonl")


def crash(root, after):
    watch = Watch(crash_after=after)
    with pytest.raises(KeyboardInterrupt):
        perform(root, methods(), DOCS, watch=watch)
    return watch


def test_a_document_that_was_whole_is_left_alone_and_a_part_gets_a_base_of_its_own(tmp_path):
    before = crash(tmp_path, 6)  # d0 is whole, d1 has plain decoding and one method
    missing = ({"a", "b"} - {cell.arm.label for cell in before.cells[4:]}).pop()
    after = perform(tmp_path, methods(), DOCS, session="s2")
    said = [(s.doc_id, s.method) for s in after.samples]
    assert said[:3] == [("d1", "vanilla"), ("d1", missing), ("d1", "vanilla.last")]
    assert sorted(said[3:]) == sorted(
        ("d2", label) for label in ("vanilla", "a", "b", "vanilla.last")
    )
    assert [(s.doc_id, s.session) for s in rows(tmp_path, "vanilla")] == [
        ("d0", "s1"), ("d1", "s1"), ("d1", "s2"), ("d2", "s2"),
    ]  # fmt: skip
    assert not remaining(read_plan(tmp_path), tmp_path)


def test_a_half_written_line_is_cut_off_and_measured_again(tmp_path):
    perform(tmp_path, methods(), DOCS)
    path = tmp_path / "samples" / "words" / "a.r0.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])  # the last line lost its end, newline included
    after = perform(tmp_path, methods(), DOCS, session="s2")
    assert [(s.doc_id, s.method) for s in after.samples] == [
        ("d2", "vanilla"), ("d2", "a"), ("d2", "vanilla.last"),
    ]  # fmt: skip
    assert [s.doc_id for s in rows(tmp_path, "a")] == ["d0", "d1", "d2"]


@pytest.mark.parametrize(
    ("written", "kept"), [(b"", b""), (b"ab", b""), (b"a\nb", b"a\n"), (b"a\n", b"a\n")]
)
def test_mending_keeps_whole_lines(tmp_path, written, kept):
    path = tmp_path / "x.jsonl"
    path.write_bytes(written)
    assert mend(path) == len(written) - len(kept)
    assert path.read_bytes() == kept


def test_a_broken_line_in_the_middle_is_an_error(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"key": 3}\n')
    with pytest.raises(DataError, match=r"x\.jsonl:1"):
        read_samples(path)


def test_failures_are_tried_again_and_refusals_are_not(tmp_path):
    shaky = Scripted("a", lambda text, call: OSError("net") if call == 2 else f"{text}!")
    perform(tmp_path, [shaky], [*DOCS, doc("refuse")])
    assert failures(read_plan(tmp_path), tmp_path) == 1
    after = perform(tmp_path, [shaky], [*DOCS, doc("refuse")], session="s2")
    assert [s.doc_id for s in after.samples] == ["d1"]
    assert failures(read_plan(tmp_path), tmp_path) == 0


def environment(machine=MACHINE, session="s"):
    one = Session(id=session, started="2026-01-01T00:00:00+00:00", argv=[], commit=None, dirty=None)
    return Environment(fingerprint="x", machine=machine, sessions=[one])


def made(**options):
    return make_plan([task()], {"words": DOCS}, methods(), **options)


def test_another_plan_or_machine_is_refused_unless_forced(tmp_path):
    replace(tmp_path / "plan.json", made())
    replace(tmp_path / "env.json", environment())
    same = check(tmp_path, made(), environment(session="t"), force=False)
    assert (same.mixed, [s.id for s in same.sessions]) == ([], ["s", "t"])
    with pytest.raises(MixedRunError, match="the seed changed"):
        check(tmp_path, made(seed=1), environment(), force=False)
    faster = msgspec.structs.replace(MACHINE, threads=8)
    with pytest.raises(MixedRunError, match="threads: 1 -> 8"):
        check(tmp_path, made(), environment(faster), force=False)
    forced = check(tmp_path, made(seed=1), environment(faster), force=True)
    assert forced.mixed == ["the seed changed", "threads: 1 -> 8"]
    replace(tmp_path / "env.json", forced)  # once mixed, always mixed
    assert check(tmp_path, made(), forced, force=False).mixed == forced.mixed


def test_two_processes_do_not_write_into_one_folder(tmp_path):
    held = Journal(tmp_path, "one")
    with pytest.raises(PlanError, match="another process"):
        Journal(tmp_path, "two")
    held.close()
    Journal(tmp_path, "three").close()
