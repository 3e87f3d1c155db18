"""Mounts that fail as they are told: gone, slow, stuck, short, damaged, refusing for a while; and that count.

>>> from carv2.dagstore.mounts import BytesMount
>>> mount = FaultyMount(BytesMount(b"barreleye"), Faults(truncate_at=6))
>>> b"".join(mount.chunks()), mount.stat().size
(b'barrel', 9)
>>> mount.faults.truncate_at = None
>>> mount.faults.refuse(2)
>>> for _ in range(3):
...     try:
...         print(mount.stat().exists)
...     except MountError as error:
...         print(error)
refused (bytes:///YmFycmVsZXll)
refused (bytes:///YmFycmVsZXll)
True
>>> mount.faults.counts.stats
4
"""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from carv2._source import _Exact
from carv2.dagstore.mounts import Mount, MountRegistry, MountStat, default_registry
from carv2.dagstore.mounts._calling import front_to_back_only
from carv2.errors import MountError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from typing import TypeAlias

    from carv2._source import Source

    Operation: TypeAlias = Literal["stat", "open", "chunks", "read"]
    Kind: TypeAlias = Literal["refuse", "fail", "truncate"]

__all__ = ["Counts", "Faults", "FaultyMount", "FaultyMounts"]

LONGEST_HOLD = 120.0
"""Seconds after which an operation that nobody releases fails, so that a test does not hang."""

_CALLS: tuple[Operation, ...] = ("stat", "open", "chunks")


@dataclass(slots=True)
class Counts:
    """How often a mount was asked, whatever came of it."""

    stats: int = 0
    opens: int = 0
    """Calls of ``open``."""
    streams: int = 0
    """Iterations of ``chunks`` that were begun."""
    reads: int = 0
    """Reads of what was opened, and chunks."""
    bytes: int = 0
    """That were given out, by either."""
    open_now: int = 0
    """Sources and streams that were not closed yet."""


@dataclass(slots=True)
class _Once:
    """What goes wrong in one operation alone."""

    fail_at: int | None = None
    truncate_at: int | None = None


