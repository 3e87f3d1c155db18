"""Pieces in a folder, by the names of their CIDs."""

from __future__ import annotations

import os
import pickle
from typing import TYPE_CHECKING

import pytest

from carv2 import CID
from carv2.dagstore import FolderPieces, PieceMount, PieceResolver
from carv2.errors import MountError

if TYPE_CHECKING:
    from pathlib import Path

PIECE = CID.of("baga6ea4seaqao7s73y24kcutaosvacpdjgfe5pw76ooefnyqw4ynr3d2y6x2mpq")


@pytest.fixture
def pieces(tmp_path: Path) -> FolderPieces:
    return FolderPieces(str(tmp_path))


@pytest.mark.parametrize("suffix", ["", ".car"])
def test_a_piece_is_a_file_of_its_name(tmp_path: Path, pieces: FolderPieces, suffix: str) -> None:
    (tmp_path / f"{PIECE}{suffix}").write_bytes(b"barreleye")
    assert isinstance(pieces, PieceResolver)
    for mount in (PieceMount(PIECE, pieces), pickle.loads(pickle.dumps(PieceMount(PIECE, pieces)))):
        stat = mount.stat()
        assert (stat.exists, stat.size, stat.ready) == (True, 9, True)
        source = mount.open()
        assert source.read_at(3, 3) == b"rel"
        source.close()
        assert b"".join(mount.chunks()) == b"barreleye"


def test_the_tag_is_another_once_the_file_is(tmp_path: Path, pieces: FolderPieces) -> None:
    path = tmp_path / str(PIECE)
    path.write_bytes(b"barreleye")
    before = pieces.stat(PIECE).tag
    assert pieces.stat(PIECE).tag == before
    path.unlink()
    path.write_bytes(b"barreleyes")
    assert pieces.stat(PIECE).tag != before


@pytest.mark.parametrize("kind", ["nothing", "folder", "pipe", "dangling link"])
def test_what_is_no_file_is_no_piece(tmp_path: Path, pieces: FolderPieces, kind: str) -> None:
    path = tmp_path / str(PIECE)
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "dangling link":
        path.symlink_to("nowhere")
    assert not pieces.stat(PIECE).exists
    with pytest.raises(FileNotFoundError):
        pieces.open(PIECE)
    with pytest.raises(MountError):
        PieceMount(PIECE, pieces).open()


def test_a_cid_of_another_version_is_another_name(tmp_path: Path, pieces: FolderPieces) -> None:
    (tmp_path / str(PIECE)).write_bytes(b"barreleye")
    assert not pieces.stat(CID.of_data(b"barreleye")).exists
