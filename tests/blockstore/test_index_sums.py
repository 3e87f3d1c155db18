"""How an index is proven right without being held: the pass over the sections adds up what each should say."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pytest

import carv2
from carv2._scan import Batch
from carv2._source import BytesSource
from carv2.blockstore import _kept_index as module
from carv2.blockstore._kept_index import KeptIndex, is_as_wanted, take_over
from carv2.blockstore._settings import Settings, header_in
from carv2.cid import CID
from carv2.errors import IntegrityError
from carv2.header import PRAGMA, SIZE, CarV2Header
from carv2.index import IndexBuilder
from carv2.index import parse as parse_index
from carv2.units import DEFAULT_LIMITS, FilePosition
from helpers import archives

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from carv2._scan import Entries, Entry

SETTINGS = Settings(
    index_padding=0,
    index_codec=0x0401,
    deduplicate="multihash",
    store_identity=False,
    verify=True,
    durability="none",
    max_memory=None,
    limits=DEFAULT_LIMITS,
)
BLOCKS = [archives.FISH, archives.LOBSTER]
V1 = archives.v1([], BLOCKS)


def raw(number: int, **options: Any) -> bytes:
    return bytes(CID.of_data(b"%d" % number, **options))


def identity(digest: bytes) -> bytes:
    return bytes(CID.of_data(digest, hash="identity"))


KEYS = [identity(b"/filestore/" + bytes([number]) * 21) for number in range(2)]  # of 32 bytes, as is a digest
NO_KEYS = [identity(bytes([number]) * 32) for number in range(2)]


def batch_of(cids: Sequence[bytes], *, start: int, base: int, size: int = 7) -> tuple[Batch, list[int]]:
    """Sections with these CIDs, one behind the other in a file, and where in the file each starts."""
    entries: list[Entry] = []
    at, starts = start, list[int]()
    for cid in cids:
        starts.append(base + at)
        data = at + 2 + len(cid)
        at = data + size
        entries.append((cid, data, at))
    return Batch(b"", base, start, cast("Entries", entries)), starts


def proven(
    batches: Sequence[Sequence[bytes]], *, codec: int = 0x0401, listed: Callable[[bytes], bool] = lambda _: True
) -> Callable[[bool], bool]:
    """Whether the index that lists the CIDs of ``batches`` for which ``listed`` is right is found to be right."""
    builder = IndexBuilder(codec, identity=True)
    base, payload, fed = 1000, 51, []
    for number, cids in enumerate(batches):
        batch, starts = batch_of(cids, start=number - 1, base=base)
        fed.append(batch)
        for cid, at in zip(cids, starts, strict=True):
            if listed(cid):
                builder.add(cid, at - payload)
        base += 5000
    kept = KeptIndex(parse_index(builder.to_bytes()))
    for batch in fed:
        kept.add_sections(batch, payload)
    assert kept.section_count == sum(map(len, batches))
    return lambda identity: kept.is_right(identity=identity)


# -- what is added up ----------------------------------------------------------------------------------------

KINDS = {
    "one kind": [[raw(1), raw(2), raw(3)], [raw(4)], [raw(5), raw(6)]],
    "two kinds in turn": [[raw(1), raw(2, codec="dag-cbor"), raw(3), raw(4, codec="dag-cbor")]],
    "two kinds, a batch each": [[raw(1), raw(2)], [raw(3, hash="blake2b-256"), raw(4, hash="blake2b-256")]],
    "digests of three sizes": [[raw(1, hash="sha1"), raw(2), raw(3, hash="sha2-512")], [raw(4, hash="sha1")]],
    "one kind, not of 32 bytes": [[raw(1, hash="sha2-512"), raw(2, hash="sha2-512")], [raw(3, hash="sha1")]],
    "a copy": [[raw(1), raw(1)], [raw(1)]],
}


@pytest.mark.parametrize("codec", [0x0400, 0x0401])
@pytest.mark.parametrize("batches", KINDS.values(), ids=KINDS)
def test_an_index_of_just_the_sections_is_right_and_one_without_any_of_them_is_not(
    batches: list[list[bytes]], codec: int
) -> None:
    for wanted in (False, True):
        assert proven(batches, codec=codec)(wanted)
    for left_out in {*itertools.chain(*batches)}:
        assert not proven(batches, codec=codec, listed=lambda cid, gone=left_out: cid != gone)(False)  # type: ignore[misc]


MIXED = [
    [[NO_KEYS[0], KEYS[0], NO_KEYS[1], KEYS[1]]],
    [[KEYS[0], NO_KEYS[0], KEYS[1]]],
    [[NO_KEYS[0], NO_KEYS[1]], [KEYS[0], KEYS[1]]],
    [[KEYS[0], raw(1)], [NO_KEYS[0], raw(2)], [identity(b"fish"), raw(3)]],
]


@pytest.mark.parametrize("codec", [0x0400, 0x0401])
@pytest.mark.parametrize("batches", MIXED)
def test_identity_cids_may_be_left_out_all_of_them_unless_they_are_keys(
    batches: list[list[bytes]], codec: int
) -> None:
    """A key is the CID of a record of a reference, which nothing else says the place of."""
    whole = proven(batches, codec=codec)
    assert (whole(False), whole(True)) == (True, True)
    inlined = [cid for cid in itertools.chain(*batches) if cid in NO_KEYS or cid == identity(b"fish")]
    without = proven(batches, codec=codec, listed=lambda cid: cid not in inlined)
    assert (without(False), without(True)) == (True, False)
    if len(inlined) > 1:
        some = proven(batches, codec=codec, listed=lambda cid: cid != inlined[0])
        assert (some(False), some(True)) == (False, False)
    for key in KEYS:
        if any(key in cids for cids in batches):
            lacking = proven(batches, codec=codec, listed=lambda cid, gone=key: cid != gone)  # type: ignore[misc]
            assert (lacking(False), lacking(True)) == (False, False)


def test_the_kind_of_a_cid_is_found_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look at each CID would take several times as long as all the rest."""
    looked = 0

    class Counting(CID):
        @classmethod
        def trusted(cls, raw: bytes) -> CID:
            nonlocal looked
            looked += 1
            return CID.trusted(raw)

    monkeypatch.setattr(module, "CID", Counting)
    asked = 0
    kind_of = KeptIndex._kind_of

    def counted(self: KeptIndex, raw: bytes) -> tuple[int, int]:
        nonlocal asked
        asked += 1
        return kind_of(self, raw)

    monkeypatch.setattr(KeptIndex, "_kind_of", counted)
    same = [raw(number) for number in range(50)]
    assert proven([same, same])(False)
    assert (looked, asked) == (1, 2)  # asked once for each batch
    looked = asked = 0
    in_turn = [raw(number, codec=codec) for number in range(25) for codec in ("raw", "dag-cbor")]
    assert proven([in_turn, in_turn])(False)
    assert (looked, asked) == (2, 100)
    monkeypatch.setattr(module, "MAX_KINDS", 1)
    looked = 0
    assert proven([in_turn])(False)
    assert looked == 1 + 25  # the second kind is one too many to be kept


