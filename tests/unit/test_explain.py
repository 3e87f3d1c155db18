"""Explanations: transcripts of good and bad files, and that they say what the readers say."""

from __future__ import annotations

import io
import os
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

import carv2
from carv2 import CID, Limits, _varint, index
from carv2._source import BytesSource
from carv2.errors import CarError, UnfinalizedError
from carv2.operations.explain import Field, explain, to_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

PRAGMA = bytes.fromhex("0aa16776657273696f6e02")
EMPTY = bytes.fromhex("11a265726f6f7473806776657273696f6e01")


def section(data: bytes, cid: bytes | None = None) -> bytes:
    raw = bytes(CID.of_data(data)) if cid is None else cid
    return _varint.encode(len(raw) + len(data)) + raw + data


def version_2(payload: bytes, index_bytes: bytes = b"", *, padding: int = 0, index_padding: int = 0) -> bytes:
    start = 51 + padding
    at = start + len(payload) + index_padding if index_bytes else 0
    numbers = b"".join(number.to_bytes(8, "little") for number in (start, len(payload), at))
    return PRAGMA + bytes(16) + numbers + bytes(padding) + payload + bytes(index_padding) + index_bytes


def stored(blocks: tuple[bytes, ...], *, codec: int = 0x0401, **options: int) -> bytes:
    """A CARv2 as go-car's store writes it, its roots null."""
    payload = bytes.fromhex("11a265726f6f7473f66776657273696f6e01")
    builder = index.IndexBuilder(codec)
    for data in blocks:
        builder.add(CID.of_data(data), len(payload))
        payload += section(data)
    return version_2(payload, builder.to_bytes(), **options)


FISH, LOBSTER = section(b"fish"), section(b"lobster")
G2 = stored((b"fish", b"lobster"))
ROOTED = carv2.CarV1Header((CID.of_data(b"fish"), CID.of_data(b"", codec="dag-pb", version=0))).to_bytes()
UNFINISHED = PRAGMA + bytes(40) + EMPTY + FISH
DETACHED = G2[154:]
HEADLESS = stored((b"fish", b"lobster"), codec=0x0400)[154 + 2 :]
UNKNOWN_HASH = EMPTY + section(b"data", bytes.fromhex("0155b9b30102abcd"))
GATEWAY = EMPTY + FISH + b"\n\n[Gateway Error: \x1b[31mtimeout]"

CASES = {  # what they are explained to be: test_explain.txt; ".." there stands for the lines before
    "empty version 1": EMPTY,
    "version 2": G2,
    "a root, with its tag": carv2.CarV1Header((CID.of_data(b"fish"),)).to_bytes(),
    "an index by itself, bad record included": DETACHED[:-1] + b"\x01",
    "unfinished, with an index": UNFINISHED + DETACHED,
    "bad varint": EMPTY + b"\x8a\x00",
    "wrong CID version": EMPTY + b"\x04\x05\x55\x00\x00",
    "hash mismatch": EMPTY + FISH[:-1] + b"t" + LOBSTER,
    "truncated in the data": EMPTY + LOBSTER[:-4],
    "truncated in the CID": EMPTY + LOBSTER[:15],
    "bad index codec": version_2(EMPTY, b"\x01\x00"),
    "index record too narrow": version_2(EMPTY, bytes.fromhex("8008 01000000 07000000 0000000000000000")),
    "unfinished": UNFINISHED,
    "unfinished, with a torn tail": UNFINISHED + LOBSTER[:-4],
    "unfinished, nothing written": PRAGMA + bytes(40) + bytes(9),
    "gateway": GATEWAY,
    "zero-length section": EMPTY + bytes(3),
    "a key that does not belong, escaped": bytes.fromhex("06a1641b5b336d"),
    "another version": bytes.fromhex("0ba16776657273696f6e182a"),
    "junk": b"<html>502 Bad Gateway</html>",
    "nothing": b"",
}


def lines(data: bytes, **options: int) -> list[str]:
    return list(to_lines(explain(data, **options)))  # type: ignore[arg-type]


def transcripts() -> dict[str, list[str]]:
    parts = Path(__file__).with_suffix(".txt").read_text().removeprefix("== ").split("\n== ")
    return {name: text.splitlines() for name, _, text in (part.partition("\n") for part in parts)}


TRANSCRIPTS = transcripts()


def test_each_case_has_its_transcript() -> None:
    assert list(TRANSCRIPTS) == list(CASES)


@pytest.mark.parametrize("name", CASES)
def test_a_file_is_explained_line_by_line_up_to_the_first_error(name: str) -> None:
    expected, found = [line for line in TRANSCRIPTS[name] if line], lines(CASES[name])
    if expected[0] == "..":
        expected = expected[1:]
        found = found[-len(expected) :]
    assert found == expected


