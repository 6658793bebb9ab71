"""What is remembered of one tenant: new things once, within a quota, over restarts and deaths."""

from __future__ import annotations

import logging
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from retrieval.shelves import KNOWN, said

from mmspec.core.errors import CorpusError
from mmspec.retrieval.chunks import LEAST, MOST, cut, fresh
from mmspec.retrieval.ingest import WAITING, Ingest, Memories
from mmspec.retrieval.manifest import read_manifest
from mmspec.retrieval.memory import Limits, Memory
from mmspec.retrieval.segment import owner_of
from mmspec.retrieval.segment_file import verify

BARS = np.array([50, 49], np.int64)
LIMITS = Limits(quota=1 << 20, seal=4096, depth=8)
OWNER = owner_of("a")
NOISE = np.random.default_rng(0)


def text(length: int) -> np.ndarray:
    return NOISE.integers(0, 48, length)


def memory(folder=None, **limits) -> Memory:
    chosen = {"quota": LIMITS.quota, "seal": LIMITS.seal, "depth": LIMITS.depth} | limits
    return Memory(KNOWN, BARS, Limits(**chosen), folder, OWNER)


@given(st.lists(st.integers(0, 5), max_size=700))
def test_chunks_cover_a_text_and_are_neither_small_nor_large(ids):
    ends, hashes = cut(np.array(ids, np.int64))
    sizes = np.diff([0, *ends])
    assert sum(sizes) == len(ids)
    assert len(hashes) == len(ends)
    assert np.all((sizes[:-1] >= LEAST) & (sizes[:-1] <= MOST))


def test_a_passage_is_cut_alike_wherever_it_stands():
    passage = text(2000)
    alone = set(cut(passage)[1].tolist())
    moved = set(cut(np.concatenate([text(331), passage, text(50)]))[1].tolist())
    assert len(alone & moved) > 0.8 * len(alone)


def test_only_what_is_new_is_kept_with_a_way_in_and_out():
    known: set[int] = set()
    first = text(1000)
    assert [len(part) for part in fresh(first, known, 8)] == [1000]
    assert list(fresh(first, known, 8)) == []
    mixed = np.concatenate([first[:500], text(90), first[500:]])
    parts = list(fresh(mixed, known, 8))
    assert 90 < sum(map(len, parts)) < 90 + 2 * (MOST + 8)
    joined = " ".join(map(str, mixed))
    assert all(" ".join(map(str, part)) in joined for part in parts)


def test_one_answer_a_thousand_times_and_one_token_a_thousand_times_have_one_vote():
    made = memory()
    answer = text(300)
    for _ in range(5):
        made.add(answer, 0)
    made.add(np.full(5000, 7), 0)
    assert sum(map(len, said(made.segments))) <= 300 + 2 * MOST


def test_a_text_is_cut_at_pictures_and_at_ids_nobody_knows():
    made = memory()
    made.add(np.array([1, 2, 3, 49, 49, 4, 5, 60, 6, -1, 7, 8, 9]), 0)
    assert said(made.segments) == [[1, 2, 3], [4, 5], [7, 8, 9]]


def test_without_a_folder_the_oldest_go():
    made = memory(seal=2048)
    texts = [text(400) for _ in range(9)]
    for one in texts:
        made.add(one, 0)
    kept = said(made.segments)
    assert kept[-1] == texts[-1].tolist()
    assert texts[0].tolist() not in kept
    assert made.bytes <= 8 * 2048
    made.add(texts[0], 0)  # it was forgotten, so it is new
    assert said(made.segments)[-1] == texts[0].tolist()


def test_a_text_larger_than_memory_is_kept_in_part():
    made = memory(seal=1024)
    long = text(5000)
    made.add(long, 0)
    kept = [id for part in said(made.segments) for id in part]
    assert kept == long[-len(kept) :].tolist()
    assert 512 <= len(kept) <= 1024


def test_texts_go_to_disk_and_are_there_after_a_restart(tmp_path):
    made = memory(tmp_path, seal=1024)
    texts = [text(400) for _ in range(7)]
    for one in texts:
        made.add(one, 3)
    made.seal()
    again = memory(tmp_path, seal=1024)
    assert sorted(said(again.segments)) == sorted(one.tolist() for one in texts)
    again.add(texts[0], 0)  # known from the disk
    assert sum(map(len, said(again.segments))) < 2800 + MOST


def test_small_segments_become_large_ones_by_themselves(tmp_path):
    made = memory(tmp_path, seal=1024)
    texts = [text(1100) for _ in range(9)]
    for one in texts:
        made.add(one, 0)
    assert sorted(entry.level for entry in read_manifest(tmp_path).segments) == [0, 1]
    assert sorted(said(made.segments)) == sorted(one.tolist() for one in texts)


def test_what_is_private_is_so_on_disk(tmp_path):
    folder = tmp_path / "store" / OWNER
    made = memory(folder)
    made.add(text(100), 0)
    made.seal()
    assert folder.stat().st_mode & 0o077 == 0
    (path,) = folder.glob("*.mmsa")
    assert path.stat().st_mode & 0o277 == 0


