"""The body of an answer, and what stands behind it: Kubo says in a trailer why a stream ended early."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from http.client import HTTPResponse
    from io import BufferedReader

    from carv2.ipfs.kubo._meter import Meter

STREAM_ERROR = "x-stream-error"

_PIECE = 64 << 10
_MAX_LINE = 64 << 10
_MAX_TRAILERS = 32
_SIZE = re.compile(rb"([0-9a-fA-F]{1,16})[ \t]*(?:;.*)?\r?\n", re.DOTALL)


class BrokenBodyError(Exception):
    """The body is none, or ended before its end."""


class Body:
    """Reads what a response holds: :mod:`http.client` does the same, and forgets the trailers.

    Args:
        response: whose headers were read.
        meter: without which ``response`` reads nothing; it is told what is gained.
    """

    def __init__(self, response: HTTPResponse, meter: Meter) -> None:
        self._response, self._meter = response, meter
        self.trailers: dict[str, str] = {}
        self.ended = False

    def pieces(self) -> Iterator[bytes]:
        """The bytes, as they come.

        Raises:
            BrokenBodyError: it ended early, or is no body.
            OSError: the connection failed.
        """
        file = self._response.fp
        length = self._response.length
        if self._response.chunked:
            yield from self._chunked(file)
        elif length is None:
            raise BrokenBodyError("the answer does not say where it ends")
        elif length:
            yield from self._exactly(file, length)
        self.ended = True

    def _chunked(self, file: BufferedReader) -> Iterator[bytes]:
        while size := _size_of_chunk(file):
            yield from self._exactly(file, size)
            if file.read(2) != b"\r\n":
                raise BrokenBodyError("a chunk of the answer does not end where it should")
        for _ in range(_MAX_TRAILERS):
            line = _line_of(file).strip()
            if not line:
                return
            name, _, value = line.decode("utf-8", "replace").partition(":")
            self.trailers[name.strip().lower()] = value.strip()
        raise BrokenBodyError("there are too many trailers behind the answer")

    def _exactly(self, file: BufferedReader, size: int) -> Iterator[bytes]:
        while size:
            piece = file.read1(min(size, _PIECE))
            if not piece:
                raise BrokenBodyError("the connection ended in the middle of the answer")
            size -= len(piece)
            self._meter.gain(len(piece))
            yield piece


def _size_of_chunk(file: BufferedReader) -> int:
    found = _SIZE.fullmatch(_line_of(file))
    if found is None:
        raise BrokenBodyError("the answer is not made of chunks, although it says so")
    return int(found[1], 16)


def _line_of(file: BufferedReader) -> bytes:
    line = file.readline(_MAX_LINE)
    if not line.endswith(b"\n"):
        raise BrokenBodyError("the connection ended in the middle of the answer")
    return line


def gathered(pieces: Iterable[bytes], size: int = _PIECE) -> Iterator[bytes]:
    """The same bytes in larger pieces; what came before an error is given before it is raised.

    >>> list(gathered([b"a", b"bc", b"d"], 3))
    [b'abc', b'd']
    """
    held: list[bytes] = []
    count = 0
    try:
        for piece in pieces:
            held.append(piece)
            count += len(piece)
            if count >= size:
                yield b"".join(held)
                held, count = [], 0
    except GeneratorExit:
        raise
    except BaseException:
        if held:
            yield b"".join(held)
        raise
    if held:
        yield b"".join(held)
