"""Archives of references, section by section: byte for byte what Lotus' client writes."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from typing import Any

import pytest

import carv2
from carv2 import CID
from carv2.errors import ClosedError, IntegrityError, LimitError
from carv2.filestore import FileReference, ReferenceWriter, key_cid
from carv2.units import Limits
from filestore.writing import sections
from helpers.shared import shared_fixture

LEAF = CID.of_data(b"0123456789")
REFERENCE = FileReference("data/input.bin", 0, 10)


def written(*, variant: str = "D", roots: Any = (LEAF,), **options: Any) -> bytes:
    sink = io.BytesIO()
    with ReferenceWriter(sink, roots, variant=variant, **options) as car:
        assert car.put_reference(LEAF, REFERENCE)
    return sink.getvalue()


def test_the_worked_example_byte_for_byte() -> None:
    example = json.loads(shared_fixture("refcar/one-reference.json").read_text())
    assert str(LEAF) == example["leaf_cid"]
    assert written().hex() == example["file_hex"]


@pytest.mark.parametrize(
    ("variant", "size", "digest"),
    [
        ("A", 293, "7d0f92e77ae64c441ac5e6654d9a6d7751c82084c3151bf44965407525a66cf4"),
        ("D", 237, "dd4cdf8fbe0999a64f2fdc6035c6d59a68122579fc71f3c6526a314856eb9894"),
    ],
)
def test_the_worked_example_by_its_hash(variant: str, size: int, digest: str) -> None:
    data = written(variant=variant)
    assert (len(data), hashlib.sha256(data).hexdigest()) == (size, digest)


@pytest.mark.parametrize(
    ("variant", "codec", "full", "bucket"),
    [("A", 0x400, False, None), ("B", 0x401, False, 0), ("C", 0x401, False, 0x12), ("D", 0x401, True, 0x12)],
)
def test_what_the_variants_are_made_of(variant: str, codec: int, full: bool, bucket: int | None) -> None:
    with carv2.open(written(variant=variant)) as car:
        assert car.header is not None
        assert car.index is not None
        assert (car.header.data_offset, car.header.is_fully_indexed) == (51, full)
        assert car.header.index_offset == car.header.data_end
        (entry,) = car.index
        (section,) = car.sections()
        assert section.cid == key_cid(LEAF, variant)
        assert (car.index.codec, entry.offset, entry.digest) == (codec, section.offset, section.cid.digest)
        assert bucket in {None, entry.hash_code}


def test_no_block_comes_twice_unless_it_should() -> None:
    node = CID.of_data(b"\x0a\x00", codec="dag-pb")
    other = FileReference("data/other.bin", 7, 10)
    for repeats, expected in ((False, 2), (True, 4)):
        sink = io.BytesIO()
        with ReferenceWriter(sink, repeats=repeats) as car:
            answers = [car.put_reference(LEAF, REFERENCE), car.put(node, b"\x0a\x00")]
            answers += [car.put_reference(LEAF, other), car.put(node, b"\x0a\x00")]
        assert answers == [True, True, repeats, repeats]
        assert (car.node_count + car.reference_count, car.repeated_count) == (expected, 4 - expected)
        assert len(sections(sink.getvalue())) == expected


def test_identity_cids_hold_their_blocks_themselves() -> None:
    sink = io.BytesIO()
    inline = CID.of_data(b"fish", hash="identity")
    with ReferenceWriter(sink, [inline]) as car:
        assert not car.put(inline, b"fish")
        with pytest.raises(ValueError, match="holds its data itself"):
            car.put_reference(inline, FileReference("fish", 0, 4))
    assert sections(sink.getvalue()) == []


@pytest.mark.parametrize("cid", [CID.of_data(b"1", codec="dag-pb"), CID.of_data(b"1", codec="dag-pb", version=0)])
def test_references_stand_for_raw_leaves_alone(cid: CID) -> None:
    with ReferenceWriter(io.BytesIO()) as car, pytest.raises(ValueError, match="no CIDv1 of codec raw"):
        car.put_reference(cid, REFERENCE)


def test_blocks_are_checked_and_meet_the_limits() -> None:
    sink = io.BytesIO()
    with ReferenceWriter(sink, limits=Limits(section=100)) as car:
        with pytest.raises(IntegrityError):
            car.put(LEAF, b"9876543210")
        with pytest.raises(LimitError):
            car.put_reference(LEAF, FileReference("x", 0, 65))
        with pytest.raises(LimitError):
            car.put(CID.of_data(bytes(65)), bytes(65))
        assert car.put_reference(LEAF, FileReference("x", 0, 64))
        assert car.put(CID.of_data(bytes(64)), bytes(64))
    assert len(sections(sink.getvalue())) == 2
    with pytest.raises(ClosedError):
        car.put(CID.of_data(b"1"), b"1")


def test_there_is_no_variant_e() -> None:
    with pytest.raises(ValueError, match="variant 'E'"):
        ReferenceWriter(io.BytesIO(), variant="E")


def test_roots_may_come_last_and_failures_leave_no_archive() -> None:
    sink = io.BytesIO()
    with ReferenceWriter(sink, [CID.of_data(b"", codec="dag-pb", version=0)]) as car:
        car.put_reference(LEAF, REFERENCE)
        car.set_roots([LEAF])
    assert sink.getvalue() == written()
    torn = io.BytesIO()
    with contextlib.suppress(KeyError), ReferenceWriter(torn) as car:
        car.put_reference(LEAF, REFERENCE)
        raise KeyError
    with pytest.raises(carv2.FormatError):
        carv2.open(torn.getvalue())
