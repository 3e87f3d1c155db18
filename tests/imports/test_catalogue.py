"""Numbers and labels of imports, whoever else is writing."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from carv2._sqlite import open_database, told_as_oserror
from carv2.cid import CID
from carv2.errors import ClosedError, FormatError, ImportNotFoundError, StateError
from carv2.imports import catalogue as catalogue_module
from carv2.imports.catalogue import LAST_ID, VERSIONS, Catalogue

if TYPE_CHECKING:
    from collections.abc import Iterator

FISH = CID.of_data(b"fish")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalogue.sqlite"


@pytest.fixture
def catalogue(path: Path) -> Iterator[Catalogue]:
    opened = Catalogue(path)
    yield opened
    opened.close()


def damage(path: Path, statement: str) -> None:
    with sqlite3.connect(path) as database:
        database.execute(statement)
    database.close()


@pytest.mark.parametrize("read_only", [False, True])
def test_a_damaged_schema_whose_names_are_no_text_is_an_oserror(path: Path, read_only: bool) -> None:
    Catalogue(path).close()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA writable_schema=ON")
        database.execute("UPDATE sqlite_master SET name = CAST(x'ff' AS TEXT), sql = 'what is that'")
    database.close()
    with pytest.raises(OSError, match=r"catalogue\.sqlite: .*malformed.*: move it away"):
        Catalogue(path, read_only=read_only)


def test_whatever_a_damaged_database_makes_sqlite_raise_is_an_oserror(path: Path) -> None:
    for error in (sqlite3.DatabaseError("?"), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "?"), OverflowError("?")):
        with pytest.raises(OSError, match=r"catalogue\.sqlite: "), told_as_oserror(path):
            raise error
    with pytest.raises(MemoryError), told_as_oserror(path):
        raise MemoryError


def test_a_number_is_the_time(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue_module, "time_ns", lambda: 1_629_158_672_000_000_001)
    assert catalogue.add({}) == 1_629_158_672_000_000_001


@pytest.mark.parametrize("clock", [[5, 5, 5], [9, 3, 1], [-4, -9, 0], [5, 7, 6]])
def test_numbers_grow_whatever_the_clock_does(
    clock: list[int], catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue_module, "time_ns", iter(clock).__next__)
    found = [catalogue.add({}) for _ in clock]
    assert found == sorted(set(found))
    assert found[0] == max(clock[0], 1)


def test_the_number_of_a_removed_import_is_not_given_again(
    path: Path, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue_module, "time_ns", lambda: 7)
    one = catalogue.add({})
    catalogue.remove(one)
    catalogue.close()
    again = Catalogue(path)
    assert again.add({}) == one + 1
    again.close()


def test_numbers_grow_beyond_those_from_elsewhere(catalogue: Catalogue) -> None:
    catalogue.insert(LAST_ID, {})
    assert catalogue.add({}) == LAST_ID + 1
    with pytest.raises(ValueError, match="numbers go from 0"):
        catalogue.insert(LAST_ID + 1, {})
    with pytest.raises(ValueError, match="numbers go from 0"):
        catalogue.insert(-1, {})


def add_many(path: str, count: int, queue: multiprocessing.Queue[list[int]]) -> None:
    catalogue = Catalogue(path)
    queue.put([catalogue.add({"source": "unknown"}) for _ in range(count)])
    catalogue.close()


def test_processes_get_different_numbers(path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    workers = [context.Process(target=add_many, args=(str(path), 30, queue)) for _ in range(2)]
    for worker in workers:
        worker.start()
    found = [queue.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join()
    assert all(ids == sorted(ids) for ids in found)
    catalogue = Catalogue(path)
    assert catalogue.ids() == sorted({*found[0], *found[1]})
    assert len(catalogue.ids()) == 60
    catalogue.close()


def test_threads_get_different_numbers_and_read_what_they_wrote(catalogue: Catalogue) -> None:
    found: list[int] = []

    def work(name: str) -> None:
        for turn in range(20):
            id_ = catalogue.add({"name": name})
            with catalogue.transaction():
                catalogue.set_labels(id_, {**catalogue.labels_of(id_), "turn": str(turn)})
            if catalogue.labels_of(id_) == {"name": name, "turn": str(turn)}:
                found.append(id_)

    threads = [threading.Thread(target=work, args=(str(number),)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == catalogue.ids()
    assert len(set(found)) == 80


@pytest.mark.parametrize(
    "labels",
    [{}, {"source": "unknown"}, {"filename": "/data/\udcff\n\x00\U0001f41f"}, {"": ""}, {"k": "v" * 100_000}],
)
def test_labels_come_back_as_they_were(labels: dict[str, str], path: Path, catalogue: Catalogue) -> None:
    id_ = catalogue.add(labels)
    catalogue.close()
    again = Catalogue(path)
    assert again.labels_of(id_) == labels
    again.close()


def test_what_a_transaction_did_goes_with_it(catalogue: Catalogue) -> None:
    kept = catalogue.add({"a": "1"})

    def change_and_fail() -> None:
        with catalogue.transaction():
            with catalogue.transaction():
                catalogue.add({})
            catalogue.set_labels(kept, {"a": "2"})
            raise KeyError

    with pytest.raises(KeyError):
        change_and_fail()
    assert catalogue.ids() == [kept]
    assert catalogue.labels_of(kept) == {"a": "1"}


@pytest.mark.parametrize("id_", [0, 7, -1, 1 << 63, 1 << 70])
def test_an_import_that_is_not_there(id_: int, catalogue: Catalogue) -> None:
    for call in (catalogue.labels_of, catalogue.remove, lambda id_: catalogue.set_labels(id_, {})):
        with pytest.raises(ImportNotFoundError) as caught:
            call(id_)
        assert caught.value.id == id_


def test_the_first_import_with_a_root_however_it_is_written(catalogue: Catalogue) -> None:
    assert catalogue.first_with_root(FISH) is None
    other_form = FISH.to_base("base58btc") if hasattr(FISH, "to_base") else str(FISH)
    catalogue.add({"root": "no CID"})
    first = catalogue.add({"root": other_form})
    catalogue.add({"root": str(FISH)})
    assert catalogue.first_with_root(FISH) == first
    catalogue.set_labels(first, {"root": str(CID.of_data(b"lobster"))})
    found = catalogue.first_with_root(FISH)
    assert found is not None
    assert found > first


def test_a_root_is_looked_up_in_an_index(path: Path, catalogue: Catalogue) -> None:
    catalogue.add({"root": str(FISH)})
    with sqlite3.connect(path) as database:
        plan = database.execute("EXPLAIN QUERY PLAN SELECT min(id) FROM imports WHERE root = ?", [b"x"]).fetchall()
    database.close()
    assert "imports_by_root" in str(plan)
    assert "SCAN" not in str(plan)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", '{"a": 1}', '{"a": null}', "[" * 100_000, "9" * 10_000, '"x"', "\x00"]
)
def test_a_damaged_record_is_an_error_of_its_own(text: str, path: Path, catalogue: Catalogue) -> None:
    sound, broken = catalogue.add({"a": "1"}), catalogue.add({})
    with sqlite3.connect(path) as database:
        database.execute("UPDATE imports SET labels = ? WHERE id = ?", [text, broken])
    database.close()
    assert catalogue.ids() == [sound, broken]
    assert catalogue.labels_of(sound) == {"a": "1"}
    with pytest.raises(FormatError, match=str(broken)):
        catalogue.labels_of(broken)


def test_labels_that_are_no_utf_8_are_an_error(path: Path, catalogue: Catalogue) -> None:
    id_ = catalogue.add({})
    damage(path, "UPDATE imports SET labels = CAST(x'7b22ff227d' AS TEXT)")
    with pytest.raises((OSError, FormatError)):
        catalogue.labels_of(id_)


def test_what_is_no_database_is_an_error_with_its_path(path: Path) -> None:
    path.write_bytes(b"this is something else" * 100)
    with pytest.raises(OSError, match=r"catalogue\.sqlite: file is not a database"):
        Catalogue(path)
    assert path.read_bytes() == b"this is something else" * 100


def test_a_catalogue_of_a_newer_program_is_left_alone(path: Path, catalogue: Catalogue) -> None:
    catalogue.close()
    damage(path, f"PRAGMA user_version = {len(VERSIONS) + 1}")
    with pytest.raises(StateError, match="newer carv2"):
        Catalogue(path)


def test_a_table_that_is_gone_is_an_oserror(path: Path, catalogue: Catalogue) -> None:
    damage(path, "DROP TABLE imports")
    for call in (catalogue.ids, lambda: catalogue.add({}), lambda: catalogue.labels_of(1)):
        with pytest.raises(OSError, match="no such table"):
            call()


def test_a_closed_catalogue_says_so(catalogue: Catalogue) -> None:
    catalogue.close()
    catalogue.close()
    with pytest.raises(ClosedError):
        catalogue.ids()
    with pytest.raises(ClosedError), catalogue.transaction():
        pass


NOBODY = """
import os, sys
sys.path[:0] = {path!r}
from carv2.imports import ImportsManager
ImportsManager(sys.argv[2]).close()  # whatever is to be imported is imported now
os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    ImportsManager(sys.argv[1])
except OSError as error:
    print(type(error).__name__, error)
