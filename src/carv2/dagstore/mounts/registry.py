"""Which mount a URL means.

Source: ``mount.Registry`` of Lotus' DAG store (https://github.com/filecoin-project/dagstore); the forms of URLs
are RFC 3986's.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias, cast

from carv2.dagstore.mounts._calling import calling, mount_error
from carv2.dagstore.mounts._urls import check_no_secret, check_scheme, scheme_of
from carv2.dagstore.mounts.file import FileMount
from carv2.dagstore.mounts.inline import BytesMount
from carv2.dagstore.mounts.piece import PieceMounts, PieceResolver
from carv2.dagstore.mounts.protocol import Mount
from carv2.dagstore.mounts.remote import FsspecMounts
from carv2.errors import UnknownMountError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from importlib.metadata import EntryPoint

MountFactory: TypeAlias = "Callable[[str], Mount]"
"""Makes the mount of a URL, which it gets whole."""

__all__ = ["ENTRY_POINTS", "MountFactory", "MountRegistry", "default_registry"]

ENTRY_POINTS = "carv2.mounts"
"""The entry point group of packages that bring mounts: the name is the scheme, the object makes mounts."""


_NO_OPTIONS: Mapping[str, object] = {}


class MountRegistry:
    """Makes mounts of URLs, by their scheme. May be shared between threads.

    What a mount needs beside its URL (clients, credentials) is the factory's business, and is in no URL.

    >>> registry = MountRegistry()
    >>> registry.register("file", FileMount.of_url)
    >>> registry.instantiate("file:///data/x.car")
    FileMount(path='/data/x.car')
    >>> registry.instantiate("gopher://hole/x.car")
    Traceback (most recent call last):
    carv2.errors.UnknownMountError: unrecognized mount scheme: gopher
    """

    def __init__(self) -> None:
        self._factories: dict[str, MountFactory] = {}
        self._lock = threading.Lock()

    def register(self, scheme: str, factory: MountFactory, *, replace: bool = False) -> None:
        """Let ``factory`` make the mounts of ``scheme``: it gets the whole URL.

        Raises:
            ValueError: no scheme can be called that, or it is registered already and ``replace`` is False.
        """
        scheme = check_scheme(scheme)
        with self._lock:
            if scheme in self._factories and not replace:
                raise ValueError(f"mount already registered for scheme: {scheme}")
            self._factories = {**self._factories, scheme: factory}  # whoever iterates has the old one

    @property
    def schemes(self) -> tuple[str, ...]:
        """What is registered, sorted."""
        return tuple(sorted(self._factories))

    def __contains__(self, scheme: object) -> bool:
        return scheme in self._factories

    def __iter__(self) -> Iterator[str]:
        return iter(self.schemes)

    def instantiate(self, url: str) -> Mount:
        """The mount that ``url`` means. Nothing is opened, nobody is asked.

        Raises:
            UnknownMountError: nobody registered its scheme.
            MountError: the URL is not as its mount wants it, or it holds a secret; the error does not repeat that.
        """
        scheme = scheme_of(url)
        if not scheme:
            path = url if url and "\0" not in url else "x.car"
            raise mount_error(f"not a URL: a local file is written as {FileMount(path).url}", url)
        factory = self._factories.get(scheme)
        if factory is None:
            raise UnknownMountError(scheme)
        check_no_secret(url)
        with calling(url):
            mount: object = factory(url)
        if not isinstance(mount, Mount):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise mount_error(f"what is registered made a {type(mount).__name__}, not a Mount", url)
        return mount


def default_registry(
    *,
    fsspec: Mapping[str, Mapping[str, object]] | Iterable[str] = (),
    pieces: PieceResolver | None = None,
    entry_points: bool = True,
) -> MountRegistry:
    """A registry with ``file`` and ``bytes``, and what else is asked for.

    Args:
        fsspec: protocols of fsspec and the options of their filesystems, which is where credentials go; or names
            alone, for those that need none. Options go to whatever host a URL of that protocol names.
        pieces: what finds the bytes of ``piece://baga…``.
        entry_points: take what installed packages register in the group ``carv2.mounts`` too. It is imported when
            the first URL needs it, and never takes the place of something registered here.

    >>> default_registry(fsspec={"s3": {"key": "…", "secret": "…"}, "https": {}}, entry_points=False).schemes
    ('bytes', 'file', 'https', 's3')
    """
    registry = MountRegistry()
    registry.register("file", FileMount.of_url)
    registry.register("bytes", BytesMount.of_url)
    if pieces is not None:
        registry.register("piece", PieceMounts(pieces))
    named = isinstance(fsspec, Mapping)
    options = cast("Mapping[str, Mapping[str, object]]", fsspec) if named else dict.fromkeys(fsspec, _NO_OPTIONS)
    for protocol, chosen in options.items():
        registry.register(protocol, FsspecMounts(chosen))
    if entry_points:
        _register_installed(registry)
    return registry


def _register_installed(registry: MountRegistry) -> None:
    from importlib.metadata import entry_points  # noqa: PLC0415  (20 ms)

    found: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=ENTRY_POINTS):
        if entry.name not in registry:
            found.setdefault(entry.name, []).append(entry)
    for name, entries in found.items():
        try:
            registry.register(name, _Installed(tuple(entries)))
        except ValueError as error:  # somebody else's mistake must not keep a store from opening
            warnings.warn(f"entry point {entries[0].value} of {ENTRY_POINTS}: {error}", stacklevel=3)


class _Installed:
    """A factory that an installed package brings, imported when it is first called."""

    def __init__(self, entries: tuple[EntryPoint, ...]) -> None:
        self._entries = entries

    def __call__(self, url: str) -> Mount:
        values = sorted({entry.value for entry in self._entries})
        if len(values) > 1:
            raise mount_error(f"several packages bring mounts of this scheme: {', '.join(values)}", url)
        factory: MountFactory = self._entries[0].load()
        return factory(url)
