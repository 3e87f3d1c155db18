"""Files: all of them, ranges of them, and those that lie about themselves."""

from __future__ import annotations

import io
import itertools
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carv2 import CID
from carv2.blockstore import MemoryBlockstore, ReadOnlyBlockstore
from carv2.errors import BlockNotFoundError, BudgetError, CarError, CodecError, IntegrityError, UnixFSError
from carv2.unixfs import open_file, read
from helpers import archives
from helpers.unixfs import DIRECTORY, FILE, HAMT, METADATA, RAW, SYMLINK, Dag, Made, identity, pb_node, unixfs
from unixfs_read.stores import Counting, CountingMany, store_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from carv2.cid import CIDLike


def payload(dag: Dag, made: Made, start: int = 0, stop: int | None = None) -> bytes:
    return b"".join(read(store_of(dag), made.cid, start, stop))


def balanced(dag: Dag, leaves: Sequence[Made], width: int) -> Made:
    """A tree as importers make it."""
    level = list(leaves)
    while len(level) > 1:
        level = [dag.file(level[at : at + width]) for at in range(0, len(level), width)]
    return level[0]


# -- what is read -----------------------------------------------------------------------------------------------

TEXT = bytes(range(256)) * 3


@st.composite
def files(draw: st.DrawFn) -> tuple[Dag, Made, bytes]:
    """A tree of no particular shape, and its payload."""
    dag = Dag()

    def leaf(data: bytes) -> Made:
        kind = draw(st.sampled_from(["raw", "file", "v0", "RAW", "identity"]))
        if kind == "identity" and data:
            return identity(data, codec=archives.RAW)._replace(size=len(data))
        if kind == "raw":
            return dag.raw(data)
        return dag.leaf(data, kind=RAW if kind == "RAW" else FILE, v0=kind == "v0")

    def tree(data: bytes, depth: int) -> Made:
        if depth == 0 or len(data) < 2:
            return leaf(data)
        cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=4)))
        first, *rest = itertools.pairwise([0, *cuts, len(data)])
        inline = data[slice(*first)] if draw(st.booleans()) else None
        parts = rest if inline is not None else [first, *rest]
        return dag.file([tree(data[start:stop], depth - 1) for start, stop in parts], inline=inline)

    data = draw(st.binary(max_size=60))
    return dag, tree(data, draw(st.integers(0, 3))), data


@given(made=files(), start=st.integers(-70, 70), stop=st.none() | st.integers(-70, 70))
def test_any_range_of_any_file_is_the_slice(made: tuple[Dag, Made, bytes], start: int, stop: int | None) -> None:
    dag, root, data = made
    assert payload(dag, root) == data
    assert payload(dag, root, start, stop) == data[start:stop]


@given(made=files(), moves=st.lists(st.tuples(st.integers(-70, 70), st.integers(0, 2), st.integers(-1, 70))))
def test_an_open_file_reads_and_seeks_like_any_other(
    made: tuple[Dag, Made, bytes], moves: list[tuple[int, int, int]]
) -> None:
    dag, root, data = made
    ours, plain = open_file(store_of(dag), root.cid), io.BytesIO(data)
    for offset, whence, size in moves:
        target = offset + (0, plain.tell(), len(data))[whence]
        if target < 0:
            with pytest.raises(ValueError, match="seek"):
                ours.seek(offset, whence)
            continue
        assert ours.seek(offset, whence) == plain.seek(target)
        assert ours.read(size) == plain.read(size)
        assert ours.tell() == plain.tell()


def test_an_open_file_does_not_seek_where_no_file_does() -> None:
    cid = CID.of_data(b"fish")
    with open_file(MemoryBlockstore([(cid, b"fish")]), cid) as file:
        with pytest.raises(ValueError, match="whence 3"):
            file.seek(0, 3)
        with pytest.raises(ValueError, match="seek to -1"):
            file.seek(-5, io.SEEK_END)
        assert file.seek(0, io.SEEK_CUR) == file.tell() == 0
        assert file.read() == b"fish"


def test_an_open_file_is_readable_seekable_and_leaves_the_store_open() -> None:
    cid = CID.of_data(b"fish\nlobster\n")
    store = MemoryBlockstore([(cid, b"fish\nlobster\n")])
    with open_file(store, cid) as file:
        assert (file.readable(), file.seekable(), file.writable()) == (True, True, False)
        assert list(file) == [b"fish\n", b"lobster\n"]
        with pytest.raises(ValueError, match="whence"):
            file.seek(0, 9)
    assert file.closed
    assert store[cid]


