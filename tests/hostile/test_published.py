"""What was published about weaknesses of other implementations, row by row: none of it holds here.

The rows are the advisories, and questions of trust, that concern whoever reads archives of strangers.
"""

from __future__ import annotations

import struct
import threading
import tracemalloc
from typing import TYPE_CHECKING

import pytest

import carv2
from carv2 import CID, codec, dag, index, unixfs
from carv2.blockstore import MemoryBlockstore, ReadOnlyBlockstore
from carv2.decoder import iter_blocks
from carv2.errors import (
    BlockNotFoundError,
    BudgetError,
    CodecError,
    FormatError,
    IndexMismatchError,
    IntegrityError,
    UnixFSError,
)
from cli.running import run
from helpers import archives
from helpers.archives import DAG_CBOR, FISH, LOBSTER, cbor_head, cid_v1
from helpers.unixfs import Dag, identity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from helpers.unixfs import Made

CBOR_CID = cid_v1(b"", codec=DAG_CBOR)


@pytest.fixture
def little_memory() -> Iterator[None]:
    """The test takes less than 32 MiB, whatever its input says."""
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 32 << 20


def indexed(offset: int, *blocks: tuple[bytes, bytes]) -> bytes:
    """A CARv2 whose index says that FISH is at ``offset``."""
    record = archives.Record(0x12, FISH[0][4:], offset)
    return archives.v2(archives.v1([], blocks), archives.index_multihash_sorted([record]))


# -- GHSA-9x4h-8wgm-8xfg, GHSA-f2gr-7299-487h (go-car): out of bounds, out of memory, divisions by zero ----------

HEADS = {
    "header": b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
    "section": archives.EMPTY_HEADER + b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
    "CIDv0": archives.EMPTY_HEADER + b"\x02\x12\x20",
    "CIDv0 alone": archives.EMPTY_HEADER + b"\x01\x12",
    "digest": archives.EMPTY_HEADER + b"\x28\x01\x55\x12" + b"\xff" * 8 + b"\x7f" + bytes(28),
    "nothing": archives.EMPTY_HEADER + b"\x00",
}


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.usefixtures("little_memory")
def test_sizes_that_lie_are_refused_before_anything_is_allocated(name: str) -> None:
    with pytest.raises(FormatError):
        list(carv2.open(HEADS[name]))
    with pytest.raises(FormatError):
        list(iter_blocks([HEADS[name]]))


@pytest.mark.parametrize(
    "raw",
    [
        b"\x80\x08" + struct.pack("<iIQ", 1, 0, 40),
        b"\x80\x08" + struct.pack("<iIQ", 1, 0xFFFFFFFF, 40),
        b"\x80\x08" + struct.pack("<iIQ", 1, 40, (1 << 64) - 1),
        b"\x80\x08" + struct.pack("<iIQ", 0x7FFFFFFF, 40, 1 << 62),
        b"\x81\x08" + struct.pack("<iQi", 0x7FFFFFFF, 0x12, 0x7FFFFFFF),
    ],
)
@pytest.mark.usefixtures("little_memory")
def test_an_index_of_any_numbers_is_refused_before_anything_is_allocated(raw: bytes) -> None:
    with pytest.raises(FormatError):
        index.parse(raw)


@pytest.mark.parametrize("offset", [0, 17, 20, 59, 1 << 40, (1 << 63) - 1, (1 << 64) - 1])
def test_an_index_is_not_believed(offset: int) -> None:
    """It may hide a block, but what is found is what was asked for; rebuilt, it finds what is there."""
    data = indexed(offset, FISH, LOBSTER)
    with carv2.open(data) as car, pytest.raises(IndexMismatchError):
        car.get(CID(FISH[0]))
    with ReadOnlyBlockstore(data) as store, pytest.raises((IndexMismatchError, BlockNotFoundError)):
        assert store[CID(FISH[0])]
    with ReadOnlyBlockstore(data, rebuild_index=True) as store:
        assert store[CID(FISH[0])] == b"fish"
    assert "IndexMismatchError" in [problem.kind for problem in carv2.verify(data).problems]


# -- CVE-2023-23625, CVE-2023-23631, CVE-2023-23626 (go-unixfs, go-bitfield): HAMT shards that cannot be ---------


def check_refused(made: Dag, root: Made) -> None:
    store = MemoryBlockstore((CID(cid), data) for cid, data in made.blocks.items())
    calls: list[Callable[[], object]] = [
        lambda: list(unixfs.walk_entries(store, CID(root.cid))),
        lambda: list(unixfs.list_directory(store, CID(root.cid))),
        lambda: unixfs.resolve(store, CID(root.cid), "a"),
        lambda: list(unixfs.tar_stream(made.archive(root))),
    ]
    for call in calls:
        with pytest.raises(UnixFSError):
            call()


