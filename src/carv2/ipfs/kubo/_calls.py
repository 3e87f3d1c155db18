"""Requests to a node's RPC: each is a POST of /api/v0/NAME?arg=..., tried again where that is safe."""

from __future__ import annotations

import base64
import secrets
import time
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from carv2.ipfs.kubo._answers import Answer, trouble
from carv2.ipfs.kubo._body import BrokenBodyError
from carv2.ipfs.kubo._connections import Connections, Upload

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Literal, TypeAlias

    from carv2.cid import CID
    from carv2.ipfs.kubo.address import NodeAddress

    Wait: TypeAlias = Literal["short", "stream", "slow"]

_BUSY = frozenset({429, 502, 503, 504})
_PAUSE = 0.1  # seconds before a second try; twice that before the third


class Calls:
    """Calls of one node; threads may share it.

    Args:
        address: of the node.
        token: for ``Authorization: Bearer``.
        timeout: seconds that the node may say nothing.
        slow_timeout: the same for what goes through a whole DAG before it says anything.
        retries: how often a call that failed on its way is made again.
        connections: idle ones that are kept.
    """

    def __init__(
        self,
        address: NodeAddress,
        *,
        token: str | None,
        timeout: float,
        slow_timeout: float,
        retries: int,
        connections: int,
    ) -> None:
        self.address = address
        self._timeout, self._slow_timeout, self._retries = timeout, slow_timeout, retries
        self._connections = Connections(address, _headers(address, token), timeout, connections)

    @property
    def url(self) -> str:
        """Of the node, for messages."""
        return self.address.url

    def check_open(self) -> None:
        """Raise ClosedError after :meth:`close`."""
        self._connections.check_open()

    def call(
        self,
        name: str,
        /,
        *args: str,
        about: CID | None = None,
        body: Multipart | None = None,
        wait: Wait = "short",
        **options: str | bool | int,
    ) -> Answer:
        """Make a call, again if it fails on its way and can be repeated; an answer of status 200.

        Args:
            name: such as ``block/get``.
            args: its arguments.
            about: the block that it asks for, and that is missing if the node finds none.
            body: what is sent along.
            wait: ``short`` for an answer that comes at once; a ``stream`` may take as long as it likes, as long as
                it goes on; a ``slow`` one may take long before the first byte as well.
            options: its options; ``_`` stands for ``-``.

        Raises:
            BlockNotFoundError, KuboError: the node cannot be reached, or says no.
            ClosedError: this was closed.
        """
        query = urlencode(
            [*(("arg", arg) for arg in args), *((_name(key), _text(options[key])) for key in options)]
        )
        once = body is not None and isinstance(body.content, Upload)
        tries = 1 if once else 1 + self._retries
        for left in range(tries - 1, -1, -1):
            try:
                answer = self._once(name, query, about, body, wait=wait, fresh=once or left < tries - 1)
            except BrokenBodyError as error:
                raise trouble(error, self.url, name) from error
            except (OSError, _http_exception()) as error:
                self._connections.check_open()
                if body is not None and isinstance(body.content, Upload) and body.content.error is error:
                    raise
                if not left or isinstance(error, TimeoutError):
                    raise trouble(error, self.url, name) from error
            else:
                if answer.status == 200:
                    return answer
                with answer:
                    if answer.status not in _BUSY or not left:
                        raise answer.refusal()
            time.sleep(_PAUSE * (tries - left))
        raise AssertionError  # the last try returns or raises

    def _once(
        self, name: str, query: str, about: CID | None, body: Multipart | None, *, wait: Wait, fresh: bool
    ) -> Answer:
        connections = self._connections
        connection = connections.take(fresh=fresh)
        headers = {} if body is None else {"Content-Type": body.content_type}
        silence = self._slow_timeout if wait == "slow" else self._timeout
        try:
            response, meter = connections.send(
                connection,
                f"{name}?{query}",
                b"" if body is None else body.content,
                headers,
                silence,
            )
        except BaseException:
            connections.drop(connection)
            raise
        if response.status == 200:
            meter.begin_body(silence, is_stream=wait != "short")
        else:
            meter.begin_body(self._timeout, is_stream=False)  # what it says of an error is short
        return Answer(connections, connection, response, call=name, about=about, meter=meter)

    def close(self) -> None:
        """End all connections."""
        self._connections.close()


class Multipart:
    """Files as a body: all at once, or one that is sent as it comes."""

    def __init__(self, content: bytes | Upload, boundary: str) -> None:
        self.content = content
        self.content_type = f"multipart/form-data; boundary={boundary}"

    @classmethod
    def of_blocks(cls, blocks: Sequence[bytes]) -> Multipart:
        """One file for each block."""
        boundary = secrets.token_hex(16)
        parts = [part for data in blocks for part in (_head(boundary), data, b"\r\n")]
        return cls(b"".join([*parts, _end(boundary)]), boundary)

    @classmethod
    def of_stream(cls, pieces: Iterable[bytes]) -> Multipart:
        """One file, which is sent as it comes."""
        boundary = secrets.token_hex(16)

        def content() -> Iterator[bytes]:
            yield _head(boundary)
            yield from pieces
            yield b"\r\n" + _end(boundary)

        return cls(Upload(content()), boundary)


def _head(boundary: str) -> bytes:
    disposition = 'Content-Disposition: form-data; name="file"; filename="file"'
    return f"--{boundary}\r\n{disposition}\r\nContent-Type: application/octet-stream\r\n\r\n".encode()


def _end(boundary: str) -> bytes:
    return f"--{boundary}--\r\n".encode()


def _headers(address: NodeAddress, token: str | None) -> Mapping[str, str]:
    headers = {"User-Agent": "carv2", "Accept-Encoding": "identity"}
    if token is not None:
        if not token.isprintable() or not token.isascii():
            raise ValueError("the token has characters that no token has (a line end, perhaps)")
        headers["Authorization"] = f"Bearer {token}"
    elif address.user is not None:
        user = ":".join(address.user).encode()
        headers["Authorization"] = f"Basic {base64.b64encode(user).decode()}"
    return headers


def _name(key: str) -> str:
    return key.replace("_", "-")


def _text(value: str | bool | int) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _http_exception() -> type[Exception]:
    from http.client import HTTPException  # noqa: PLC0415  (30 ms)

    return HTTPException