def test_a_seek_does_not_read_the_nodes_above_again() -> None:
    dag = Dag()
    root = balanced(dag, [dag.raw(bytes([at])) for at in range(64)], 4)
    store = store_of(dag)
    file = open_file(store, root.cid)
    for at in (50, 3, 50, 3):
        file.seek(at)
        assert file.raw.readinto(memoryview(bytearray(1))) == 1
    inner = [cid for cid in store.read if cid[1] == archives.DAG_PB]
    assert len(inner) == len(set(inner))


@pytest.mark.parametrize("kind", [Counting, CountingMany])
def test_a_range_reads_only_the_blocks_that_hold_it(kind: type[Counting]) -> None:
    dag = Dag()
    leaves = [dag.raw(b"%03d," % at) for at in range(100)]
    root = balanced(dag, leaves, 10)
    store = kind(dag.blocks)
    assert b"".join(read(store, root.cid, 170, 175)) == b"2,043,"[:5]
    assert [cid for cid in store.read if cid[1] == archives.RAW] == [leaf.cid for leaf in leaves[42:44]]
    assert len(store.read) == 2 + 2
    store.read.clear()
    assert list(read(store, root.cid, 400)) == []
    assert list(read(store, root.cid, 10, 10)) == []
    assert store.read == [root.cid] * 2


def test_blocks_are_read_when_they_are_wanted_not_before() -> None:
    dag = Dag()
    root = balanced(dag, [dag.raw(bytes([at]) * 10) for at in range(50)], 5)
    store = store_of(dag)
    pieces = read(store, root.cid)
    assert store.read == []
    assert next(pieces) == bytes(10)
    assert len(store.read) < 10


def test_the_pieces_are_the_blocks_own_bytes() -> None:
    dag = Dag()
    leaf = dag.raw(b"x" * 1000)
    root = dag.file([leaf])
    (piece,) = read(store_of(dag), root.cid)
    assert piece is dag.blocks[leaf.cid]


def test_a_file_out_of_an_archive_is_checked_on_the_way() -> None:
    dag = Dag()
    root = balanced(dag, [dag.raw(b"part %d." % at) for at in range(20)], 3)
    good = dag.archive(root)
    assert b"".join(read(ReadOnlyBlockstore(good), root.cid)) == b"".join(b"part %d." % at for at in range(20))
    bad = ReadOnlyBlockstore(good.replace(b"part 7.", b"pArt 7."))
    with pytest.raises(IntegrityError):
        list(read(bad, root.cid))
    assert b"".join(read(bad, root.cid, 0, 49)) == b"".join(b"part %d." % at for at in range(7))


def test_a_missing_block_is_named_after_what_was_there() -> None:
    dag = Dag()
    leaves = [dag.raw(b"%d" % at) for at in range(9)]
    root = balanced(dag, leaves, 3)
    del dag.blocks[leaves[4].cid]
    got: list[bytes] = []
    with pytest.raises(BlockNotFoundError) as caught:
        got.extend(read(store_of(dag), root.cid))
    assert bytes(caught.value.cid) == leaves[4].cid
    assert b"".join(got) == b"0123"
    assert payload(dag, root, 5) == b"5678"


# -- what is refused --------------------------------------------------------------------------------------------