@pytest.mark.parametrize("fanout", [None, 0, 1, 3, 7, 12, 1 << 11, 1 << 32, (1 << 64) - 1])
@pytest.mark.usefixtures("little_memory")
def test_a_fan_out_that_cannot_be_is_refused(fanout: int | None) -> None:
    made = Dag()
    check_refused(made, made.shard([(b"0a", made.raw(b"x"))], b"\x01", fanout=fanout))


@pytest.mark.parametrize("size", [33, 1 << 20])
def test_a_bit_field_that_is_too_long_is_refused(size: int) -> None:
    made = Dag()
    check_refused(made, made.shard([(b"00a", made.raw(b"x"))], bytes(size - 1) + b"\x01"))


# -- CVE-2026-35480 (go-ipld-prime): sizes in dag-cbor that are allocated before they are read -------------------


@pytest.mark.parametrize("major", [2, 3, 4, 5])
@pytest.mark.parametrize("size", [1 << 24, 1 << 32, (1 << 63) - 1, (1 << 64) - 1])
@pytest.mark.usefixtures("little_memory")
def test_what_dag_cbor_announces_is_not_allocated(major: int, size: int) -> None:
    data = cbor_head(major, size)
    for take in (codec.decode, codec.links_of):
        with pytest.raises(CodecError):
            take(CBOR_CID, data)
    with pytest.raises(FormatError):
        carv2.CarV1Header.parse(archives.varint(len(data) + 7) + b"\xa1\x65roots" + data)


# -- CVE-2026-42328 (go-ipld-prime), CVE-2026-26209 (cbor2), libipld: recursion without end ----------------------


