"""What looks for leaks after each module finds them: each kind, and nothing where there is none."""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import re
import subprocess
import sys
import tempfile
import threading
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

import pytest

from carv2.dagstore._leases import LeaseKeeper
from carv2.dagstore.catalogue import open_catalogue
from helpers import leaks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells less elsewhere")


@pytest.fixture
def watch() -> Iterator[leaks.Watch]:
    with contextlib.closing(leaks.Watch()) as watch:
        yield watch


@contextmanager
def a_descriptor(folder: Path) -> Iterator[None]:
    with (folder / "file").open("w"):
        yield


@contextmanager
def a_map(folder: Path) -> Iterator[None]:
    (folder / "file").write_bytes(b"fish")
    with (folder / "file").open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ):
        yield


@contextmanager
def a_lock(folder: Path) -> Iterator[None]:
    with (folder / "file").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def a_thread(_: Path) -> Iterator[None]:
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    yield
    over.set()
    thread.join()


@contextmanager
def a_process(_: Path) -> Iterator[None]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield
        process.kill()


@contextmanager
def a_grandchild(_: Path) -> Iterator[None]:
    """Its parent is gone."""
    done = subprocess.run(
        ["sh", "-c", "sleep 60 >/dev/null 2>&1 & echo $!"], capture_output=True, text=True, check=True
    )
    yield
    os.kill(int(done.stdout), 9)


@contextmanager
def a_temporary_file(_: Path) -> Iterator[None]:
    with tempfile.NamedTemporaryFile() as file:
        assert os.path.exists(file.name)
        yield


@contextmanager
def a_lease(folder: Path) -> Iterator[None]:
    with contextlib.closing(open_catalogue(folder / "catalogue.sqlite")) as catalogue:
        keeper = LeaseKeeper(catalogue, "holder", 60.0)
        with keeper.holding("shard"):
            yield
        keeper.close()


KINDS = {
    "descriptor": a_descriptor,
    "map": a_map,
    "lock": a_lock,
    "thread": a_thread,
    "process": a_process,
    "process: ": a_grandchild,
    "temporary file": a_temporary_file,
    "lease": a_lease,
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_left_is_found(
    kind: str, watch: leaks.Watch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leak: Callable[[Path], AbstractContextManager[None]] = KINDS[kind]
    with watch.nothing_left(), leak(tmp_path):
        pass
    monkeypatch.setattr(leaks, "PATIENCE", 0.1)
    found = pytest.raises(AssertionError, match=f"left behind:(.|\n)*  a {kind}")
    with contextlib.ExitStack() as later, found, watch.nothing_left():
        later.enter_context(leak(tmp_path))


def test_what_others_keep_is_none(watch: leaks.Watch, tmp_path: Path) -> None:
    with contextlib.ExitStack() as later, watch.nothing_left(), watch.keeping():
        later.enter_context(a_descriptor(tmp_path))


def test_the_temporary_folder_is_its_own_and_put_back() -> None:
    before = tempfile.gettempdir(), os.environ.get("TMPDIR")
    with contextlib.closing(leaks.Watch()) as watch:
        assert tempfile.gettempdir() == os.environ["TMPDIR"] == str(watch.folder)
        (watch.folder / "left").touch()
    assert (tempfile.gettempdir(), os.environ.get("TMPDIR")) == before
    assert not watch.folder.exists()


TESTS = {
    "conftest.py": """
import pytest
from helpers import leaks

leaks.PATIENCE = 0.1

def pytest_configure(config):
    config.pluginmanager.register(leaks)

@pytest.fixture(scope="session")
def shared():
    with open(__file__) as file:
        yield file

@pytest.fixture(scope="module")
def own():
    with open(__file__) as file:
        yield file
""",
    "test_clean.py": "def test(shared, own): pass\n",
    "test_leaves.py": "kept = []\ndef test(shared): kept.append(open(__file__))\n",
    "test_next.py": "def test(own, shared): pass\n",
}


@pytest.mark.parametrize("options", [[], ["-n2", "--dist=loadfile"]], ids=["here", "xdist"])
def test_the_module_that_leaks_is_named_and_no_other(tmp_path: Path, options: list[str]) -> None:
    for name, text in TESTS.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-rE",
        "-Werror",
        f"--basetemp={tmp_path / 'temporary'}",
        *options,
    ]
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "CARV2_LEAKS"))}
    environment = {**ours, "PYTHONPATH": os.path.dirname(__file__)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert re.search("^3 passed, .*1 error in ", done.stdout, re.MULTILINE), done
    assert f"a descriptor: {tmp_path / 'test_leaves.py'}\n" in done.stdout
    assert "ERROR test_leaves.py::test" in done.stdout
