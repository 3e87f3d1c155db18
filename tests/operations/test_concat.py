"""Archives put together: sections byte for byte, one archive behind the other."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import carv2
from carv2 import errors
from helpers import archives, strategies
from helpers.binary import assert_bytes_equal
from helpers.shared import shared_fixture

if TYPE_CHECKING:
    from collections.abc import Sequence

FISH, LOBSTER, BARRELEYE = archives.FISH, archives.LOBSTER, archives.BARRELEYE
ONE = archives.v1([FISH[0]], [FISH])
TWO = archives.v1([LOBSTER[0], FISH[0]], [LOBSTER, FISH, BARRELEYE])
SOURCE = Path(carv2.__file__).parent.parent


def joined(sources: Sequence[Any], **options: Any) -> tuple[bytes, Any]:
    sink = io.BytesIO()
    report = carv2.concat(sources, sink, **options)
    return sink.getvalue(), report


def wrapped(payload: bytes, **options: Any) -> bytes:
    sink = io.BytesIO()
    carv2.wrap(payload, sink, **options)
    return sink.getvalue()


@given(
    st.lists(st.lists(strategies.blocks(), max_size=4), min_size=1, max_size=4),
    st.sampled_from([1, 2]),
    st.booleans(),
    st.sampled_from(["first", "all", "none"]),
    st.booleans(),
)
def test_concatenating_gives_what_the_model_gives(
    archives_of: list[list[tuple[bytes, bytes]]], version: int, deduplicate: bool, roots: str, wrap: bool
) -> None:
    roots_of = [[cid for cid, _ in blocks[:2]] for blocks in archives_of]
    sources = [archives.v1(pair[0], pair[1]) for pair in zip(roots_of, archives_of, strict=True)]
    every = [block for blocks in archives_of for block in blocks]
    chosen = {
        "first": roots_of[0],
        "all": [*dict.fromkeys(cid for roots in roots_of for cid in roots)],
        "none": [],
    }[roots]
    expected = archives.v1(chosen, dict.fromkeys(every) if deduplicate else every)
    given_sources = [wrapped(source, data_padding=3) for source in sources] if wrap else sources
    out, report = joined(given_sources, version=version, deduplicate=deduplicate, roots=roots)
    assert_bytes_equal(out, expected if version == 1 else wrapped(expected))
    assert report.block_count == len(every) - report.duplicate_count
    assert report.roots == tuple(map(carv2.CID, chosen))
    assert (report.duplicate_count > 0) == (deduplicate and len(set(every)) < len(every))


def test_the_roots_may_be_given() -> None:
    assert_bytes_equal(
        joined([ONE], roots=[str(carv2.CID(LOBSTER[0]))], version=1)[0], archives.v1([LOBSTER[0]], [FISH])
    )
    with pytest.raises(ValueError, match="allowed: 'first', 'all', 'none'"):
        joined([ONE], roots="last")


def test_go_cars_archive_with_nothing_added_is_what_it_was() -> None:
    sample = shared_fixture("go-car/sample-v1.car")
    assert_bytes_equal(joined([sample], version=1)[0], sample.read_bytes())
    assert_bytes_equal(joined([sample])[0], shared_fixture("go-car/sample-wrapped-v2.car").read_bytes())


def test_a_header_that_is_not_canonical_is_written_anew() -> None:
    odd = bytes.fromhex("0aa16776657273696f6e01") + archives.section(*FISH)
    assert_bytes_equal(joined([odd, ONE])[0], wrapped(archives.v1([], [FISH, FISH])))


def test_null_padding_in_the_middle_is_left_out() -> None:
    padded = ONE + bytes(100)
    with pytest.raises(errors.FormatError, match="zero-length"):
        joined([padded, TWO])
    out, _ = joined([padded, TWO], null_padding=True, version=1)
    assert_bytes_equal(out, archives.v1([FISH[0]], [FISH, LOBSTER, FISH, BARRELEYE]))


@pytest.mark.parametrize("version", [1, 2])
def test_the_error_names_the_archive_and_nothing_is_written(tmp_path: Path, version: int) -> None:
    good, bad, new = tmp_path / "good.car", tmp_path / "bad.car", tmp_path / "new.car"
    good.write_bytes(ONE)
    for data, kind in (
        (TWO[:-1], errors.TruncatedError),
        (TWO[:-1] + b"?", errors.IntegrityError),
        (b"", errors.TruncatedError),
        (archives.v2(TWO)[:-1], errors.TruncatedError),
    ):
        bad.write_bytes(data)
        sink = io.BytesIO()
        for destination in (new, sink):
            pairs: tuple[list[Any], ...] = ([good, bad], [str(bad), good])
            for sources in pairs:
                with pytest.raises(kind) as caught:
                    carv2.concat(sources, destination, version=version)
                assert caught.value.archive == str(bad)
        assert sink.getvalue() == b""
        assert not new.exists()


def test_an_error_of_an_archive_without_a_path_names_none() -> None:
    with pytest.raises(errors.TruncatedError) as caught:
        joined([ONE, TWO[:-1]])
    assert caught.value.archive is None
    assert str(caught.value).startswith("section: wanted 46 bytes")


def test_any_of_the_sources_may_be_the_destination(tmp_path: Path) -> None:
    one, two = tmp_path / "1.car", tmp_path / "2.car"
    for at, destination in enumerate((one, two)):
        one.write_bytes(ONE)
        two.write_bytes(TWO)
        carv2.concat([one, two, one], destination, version=1)
        expected = archives.v1([FISH[0]], [FISH, LOBSTER, FISH, BARRELEYE, FISH])
        assert_bytes_equal((one, two)[at].read_bytes(), expected)
    assert sorted(os.listdir(tmp_path)) == ["1.car", "2.car"]


def test_no_sources_and_other_versions_are_refused() -> None:
    with pytest.raises(ValueError, match="no archives"):
        joined([])
    with pytest.raises(ValueError, match="CAR version 3"):
        joined([ONE], version=3)


def test_roots_that_nobody_could_read_back_are_refused() -> None:
    sources = [archives.v1([archives.cid_v1(bytes([at]))], []) for at in range(30)]
    limits = carv2.Limits(header=1000)
    joined(sources[:20], roots="all", limits=limits)
    with pytest.raises(errors.LimitError, match="header"):
        joined(sources, roots="all", limits=limits)


def test_many_archives_need_few_files_open_at_a_time(tmp_path: Path) -> None:
    for at in range(60):
        (tmp_path / f"{at:02}.car").write_bytes(archives.v1([], [FISH]))
    code = """
import gc, glob, resource, carv2
gc.disable()  # nothing may need it to let go of a file
resource.setrlimit(resource.RLIMIT_NOFILE, (30, 30))
report = carv2.concat(sorted(glob.glob("*.car")), "all", roots="all")
assert report.block_count == 60
"""
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)


def test_what_can_be_read_once_only_is_refused() -> None:
    with pytest.raises(TypeError):
        joined([iter([ONE])])


def test_progress_is_told_in_bytes_of_the_payloads() -> None:
    steps: list[int] = []
    joined([ONE, TWO], on_progress=steps.append)
    heads = len(archives.header([FISH[0]])) + len(archives.header([LOBSTER[0], FISH[0]]))
    assert sum(steps) == len(ONE) + len(TWO) - heads
