"""The partial file of a fetch, as somebody else may have left it there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

import carv2
from carv2.blockstore import ReadWriteBlockstore
from carv2.cid import CID
from carv2.errors import FetchError
from carv2.ipfs import fetch
from ipfs.test_fetch import DAG, QUICK, ROOT, check
from ipfs.webgateway import WebGateway, cut, status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def gateway() -> Iterator[WebGateway]:
    with WebGateway(DAG.blocks) as server:
        yield server


@pytest.fixture
def whole(gateway: WebGateway, tmp_path: Path) -> bytes:
    """The archive that an honest fetch makes."""
    (tmp_path / "whole").mkdir()
    fetch(ROOT.cid, tmp_path / "whole/out.car", gateway.url, options=QUICK)
    return (tmp_path / "whole/out.car").read_bytes()


def broken_off(gateway: WebGateway, out: Path) -> Path:
    """What a fetch leaves that breaks off; the gateway is well again."""
    gateway.faults = [cut(30_000), status(404)]
    with pytest.raises(FetchError):
        fetch(ROOT.cid, out, gateway.url, options=QUICK)
    return out.with_name("out.car.part")


def _as_link(part: Path) -> None:
    part.rename(part.with_name("theirs"))
    part.symlink_to(part.with_name("theirs"))


def _dangling(part: Path) -> None:
    part.unlink()
    part.symlink_to(part.with_name("nothing"))


def _open_to_all(part: Path) -> None:
    part.chmod(0o646)


@pytest.mark.parametrize("change", [_as_link, _dangling, _open_to_all])
def test_what_others_may_have_made_is_refused_and_named(
    gateway: WebGateway, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    part = broken_off(gateway, tmp_path / "out.car")
    change(part)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.exists()}
    with pytest.raises(PermissionError, match="remove it") as caught:
        fetch(ROOT.cid, tmp_path / "out.car", gateway.url, options=QUICK)
    assert caught.value.filename == str(part)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.exists()} == before


def test_somebody_elses_file_is_refused(
    gateway: WebGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = broken_off(gateway, tmp_path / "out.car")
    me = os.geteuid()
    monkeypatch.setattr("carv2._private.os.geteuid", lambda: me + 1)
    with pytest.raises(PermissionError, match="somebody else's file: remove it") as caught:
        fetch(ROOT.cid, tmp_path / "out.car", gateway.url, options=QUICK)
    assert caught.value.filename == str(part)


def test_an_empty_file_is_as_good_as_none(gateway: WebGateway, tmp_path: Path, whole: bytes) -> None:
    (tmp_path / "out.car.part").touch()
    assert fetch(ROOT.cid, tmp_path / "out.car", gateway.url, options=QUICK).resumed_count == 0
    assert (tmp_path / "out.car").read_bytes() == whole


@pytest.mark.parametrize("bits", [b"\xff" * 16, b"\x80" + bytes(15), b"\x01" + bytes(15)])
def test_characteristics_of_a_finished_file_are_not_taken_over(
    gateway: WebGateway, tmp_path: Path, whole: bytes, bits: bytes
) -> None:
    (tmp_path / "out.car.part").write_bytes(whole[:11] + bits + whole[27:])
    found = fetch(ROOT.cid, tmp_path / "out.car", gateway.url, options=QUICK)
    assert found.block_count == 0
    assert (tmp_path / "out.car").read_bytes() == whole


def test_characteristics_and_padding_of_an_unfinished_file_are_not_taken_over(
    gateway: WebGateway, tmp_path: Path, whole: bytes
) -> None:
    with carv2.open(whole) as car:
        blocks = [(block.cid, block.data) for block in car]
    store = ReadWriteBlockstore.create(
        tmp_path / "out.car.part", [CID(ROOT.cid)], data_padding=100, store_identity=True
    )
    for cid, data in blocks[: len(blocks) // 2]:
        store.put(cid, data)
    store.close()
    assert fetch(ROOT.cid, tmp_path / "out.car", gateway.url, options=QUICK).resumed_count == len(blocks) // 2
    assert (tmp_path / "out.car").read_bytes() == whole


def test_after_damage_the_blocks_are_in_the_order_of_the_walk(
    gateway: WebGateway, tmp_path: Path, whole: bytes
) -> None:
    part = broken_off(gateway, tmp_path / "out.car")
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data)
    assert fetch(ROOT.cid, tmp_path / "out.car", gateway.url, options=QUICK).resumed_count > 2
    assert (tmp_path / "out.car").read_bytes() == whole
    check(tmp_path / "out.car", gateway)
