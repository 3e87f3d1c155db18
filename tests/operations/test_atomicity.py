"""Whole or not at all: what a failure on the way leaves behind is the old file, and nothing beside it."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import carv2
from carv2._atomic import replacing, writing
from carv2.operations.wrap import payload_of
from helpers import archives

if TYPE_CHECKING:
    from collections.abc import Callable

SOURCE = Path(carv2.__file__).parent.parent
DATA = os.urandom(300_000)
PAYLOAD = archives.v1([archives.FISH[0]], [archives.FISH, (archives.cid_v1(DATA), DATA)])
ARCHIVE = archives.v2(PAYLOAD, carv2.build_index(PAYLOAD).to_bytes())
OLD = b"what stood there before"

# Each writes more than the 100,000 bytes that the disk below has room for, into the place of "out".
OPERATIONS = {
    "wrap": "carv2.wrap('v1.car', 'out')",
    "unwrap": "carv2.unwrap('v2.car', 'out')",
    "reindex": "carv2.reindex('v1.car', 'out')",
    "attach": "carv2.attach_index('v1.car', 'v2.car', 'out')",
    "roots": "carv2.replace_roots('out', [carv2.CID.of_data(b'lobster')])",
    "unwrap in place": "carv2.unwrap('out', 'out')",
    "reindex in place": "carv2.reindex('out', 'out')",
    "wrap in place": "carv2.wrap('out', 'out')",
    "filter": "carv2.filter_blocks('v2.car', 'out', [], inverse=True)",
    "filter in place": "carv2.filter_blocks('out', 'out', [], inverse=True)",
    "append": "carv2.filter_blocks('v2.car', 'out', [], inverse=True, append=True)",
    "concat": "carv2.concat(['v1.car', 'v2.car'], 'out')",
    "concat in place": "carv2.concat(['v1.car', 'out'], 'out', version=1)",
    "split": "carv2.split('v2.car', 'new', size=1_000_000)",
    "salvage": "carv2.salvage('v2.car', 'new')",
    "create": """
    with carv2.create('new') as car:
        car.write(carv2.CID.of_data(bytes(300_000)), bytes(300_000))""",
    "wrap, not synced": "carv2.wrap('v1.car', 'out', sync=False)",
    "unwrap in place, not synced": "carv2.unwrap('out', 'out', sync=False)",
    "create, not synced": """
    with carv2.create('new', sync=False) as car:
        car.write(carv2.CID.of_data(bytes(300_000)), bytes(300_000))""",
    "command": """
    import carv2.cli.main
    if carv2.cli.main.main(['wrap', 'v1.car', 'out']) == 1:
        raise OSError(27, 'as it should')""",
}
IN_PLACE = {
    "roots": PAYLOAD,
    "unwrap in place": ARCHIVE,
    "unwrap in place, not synced": ARCHIVE,
    "reindex in place": ARCHIVE,
    "wrap in place": PAYLOAD,
    "filter in place": PAYLOAD,
    "append": archives.SMALL_V2,
    "concat in place": ARCHIVE,
}

FULL_DISK = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
import carv2
try:{operation}
except OSError as error:
    assert error.errno in (27, 28), error
else:
    raise SystemExit("it did not fail")
"""


def run(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_disk_that_fills_up_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path, name: str) -> None:
    (tmp_path / "v1.car").write_bytes(PAYLOAD)
    (tmp_path / "v2.car").write_bytes(ARCHIVE)
    old = IN_PLACE.get(name, OLD)
    (tmp_path / "out").write_bytes(old)
    operation = OPERATIONS[name]
    operation = operation if operation.startswith("\n") else f"\n    {operation}"
    done = run(tmp_path, FULL_DISK.format(operation=operation))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out").read_bytes() == old
    assert sorted(os.listdir(tmp_path)) == ["out", "v1.car", "v2.car"]


def failing(folder: Path, kind: type[BaseException], monkeypatch: pytest.MonkeyPatch, at: str) -> Path:
    path = folder / "x.car"
    path.write_bytes(OLD)

    def fail(*_: Any) -> None:
        raise kind

    monkeypatch.setattr(os, at, fail)
    with pytest.raises(kind):
        carv2.wrap(PAYLOAD, path)
    monkeypatch.undo()
    return path


