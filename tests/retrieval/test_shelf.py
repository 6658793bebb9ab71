"""Segments on disk: what is written is what is read, what is broken is refused by name."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import textwrap
import time

import msgspec
import numpy as np
import pytest
from retrieval.shelves import KNOWN, WIDE, draft, said, shelf

from mmspec.core.errors import CorpusError
from mmspec.retrieval.manifest import FAN, Entry, Manifest, pick, read_manifest
from mmspec.retrieval.segment import PUBLIC, Identity, identity, owner_of
from mmspec.retrieval.segment_build import TEMPORARY, digest_of
from mmspec.retrieval.segment_file import (
    PAGE,
    lay_out,
    mount,
    pack_header,
    read_header,
    read_marks,
    verify,
)
from mmspec.retrieval.segment_search import longest
from mmspec.retrieval.shelf import Shelf

TEXTS = [[1, 2, 3, 4], [1, 2, 5], [7]]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder with one segment; not to be changed."""
    folder = tmp_path_factory.mktemp("built")
    shelf(folder, TEXTS)
    (path,) = folder.glob("*.mmsa")
    return path


@pytest.fixture
def copy(built, tmp_path):
    """Its segment, to be broken."""
    path = tmp_path / "copy.mmsa"
    path.write_bytes(built.read_bytes())
    return path


def test_what_is_written_is_what_is_mounted(built):
    segment = mount(built, KNOWN, PUBLIC)
    assert said([segment]) == TEXTS
    assert not segment.tokens.flags.writeable
    context = np.array([9, 1, 2])
    context.flags.writeable = False
    match = longest(segment.tokens, segment.order, segment.buckets, context, 1)
    assert (match[0], match[2] - match[1]) == (2, 2)
    header = verify(built)
    assert (header.texts, header.tokens, header.width) == (3, 11, 2)
    marks = read_marks(built)
    assert marks["digest"][1].tobytes() == digest_of(np.array(TEXTS[1]))
    assert abs(marks["taken"][0] - time.time()) < 600
    assert built.stat().st_mode & 0o222 == 0


def test_wide_ids_take_four_bytes_and_long_segments_have_buckets(tmp_path):
    noise = np.random.default_rng(0)
    texts = [noise.integers(0, 70_000, 40_000).tolist(), noise.integers(0, 9, 30_000).tolist()]
    (segment,) = shelf(tmp_path, texts, known=WIDE).mounted
    assert segment.tokens.dtype == np.int32
    assert len(segment.buckets) == WIDE.size + 2
    assert said([segment]) == texts
    assert verify(tmp_path / segment.name).width == 4


def test_pieces_decide_what_ids_mean():
    pieces = [b"a", b"b", b"ab"]
    assert identity(pieces, 99) == Identity(3, identity(pieces, 5).digest)
    for others in ([b"b", b"a", b"ab"], [b"a", b"b", b"ab", b"c"], [b"ab", b"", b"ab"]):
        assert identity(others, 99) != identity(pieces, 99)
    assert identity([], 7).size == 7


@pytest.mark.parametrize(
    ("known", "owner", "said"),
    [
        (Identity(51, KNOWN.digest), PUBLIC, "vocabulary of 50"),
        (Identity(50, "another"), PUBLIC, "another tokenizer"),
        (KNOWN, owner_of("somebody"), "is public"),
    ],
)
def test_a_foreign_segment_is_refused(built, known, owner, said):
    with pytest.raises(CorpusError, match=said):
        mount(built, known, owner)


def test_a_private_segment_is_nobody_elses(tmp_path):
    theirs = Shelf(tmp_path, KNOWN, owner_of("a"))
    theirs.add(draft(tmp_path, TEXTS, owner=owner_of("a")))
    assert len(theirs.mounted) == 1
    for owner in (PUBLIC, owner_of("b")):
        other = Shelf(tmp_path, KNOWN, owner)
        assert not other.mounted
        assert "private" in next(iter(other.faults.values()))


def spoil(path, offset, count=1):
    with path.open("r+b") as file:
        file.seek(offset)
        old = file.read(count)
        file.seek(offset)
        file.write(bytes(byte ^ 0xFF for byte in old))


def test_damage_is_found_where_it_is(copy):
    sections = read_header(copy).sections
    for name in ("texts", "marks"):
        spoil(copy, sections[name].offset)
        with pytest.raises(CorpusError, match=f"table of {name}"):
            mount(copy, KNOWN, PUBLIC)
        spoil(copy, sections[name].offset)
    for name in ("tokens", "order"):  # too large to be read by every mount
        spoil(copy, sections[name].offset)
        mount(copy, KNOWN, PUBLIC)
        with pytest.raises(CorpusError, match=f"{name} is damaged"):
            verify(copy)
        spoil(copy, sections[name].offset)
    verify(copy)
    spoil(copy, 100)
    with pytest.raises(CorpusError, match="header is damaged"):
        mount(copy, KNOWN, PUBLIC)


