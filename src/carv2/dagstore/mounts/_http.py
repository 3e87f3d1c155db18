"""Web servers, through fsspec's http filesystem: ranges that are ranges, and errors that are what they say."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from carv2.dagstore.mounts._calling import describe, mount_error

if TYPE_CHECKING:
    from collections.abc import Generator

_MAX_KNOWN = 100_000
_GONE = frozenset({404, 410})

_known: dict[str, bool] = {}
_lock = threading.Lock()


def known_ranges(url: str) -> bool | None:
    """Whether ranges of ``url`` work; None if nobody asked yet."""
    return _known.get(url)


def remember_ranges(url: str, works: bool) -> bool:
    """Keep in mind whether ranges of ``url`` work."""
    with _lock:
        if len(_known) >= _MAX_KNOWN:
            _known.clear()
        _known[url] = works
    return works


def with_limits(options: dict[str, Any], seconds: float) -> dict[str, Any]:
    """The filesystem's options, with a limit to silence instead of the whole transfer, and no compression."""
    import aiohttp  # noqa: PLC0415  (optional)

    given: dict[str, Any] = dict(options.get("client_kwargs") or {})
    limits = aiohttp.ClientTimeout(total=None, sock_connect=seconds, sock_read=seconds)
    headers: dict[str, Any] = {"Accept-Encoding": "identity", **(given.get("headers") or {})}
    return {**options, "client_kwargs": {"timeout": limits, **given, "headers": headers}}


def says_missing(error: FileNotFoundError) -> bool:
    """The server said that there is no such file. The filesystem says so of every failure, and gives the cause."""
    cause = error.__cause__
    return cause is None or isinstance(cause, FileNotFoundError) or getattr(cause, "status", None) in _GONE


def reason(error: FileNotFoundError) -> str:
    """What went wrong in truth."""
    hide_headers(error)
    cause = error.__cause__
    return describe(cause if isinstance(cause, Exception) else error)


def hide_headers(error: BaseException) -> None:
    """Take the request's headers, which may let somebody in, out of what an error and its causes show."""
    found: BaseException | None = error
    while found is not None:
        request: Any = getattr(found, "request_info", None)
        if request is not None:
            found.request_info = request._replace(headers={})  # type: ignore[attr-defined]
        found = found.__cause__ or found.__context__


def ask_for_ranges(fs: Any, url: str, info: dict[str, Any], seconds: float) -> bool:
    """Whether the server sends a part if asked for one: the last byte, which cannot be the whole file."""
    size = info.get("size")
    if size is None or info.get("partial") is False:
        return remember_ranges(url, works=False)
    if size < 2:
        return True  # a request for all of it is no test
    try:
        data = HttpRanges(fs, url, size, seconds).read_at(size - 1, 1)
    except RangesIgnoredError:
        return False
    return remember_ranges(url, works=len(data) == 1)


class RangesIgnoredError(OSError):
    """The server sent something else than the range that it was asked for."""


class HttpRanges:
    """Positional reads of a file on a web server; what comes instead of a range is not read to its end."""

    def __init__(self, fs: Any, url: str, size: int, seconds: float) -> None:
        self._url, self._seconds = url, seconds
        self._file = fs.open(url, block_size=1 << 20, size=size, cache_type="none")

    def read_at(self, position: int, size: int) -> bytes:
        try:
            return bytes(self._file._fetch_range(position, position + size, timeout=self._seconds))  # noqa: SLF001  (has no cursor)
        except ValueError as error:  # its way to say so
            remember_ranges(self._url, works=False)
            raise RangesIgnoredError("the server ignores ranges") from error
        except Exception as error:
            hide_headers(error)
            raise

    def close(self) -> None:
        self._file.close()


def stream(fs: Any, url: str, seconds: float) -> Generator[bytes]:
    """The whole file in one request, from its first byte on."""
    try:
        file = fs.open(url, block_size=0)
    except Exception as error:
        hide_headers(error)
        raise
    try:
        while chunk := file.read(1 << 20, timeout=seconds):
            yield bytes(chunk)
    except TimeoutError as error:
        raise mount_error(f"no byte within {seconds:g} s", url) from error
    finally:
        file.close()