NOT_CANONICAL = {
    "null roots": ("11a265726f6f7473f66776657273696f6e01", "no roots are an empty list, 80"),
    "undefined roots": ("11a265726f6f7473f76776657273696f6e01", "no roots are an empty list, 80"),
    "no roots": ("0aa16776657273696f6e01", "no roots are an empty list, 80"),
    "reversed keys": ("11a26776657273696f6e0165726f6f747380", "roots come before the version"),
    "a key twice": (
        "1aa365726f6f7473806776657273696f6e056776657273696f6e01",
        "it comes twice, the last one counts",
    ),
    "indefinite map": ("12bf65726f6f7473806776657273696f6e01ff", "the size is indefinite"),
    "indefinite list": ("12a265726f6f74739fff6776657273696f6e01", "the size is indefinite"),
    "indefinite key": ("14a27f63726f6f627473ff806776657273696f6e01", "the size is indefinite"),
    "long number": ("12a265726f6f7473806776657273696f6e1801", "not in the shortest form"),
    "long list": ("12a265726f6f747398006776657273696f6e01", "not in the shortest form"),
    "bytes behind": ("13a265726f6f7473806776657273696f6e01beef", "the header ends with its map"),
    "tag on the map": ("14d9d9f7a265726f6f7473806776657273696f6e01", "only a root has a tag"),
    "untagged root": ("17a265726f6f747381450001550000 6776657273696f6e01", "no tag 42 in front"),
    "root with another tag": ("19a265726f6f747381d830450001550000 6776657273696f6e01", "a link has tag 42"),
    "root in pieces": ("1ca265726f6f747381d82a5f410044 01550000 ff 6776657273696f6e01", "the size is indefinite"),
    "long tag": ("1aa265726f6f747381d9002a450001550000 6776657273696f6e01", "not in the shortest form"),
}


@pytest.mark.parametrize(("header", "rule"), NOT_CANONICAL.values(), ids=NOT_CANONICAL)
def test_what_readers_take_but_writers_do_not_write_is_named(header: str, rule: str) -> None:
    data = bytes.fromhex(header)
    fields = list(explain(data))
    assert fields[-1].error is None
    assert [field.value.partition("not canonical: ")[2] for field in fields if "not canonical" in field.value] == [
        rule
    ]
    assert_tiled(fields, len(data))


def assert_tiled(fields: list[Field], size: int) -> None:
    """The fields that have no deeper ones behind them cover each byte once."""
    at = 0
    for field, after in zip(fields, [*fields[1:], None], strict=True):
        if after is None or after.depth <= field.depth:
            assert field.position == at, field
            assert field.raw == b"" or field.size >= len(field.raw)
            at += field.size
    assert at == size


GOOD = {
    "version 1": ROOTED + FISH + LOBSTER,
    "version 2": G2,
    "padded, with bytes behind": stored((b"fish", b"lobster"), padding=5, index_padding=3) + b"more",
    "format 0x0400": stored((b"fish", b"lobster"), codec=0x0400),
    "no index": version_2(EMPTY + FISH) + b"behind",
    "index without a codec": version_2(G2[51:154], HEADLESS),
    "index by itself": DETACHED + b"behind",
    "many records": stored(tuple(b"%d" % number for number in range(40))),
    "many roots": carv2.CarV1Header(tuple(CID.of_data(b"%d" % number) for number in range(40))).to_bytes(),
    "stray bytes in a bucket": version_2(
        EMPTY, bytes.fromhex("8008 01000000 08000000 0900000000000000") + bytes(9)
    ),
    "a block larger than a chunk": ROOTED + FISH + section(bytes(200_000)) + LOBSTER,
    "a long identity CID": EMPTY + section(bytes(9000), bytes.fromhex("015500a846") + bytes(9000)) + FISH,
    "version 0 CID": EMPTY + section(b"fish", bytes(CID.of_data(b"fish", codec="dag-pb", version=0))),
    "unknown hash": UNKNOWN_HASH,
}


@pytest.mark.parametrize("max_sections", [None, 0, 1])
@pytest.mark.parametrize("data", GOOD.values(), ids=GOOD)
def test_the_fields_of_a_good_file_cover_each_byte_once(data: bytes, max_sections: int | None) -> None:
    fields = list(explain(data, max_sections=max_sections))
    assert fields[-1].error is None
    assert_tiled(fields, len(data))
    for field in fields:
        assert field.raw == (data[field.position : field.position + min(field.size, 32)] if field.raw else b"")


