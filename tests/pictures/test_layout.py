"""The model: every byte of the file is in one region, whatever the file is; what was counted is what is there."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import carv2
from carv2.cli.streams import plain
from carv2.codec import dag_pb
from carv2.pictures import draw_map, draw_report, layout

BROKEN = sorted((Path(__file__).parents[2] / "fixtures" / "broken").glob("*.car"))
FISH, NEWT = (carv2.Block(carv2.CID.of_data(data), data) for data in (b"fish", b"newt"))


def node(*links: tuple[str, carv2.CID]) -> carv2.Block:
    data = dag_pb.encode(dag_pb.PBNode([dag_pb.PBLink(cid.raw, name) for name, cid in links]))
    return carv2.Block(carv2.CID.of_data(data, codec="dag-pb"), data)


def archive(path: Path, roots: list[carv2.CID], blocks: list[carv2.Block], **options: Any) -> Path:
    with carv2.create(path, roots, **options) as car:
        for block in blocks:
            car.write(block.cid, block.data)
    return path


def covered(found: object) -> None:
    """The regions lie one behind the other, from the first byte to the last."""
    position = 0
    for region in found.regions:  # type: ignore[attr-defined]
        assert region.start == position
        assert region.end > position
        position = region.end
    assert position == found.size  # type: ignore[attr-defined]


def test_what_is_in_an_archive_with_everything(tmp_path: Path) -> None:
    root = node(("fish", FISH.cid), ("newt", NEWT.cid), ("gone", carv2.CID.of_data(b"gone")))
    path = archive(tmp_path / "all.car", [root.cid], [NEWT, FISH, root, FISH], data_padding=100, index_padding=50)
    with path.open("ab") as file:
        file.write(b"behind")
    found = layout(path)
    covered(found)
    assert found.problems == ()
    names = [region.name for region in found.regions]
    assert names == [
        "pragma", "CARv2 header", "padding", "CARv1 header", "sections", "padding", "index", "trailing bytes",
    ]  # fmt: skip
    assert [region.end - region.start for region in found.regions if region.name == "padding"] == [100, 50]
    assert (found.name, found.version, found.block_count, found.duplicate_count) == ("all.car", 2, 4, 1)
    assert {name: share.count for name, share in found.codecs.items()} == {"raw": 3, "dag-pb": 1}
    assert [(entry.least, entry.count) for entry in found.sizes] == [(4, 3), (128, 1)]
    sections = next(region for region in found.regions if region.name == "sections")
    assert sum(sum(part.codecs.values()) for part in found.slices) == sections.end - sections.start
    dag = found.dag
    assert dag is not None
    assert (dag.block_count, dag.missing_count, dag.depth, dag.link_count) == (3, 1, 1, 3)
    assert [point.codec for point in dag.walk] == ["dag-pb", "raw", "raw"]
    assert dag.seeks_back == 2  # from the root back to its first child, and from there to the other
    (top,) = dag.tree
    assert [(child.name, child.state) for child in top.children] == [
        ("fish", "block"), ("gone", "missing"), ("newt", "block"),
    ]  # fmt: skip


def test_null_padding_and_an_archive_without_blocks(tmp_path: Path) -> None:
    raw = b"".join(carv2.iter_car([FISH.cid], [FISH])) + bytes(500)
    found = layout(raw, name="piece")
    covered(found)
    assert [(region.name, region.end - region.start) for region in found.regions][-1] == ("null padding", 500)
    assert found.problem_count == 0
    empty = layout(archive(tmp_path / "empty.car", [], []))
    covered(empty)
    assert (empty.block_count, empty.slices) == (0, ())


def test_beyond_the_bound_the_dag_is_not_followed(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.car", [FISH.cid], [FISH, NEWT])
    found = layout(path, max_blocks=1)
    assert (found.dag, found.duplicate_count, found.block_count) == (None, None, 2)
    assert layout(path, max_blocks=2).dag is not None


def test_a_wide_and_deep_dag_is_cut_where_there_is_too_much_to_show(tmp_path: Path) -> None:
    blocks = [carv2.Block(carv2.CID.of_data(data), data) for data in (b"%d" % at for at in range(100))]
    wide = node(*((f"{at:03}", block.cid) for at, block in enumerate(blocks)))
    chain = [wide]
    for _ in range(20):
        chain.append(node(("down", chain[-1].cid)))
    found = layout(archive(tmp_path / "a.car", [chain[-1].cid, wide.cid], [*blocks, *chain]))
    dag = found.dag
    assert dag is not None
    assert (dag.block_count, dag.depth) == (121, 19)  # what is a root itself is at depth 0
    below, levels = dag.tree[0], 0
    while below.children:
        below, levels = below.children[0], levels + 1
    assert levels == 6
    assert (len(dag.tree[1].children), dag.tree[1].link_count) == (12, 100)
    assert "88 more links" in draw_report(found)


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_a_broken_archive_is_drawn_with_its_problem(path: Path) -> None:
    told = json.loads(path.with_suffix(".json").read_text())
    found = layout(path)
    covered(found)
    assert ("problem" in draw_map(found)) is bool(found.problem_count)
    assert ('class="bad"' in draw_report(found)) is bool(found.problem_count)
    json.dumps(plain(found))
    assert found.problem_count or "null" in str(told) or not carv2.verify(path, null_padding=True).problem_count


@given(st.data())
def test_whatever_is_changed_or_cut_there_is_a_picture(data: st.DataObject) -> None:
    root = node(("fish", FISH.cid), ("newt", NEWT.cid))
    raw = bytearray(b"".join(carv2.iter_car([root.cid], [root, FISH, NEWT])))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    found = layout(bytes(raw[: data.draw(st.integers(0, len(raw)))]))
    covered(found)
    assert draw_map(found)
    assert draw_report(found)


def test_random_bytes_are_one_region_that_was_not_read() -> None:
    found = layout(os.urandom(1000), name="noise")
    covered(found)
    assert [region.name for region in found.regions] == ["not read"]
    assert found.problem_count == 1
