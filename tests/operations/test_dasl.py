"""``verify(profile="dasl")``: archives that are sound and yet not what DASL allows, made and found."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

import carv2
from carv2 import CID, Limits
from carv2._varint import encode as varint
from carv2.codec import dag_cbor
from carv2.dag import verify_deep
from helpers.shared import own_fixture, shared_fixture

if TYPE_CHECKING:
    from pathlib import Path

FISH = CID.of_data(b"fish")
NODE = dag_cbor.encode({"a": 1, "friend": FISH})
NODE_CID = CID.of_data(NODE, codec="dag-cbor")
GOOD = b"".join(carv2.iter_car([NODE_CID], [(NODE_CID, NODE), (FISH, b"fish")]))


def problems(archive: bytes, **settings: object) -> list[str]:
    report = carv2.verify(archive, profile="dasl", **settings)  # type: ignore[arg-type]
    assert report.problem_count == len(report.problems)
    for problem in report.problems:
        assert (problem.kind == "NotDasl") == problem.message.startswith("not DASL: ")
        if problem.kind == "NotDasl":
            assert problem.position is not None
            assert problem.message.endswith(f"(at byte {problem.position})")
    return [problem.message.removeprefix("not DASL: ") for problem in report.problems]


def section(cid: CID, data: bytes) -> bytes:
    return varint(len(bytes(cid)) + len(data)) + bytes(cid) + data


def of_header(header: str, *sections: bytes) -> bytes:
    body = bytes.fromhex(header)
    return varint(len(body)) + body + b"".join(sections)


def with_block(data: bytes, codec: str = "dag-cbor") -> bytes:
    cid = CID.of_data(data, codec=codec)
    return b"".join(carv2.iter_car([cid], [(cid, data)]))


def test_a_sound_archive_is_dasl() -> None:
    assert problems(GOOD) == []
    assert problems(b"".join(carv2.iter_car([], []))) == []
    assert problems(with_block(b"", "raw")) == []


def test_an_archive_that_is_not_dasl_is_sound_without_the_profile() -> None:
    for archive in (with_block(b"\x18\x01"), b"".join(carv2.iter_car([], [(CIDV0, b"")]))):
        assert carv2.verify(archive).ok
        assert not carv2.verify(archive, profile="dasl").ok


CIDV0 = CID.of_data(b"", codec="dag-pb", version=0)


def test_sections_with_other_cids_are_named_where_their_cids_stand() -> None:
    others = [
        CIDV0,
        CID.of_data(b"", codec="dag-pb"),
        CID.of_data(b"", hash="blake2b-256"),
        CID.of_data(b"", hash="identity"),
    ]
    archive = b"".join(carv2.iter_car([FISH], [(FISH, b"fish"), *((cid, b"") for cid in others)]))
    whys = [
        "CIDv0, allowed: CIDv1",
        "the codec dag-pb (0x70), allowed: raw and dag-cbor",
        "the hash blake2b-256 (0xb220), allowed: sha2-256",
        "the hash identity (0x0), allowed: sha2-256",
    ]
    places = [archive.index(bytes(cid), 59 if cid.is_identity else 0) for cid in others]
    assert problems(archive) == [
        f"a section with {why} (at byte {place})" for why, place in zip(whys, places, strict=True)
    ]


def test_a_block_that_is_not_drisl_is_named_with_the_byte_of_the_file() -> None:
    data = bytes.fromhex("a2616201616102")
    (found,) = problems(with_block(data))
    at = with_block(data).index(data) + 4
    short = CID.of_data(data, codec="dag-cbor").short()
    assert found == (
        f"the block {short} is not DRISL: the key 'a' behind 'b', allowed: in order, each once (at byte {at})"
    )


def test_what_is_in_raw_blocks_is_nobodys_concern() -> None:
    assert problems(with_block(bytes.fromhex("a2616201616102"), "raw")) == []


def test_a_large_block_is_read_for_the_check() -> None:
    data = dag_cbor.encode([bytes(3_000_000), 1])
    assert problems(with_block(data)) == []
    assert len(problems(with_block(data[:-1] + b"\xf7"))) == 1


def test_many_blocks_of_several_kinds() -> None:
    blocks = [dag_cbor.encode(number) for number in range(500)] + [b"\x18\x05"] * 3
    pairs = [(CID.of_data(data, codec=codec), data) for data in blocks for codec in ("raw", "dag-cbor")]
    archive = b"".join(carv2.iter_car([], pairs))
    assert len(problems(archive)) == 3


HEADERS = {
    "version first": ("a26776657273696f6e0165726f6f747380", "the key 'roots' behind 'version'", 11),
    "roots twice": ("a365726f6f74738065726f6f7473806776657273696f6e01", "the key 'roots' behind 'roots'", 9),
    "the version in two bytes": ("a265726f6f7473806776657273696f6e1801", "the number 1 in 2 bytes", 17),
    "roots without a length": ("a265726f6f74739fff6776657273696f6e01", "an indefinite length", 8),
    "no roots": ("a16776657273696f6e01", "the header has no list of roots", 0),
    "roots null": ("a265726f6f7473f66776657273696f6e01", "the header has no list of roots", 0),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_in_another_form_is_named(name: str) -> None:
    header, why, position = HEADERS[name]
    (found,) = problems(of_header(header, section(FISH, b"fish")))
    assert why in found
    assert found.endswith(f"(at byte {position})")


def test_roots_are_dasl_cids_too() -> None:
    archive = b"".join(carv2.iter_car([CIDV0], []))
    found, missing = problems(archive)
    assert "is not a block" in missing
    assert found.startswith("the header is not DRISL: a link with CIDv0")


def test_a_root_that_is_no_block_is_a_problem_as_ever() -> None:
    archive = b"".join(carv2.iter_car([NODE_CID], [(FISH, b"fish")]))
    assert problems(archive) == [f"the root {NODE_CID.short()} is not a block"]


def test_a_carv2_is_not_dasl_and_its_payload_is_checked_all_the_same(tmp_path: Path) -> None:
    carv2.wrap(io.BytesIO(with_block(b"\x18\x01")), tmp_path / "two.car")
    first, second = problems((tmp_path / "two.car").read_bytes())
    assert first == "a CARv2, allowed: CARv1 (at byte 0)"
    at = (tmp_path / "two.car").read_bytes().index(b"\x18\x01")
    assert second.endswith(f"(at byte {at})")


def test_an_archive_that_is_cut_off_is_told_of_as_ever() -> None:
    assert problems(GOOD[:-1]) == [carv2.verify(GOOD[:-1]).problems[0].message]


def test_workers_find_the_same(tmp_path: Path) -> None:
    body = bytes(700_000)
    blocks = [dag_cbor.encode([number, body]) for number in range(8)] + [b"\x18\x01"]
    path = tmp_path / "several.car"
    path.write_bytes(b"".join(carv2.iter_car([], [(CID.of_data(d, codec="dag-cbor"), d) for d in blocks])))
    alone = carv2.verify(path, profile="dasl")
    assert alone.problem_count == 1
    assert carv2.verify(path, profile="dasl", workers=2) == alone


def test_the_deep_check_takes_the_profile_too() -> None:
    report, deep = verify_deep(with_block(b"\x18\x01"), profile="dasl")
    assert [problem.kind for problem in report.problems] == ["NotDasl"]
    assert deep is not None
    assert deep.complete


def test_problems_beyond_the_first_thousand_are_counted() -> None:
    cid = CID.of_data(b"\x18\x01", codec="dag-cbor")
    report = carv2.verify(b"".join(carv2.iter_car([], [(cid, b"\x18\x01")] * 1500)), profile="dasl")
    assert (report.problem_count, len(report.problems)) == (1500, 1000)


def test_another_profile_is_not_known() -> None:
    with pytest.raises(ValueError, match="'dasi', known: 'dasl'"):
        carv2.verify(GOOD, profile="dasi")  # type: ignore[arg-type]


def test_a_limit_holds_as_without_the_profile() -> None:
    assert problems(GOOD, limits=Limits(section=40)) == [
        problem.message for problem in carv2.verify(GOOD, limits=Limits(section=40)).problems
    ]


def test_our_sample_is_not_dasl_and_says_why() -> None:
    sample = own_fixture("sample.car")
    found = carv2.verify(sample, profile="dasl")
    assert carv2.verify(sample).ok
    assert {problem.kind for problem in found.problems} == {"NotDasl"}


@pytest.mark.parametrize(("name", "dasl"), [("spec/carv1-basic.car", False), ("go-car/sample-v1.car", False)])
def test_files_of_others(name: str, dasl: bool) -> None:
    report = carv2.verify(shared_fixture(name), profile="dasl")
    assert {problem.kind for problem in report.problems} == (set() if dasl else {"NotDasl"})
