"""get_many gathers: whatever it reads ahead, it gives what single gets give, in the order asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import carv2
from carv2 import _source
from carv2.blockstore import ReadOnlyBlockstore, _ranges
from carv2.cid import CID
from carv2.errors import BlockNotFoundError, ClosedError, IntegrityError

if TYPE_CHECKING:
    from pathlib import Path

MANY = [(CID.of_data(data), data) for data in (n.to_bytes(4, "big") * (1 + n % 40) for n in range(3000))]
COUNT = len(MANY)
ORDER = [number * 1009 % COUNT for number in range(COUNT)]  # each once, neighbours far apart


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "many.car"
    plain = tmp_path / "plain.car"
    plain.write_bytes(b"".join(carv2.iter_car([], MANY)))
    carv2.wrap(plain, path)
    return path


def used(path: Path, **options: Any) -> ReadOnlyBlockstore:
    """A store whose index was looked up in often enough for its short cuts."""
    store = ReadOnlyBlockstore(path, **options)
    for cid, data in MANY[:20]:
        assert store[cid] == data
    return store


@pytest.mark.parametrize("options", [{}, {"verify": False}, {"whole_cids": True}, {"memory_map": True}])
def test_many_blocks_come_in_the_order_asked_for(archive: Path, options: dict[str, bool]) -> None:
    asked = [MANY[number] for number in [*ORDER, *ORDER[:700], 5, 5, 5]]
    identity = CID.of_data(b"in itself", hash="identity")
    with used(archive, **options) as store:
        found = list(store.get_many([*(cid for cid, _ in asked), identity, str(MANY[8][0])]))
    assert [(block.cid, block.data) for block in found] == [*asked, (identity, b"in itself"), MANY[8]]


def test_far_fewer_reads_than_blocks(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with used(archive) as store:
        reads: list[int] = []

        def noted(size: int) -> int:
            reads.append(size)
            return size

        peeks = [(store._finder, "_peek"), *((bucket, "_peek") for _, bucket in store.index.buckets())]
        for owner, name in peeks:
            peek = getattr(owner, name)
            monkeypatch.setattr(owner, name, lambda size, at, peek=peek: peek(noted(size), at))
        read_at = _source.FileSource.read_at
        monkeypatch.setattr(_source.FileSource, "read_at", lambda self, at, size: read_at(self, at, noted(size)))
        assert sum(1 for _ in store.get_many([MANY[number][0] for number in ORDER])) == COUNT
    assert 0 < len(reads) < COUNT // 50


def test_blocks_that_are_read_by_themselves_are_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeping a large one costs more than reading it when it is due, however near another one lies."""
    large = [(CID.of_data(data), data) for data in (bytes([n]) * 5000 for n in range(100))]
    path = tmp_path / "large.car"
    path.write_bytes(b"".join(carv2.iter_car([], large)))
    held: list[int] = []
    blocks = _ranges._ReadAhead.blocks

    def watched(self: _ranges._ReadAhead, raws: list[bytes], offsets: list[int | None]) -> list[bytes | None]:
        found = blocks(self, raws, offsets)
        held.append(sum(each is not None for each in found))
        return found

    monkeypatch.setattr(_ranges._ReadAhead, "blocks", watched)
    with ReadOnlyBlockstore(path) as store:
        assert [store[cid] for cid, _ in large] == [data for _, data in large]
        for _ in range(2):
            assert [block.data for block in store.get_many([cid for cid, _ in large])] == [
                data for _, data in large
            ]
    assert held == [0, 0]


def test_what_comes_before_a_missing_block_is_given(archive: Path) -> None:
    missing = CID.of_data(b"nowhere")
    asked = [MANY[number][0] for number in ORDER]
    with used(archive) as store:
        blocks = store.get_many([*asked[:2000], missing, *asked[2000:]])
        assert [next(blocks).cid for _ in range(2000)] == asked[:2000]
        with pytest.raises(BlockNotFoundError) as caught:
            next(blocks)
        assert caught.value.cid == missing


def test_a_damaged_block_among_others_is_the_only_one_refused(archive: Path) -> None:
    cid, data = MANY[1234]
    raw = bytearray(archive.read_bytes())
    at = raw.index(cid.raw + data) + len(cid.raw)
    raw[at] ^= 1
    archive.write_bytes(raw)
    with used(archive) as store:
        with pytest.raises(IntegrityError) as single:
            store[cid]
        got: list[CID] = []
        with pytest.raises(IntegrityError) as gathered:
            got.extend(block.cid for block in store.get_many([MANY[number][0] for number in range(COUNT)]))
        blocks = store.get_many([each for each, _ in MANY if each != cid])
        assert [block.data for block in blocks] == [each for other, each in MANY if other != cid]
    assert got == [each for each, _ in MANY[:1234]]
    assert (str(gathered.value), gathered.value.position) == (str(single.value), at)


def test_no_more_is_held_than_the_budget_says(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for one block again and again, which is read in one piece, and for blocks that lie side by side."""
    monkeypatch.setattr(_ranges, "_HOLD", 20_000)
    monkeypatch.setattr(_ranges, "_WINDOW", 4_000)
    cid, data = MANY[39]
    held: list[int] = []
    blocks = _ranges._ReadAhead.blocks

    def watched(self: _ranges._ReadAhead, raws: list[bytes], offsets: list[int | None]) -> list[bytes | None]:
        found = blocks(self, raws, offsets)
        held.append(sum(len(each) for each in found if each is not None))
        return found

    monkeypatch.setattr(_ranges._ReadAhead, "blocks", watched)
    with used(archive) as store:
        assert [block.data for block in store.get_many([cid] * 2000)] == [data] * 2000
        assert [block.data for block in store.get_many([each for each, _ in MANY])] == [each for _, each in MANY]
    assert 15_000 < max(held) <= 20_000


def test_a_store_that_is_closed_meanwhile_says_so(archive: Path) -> None:
    store = used(archive)
    blocks = store.get_many([MANY[number][0] for number in ORDER])
    next(blocks)
    store.close()
    with pytest.raises(ClosedError):
        list(blocks)