@pytest.mark.parametrize("size", [0, 7, 100, PAGE - 1, PAGE, PAGE + 1, -1])
def test_a_file_cut_short_is_refused(copy, size):
    os.truncate(copy, size % copy.stat().st_size)
    with pytest.raises(CorpusError, match=r"cut short|not an index|damaged"):
        mount(copy, KNOWN, PUBLIC)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 2}, "version 2"),
        ({"endian": "big"}, "big-endian"),
        ({"tokens": 12}, "no sense"),
        ({"tokens": 0}, "no sense"),
        ({"width": 4}, "no sense"),
        ({"texts": 700}, "no sense"),
        ({"sections": {}}, "no sense"),
    ],
)
def test_a_header_that_makes_no_sense_is_refused(copy, change, said):
    """Whole, by its own digest, but wrong."""
    header = msgspec.structs.replace(read_header(copy), **change)
    copy.write_bytes(pack_header(header) + copy.read_bytes()[PAGE:])
    with pytest.raises(CorpusError, match=said):
        mount(copy, KNOWN, PUBLIC)


@pytest.mark.parametrize("junk", [b"", b"{}", b"\x89MMSA\r\n\x1a" + b"\xff" * 5000, b"PK" * 4000])
def test_what_is_no_index_is_refused(tmp_path, junk):
    path = tmp_path / "junk.mmsa"
    path.write_bytes(junk)
    with pytest.raises(CorpusError, match=r"junk\.mmsa"):
        mount(path, KNOWN, PUBLIC)
    with pytest.raises(CorpusError, match="No such file"):
        mount(tmp_path / "nothing.mmsa", KNOWN, PUBLIC)
    with pytest.raises(CorpusError, match="directory"):
        mount(tmp_path, KNOWN, PUBLIC)


def test_one_broken_segment_leaves_the_others(tmp_path):
    made = shelf(tmp_path, TEXTS, [[8, 9]])
    first, second = made.mounted
    spoil_path = tmp_path / first.name
    spoil_path.chmod(0o600)
    spoil(spoil_path, 3)
    again = Shelf(tmp_path, KNOWN, PUBLIC)
    assert [one.name for one in again.mounted] == [second.name]
    assert list(again.faults) == [first.name]


def test_a_manifest_that_makes_no_sense(tmp_path):
    (tmp_path / "MANIFEST").write_text('{"segments": 3}')
    with pytest.raises(CorpusError, match="makes no sense"):
        Shelf(tmp_path, KNOWN, PUBLIC)
    with pytest.raises(CorpusError, match="not a folder"):
        Shelf(tmp_path / "nothing", KNOWN, PUBLIC)


def test_a_file_that_changes_or_goes_while_mounted_says_so(tmp_path):
    made = shelf(tmp_path, TEXTS, [[8, 9]])
    first, second = made.mounted
    assert first.fault() is None
    path = tmp_path / first.name
    path.chmod(0o600)
    os.truncate(path, PAGE)
    assert "changed" in first.fault()
    (tmp_path / second.name).unlink()
    assert "removed" in second.fault()
    assert said([second]) == [[8, 9]]  # what is mapped stays readable
    made.refresh()
    assert not made.mounted
    assert len(made.faults) == 2


def test_others_see_what_one_adds_buries_and_drops(tmp_path):
    writer = shelf(tmp_path, TEXTS)
    reader = Shelf(tmp_path, KNOWN, PUBLIC)
    name = reader.mounted[0].name
    writer.add(draft(tmp_path, [[8, 9]]))
    writer.bury(name, (1,))
    reader.refresh()
    assert said(reader.mounted) == [[1, 2, 3, 4], [7], [8, 9]]
    writer.drop((name,))
    reader.refresh()
    assert said(reader.mounted) == [[8, 9]]
    with pytest.raises(CorpusError, match="no segment"):
        writer.drop((name,))
    with pytest.raises(CorpusError, match="numbered from 0"):
        writer.bury(writer.mounted[0].name, (5,))


def test_merging_drops_the_dead_and_keeps_the_rest(tmp_path):
    made = shelf(tmp_path, TEXTS, [[8, 9]])
    made.bury(made.mounted[0].name, (0,))
    assert not made.merge(1 << 20)  # too few of one level
    assert made.merge(1 << 20, everything=True)
    assert sorted(said(made.mounted)) == [[1, 2, 5], [7], [8, 9]]
    (entry,) = read_manifest(tmp_path).segments
    assert (entry.level, entry.dead) == (1, ())
    assert [path.name for path in tmp_path.glob("*.mmsa")] == [entry.name]
    made.bury(entry.name, (0, 1, 2))
    assert made.merge(1 << 20, everything=True)
    assert not made.mounted
    assert not list(tmp_path.glob("*.mmsa"))


