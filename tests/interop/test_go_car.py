"""go-car reads what carv2 writes, carv2 what go-car writes, and what both make is the same, byte for byte."""

from __future__ import annotations

import hashlib
import io
import json
from typing import TYPE_CHECKING

import pytest

import carv2
from carv2.cli.main import main
from carv2.operations.indexing import read_index
from helpers import archives
from helpers.binary import assert_bytes_equal
from helpers.shared import own_fixture, shared_fixture
from interop.samples import BLOCKS, EVERY, LAYOUTS, SHARED, write

if TYPE_CHECKING:
    from pathlib import Path

    from interop.conftest import Peer

KINDS = pytest.mark.parametrize(("name", "layout"), EVERY, ids=[f"{name}-{layout}" for name, layout in EVERY])
NAMES = pytest.mark.parametrize("name", BLOCKS)
FOREIGN = pytest.mark.parametrize("path", SHARED)
HEADLESS = "spec/carv2-basic.car"


def printed(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """What carv2 prints; it must not fail."""
    capsys.readouterr()
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    return out


def check_reading(go: Peer, capsys: pytest.CaptureFixture[str], path: Path) -> None:
    """Inspection, list and roots are the same text; places and data of the blocks are the same."""
    if not path.match(HEADLESS):
        assert printed(capsys, "inspect", path) == go("inspect", path)
        assert printed(capsys, "inspect", "--full", path) == go("inspect", "--full", path)
    assert printed(capsys, "list", path) == go("list", path)
    assert printed(capsys, "root", path) == go("root", path)
    with carv2.open(path) as car:
        ours = [
            {
                "cid": str(section.cid),
                "offset": section.offset,
                "sourceOffset": section.position,
                "size": section.size,
                "sha256": hashlib.sha256(car.read(section).data).hexdigest(),
            }
            for section in car.sections()
        ]
    assert ours == [json.loads(line) for line in go("blocks", path).splitlines()]


@KINDS
def test_go_car_reads_what_carv2_writes(
    go: Peer, capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str, layout: str
) -> None:
    check_reading(go, capsys, write(tmp_path / "x.car", name, layout))


@KINDS
def test_go_car_finds_nothing_wrong_with_what_carv2_writes(
    go: Peer, tmp_path: Path, name: str, layout: str
) -> None:
    path = write(tmp_path / "x.car", name, layout)
    done = go.run("verify", path)
    if layout == "v2-no-index":  # it refuses each CARv2 without an index (car-format.md, 3.1)
        assert b"index offset overlaps with data" in done.stderr
    else:
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert carv2.verify(path).ok


@KINDS
def test_go_cars_store_finds_each_block_that_carv2_wrote(go: Peer, tmp_path: Path, name: str, layout: str) -> None:
    path = write(tmp_path / "x.car", name, layout)
    keys = "".join(f"{cid}\n" for cid, _ in BLOCKS[name])
    expected = [f"{cid} {hashlib.sha256(data).hexdigest()}" for cid, data in BLOCKS[name]]
    assert go("get-all", path, stdin=keys.encode()).splitlines() == expected


@FOREIGN
def test_both_read_foreign_archives_alike(go: Peer, capsys: pytest.CaptureFixture[str], path: str) -> None:
    check_reading(go, capsys, shared_fixture(path))


def test_the_one_inspection_that_differs_is_of_an_index_without_its_codec(
    go: Peer, capsys: pytest.CaptureFixture[str]
) -> None:
    """go-car takes the count in front of it for a codec; carv2 reads it, and says so."""
    path = shared_fixture(HEADLESS)
    ours, theirs = printed(capsys, "inspect", path).splitlines(), go("inspect", path).splitlines()
    different = [pair for pair in zip(ours, theirs, strict=True) if pair[0] != pair[1]]
    assert different == [("Index type: car-index-sorted (headless: without its codec)", "Index type: cidv1")]


@pytest.mark.parametrize("codec", ["", "car-multihash-index-sorted", "car-index-sorted"])
@NAMES
def test_indexes_made_of_an_archive_are_the_same_bytes(go: Peer, tmp_path: Path, name: str, codec: str) -> None:
    for layout in ("v1", "v2-padded"):
        path = write(tmp_path / f"{layout}.car", name, layout)
        go("index-create", *(["--codec", codec] if codec else []), path, tmp_path / "go")
        code = 0x0400 if codec == "car-index-sorted" else 0x0401
        assert_bytes_equal(carv2.build_index(path, codec=code).to_bytes(), (tmp_path / "go").read_bytes())


@FOREIGN
def test_indexes_made_of_foreign_archives_are_the_same_bytes(go: Peer, tmp_path: Path, path: str) -> None:
    source = shared_fixture(path)
    go("index-create", source, tmp_path / "go")
    assert_bytes_equal(carv2.build_index(source).to_bytes(), (tmp_path / "go").read_bytes())


@NAMES
def test_a_wrapped_archive_is_the_same_bytes(go: Peer, tmp_path: Path, name: str) -> None:
    source = write(tmp_path / "v1.car", name, "v1")
    go("wrap", source, tmp_path / "go.car")
    carv2.wrap(source, tmp_path / "ours.car")
    assert_bytes_equal((tmp_path / "ours.car").read_bytes(), (tmp_path / "go.car").read_bytes())
    go("unwrap", tmp_path / "ours.car", tmp_path / "back.car")
    assert_bytes_equal((tmp_path / "back.car").read_bytes(), source.read_bytes())


@NAMES
def test_an_archive_with_a_fresh_index_is_the_same_bytes_but_for_the_bit_that_go_car_forgets(
    go: Peer, tmp_path: Path, name: str
) -> None:
    """Its command lists identity CIDs and does not say so in the header (car-format.md, 3.1)."""
    source = write(tmp_path / "v1.car", name, "v1")
    go("index", source, tmp_path / "go.car")
    carv2.reindex(source, tmp_path / "ours.car", identity=True)
    ours, theirs = bytearray((tmp_path / "ours.car").read_bytes()), (tmp_path / "go.car").read_bytes()
    assert ours[11] == 0x80
    ours[11] = 0
    assert_bytes_equal(bytes(ours), theirs)
    go("index", "--codec", "none", source, tmp_path / "go2.car")
    sink = io.BytesIO()
    carv2.reindex(source, sink, codec=None)
    assert_bytes_equal(sink.getvalue(), (tmp_path / "go2.car").read_bytes())


@pytest.mark.parametrize("layout", ["v2", "v2-sorted", "v2-padded", "v2-identity"])
@NAMES
def test_an_index_taken_out_is_the_same_bytes_and_lists_the_same(
    go: Peer, capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str, layout: str
) -> None:
    path = write(tmp_path / "x.car", name, layout)
    go("detach-index", path, tmp_path / "go.carindex")
    carv2.detach_index(path, tmp_path / "ours.carindex")
    index = (tmp_path / "go.carindex").read_bytes()
    assert_bytes_equal((tmp_path / "ours.carindex").read_bytes(), index)
    if layout != "v2-sorted":
        listed = printed(capsys, "detach-index", "list", tmp_path / "ours.carindex")
        assert listed == go("detach-index-list", tmp_path / "go.carindex")
    assert_bytes_equal(read_index(index).to_bytes(), index)


# go-car's own store, by the layout of carv2 that it should equal
STORES = {
    "v1": ["--v1", "--duplicates", "--identity"],
    "v2": ["--duplicates", "--identity"],
    "v2-sorted": ["--duplicates", "--identity", "--codec", "car-index-sorted"],
    "v2-padded": ["--duplicates", "--identity", "--data-padding", "1413", "--index-padding", "1314"],
    "v2-identity": ["--duplicates", "--identity"],
}


@pytest.mark.parametrize("layout", STORES)
@NAMES
def test_what_go_cars_store_writes_is_good_here_and_what_carv2_would_have_written(
    go: Peer, tmp_path: Path, name: str, layout: str
) -> None:
    source = write(tmp_path / "source.car", name, "v1")
    go("put", *STORES[layout], source, tmp_path / "go.car")
    assert carv2.verify(tmp_path / "go.car").problems == ()
    roots = [BLOCKS[name][0][0]]
    with carv2.create(tmp_path / "ours.car", roots, **{**LAYOUTS[layout], "identity": True}) as car:
        car.write_all(BLOCKS[name])
    assert_bytes_equal((tmp_path / "ours.car").read_bytes(), (tmp_path / "go.car").read_bytes())


@NAMES
def test_what_go_cars_store_writes_with_its_usual_settings_is_good_here(
    go: Peer, capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str
) -> None:
    source = write(tmp_path / "source.car", name, "v1")
    go("put", source, tmp_path / "go.car")
    check_reading(go, capsys, tmp_path / "go.car")
    kept = {carv2.CID(cid).multihash: data for cid, data in carv2.open(tmp_path / "go.car")}
    assert kept == {cid.multihash: data for cid, data in BLOCKS[name] if not cid.is_identity}
    kinds = {problem.kind for problem in carv2.verify(tmp_path / "go.car").problems}
    assert kinds <= {"MissingRoot"}
    assert bool(kinds) is (BLOCKS[name][0][0].multihash not in kept)


@pytest.mark.parametrize("count", [0, 1, 3, 8])
def test_what_go_cars_store_left_unfinished_is_salvaged(go: Peer, tmp_path: Path, count: int) -> None:
    source = write(tmp_path / "source.car", "mixed", "v1")
    for number, padding in enumerate((0, 1413)):
        path, out = tmp_path / f"{number}.car", tmp_path / f"{number}.out.car"
        go("put", "--no-finalize", "--duplicates", "--count", count, "--data-padding", padding, source, path)
        assert [problem.kind for problem in carv2.verify(path).problems] == ["UnfinalizedError"]
        report = carv2.salvage(path, out)
        assert [(carv2.CID(cid), data) for cid, data in carv2.open(out)] == BLOCKS["mixed"][:count]
        assert report.roots == (BLOCKS["mixed"][0][0],)


def test_an_archive_with_replaced_roots_is_read_by_go_car(go: Peer, tmp_path: Path) -> None:
    path = write(tmp_path / "x.car", "mixed", "v2-padded")
    carv2.replace_roots(path, [BLOCKS["mixed"][3][0]])
    assert go("root", path).split() == [str(BLOCKS["mixed"][3][0])]
    go("verify", path)


def test_a_detached_index_attached_again_satisfies_go_car(go: Peer, tmp_path: Path) -> None:
    source = write(tmp_path / "x.car", "many", "v1")
    go("index-create", source, tmp_path / "go.carindex")
    carv2.attach_index(source, tmp_path / "go.carindex", tmp_path / "y.car")
    go("verify", tmp_path / "y.car")
    go("wrap", source, tmp_path / "z.car")
    assert_bytes_equal((tmp_path / "y.car").read_bytes(), (tmp_path / "z.car").read_bytes())


def test_empty_archives_pass_both_ways(go: Peer, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for layout, options in LAYOUTS.items():
        path = tmp_path / f"{layout}.car"
        with carv2.create(path, [], **options):
            pass
        check_reading(go, capsys, path)
    go("put", tmp_path / "v1.car", tmp_path / "go.car")
    assert carv2.verify(tmp_path / "go.car").ok
    assert carv2.inspect(tmp_path / "go.car").block_count == 0


def test_null_padding_is_kept_by_both(go: Peer, tmp_path: Path) -> None:
    for name in ("sample-v1-with-zero-len-section.car", "sample-v1-with-zero-len-section2.car"):
        source = shared_fixture(f"go-car/{name}")
        go("index-create", "--null-padding", source, tmp_path / "go")
        assert_bytes_equal(carv2.build_index(source, null_padding=True).to_bytes(), (tmp_path / "go").read_bytes())
        assert go("list", "--null-padding", source).split() == [
            str(block.cid) for block in carv2.open(source, null_padding=True)
        ]
        assert go.run("list", source).returncode != 0
        with pytest.raises(carv2.FormatError):
            list(carv2.open(source))


def test_very_many_copies_are_indexed_in_the_order_of_the_file(go: Peer, tmp_path: Path) -> None:
    """go-car's order of more than twelve equal digests is arbitrary; the records are the same."""
    path = tmp_path / "copies.car"
    path.write_bytes(archives.v1([archives.FISH[0]], [archives.FISH, archives.LOBSTER] * 20))
    go("index-create", path, tmp_path / "go")
    theirs, ours = list(read_index(tmp_path / "go")), list(carv2.build_index(path).to_index())
    assert ours == sorted(theirs, key=lambda entry: (entry.digest, entry.offset))


# Broken archives of this project that go-car's inspection, its list of blocks or its store take for good.
TAKEN_BY_GO = {
    "section-without-anything": "a length and then the end is the end (car-format.md, 1.4)",
    "payload-cut-between-sections": "the end of the file is the end of the payload",
    "carv2-data-of-nearly-2-63-bytes": "the end of the file is the end of the payload",
    "block-of-an-empty-digest": "any data have the first no bytes of their hash",
    **dict.fromkeys(
        (
            "index-codec-not-minimal",
            "index-cut-behind-its-codec",
            "index-cut-short",
            "index-in-the-data",
            "index-in-the-header",
            "index-of-a-huge-bucket-count",
            "index-of-a-huge-count",
            "index-of-a-negative-bucket-count",
            "index-of-another-codec",
            "index-of-nearly-2-63-bytes",
            "index-of-negative-count",
            "index-bucket-too-large",
            "index-record-of-no-width",
            "index-record-too-narrow",
            "index-record-too-wide",
        ),
        "the index is not read",
    ),
    "index-behind-the-end": "the list of blocks does not look at the index",
    "index-behind-the-end-of-everything": "the list of blocks does not look at the index",
    "index-names-no-section": "the index is not held against the data",
    "index-names-the-header": "the index is not held against the data",
    "index-names-nearly-2-64": "the index is not held against the data",
    "index-names-another-block": "the index is not held against the data",
    "index-names-what-is-behind-the-end": "the index is not held against the data",
}


@pytest.mark.parametrize("case", sorted(own_fixture("broken").glob("*.car")), ids=lambda path: path.stem)
def test_what_carv2_refuses_go_car_refuses_too_or_it_is_known_why_not(go: Peer, case: Path) -> None:
    is_taken = go.run("list", case).returncode == 0
    assert is_taken is (case.stem in TAKEN_BY_GO)


# -- the command itself -----------------------------------------------------------------------------------------


def test_the_car_command_accepts_what_carv2_writes(
    car: Peer, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name, layout in EVERY:
        path = write(tmp_path / f"{name}-{layout}.car", name, layout)
        assert printed(capsys, "inspect", "--full", path) == car("inspect", "--full", path)
        assert printed(capsys, "list", path) == car("list", path)
        assert printed(capsys, "root", path) == car("root", path)
        if layout != "v2-no-index":
            car("verify", path)


def test_the_car_command_makes_the_same_index(car: Peer, tmp_path: Path) -> None:
    for name in BLOCKS:
        source = write(tmp_path / f"{name}.car", name, "v1")
        car("index", "create", source, tmp_path / "theirs")
        assert_bytes_equal(carv2.build_index(source).to_bytes(), (tmp_path / "theirs").read_bytes())
