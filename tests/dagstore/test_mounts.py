"""Every kind of mount that carv2 has does what a mount must do."""

from __future__ import annotations

import io
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec
import pytest

from carv2.cid import CID
from carv2.dagstore.mounts import (
    BytesMount,
    FileMount,
    FsspecMount,
    FsspecMounts,
    Mount,
    MountRegistry,
    MountStat,
    PieceMount,
    PieceMounts,
    default_registry,
)
from carv2.testing import FaultyMount, MountTests
from dagstore.webserver import WebServer

if TYPE_CHECKING:
    from collections.abc import Iterator

NUMBERS = itertools.count()


class TestFileMount(MountTests):
    def mount_with(self, data: bytes) -> Mount:
        path = self.folder / "x y%20?#\u00e9.car"
        path.write_bytes(data)
        return FileMount(path)

    def change(self, mount: Any, data: bytes) -> None:
        Path(mount.path).write_bytes(data)

    def remove(self, mount: Any) -> None:
        Path(mount.path).unlink()


class TestBytesMount(MountTests):
    refuses_after_close = False

    def mount_with(self, data: bytes) -> Mount:
        return BytesMount(data)


class TestMemoryFilesystem(MountTests):
    def mount_with(self, data: bytes) -> Mount:
        fsspec.filesystem("memory").pipe_file("/mounts/a b.car", data)
        return FsspecMount("memory://mounts/a b.car")

    def registry(self) -> MountRegistry:
        return default_registry(fsspec=["memory"])

    def change(self, mount: Any, data: bytes) -> None:
        fsspec.filesystem("memory").pipe_file("/mounts/a b.car", data)

    def remove(self, mount: Any) -> None:
        fsspec.filesystem("memory").rm_file("/mounts/a b.car")


class TestLocalFilesystemOfFsspec(MountTests):
    def mount_with(self, data: bytes) -> Mount:
        path = self.folder / "a b.car"
        path.write_bytes(data)
        return FsspecMount(f"local://{path}")

    def registry(self) -> MountRegistry:
        return default_registry(fsspec=["local"])

    def change(self, mount: Any, data: bytes) -> None:
        (self.folder / "a b.car").write_bytes(data)

    def remove(self, mount: Any) -> None:
        (self.folder / "a b.car").unlink()


class TestAFilesystemThatIsToldToStream(TestLocalFilesystemOfFsspec):
    random_access = resumable = False

    def mount_with(self, data: bytes) -> Mount:
        return FsspecMount(super().mount_with(data).url, ranges=False)

    def registry(self) -> MountRegistry:
        registry = MountRegistry()
        registry.register("local", FsspecMounts(ranges=False))
        return registry


class TestHttp(MountTests):
    @pytest.fixture(autouse=True)
    def _server(self) -> Iterator[None]:
        with WebServer(ranges=True) as self.server:
            yield

    def mount_with(self, data: bytes) -> Mount:
        name = f"x%20y{next(NUMBERS)}.car"
        self.server.files["/" + name] = data
        return FsspecMount(self.server.url + name, {"encoded": True})

    def registry(self) -> MountRegistry:
        return default_registry(fsspec={"http": {"encoded": True}})

    def change(self, mount: Any, data: bytes) -> None:
        self.server.files["/" + mount.url.rpartition("/")[2]] = data

    def remove(self, mount: Any) -> None:
        del self.server.files["/" + mount.url.rpartition("/")[2]]


class TestHttpWithoutRanges(TestHttp):
    random_access = resumable = False

    @pytest.fixture(autouse=True)
    def _server(self) -> Iterator[None]:
        with WebServer(ranges=False) as self.server:
            yield


class TestHttpWithoutSizes(TestHttpWithoutRanges):
    tells_size = False

    @pytest.fixture(autouse=True)
    def _server(self) -> Iterator[None]:
        with WebServer(ranges=False, sizes=False) as self.server:
            yield


