"""Archives split into shards: none too large, none too small, and together what was split."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import carv2
from carv2 import errors
from carv2.operations.split import PLACEHOLDER
from helpers import archives, strategies
from helpers.binary import assert_bytes_equal
from helpers.shared import shared_fixture

FISH, LOBSTER, BARRELEYE = archives.FISH, archives.LOBSTER, archives.BARRELEYE
BLOCKS = [FISH, LOBSTER, BARRELEYE]
ARCHIVE = archives.v1([FISH[0]], BLOCKS)
SOURCE = Path(carv2.__file__).parent.parent


def split(folder: Path, source: Any, size: int, **options: Any) -> list[Path]:
    """The files that come of it, checked for what each report says of its file."""
    shards = carv2.split(source, folder / "part", size=size, **options)
    paths = [Path(shard.path) for shard in shards]
    assert sorted(folder.glob("part-*")) == paths
    for shard, path in zip(shards, paths, strict=True):
        data = path.read_bytes()
        assert (shard.size, shard.cid.codec, shard.cid.digest) == (
            len(data),
            0x0202,
            hashlib.sha256(data).digest(),
        )
        with carv2.open(data) as car:
            sizes = [section.size for section in car.sections()]
            assert (shard.roots, shard.block_count, shard.block_bytes) == (car.roots, len(sizes), sum(sizes))
    return paths


def sections_of(data: bytes) -> bytes:
    with carv2.open(data) as car:
        return data[car.payload_position + car.first_section : car.payload_end]


def first_section_of(path: Path) -> bytes:
    data = path.read_bytes()
    with carv2.open(data) as car:
        section = next(car.sections())
        return data[section.position : section.data_position + section.size]


def needed(blocks: list[tuple[bytes, bytes]], roots: list[bytes], version: int) -> int:
    """A size in which each block fits by itself."""
    single = [archives.v1(roots, [block]) for block in [*blocks, FISH]]
    return max(map(len, single)) + (51 + 6 + 12 + 12 + 200 if version == 2 else 0)


@settings(max_examples=60)
@given(
    st.lists(strategies.blocks(st.binary(max_size=300)), max_size=12),
    st.integers(0, 900),
    st.sampled_from([1, 2]),
    st.sampled_from(["first", "all", "none", "placeholder"]),
)
def test_shards_are_full_but_not_too_large_and_together_what_was_split(
    tmp_path_factory: pytest.TempPathFactory,
    blocks: list[tuple[bytes, bytes]],
    more: int,
    version: int,
    policy: Any,
) -> None:
    folder = tmp_path_factory.mktemp("split")
    roots = [cid for cid, _ in blocks[:2]]
    source = archives.v1(roots, blocks)
    size = needed(blocks, roots, version) + more
    paths = split(folder, source, size, version=version, roots=policy)
    assert b"".join(sections_of(path.read_bytes()) for path in paths) == sections_of(source)
    assert all(path.stat().st_size <= size for path in paths)
    for path, following in pairwise(paths):  # the next section would have made it too large
        least = 0 if version == 1 else 8
        room = size - path.stat().st_size
        at_most = 0 if version == 1 else 24 + 8 + 128
        assert len(first_section_of(following)) + at_most > room >= 0, least
    joined = folder / "joined.car"
    carv2.concat(paths, joined, version=1, roots=roots, verify=False)
    assert_bytes_equal(joined.read_bytes(), source)


@given(st.lists(strategies.blocks(st.binary(max_size=50)), min_size=1, max_size=10), st.integers(0, 300))
@settings(max_examples=60)
def test_the_size_that_is_planned_for_a_carv2_is_the_size_it_gets(
    tmp_path_factory: pytest.TempPathFactory, blocks: list[tuple[bytes, bytes]], less: int
) -> None:
    """With just the size of the whole there is one shard; with a byte less there are two, or it is refused."""
    folder = tmp_path_factory.mktemp("split")
    source = archives.v1([], blocks)
    (whole,) = split(folder, source, 100_000, version=2)
    exact = whole.stat().st_size
    whole.unlink()
    (same,) = split(folder, source, exact, version=2)
    same.unlink()
    try:
        paths = split(folder, source, exact - 1, version=2)
    except ValueError:
        assert os.listdir(folder) == []
    else:
        assert len(paths) > 1 or not carv2.CID(blocks[-1][0]).is_identity, less


def test_a_carv1_of_just_the_size_is_one_shard_and_a_byte_less_makes_two(tmp_path: Path) -> None:
    assert len(split(tmp_path / ".", ARCHIVE, len(ARCHIVE))) == 1
    (tmp_path / "part-0001.car").unlink()
    assert len(split(tmp_path / ".", ARCHIVE, len(ARCHIVE) - 1)) == 2


def test_go_cars_sample_in_five_shards_is_whole_again_byte_for_byte(tmp_path: Path) -> None:
    sample = shared_fixture("go-car/sample-wrapped-v2.car")
    paths = split(tmp_path, sample, 100_000)
    assert len(paths) == 5
    carv2.concat(paths, tmp_path / "whole.car")
    assert_bytes_equal((tmp_path / "whole.car").read_bytes(), sample.read_bytes())


@pytest.mark.parametrize(
    ("policy", "first", "others"),
    [
        ("first", (FISH[0],), ()),
        ("all", (FISH[0],), (FISH[0],)),
        ("none", (), ()),
        ("placeholder", (FISH[0],), (bytes(PLACEHOLDER),)),
    ],
)
def test_the_roots_go_where_they_should(tmp_path: Path, policy: Any, first: Any, others: Any) -> None:
    paths = split(tmp_path, ARCHIVE, 110, roots=policy)
    assert len(paths) > 1
    for path, roots in zip(paths, [first, *[others] * (len(paths) - 1)], strict=True):
        with carv2.open(path) as car:
            assert tuple(map(bytes, car.roots)) == roots
    assert str(PLACEHOLDER) == "bafkqaaa"


def test_a_large_header_may_leave_no_room_for_a_block_beside_it(tmp_path: Path) -> None:
    roots = [FISH[0]] * 20
    header = archives.header(roots)
    paths = split(tmp_path, archives.v1(roots, BLOCKS), len(header) + 10)
    assert paths[0].stat().st_size == len(header)
    assert b"".join(sections_of(path.read_bytes()) for path in paths[1:]) == sections_of(ARCHIVE)


def test_no_blocks_are_one_shard(tmp_path: Path) -> None:
    (path,) = split(tmp_path, archives.v1([FISH[0]], []), 1000)
    assert_bytes_equal(path.read_bytes(), archives.v1([FISH[0]], []))


def test_in_a_folder_shards_are_named_after_the_source(tmp_path: Path) -> None:
    source = tmp_path / "sea.car"
    source.write_bytes(ARCHIVE)
    for taken, name in ((source, "sea"), (str(source), "sea"), (ARCHIVE, "shard")):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        for path in folder.iterdir():
            path.unlink()
        carv2.split(taken, folder, size=1000)
        assert os.listdir(folder) == [f"{name}-0001.car"]


def test_the_slices_say_where_each_block_is(tmp_path: Path) -> None:
    found = []
    for path in split(tmp_path, ARCHIVE, 110):
        with carv2.open(path) as car:
            for section in car.sections():
                data = path.read_bytes()[section.data_position :][: section.size]
                found.append((bytes(section.cid), data))
    assert found == BLOCKS


def test_names_sort_like_shards_however_many_there_are(tmp_path: Path) -> None:
    from carv2.operations.split import _paths

    for count in (1, 9_999, 10_000, 12_345):
        paths = _paths(b"", tmp_path / "x", count)
        assert len(paths) == count
        assert paths == sorted(paths)
    assert len(re.findall(r"\d+", os.path.basename(paths[0]))[0]) == 5


# -- what is refused -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "version", "text"),
    [
        (60, 1, "the header alone needs a shard of 59 bytes"),
        (0, 1, "header"),
        (-1, 1, "header"),
        (60, 2, "header"),
        (63, 1, r"the block bafkreig5l\w+ at byte \d+ needs a shard of 64 bytes"),
        (150, 2, "needs a shard of"),
    ],
)
def test_a_size_that_is_too_small_is_refused_and_nothing_written(
    tmp_path: Path, size: int, version: int, text: str
) -> None:
    if text.endswith("59 bytes"):
        size = 58
    with pytest.raises(ValueError, match=text):
        carv2.split(ARCHIVE, tmp_path / "part", size=size, version=version)
    assert os.listdir(tmp_path) == []


def test_a_file_in_the_way_is_not_touched_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "part-0002.car").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match=r"part-0002\.car"):
        carv2.split(ARCHIVE, tmp_path / "part", size=110)
    assert os.listdir(tmp_path) == ["part-0002.car"]
    assert (tmp_path / "part-0002.car").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        (ARCHIVE[:-1], errors.TruncatedError),
        (ARCHIVE[:-1] + b"?", errors.IntegrityError),
        (ARCHIVE + b"\x00", errors.FormatError),
        (archives.v2(ARCHIVE)[:-1], errors.TruncatedError),
        (b"", errors.TruncatedError),
    ],
)
def test_of_a_damaged_archive_nothing_is_written(tmp_path: Path, source: bytes, kind: Any) -> None:
    with pytest.raises(kind):
        carv2.split(source, tmp_path / "part", size=110)
    assert os.listdir(tmp_path) == []


def test_null_padding_is_left_out_if_it_may_be(tmp_path: Path) -> None:
    (path,) = split(tmp_path, ARCHIVE + bytes(500), len(ARCHIVE), null_padding=True)
    assert_bytes_equal(path.read_bytes(), ARCHIVE)


def test_other_versions_and_policies_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="CAR version 3"):
        carv2.split(ARCHIVE, tmp_path / "x", size=1000, version=3)
    with pytest.raises(ValueError, match="allowed: 'first', 'all', 'none', 'placeholder'"):
        carv2.split(ARCHIVE, tmp_path / "x", size=1000, roots="last")  # type: ignore[arg-type]


FULL_DISK = """
import resource, carv2
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    carv2.split("in.car", "part", size=150_000)
except OSError as error:
    assert error.errno == 27, error
