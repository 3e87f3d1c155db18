"""Mounts whose bytes come front to back only are read through a local copy, whatever they say of themselves."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from carv2.dagstore import DagStore, DagStoreConfig, MountStat, default_registry
from carv2.dagstore.mounts import Mount, PieceMount, PieceMounts
from carv2.errors import MountError
from carv2.testing.blockstores import in_threads
from dagstore.shards import archive_of, check_serves

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from carv2.dagstore import MountRegistry

ARCHIVE = archive_of("key")
CID = "bafkqaaa"


class Pipe(io.RawIOBase):
    """A reader that cannot seek."""

    def __init__(self) -> None:
        self._bytes = io.BytesIO(ARCHIVE)

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        return self._bytes.readinto(memoryview(into)[:7])


@dataclass(frozen=True)
class Tape(Mount):
    """All that a mount must have, and no more."""

    url: str = "tape://x"

    def stat(self, *, timeout: float | None = None) -> MountStat:
        return MountStat(exists=True, size=len(ARCHIVE))

    def chunks(self, start: int = 0) -> Iterator[bytes]:
        self.check_start(start)
        yield ARCHIVE[:50]
        yield ARCHIVE[50:]


class ModestTape(Tape):
    random_access = False


class BoastfulTape(Tape):
    random_access = True


@dataclass
class Shelf:
    """A resolver that gives what it is told to give."""

    random_access: bool
    give: Callable[[], Any]

    def stat(self, _: object) -> MountStat:
        return MountStat(exists=True, size=len(ARCHIVE))

    def open(self, _: object) -> Any:
        return self.give()


READERS: dict[str, Callable[[], Any]] = {
    "pipe": Pipe,
    "list": lambda: [ARCHIVE[:9], b"", ARCHIVE[9:]],
    "generator": lambda: (ARCHIVE[at : at + 5] for at in range(0, len(ARCHIVE), 5)),
}


def check_through_a_copy(tmp_path: Path, registry: MountRegistry, url: str) -> None:
    config = DagStoreConfig(max_open_shards=0, gc_interval=0)
    with DagStore(tmp_path / "store", mounts=registry, config=config) as store:
        store.register("eager", url)
        check_serves(store, "eager", "key")
        store.gc()
        assert store.stat().transient_count == 0
        check_serves(store, "eager", "key")  # brought again, to be read
        assert store.stat().transient_count == 1
        store.destroy("eager")
        store.register("lazy", url, lazy=True)
        in_threads(lambda _: check_serves(store, "lazy", "key"), range(4))
        assert not list(store.doctor(thorough=True, mounts=True))


@pytest.mark.parametrize("kind", [Tape, ModestTape, BoastfulTape])
def test_a_mount_that_has_chunks_only(tmp_path: Path, kind: type[Tape]) -> None:
    registry = default_registry()
    registry.register("tape", kind)
    assert kind().random_access is (kind is BoastfulTape)
    check_through_a_copy(tmp_path, registry, "tape://x")


@pytest.mark.parametrize("random_access", [False, True])
@pytest.mark.parametrize("what", READERS)
def test_a_piece_whose_resolver_gives_a_reader_only(tmp_path: Path, what: str, *, random_access: bool) -> None:
    registry = default_registry()
    registry.register("piece", PieceMounts(Shelf(random_access, READERS[what])))
    check_through_a_copy(tmp_path, registry, f"piece://{CID}")


@pytest.mark.parametrize("what", READERS)
def test_a_reader_that_was_said_to_be_more_is_read_from_anywhere_on(what: str) -> None:
    piece = PieceMount(CID, Shelf(True, READERS[what]))
    with pytest.raises(MountError, match="front to back only"):
        piece.open()
    for start in (0, 1, 9, 12, len(ARCHIVE) - 1, len(ARCHIVE)):
        assert b"".join(piece.chunks(start)) == ARCHIVE[start:]
    with pytest.raises(MountError, match=f"there is no byte {len(ARCHIVE) + 1}"):
        list(piece.chunks(len(ARCHIVE) + 1))
