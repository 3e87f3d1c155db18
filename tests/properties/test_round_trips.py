"""What is written is read back; what an index is made of is what it tells."""

from __future__ import annotations

import io
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carv2._source import BytesSource, SliceView
from carv2.cid import CID
from carv2.index import IndexBuilder, parse
from carv2.reader import CarReader
from carv2.writer import CarWriter, iter_car
from helpers.archives import (
    FULLY_INDEXED,
    Record,
    cid_v1,
    header,
    index_multihash_sorted,
    index_sorted,
    section,
    v1,
    v2,
)
from helpers.binary import assert_bytes_equal
from helpers.feeding import by_async_decoder, by_decoder, by_indexing, by_reader, split_at
from helpers.strategies import blocks, cids, records

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("scanner_warmth")

BLOCKS = st.lists(blocks(), max_size=6).flatmap(
    lambda made: st.just(made) if not made else st.lists(st.sampled_from(made), max_size=2).map(made.__add__)
)
ROOTS = st.lists(cids(), max_size=3)
CUTS = st.lists(st.integers(0, 1 << 20), max_size=12)


def records_for(payload_header: bytes, held: list[tuple[bytes, bytes]]) -> list[Record]:
    found, offset = [], len(payload_header)
    for raw, data in held:
        cid = CID(raw)
        found.append(Record(cid.hash_code, cid.digest, offset))
        offset += len(section(raw, data))
    return found


@given(ROOTS, BLOCKS)
def test_a_carv1_comes_back_as_it_was_written(roots: list[bytes], held: list[tuple[bytes, bytes]]) -> None:
    archive = b"".join(iter_car(roots, held))
    assert_bytes_equal(archive, v1(roots, held))
    car = CarReader(archive)
    assert [bytes(root) for root in car.roots] == roots
    assert by_reader(archive) == (held, None)
    assert by_reader(archive, verify=False) == (held, None)
    offset = len(header(roots))
    for found, (cid, data) in zip(car.sections(), held, strict=True):
        assert (bytes(found.cid), found.offset, found.size) == (cid, offset, len(data))
        assert archive[found.data_position :][: found.size] == data
        offset += len(section(cid, data))


OPTIONS = st.fixed_dictionaries(
    {
        "index_codec": st.sampled_from([0x0400, 0x0401]),
        "identity": st.booleans(),
        "data_padding": st.sampled_from([0, 1, 1413]),
        "index_padding": st.sampled_from([0, 7]),
    }
)


@given(ROOTS, BLOCKS, OPTIONS)
def test_a_carv2_comes_back_as_it_was_written(
    roots: list[bytes], held: list[tuple[bytes, bytes]], options: dict[str, Any]
) -> None:
    sink = io.BytesIO()
    with CarWriter(sink, roots, version=2, **options) as writer:
        writer.write_all(held)
    archive = sink.getvalue()
    listed = [record for record in records_for(header(roots), held) if options["identity"] or record.code]
    make = index_sorted if options["index_codec"] == 0x0400 else index_multihash_sorted
    expected = v2(
        v1(roots, held),
        make(listed),
        data_padding=options["data_padding"],
        index_padding=options["index_padding"],
        characteristics=FULLY_INDEXED if options["identity"] else bytes(16),
    )
    assert_bytes_equal(archive, expected)
    assert by_reader(archive) == (held, None)
    car = CarReader(archive)
    for cid, data in held:
        assert car.get(cid) == data
    assert by_indexing(archive).error is None


@given(ROOTS, BLOCKS, CUTS, st.booleans(), st.integers(0, 100))
def test_chunks_of_any_size_give_what_the_file_gives(
    roots: list[bytes], held: list[tuple[bytes, bytes]], cuts: list[int], wrapped: bool, padding: int
) -> None:
    archive = v1(roots, held)
    if wrapped:
        archive = v2(archive, index_multihash_sorted(records_for(header(roots), held)), data_padding=padding)
    chunks = split_at(archive, cuts)
    assert by_decoder(chunks) == by_async_decoder(chunks) == by_reader(archive) == (held, None)


@given(st.lists(blocks(st.binary(max_size=30)), min_size=1, max_size=5), st.data())
def test_chunks_of_a_cut_archive_give_what_the_cut_file_gives(
    held: list[tuple[bytes, bytes]], draw: st.DataObject
) -> None:
    archive = v2(v1([held[0][0]], held), b"\x81\x08" + bytes(4), data_padding=draw.draw(st.integers(0, 9)))
    archive = archive[: draw.draw(st.integers(0, len(archive)), label="cut")]
    chunks = split_at(archive, draw.draw(CUTS))
    assert by_decoder(chunks).summary == by_reader(archive).summary


@settings(max_examples=30)
@given(BLOCKS, st.integers(1, 300))
def test_the_size_of_a_sources_chunks_does_not_matter(held: list[tuple[bytes, bytes]], chunk_size: int) -> None:
    archive = v1([], held)
    source = BytesSource(archive)
    source.chunk_size = chunk_size
    assert by_reader(source) == (held, None)
    assert list(CarReader(source).sections()) == list(CarReader(archive).sections())


