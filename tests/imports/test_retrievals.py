"""The folder of retrievals: names, lists, exports; processes that are killed, and disks that are full."""

from __future__ import annotations

import io
import os
import random
import string
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import carv2
from carv2 import _source
from carv2.cid import CID
from carv2.errors import (
    BlockNotFoundError,
    BudgetError,
    FormatError,
    PathNotFoundError,
    RetrievalNotFoundError,
    UnixFSError,
)
from carv2.imports import Retrievals
from carv2.imports._retrieval_files import checked_id
from faults.victims import words_of_the_killed
from helpers import archives
from helpers.archives import FISH, LOBSTER
from helpers.unixfs import Dag
from imports.retriever_to_kill import ROOT as KILLED_ROOT
from imports.retriever_to_kill import block
from imports.retrieving import CHILDREN_FIRST, DAG, PARENTS_FIRST, ROOT, STRAYS, stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from carv2.imports._export import Form

SOURCE, TESTS = Path(carv2.__file__).parent.parent, Path(__file__).parent.parent
FORMS: list[Form] = ["unixfs", "tar", "car"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{SOURCE}{os.pathsep}{TESTS}"}


@pytest.fixture
def retrievals(tmp_path: Path) -> Retrievals:
    return Retrievals(tmp_path / "retrievals")


def retrieved(
    retrievals: Retrievals, blocks: Iterable[tuple[bytes, bytes]] = (*CHILDREN_FIRST, *STRAYS), root: Any = ROOT
) -> Retrievals:
    """The same, with a retrieval ``x`` of these blocks."""
    with retrievals.start(root, id="x") as it:
        it.put_many(blocks)
        it.finish(partial=True)
    return retrievals


# -- processes and disks ------------------------------------------------------------------------------------------


def killed(folder: Path, first: int, moment: float) -> int:
    said = words_of_the_killed("imports.retriever_to_kill", [folder, first], moment)
    return max([first, *map(int, said)])


def test_a_killed_retriever_has_lost_nothing_that_was_flushed(tmp_path: Path) -> None:
    rng, safe = random.Random(5), 0
    retrievals = Retrievals(tmp_path)
    for _ in range(6):
        safe = killed(tmp_path, safe, rng.choice([0, 0.02, 0.1, 0.2]) * rng.random())
        record = retrievals.info("x")
        assert (record.state, record.root) == ("partial", KILLED_ROOT)
        with retrievals.start(KILLED_ROOT, id="x") as it:
            assert it.resumed_count == len(it) >= safe
            assert all(it[block(number)[0]] == block(number)[1] for number in range(len(it)))
            safe = len(it)
    assert safe > 0
    with retrievals.start(KILLED_ROOT, id="x") as it:
        it.put(KILLED_ROOT, b"root")
        assert it.finish().unreachable_count == safe
    assert carv2.verify(record.path).ok


FULL_DISK = """
import resource, sys
from carv2.imports import Retrievals
from imports.retriever_to_kill import ROOT, block
import carv2
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
chunks = carv2.iter_car([], map(block, range(100_000)))
try:
    with Retrievals("r").start(ROOT, id="x") as retrieval:
        retrieval.receive(chunks)
except OSError as error:
    print(error.errno, retrieval.received.new_count)
"""


def test_a_full_disk_leaves_what_can_be_gone_on_with(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    errno, stored = map(int, done.stdout.split())
    assert errno == 27
    retrievals = Retrievals(tmp_path / "r")
    assert retrievals.info("x").state == "partial"
    with retrievals.start(None, id="x") as it:  # now there is room
        assert stored * 0.6 < it.resumed_count <= stored  # but for what was on its way: 256 KiB
        assert all(it[block(number)[0]] == block(number)[1] for number in range(it.resumed_count))
        assert it.put(KILLED_ROOT, b"root")
        it.finish()


# -- names --------------------------------------------------------------------------------------------------------

SAFE = string.ascii_letters + string.digits + "-_."


@given(st.text(max_size=210) | st.text(SAFE, max_size=210))
def test_an_id_is_a_file_name_in_the_folder_or_refused(text: str) -> None:
    fine = bool(text) and set(text) <= set(SAFE) and text[0] != "." and len(text) <= 200
    if fine:
        assert checked_id(text) == text
    else:
        with pytest.raises(ValueError, match="cannot be the id"):
            checked_id(text)


@pytest.mark.parametrize("id_", ["", ".", "..", "../x", "a/b", "/x", "x\0", "x\n", "ü", "٣", "x" * 201, ".x"])
def test_no_id_leads_out_of_the_folder(retrievals: Retrievals, id_: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: retrievals.start(ROOT, id=id_),
        lambda: retrievals.info(id_),
        lambda: retrievals.check(id_),
        lambda: retrievals.open(id_),
        lambda: retrievals.export(id_, "x"),
        lambda: retrievals.remove(id_),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="cannot be the id"):
            call()


def test_new_ones_are_numbered_by_the_clock(retrievals: Retrievals) -> None:
    before = time.time_ns()
    with retrievals.start(ROOT) as one, retrievals.start(ROOT) as two:
        assert before <= int(one.id) < int(two.id) <= time.time_ns() + 1
    assert [record.id for record in retrievals.list()] == [one.id, two.id]
    with retrievals.start(ROOT, id=int(one.id)) as it:
        assert it.path == one.path


def test_a_number_that_is_taken_is_not_given_again(
    retrievals: Retrievals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("carv2.imports.retrievals.time_ns", lambda: 7)
    with retrievals.start(ROOT) as one, retrievals.start(ROOT) as two, retrievals.start(ROOT) as three:
        assert [one.id, two.id, three.id] == ["7", "8", "9"]


def test_what_is_not_there(retrievals: Retrievals) -> None:
    assert retrievals.list() == []
    calls: list[Callable[[], object]] = [
        lambda: retrievals.start(None, id="x"),
        lambda: retrievals.info("x"),
        lambda: retrievals.export("x", "y"),
        lambda: retrievals.remove("x"),
    ]
    for call in calls:
        with pytest.raises(RetrievalNotFoundError, match="there is no retrieval x"):
            call()
    with pytest.raises(ValueError, match="a root or an id"):
        retrievals.start(None)
    assert not os.path.exists(retrievals.folder)


# -- lists --------------------------------------------------------------------------------------------------------


def test_a_list_is_made_of_headers_alone(retrievals: Retrievals, monkeypatch: pytest.MonkeyPatch) -> None:
    retrieved(retrievals)
    with open(retrievals.info("x").path, "r+b") as file:
        file.truncate(1 << 40)  # a terabyte of nothing
    reads: list[int] = []
    read_at = _source.FileSource.read_at

    def counted(self: _source.FileSource, position: int, size: int) -> bytes:
        reads.append(size)
        return read_at(self, position, size)

    monkeypatch.setattr(_source.FileSource, "read_at", counted)
    (record,) = retrievals.list()
    assert (record.root, record.state, record.size, record.problem) == (ROOT, "finished", 1 << 40, "")
    assert 0 < sum(reads) < 1 << 17


PAYLOAD = archives.v1([ROOT.raw], PARENTS_FIRST)
FILES = {
    "cut.car": (archives.v2(PAYLOAD)[:-1], "wanted"),
    "headless.car": (archives.v2(PAYLOAD)[:30], "wanted"),
    "empty.car": (b"", "wanted"),
    "one.car": (PAYLOAD, "a CARv1"),
    "roots.car": (archives.v2(archives.v1([ROOT.raw, STRAYS[0][0]], [])), "2 roots"),
    "no-roots.car": (archives.v2(archives.v1([], [])), "0 roots"),
    "text.car": (b"not an archive\n", "at byte"),
    "index.car": (archives.v2(PAYLOAD, b"?")[:-1], "wanted"),
    "zeros.car": (archives.PRAGMA + bytes(40) + bytes(100), "at byte"),
    "early.car": (archives.PRAGMA + bytes(40) + PAYLOAD[:9], "wanted"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_listed_with_what_is_wrong(retrievals: Retrievals, name: str) -> None:
    retrieved(retrievals)
    Path(retrievals.folder, name).write_bytes(FILES[name][0])
    found = {record.id: record for record in retrievals.list()}
    assert found.keys() == {"x", name.removesuffix(".car")}
    assert found["x"].state == "finished"
    record = found[name.removesuffix(".car")]
    assert (record.state, record.root, record.size) == ("damaged", None, len(FILES[name][0]))
    assert FILES[name][1] in record.problem


def test_strangers_in_the_folder_are_left_alone(retrievals: Retrievals, tmp_path: Path) -> None:
    folder = Path(retrieved(retrievals).folder)
    whole = (folder / "x.car").read_bytes()
    for name in ("x.txt", ".car", ".hidden.car", "a b.car", "ü.car", "x.car.part", "x.CAR"):
        (folder / name).write_bytes(whole)
    (folder / "folder.car").mkdir()
    (tmp_path / "outside.car").write_bytes(whole)
    (folder / "link.car").symlink_to(tmp_path / "outside.car")
    os.mkfifo(folder / "pipe.car")
    assert [record.id for record in retrievals.list()] == ["x"]
    for id_ in ("folder", "link", "pipe"):
        for call in (retrievals.info, retrievals.check, retrievals.open, retrievals.remove):
            with pytest.raises(OSError, match="not a regular file"):
                call(id_)
        with pytest.raises(OSError, match="not a regular file"):
            retrievals.start(ROOT, id=id_)
    retrievals.remove("x")
    assert (tmp_path / "outside.car").read_bytes() == whole
    assert retrievals.list() == []
    assert len(os.listdir(folder)) == 10


def test_what_go_car_left_unfinished_is_gone_on_with(retrievals: Retrievals) -> None:
    os.makedirs(retrievals.folder)
    zeros = archives.PRAGMA + bytes(40) + archives.v1([ROOT.raw], PARENTS_FIRST[:4])
    Path(retrievals.folder, "1629158672000000001.car").write_bytes(zeros[:-1])
    (record,) = retrievals.list()
    assert (record.root, record.state) == (ROOT, "partial")
    with retrievals.start(ROOT, id=record.id) as it:
        assert (it.resumed_count, it.cut_bytes > 0) == (3, True)
        it.receive([stream(CHILDREN_FIRST)])
        assert it.finish().complete
    assert retrievals.info(record.id).state == "finished"


# -- exports ------------------------------------------------------------------------------------------------------


def test_as_a_folder_and_as_a_file(retrievals: Retrievals, tmp_path: Path) -> None:
    retrieved(retrievals)
    report = retrievals.export("x", tmp_path / "out")
    assert report is not None
    assert (tmp_path / "out/big").read_bytes() == b"fish" * 6
    assert sorted(os.listdir(tmp_path / "out/docs")) == ["again", "readme"]
    retrievals.export("x", tmp_path / "docs", path="docs")
    assert (tmp_path / "docs/readme").read_bytes() == b"read me"
    retrievals.export("x", tmp_path / "new" / "big", path="/big/")
    assert (tmp_path / "new" / "big").read_bytes() == b"fish" * 6
    sink, sizes = io.BytesIO(), list[int]()
    assert retrievals.export("x", sink, path="big", on_bytes=sizes.append) is None
    assert (sink.getvalue(), sum(sizes)) == (b"fish" * 6, 24)
    with pytest.raises(ValueError, match="a directory goes into a folder"):
        retrievals.export("x", io.BytesIO())
    with pytest.raises(PathNotFoundError):
        retrievals.export("x", tmp_path / "no", path="big/no")
    assert not (tmp_path / "no").exists()


def test_files_that_are_there(retrievals: Retrievals, tmp_path: Path) -> None:
    retrieved(retrievals)
    out = tmp_path / "out"
    out.write_bytes(b"mine")
    for path in ("", "big"):
        with pytest.raises(FileExistsError):
            retrievals.export("x", out, path=path)
    retrievals.export("x", out, path="big", existing="keep")
    assert out.read_bytes() == b"mine"
    retrievals.export("x", out, path="big", existing="replace")
    assert out.read_bytes() == b"fish" * 6


def test_as_tar(retrievals: Retrievals, tmp_path: Path) -> None:
    retrieved(retrievals)
    for path, expected in (
        ("", ["big", "docs", "docs/again", "docs/readme", "empty"]),
        ("docs/readme", ["readme"]),
    ):
        retrievals.export("x", tmp_path / "out.tar", form="tar", path=path, existing="replace")
        with tarfile.open(tmp_path / "out.tar") as tar:
            assert sorted(tar.getnames()) == expected


@pytest.mark.parametrize("version", [1, 2])
def test_as_an_archive_without_strays(retrievals: Retrievals, tmp_path: Path, version: int) -> None:
    retrieved(retrievals)
    retrievals.export("x", tmp_path / "out.car", form="car", version=version)
    with carv2.open(tmp_path / "out.car") as car:
        assert (car.version, car.roots) == (version, (ROOT,))
        assert {bytes(cid): data for cid, data in car} == DAG.blocks
    again: Any = {"form": "car", "version": version, "existing": "replace"}
    retrievals.export("x", tmp_path / "out.car", selector='{".":{}}', **again)
    with carv2.open(tmp_path / "out.car") as car:
        assert [block.cid for block in car] == [ROOT]
    retrievals.export("x", tmp_path / "out.car", path="docs/readme", **again)
    with carv2.open(tmp_path / "out.car") as car:
        assert [block.data for block in car] == [b"read me"]


@pytest.mark.parametrize("form", ["car", "tar"])
def test_an_archive_that_is_there_is_not_replaced_unasked(
    retrievals: Retrievals, tmp_path: Path, form: Form
) -> None:
    retrieved(retrievals)
    out = tmp_path / "out"
    out.write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="out"):
        retrievals.export("x", out, form=form)
    with pytest.raises(ValueError, match="keep"):
        retrievals.export("x", out, form=form, existing="keep")
    assert out.read_bytes() == b"mine"
    retrievals.export("x", out, form=form, existing="replace")
    assert out.read_bytes() != b"mine"
    retrievals.export("x", os.devnull, form=form, version=1 if form == "car" else 2)


def test_what_is_missing_is_an_error_or_passed_over(retrievals: Retrievals, tmp_path: Path) -> None:
    lost = archives.cid_v1(b"read me")
    retrieved(retrievals, [(cid, data) for cid, data in CHILDREN_FIRST if cid != lost])
    for form in FORMS:
        out = tmp_path / form
        with pytest.raises(BlockNotFoundError):
            retrievals.export("x", out, form=form)
        assert not out.is_file()
    skipped: list[Any] = []
    retrievals.export("x", tmp_path / "out", partial=True, on_skip=skipped.append)
    assert [item.path for item in skipped] == ["/docs/readme"]
    report: Any = retrievals.export("x", tmp_path / "car", form="car", partial=True)
    assert report.missing == (CID.of(lost),)


def test_one_that_is_under_way_can_be_looked_into(retrievals: Retrievals, tmp_path: Path) -> None:
    with retrievals.start(ROOT, id="x") as it:
        it.put_many(PARENTS_FIRST)
        it.flush()
        retrievals.export("x", tmp_path / "out")
    assert (tmp_path / "out/big").read_bytes() == b"fish" * 6


def test_a_bomb_does_not_fill_the_disk(retrievals: Retrievals, tmp_path: Path) -> None:
    dag = Dag()
    made = dag.raw(bytes(100))
    for _ in range(5):
        made = dag.file([made] * 16)
    retrieved(retrievals, dag.blocks.items(), made.cid)
    for form in FORMS[:2]:
        with pytest.raises(BudgetError):
            retrievals.export("x", tmp_path / "out", form=form)
        assert not (tmp_path / "out").exists()
    with pytest.raises(BudgetError):
        retrievals.export("x", io.BytesIO(), max_bytes=1000)


def test_what_is_no_file_goes_into_an_archive_only(retrievals: Retrievals, tmp_path: Path) -> None:
    node = archives.node()
    retrieved(retrievals, [node], node[0])
    for form in FORMS[:2]:
        with pytest.raises(UnixFSError, match="no UnixFS"):
            retrievals.export("x", tmp_path / "out", form=form)
    retrievals.export("x", tmp_path / "out", form="car")
    with pytest.raises(ValueError, match="form 'zip'"):
        retrievals.export("x", tmp_path / "out", form="zip")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="are for archives"):
        retrievals.export("x", tmp_path / "out", selector="{}")


def test_a_hole_behind_a_pragma_is_no_retrieval_and_is_not_gone_through(
    retrievals: Retrievals, monkeypatch: pytest.MonkeyPatch
) -> None:
    retrievals.start(ROOT, id="x").close()
    path = Path(retrievals.folder, "x.car")
    with path.open("r+b") as file:
        file.truncate(11)
        file.truncate(1 << 30)
    read, real = [0], os.pread

    def pread(descriptor: int, size: int, position: int) -> bytes:
        read[0] += size
        return real(descriptor, size, position)

    monkeypatch.setattr(os, "pread", pread)
    with pytest.raises(FormatError, match="nothing but zeros"):
        retrievals.start(ROOT, id="x")
    assert 0 < read[0] < 100 << 20
    assert path.stat().st_size == 1 << 30


@pytest.mark.parametrize("form", ["car", "tar", "unixfs"])
def test_a_retrieval_is_not_exported_over_itself(tmp_path: Path, form: Form) -> None:
    retrievals = Retrievals(tmp_path / "retrievals")
    with retrievals.start(CID(FISH[0]), id="fish") as retrieval:
        retrieval.put(*FISH)
        retrieval.finish()
    path = tmp_path / "retrievals" / "fish.car"
    before = path.read_bytes()
    with pytest.raises(ValueError, match="which it comes from"):
        retrievals.export("fish", path, form=form, existing="replace")
    assert path.read_bytes() == before


@pytest.mark.parametrize("roots", [[], [FISH[0], LOBSTER[0]]])
def test_what_has_another_number_of_roots_is_not_exported(tmp_path: Path, roots: list[bytes]) -> None:
    folder = tmp_path / "retrievals"
    folder.mkdir()
    (folder / "odd.car").write_bytes(b"".join(carv2.iter_car(roots, [FISH, LOBSTER])))
    with pytest.raises(FormatError, match=f"{len(roots)} roots; an export is of one"):
        Retrievals(folder).export("odd", tmp_path / "out")