# -- what an index lists -------------------------------------------------------------------------------------


def many(count: int) -> list[tuple[bytes, int]]:
    """Multihashes and offsets, sorted."""
    digests = sorted(hashlib.sha256(b"%d" % number).digest() for number in range(count))
    return [(b"\x12\x20" + digest, 7 * number) for number, digest in enumerate(digests)]


def test_an_index_of_more_than_is_read_at_once_is_added_up_and_has_to_be_in_order_all_along() -> None:
    pairs = many(60_000)  # 2.4 MB
    builder = IndexBuilder()
    builder.add_multihashes(pairs)
    data = builder.to_bytes()
    ((_, bucket),) = parse_index(data).buckets()
    sizes = [len(window) for window in bucket.windows()]
    assert len(sizes) == 3
    sums = module._sums_of(bucket)
    assert sums is not None
    secret = module._SECRET
    records = [multihash[2:] + offset.to_bytes(8, "little") for multihash, offset in pairs]
    assert sums == (len(pairs), sum(hash(secret + record) for record in records))
    edge = len(data) - sum(sizes) + sizes[0]  # of the first window: the last two records of it and the next
    swapped = data[: edge - 40] + data[edge : edge + 40] + data[edge - 40 : edge] + data[edge + 40 :]
    ((_, bucket),) = parse_index(swapped).buckets()
    assert module._sums_of(bucket) is None