def liar(dag: Dag, case: str) -> Made:
    fish = dag.raw(b"fish")
    return {
        "too few block sizes": lambda: dag.file([fish, fish], sizes=[4], size=8),
        "too many block sizes": lambda: dag.file([fish], sizes=[4, 4], size=8),
        "a file size that is too large": lambda: dag.file([fish], size=5),
        "a file size that is too small": lambda: dag.file([fish, fish], size=4),
        "a leaf that is shorter": lambda: dag.file([fish], sizes=[5], size=5),
        "a leaf that is longer": lambda: dag.file([fish], sizes=[3], size=3),
        "an inner node that is longer": lambda: dag.file([dag.file([fish, fish])], sizes=[7], size=7),
        "a leaf whose own size lies": lambda: dag.node([], unixfs(FILE, b"fish", size=3)),
        "a child that is a directory": lambda: dag.file([dag.directory({"x": fish})], sizes=[4], size=4),
        "a child that is a symlink": lambda: dag.file([dag.symlink(b"fish")], sizes=[4], size=4),
        "a directory": lambda: dag.directory({"x": fish}),
        "a sharded directory": lambda: dag.hamt({"x": fish}),
        "a symlink": lambda: dag.symlink(b"x"),
        "metadata": lambda: dag.node([], unixfs(METADATA, b"x")),
        "no UnixFS": lambda: dag.node([], None),
        "an empty message": lambda: dag.node([], b""),
        "an unknown type": lambda: dag.node([], unixfs(6)),
        "another codec": lambda: dag.put(b"\xa0", codec=archives.DAG_CBOR),
        "a child of another codec": lambda: dag.file([dag.put(b"\xa0", codec=archives.DAG_CBOR, size=1)]),
        "a large identity": lambda: dag.file([identity(b"x" * 129, codec=archives.RAW)], sizes=[129], size=129),
    }[case]()  # fmt: skip


CASES = {
    "too few block sizes": "1 block sizes for 2 links",
    "too many block sizes": "2 block sizes for 1 links",
    "a file size that is too large": "5 bytes of payload declared, parts of 4",
    "a file size that is too small": "4 bytes of payload declared, parts of 8",
    "a leaf that is shorter": "5 bytes of payload declared, 4 found",
    "a leaf that is longer": "3 bytes of payload declared, 4 found",
    "an inner node that is longer": "7 bytes of payload declared, 8 found",
    "a leaf whose own size lies": "3 bytes of payload declared, parts of 4",
    "a child that is a directory": "a directory, where a file is wanted",
    "a child that is a symlink": "a symlink, where a file is wanted",
    "a directory": "a directory, where a file is wanted",
    "a sharded directory": "a directory, where a file is wanted",
    "a symlink": "a symlink, where a file is wanted",
    "metadata": "metadata, where a file is wanted",
    "no UnixFS": "dag-pb without UnixFS data",
    "an empty message": "no UnixFS type",
    "an unknown type": "UnixFS type 6",
    "another codec": "a block of dag-cbor",
    "a child of another codec": "a block of dag-cbor",
    "a large identity": "an identity CID of 129 bytes, limit 128",
}


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_is_named(case: str) -> None:
    dag = Dag()
    made = liar(dag, case)
    with pytest.raises(UnixFSError, match=CASES[case]) as caught:
        payload(dag, made)
    assert caught.value.cid is not None


def test_a_block_that_is_no_protobuf_is_a_codec_error_with_its_cid() -> None:
    dag = Dag()
    made = dag.put(b"\xff\xff", codec=archives.DAG_PB)
    with pytest.raises(CodecError) as caught:
        payload(dag, made)
    assert caught.value.cid == CID(made.cid)


def test_a_child_that_says_too_little_gives_nothing_before_the_error() -> None:
    dag = Dag()
    made = dag.file([dag.raw(b"fish"), dag.raw(b"lobster")], sizes=[4, 8], size=12)
    got: list[bytes] = []
    with pytest.raises(UnixFSError):
        got.extend(read(store_of(dag), made.cid))
    assert got == [b"fish"]


def chain(dag: Dag, depth: int) -> Made:
    made = dag.raw(b"x")
    for _ in range(depth):
        made = dag.file([made])
    return made


def test_depth_is_bounded() -> None:
    dag = Dag()
    assert payload(dag, chain(dag, 64)) == b"x"
    with pytest.raises(BudgetError, match="64"):
        payload(dag, chain(dag, 65))


def test_exabytes_in_a_few_blocks_are_read_piece_by_piece() -> None:
    """64 links to the same child, nine times: 2**60 bytes."""
    dag = Dag()
    made = dag.raw(b"x" * 64)
    for _ in range(9):
        made = dag.file([made] * 64)
    store = store_of(dag)
    assert made.size == 64**10
    assert len(list(itertools.islice(read(store, made.cid), 1000))) == 1000
    assert len(store.read) < 1200
    store.read.clear()
    assert b"".join(read(store, made.cid, 64**9 * 50 + 7, 64**9 * 50 + 9)) == b"xx"
    assert len(store.read) == 10
    file = open_file(store, made.cid)
    assert file.seek(-3, io.SEEK_END) == made.size - 3
    assert file.read(9) == b"xxx"


