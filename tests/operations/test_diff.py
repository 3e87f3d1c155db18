"""Two archives compared: against Python's own sets."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import carv2
from carv2 import errors
from helpers import archives, strategies
from helpers.shared import shared_fixture

if TYPE_CHECKING:
    from pathlib import Path

FISH, LOBSTER, BARRELEYE = archives.FISH, archives.LOBSTER, archives.BARRELEYE
POOL = st.lists(strategies.blocks(st.binary(max_size=30)), min_size=1, max_size=8)


@given(POOL, st.data())
def test_what_differs_is_what_sets_say(pool: list[tuple[bytes, bytes]], data: st.DataObject) -> None:
    one, other = (data.draw(st.lists(st.sampled_from(pool), max_size=10)) for _ in range(2))
    found = carv2.diff(archives.v1([], one), archives.v1([], other))
    left, right = dict(one), dict(other)
    assert [bytes(cid) for cid in found.only_in_a] == [cid for cid in left if cid not in right]
    assert [bytes(cid) for cid in found.only_in_b] == [cid for cid in right if cid not in left]
    common = left.keys() & right.keys()
    assert (found.common_count, found.common_bytes) == (len(common), sum(len(left[cid]) for cid in common))
    assert found.only_in_a.byte_count == sum(len(left[cid]) for cid in left.keys() - common)
    assert found.only_in_b.byte_count == sum(len(right[cid]) for cid in right.keys() - common)
    assert len(found.only_in_a) + len(found.only_in_b) + len(common) == len({**left, **right})
    assert found.same == (left.keys() == right.keys())


def test_version_order_duplicates_and_index_do_not_matter() -> None:
    blocks = list(archives.SOME_BLOCKS)
    roots = [FISH[0], archives.PB_NODE[0]]
    for other in (archives.SMALL_V2, archives.v1(roots, blocks[::-1]), archives.v1(roots, dict.fromkeys(blocks))):
        assert carv2.diff(archives.SMALL_V1, other).same


@pytest.mark.parametrize("roots", [[], [FISH[0]], [LOBSTER[0], FISH[0]], [FISH[0], LOBSTER[0], FISH[0]]])
def test_roots_matter_and_so_does_their_order(roots: list[bytes]) -> None:
    found = carv2.diff(archives.v1([FISH[0], LOBSTER[0]], [FISH]), archives.v1(roots, [FISH]))
    assert not found.same
    assert (len(found.only_in_a), len(found.only_in_b)) == (0, 0)
    assert [tuple(map(bytes, side)) for side in found.roots] == [(FISH[0], LOBSTER[0]), tuple(roots)]


def test_the_same_data_by_another_codec_are_another_block() -> None:
    other = (archives.cid_v1(b"fish", codec=archives.DAG_CBOR), b"fish")
    found = carv2.diff(archives.v1([], [FISH]), archives.v1([], [other]))
    assert (len(found.only_in_a), len(found.only_in_b), found.common_count) == (1, 1, 0)


def test_the_missing_blocks_of_go_cars_fixture_are_found() -> None:
    whole, partial = (
        shared_fixture(f"go-car-cli/{name}.car") for name in ("simple-unixfs", "simple-unixfs-missing-blocks")
    )
    found = carv2.diff(whole, partial)
    assert (len(found.only_in_a), len(found.only_in_b), found.common_count) == (5, 0, 17)


@pytest.mark.parametrize("at", [0, 1])
def test_what_is_wrong_with_an_archive_is_an_error_that_names_it(tmp_path: Path, at: int) -> None:
    good, bad = tmp_path / "good.car", tmp_path / "bad.car"
    good.write_bytes(archives.SMALL_V1)
    for data, kind in (
        (archives.SMALL_V1[:-1], errors.TruncatedError),
        (archives.v1([], [(FISH[0], b"dish")]), errors.IntegrityError),
        (archives.v2(archives.SMALL_V1)[:-1], errors.TruncatedError),
        (b"", errors.TruncatedError),
        (archives.v1([], [(archives.cid_v1(b"", code=0x300001, digest=b"x"), b"x")]), errors.UnknownHashError),
    ):
        bad.write_bytes(data)
        pair: list[Any] = [bad, good] if at == 0 else [good, bad]
        with pytest.raises(kind) as caught:
            carv2.diff(*pair)
        assert caught.value.archive == str(bad)


def test_unverified_only_the_cids_count() -> None:
    damaged = archives.v1([], [(FISH[0], b"dish")])
    assert carv2.diff(damaged, archives.v1([], [FISH]), verify=False).same


def test_the_memory_it_takes_does_not_depend_on_the_size_of_blocks() -> None:
    sizes = []
    assert carv2.diff(archives.SMALL_V1, archives.SMALL_V1).same  # what is made once is made
    for size in (10, 2_000):
        blocks = [(archives.cid_v1(data), data) for data in (at.to_bytes(2, "big") * size for at in range(3_000))]
        source = archives.v1([], blocks)
        tracemalloc.start()
        try:
            assert carv2.diff(source, source).same
            sizes.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert max(sizes) < 3_000 * 300 + 1_000_000
    assert sizes[1] < sizes[0] + 500_000


def test_progress_is_told_in_bytes_of_both_payloads() -> None:
    steps: list[int] = []
    carv2.diff(archives.SMALL_V1, archives.v1([], [FISH]), on_progress=steps.append)
    assert sum(steps) == archives.SMALL_BOUNDS[-1][1] - archives.SMALL_BOUNDS[0][0] + len(archives.section(*FISH))
