"""Web servers and other filesystems that do not do what they should."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any, ClassVar, cast

import fsspec
import pytest
from fsspec.asyn import AsyncFileSystem
from fsspec.registry import known_implementations
from fsspec.spec import AbstractFileSystem

from carv2.dagstore import DagStore
from carv2.dagstore.mounts import FsspecMount, FsspecMounts, default_registry
from carv2.errors import ChangedError, ClosedError, MountChangedError, MountError
from dagstore.webserver import WebServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DATA = bytes(range(256)) * 40
HUGE = bytes(64 << 20)


@pytest.fixture
def server() -> Iterator[WebServer]:
    with WebServer() as server:
        server.files["/x.car"] = DATA
        yield server


def mount_of(server: WebServer, *, timeout: float = 20, **options: Any) -> FsspecMount:
    return FsspecMount(server.url + "x.car", options, timeout=timeout)


# -- web servers ----------------------------------------------------------------------------------------------


def test_a_read_is_a_range_and_nothing_more(server: WebServer) -> None:
    with closing(mount_of(server).open()) as source:
        before, sent = len(server.requests), server.sent
        assert source.read_at(5000, 100) == DATA[5000:5100]
        assert source.read_at(0, 1) == DATA[:1]
    assert server.requests[before:] == [("GET", "/x.car", "bytes=5000-5099"), ("GET", "/x.car", "bytes=0-0")]
    assert server.sent - sent == 101


def test_whether_ranges_work_is_asked_once(server: WebServer) -> None:
    assert mount_of(server).random_access
    asked = len(server.requests)
    assert server.requests[-1] == ("GET", "/x.car", f"bytes={len(DATA) - 1}-{len(DATA) - 1}")
    assert mount_of(server).random_access
    assert mount_of(server).resumable
    assert len(server.requests) == asked


@pytest.mark.parametrize("claim", ["", "bytes", "none"])
def test_a_server_without_ranges_is_found_out_whatever_it_claims(server: WebServer, claim: str) -> None:
    server.ranges, server.says_ranges = False, claim
    mount = mount_of(server)
    assert mount.random_access is mount.resumable is False
    assert b"".join(mount.chunks()) == DATA
    with pytest.raises(MountError, match="front to back only"):
        mount.open()


def test_finding_that_out_does_not_load_the_file(server: WebServer) -> None:
    server.files["/x.car"], server.ranges = HUGE, False
    assert mount_of(server).random_access is False
    assert server.sent < len(HUGE)


def test_a_server_that_stops_honouring_ranges_is_found_out(server: WebServer) -> None:
    mount = mount_of(server)
    with closing(mount.open()) as source:
        assert source.read_at(10, 10) == DATA[10:20]
        server.ranges = False
        with pytest.raises(MountError, match="ranges"):
            source.read_at(10, 10)
    assert mount.random_access is False
    assert b"".join(mount.chunks()) == DATA


@pytest.mark.parametrize("status", [404, 410])
def test_a_server_that_says_so_does_not_have_it(server: WebServer, status: int) -> None:
    server.status = status
    mount = mount_of(server)
    assert mount.stat().exists is False
    for use in (mount.open, lambda: list(mount.chunks()), lambda: mount.random_access):
        with pytest.raises(MountError, match="there is nothing"):
            use()


@pytest.mark.parametrize("status", [400, 401, 403, 429, 500, 503])
def test_a_server_that_fails_does_not_say_that_it_is_gone(server: WebServer, status: int) -> None:
    server.status = status
    with pytest.raises(MountError, match=str(status)) as caught:
        mount_of(server).stat()
    assert caught.value.url == server.url + "x.car"
    server.status = 0
    assert mount_of(server).stat().exists


def test_a_server_that_is_away_does_not_say_that_it_is_gone() -> None:
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        mount = FsspecMount(f"http://127.0.0.1:{taken.getsockname()[1]}/x.car")
        for use in (mount.stat, mount.open, lambda: list(mount.chunks()), lambda: mount.random_access):
            with pytest.raises(MountError):
                use()


def test_a_server_that_refuses_for_a_while_is_not_remembered_for_it(server: WebServer) -> None:
    server.status = 503
    with pytest.raises(MountError):
        _ = mount_of(server).random_access
    server.status = 0
    assert mount_of(server).random_access


def test_a_server_that_does_not_answer_does_not_hold_anybody(server: WebServer) -> None:
    patient, hasty = mount_of(server), mount_of(server, timeout=0.2)
    source = cast("Any", patient.open())
    source._ranges._seconds = 0.2
    server.stuck.clear()
    for use in (hasty.stat, lambda: patient.stat(timeout=0.1), lambda: source.read_at(0, 1), hasty.open):
        before = time.monotonic()
        with pytest.raises(MountError):
            use()
        assert time.monotonic() - before < 15
    server.stuck.set()
    assert patient.stat().exists


def test_a_stream_that_ends_early_is_an_error(server: WebServer) -> None:
    server.files["/x.car"], server.ranges = bytes(3 << 20), False
    mount = mount_of(server)
    assert not mount.random_access
    server.stop_after = (2 << 20) + 5
    chunks = mount.chunks()
    got = len(next(chunks))
    with pytest.raises(MountError):
        got += sum(map(len, chunks))
    assert 0 < got <= server.stop_after


def test_a_range_that_ends_early_is_an_error(server: WebServer) -> None:
    mount = mount_of(server)
    with closing(mount.open()) as source:
        server.stop_after = 50
        with pytest.raises(MountError):
            source.read_at(0, 100)
        with pytest.raises(MountError):
            list(mount.chunks())
        assert source.read_at(3, 50) == DATA[3:53]


def test_a_file_that_shrank_is_an_error_and_not_less_data(server: WebServer) -> None:
    with closing(mount_of(server).open()) as source:
        server.files["/x.car"] = DATA[:1000]
        for at, size in ((900, 200), (1000, 1), (5000, 10)):
            with pytest.raises(MountChangedError) as caught:
                source.read_at(at, size)
            assert isinstance(caught.value, ChangedError)
        assert source.read_at(900, 100) == DATA[900:1000]


def test_a_file_that_went_away_is_an_error(server: WebServer) -> None:
    with closing(mount_of(server).open()) as source:
        del server.files["/x.car"]
        with pytest.raises(MountError, match="404"):
            source.read_at(0, 10)


@pytest.mark.parametrize("ranges", [True, False])
def test_a_file_that_changed_on_the_way_is_an_error_though_its_size_is_the_same(
    server: WebServer, ranges: bool
) -> None:
    server.ranges = ranges
    mount = mount_of(server)
    chunks = mount.chunks()
    next(chunks)
    server.files["/x.car"] = DATA[::-1]
    with pytest.raises(MountChangedError, match="changed while it was read"):
        list(chunks)


def test_a_server_without_tags_has_none(server: WebServer) -> None:
    server.tags = False
    assert mount_of(server).stat().tag == ""
    server.tags = True
    assert len(mount_of(server).stat().tag) == 32


def test_options_reach_the_server_and_no_url(server: WebServer) -> None:
    registry = default_registry(fsspec={"http": {"headers": {"Authorization": "Bearer hunter2"}}})
    mount = registry.instantiate(server.url + "x.car")
    assert mount.stat().exists
    source = mount.open()
    source.read_at(1, 5)
    assert {headers.get("authorization") for headers in server.headers} == {"Bearer hunter2"}
    assert {headers.get("accept-encoding") for headers in server.headers} == {"identity"}
    server.status = 500
    with pytest.raises(MountError) as caught:
        mount.stat()
    with pytest.raises(MountError) as reading:
        source.read_at(1, 5)
    for error in (caught.value, reading.value):
        assert "hunter2" not in "".join(repr(found) + str(found) for found in causes_of(error))


def test_a_mount_can_be_used_in_another_process(server: WebServer) -> None:
    import pickle

    script = "import pickle, sys; m = pickle.load(sys.stdin.buffer); print(m.open().read_at(3, 4).hex())"
    mount = pickle.dumps(mount_of(server))
    done = subprocess.run([sys.executable, "-c", script], input=mount, capture_output=True, timeout=60, check=True)
    assert done.stdout.decode().strip() == DATA[3:7].hex()


def test_closing_ends_it_for_all(server: WebServer) -> None:
    source = mount_of(server).open()
    source.close()
    asked = len(server.requests)
    with pytest.raises(ClosedError):
        source.read_at(0, 1)
    assert len(server.requests) == asked


def causes_of(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


# -- filesystems of other kinds -------------------------------------------------------------------------------


class Bucket(AsyncFileSystem):  # type: ignore[misc]
    """As s3fs is to carv2: asynchronous, by credentials, with ETags and a cache of listings."""

    protocol = "bucket"
    cachable = False
    objects: ClassVar[dict[str, bytes]] = {}
    listed: ClassVar[dict[str, dict[str, Any]]] = {}
    delay = 0.0
    failure: Exception | None = None
    short = 0

    def __init__(self, key: str = "", secret: str = "", **options: Any) -> None:
        super().__init__(**options)
        self.allowed = (key, secret) == ("me", "hunter2")

    async def _info(self, path: str, **_: Any) -> dict[str, Any]:
        await self._answer()
        if path not in self.listed:
            if path not in self.objects:
                raise FileNotFoundError(path)
            data = self.objects[path]
            self.listed[path] = {"name": path, "size": len(data), "type": "file", "ETag": f'"{hash(data)}"'}
        return self.listed[path]

    async def _cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        await self._answer()
        data = self.objects[path][start:end]
        return data[: len(data) - self.short]

    async def _answer(self) -> None:
        if not self.allowed:
            raise PermissionError("Forbidden")
        if self.failure is not None:
            raise self.failure
        await asyncio.sleep(self.delay)

    def invalidate_cache(self, path: str | None = None) -> None:
        self.listed.pop(path or "", None)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> type[Bucket]:
    fsspec.register_implementation("bucket", Bucket, clobber=True)
    for name, value in {
        "objects": {"b/x.car": DATA},
        "listed": {},
        "delay": 0.0,
        "failure": None,
        "short": 0,
    }.items():
        monkeypatch.setattr(Bucket, name, value)
    return Bucket


OPTIONS = {"key": "me", "secret": "hunter2"}
URL = "bucket://b/x.car"


def test_a_bucket_is_opened_with_the_options_of_the_registry(bucket: type[Bucket]) -> None:
    mount = default_registry(fsspec={"bucket": OPTIONS}).instantiate(URL)
    assert mount.random_access
    with closing(mount.open()) as source:
        assert source.read_at(1000, 50) == DATA[1000:1050]
    assert b"".join(mount.chunks(77)) == DATA[77:]
    with pytest.raises(MountError, match="PermissionError: Forbidden"):
        default_registry(fsspec=["bucket"]).instantiate(URL).stat()


def test_a_cached_listing_does_not_hide_a_change(bucket: type[Bucket]) -> None:
    mount = FsspecMount(URL, OPTIONS)
    before = mount.stat()
    bucket.objects["b/x.car"] = DATA[::-1]
    assert mount.stat().tag != before.tag
    del bucket.objects["b/x.car"]
    assert mount.stat().exists is False


def test_less_or_more_than_was_asked_for_is_an_error(bucket: type[Bucket]) -> None:
    with closing(FsspecMount(URL, OPTIONS).open()) as source:
        for short in (1, 49, 50):
            bucket.short = short
            with pytest.raises(MountChangedError, match="wanted 50 bytes"):
                source.read_at(1000, 50)
        bucket.short = 0
        assert source.read_at(len(DATA) - 10, 50) == DATA[-10:]


def test_whatever_it_raises_is_a_mount_error_with_its_cause(bucket: type[Bucket]) -> None:
    mount = FsspecMount(URL, OPTIONS)
    with closing(mount.open()) as source:
        for failure in (ValueError("odd"), OSError(5, "Input/output error"), KeyError("x"), RuntimeError()):
            bucket.failure = failure
            for use in (mount.stat, mount.open, lambda: source.read_at(0, 1), lambda: list(mount.chunks())):
                with pytest.raises(MountError, match=type(failure).__name__) as caught:
                    use()
                assert caught.value.url == URL
                assert caught.value.__cause__ is failure


def test_it_may_take_only_so_long(bucket: type[Bucket]) -> None:
    mount = FsspecMount(URL, OPTIONS)
    with closing(mount.open()) as source:
        bucket.delay = 3.0  # else it would go on after the test
        object.__setattr__(mount, "timeout", 0.1)
        for use in (mount.stat, mount.open, lambda: source.read_at(0, 1)):
            before = time.monotonic()
            with pytest.raises(MountError):
                use()
            assert time.monotonic() - before < 15


class Slippery(AbstractFileSystem):  # type: ignore[misc]
    """A filesystem for one thread alone, as ftp and sftp are."""

    protocol = "slippery"
    users: ClassVar[set[tuple[int, int]]] = set()

    def __init__(self, host: str = "", **options: Any) -> None:
        super().__init__(**options)
        self.host = host

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return path.partition("://")[2].partition("/")[2]

    @staticmethod
    def _get_kwargs_from_urls(path: str) -> dict[str, str]:
        return {"host": path.partition("://")[2].partition("/")[0]}

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        return {"name": path, "type": "directory" if path == "folder" else "file", "size": len(DATA), "mtime": 5}

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        self.users.add((id(self), threading.get_ident()))
        assert self.host == "harbour"
        time.sleep(0.01)
        return DATA[start:end]


@pytest.fixture
def slippery() -> Iterator[type[Slippery]]:
    fsspec.register_implementation("slippery", Slippery, clobber=True)
    Slippery.users.clear()
    yield Slippery
    Slippery.clear_instance_cache()


def test_a_filesystem_that_threads_cannot_share_is_not_shared(slippery: type[Slippery]) -> None:
    with closing(FsspecMount("slippery://harbour/x.car").open()) as source:

        def read() -> None:
            for at in range(5):
                assert source.read_at(at, 10) == DATA[at : at + 10]

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    users = slippery.users
    assert len(users) == len({number for number, _ in users}) == len({thread for _, thread in users})


def test_a_folder_is_no_archive(slippery: type[Slippery]) -> None:
    with pytest.raises(MountError, match="a folder"):
        FsspecMount("slippery://harbour/folder").stat()


def test_a_filesystem_that_is_not_installed_says_so() -> None:
    registry = default_registry(fsspec=["nosuchthing"])
    with pytest.raises(MountError, match="nosuchthing"):
        registry.instantiate("nosuchthing://x/y").stat()


@pytest.mark.parametrize("scheme", ["http", "s3"])
@pytest.mark.parametrize(
    "register",
    [
        lambda store, url: store.register("far", url),
        lambda store, url: store.register("far", url, lazy=True),
        lambda store, url: store.register_many([("far", url)]),
    ],
    ids=["eager", "lazy", "many"],
)
def test_nothing_is_registered_that_needs_what_is_not_installed(
    scheme: str, register: Callable[[DagStore, str], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with DagStore(tmp_path / "store", mounts=default_registry(fsspec=["http", "s3"])) as store:
        with pytest.raises(MountError, match=r"needs fsspec: pip install 'carv2\[remote\]' \(.*://x/y.car\)"):
            register(store, f"{scheme}://x/y.car")
        assert "far" not in store


def test_nothing_is_registered_whose_protocol_lacks_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = {"class": "no_such_package.Storms", "err": "Install no_such_package to access storms"}
    monkeypatch.setitem(known_implementations, "storm", missing)
    with DagStore(tmp_path / "store", mounts=default_registry(fsspec=["storm"])) as store:
        with pytest.raises(MountError, match="Install no_such_package to access storms"):
            store.register("far", "storm://x/y.car")
        assert "far" not in store


def test_ranges_can_be_ruled_out_or_in(server: WebServer) -> None:
    url = server.url + "x.car"
    assert FsspecMounts(ranges=False)(url).random_access is False
    assert FsspecMounts(ranges=True)(url).random_access is True
    assert server.requests == []