def test_a_tree_of_nothing_is_not_gone_through() -> None:
    dag = Dag()
    made = dag.raw(b"")
    for _ in range(8):
        made = dag.file([made] * 64)
    store = store_of(dag)
    assert list(read(store, made.cid)) == []
    assert store.read == [made.cid]
    something = dag.file([dag.raw(b"x"), made, dag.raw(b"y")])
    assert payload(dag, something) == b"xy"
    store.read.clear()
    assert list(read(store, something.cid)) == [b"x", b"y"]
    assert made.cid not in store.read


def test_leaves_are_asked_for_many_at_a_time() -> None:
    dag = Dag()
    root = balanced(dag, [dag.raw(b"%03d" % at) for at in range(300)], 100)
    asked: list[int] = []

    class Watched(CountingMany):
        def get_many(self, cids: Iterable[CIDLike], /) -> Iterator[tuple[bytes, bytes]]:
            wanted = list(cids)
            asked.append(len(wanted))
            return super().get_many(wanted)

    assert b"".join(read(Watched(dag.blocks), root.cid)) == b"".join(b"%03d" % at for at in range(300))
    assert asked.count(100) == 3
    assert len(asked) <= 4
    large = dag.file([dag.raw(bytes([at]) * (3 << 20)) for at in range(6)])
    asked.clear()
    for piece in read(Watched(dag.blocks), large.cid):
        assert len(piece) == 3 << 20
    assert max(asked) == 2  # not more than some megabytes of them


def declaring(*sizes: int) -> tuple[Dag, Made]:
    """A file that says so of its one-byte parts."""
    dag = Dag()
    leaves = [dag.raw(bytes([at])) for at in range(len(sizes))]
    block = pb_node([(leaf.cid, b"", 1) for leaf in leaves], unixfs(FILE, sizes=list(sizes)))
    return dag, dag.put(block, codec=archives.DAG_PB)


def test_sizes_that_fill_63_bits_are_numbers_like_others() -> None:
    half = 2**62
    dag, made = declaring(half, half - 1)
    with pytest.raises(UnixFSError, match=f"{half} bytes of payload declared, 1 found"):
        payload(dag, made)
    assert payload(dag, made, 2 * half) == b""
    with pytest.raises(UnixFSError, match=f"{half - 1} bytes of payload declared, 1 found"):
        payload(dag, made, -1)
    with open_file(store_of(dag), made.cid) as file:
        assert file.seek(0, io.SEEK_END) == 2**63 - 1
        assert file.read() == b""


@pytest.mark.parametrize("sizes", [(2**63,), (2**62, 2**62), (2**64 - 1,), (2**64 - 1, 2**64 - 1)])
def test_a_file_of_more_bytes_than_positions_go_is_refused(sizes: tuple[int, ...]) -> None:
    dag, made = declaring(*sizes)
    with pytest.raises(UnixFSError, match=f"{sum(sizes)} bytes of payload declared, limit {2**63 - 1}") as caught:
        open_file(store_of(dag), made.cid)
    assert caught.value.cid == CID(made.cid)
    with pytest.raises(UnixFSError, match="limit"):
        payload(dag, made, 0, 1)


def test_a_cycle_ends_in_an_error() -> None:
    """Hashes make cycles impossible; a store that checks none can have one all the same."""
    cid = archives.cid_v1(b"", codec=archives.DAG_PB)
    store = Counting({cid: pb_node([(cid, b"", 1)], unixfs(FILE, sizes=[5], size=5))})
    with pytest.raises(BudgetError):
        list(read(store, cid))


@pytest.mark.parametrize("kind", [DIRECTORY, FILE, HAMT, METADATA, RAW, SYMLINK])
@given(raw=st.binary(max_size=40), junk=st.binary(max_size=20))
def test_whatever_a_node_holds_there_is_a_payload_or_a_named_error(kind: int, raw: bytes, junk: bytes) -> None:
    dag = Dag()
    for block in (raw, pb_node([], unixfs(kind, raw, tail=junk)), pb_node([(dag.raw(b"x").cid, raw, 1)], junk)):
        made = dag.put(block, codec=archives.DAG_PB)
        try:
            payload(dag, made)
        except CarError as error:
            assert isinstance(error, (CodecError, BudgetError))  # noqa: PT017