else:
    raise SystemExit("it did not fail")
"""


def test_a_full_disk_leaves_no_shard_behind(tmp_path: Path) -> None:
    sizes = (40_000, 40_000, 120_000, 10)  # the second shard is the one that is too large for the disk
    blocks = [(archives.cid_v1(data), data) for data in (bytes([at]) * size for at, size in enumerate(sizes))]
    (tmp_path / "in.car").write_bytes(archives.v1([], blocks))
    assert len(split(tmp_path, tmp_path / "in.car", 150_000)) == 2
    for path in tmp_path.glob("part-*"):
        path.unlink()
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    subprocess.run([sys.executable, "-c", FULL_DISK], cwd=tmp_path, env=environment, check=True)
    assert os.listdir(tmp_path) == ["in.car"]


def test_a_split_changes_nothing_for_several_processes(tmp_path: Path) -> None:
    blocks = [(archives.cid_v1(data), data) for data in (at.to_bytes(2, "big") * 5_000 for at in range(500))]
    (tmp_path / "in.car").write_bytes(archives.v1([], blocks))
    one, two = (
        carv2.split(tmp_path / "in.car", tmp_path / f"by{workers}", size=2_000_000, workers=workers)
        for workers in (1, 2)
    )
    assert [shard.cid for shard in one] == [shard.cid for shard in two]
