"""Ref-CARs of go-fil-markets' stores, with which Lotus' client kept its imports: it reads ours, and we read its.

Version 1.8.0 writes variant A, 1.28.3 variant D. What they refuse, or answer strangely, is here as what it is.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import random
import subprocess
from typing import TYPE_CHECKING, NamedTuple

import pytest

import carv2
from carv2 import CID
from carv2.blockstore import ReadOnlyBlockstore
from carv2.errors import CorruptReferenceError
from carv2.filestore import (
    VARIANTS,
    FileStore,
    Status,
    densify,
    import_by_reference,
    key_cid,
    refer,
    relocate,
    verify_references,
)
from carv2.filestore.record import decode
from carv2.unixfs import pack, profile_of, read, resolve
from helpers import archives
from helpers.binary import assert_bytes_equal
from helpers.shared import shared_fixture

if TYPE_CHECKING:
    from pathlib import Path

    from interop.conftest import Peer

MIB = 1 << 20
SMALL_CHUNKS = dataclasses.replace(profile_of("lotus"), name="small chunks", chunk_size=200)
FOLLOWING = dataclasses.replace(profile_of("lotus"), name="following", symlinks="follow")


class Case(NamedTuple):
    """A file, and what becomes of it."""

    size: int
    inlined_root: bool = False
    equal_chunks: bool = False


CASES = {
    "empty": Case(0, inlined_root=True),
    "inlined": Case(100, inlined_root=True),
    "the last that is inlined": Case(126, inlined_root=True),
    "the first that is not": Case(127),
    "one chunk": Case(MIB),
    "two chunks": Case(2 * MIB, inlined_root=True),
    "two chunks, the second inlined": Case(MIB + 60),
    "two chunks, the second inlined and small": Case(MIB + 10, inlined_root=True),
    "two chunks, the second just too large": Case(MIB + 127, inlined_root=True),
    "three chunks": Case(3 * MIB - 5),
    "equal chunks": Case(3 * MIB, equal_chunks=True),
}
EACH_CASE = pytest.mark.parametrize("name", CASES)


class Store(NamedTuple):
    """A version of the library, and the variant that it writes."""

    peer: Peer
    variant: str


@pytest.fixture(params=["A", "D"])
def theirs(request: pytest.FixtureRequest) -> Store:
    program: Peer = request.getfixturevalue("filmarkets_8" if request.param == "A" else "filmarkets_28")
    return Store(program, request.param)


def content(case: Case) -> bytes:
    numbers = random.Random(case.size)
    return numbers.randbytes(MIB) * (case.size // MIB) if case.equal_chunks else numbers.randbytes(case.size)


def original(folder: Path, name: str) -> Path:
    path = folder / "input.bin"
    path.write_bytes(content(CASES[name]))
    return path


def payload_of(peer: Peer, archive: Path, root: object) -> tuple[str, int]:
    digest, size = peer("read", archive, root).split()
    return digest, int(size)


def expected_payload(path: Path) -> tuple[str, int]:
    return payload_digest(path.read_bytes())


def payload_digest(data: bytes) -> tuple[str, int]:
    return hashlib.sha256(data).hexdigest(), len(data)


def sections(archive: Path) -> list[tuple[bytes, bytes]]:
    with carv2.open(archive) as car:
        return [(bytes(block.cid), block.data) for block in car.blocks(verify=False)]


def leaves_of(path: Path) -> list[CID]:
    data = path.read_bytes()
    chunks = (data[at : at + MIB] for at in range(0, len(data), MIB))
    return [CID.of_data(chunk, hash="blake2b-256") for chunk in chunks]


@EACH_CASE
def test_they_read_files_from_what_we_imported(theirs: Store, tmp_path: Path, name: str) -> None:
    path, archive = original(tmp_path, name), tmp_path / "ref.car"
    report = import_by_reference(path, archive, variant=theirs.variant)
    assert report.root.is_identity == CASES[name].inlined_root
    assert payload_of(theirs.peer, archive, report.root) == expected_payload(path)


@EACH_CASE
def test_we_read_files_from_what_they_imported(theirs: Store, tmp_path: Path, name: str) -> None:
    path, archive = original(tmp_path, name), tmp_path / "ref.car"
    root = theirs.peer("write", path, archive).strip()
    with FileStore(archive, allow=[tmp_path]) as store:
        assert [str(root) for root in store.roots] == [root]
        assert b"".join(read(store, root)) == path.read_bytes()
        assert verify_references(archive, allow=[tmp_path]).ok


@EACH_CASE
def test_both_make_the_same_sections_and_header_of_a_file(theirs: Store, tmp_path: Path, name: str) -> None:
    """Lotus writes nodes before records, and the records in any order."""
    path, ours, other = original(tmp_path, name), tmp_path / "ours.car", tmp_path / "theirs.car"
    report = import_by_reference(path, ours, variant=theirs.variant)
    theirs.peer("write", path, other)
    found, expected = sections(ours), sections(other)
    if CASES[name].equal_chunks:  # one record of three places: the first for us, the last of a batch for them
        assert {decode(data).offset for cid, data in found if CID(cid).codec == 0x55} == {0}
        assert {decode(data).offset for cid, data in expected if CID(cid).codec == 0x55} == {2 * MIB}
        assert [cid for cid, _ in sorted(found)] == [cid for cid, _ in sorted(expected)]
    else:
        assert sorted(found) == sorted(expected)
        count = 51 + len(archives.header([bytes(report.root)]))
        assert_bytes_equal(ours.read_bytes()[:count], other.read_bytes()[:count])
    if len(found) < 2:
        assert_bytes_equal(ours.read_bytes(), other.read_bytes())


@pytest.mark.parametrize("count", [1024, 1025, 2050])
def test_files_of_many_chunks(theirs: Store, tmp_path: Path, count: int) -> None:
    """Two levels of nodes from 1025 leaves on; both ways."""
    path, ours, other = tmp_path / "input.bin", tmp_path / "ours.car", tmp_path / "theirs.car"
    path.write_bytes(random.Random(count).randbytes(200 * count - 7))
    report = import_by_reference(path, ours, profile=SMALL_CHUNKS, variant=theirs.variant)
    assert payload_of(theirs.peer, ours, report.root) == expected_payload(path)
    assert theirs.peer("write", "--chunk", 200, path, other).strip() == str(report.root)
    with FileStore(other, allow=[path]) as store:
        assert b"".join(read(store, report.root)) == path.read_bytes()
        assert [reference.offset for _, reference in store.references()] == list(range(0, 200 * count - 7, 200))


@pytest.mark.parametrize("name", ["with space", "Datei-ä-文件", "a" * 200, "link"])
def test_paths_in_records_are_theirs(theirs: Store, tmp_path: Path, name: str) -> None:
    """Absolute, without the leading slash, and symlinks are not followed."""
    (tmp_path / "target").write_bytes(content(CASES["one chunk"]))
    path = tmp_path / name
    if name == "link":
        path.symlink_to("target")
    else:
        (tmp_path / "target").rename(path)
    import_by_reference(path, tmp_path / "ours.car", profile=FOLLOWING, variant=theirs.variant)
    theirs.peer("write", path, tmp_path / "theirs.car")
    assert_bytes_equal((tmp_path / "ours.car").read_bytes(), (tmp_path / "theirs.car").read_bytes())


def worked_example() -> dict[str, str]:
    example: dict[str, str] = json.loads(shared_fixture("refcar/one-reference.json").read_text())
    return example


def test_they_write_the_worked_example_of_variant_d(filmarkets_28: Peer, tmp_path: Path) -> None:
    """It was assembled by hand; the library agrees."""
    example = worked_example()
    leaf = filmarkets_28("leaf", "/data/input.bin", 0, "0123456789", tmp_path / "x.car").strip()
    assert leaf == example["leaf_cid"]
    assert_bytes_equal((tmp_path / "x.car").read_bytes(), bytes.fromhex(example["file_hex"]))


def test_they_write_the_worked_example_of_variant_a(filmarkets_8: Peer, tmp_path: Path) -> None:
    filmarkets_8("leaf", "/data/input.bin", 0, "0123456789", tmp_path / "x.car")
    digest = hashlib.sha256((tmp_path / "x.car").read_bytes()).hexdigest()
    assert digest == "7d0f92e77ae64c441ac5e6654d9a6d7751c82084c3151bf44965407525a66cf4"


@pytest.mark.parametrize("offset", [0, 1, MIB])
def test_a_single_hashed_leaf(theirs: Store, tmp_path: Path, offset: int) -> None:
    """The worked example with a file that is there: they write it, both read it."""
    path, archive = tmp_path / "input.bin", tmp_path / "x.car"
    path.write_bytes(bytes(offset) + b"0123456789")
    leaf = theirs.peer("leaf", path, offset, "0123456789", archive).strip()
    with FileStore(archive, allow=[path]) as store:
        assert store[leaf] == b"0123456789"
        assert list(store) == [CID.of(leaf)]
        reference = store.reference_of(leaf)
        assert reference is not None
        assert (reference.full_path(), reference.offset, reference.size) == (str(path), offset, 10)
    assert theirs.peer("get", archive, leaf) == "0123456789"
    assert theirs.peer("size", archive, leaf) == "10\n"


NO_RECORD = "could not find"
NO_SUCH_INDEX = "unknwon index codec"  # the library's spelling


@pytest.mark.parametrize(
    ("version", "variant", "refusal"),
    [
        (8, "A", None),
        (8, "B", NO_SUCH_INDEX),
        (8, "C", NO_SUCH_INDEX),
        (8, "D", NO_SUCH_INDEX),
        (28, "A", NO_RECORD),
        (28, "B", NO_RECORD),
        (28, "C", None),
        (28, "D", None),
    ],
)
def test_which_variants_a_version_reads(
    request: pytest.FixtureRequest, tmp_path: Path, version: int, variant: str, refusal: str | None
) -> None:
    peer: Peer = request.getfixturevalue(f"filmarkets_{version}")
    path, archive = original(tmp_path, "three chunks"), tmp_path / "ref.car"
    import_by_reference(path, archive, variant=variant)
    leaf = leaves_of(path)[0]
    done = peer.run("get", archive, leaf)
    if refusal is None:
        assert done.stdout == path.read_bytes()[:MIB], done.stderr
    else:
        assert done.returncode == 1
        assert refusal in done.stderr.decode()
    with FileStore(archive, allow=[path]) as store:  # we read them all
        assert store[leaf] == path.read_bytes()[:MIB]


def test_they_name_the_key_when_a_record_is_missing(filmarkets_28: Peer, tmp_path: Path) -> None:
    path, archive = original(tmp_path, "three chunks"), tmp_path / "ref.car"
    import_by_reference(path, archive)
    stranger = CID.of_data(b"stranger")
    done = filmarkets_28.run("get", archive, stranger)
    assert f"failed to get cid {key_cid(stranger)}" in done.stderr.decode()


def spoil(path: Path, how: str) -> None:
    if how in {"no-file", "folder"}:
        path.unlink()
    if how == "folder":
        path.mkdir()
    elif how == "truncated":
        with path.open("r+b") as file:
            file.truncate(MIB + 7)
    elif how == "changed":
        with path.open("r+b") as file:
            file.seek(MIB + 3)
            file.write(b"other bytes")


@pytest.mark.parametrize(
    ("how", "status", "their_words"),
    [
        ("changed", Status.FILE_CHANGED, "data in file did not match"),
        ("truncated", Status.FILE_CHANGED, "EOF"),
        ("no-file", Status.FILE_NOT_FOUND, "no such file"),
        ("folder", Status.FILE_ERROR, "is a directory"),
    ],
)
def test_both_find_the_same_trouble_with_an_original(
    theirs: Store, tmp_path: Path, how: str, status: Status, their_words: str
) -> None:
    path, archive = original(tmp_path, "three chunks"), tmp_path / "ref.car"
    theirs.peer("write", path, archive)
    leaf = leaves_of(path)[1]
    spoil(path, how)
    done = theirs.peer.run("get", archive, leaf)
    assert done.returncode == 1
    assert their_words in done.stderr.decode()
    with FileStore(archive, allow=[tmp_path]) as store:
        with pytest.raises(CorruptReferenceError) as caught:
            store[leaf]
        assert caught.value.status == status
        assert leaf in store  # neither looks at the file for these
        assert store.size_of(leaf) == MIB
    assert theirs.peer("has", archive, leaf) == "true\n"
    assert theirs.peer("size", archive, leaf) == f"{MIB}\n"


def test_they_list_keys_where_we_list_leaves(theirs: Store, tmp_path: Path) -> None:
    path, archive = original(tmp_path, "three chunks"), tmp_path / "ref.car"
    root = CID.of(theirs.peer("write", path, archive).strip())
    leaves = leaves_of(path)
    keys = {key_cid(leaf, theirs.variant) for leaf in leaves}
    assert {CID.of(line) for line in theirs.peer("keys", archive).split()} == {root, *keys}
    with FileStore(archive, allow=[path]) as store:
        assert list(store) == [root, *leaves]
        assert not any(key in store for key in keys if not key.is_identity)


def test_they_serve_the_record_under_its_key(filmarkets_28: Peer, tmp_path: Path) -> None:
    """An ordinary reader sees a block that is not what its CID says; so does theirs."""
    path, archive = original(tmp_path, "three chunks"), tmp_path / "ref.car"
    import_by_reference(path, archive)
    done = filmarkets_28.run("get", archive, key_cid(leaves_of(path)[1]))
    assert decode(done.stdout).offset == MIB
    assert not carv2.verify(archive).ok


def test_a_leaf_answers_under_another_codec(theirs: Store, tmp_path: Path) -> None:
    """Records are kept by multihash: both libraries serve a dag-cbor CID of a raw leaf."""
    path, archive = original(tmp_path, "three chunks"), tmp_path / "ref.car"
    theirs.peer("write", path, archive)
    other = CID(b"\x01\x71" + leaves_of(path)[0].multihash)
    assert theirs.peer.run("get", archive, other).stdout == path.read_bytes()[:MIB]
    with FileStore(archive, allow=[path]) as store:
        assert store[other] == path.read_bytes()[:MIB]


@pytest.mark.parametrize("name", ["inlined", "two chunks", "three chunks"])
def test_they_open_dense_archives_the_same_way(theirs: Store, tmp_path: Path, name: str) -> None:
    path, archive = original(tmp_path, name), tmp_path / "dense.car"
    report = pack(path, archive, profile="lotus", wrap=False, index_codec=VARIANTS[theirs.variant].index_codec)
    assert payload_of(theirs.peer, archive, report.root) == expected_payload(path)


@pytest.mark.parametrize("name", ["inlined", "two chunks, the second inlined", "three chunks", "equal chunks"])
def test_their_imports_become_whole_archives(theirs: Store, tmp_path: Path, name: str) -> None:
    """The blocks of a full import; the originals are no longer needed."""
    path, archive, dense = original(tmp_path, name), tmp_path / "ref.car", tmp_path / "dense.car"
    root = theirs.peer("write", path, archive).strip()
    densify(archive, dense, allow=[path])
    pack(path, tmp_path / "packed.car", profile="lotus", wrap=False)
    assert sorted(sections(dense)) == sorted(sections(tmp_path / "packed.car"))
    path.unlink()
    with ReadOnlyBlockstore(dense) as store:
        assert payload_digest(b"".join(read(store, root))) == expected_payload(original(tmp_path, name))
    assert carv2.verify(dense).ok


def test_they_follow_a_file_that_we_told_them_moved(theirs: Store, tmp_path: Path) -> None:
    path, archive, moved = original(tmp_path, "three chunks"), tmp_path / "ref.car", tmp_path / "moved.bin"
    root = theirs.peer("write", path, archive).strip()
    path.rename(moved)
    assert theirs.peer.run("read", archive, root).returncode == 1
    assert relocate(archive, archive, {str(path): str(moved)}).moved_count == 3
    assert payload_of(theirs.peer, archive, root) == expected_payload(moved)


def test_they_read_files_of_a_folder(theirs: Store, tmp_path: Path) -> None:
    """Lotus imported files alone; its store does not mind."""
    folder = tmp_path / "folder"
    folder.mkdir()
    path = original(folder, "three chunks")
    (folder / "small").write_bytes(b"inlined")
    import_by_reference(folder, tmp_path / "ref.car", variant=theirs.variant)
    with FileStore(tmp_path / "ref.car", allow=[folder]) as store:
        file = resolve(store, store.roots[0], "input.bin").cid
    assert payload_of(theirs.peer, tmp_path / "ref.car", file) == expected_payload(path)


def test_they_read_what_we_referred(theirs: Store, tmp_path: Path) -> None:
    path, dense, archive = original(tmp_path, "three chunks"), tmp_path / "dense.car", tmp_path / "ref.car"
    root = pack(path, dense, profile="lotus", wrap=False).root
    assert refer(dense, path, archive, variant=theirs.variant).reference_count == 3
    assert payload_of(theirs.peer, archive, root) == expected_payload(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_stops_them_for_ever_and_us_not_at_all(theirs: Store, tmp_path: Path) -> None:
    archive, pipe = tmp_path / "x.car", tmp_path / "pipe"
    leaf = theirs.peer("leaf", pipe, 0, "0123456789", archive).strip()
    os.mkfifo(pipe)
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run([*theirs.peer.command, "get", str(archive), leaf], timeout=0.5, check=False)
    with FileStore(archive, allow=[tmp_path]) as store, pytest.raises(CorruptReferenceError, match="named pipe"):
        store[leaf]


def test_their_first_pass_has_no_root(theirs: Store, tmp_path: Path) -> None:
    """What Lotus left in its temporary folder where it was killed: everything is there but the name."""
    path, archive = original(tmp_path, "three chunks"), tmp_path / "ref.car"
    root = theirs.peer("write", "--one-pass", path, archive).strip()
    with FileStore(archive, allow=[path]) as store:
        assert store.roots == ()
        assert b"".join(read(store, root)) == path.read_bytes()