class Sectors:
    """Pieces in files, opened in one of the ways in which a resolver may."""

    def __init__(self, folder: Path, way: str) -> None:
        self.folder, self.way = folder, way
        self.random_access = way not in {"pipe", "chunks"}

    def stat(self, piece_cid: CID) -> MountStat:
        status = (self.folder / str(piece_cid)).stat()  # FileNotFoundError is an answer
        return MountStat(exists=True, size=status.st_size, tag=f"{status.st_mtime_ns}")

    def open(self, piece_cid: CID) -> Any:
        path = self.folder / str(piece_cid)
        if self.way == "path":
            return path
        if self.way == "file":
            return path.open("rb")
        if self.way == "bytes":
            return io.BytesIO(path.read_bytes())
        if self.way == "pipe":
            return Pipe(path.read_bytes())
        return (path.read_bytes()[at : at + 999] for at in range(0, path.stat().st_size, 999))


class Pipe:
    """A file that cannot seek."""

    def __init__(self, data: bytes) -> None:
        self.read = io.BytesIO(data).read


class TestPieceMount(MountTests):
    way = "file"

    def mount_with(self, data: bytes) -> PieceMount:
        cid = CID.of_data(b"piece %d" % next(NUMBERS))
        (self.folder / str(cid)).write_bytes(data)
        return PieceMount(cid, Sectors(self.folder, self.way))

    def registry(self) -> MountRegistry:
        return default_registry(pieces=Sectors(self.folder, self.way))

    def change(self, mount: Any, data: bytes) -> None:
        (self.folder / str(mount.piece_cid)).write_bytes(data)

    def remove(self, mount: Any) -> None:
        (self.folder / str(mount.piece_cid)).unlink()


class TestPiecesByPath(TestPieceMount):
    way = "path"


class TestPiecesInMemory(TestPieceMount):
    way = "bytes"


class TestPiecesFromPipes(TestPieceMount):
    way = "pipe"
    random_access = resumable = False


class TestPiecesInChunks(TestPieceMount):
    way = "chunks"
    random_access = resumable = False


class TestPiecesOfLotus(TestPieceMount):
    def mount_with(self, data: bytes) -> PieceMount:
        return PieceMount(super().mount_with(data).piece_cid, Sectors(self.folder, self.way), scheme="lotus")

    def registry(self) -> MountRegistry:
        registry = MountRegistry()
        registry.register("lotus", PieceMounts(Sectors(self.folder, self.way), scheme="lotus"))
        return registry


class TestFaultyMountWithoutFaults(TestFileMount):
    def mount_with(self, data: bytes) -> Mount:
        return FaultyMount(super().mount_with(data))

    def registry(self) -> MountRegistry:
        registry = MountRegistry()
        registry.register("file", lambda url: FaultyMount(FileMount.of_url(url)))
        return registry

    def change(self, mount: Any, data: bytes) -> None:
        super().change(mount.inner, data)

    def remove(self, mount: Any) -> None:
        super().remove(mount.inner)


@dataclass(frozen=True)
class Backwards(Mount):
    """As little as a mount needs."""

    text: str
    random_access = False

    @property
    def url(self) -> str:
        return f"backwards:///{self.text}"

    def stat(self, *, timeout: float | None = None) -> MountStat:
        return MountStat(exists=True, size=len(self.text) // 2)

    def chunks(self, start: int = 0) -> Iterator[bytes]:
        self.check_start(start)
        yield bytes.fromhex(self.text[::-1])


class TestASmallMountOfSomebodyElse(MountTests):
    random_access = resumable = False
    tells_changes = False

    def mount_with(self, data: bytes) -> Mount:
        return Backwards(data.hex()[::-1])

    def registry(self) -> MountRegistry:
        registry = MountRegistry()
        registry.register("backwards", lambda url: Backwards(url.partition(":///")[2]))
        return registry