def test_beyond_the_quota_what_is_quoted_least_goes(tmp_path):
    made = memory(tmp_path, seal=1024, quota=60_000)
    texts = [text(1100) for _ in range(6)]
    for one in texts[:2]:
        made.add(one, 0)
    quoted, other = made.segments
    quoted.used[0] = 50
    for one in texts[2:]:
        made.add(one, 0)
    names = {one.name for one in made.segments}
    assert quoted.name in names
    assert other.name not in names
    assert made.bytes <= 60_000
    assert {entry.name for entry in read_manifest(tmp_path).segments} == names - {""}


def test_a_disk_that_takes_nothing_leaves_texts_in_memory(tmp_path, caplog, monkeypatch):
    """Serving goes on; the oldest half goes where there is no room for all."""
    made = memory(tmp_path, seal=1024)

    def full(self, ids, taken=None):
        raise CorpusError("no space left")

    with monkeypatch.context() as patched, caplog.at_level(logging.WARNING):
        patched.setattr("mmspec.retrieval.segment_build.Draft.add", full)
        for _ in range(5):
            made.add(text(500), 0)
    assert "no space left" in caplog.text
    assert 0 < made.bytes <= 8 * 1024
    made.add(text(1000), 0)
    assert len(read_manifest(tmp_path).segments) == 1


def ingest(store=None, tenants=4) -> Ingest:
    return Ingest(Memories(KNOWN, BARS, LIMITS, store, tenants))


def test_each_tenant_has_a_memory_of_its_own(tmp_path):
    taking = ingest(tmp_path)
    taking.put("a", np.array([1, 2, 3]))
    taking.put("b", np.array([4, 5, 6]))
    taking.settle()
    assert said(taking.memories.get("a").segments) == [[1, 2, 3]]
    assert said(taking.memories.get("b").segments) == [[4, 5, 6]]
    assert taking.memories.get("c") is None
    assert {path.name for path in tmp_path.iterdir()} == {owner_of("a"), owner_of("b")}


def test_the_memory_untouched_for_longest_goes_to_disk(tmp_path):
    taking = ingest(tmp_path, tenants=2)
    for tenant in "abac":
        taking.put(tenant, np.array([ord(tenant) - 90, 2, 3]))
    taking.settle()
    assert taking.memories.get("b") is None
    assert said(taking.memories.open("b").segments) == [[8, 2, 3]]


def test_the_end_of_the_drafter_leaves_everything_on_disk(tmp_path):
    taking = ingest(tmp_path)
    taking.put("a", np.array([1, 2, 3]))
    thread = taking._thread
    del taking
    assert not thread.is_alive()
    assert said(Memory(KNOWN, BARS, LIMITS, tmp_path / OWNER, OWNER).segments) == [[1, 2, 3]]


def test_a_text_that_cannot_be_taken_in_harms_no_other(tmp_path, caplog):
    (tmp_path / OWNER).write_text("in the way")
    taking = ingest(tmp_path)
    taking.put("a", np.array([1, 2, 3]))
    taking.put("b", np.array([4, 5, 6]))
    taking.settle()
    assert "not remembered" in caplog.text
    assert said(taking.memories.get("b").segments) == [[4, 5, 6]]


def test_texts_that_come_too_fast_are_left_out():
    taking = ingest()
    taking.put("a", np.array([1, 2, 3]))
    taking.settle()
    with taking.memories._alone:  # the thread waits with one in hand
        for _ in range(WAITING + 5):
            taking.put("a", np.array([1, 2, 3]))
        assert taking.dropped in (4, 5)
    taking.settle()


SERVING = """
import sys
from pathlib import Path
import numpy as np
from mmspec.retrieval.ingest import Ingest, Memories
from mmspec.retrieval.memory import Limits
from mmspec.retrieval.segment import Identity
known = Identity(50, "a tokenizer of fifty ids")
limits = Limits(quota=1 << 20, seal=1024, depth=8)
ingest = Ingest(Memories(known, np.array([50, 49]), limits, Path(sys.argv[1]), 4))
noise = np.random.default_rng(int(sys.argv[2]))
while True:
    ingest.put("a", noise.integers(0, 48, 400))
    ingest.settle()
    print(len(ingest.memories.get("a").segments), flush=True)
"""


def test_the_end_of_the_process_leaves_everything_on_disk(tmp_path):
    ending = SERVING.partition("while True")[0] + "for _ in '12':\n"
    ending += "    ingest.put('a', noise.integers(0, 48, 400))\n"
    subprocess.run([sys.executable, "-c", ending, str(tmp_path), "0"], check=True)
    found = Memory(KNOWN, BARS, LIMITS, tmp_path / OWNER, OWNER)
    assert [len(ids) for ids in said(found.segments)] == [400, 400]


@pytest.mark.parametrize("texts", [2, 5, 12])
def test_a_kill_loses_at_most_what_was_in_memory(tmp_path, texts):
    """kill -9 while texts come in: segments that were there still are, and are sound."""
    server = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SERVING), str(tmp_path), str(texts)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    for _ in range(texts):
        assert server.stdout.readline()
    server.kill()
    server.wait()
    server.stdout.close()
    folder = tmp_path / OWNER
    found = Memory(KNOWN, BARS, LIMITS, folder, OWNER)
    kept = sum(map(len, said(found.segments)))
    assert kept >= 400 * texts - 1024 - 400
    for entry in read_manifest(folder).segments:
        verify(folder / entry.name)
    found.add(text(50), 0)
    found.seal()
    assert not list(folder.glob(".*"))
