"""What every mount must do, as tests: subclass, say how a mount is made, and let pytest find the class.

::

    class TestMyMount(MountTests):
        def mount_with(self, data):
            (self.folder / "x.car").write_bytes(data)
            return MyMount(self.folder / "x.car")

        def registry(self):
            registry = default_registry()
            registry.register("mine", MyMount.of_url)
            return registry

        def change(self, mount, data):
            Path(mount.path).write_bytes(data)

        def remove(self, mount):
            Path(mount.path).unlink()

Where a mount is meant to differ, its class attributes say so; they are the first thing in the class.
"""

from __future__ import annotations

import copy
import itertools
import pickle
from contextlib import closing
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carv2._source import Source
from carv2.dagstore.mounts import Mount, MountStat, default_registry
from carv2.errors import CarError, ClosedError, MountError, TruncatedError
from carv2.reader import CarReader
from carv2.testing.blockstores import _PROPERTY, BLOCKS, THREADS, in_threads
from carv2.writer import iter_car

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from carv2.dagstore.mounts import MountRegistry

DATA = b"".join(at.to_bytes(4, "big") for at in range(1000))
LARGE = DATA * 700
"""More than what mounts read at once."""
EDGES = (0, 1, 2, 999, len(DATA) - 1, len(DATA), len(DATA) + 1, len(DATA) + 5000)


def padded_piece() -> bytes:
    """A CARv1 of :data:`carv2.testing.blockstores.BLOCKS` with zeros behind it, as it lies in a sector."""
    archive = b"".join(iter_car([BLOCKS[0][0]], BLOCKS))
    return archive + bytes(-len(archive) % (1 << 16))