def test_a_bucket_with_bytes_left_over_is_not_right() -> None:
    """They may be the front of a record that a whole one was meant to follow."""
    builder = IndexBuilder()
    builder.add(archives.FISH[0], 0)
    data = builder.to_bytes()
    width = data.index((40).to_bytes(8, "little"))
    longer = data[:width] + (43).to_bytes(8, "little") + data[width + 8 :] + b"abc"
    ((_, bucket),) = parse_index(longer).buckets()
    assert bucket.stray == 3
    assert module._sums_of(bucket) is None


# -- which index is looked at --------------------------------------------------------------------------------


def indexed(payload: bytes = V1, *, offset: int | None = None, index: bytes | None = None) -> bytes:
    """A CARv2 with an index of ``payload``, or with ``index`` at ``offset``."""
    index = b"".join(carv2.build_index(payload).chunks()) if index is None else index
    at = 51 + len(payload) if offset is None else offset
    header = CarV2Header(data_offset=FilePosition(51), data_size=len(payload), index_offset=FilePosition(at))
    return PRAGMA + header.to_bytes() + payload + index


def test_only_an_index_behind_the_payload_of_a_carv2_counts() -> None:
    whole = indexed()
    kept = KeptIndex.of(BytesSource(whole))
    assert kept is not None
    assert len(list(kept.index)) == len(BLOCKS)
    assert KeptIndex.of(BytesSource(V1)) is None
    assert KeptIndex.of(BytesSource(PRAGMA + bytes(SIZE) + V1)) is None  # never finished
    assert KeptIndex.of(BytesSource(archives.v2(V1))) is None
    assert KeptIndex.of(BytesSource(indexed(index=b"\x99\x99\x01"))) is None  # of no codec
    index = whole[51 + len(V1) :]
    inner = archives.v1([], [*BLOCKS, (archives.cid_v1(index), index)])  # one stands there, but within a block
    within = 51 + len(inner) - len(index)
    assert KeptIndex.of(BytesSource(indexed(inner, offset=within, index=b""))) is None


def test_an_index_without_a_codec_in_front_is_not_kept() -> None:
    """The CARv2 specification's example has such a one; go-car takes it for damaged."""
    index = indexed()[51 + len(V1) :]
    older = b"".join(carv2.build_index(V1, codec=0x0400).chunks())
    headless = [one[2:] for one in (index, older) if parse_or_none(one[2:])]
    assert headless
    for one in headless:
        assert KeptIndex.of(BytesSource(indexed(index=one))) is None


def parse_or_none(data: bytes) -> object:
    try:
        return parse_index(data).is_headless
    except carv2.FormatError:
        return None


def lying() -> bytes:
    """An archive whose index is wrong by one bit."""
    data = bytearray(indexed())
    data[-1] ^= 1
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "kept"), [(indexed(), True), (lying(), False), (V1, False)], ids=["kept", "wrong", "none"]
)
def test_how_to_look_is_passed_on_whichever_way_is_taken(data: bytes, kept: bool) -> None:
    seen: list[int] = []
    found = take_over(BytesSource(data), SETTINGS, SETTINGS.written(), on_bytes=seen.append)  # type: ignore[arg-type]
    assert found.index_kept is kept
    assert sum(seen) >= sum(len(archives.section(*block)) for block in BLOCKS)
    if data is not V1:  # which promises nothing
        damaged = BytesSource(data.replace(b"lobster", b"lobstex"))
        with pytest.raises(IntegrityError):
            take_over(damaged, SETTINGS, SETTINGS.written(), check_promised=True)  # type: ignore[arg-type]


def test_only_an_archive_that_is_just_as_wanted_stays_as_it_is() -> None:
    data = indexed()
    header = header_in(BytesSource(data))
    written = SETTINGS.written()
    take_over(BytesSource(data), SETTINGS, written)  # type: ignore[arg-type]
    assert header is not None
    assert is_as_wanted(header, SETTINGS, written, len(data))
    assert not is_as_wanted(None, SETTINGS, written, len(data))
    assert not is_as_wanted(header, SETTINGS, written, len(data) + 1)
    for change in ({"index_padding": 1}, {"store_identity": True}, {"index_codec": 0x0400}):
        assert not is_as_wanted(header, replace(SETTINGS, **change), written, len(data)), change
    padded = header._replace(index_offset=FilePosition(header.index_offset + 3))
    assert is_as_wanted(padded, replace(SETTINGS, index_padding=3), written, len(data) + 3)