def read(data: bytes) -> CarError | None:
    """What stops a reader that reads all of a CAR."""
    try:
        with carv2.open(data) as car:
            assert car.roots is not None
            for _ in car.blocks(on_unverified=lambda _: None):
                pass
            assert car.index is None or car.index.codec
    except CarError as error:
        return error
    return None


def assert_explained_as_read(data: bytes) -> None:
    found, error = list(explain(data)), read(data)
    list(to_lines(found))
    assert [field for field in found[:-1] if field.error is not None] == []
    last = found[-1]
    if isinstance(error, UnfinalizedError):
        assert last.error is not None
        return
    assert last.error == (None if error is None else str(error))
    if error is not None:
        assert last.position == error.position  # type: ignore[attr-defined]
        assert last.raw == data[last.position : last.position + 32]
        assert last.meaning == type(error).__name__
    else:
        assert_tiled(found, len(data))


SMALL = {"version 2": G2, "version 1": ROOTED + FISH, "padded": GOOD["padded, with bytes behind"]}


@pytest.mark.parametrize("data", SMALL.values(), ids=SMALL)
def test_every_cut_is_explained_as_it_is_read(data: bytes) -> None:
    for size in range(len(data)):
        assert_explained_as_read(data[:size])


@pytest.mark.parametrize("data", SMALL.values(), ids=SMALL)
def test_every_byte_flip_is_explained_as_it_is_read(data: bytes) -> None:
    for at in range(len(data)):
        for mask in (0x01, 0x80, 0xFF):
            damaged = bytearray(data)
            damaged[at] ^= mask
            if not overlapping(damaged):
                assert_explained_as_read(bytes(damaged))
            else:
                list(explain(bytes(damaged)))


def overlapping(data: bytearray) -> bool:
    """Whether a CARv2 says that its index lies across other parts, which no explanation can lay out in a row."""
    if data[:11] != PRAGMA:
        return False
    start, size, at = (int.from_bytes(data[place : place + 8], "little") for place in (27, 35, 43))
    return 0 < at < start + size


@given(at=st.integers(0, len(G2) - 1), junk=st.binary(min_size=1, max_size=12))
def test_any_damage_is_explained(at: int, junk: bytes) -> None:
    data = G2[:at] + junk + G2[at + len(junk) :]
    last = list(explain(data))[-1]
    assert (last.error is None) == (read(data) is None)


@given(st.binary(max_size=80), st.sampled_from([b"", PRAGMA, EMPTY, b"\x80\x08", b"\x81\x08", UNFINISHED]))
def test_any_bytes_are_explained(junk: bytes, front: bytes) -> None:
    for line in lines(front + junk):
        assert line.isprintable()


def test_an_index_across_the_payload_is_explained_and_named() -> None:
    data = bytearray(version_2(EMPTY + section(DETACHED)))
    at = len(data) - len(DETACHED)
    data[43:51] = at.to_bytes(8, "little")
    found = next(field for field in explain(bytes(data)) if field.meaning == "index")
    assert (found.position, found.value) == (at, "it lies across other parts of the file")


def test_good_sections_are_folded_and_the_bad_one_shown() -> None:
    payload = EMPTY + FISH * 1000 + LOBSTER
    folded = lines(payload, max_sections=2)
    assert folded[-1].endswith("... 999 more sections          40,962 bytes, as good as those shown")
    broken = lines(payload[:-1], max_sections=2)
    assert [line.split()[2:6] for line in broken if "section" in line][4:] == [
        ["...", "998", "more", "sections"],
        ["section", "1001", "payload", "offset"],
        ["2b", "section", "length", "43"],
        ["wanted", "44", "bytes,", "got"],
    ]


def test_records_are_held_against_the_sections() -> None:
    data = bytearray(G2)
    data[216], data[256] = 18, 19
    offsets = [field.value for field in explain(bytes(data)) if field.meaning == "offset"]
    assert offsets == ["18 -> section 1, which has another digest", "19 -> no section starts there"]


def test_folded_records_are_held_against_the_sections_too() -> None:
    data = bytearray(GOOD["many records"])
    data[-8] ^= 1
    fold = next(field for field in explain(bytes(data)) if field.meaning == "... 24 more records")
    assert fold.value == "at 1 of their offsets no section starts"


def test_of_very_many_sections_only_the_first_are_numbered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("carv2.operations.explain._MAX_TARGETS", 1)
    offsets = [field.value for field in explain(G2) if field.meaning == "offset"]
    assert offsets == ["59", "18 -> section 1"]
    assert next(field for field in explain(GOOD["many records"]) if "more records" in field.meaning).value == ""


def test_records_out_of_order_are_named() -> None:
    data = G2[:184] + G2[224:264] + G2[184:224]
    records = next(field for field in explain(data) if field.meaning == "records")
    assert records.value.endswith("; not in ascending order: a look-up may miss")