with ImportsManager(sys.argv[1], read_only=True) as imports:
    print([entry.labels for entry in imports.list()])
"""


@pytest.mark.skipif(
    os.name != "posix" or os.getuid() != 0, reason="only root can become somebody who may not write"
)
@pytest.mark.parametrize("is_there", [True, False])
def test_a_folder_that_cannot_be_written_to_is_named(is_there: bool) -> None:
    import subprocess

    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        root = Path(folder) / "imports"
        if is_there:
            root.mkdir()
            catalogue = Catalogue(root / "catalogue.sqlite")
            catalogue.add({"filename": "fish"})
            catalogue.close()
            root.chmod(0o555)
        script = NOBODY.format(path=[entry for entry in sys.path if entry])
        words = [sys.executable, "-c", script, str(root), str(Path(folder) / "other")]
        ran = subprocess.run(words, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
        assert ran.stdout.startswith("PermissionError")
        told, read = ran.stdout.splitlines()
        assert str(root) in told
        assert read == ("[{'filename': 'fish'}]" if is_there else "[]")


@pytest.fixture
def held(path: Path) -> Iterator[sqlite3.Connection]:
    """A database without a write-ahead log, which somebody is just about to change."""
    holder = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN IMMEDIATE")
    yield holder
    holder.close()


def test_who_makes_the_database_at_the_same_time_is_waited_for(path: Path, held: sqlite3.Connection) -> None:
    release = threading.Timer(0.2, held.execute, ["COMMIT"])
    release.start()
    Catalogue(path).close()
    release.join()


def test_who_keeps_the_database_to_itself_is_not_waited_for_longer_than_said(
    path: Path, held: sqlite3.Connection
) -> None:
    assert held.in_transaction
    with pytest.raises(OSError, match="database is locked"):
        open_database(path, VERSIONS, timeout=0.05)