class Faults:
    """What is wrong with a mount. May be changed at any time, by any thread.

    A pickled copy has the same faults, and counts for itself.

    Args:
        gone: ``stat`` says that it does not exist, all else fails.
        delay: seconds before each operation and each read.
        size: what ``stat`` says instead of the real size.
        tag: what ``stat`` says instead of the real tag.
        ready: what ``stat`` says.
        truncate_at: the bytes end here, silently.
        fail_at: reading the byte at this position fails; those before it are given.
        flip: positions of bytes that are others than they were.
        random_access: False for a mount that can be read front to back only, whatever is below.
        resumable: False for one that cannot begin in the middle.
        error: makes the exceptions that are raised; None for a MountError.
    """

    def __init__(
        self,
        *,
        gone: bool = False,
        delay: float = 0.0,
        size: int | None = None,
        tag: str | None = None,
        ready: bool | None = None,
        truncate_at: int | None = None,
        fail_at: int | None = None,
        flip: Sequence[int] = (),
        random_access: bool | None = None,
        resumable: bool | None = None,
        error: Callable[[], Exception] | None = None,
    ) -> None:
        self.gone, self.delay, self.size, self.tag, self.ready = gone, delay, size, tag, ready
        self.truncate_at, self.fail_at, self.flip = truncate_at, fail_at, tuple(flip)
        self.random_access, self.resumable, self.error = random_access, resumable, error
        self.counts = Counts()
        self._refusals, self._refused = 0, _CALLS
        self._chance, self._random = 0.0, random.Random(0)  # noqa: S311  (a test's)
        self._kinds: tuple[Kind, ...] = ()
        self._hold_at: int | None = None
        self._held, self._waiting = False, 0
        self._changed = threading.Condition()

    @classmethod
    def seeded(
        cls, seed: int, *, chance: float = 0.2, kinds: Sequence[Kind] = ("refuse", "fail", "truncate")
    ) -> Faults:
        """Faults that come by chance; the same for the same seed and the same operations in the same order.

        >>> def tries(seed):
        ...     from carv2.dagstore.mounts import BytesMount
        ...     mount = FaultyMount(BytesMount(b"fish"), Faults.seeded(seed, chance=0.5, kinds=["refuse"]))
        ...     for _ in range(20):
        ...         try:
        ...             yield mount.stat().size
        ...         except MountError:
        ...             yield None
        >>> list(tries(7)) == list(tries(7)), set(tries(7)) == {4, None}
        (True, True)
        """
        faults = cls()
        faults.by_chance(seed, chance=chance, kinds=kinds)
        return faults

    def by_chance(self, seed: int, *, chance: float, kinds: Sequence[Kind]) -> None:
        """Let each ``stat``, ``open`` and ``chunks`` fail with that chance, in one of these ways."""
        with self._changed:
            self._chance, self._kinds, self._random = chance, tuple(kinds), random.Random(seed)  # noqa: S311

    def refuse(self, times: int, *operations: Operation) -> None:
        """Let the next ``times`` operations fail at once; of those named, or of all but reads."""
        with self._changed:
            self._refusals, self._refused = times, operations or _CALLS

    def hold(self, at: int | None = None) -> None:
        """Let operations wait until :meth:`release`: all of them, or those that come to the byte ``at``."""
        with self._changed:
            self._held, self._hold_at = True, at

    def release(self) -> None:
        """Let them go on, and hold no more."""
        with self._changed:
            self._held = False
            self._changed.notify_all()

    def wait_until_held(self, count: int = 1, *, timeout: float = 30.0) -> None:
        """Wait until ``count`` operations wait; TimeoutError if they do not."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._waiting >= count, timeout):
                raise TimeoutError(f"{self._waiting} operations wait, not {count}")

    def __getstate__(self) -> dict[str, object]:
        with self._changed:
            if self._held:
                raise TypeError("a mount that is held cannot be sent away: nobody could release it there")
            state: dict[str, object] = {**self.__dict__, "counts": Counts(), "_waiting": 0}
        del state["_changed"]
        return state

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._changed = threading.Condition()

    # -- for the mount ----------------------------------------------------------------------------------------

    def begin(
        self, operation: Operation, url: str, size: int | None = None, *, start: int | None = None, end: int = 0
    ) -> _Once:
        """Wait or fail, if that is due; else what goes wrong later on in this operation."""
        self.pause(url, start, end)
        with self._changed:
            if self._refusals > 0 and operation in self._refused:
                self._refusals -= 1
                raise self.exception("refused", url)
            kind = self._draw() if operation != "read" else None
            position = self._random.randrange(size) if size and kind in {"fail", "truncate"} else 0
        if operation != "stat" and self.gone:
            raise self.exception("there is nothing", url)
        if kind == "refuse" or (kind == "fail" and operation == "stat"):
            raise self.exception("refused by chance", url)
        return _Once(position if kind == "fail" else None, position if kind == "truncate" else None)

    @property
    def needs_size(self) -> bool:
        """Something happens by chance at a byte, so it must be known how many there are."""
        return bool({"fail", "truncate"} & set(self._kinds))

    def _draw(self) -> Kind | None:
        if not self._kinds or self._random.random() >= self._chance:
            return None
        return self._random.choice(self._kinds)

    def exception(self, message: str, url: str) -> Exception:
        """What is raised."""
        return MountError(message, url=url) if self.error is None else self.error()

    def count(self, **what: int) -> None:
        """Add to the counts."""
        with self._changed:
            for name, more in what.items():
                setattr(self.counts, name, getattr(self.counts, name) + more)

    def pause(self, url: str, start: int | None = None, end: int = 0) -> None:
        """Be slow, and wait if this is held; ``start`` and ``end`` are of the bytes that are about to be given."""
        if self.delay > 0:
            time.sleep(self.delay)
        with self._changed:
            if not self._is_held(start, end):
                return
            self._waiting += 1
            self._changed.notify_all()
            released = self._changed.wait_for(lambda: not self._held, LONGEST_HOLD)
            self._waiting -= 1
        if not released:
            raise self.exception(f"held for {LONGEST_HOLD:g} s, and nobody released it", url)

    def _is_held(self, start: int | None, end: int) -> bool:
        if not self._held or self._hold_at is None:
            return self._held
        return start is not None and start <= self._hold_at < end

    def cut(self, start: int, end: int, once: _Once) -> int:
        """Where to end instead of at ``end``, so that what is due at a byte happens right there."""
        with self._changed:
            stops = (once.fail_at, once.truncate_at, self.fail_at, self.truncate_at)
            hold = self._hold_at if self._held else None
            return min([end, *(stop for stop in (*stops, hold) if stop is not None and start < stop)])

    def ends_at(self, position: int, once: _Once, url: str) -> bool:
        """Whether the bytes end at ``position``, silently; or else they fail there, or go on."""
        for stop in (once.truncate_at, self.truncate_at):
            if stop is not None and position >= stop:
                return True
        for stop in (once.fail_at, self.fail_at):
            if stop is not None and position >= stop:
                raise self.exception(f"failed at byte {stop}", url)
        return False

    def damage(self, data: bytes, start: int) -> bytes:
        """``data`` of ``start``, with the bytes flipped that are to be."""
        inside = [position - start for position in self.flip if start <= position < start + len(data)]
        if not inside:
            return data
        damaged = bytearray(data)
        for at in inside:
            damaged[at] ^= 0xFF
        return bytes(damaged)


@dataclass(frozen=True, slots=True)
class FaultyMount(Mount):
    """A mount with something wrong with it. Its URL is that of the mount below, and so is its identity."""

    inner: Mount
    faults: Faults = field(default_factory=Faults, compare=False, repr=False)

    @property
    def url(self) -> str:
        """The URL of the mount below."""
        return self.inner.url

    @property
    def random_access(self) -> bool:
        """As told, or as the mount below."""
        told = self.faults.random_access
        return self.inner.random_access if told is None else told

    @property
    def resumable(self) -> bool:
        """As told, or as the mount below."""
        told = self.faults.resumable
        return self.inner.resumable if told is None else told

    def stat(self, *, timeout: float | None = None) -> MountStat:
        """What the mount below says, as far as nothing else was told."""
        faults = self.faults
        faults.count(stats=1)
        faults.begin("stat", self.url)
        if faults.gone:
            return MountStat.missing()
        real = self.inner.stat(timeout=timeout)
        return MountStat(
            exists=real.exists,
            size=real.size if faults.size is None else faults.size,
            ready=real.ready if faults.ready is None else faults.ready,
            tag=real.tag if faults.tag is None else faults.tag,
        )

    def open(self) -> Source:
        """The bytes of the mount below, which go wrong as told."""
        self.faults.count(opens=1)
        once = self.faults.begin("open", self.url, self._size())
        if not self.random_access:
            raise front_to_back_only("it was told so", self.url)
        return _FaultySource(self.inner.open(), self, once)

    def chunks(self, start: int = 0) -> Iterator[bytes]:
        """The bytes of the mount below, which go wrong as told."""
        self.check_start(start)
        self.faults.count(streams=1)
        once = self.faults.begin("chunks", self.url, self._size())
        below = self.inner.chunks(start)
        self.faults.count(open_now=1)
        try:
            yield from self._faulty(below, start, once)
        finally:
            self.faults.count(open_now=-1)
            close = getattr(below, "close", None)
            if close is not None:
                close()

    def _size(self) -> int | None:
        return self.inner.stat().size if self.faults.needs_size else None

    def _faulty(self, below: Iterator[bytes], position: int, once: _Once) -> Generator[bytes]:
        faults = self.faults
        for chunk in below:
            at, end = 0, position + len(chunk)
            while position < end:
                faults.pause(self.url, position, position + 1)
                if faults.ends_at(position, once, self.url):
                    return
                part = chunk[at : at + faults.cut(position, end, once) - position]
                faults.count(reads=1, bytes=len(part))
                yield faults.damage(part, position)
                at, position = at + len(part), position + len(part)
        faults.ends_at(position, once, self.url)


class _FaultySource(_Exact):
    def __init__(self, inner: Source, mount: FaultyMount, once: _Once) -> None:
        self._inner, self._mount, self._once, self._closed = inner, mount, once, False
        self.chunk_size = inner.chunk_size
        mount.faults.count(open_now=1)

    @property
    def size(self) -> int:
        return self._inner.size

    def read_at(self, position: int, size: int) -> bytes:
        faults, url = self._mount.faults, self._mount.url
        end = min(position + size, self._inner.size)
        faults.begin("read", url, start=position, end=end)
        stop = position
        while stop < end and not faults.ends_at(stop, self._once, url):
            stop = faults.cut(stop, end, self._once)
        data = faults.damage(self._inner.read_at(position, max(0, stop - position)), position)
        faults.count(reads=1, bytes=len(data))
        return data

    def close(self) -> None:
        self._inner.close()
        if not self._closed:
            self._closed = True
            self._mount.faults.count(open_now=-1)


class FaultyMounts:
    """Faults for all mounts of a registry, by their URLs; :attr:`registry` is what a store takes.

    >>> from carv2.dagstore.mounts import BytesMount
    >>> mounts = FaultyMounts()
    >>> url = BytesMount(b"fish").url
    >>> mounts[url].gone = True
    >>> mounts.registry.instantiate(url).stat().exists
    False

    Args:
        registry: what makes the mounts below; None for :func:`carv2.dagstore.mounts.default_registry`.
        faults: makes the faults of a URL that is met for the first time; None for none.
    """

    def __init__(
        self, registry: MountRegistry | None = None, *, faults: Callable[[str], Faults] | None = None
    ) -> None:
        self._below = default_registry() if registry is None else registry
        self._faults: dict[str, Faults] = {}
        self._new, self._lock = faults or _no_faults, threading.Lock()
        self.registry = MountRegistry()
        for scheme in self._below.schemes:
            self.registry.register(scheme, self.instantiate)

    def instantiate(self, url: str) -> FaultyMount:
        """The mount of ``url``, which fails as its faults say."""
        mount = self._below.instantiate(url)
        return FaultyMount(mount, self[mount.url])

    def __getitem__(self, url: str) -> Faults:
        with self._lock:
            if url not in self._faults:
                self._faults[url] = self._new(url)
            return self._faults[url]

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._faults))


def _no_faults(url: str) -> Faults:
    del url
    return Faults()
