"""Archives filtered by CID: against a model, byte for byte."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import carv2
from carv2 import errors
from carv2._storefile import StoreFile
from helpers import archives, strategies
from helpers.binary import assert_bytes_equal
from helpers.shared import shared_fixture

if TYPE_CHECKING:
    from pathlib import Path

FISH, LOBSTER, BARRELEYE = archives.FISH, archives.LOBSTER, archives.BARRELEYE
IDENTITY = (archives.identity(b"id"), b"id")
BLOCKS = list(archives.SOME_BLOCKS)
ROOTS = [FISH[0], archives.PB_NODE[0]]
DISTINCT = [*dict.fromkeys(block for block in BLOCKS if block != IDENTITY)]


def is_identity(cid: bytes) -> bool:
    return bool(carv2.CID(cid).is_identity)


def model(roots: list[bytes], blocks: list[tuple[bytes, bytes]], cids: set[bytes], **options: Any) -> bytes:
    """The CARv1 that filtering should give, by the rules that the reference states."""

    def kept(cid: bytes) -> bool:
        return (cid in cids) != bool(options.get("inverse"))

    found = dict.fromkeys((cid, data) for cid, data in blocks if kept(cid))
    if not options.get("keep_identity"):
        found = {block: None for block in found if not is_identity(block[0])}
    return archives.v1([root for root in roots if kept(root)], found)


def filtered(source: Any, cids: Any, **options: Any) -> tuple[bytes, Any]:
    sink = io.BytesIO()
    report = carv2.filter_blocks(source, sink, cids, **options)
    return sink.getvalue(), report


def wrapped(payload: bytes) -> bytes:
    sink = io.BytesIO()
    carv2.wrap(payload, sink)
    return sink.getvalue()


@given(
    st.lists(strategies.blocks(), max_size=8),
    st.data(),
    st.booleans(),
    st.sampled_from([1, 2]),
    st.booleans(),
)
def test_filtering_gives_what_the_model_gives(
    blocks: list[tuple[bytes, bytes]], data: st.DataObject, inverse: bool, version: int, wrap: bool
) -> None:
    repeated = data.draw(st.lists(st.sampled_from(blocks), max_size=12)) if blocks else []
    cids = {block[0] for block in data.draw(st.lists(st.sampled_from(blocks), max_size=5))} if blocks else set()
    cids |= data.draw(st.sets(strategies.cids(), max_size=2))
    roots = [cid for cid, _ in repeated[:2]]
    source = archives.v1(roots, repeated)
    options: Any = {"inverse": inverse, "keep_identity": data.draw(st.booleans())}
    expected = model(roots, repeated, cids, **options)
    out, report = filtered(wrapped(source) if wrap else source, cids, version=version, **options)
    assert_bytes_equal(out, expected if version == 1 else wrapped(expected))
    with carv2.open(expected) as car:
        sizes = [section.size for section in car.sections()]
        assert (report.roots, report.block_count, report.block_bytes) == (car.roots, len(sizes), sum(sizes))


def test_what_was_left_is_counted() -> None:
    lost = archives.cid_v1(b"lost")
    _, report = filtered(archives.SMALL_V1, [cid for cid, _ in BLOCKS] + [lost, IDENTITY[0]])
    assert report.missing == (carv2.CID(lost),)
    assert (report.block_count, report.duplicate_count, report.identity_count) == (4, 1, 1)
    _, report = filtered(archives.SMALL_V1, [lost], inverse=True)
    assert report.missing == ()


def test_identity_cids_of_any_size_are_left_out() -> None:
    blocks = [(archives.identity(data), data) for size in (0, 31, 32, 33) for data in (b"a" * size, b"b" * size)]
    blocks = [*dict.fromkeys(blocks), FISH]
    out, report = filtered(archives.v1([], blocks), [], inverse=True, version=1)
    assert_bytes_equal(out, archives.v1([], [FISH]))
    assert report.identity_count == 7


def test_another_codec_or_version_is_another_block() -> None:
    data = archives.PB_NODE[1]
    for cid in (archives.cid_v1(data, codec=archives.DAG_PB), archives.cid_v1(data)):
        out, report = filtered(archives.SMALL_V1, [cid], version=1)
        assert_bytes_equal(out, archives.v1([], []))
        assert report.missing == (carv2.CID(cid),)


def test_all_forms_of_a_cid_are_taken() -> None:
    cid = carv2.CID(FISH[0])
    for form in (cid, str(cid), FISH[0]):
        assert_bytes_equal(filtered(archives.SMALL_V1, [form], version=1)[0], archives.v1([FISH[0]], [FISH]))


@pytest.mark.parametrize("size", [10, 1000, 100_000, 300_000])
def test_what_alternates_is_copied_right_whatever_its_size(size: int) -> None:
    blocks = [(archives.cid_v1(data), data) for data in (bytes([at]) * (size + at) for at in range(30))]
    source = archives.v1([], blocks)
    for chosen in (blocks[::2], blocks[1::2], blocks[::7], blocks[:3] + blocks[20:]):
        out, _ = filtered(source, [cid for cid, _ in chosen], version=1)
        assert_bytes_equal(out, archives.v1([], chosen))


def test_the_two_block_and_twenty_block_filters_of_go_cars_own_test() -> None:
    source = shared_fixture("go-car-cli/simple-unixfs.car")
    with carv2.open(source) as car:
        cids = [block.cid for block in car]
    assert len(cids) == 22
    for inverse, count in ((False, 2), (True, 20)):
        out, report = filtered(source, cids[7:9], inverse=inverse)
        assert report.block_count == count
        assert carv2.verify(out).ok
        assert [block.cid for block in carv2.open(out)] == (cids[:7] + cids[9:] if inverse else cids[7:9])


def test_a_header_that_is_not_canonical_does_not_shift_anything() -> None:
    header = bytes.fromhex("0aa16776657273696f6e01")  # no roots key
    source = header + archives.section(*FISH) + archives.section(*LOBSTER)
    out, _ = filtered(source, [LOBSTER[0]])
    assert_bytes_equal(out, wrapped(archives.v1([], [LOBSTER])))


# -- appending -------------------------------------------------------------------------------------------------


def appended(folder: Path, old: bytes, source: Any, cids: Any, **options: Any) -> tuple[bytes, Any]:
    path = folder / "old.car"
    path.write_bytes(old)
    report = carv2.filter_blocks(source, path, cids, append=True, **options)
    assert sorted(os.listdir(folder)) == ["old.car"]
    return path.read_bytes(), report


def test_appending_keeps_roots_and_what_is_there_and_adds_what_is_not(tmp_path: Path) -> None:
    old = archives.v1([LOBSTER[0]], [LOBSTER, LOBSTER])
    out, report = appended(tmp_path, wrapped(old), archives.SMALL_V1, [FISH[0], LOBSTER[0]])
    assert_bytes_equal(out, wrapped(archives.v1([LOBSTER[0]], [LOBSTER, LOBSTER, FISH])))
    assert (report.roots, report.block_count, report.duplicate_count) == ((carv2.CID(LOBSTER[0]),), 1, 2)


def test_appending_keeps_padding_identity_and_kind_of_index(tmp_path: Path) -> None:
    old = io.BytesIO()
    carv2.wrap(archives.v1([], [IDENTITY]), old, data_padding=100, identity=True, index_codec=0x0400)
    out, _ = appended(tmp_path, old.getvalue(), archives.SMALL_V1, [FISH[0]])
    expected = io.BytesIO()
    carv2.wrap(archives.v1([], [IDENTITY, FISH]), expected, data_padding=100, identity=True, index_codec=0x0400)
    assert_bytes_equal(out, expected.getvalue())


def test_a_carv2_without_an_index_gets_one(tmp_path: Path) -> None:
    out, _ = appended(tmp_path, archives.v2(archives.v1([], [LOBSTER])), archives.SMALL_V1, [FISH[0]])
    assert_bytes_equal(out, wrapped(archives.v1([], [LOBSTER, FISH])))


def test_an_archive_may_be_appended_to_itself(tmp_path: Path) -> None:
    path = tmp_path / "x.car"
    path.write_bytes(wrapped(archives.v1([], [FISH, LOBSTER])))
    before = path.read_bytes()
    report = carv2.filter_blocks(path, path, [FISH[0]], append=True)
    assert (report.block_count, path.read_bytes()) == (0, before)


@pytest.mark.parametrize(
    ("old", "kind"),
    [
        (archives.SMALL_V1, errors.VersionError),
        (archives.SMALL_V2[:100], errors.TruncatedError),
        (archives.PRAGMA + bytes(40), errors.UnfinalizedError),
        (b"", errors.TruncatedError),
    ],
)
def test_what_cannot_be_appended_to_is_named_and_stays(tmp_path: Path, old: bytes, kind: Any) -> None:
    path = tmp_path / "old.car"
    with pytest.raises(kind) as caught:
        appended(tmp_path, old, archives.SMALL_V1, [FISH[0]])
    assert caught.value.archive == str(path)
    assert path.read_bytes() == old
    assert os.listdir(tmp_path) == ["old.car"]


def test_appending_to_what_a_writer_has_open_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "old.car"
    path.write_bytes(archives.SMALL_V2)
    held = StoreFile.resume(path)
    try:
        with pytest.raises(errors.LockedError):
            carv2.filter_blocks(archives.SMALL_V1, path, [FISH[0]], append=True)
    finally:
        held.close()
    carv2.filter_blocks(archives.SMALL_V1, path, [FISH[0]], append=True)


def test_appending_needs_a_path_and_version_2(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="path"):
        carv2.filter_blocks(archives.SMALL_V1, io.BytesIO(), [], append=True)
    with pytest.raises(errors.VersionError):
        appended(tmp_path, archives.SMALL_V2, archives.SMALL_V1, [], version=1)
    with pytest.raises(FileNotFoundError):
        carv2.filter_blocks(archives.SMALL_V1, tmp_path / "none.car", [], append=True)
    assert os.listdir(tmp_path) == ["old.car"]


# -- bad input -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("cut", [1, 30, len(archives.SMALL_V1) - 130])
def test_of_a_truncated_source_nothing_is_written(tmp_path: Path, version: int, cut: int) -> None:
    source = archives.SMALL_V1[:-cut]
    sink, path = io.BytesIO(), tmp_path / "new.car"
    for destination in (sink, path):
        with pytest.raises(errors.TruncatedError):
            carv2.filter_blocks(source, destination, [], inverse=True, version=version)
    assert sink.getvalue() == b""
    assert os.listdir(tmp_path) == []


def test_a_truncated_carv2_is_known_before_a_byte_is_written() -> None:
    sink = io.BytesIO()
    with pytest.raises(errors.TruncatedError, match="payload"):
        carv2.filter_blocks(archives.v2(archives.SMALL_V1)[:-1], sink, [])
    assert sink.getvalue() == b""


def test_a_damaged_block_is_an_error_even_if_it_is_left_out() -> None:
    damaged = archives.v1([], [FISH, (LOBSTER[0], b"lobsteR")])
    with pytest.raises(errors.IntegrityError):
        filtered(damaged, [FISH[0]])
    assert filtered(damaged, [LOBSTER[0]], verify=False, version=1)[0] == archives.v1(
        [], [(LOBSTER[0], b"lobsteR")]
    )


def test_a_block_that_nobody_can_check_is_an_error_unless_told_otherwise() -> None:
    unknown = (archives.cid_v1(b"", code=0x300001, digest=b"abcd"), b"data")
    source = archives.v1([], [unknown])
    with pytest.raises(errors.UnknownHashError) as caught:
        filtered(source, [unknown[0]])
    assert caught.value.position == len(source) - 4
    assert filtered(source, [unknown[0]], verify=False)[1].block_count == 1


def test_null_padding_is_refused_or_left_out() -> None:
    padded = archives.v1([], [FISH]) + bytes(100)
    with pytest.raises(errors.FormatError, match="zero-length"):
        filtered(padded, [FISH[0]])
    assert_bytes_equal(filtered(padded, [FISH[0]], null_padding=True)[0], wrapped(archives.v1([], [FISH])))


@pytest.mark.parametrize("version", [0, 3, -1])
def test_other_versions_are_refused_at_once(version: int) -> None:
    with pytest.raises(ValueError, match="CAR version"):
        filtered(archives.SMALL_V1, [], version=version)


def test_a_destination_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        carv2.filter_blocks(archives.SMALL_V1, tmp_path / "no" / "new.car", [])
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match=r"folder|directory"):
        carv2.filter_blocks(archives.SMALL_V1, tmp_path / "folder", [])
    assert os.listdir(tmp_path) == ["folder"]


# -- several processes -----------------------------------------------------------------------------------------


def large() -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Blocks enough to be shared among processes."""
    blocks = [(archives.cid_v1(data), data) for data in (at.to_bytes(2, "big") * 5_000 for at in range(600))]
    return blocks, archives.v1([], blocks)


def test_several_processes_give_the_same_bytes_and_find_the_same_fault(tmp_path: Path) -> None:
    blocks, source = large()
    path = tmp_path / "in.car"
    path.write_bytes(source)
    cids = [cid for cid, _ in blocks[::3]]
    steps: list[int] = []
    out, _ = filtered(path, cids, workers=2, on_progress=steps.append)
    assert_bytes_equal(out, filtered(source, cids)[0])
    assert sum(steps) == len(source) - len(archives.EMPTY_HEADER)
    path.write_bytes(source[:-1] + b"?")
    with pytest.raises(errors.IntegrityError):
        filtered(path, cids, workers=2)


def test_with_several_processes_a_cid_over_the_limit_is_an_error_too(tmp_path: Path) -> None:
    """The error comes from the index, in the process that gathers; it must not end as a smaller archive."""
    _, source = large()
    path = tmp_path / "in.car"
    path.write_bytes(source)
    for workers in (1, 2):
        with pytest.raises(errors.LimitError, match="cid") as caught:
            filtered(path, [], inverse=True, workers=workers, limits=carv2.Limits(cid=35))
        assert caught.value.position == len(archives.EMPTY_HEADER)
