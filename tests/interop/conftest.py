"""The peers: other implementations as small programs of ours, built once a session or found where they are.

``CARV2_GO_PEER`` names the Go program around go-car, ``CARV2_FILMARKETS_8`` and ``CARV2_FILMARKETS_28`` those
around go-fil-markets, ``CARV2_DAGSTORE_PEER`` the one around the Go dagstore, ``CARV2_JS_PEER`` the folder of
``peer.mjs`` with its ``node_modules``, or the script itself. Where a peer cannot be had, the tests that need it
are skipped and say why. ``CARV2_KUBO`` names Kubo's ``ipfs``.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from interop import kubo_node as kubo_node_module

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from interop.kubo_node import KuboNode

HERE = Path(__file__).parent
PATIENCE = 600


class Peer(NamedTuple):
    """Another implementation, as a command."""

    command: tuple[str, ...]

    def run(self, *arguments: object, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        words = [*self.command, *map(str, arguments)]
        with tempfile.TemporaryDirectory() as folder:  # the Go dagstore leaves things there
            env = {**os.environ, "TMPDIR": folder}
            return subprocess.run(words, input=stdin, capture_output=True, check=False, timeout=PATIENCE, env=env)

    def __call__(self, *arguments: object, stdin: bytes = b"") -> str:
        """What the peer prints; it must not fail."""
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode == 0, f"{arguments}: {done.stderr.decode()}"
        return done.stdout.decode()


def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.interop)
            item.add_marker(pytest.mark.timeout(2 * PATIENCE))  # the first one builds the peer


def make(peer: str, command: list[str], folder: Path) -> None:
    """Run a step of building; skip the tests if it cannot be done here."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{peer}: {command[0]} is not installed")
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        pytest.skip(f"{peer}: {' '.join(command)} took more than {PATIENCE} s")
    if done.returncode != 0:
        pytest.skip(f"{peer}: {' '.join(command)} failed: {(done.stderr or done.stdout).strip()[-300:]}")


@contextmanager
def shared_folder(factory: pytest.TempPathFactory, name: str) -> Iterator[Path]:
    """A folder that all processes of a session share (pytest-xdist's workers), and this one's alone meanwhile."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / f"peer-{name}"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


def go_program(factory: pytest.TempPathFactory, peer: str, source: Path, *options: str) -> Peer:
    """The program in this folder of Go sources, built once."""
    with shared_folder(factory, "-".join([source.name, *options])) as folder:
        program = folder / "program"
        if not program.exists():
            make(peer, ["go", "build", *options, "-o", str(program), "."], source)
        return Peer((str(program),))


@pytest.fixture(scope="session")
def go(tmp_path_factory: pytest.TempPathFactory) -> Peer:
    """go-car."""
    given = os.environ.get("CARV2_GO_PEER")
    if given:
        return Peer((given,))
    return go_program(tmp_path_factory, "go-car", HERE / "go")


def filmarkets(version: int, tmp_path_factory: pytest.TempPathFactory) -> Peer:
    """The stores of go-fil-markets 1.``version``, which Lotus' client kept its imports with."""
    given = os.environ.get(f"CARV2_FILMARKETS_{version}")
    if given:
        return Peer((given,))
    return go_program(tmp_path_factory, f"go-fil-markets 1.{version}", HERE / f"filmarkets-v1.{version}")


@pytest.fixture(scope="session")
def filmarkets_8(tmp_path_factory: pytest.TempPathFactory) -> Peer:
    """go-fil-markets 1.8.0: ref-CARs of variant A."""
    return filmarkets(8, tmp_path_factory)


@pytest.fixture(scope="session")
def filmarkets_28(tmp_path_factory: pytest.TempPathFactory) -> Peer:
    """go-fil-markets 1.28.3: ref-CARs of variant D."""
    return filmarkets(28, tmp_path_factory)


@pytest.fixture(scope="session")
def go_dagstore(tmp_path_factory: pytest.TempPathFactory) -> Peer:
    """The Go dagstore, v0.7.0."""
    given = os.environ.get("CARV2_DAGSTORE_PEER")
    if given:
        return Peer((given,))
    return go_program(tmp_path_factory, "the Go dagstore", HERE / "dagstore")


@pytest.fixture(scope="session")
def kubo(tmp_path_factory: pytest.TempPathFactory) -> Peer:
    """Kubo's own command, `ipfs`, v0.43.0."""
    given = os.environ.get("CARV2_KUBO")
    if given:
        return Peer((given,))
    return go_program(tmp_path_factory, "Kubo", HERE / "kubo")


@pytest.fixture(scope="session")
def kubo_node(kubo: Peer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KuboNode]:
    """A node that the tests share; what is in it at the beginning of a test is anything."""
    with kubo_node_module.running(kubo, tmp_path_factory.mktemp("kubo-repo")) as node:
        yield node


@pytest.fixture(scope="session")
def js(tmp_path_factory: pytest.TempPathFactory) -> Peer:
    """@ipld/car."""
    if shutil.which("node") is None:
        pytest.skip("@ipld/car: node is not installed")
    given = os.environ.get("CARV2_JS_PEER")
    if given:
        script = Path(given) / "peer.mjs" if Path(given).is_dir() else Path(given)
        return Peer(("node", str(script)))
    with shared_folder(tmp_path_factory, "js") as shared:
        folder, ready = shared / "peer", shared / "ready"
        if not ready.exists():
            shutil.copytree(HERE / "js", folder, ignore=shutil.ignore_patterns("node_modules"), dirs_exist_ok=True)
            make("@ipld/car", ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"], folder)
            ready.touch()
    return Peer(("node", str(folder / "peer.mjs")))


@pytest.fixture(scope="session")
def ipfs_car(js: Peer) -> Peer:
    """The pack command of ipfs-car, versions 2 and 3."""
    script = Path(js.command[1]).parent / "ipfs-car.mjs"
    missing = [name for name in ("2", "3") if not (script.parent / f"node_modules/ipfs-car-{name}").exists()]
    if missing or not script.exists():
        pytest.skip(f"ipfs-car {' and '.join(missing)} is not among the modules of {script.parent}")
    return Peer(("node", str(script)))


@pytest.fixture(scope="session")
def car() -> Peer:
    """go-car's own command."""
    program = shutil.which("car")
    if program is None:
        pytest.skip("go-car's `car` is not on PATH (it cannot be built from the module proxy alone)")
    return Peer((program,))
