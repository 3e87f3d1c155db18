"""Several at once: threads, processes, and one that is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from carv2.imports import ImportsManager

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

IMPORT = """
import sys
sys.path[:0] = {path!r}
from carv2.imports import ImportsManager
for path in sys.argv[2:]:
    with ImportsManager(sys.argv[1]) as imports:
        problems = imports.sanity.problems
        print(imports.import_file(path, workers=1).id, *problems, flush=True)
"""


def start(folder: Path, *paths: Path) -> subprocess.Popen[str]:
    script = IMPORT.format(path=[entry for entry in sys.path if entry])
    words = [sys.executable, "-c", script, str(folder), *map(str, paths)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.002)


def left_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith("catalogue.sqlite")}


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    """A file that takes long to import, and no room."""
    path = tmp_path / "endless"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    return path


def test_an_import_that_is_killed_is_found_and_can_be_removed(tmp_path: Path, endless: Path) -> None:
    folder = tmp_path / "imports"
    process = start(folder, endless)
    try:
        wait_for(lambda: list(folder.glob("*.car")), process)
        with ImportsManager(folder, check=None) as imports:
            wait_for(imports.ids, process)
            seen = imports.check()
            assert (seen.total, seen.broken, seen.under_way) == (1, 0, 1)
            assert seen.ok
        process.send_signal(signal.SIGKILL)
        process.wait()
    finally:
        process.kill()
        process.communicate()
    with ImportsManager(folder) as imports:
        report, (entry,) = imports.sanity, imports.list()
        assert report is not None
        assert (report.total, report.broken, report.under_way) == (1, 1, 0)
        assert report.problems[0].message == "import has missing/broken carv2; please reimport"
        assert (entry.source, entry.root) == ("import", None)
        assert entry.filename == str(endless)
        assert report.problems[0].repair == f"carv2 imports remove {entry.id}"
        assert left_in(folder) == {f"{entry.id}.car"}
        imports.remove(entry.id)
        assert left_in(folder) == set()
        assert imports.check().ok
        (tmp_path / "small").write_bytes(b"fish")
        assert imports.import_file(tmp_path / "small").id > entry.id


def test_an_import_that_is_killed_anywhere_leaves_what_can_be_removed(tmp_path: Path) -> None:
    folder = tmp_path / "imports"
    paths = [tmp_path / str(number) for number in range(200)]
    for number, path in enumerate(paths):
        path.write_bytes(bytes([number]) * 1000)
    done: set[int] = set()
    for turn in range(4):
        process = start(folder, *paths)
        try:
            assert process.stdout is not None
            done.add(int(process.stdout.readline().split()[0]))
            time.sleep(0.013 * turn)
            process.send_signal(signal.SIGKILL)
            done |= {int(line.split()[0]) for line in process.communicate()[0].splitlines()}
        finally:
            process.kill()
            process.communicate()
    with ImportsManager(folder) as imports:
        report = imports.sanity
        assert report is not None
        broken = {problem.id for problem in report.problems}
        assert not broken & done  # what was said to be done is
        assert done <= set(imports.ids())
        for id_ in imports.ids():
            imports.remove(id_)
        stray = left_in(folder)
        assert all((folder / name).stat().st_size == 0 for name in stray)
        assert len(stray) <= 4  # one that was made, and not recorded yet


def test_processes_import_at_once_and_see_nothing_broken(tmp_path: Path) -> None:
    folder = tmp_path / "imports"
    paths = [tmp_path / str(number) for number in range(12)]
    for number, path in enumerate(paths):
        path.write_bytes(bytes([number]) * 3_000_000)
    processes = [start(folder, *paths) for _ in range(2)]
    ids: list[int] = []
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        lines = [line.split(maxsplit=1) for line in out.splitlines()]
        assert all(len(words) == 1 for words in lines), out  # no problems behind the number
        found = [int(words[0]) for words in lines]
        assert found == sorted(found)
        ids += found
    with ImportsManager(folder, check="originals") as imports:
        assert imports.sanity is not None
        assert imports.sanity.ok
        assert list(imports.ids()) == sorted(ids)
        assert len(set(ids)) == 24


def test_threads_import_while_another_checks_and_removes(tmp_path: Path) -> None:
    paths = [tmp_path / str(number) for number in range(8)]
    for number, path in enumerate(paths):
        path.write_bytes(bytes([number]) * 2_500_000)
    faults: list[object] = []
    with ImportsManager(tmp_path / "imports") as imports:
        is_over = threading.Event()

        def add(path: Path) -> None:
            try:
                first, second = imports.import_file(path, workers=1), imports.import_file(path, workers=1)
                imports.remove(first.id)
                assert second.root is not None
                found = imports.find(second.root)
                assert found == second
            except BaseException as error:  # noqa: BLE001  (asserted below)
                faults.append(error)

        def watch() -> None:
            while not is_over.is_set():
                faults.extend(imports.check(originals=True, samples=2).problems)

        watcher = threading.Thread(target=watch)
        workers = [threading.Thread(target=add, args=(path,)) for path in paths]
        watcher.start()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        is_over.set()
        watcher.join()
        assert faults == []
        assert len(imports.list()) == len(paths)
        assert len(left_in(tmp_path / "imports")) == len(paths)


def test_a_folder_without_a_catalogue_yet_is_opened_by_several_at_once(tmp_path: Path) -> None:
    faults: list[object] = []

    def work() -> None:
        try:
            with ImportsManager(tmp_path / "imports") as imports:
                imports.create()
        except Exception as error:  # noqa: BLE001  (asserted below)
            faults.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    with ImportsManager(tmp_path / "imports", check=None) as imports:
        assert len(imports.list()) == 8
    assert os.path.exists(tmp_path / "imports" / "catalogue.sqlite")