@pytest.mark.parametrize("kind", [OSError, MemoryError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("at", ["fsync", "replace"])
def test_any_exception_leaves_the_old_file_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[BaseException], at: str
) -> None:
    path = failing(tmp_path, kind, monkeypatch, at)
    assert path.read_bytes() == OLD
    assert os.listdir(tmp_path) == ["x.car"]


def test_bytes_are_durable_before_the_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    for name in ("fsync", "replace"):
        original: Callable[..., Any] = getattr(os, name)

        def noted(*args: Any, name: str = name, original: Callable[..., Any] = original) -> Any:
            calls.append(name)
            return original(*args)

        monkeypatch.setattr(os, name, noted)
    carv2.wrap(PAYLOAD, tmp_path / "x.car")
    assert calls == ["fsync", "replace", "fsync"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("raw", [True, False])
def test_a_sink_that_is_full_raises_and_stays_open(raw: bool) -> None:
    for operation, source in ((carv2.wrap, PAYLOAD), (carv2.unwrap, ARCHIVE), (payload_of, ARCHIVE)):
        sink = open("/dev/full", "wb", buffering=0 if raw else -1)  # noqa: SIM115
        try:
            with pytest.raises(OSError, match="No space"):
                operation(source, sink)
            assert not sink.closed
        finally:
            with contextlib.suppress(OSError):
                sink.close()


# Never give carv2 the path of a real device here: run as root, a bug would replace it for the whole machine.


def test_a_named_pipe_is_written_to_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    taken: list[bytes] = []
    reader = threading.Thread(target=lambda: taken.append(pipe.read_bytes()), daemon=True)
    reader.start()
    carv2.unwrap(ARCHIVE, pipe)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    reader.join(timeout=30)
    assert taken == [PAYLOAD]
    assert os.listdir(tmp_path) == ["pipe"]


def test_a_folder_in_the_way_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError) as caught:
        carv2.wrap(PAYLOAD, tmp_path)
    assert caught.value.filename == str(tmp_path) or caught.value.filename == tmp_path
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_not_there_is_an_error_that_names_the_destination(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        carv2.wrap(PAYLOAD, tmp_path / "no" / "x.car")
    assert caught.value.filename == str(tmp_path / "no" / "x.car")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_to_is_an_error_that_names_the_destination(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError) as caught:
        carv2.wrap(PAYLOAD, tmp_path / "x.car")
    assert caught.value.filename == str(tmp_path / "x.car")


def test_the_longest_name_that_a_file_can_have_will_do(tmp_path: Path) -> None:
    for name in ("x" * 255, "é" * 127):
        carv2.wrap(PAYLOAD, tmp_path / name)
        assert (tmp_path / name).read_bytes() == ARCHIVE


def test_a_new_file_gets_the_mode_of_new_files_and_the_umask_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The umask belongs to the whole process: to set it, even for a moment, shows in other threads."""
    before = os.umask(0o027)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(os, "umask", lambda _: pytest.fail("the umask was touched"))
            carv2.wrap(PAYLOAD, tmp_path / "x.car")
    finally:
        os.umask(before)
    assert (tmp_path / "x.car").stat().st_mode & 0o777 == 0o640


def test_an_old_file_keeps_its_mode_and_nobody_else_can_read_the_new_one_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "secret.car"
    path.write_bytes(OLD)
    path.chmod(0o600)
    with replacing(path) as file:
        assert os.fstat(file.fileno()).st_mode & 0o777 == 0o600
        file.write(b"new")
        assert path.read_bytes() == OLD
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_link_to_nowhere_is_filled_where_it_points(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("target.car")
    carv2.wrap(PAYLOAD, link)
    assert link.is_symlink()
    assert (tmp_path / "target.car").read_bytes() == ARCHIVE


def test_a_sink_of_the_caller_is_neither_closed_nor_synced() -> None:
    sink = io.BytesIO()
    with writing(sink) as file:
        file.write(b"data")
    assert sink.getvalue() == b"data"
