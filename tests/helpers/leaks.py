"""What a test module may leave behind: nothing. Seen from outside: by the kernel, wherever it tells.

A plugin for pytest: ``CARV2_LEAKS=1 python -m pytest``.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from multiprocessing import resource_tracker
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

PATIENCE = 30.0
"""Seconds that what is ending may take: a thread on its way out, a process that was told to stop."""

# Helpers of `multiprocessing` and of Dask, one a process, which live as long as it does.
_LASTING = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")
_LASTING_THREADS = "Dask-Offload"
_PROC = Path("/proc")


class Watch:
    """Looks at this process and its temporary folder; knows what came with fixtures that outlive a module."""

    def __init__(self) -> None:
        self._before = (
            {name: os.environ.get(name) for name in ("TMPDIR", "PYTEST_DEBUG_TEMPROOT")},
            tempfile.tempdir,
        )
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())  # pytest keeps some of its own
        self.folder = Path(tempfile.mkdtemp(prefix="carv2-tests-"))
        self.folder.chmod(0o711)  # a PostgreSQL server that runs as somebody else has its folder in there
        os.environ["TMPDIR"] = tempfile.tempdir = str(self.folder)  # of all processes that are started from here
        self._kept: Counter[str] = Counter()

    def close(self) -> None:
        """Put everything back as it was."""
        environment, tempfile.tempdir = self._before
        for name, value in environment.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextlib.contextmanager
    def keeping(self) -> Iterator[None]:
        """What comes within stays for longer than a module, on purpose."""
        before = self.seen()
        yield
        self._kept += self.seen() - before

    @contextlib.contextmanager
    def nothing_left(self) -> Iterator[None]:
        """Fail if there is more afterwards than there was before.

        Raises:
            AssertionError: says what is left.
        """
        before, kept = self.seen(), self._kept.copy()
        yield
        left = self._settled(before - kept)
        assert not left, "left behind:\n  " + "\n  ".join(sorted(left.elements()))

    def _settled(self, before: Counter[str]) -> Counter[str]:
        deadline = time.monotonic() + PATIENCE
        while (left := self.seen() - before - self._kept) and time.monotonic() < deadline:
            gc.collect()
            time.sleep(0.02)
        return left

    def seen(self) -> Counter[str]:
        """Everything that can leak, as text, with how often it is there."""
        found = Counter(f"a thread: {name}" for name in _threads())
        found.update(f"a temporary file: {name}" for name in os.listdir(self.folder))
        found.update(f"a lease: of {key!r}" for key in _leases())
        if sys.platform == "linux":
            found.update(f"a descriptor: {target}" for target in _descriptors())
            found.update(f"a map: {path}" for path in _maps())
            found.update(f"a lock: {what}" for what in _locks())
            found.update(f"a process: {command}" for command in self._processes())
        else:
            found.update(f"a process: {child.name}" for child in multiprocessing.active_children())
        return found

    def _processes(self) -> Iterator[str]:
        """Children, and what they started: all that have our temporary folder in their environment."""
        mark, own = b"TMPDIR=" + os.fsencode(self.folder) + b"\0", os.getpid()
        for folder in _PROC.glob("[0-9]*"):
            with contextlib.suppress(OSError, IndexError):  # it has just ended, or is not ours
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                if int(folder.name) == own or (parent != own and mark not in (folder / "environ").read_bytes()):
                    continue
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if not any(name in command for name in _LASTING):
                    yield f"{folder.name} {command[:200] or '(a zombie)'}"


WATCH = pytest.StashKey[Watch]()


def pytest_configure(config: pytest.Config) -> None:
    """Each process of the tests has a temporary folder of its own, also where several run at once."""
    config.stash[WATCH] = watch = Watch()
    config.add_cleanup(watch.close)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    """What a fixture that modules share starts is no leak of the first one that asks for it."""
    if fixturedef.scope not in {"session", "package"}:
        return (yield)
    with request.config.stash[WATCH].keeping():
        return (yield)


@pytest.fixture(scope="module", autouse=True)
def nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """A module leaves no descriptor, map, lock, lease, thread, process or temporary file behind."""
    with request.config.stash[WATCH].nothing_left():
        yield


def _threads() -> Iterator[str]:
    for thread in threading.enumerate():
        if not thread.name.startswith(_LASTING_THREADS):
            yield f"{thread.name} ({thread.ident})"


def _descriptors() -> Iterator[str]:
    lasting = {str(getattr(resource_tracker._resource_tracker, "_fd", None))}
    for fd in set(os.listdir("/proc/self/fd")) - lasting:
        with contextlib.suppress(OSError):  # the one of the listing itself
            target = os.readlink(f"/proc/self/fd/{fd}")
            if target != os.devnull:  # what closed files are, until nobody knows them any more
                yield target


def _maps() -> Iterator[str]:
    """Files in memory, but for programs and their libraries, which are there to stay."""
    for line in (_PROC / "self/maps").read_text(errors="replace").splitlines():
        fields = line.split(None, 5)
        if len(fields) == 6 and fields[5].startswith("/") and not _is_installed(fields[5]):
            yield fields[5]


def _is_installed(path: str) -> bool:
    return path.startswith((sys.prefix, sys.base_prefix, "/usr/", "/lib", "/dev/")) or ".so" in path


def _locks() -> Iterator[str]:
    own = str(os.getpid())
    with contextlib.suppress(OSError):
        for line in (_PROC / "locks").read_text().splitlines():
            _, *fields = line.split()
            if own in fields:
                yield " ".join(fields)


def _leases() -> Iterator[str]:
    """Shards that some DAG store of this process holds a lease of."""
    module = sys.modules.get("carv2.dagstore._leases")
    if module is not None:
        for found in gc.get_objects():
            if type(found) is module.LeaseKeeper:
                yield from (str(key) for key in list(found._held.values()))
