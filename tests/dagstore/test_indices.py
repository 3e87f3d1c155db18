"""Index files: whole or not at all, what was written or an error, and the bytes that go-car writes."""

from __future__ import annotations

import errno
import gc
import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import carv2
from carv2 import _downloads
from carv2.cid import CID
from carv2.dagstore import indices
from carv2.dagstore.indices import IndexFacts, IndexFolder, OpenIndex, multihashes_of
from carv2.errors import ClosedError, FormatError, IndexFormatError, StateError, TruncatedError
from carv2.index import CAR_INDEX_SORTED, CAR_MULTIHASH_INDEX_SORTED, IndexBuilder, parse
from helpers import archives
from helpers.binary import assert_bytes_equal
from helpers.shared import shared_fixture

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = Path(carv2.__file__).parent.parent


def digests(count: int, seed: int = 0) -> list[bytes]:
    rng = random.Random(seed)
    return [rng.randbytes(32) for _ in range(count)]


def index_bytes(count: int, seed: int = 0) -> bytes:
    records = [archives.Record(0x12, digest, 59 + at) for at, digest in enumerate(digests(count, seed))]
    return archives.index_multihash_sorted(records)


SMALL, OTHER, LARGE = index_bytes(20), index_bytes(20, seed=1), index_bytes(4000)


def cid(digest: bytes) -> CID:
    return CID(b"\x01\x55\x12\x20" + digest)


def open_descriptors() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture
def folder(tmp_path: Path) -> IndexFolder:
    return IndexFolder(tmp_path / "index")


# -- what is written ---------------------------------------------------------------------------------------------


def test_a_file_is_remembered_by_size_digest_codec_and_count(folder: IndexFolder) -> None:
    facts = folder.write("baga", [SMALL[:7], SMALL[7:]])
    assert facts == IndexFacts(len(SMALL), hashlib.sha256(SMALL).digest(), CAR_MULTIHASH_INDEX_SORTED, 20)
    assert folder.facts_of("baga") == facts
    assert folder.size_of("baga") == len(SMALL)
    assert_bytes_equal(Path(folder.path_of("baga")).read_bytes(), SMALL)


def test_files_have_the_go_dagstores_names_and_version(folder: IndexFolder) -> None:
    folder.write("baga", [SMALL])
    assert sorted(os.listdir(folder.folder)) == [".version", "baga.full.idx"]
    assert Path(folder.folder, ".version").read_bytes() == b"1"


def test_a_folder_of_another_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".version").write_text("2")
    with pytest.raises(StateError, match="cannot read existing repo with version 2"):
        IndexFolder(tmp_path)
    assert os.listdir(tmp_path) == [".version"]


def test_a_folder_must_be_named() -> None:
    with pytest.raises(ValueError, match="named"):
        IndexFolder("")


@pytest.mark.parametrize(
    ("name", "identity"),
    [("sample-rw-bs-v2.car", False), ("sample-unixfs-v2.car", False), ("sample-wrapped-v2.car", False)],
)
def test_the_bytes_are_those_of_go_cars_index_section(folder: IndexFolder, name: str, identity: bool) -> None:
    path = shared_fixture(f"go-car/{name}")
    with carv2.open(path) as car:
        assert car.header is not None
        section = path.read_bytes()[car.header.index_offset :]
    folder.write("baga", carv2.build_index(path, identity=identity).chunks())
    assert_bytes_equal(Path(folder.path_of("baga")).read_bytes(), section)


@pytest.mark.parametrize("name", ["sample-index.carindex", "sample-multihash-index-sorted.carindex"])
def test_index_files_of_go_are_taken_as_they_are(folder: IndexFolder, name: str) -> None:
    data = shared_fixture(f"go-car/{name}").read_bytes()
    Path(folder.path_of("go")).write_bytes(data)
    facts = folder.facts_of("go")
    with folder.open("go", facts) as opened:
        assert_bytes_equal(opened.index.to_bytes(), data)
        assert facts.block_count == len(list(opened.index))
    folder.verify("go", facts)


def failing(*chunks: bytes) -> Iterator[bytes]:
    yield from chunks
    raise RuntimeError("the archive ends")


def test_chunks_that_fail_leave_the_file_as_it_was(folder: IndexFolder) -> None:
    with pytest.raises(RuntimeError):
        folder.write("baga", failing(SMALL))
    assert list(folder.keys()) == []
    facts = folder.write("baga", [SMALL])
    with pytest.raises(RuntimeError):
        folder.write("baga", failing(OTHER))
    folder.verify("baga", facts)
    assert sorted(os.listdir(folder.folder)) == [".version", "baga.full.idx"]


@pytest.mark.parametrize("junk", [b"", b"\x81", b"\x81\x08\x01", SMALL[:-1], b"not an index at all" * 9])
def test_what_is_no_index_is_not_kept(folder: IndexFolder, junk: bytes) -> None:
    with pytest.raises(FormatError):
        folder.write("baga", [junk])
    assert os.listdir(folder.folder) == [".version"]