# -- indexes ---------------------------------------------------------------------------------------------------


def model_of(listed: list[Record], codec: int) -> dict[tuple[int, bytes], list[int]]:
    """A dict that answers what an index answers."""
    model: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    for code, digest, offset in sorted(listed, key=lambda record: record.offset):
        model[code if codec == 0x0401 else 0, digest].append(offset)
    return model


@given(records(), st.sampled_from([0x0400, 0x0401]), st.booleans())
def test_an_index_answers_as_a_dict_would(listed: list[Record], codec: int, warm: bool) -> None:
    builder = IndexBuilder(codec)
    for record in listed:
        builder.add_record(*record)
    assert len(builder) == len(listed)
    raw = builder.to_bytes()
    assert_bytes_equal(raw, (index_sorted if codec == 0x0400 else index_multihash_sorted)(listed))
    model = model_of(listed, codec)
    asked = [(code, digest) for _, digest, _ in listed for code in (0x00, 0x12, 0x1B, 0xB220, 0x99)]
    asked += [(0x12, b""), (0x12, b"\xff" * 16), (0x12, bytes(16))]
    for index in (parse(raw), parse(SliceView(BytesSource(b"?" + raw), 1, 1 + len(raw)))):
        assert len(index) == len(listed)
        for _ in range(20 if warm else 1):
            for code, digest in asked[:30]:
                found = list(index.offsets_of(cid_v1(b"", code=code, digest=digest)))
                assert found == model.get((code if codec == 0x0401 else 0, digest), [])


@given(records(), st.sampled_from([index_sorted, index_multihash_sorted]), st.binary(max_size=20))
def test_an_index_is_written_as_it_was_read(listed: list[Record], make: object, behind: bytes) -> None:
    raw = make(listed)  # type: ignore[operator]
    index = parse(raw + behind)
    assert index.size == len(raw)
    assert_bytes_equal(index.to_bytes(), raw)
    assert sorted(entry.offset for entry in index) == sorted(record.offset for record in listed)


@given(
    st.lists(blocks(st.binary(max_size=40)), max_size=20), st.sampled_from([0x0400, 0x0401]), st.integers(1, 200)
)
def test_an_index_built_in_bulk_is_the_one_built_one_by_one(
    held: list[tuple[bytes, bytes]], codec: int, chunk_size: int
) -> None:
    source = BytesSource(v2(v1([], held), data_padding=11))
    source.chunk_size = chunk_size
    car = CarReader(source)
    bulk, single = IndexBuilder(codec, identity=True), IndexBuilder(codec, identity=True)
    for batch in car.batches(bodies=False):
        shift = batch.base - car.payload_position
        bulk.add_sections(batch.entries, batch.start + shift, shift)
    for found in car.sections():
        single.add(found.cid, found.offset)
    raw = bulk.to_bytes()
    assert_bytes_equal(raw, single.to_bytes())
    make = index_sorted if codec == 0x0400 else index_multihash_sorted
    assert_bytes_equal(raw, make(records_for(header(), held)))


@pytest.mark.parametrize("count", [100, 5000])
def test_many_layouts_of_cids_in_one_archive_are_all_understood(count: int, tmp_path: Path) -> None:
    """More than the scanner remembers, with sections of every varint size."""
    held = []
    for n in range(count):
        data = bytes([n & 255]) * (n % 300)
        digest = CID.of_data(data, hash="sha2-512").digest[: 1 + n % 64]
        held.append((cid_v1(data, codec=n * 7, code=0x13, digest=digest), data))
    path = tmp_path / "many.car"
    path.write_bytes(v1([], held))
    assert by_reader(path) == (held, None)
    assert by_reader(path.read_bytes()) == (held, None)
    assert [bytes(found.cid) for found in CarReader(path).sections()] == [cid for cid, _ in held]


@pytest.mark.parametrize("large", [32_000, 32 << 10, (32 << 10) + 1, 64 << 10, 200_000])
def test_large_and_small_blocks_in_turn_are_all_read(large: int, tmp_path: Path) -> None:
    held = []
    for n in range(12):
        data = bytes([n]) * (large + n if n % 3 else 50 * n)
        held += [(cid_v1(data), data), (cid_v1(bytes([n])), bytes([n]))]
    archive = v2(v1([], held), index_multihash_sorted(records_for(header(), held)), data_padding=3)
    path = tmp_path / "mixed.car"
    path.write_bytes(archive)
    for source in (path, archive):
        assert by_reader(source) == (held, None)
        car = CarReader(source)
        located = list(car.sections())
        assert [(found.offset, found.size) for found in located] == [
            (record.offset, len(data)) for record, (_, data) in zip(records_for(header(), held), held, strict=True)
        ]
        assert [car.read(found) for found in located] == held