def test_characteristics_are_told_apart() -> None:
    data = bytearray(G2)
    data[11], data[26] = 0x80, 1
    found = next(field for field in explain(bytes(data)) if field.meaning == "characteristics")
    assert found.value == "fully indexed: yes; bits without a meaning: 0x00000000000000000000000000000001"


def test_null_padding_ends_a_payload_when_asked_for() -> None:
    for data in (EMPTY + FISH + bytes(9), version_2(EMPTY + FISH + bytes(9), b"\x81\x08\0\0\0\0")):
        fields = list(explain(data, null_padding=True))
        assert_tiled(fields, len(data))
        padding = next(field for field in fields if field.meaning == "null padding")
        assert padding.value == "9 bytes, all zeros"
    assert explained_end(UNFINISHED + bytes(9), null_padding=True) == "null padding"


def explained_end(data: bytes, **options: int) -> str:
    return list(explain(data, **options))[-2].meaning  # type: ignore[arg-type]


def test_an_unknown_hash_is_no_error() -> None:
    data = next(field for field in explain(UNKNOWN_HASH) if field.meaning == "block data")
    assert data.value == "4 bytes, not verified: no hash function Code(22969) here  |data|"


def test_a_header_of_1025_bytes_is_not_taken_for_an_index() -> None:
    roots = [CID.of_data(b"%d" % number) for number in range(23)]
    size = 1025 - (len(carv2.CarV1Header(tuple(roots)).to_bytes()) - 2) - 5 - 4 - 1
    padding = CID.of_multihash(b"\x00" + bytes([size]) + bytes(size))
    data = carv2.CarV1Header((*roots, padding)).to_bytes()
    assert data[:2] == b"\x81\x08"
    assert next(iter(explain(data))).meaning == "CARv1 header"


def test_limits_are_those_of_the_readers() -> None:
    assert list(explain(EMPTY, limits=Limits(header=16)))[-1].error == "header of 17 bytes, limit 16 (at byte 0)"
    last = list(explain(EMPTY + FISH, limits=Limits(section=39)))[-1]
    assert last.error == "section of 40 bytes, limit 39 (at byte 18)"


def test_what_the_caller_opened_stays_open(tmp_path: Path) -> None:
    path = tmp_path / "fish.car"
    path.write_bytes(G2)
    expected = lines(G2)
    assert list(to_lines(explain(path))) == expected
    with path.open("rb") as file:
        assert list(to_lines(explain(file))) == expected
        assert not file.closed
    assert list(to_lines(explain(io.BytesIO(G2)))) == expected
    source = Closing(G2)
    assert list(to_lines(explain(source))) == expected
    assert list(to_lines(explain(source))) == expected


@pytest.mark.parametrize("place", [27, 35, 43], ids=["data offset", "data size", "index offset"])
def test_no_place_outside_the_file_is_looked_at(place: int, tmp_path: Path) -> None:
    path = tmp_path / "far.car"
    path.write_bytes(G2[:place] + b"\xff" * 7 + b"\x7f" + G2[place + 8 :])
    with path.open("rb") as file:
        found = list(explain(Plain(file)))  # type: ignore[arg-type]
    assert found == list(explain(path.read_bytes()))
    assert found[-1].meaning == "TruncatedError"


class Plain(io.RawIOBase):
    """A file that is only known to read and seek; its seek refuses what the system's does."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._inner = file

    def read(self, size: int = -1) -> bytes:
        return self._inner.read(size)

    def seek(self, position: int, whence: int = 0) -> int:
        return self._inner.seek(position, whence)

    def tell(self) -> int:
        return self._inner.tell()

    def seekable(self) -> bool:
        return True


class Closing(BytesSource):
    def close(self) -> None:
        raise AssertionError


def test_errors_of_the_operating_system_pass_through(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        next(explain(tmp_path / "none.car"))


def test_a_large_file_takes_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.car"
    with path.open("wb") as file:
        file.write(EMPTY)
        file.writelines([section(bytes(1 << 20))] * 40)
    tracemalloc.start()
    for _ in explain(path):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20


def foreign() -> Iterator[Path]:
    shared = Path(os.environ.get("CARV2_SHARED", Path(__file__).parents[3] / "shared")) / "fixtures"
    yield from sorted(path for path in shared.rglob("*.car*") if path.stat().st_size < 600_000)


@pytest.mark.parametrize("path", list(foreign()), ids=lambda path: path.name)
def test_files_of_other_programs_are_explained_as_they_are_read(path: Path) -> None:
    data = path.read_bytes()
    if path.suffix == ".carindex":
        assert_tiled(list(explain(data)), len(data))
    else:
        assert_explained_as_read(data)
