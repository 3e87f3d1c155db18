"""What a node answers, and what its errors mean."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, cast

from carv2.cid import CID
from carv2.errors import BlockNotFoundError, CarError, KuboError
from carv2.ipfs.kubo._body import STREAM_ERROR, Body, BrokenBodyError, gathered

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.client import HTTPConnection, HTTPResponse
    from types import TracebackType

    from carv2.ipfs.kubo._connections import Connections
    from carv2.ipfs.kubo._meter import Meter

_MAX_ERROR = 64 << 10
_MAX_VALUE = 1 << 20
_MAX_COUNT = (1 << 63) - 1  # Go's int
_SHOWN = 500
_NOT_FOUND = re.compile(r"could not find (\w+)|blockservice: key not found|merkledag: not found")


class Answer:
    """One answer, whose body is read once. Close it: a connection is kept only if all was read."""

    def __init__(
        self,
        connections: Connections,
        connection: HTTPConnection,
        response: HTTPResponse,
        *,
        call: str,
        about: CID | None,
        meter: Meter,
    ) -> None:
        self._connections, self._connection, self._response = connections, connection, response
        self._call, self._about = call, about
        self._body, self._meter = Body(response, meter), meter
        self.status = response.status

    def pieces(self) -> Iterator[bytes]:
        """The bytes of the body, some 64 KiB at a time; what came before an error is given before it is raised.

        Raises:
            BlockNotFoundError, KuboError: the node says that it failed, or the body is not whole.
        """
        for piece in gathered(self._pieces()):
            yield piece
            self._meter.go_on()

    def _pieces(self) -> Iterator[bytes]:
        try:
            yield from self._body.pieces()
        except (BrokenBodyError, OSError) as error:
            self._connections.check_open()
            raise trouble(error, self._url, self._call) from error
        said = self._body.trailers.get(STREAM_ERROR)
        if said:
            raise error_of(said, self._url, self._call, about=self._about)

    @property
    def _url(self) -> str:
        return self._connections.address.url

    def read(self, limit: int) -> bytes:
        """The whole body, which may have up to ``limit`` bytes."""
        data = bytearray()  # pieces may have a byte each, and a list of them takes a hundred times that
        for piece in self._limited(limit):
            data += piece
        return bytes(data)

    def _limited(self, limit: int | None) -> Iterator[bytes]:
        count = 0
        for piece in self._pieces():
            count += len(piece)
            if limit is not None and count > limit:
                raise KuboError(f"{self._call}: the answer has more than {limit} bytes", url=self._url)
            yield piece

    def values(self, limit: int | None = _MAX_VALUE) -> Iterator[dict[str, Any]]:
        """The JSON objects that the body is made of, one a line.

        Args:
            limit: bytes that all of them may have together; None for a listing that is as long as it is.
        """
        held = bytearray()
        for piece in self._limited(limit):
            held += piece
            if b"\n" in piece:
                *lines, rest = bytes(held).split(b"\n")
                held = bytearray(rest)
                for line in lines:
                    if line.strip():
                        yield self._value(line)
                        self._meter.go_on()
            if len(held) > _MAX_VALUE:
                raise KuboError(f"{self._call}: a line of the answer is too long", url=self._url)
        if held.strip():
            yield self._value(bytes(held))

    def value(self) -> dict[str, Any]:
        """The one JSON object that the body is."""
        values = self.values()
        value = next(values, None)
        if value is None or next(values, None) is not None:
            raise nonsense(self._url, self._call)
        return value

    def _value(self, line: bytes) -> dict[str, Any]:
        try:
            value: object = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise nonsense(self._url, self._call)
        return cast("dict[str, Any]", value)

    def refusal(self) -> CarError:
        """What a status other than 200 means."""
        text = self.read(_MAX_ERROR).decode("utf-8", "replace").strip()
        try:
            said = json.loads(text)["Message"]
        except (ValueError, LookupError, TypeError, RecursionError):
            said = f"{self.status} {text or self._response.reason}"
        if 300 <= self.status < 400:
            said = f"{self.status}, a redirect, and those are not followed"
        return error_of(str(said), self._url, self._call, about=self._about, code=self.status)

    def close(self) -> None:
        """Let go of the connection."""
        self._response.close()
        if self._body.ended and not self._response.will_close:
            self._connections.give_back(self._connection)
        else:
            self._connections.drop(self._connection)

    def __enter__(self) -> Answer:  # noqa: PYI034  (typing.Self needs Python 3.11)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def error_of(said: str, url: str, call: str, *, about: CID | None = None, code: int | None = None) -> CarError:
    """The error that a node's own words stand for; ``about`` is the block that was asked for, if it was one.

    >>> error_of("ipld: could not find bafkqaatjmq", "http://127.0.0.1:5001", "dag/export")
    BlockNotFoundError(CID('bafkqaatjmq'))
    """
    found = _NOT_FOUND.search(said)
    missing = None if found is None else about or _as_cid(found[1])
    if missing is not None:
        return BlockNotFoundError(missing)
    shown = said if len(said) <= _SHOWN else f"{said[:_SHOWN]}..."
    return KuboError(f"{call}: {shown}", url=url, code=code)


def _as_cid(text: str | None) -> CID | None:
    try:
        return CID.of(text or "")
    except ValueError:
        return None


def count_of(value: object) -> int:
    """A number of bytes or blocks, as JSON has it.

    Raises:
        ValueError: it is none.

    >>> count_of(5)
    5
    >>> count_of(True)
    Traceback (most recent call last):
    ValueError: not a count
    """
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MAX_COUNT:
        raise ValueError("not a count")
    return value


def trouble(error: Exception, url: str, call: str) -> CarError:
    """The error that stands for one of the connection."""
    if isinstance(error, CarError):
        return error
    if isinstance(error, TimeoutError):
        return KuboError(f"{call}: no answer in time", url=url)
    why = getattr(error, "strerror", None) or " ".join(str(error).split())[:_SHOWN] or type(error).__name__
    return KuboError(f"{call}: the node cannot be asked: {why}", url=url)


def nonsense(url: str, call: str) -> KuboError:
    """The error for an answer that Kubo never gives."""
    return KuboError(f"{call}: the answer is not one of Kubo's", url=url)