def test_a_full_disk_leaves_the_file_as_it_was(folder: IndexFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = folder.write("baga", [SMALL])

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        folder.write("baga", [OTHER])
    monkeypatch.undo()
    folder.verify("baga", facts)
    assert sorted(os.listdir(folder.folder)) == [".version", "baga.full.idx"]


WRITER = """
import sys, time
from carv2.dagstore.indices import IndexFolder
def chunks():
    data = open(sys.argv[2], "rb").read()
    yield data[:100]
    print("half", flush=True)
    time.sleep(60)
IndexFolder(sys.argv[1]).write("baga", chunks())
"""


def test_a_killed_writer_leaves_the_old_file_and_a_draft_that_is_removed(tmp_path: Path) -> None:
    folder = IndexFolder(tmp_path / "index")
    facts = folder.write("baga", [SMALL])
    (tmp_path / "other").write_bytes(OTHER)
    child = subprocess.Popen(
        [sys.executable, "-c", WRITER, folder.folder, str(tmp_path / "other")],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )
    assert child.stdout is not None
    with child.stdout:
        assert child.stdout.readline() == b"half\n"
        (draft,) = (name for name in os.listdir(folder.folder) if name.endswith(".part"))
        long_ago = time.time() - 1000
        os.utime(os.path.join(folder.folder, draft), (long_ago, long_ago))
        assert folder.remove_drafts() == []  # somebody is at it
        child.send_signal(signal.SIGKILL)
        child.wait()
    folder.verify("baga", facts)
    assert list(folder.keys()) == ["baga"]
    os.utime(os.path.join(folder.folder, draft))
    assert folder.remove_drafts() == []  # too young to tell
    os.utime(os.path.join(folder.folder, draft), (long_ago, long_ago))
    (Path(folder.folder) / ".carv2-mine.part").write_text("a stranger's")
    assert folder.remove_drafts() == [draft]
    assert sorted(os.listdir(folder.folder)) == [".carv2-mine.part", ".version", "baga.full.idx"]


# -- what is read ------------------------------------------------------------------------------------------------


def test_every_block_is_found_where_the_index_says(folder: IndexFolder) -> None:
    facts = folder.write("baga", [LARGE])
    with folder.open("baga", facts) as opened:
        for at, digest in enumerate(digests(4000)):
            assert list(opened.index.offsets_of(cid(digest))) == [59 + at]
        assert list(opened.index.offsets_of(cid(bytes(32)))) == []
        assert opened.size == len(LARGE)


def test_a_missing_file_is_a_missing_file(folder: IndexFolder) -> None:
    with pytest.raises(FileNotFoundError):
        folder.open("baga")
    assert folder.size_of("baga") is None
    assert folder.drop("baga") is False
    facts = folder.write("baga", [SMALL])
    assert folder.drop("baga") is True
    with pytest.raises(FileNotFoundError):
        folder.verify("baga", facts)


DAMAGES = {
    "cut by one": SMALL[:-1],
    "empty": b"",
    "longer": SMALL + b"\0",
    "another of the same size": OTHER,
    "one bit": SMALL[:-1] + bytes([SMALL[-1] ^ 1]),
    "zeros": bytes(len(SMALL)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_small_file_that_is_not_the_one_that_was_written_is_an_error_at_open(
    folder: IndexFolder, damage: str
) -> None:
    facts = folder.write("baga", [SMALL])
    Path(folder.path_of("baga")).write_bytes(DAMAGES[damage])
    with pytest.raises(IndexFormatError):
        folder.open("baga", facts)


def test_a_large_file_is_looked_at_when_it_is_opened_and_read_when_it_is_verified(
    folder: IndexFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indices, "_CHECKED_WHOLE", len(LARGE) - 1)
    facts = folder.write("baga", [LARGE])
    path = Path(folder.path_of("baga"))
    path.write_bytes(LARGE[:-3])
    with pytest.raises(IndexFormatError, match=f"{len(LARGE) - 3} bytes"):
        folder.open("baga", facts)
    path.write_bytes(LARGE[:-1] + bytes([LARGE[-1] ^ 1]))
    folder.open("baga", facts).close()
    with pytest.raises(IndexFormatError, match="not the one that was written"):
        folder.verify("baga", facts)
    path.write_bytes(LARGE)
    folder.verify("baga", facts)
    with pytest.raises(IndexFormatError):
        folder.verify("baga", replace(facts, digest=bytes(32)))


def test_a_draft_is_no_index_until_it_is_published(folder: IndexFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_downloads, "_YOUNG", 0.0)
    folder.write("baga", [SMALL])
    name, facts = folder.draft([OTHER])
    other, _ = folder.draft([OTHER])
    assert list(folder.keys()) == ["baga"]
    with folder.open_draft(name) as opened:
        assert opened.index.to_bytes() == OTHER
        assert opened.is_of(facts)
        assert folder.remove_drafts() == [other]  # which nobody has open
        folder.publish("baga", name)
    folder.verify("baga", facts)
    folder.drop_draft(name)
    folder.verify("baga", facts)
    for wrong in ("../x", "baga.full.idx"):
        with pytest.raises(ValueError, match="no name of a draft"):
            folder.drop_draft(wrong)


def test_a_reader_goes_on_with_the_file_that_it_opened(folder: IndexFolder) -> None:
    folder.write("baga", [SMALL])
    with folder.open("baga") as opened:
        folder.write("baga", [OTHER])
        assert opened.index.to_bytes() == SMALL
        folder.drop("baga")
        assert opened.index.to_bytes() == SMALL


def test_a_file_that_shrinks_while_it_is_open_is_an_error_and_nothing_worse(folder: IndexFolder) -> None:
    folder.write("baga", [LARGE])
    wanted = [cid(digest) for digest in digests(4000)]
    with folder.open("baga") as opened:
        assert all(opened.index.offsets_of(each) for each in wanted[:100])
        os.truncate(folder.path_of("baga"), 50)
        for each in wanted[:50]:
            with pytest.raises(TruncatedError):
                list(opened.index.offsets_of(each))


def test_a_closed_index_says_so(folder: IndexFolder) -> None:
    folder.write("baga", [LARGE])
    opened = folder.open("baga")
    walking = iter(opened.index)
    opened.close()
    opened.close()
    wanted = cid(digests(1)[0])
    for call in (lambda: list(opened.index.offsets_of(wanted)), lambda: next(walking), lambda: opened.size):
        with pytest.raises(ClosedError):
            call()


def test_an_index_may_be_closed_while_threads_look_things_up(folder: IndexFolder) -> None:
    folder.write("baga", [LARGE])
    wanted = [(cid(digest), 59 + at) for at, digest in enumerate(digests(4000))]
    outcomes: list[str] = []

    def look(opened: OpenIndex, seed: int) -> None:
        rng = random.Random(seed)
        try:
            while True:
                each, offset = rng.choice(wanted)
                if list(opened.index.offsets_of(each)) != [offset]:
                    outcomes.append("wrong")
        except ClosedError:
            outcomes.append("closed")

    for number in range(10):
        opened = folder.open("baga")
        threads = [threading.Thread(target=look, args=(opened, seed)) for seed in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(0.002 * number)
        opened.close()
        for thread in threads:
            thread.join()
    assert outcomes == ["closed"] * 30


def test_nothing_stays_open(folder: IndexFolder) -> None:
    facts = folder.write("baga", [SMALL])
    before = open_descriptors()
    for _ in range(5):
        folder.open("baga", facts).close()
        folder.verify("baga", facts)
        folder.facts_of("baga")
        with pytest.raises(IndexFormatError):
            folder.open("baga", replace(facts, size=1))
        with pytest.raises(FormatError):
            folder.write("none", [b"?"])
    assert open_descriptors() == before


# -- which there are ---------------------------------------------------------------------------------------------


def test_keys_are_read_back_and_strays_are_told(folder: IndexFolder) -> None:
    keys = ["baga", "../x", "Foo", "foo", "x" * 300]
    for key in keys:
        folder.write(key, [SMALL])
    Path(folder.folder, "notes.txt").write_text("a stranger's")
    assert sorted(folder.keys()) == sorted(keys[:-1])
    assert len(list(folder.names())) == 5
    assert folder.strays(keys) == []
    strays = folder.strays(["baga", "foo", "Foo"])
    assert len(strays) == 2
    assert [folder.drop_stray(name) for name in strays] == [True, True]
    assert folder.drop_stray(strays[0]) is False
    assert sorted(folder.keys()) == ["Foo", "baga", "foo"]
    with pytest.raises(ValueError, match="no name"):
        folder.drop_stray("../../x")
    assert Path(folder.folder, "notes.txt").exists()


def test_multihashes_come_whole_in_index_order_and_once() -> None:
    blocks = [*archives.SOME_BLOCKS, (archives.identity(b""), b""), archives.FISH, archives.BARRELEYE]
    builder = IndexBuilder(identity=True)
    for at, (raw, _) in enumerate(blocks):
        builder.add(raw, 100 + at)
    builder.add_record(0xB220, bytes(range(32)), 5)  # blake2b-256: a code of two bytes
    found = list(multihashes_of(builder.to_index()))
    expected = {bytes(CID(raw).multihash) for raw, _ in blocks} | {b"\xa0\xe4\x02\x20" + bytes(range(32))}
    assert set(found) == expected
    assert len(found) == len(expected)


def test_multihashes_of_a_format_that_has_none_are_refused() -> None:
    index = parse(archives.index_sorted([archives.Record(0x12, bytes(32), 59)]))
    assert index.codec == CAR_INDEX_SORTED
    with pytest.raises(ValueError, match="0x0401"):
        list(multihashes_of(index))
