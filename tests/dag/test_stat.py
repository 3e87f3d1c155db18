"""All figures of an archive: the same as those of the functions that count one thing each, and gaps by hand."""

from __future__ import annotations

import dataclasses
import io
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import carv2
from carv2 import dag, errors
from helpers import archives, strategies
from helpers.shared import shared_fixture
from helpers.unixfs import Dag

if TYPE_CHECKING:
    from pathlib import Path

FISH, LOBSTER = archives.FISH, archives.LOBSTER
SHARED = [
    "go-car/sample-v1.car",
    "go-car/sample-wrapped-v2.car",
    "go-car/sample-v2-indexless.car",
    "go-car/sample-unixfs-v2.car",
    "go-car-cli/simple-unixfs.car",
    "go-car-cli/simple-unixfs-missing-blocks.car",
    "go-car-cli/wikipedia-cryptographic-hash-function.car",
    "spec/carv1-basic.car",
    "spec/carv2-basic.car",
]


def plain(value: Any) -> Any:
    """Reports in a form that can be compared, errors by their text."""
    fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return {name: [*map(str, item)] if name == "faults" else item for name, item in fields.items()}


def check_against_the_others(source: Any) -> dag.Statistics:
    found = dag.stat(source)
    assert found.inspection == carv2.inspect(source)
    assert plain(found.completeness) == plain(dag.check_complete(source, null_padding=True, check_hashes=False))
    with carv2.open(source, null_padding=True) as car:
        blocks = list(car.blocks(verify=False))
        assert found.order == dag.detect_order(blocks, car.roots)
        cids = [bytes(block.cid) for block in blocks if not block.cid.is_identity]
    assert found.identity_count == len(blocks) - len(cids)
    assert (
        sum(found.fan_out.values()) == found.inspection.block_count - found.identity_count - found.duplicate_count
    )
    return found


@pytest.mark.parametrize("path", SHARED)
def test_of_foreign_archives_it_says_what_the_others_say(path: str) -> None:
    found = check_against_the_others(shared_fixture(path))
    assert found.duplicate_count == 0
    expected = "right" if "wrapped" in path or "unixfs-v2" in path or "carv2-basic" in path else "absent"
    assert found.index == expected


def test_the_missing_blocks_of_go_cars_fixtures() -> None:
    """car-format.md, 5.2: the subtrees of b/4, b/5/E.txt and b/6 are missing, and 570 entries of the wiki."""
    found = dag.stat(shared_fixture("go-car-cli/simple-unixfs-missing-blocks.car"))
    assert (found.completeness.block_count, found.completeness.missing_count) == (17, 3)
    found = dag.stat(shared_fixture("go-car-cli/wikipedia-cryptographic-hash-function.car"))
    assert found.completeness.block_count == 5
    assert (found.order.order, found.order.gaps) == ("dfs", True)


@given(st.lists(strategies.blocks(st.binary(max_size=40)), max_size=10), st.data())
def test_of_any_archive_it_says_what_the_others_say(
    blocks: list[tuple[bytes, bytes]], data: st.DataObject
) -> None:
    repeated = data.draw(st.lists(st.sampled_from(blocks), max_size=12)) if blocks else []
    source = archives.v1([cid for cid, _ in repeated[:2]], repeated)
    found = check_against_the_others(source)
    others = [block for block in repeated if not carv2.CID(block[0]).is_identity]
    assert found.duplicate_count == len(others) - len(dict(others))


def tree() -> tuple[Dag, Any]:
    """A directory of 10 files, one of which has 5 leaves, two of which are the same."""
    made = Dag()
    leaves = [made.raw(bytes([at]) * 100) for at in (1, 2, 3, 2, 4)]
    files = {f"f{at}": made.raw(b"%d" % at) for at in range(9)}
    return made, made.directory({"a-large": made.file(leaves), **files})


def test_links_are_counted_by_powers_of_two() -> None:
    made, root = tree()
    found = dag.stat(made.archive(root))
    assert found.fan_out == {0: 13, 4: 1, 8: 1}  # 9 files and 4 leaves; one of 5, one of 10
    assert found.link_count == 15
    assert (found.completeness.depth, found.completeness.block_count) == (2, 15)


@pytest.mark.parametrize("order", ["dfs", "bfs"])
def test_the_order_is_seen(order: Any) -> None:
    made, root = tree()
    store = {carv2.CID(cid): data for cid, data in made.blocks.items()}
    for repeats in (False, True):
        walked = [
            (visit.cid_bytes, visit.data) for visit in dag.walk(store, root.cid, order=order, repeats=repeats)
        ]
        found = dag.stat(archives.v1([root.cid], walked))
        assert (found.order.order, found.order.dups) == (order, repeats)
        assert found.duplicate_count == repeats
        assert found.duplicate_bytes == 100 * repeats


