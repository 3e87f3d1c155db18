"""URLs of mounts: they come back as they were, and never hold or show a secret."""

from __future__ import annotations

import os
import pickle
import string
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from carv2.cid import CID
from carv2.dagstore.mounts import (
    BytesMount,
    FileMount,
    FsspecMount,
    Mount,
    MountRegistry,
    MountStat,
    PieceMount,
    default_registry,
)
from carv2.errors import MountError, UnknownMountError

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "hunter2"


class NoPieces:
    """Refuses to be asked."""

    random_access = True

    def stat(self, piece_cid: CID) -> MountStat:
        raise AssertionError(piece_cid)

    def open(self, piece_cid: CID) -> bytes:
        raise AssertionError(piece_cid)


REGISTRY = default_registry(
    fsspec=["http", "https", "s3", "abfs", "sftp", "memory"], pieces=NoPieces(), entry_points=False
)

PATHS = st.lists(st.binary(min_size=1, max_size=12).filter(lambda name: b"\0" not in name), min_size=1).map(
    lambda names: b"/" + b"/".join(names)
)


@given(PATHS)
@example(b"/data/a b%20c%2F?x=1#y&z;:@!$'()*+,\\\"<>[]^`{|}~.car")
@example("/datos/piña/データ/🐟.car".encode())
@example(b"/\xff\xfe/\x80.car")
@example(b"//double//slashes/")
@example(b"/../x/./y\n\t\r\x01\x7f")
@example(b"/%ff")
def test_a_file_of_any_name_comes_back(path: bytes) -> None:
    mount = FileMount(path)
    assert os.fsencode(mount.path) == path
    made = REGISTRY.instantiate(mount.url)
    assert made == mount
    assert os.fsencode(made.path) == path
    assert made.url == mount.url
    assert mount.url.isascii()
    assert mount.url.isprintable()
    assert " " not in mount.url
    assert pickle.loads(pickle.dumps(mount)) == mount


@given(st.binary(max_size=100))
@example(b"\xff\xff\xfe\xfb\xef\xbe")
def test_bytes_come_back(data: bytes) -> None:
    assert REGISTRY.instantiate(BytesMount(data).url) == BytesMount(data)
    assert set(BytesMount(data).url.removeprefix("bytes:///")) <= {*string.ascii_letters, *string.digits, "-", "_"}


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30))
@example("a b%20c?#@é🐟")
@example("key with = and & and ; and ::")
def test_a_url_of_fsspec_comes_back_as_it_is(key: str) -> None:
    mount = FsspecMount(f"s3://bucket/{key}")
    made = REGISTRY.instantiate(mount.url)
    assert made == mount
    assert made.url == f"s3://bucket/{key}"


@given(st.binary(max_size=40))
def test_a_piece_comes_back(data: bytes) -> None:
    mount = PieceMount(CID.of_data(data), NoPieces())
    assert REGISTRY.instantiate(mount.url) == mount
    assert REGISTRY.instantiate(f"PIECE://{mount.piece_cid}") == mount


def test_a_piece_commitment_is_a_cid_like_others() -> None:
    text = "baga6ea4seaqao7s73y24kcutaosvacpdjgfe5pw76ooefnyqw4ynr3d2y6x2mpq"
    assert REGISTRY.instantiate(f"piece://{text}") == PieceMount(text, NoPieces())


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("file:///data/x.car", "/data/x.car"),
        ("FILE:///data/x.car", "/data/x.car"),
        ("file://localhost/data/x.car", "/data/x.car"),
        ("file://%2Fdata%2Fx.car", "/data/x.car"),  # what the Go dagstore writes, and cannot read
        ("file:///data/a b.car", "/data/a b.car"),
        ("file:///data/%70%C3%B1", "/data/p\u00f1"),
        ("file:///100%", "/100%"),
        ("file:///a@b:c/d", "/a@b:c/d"),
    ],
)
def test_other_ways_to_write_a_file(url: str, path: str) -> None:
    assert REGISTRY.instantiate(url) == FileMount(path)