@pytest.mark.parametrize(
    ("code", "opening"),
    [
        (DAG_CBOR, b"\x81"),
        (DAG_CBOR, b"\xa1\x60"),
        (DAG_CBOR, b"\x9f"),
        (0x51, b"\x81"),
        (0x0129, b"["),
        (0x0200, b"["),
    ],
)
@pytest.mark.usefixtures("little_memory")
def test_two_megabytes_of_brackets_are_an_error_of_the_codec(code: int, opening: bytes) -> None:
    data = opening * ((2 << 20) // len(opening))
    with pytest.raises(CodecError, match="nested deeper than 128"):
        codec.decode(cid_v1(b"", codec=code), data)


# -- CVE-2025-68131 (cbor2): what one decoding leaves behind for the next ----------------------------------------


def test_decodings_at_the_same_time_have_nothing_in_common() -> None:
    good = cbor_head(4, 50) + b"".join(archives.link(cid_v1(b"%d" % at)) for at in range(50))
    bad = good[:-1]
    expected = codec.decode(CBOR_CID, good)
    wrong: list[object] = []

    def decode() -> None:
        for _ in range(100):
            with pytest.raises(CodecError):
                codec.decode(CBOR_CID, bad)
            if codec.decode(CBOR_CID, good) != expected:
                wrong.append(1)

    threads = [threading.Thread(target=decode) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# -- boxo#1197: walks that are too deep --------------------------------------------------------------------------


def test_a_dag_of_more_than_1024_levels_is_refused_by_all_that_walks() -> None:
    blocks = [archives.node()]
    for _ in range(1025):
        blocks.append(archives.node(blocks[-1][0]))
    data = archives.v1([blocks[-1][0]], blocks)
    with ReadOnlyBlockstore(data) as store:
        for order in ("dfs", "bfs"):
            with pytest.raises(BudgetError, match="1024 levels"):
                list(dag.walk(store, store.roots[0], order=order))


# -- go-car#264: writing through a symlink of the archive --------------------------------------------------------


@pytest.mark.parametrize("symlinks", ["skip", "safe"])
def test_nothing_is_written_through_a_symlink(tmp_path: Path, symlinks: str) -> None:
    outside = tmp_path / "outside"
    outside.write_text("mine")
    made = Dag()
    link = made.symlink(str(outside).encode())
    root = made.directory([(b"a", link), (b"a", made.raw(b"theirs"))])
    unixfs.extract(made.archive(root), tmp_path / "into", symlinks=symlinks)  # type: ignore[arg-type]
    assert outside.read_text() == "mine"
    assert not (tmp_path / "into" / "a").is_symlink()


# -- IPIP-0512: identity CIDs of more than 128 bytes -------------------------------------------------------------


def test_files_hold_no_large_identities() -> None:
    for size, is_taken in ((128, True), (129, False)):
        made = Dag()
        inside = identity(bytes(size), codec=archives.RAW)._replace(size=size)
        root = made.file([inside])
        store = MemoryBlockstore([(CID(root.cid), made.blocks[root.cid])])
        try:
            assert b"".join(unixfs.read(store, CID(root.cid))) == bytes(size)
        except UnixFSError:
            assert not is_taken
        else:
            assert is_taken


# -- atproto: blocks that are slipped in -------------------------------------------------------------------------


def test_blocks_that_nothing_leads_to_are_named_and_left_out(tmp_path: Path) -> None:
    root = archives.node(FISH[0])
    data = archives.v1([root[0]], [root, FISH, LOBSTER])
    _, completeness = dag.verify_deep(data)
    assert completeness is not None
    assert completeness.unreachable_count == 1
    dag.export(data, tmp_path / "out.car")
    with carv2.open(tmp_path / "out.car") as car:
        assert {block.cid_bytes for block in car} == {root[0], FISH[0]}


# -- parsers that disagree ---------------------------------------------------------------------------------------


def test_of_two_blocks_of_one_cid_the_wrong_one_is_an_error_wherever_it_stands() -> None:
    wrong = (FISH[0], b"FISH")
    for blocks in ([FISH, wrong], [wrong, FISH]):
        data = archives.v1([], blocks)
        with pytest.raises(IntegrityError):
            list(carv2.open(data))
        with pytest.raises(IntegrityError):
            list(iter_blocks([data]))
        assert [problem.kind for problem in carv2.verify(data).problems] == ["IntegrityError"]
    with ReadOnlyBlockstore(archives.v1([], [FISH, wrong])) as store:  # the first counts
        assert store[CID(FISH[0])] == b"fish"


def test_sections_behind_the_data_of_a_carv2_are_not_read_and_are_named() -> None:
    """They are not hidden from `verify`, which is there to find them."""
    payload = archives.v1([], [FISH])
    data = archives.PRAGMA + archives.v2_header(51, len(payload)) + payload + archives.section(*LOBSTER)
    assert [block[0] for block in carv2.open(data)] == [FISH[0]]
    assert [block[0] for block in iter_blocks([data])] == [FISH[0]]
    assert not carv2.verify(data).ok


def test_what_stands_behind_a_section_of_no_length_is_read_by_nobody() -> None:
    data = archives.v1([], [FISH]) + b"\x00" + archives.section(*LOBSTER)
    readers: list[Callable[[bool], list[carv2.Block]]] = [
        lambda padded: list(carv2.open(data, null_padding=padded)),
        lambda padded: list(iter_blocks([data], null_padding=padded)),
    ]
    for read in readers:
        with pytest.raises(FormatError, match="zero-length"):
            read(False)
        assert [block[0] for block in read(True)] == [FISH[0]]


def test_an_index_within_the_data_is_an_error() -> None:
    inside = archives.section(cid_v1(b"\x81\x08" + bytes(4)), b"\x81\x08" + bytes(4))
    payload = archives.EMPTY_HEADER + inside
    at = 51 + len(payload) - 6
    data = archives.PRAGMA + archives.v2_header(51, len(payload), at) + payload
    assert not carv2.verify(data).ok


def test_a_key_of_the_header_that_comes_twice_means_the_same_to_all_readers() -> None:
    """The last one counts, as in go-car; canonical it is not, and `inspect` says so."""
    roots = [b"\x65roots\x81" + archives.link(cid) for cid, _ in (FISH, LOBSTER)]
    body = b"\xa3" + roots[0] + roots[1] + b"\x67version\x01"
    data = archives.varint(len(body)) + body + archives.section(*FISH)
    with carv2.open(data) as car:
        assert car.roots == (CID(LOBSTER[0]),)
    decoder = carv2.CarDecoder()
    decoder.feed(data)
    assert decoder.roots == (CID(LOBSTER[0]),)


# -- what strangers' texts do to a terminal ----------------------------------------------------------------------


def test_names_do_nothing_to_a_terminal(tmp_path: Path) -> None:
    made = Dag()
    root = made.directory({"\x1b]0;owned\x07\x1b[2J\r\u202e": made.raw(b"x")})
    (tmp_path / "x.car").write_bytes(made.archive(root))
    for command in (
        ["ls"],
        ["tree"],
        ["list", "--unixfs"],
        ["extract", "-v", "-o", "out"],
        ["dot"],
        ["list", "-v"],
    ):
        ran = run(tmp_path, [*command, "x.car"])
        shown = ran.out.decode() + ran.err
        assert not {"\x1b", "\x07", "\r", "\u202e"} & set(shown), command


# -- amplification -----------------------------------------------------------------------------------------------


def test_an_archive_of_a_few_kilobytes_does_not_become_exabytes(tmp_path: Path) -> None:
    made = Dag()
    inner = made.raw(b"x" * 100)
    for _ in range(9):
        inner = made.directory({f"{at:02}": inner for at in range(64)})
    data = made.archive(inner)
    assert len(data) < 40_000
    for work in (
        lambda: unixfs.extract(data, tmp_path / "out", max_entries=500),  # by default 50,000, which take a while
        lambda: sum(map(len, unixfs.tar_stream(data, max_entries=500))),
    ):
        with pytest.raises(BudgetError):
            work()
    _, completeness = dag.verify_deep(data)  # which looks at each block once
    assert completeness is not None
    assert (completeness.block_count, completeness.missing_count) == (10, 0)