def test_sweeping_takes_the_dead_off_the_disk_however_large_their_segment(tmp_path):
    made = shelf(tmp_path, TEXTS, [[8, 9]])
    before = {path.name for path in tmp_path.glob("*.mmsa")}
    marked = next(one.name for one in made.mounted if [8, 9] not in said([one]))
    made.bury(marked, (0,))
    assert not made.merge(1, everything=True)  # too large for that
    assert made.sweep() == 1
    assert sorted(said(made.mounted)) == [[1, 2, 5], [7], [8, 9]]
    after = {path.name for path in tmp_path.glob("*.mmsa")}
    assert before - after == {marked}
    assert all(entry.dead == () for entry in read_manifest(tmp_path).segments)
    assert made.sweep() == 0


def test_which_segments_are_merged():
    def manifest(*levels, tokens=10):
        entries = [
            Entry(name=str(place), level=level, tokens=tokens, bytes=1)
            for place, level in enumerate(levels)
        ]
        return Manifest(segments=tuple(entries))

    full = [0] * FAN
    assert [one.name for one in pick(manifest(1, *full, 0), 1 << 20, False)] == list("12345678")
    assert pick(manifest(*full[1:], 1), 1 << 20, False) == []
    assert len(pick(manifest(*full), 35, False)) == 3
    assert pick(manifest(*full), 15, False) == []
    assert len(pick(manifest(0, 1, 2), 25, True)) == 2


def test_a_merge_of_what_changed_meanwhile_is_not_made(tmp_path):
    """A text that is buried while it is being merged must not come back."""
    made = shelf(tmp_path, TEXTS)
    entries = read_manifest(tmp_path).segments
    replacing = draft(tmp_path, TEXTS)
    made.bury(entries[0].name, (0,))
    assert not made._publish(replacing, 1, entries)
    assert said(made.mounted) == TEXTS[1:]
    assert not list(tmp_path.glob(f"{TEMPORARY}*"))


def test_nothing_cannot_be_indexed(tmp_path):
    with pytest.raises(CorpusError, match="1 to"):
        shelf(tmp_path).add(draft(tmp_path, []))
    assert not list(tmp_path.glob(f"{TEMPORARY}*"))
    with pytest.raises(CorpusError, match="No such file"):
        draft(tmp_path / "nowhere", TEXTS)


@pytest.mark.parametrize("size", [PAGE * 2, PAGE * 5])
def test_a_full_disk_fails_a_build_and_nothing_else(tmp_path, size):
    """The limit on files' sizes stands in for the disk's: while texts are added, or sorted."""
    made = shelf(tmp_path, TEXTS)
    before, after = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, after))
    try:
        with pytest.raises(CorpusError, match=r"no segment could be built.*File too large"):
            made.add(draft(tmp_path, [[3] * 400] * 10))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, after))
        signal.signal(signal.SIGXFSZ, ignored)
    assert not list(tmp_path.glob(f"{TEMPORARY}*"))
    assert said(Shelf(tmp_path, KNOWN, PUBLIC).mounted) == TEXTS
    made.add(draft(tmp_path, [[8, 9]]))
    assert len(made.mounted) == 2


BUILDING = """
import sys
from pathlib import Path
import numpy as np
from mmspec.retrieval.segment import Identity, PUBLIC
from mmspec.retrieval.segment_build import Draft
from mmspec.retrieval.shelf import Shelf
folder, known = Path(sys.argv[1]), Identity(50, "a tokenizer of fifty ids")
shelf = Shelf(folder, known, PUBLIC)
noise = np.random.default_rng(0)
print("ready", flush=True)
while True:
    draft = Draft(folder, known, PUBLIC)
    for _ in range(20):
        draft.add(noise.integers(0, 50, 500))
    shelf.add(draft)
    shelf.merge(1 << 20)
"""


def test_a_kill_at_any_time_leaves_whole_segments(tmp_path):
    """kill -9, at times spread over what a build does; then all that counts is sound."""
    for delay in (0.0, 0.07, 0.19, 0.31, 0.8):
        builder = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(BUILDING), str(tmp_path)],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert builder.stdout.readline() == "ready\n"
        time.sleep(delay)
        while delay == 0.8 and not list(tmp_path.glob("*.mmsa")):
            time.sleep(0.01)
        builder.kill()
        builder.wait()
        builder.stdout.close()
        found = Shelf(tmp_path, KNOWN, PUBLIC)
        assert not found.faults
        for one in found.mounted:
            verify(tmp_path / one.name)
    assert found.mounted or not read_manifest(tmp_path).segments
    found.add(draft(tmp_path, TEXTS))
    assert not list(tmp_path.glob(f"{TEMPORARY}*"))
    counted = {entry.name for entry in read_manifest(tmp_path).segments}
    assert {path.name for path in tmp_path.glob("*.mmsa")} == counted


def test_sections_lie_on_pages_in_the_order_of_their_names(built):
    header = read_header(built)
    assert lay_out(header, bucketed=False).sections.keys() == header.sections.keys()
    assert all(one.offset % PAGE == 0 for one in header.sections.values())
    assert header.bytes == built.stat().st_size