@pytest.mark.parametrize("url", ["bytes:///-_8", "bytes://%2B%2F8%3D", "bytes://+/8=", "bytes:///-_8="])
def test_other_ways_to_write_bytes(url: str) -> None:
    assert REGISTRY.instantiate(url) == BytesMount(b"\xfb\xff")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/data/x.car",
        "data/x.car",
        "file:/data/x.car",
        "file://",
        "file://data/x.car",
        "file://host/data/x.car",
        "file:///data/x.car?y",
        "file:///data/x.car#y",
        "file:///data/%00",
        "bytes:///a",
        "bytes:///zm!x",
        "piece://",
        "piece://fish",
        "piece:///baga",
        "s3://bucket/a\nb",
        "s3://bucket/a\0b",
        "s3://bucket/\ud800",
        "1s3://bucket/x",
        "simplecache::s3://bucket/x",
    ],
)
def test_what_is_no_url_of_a_mount_is_refused_and_shown(url: str) -> None:
    with pytest.raises(MountError) as caught:
        REGISTRY.instantiate(url)
    assert str(caught.value).isprintable()
    str(caught.value).encode()


def test_a_scheme_that_nobody_knows() -> None:
    with pytest.raises(UnknownMountError, match="unrecognized mount scheme: gopher") as caught:
        REGISTRY.instantiate(f"gopher://me:{SECRET}@hole/x")
    assert caught.value.scheme == "gopher"
    assert SECRET not in repr(caught.value)


def test_a_relative_path_is_taken_from_where_we_are_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mount = FileMount("x.car")
    monkeypatch.chdir("/")
    assert mount.path == str(tmp_path / "x.car")


@pytest.mark.parametrize("path", ["", b"", "a\0b"])
def test_a_path_that_no_file_has(path: str) -> None:
    with pytest.raises(ValueError, match="no file has the path"):
        FileMount(path)


@pytest.mark.parametrize(
    "url",
    [
        f"https://me:{SECRET}@host/x.car",
        f"https://{SECRET}@host/x.car",
        f"https://me:{SECRET}@host:443/x.car?y#z",
        f"https://a@b:{SECRET}@host/x",
        f"s3://{SECRET}@bucket/x.car",
        f"sftp://me:{SECRET}@host/x.car",
        f"https://host/x.car?X-Amz-Algorithm=A&X-Amz-Signature={SECRET}",
        f"https://host/x.car?x-amz-signature={SECRET}&a=b",
        f"https://host/x.car?a=b&sig={SECRET}",
        f"https://host/x.car?token={SECRET}",
        f"https://host/x.car?access_token={SECRET}#x",
        f"https://host/x.car?PASSWORD={SECRET}",
    ],
)
def test_a_secret_in_a_url_is_refused_and_not_repeated(url: str) -> None:
    for make in (REGISTRY.instantiate, FsspecMount):
        with pytest.raises(MountError) as caught:
            make(url)
        error = caught.value
        assert SECRET not in str(error) + repr(error) + error.url + repr(error.__cause__) + repr(error.__dict__)
        assert "***" in error.url


def test_a_factory_never_gets_a_secret() -> None:
    registry, got = MountRegistry(), list[str]()
    registry.register("tape", lambda url: got.append(url) or BytesMount(b""))  # type: ignore[func-returns-value]
    with pytest.raises(MountError, match=r"tape://\*\*\*@vault/7"):
        registry.instantiate(f"tape://me:{SECRET}@vault/7")
    assert got == []
    assert registry.instantiate("tape://vault/7") == BytesMount(b"")


@pytest.mark.parametrize(
    "url",
    [
        "abfs://container@account.dfs.core.windows.net/x.car",
        "sftp://me@host/x.car",
        "https://host/a@b/x.car",
        "https://host/x.car?mail=a@b",
        "https://host/x.car?design=1&tokens=2",
        "s3://bucket/token=5",
    ],
)
def test_what_looks_like_a_secret_and_is_none(url: str) -> None:
    assert REGISTRY.instantiate(url).url == url


def test_options_are_seen_nowhere() -> None:
    registry = default_registry(fsspec={"s3": {"key": "me", "secret": SECRET}})
    mount = registry.instantiate("s3://bucket/x.car")
    assert isinstance(mount, FsspecMount)
    assert mount.options == {"key": "me", "secret": SECRET}
    assert SECRET not in mount.url + repr(mount) + str(mount) + repr(registry) + repr(vars(registry))
    assert mount == FsspecMount("s3://bucket/x.car")
    assert hash(mount) == hash(FsspecMount("s3://bucket/x.car"))


def test_long_urls_are_short_in_errors() -> None:
    with pytest.raises(MountError) as caught:
        REGISTRY.instantiate("bytes:///" + "!" * 100_000)
    assert len(str(caught.value)) < 1000


def test_mounts_of_a_kind_are_a_set() -> None:
    mounts: list[Mount] = [FileMount("/a"), FileMount("/b"), BytesMount(b"a"), FsspecMount("s3://a/b")]
    assert len({*mounts, *(REGISTRY.instantiate(mount.url) for mount in mounts)}) == len(mounts)