def test_the_gaps_of_a_file_add_up_with_its_parts() -> None:
    payload = archives.v1([FISH[0]], [FISH, LOBSTER])
    sink = io.BytesIO()
    carv2.wrap(payload + bytes(30), sink, data_padding=100, index_padding=17, null_padding=True)
    found = dag.stat(sink.getvalue() + b"tail!")
    assert found.gaps == dag.Gaps(before_payload=100, at_payload_end=30, before_index=17, behind=5)
    assert found.index == "right"
    found = dag.stat(archives.v2(payload) + b"tail")
    assert found.gaps == dag.Gaps(before_payload=0, at_payload_end=0, before_index=0, behind=4)
    assert dag.stat(payload + bytes(9)).gaps.at_payload_end == 9


def test_an_index_inside_the_payload_begins_before_its_end() -> None:
    payload = archives.v1([], [FISH])
    index = archives.index_multihash_sorted(archives.records_of(archives.EMPTY_HEADER, [FISH]))
    held = (archives.cid_v1(index), index)
    whole = archives.v1([], [FISH, held])
    header = archives.v2_header(51, len(whole), 51 + len(whole) - len(index))
    found = dag.stat(archives.PRAGMA + header + whole)
    assert found.gaps.before_index == -len(index)
    assert found.gaps.behind == 0
    assert (found.index, found.index_problem_count) == ("wrong", 1)  # it does not list the block that it is
    assert len(payload) < len(whole)


@pytest.mark.parametrize(
    ("index", "state", "count"),
    [
        (b"", "absent", 0),
        (archives.index_multihash_sorted(archives.SMALL_RECORDS), "right", 0),
        (archives.index_multihash_sorted(archives.SMALL_RECORDS[:-1]), "wrong", 1),
        (b"\x1fno index", "unreadable", 1),
    ],
)
def test_the_state_of_the_index(index: bytes, state: str, count: int) -> None:
    source = archives.v2(archives.SMALL_V1, index, characteristics=archives.FULLY_INDEXED)
    found = dag.stat(source)
    assert (found.index, found.index_problem_count, len(found.index_problems)) == (state, count, count)


def test_an_index_that_is_cut_short_is_a_truncated_file() -> None:
    start = archives.SMALL_V2.index(b"\x81\x08", 300)
    for stop in (start, start + 1, start + 3):
        with pytest.raises(errors.TruncatedError):
            dag.stat(archives.SMALL_V2[:stop])


def test_hashes_are_checked_if_asked_to(tmp_path: Path) -> None:
    damaged = archives.v1([FISH[0]], [(FISH[0], b"dish")])
    assert dag.stat(damaged).completeness.block_count == 1
    with pytest.raises(errors.IntegrityError):
        dag.stat(damaged, full=True)
    unknown = archives.v1([], [(archives.cid_v1(b"", code=0x300001, digest=b"x"), b"x")])
    assert dag.stat(unknown).inspection.block_count == 1
    with pytest.raises(errors.UnknownHashError):
        dag.stat(unknown, full=True)


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_truncated_archive_is_an_error(cut: int) -> None:
    with pytest.raises(errors.FormatError):
        dag.stat(archives.SMALL_V1[:-cut])


def test_blocks_whose_links_make_no_sense_are_counted_not_raised() -> None:
    bad = (archives.cid_v1(b"\xff\xff", codec=archives.DAG_PB), b"\xff\xff")
    odd = (archives.cid_v1(b"x", codec=0x300001), b"x")
    found = dag.stat(archives.v1([bad[0], odd[0]], [bad, odd]))
    assert found.completeness.fault_count == 1
    assert found.completeness.unknown_codecs == {0x300001: 1}
    assert found.fan_out == {0: 2}


def test_several_processes_count_the_same(tmp_path: Path) -> None:
    made = Dag()
    files = {f"{at:04}": made.raw(at.to_bytes(2, "big") * 5_000) for at in range(500)}
    root = made.directory(files)
    path = tmp_path / "x.car"
    path.write_bytes(made.archive(root))
    steps: list[int] = []
    two = dag.stat(path, full=True, workers=2, on_progress=steps.append)
    assert two == dag.stat(path, full=True)
    assert two.fan_out == {0: 500, 256: 1}
    assert sum(steps) == path.stat().st_size - len(archives.header([root.cid]))