class MountTests:
    """The contract of :class:`carv2.dagstore.mounts.Mount`."""

    random_access = True
    """It can be read anywhere."""
    resumable = True
    """``chunks`` can begin anywhere."""
    tells_size = True
    """``stat`` knows the size."""
    tells_changes = True
    """The tag is another one after :meth:`change`."""
    refuses_after_close = True
    """What was opened and closed raises ClosedError; a mount that has nothing to close may go on."""

    folder: Path
    """An empty folder for each test."""

    def mount_with(self, data: bytes) -> Mount:
        """A new mount whose bytes are ``data``."""
        raise NotImplementedError

    def registry(self) -> MountRegistry:
        """What makes the mount of its URL."""
        return default_registry()

    def change(self, mount: Mount, data: bytes) -> None:
        """Put ``data`` in the place of the mount's bytes; skips if that cannot be."""
        del mount, data
        pytest.skip("the bytes behind it cannot change")

    def remove(self, mount: Mount) -> None:
        """Take the mount's bytes away; skips if that cannot be."""
        del mount
        pytest.skip("the bytes behind it cannot go away")

    @pytest.fixture(autouse=True)
    def _in_a_folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def readable(self, data: bytes = DATA) -> Mount:
        """A mount that can be read anywhere; skips if none can."""
        if not self.random_access:
            pytest.skip("it can be read front to back only")
        return self.mount_with(data)

    # -- a value ----------------------------------------------------------------------------------------------

    def test_its_url_makes_the_same_mount(self) -> None:
        mount = self.mount_with(DATA)
        made = self.registry().instantiate(mount.url)
        assert made == mount
        assert made.url == mount.url
        assert hash(made) == hash(mount)
        assert b"".join(made.chunks()) == DATA

    def test_its_url_is_text_that_a_database_takes(self) -> None:
        url = self.mount_with(DATA).url
        assert url.startswith(self.mount_with(DATA).scheme + "://")
        assert url.isprintable()
        url.encode()

    def test_it_can_be_copied_and_pickled(self) -> None:
        mount = self.mount_with(DATA)
        for other in (copy.copy(mount), copy.deepcopy(mount), cast("Mount", pickle.loads(pickle.dumps(mount)))):  # noqa: S301
            assert other == mount
            assert b"".join(other.chunks()) == DATA

    def test_it_cannot_be_changed(self) -> None:
        mount = self.mount_with(DATA)
        with pytest.raises((AttributeError, TypeError)):
            mount.url = "file:///etc/passwd"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]

    def test_mounts_of_different_bytes_differ_if_their_urls_do(self) -> None:
        one, other = self.mount_with(DATA), self.mount_with(DATA[1:])
        assert (one == other) == (one.url == other.url)
        assert one != object()

    def test_it_says_what_it_can_do(self) -> None:
        mount = self.mount_with(DATA)
        assert mount.random_access is self.random_access
        assert mount.resumable is self.resumable

    # -- stat -------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("size", [0, 1, len(DATA)])
    def test_stat_tells_what_there_is(self, size: int) -> None:
        stat = self.mount_with(DATA[:size]).stat(timeout=30)
        assert isinstance(stat, MountStat)
        assert stat.exists is True
        assert stat.ready is True
        assert stat.size == (size if self.tells_size else None)

    def test_the_tag_stays_while_the_bytes_do(self) -> None:
        mount = self.mount_with(DATA)
        tag = mount.stat().tag
        assert isinstance(tag, str)
        b"".join(mount.chunks())
        assert mount.stat().tag == tag

    def test_the_tag_changes_when_the_bytes_do(self) -> None:
        mount = self.mount_with(DATA)
        before = mount.stat()
        self.change(mount, DATA[::-1])
        after = mount.stat()
        assert after.size == before.size
        assert b"".join(mount.chunks()) == DATA[::-1]
        if self.tells_changes:
            assert after.tag
            assert after.tag != before.tag

    def test_what_is_gone_does_not_exist_and_cannot_be_read(self) -> None:
        mount = self.mount_with(DATA)
        self.remove(mount)
        again = self.registry().instantiate(mount.url)
        assert again.stat().exists is False
        with pytest.raises(MountError) as caught:
            list(again.chunks())
        assert caught.value.url
        if self.random_access:
            with pytest.raises(MountError):
                again.open()

    # -- open -------------------------------------------------------------------------------------------------

    def test_what_cannot_be_read_anywhere_says_so(self) -> None:
        if self.random_access:
            pytest.skip("it can")
        with pytest.raises(MountError):
            self.mount_with(DATA).open()

    def test_it_opens_a_source(self) -> None:
        with closing(self.readable().open()) as source:
            assert isinstance(source, Source)
            assert source.size == len(DATA)
            assert source.chunk_size > 0
            for start, end in itertools.combinations_with_replacement(EDGES, 2):
                found = source.read_at(start, end - start)
                assert type(found) is bytes
                assert found == DATA[start:end]
            assert source.read_exactly(10, 20, "test") == DATA[10:30]

    def test_what_is_not_all_there_is_an_error_to_read_exactly(self) -> None:
        with closing(self.readable().open()) as source, pytest.raises(TruncatedError):
            source.read_exactly(len(DATA) - 5, 6, "test")

    def test_nothing_can_be_opened_and_is_empty(self) -> None:
        with closing(self.readable(b"").open()) as source:
            assert source.size == 0
            assert source.read_at(0, 10) == b""

    def test_large_reads_are_whole(self) -> None:
        with closing(self.readable(LARGE).open()) as source:
            assert source.read_at(0, len(LARGE)) == LARGE
            assert source.read_at(17, len(LARGE)) == LARGE[17:]

    def test_what_is_closed_is_closed(self) -> None:
        source = self.readable().open()
        source.close()
        source.close()
        if self.refuses_after_close:
            with pytest.raises(ClosedError):
                source.read_at(0, 1)

    def test_what_was_opened_twice_is_closed_by_itself(self) -> None:
        mount = self.readable()
        one, other = mount.open(), mount.open()
        one.close()
        assert other.read_at(0, 4) == DATA[:4]
        other.close()

    def test_threads_may_share_what_was_opened(self) -> None:
        with closing(self.readable().open()) as source:

            def read(shift: int) -> None:
                for at in range(shift, len(DATA), 613):
                    assert source.read_at(at, 100) == DATA[at : at + 100]

            in_threads(read, range(THREADS))

    def test_threads_may_share_the_mount(self) -> None:
        mount = self.mount_with(DATA)

        def use(_: int) -> None:
            assert mount.stat().exists
            assert b"".join(mount.chunks()) == DATA

        in_threads(use, range(THREADS))

    def test_what_shrinks_while_it_is_open_never_gives_less_without_a_word(self) -> None:
        mount = self.readable()
        with closing(mount.open()) as source:
            self.change(mount, DATA[:1000])
            try:
                found = source.read_exactly(900, 200, "test")
            except (CarError, OSError):
                pass
            else:
                assert found == DATA[900:1100]

    def test_a_piece_with_zeros_behind_it_is_read_as_an_archive(self) -> None:
        piece = padded_piece()
        assert piece.endswith(bytes(1000))
        with closing(self.readable(piece).open()) as source:
            found = [(block.cid, block.data) for block in CarReader(source, null_padding=True).blocks()]
        assert found == list(BLOCKS)

    @_PROPERTY
    @given(st.binary(max_size=3000), st.lists(st.tuples(st.integers(0, 3500), st.integers(0, 3500)), max_size=8))
    def test_it_is_read_like_bytes(self, data: bytes, ranges: list[tuple[int, int]]) -> None:
        mount = self.readable(data)
        with closing(mount.open()) as source:
            assert source.size == len(data)
            for start, size in ranges:
                assert source.read_at(start, size) == data[start : start + size]

    # -- chunks -----------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("data", [b"", b"x", DATA, LARGE], ids=["nothing", "a byte", "some", "much"])
    def test_chunks_are_all_the_bytes(self, data: bytes) -> None:
        chunks = list(self.mount_with(data).chunks())
        assert b"".join(chunks) == data
        assert all(type(chunk) is bytes for chunk in chunks)

    def test_chunks_may_begin_anywhere_or_only_at_the_start(self) -> None:
        mount = self.mount_with(DATA)
        for start in (1, 999, len(DATA) - 1, len(DATA)):
            if self.resumable:
                assert b"".join(mount.chunks(start)) == DATA[start:]
            else:
                with pytest.raises(MountError):
                    list(mount.chunks(start))
        with pytest.raises(MountError):
            list(mount.chunks(len(DATA) + 1))
        with pytest.raises(ValueError, match="start"):
            list(mount.chunks(-1))

    def test_chunks_may_be_left_early_and_read_again(self) -> None:
        mount = self.mount_with(LARGE)
        for _ in range(3):
            chunks = cast("Generator[bytes]", mount.chunks())
            first = next(chunks)
            assert LARGE.startswith(first)
            chunks.close()
        one, other = mount.chunks(), mount.chunks()
        assert _in_turn(one, other) == (LARGE, LARGE)

    def test_what_changes_while_it_is_read_front_to_back_is_an_error_or_what_it_was(self) -> None:
        mount = self.mount_with(LARGE)
        chunks = cast("Generator[bytes]", mount.chunks())
        parts = [next(chunks)]
        self.change(mount, LARGE[: len(LARGE) // 3])
        try:
            parts.extend(chunks)
        except (MountError, OSError):
            pass
        else:
            assert b"".join(parts) == LARGE


def _in_turn(one: Iterator[bytes], other: Iterator[bytes]) -> tuple[bytes, bytes]:
    """Both, read one chunk of each at a time."""
    parts = list(itertools.zip_longest(one, other, fillvalue=b""))
    return b"".join(first for first, _ in parts), b"".join(second for _, second in parts)
