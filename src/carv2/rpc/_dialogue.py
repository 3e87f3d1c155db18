"""The client's side of JSON-RPC 2.0 and of go-jsonrpc's channels, without any I/O.

A channel, in the words of the wire: the answer to the call is the channel's id, ``xrpc.ch.val`` brings its values,
``xrpc.ch.close`` is its end, and ``xrpc.cancel`` with the id of the call asks for that end.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from carv2.errors import RpcError, RpcTransportError
from carv2.rpc._calls import PREFIX

if TYPE_CHECKING:
    from carv2.rpc._calls import Call

__all__ = ["Dialogue", "Stream", "meaning_of"]

_Result = TypeVar("_Result")

_MOST_SHOWN = 2000
"""Characters of an error that are passed on."""


class Dialogue:
    """What is said to the API at ``url``, and what its answers mean."""

    def __init__(self, url: str) -> None:
        self._url = url

    def question(self, call: Call[Any], number: int) -> str:
        """The call as JSON; ``number`` is its id."""
        message = {"jsonrpc": "2.0", "id": number, "method": PREFIX + call.method, "params": [*call.params]}
        return json.dumps(message)

    def answer(self, call: Call[_Result], number: int, text: bytes | str, *, status: int = 200) -> _Result:
        """What the call comes to.

        Args:
            call: that was made.
            number: its id.
            text: that came back.
            status: of HTTP.

        Raises:
            RpcError: the answer is an error.
            RpcTransportError: it is no answer to this call.
        """
        try:
            message = self.message(text)
        except RpcTransportError as error:
            if status < 300:
                raise
            raise self.trouble(meaning_of(status)) from error
        if message.get("error") is not None:
            raise self._error(message["error"])
        if status >= 300:
            raise self.trouble(meaning_of(status))
        if message.get("id") != number or isinstance(message.get("id"), bool):
            raise self.trouble("the answer is to another call")
        return self.read(call, message.get("result"))  # older builds of Lotus leave out a null

    def message(self, text: bytes | str) -> dict[str, Any]:
        """One JSON object."""
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise self.trouble("the answer is no JSON") from error
        if not isinstance(found, dict):
            raise self.trouble("the answer is no JSON-RPC")
        return found  # pyright: ignore[reportUnknownVariableType]

    def read(self, call: Call[_Result], value: Any) -> _Result:
        """A value of the answer as what it means."""
        try:
            return call.read(value)
        except ValueError as error:
            raise self.trouble(f"{call.method} answers something else: {error}") from error

    def _error(self, error: Any) -> RpcError | RpcTransportError:
        code, text = (error.get("code"), error.get("message")) if isinstance(error, dict) else (None, None)  # pyright: ignore[reportUnknownVariableType,reportUnknownMemberType]
        if type(code) is not int or not isinstance(text, str):  # pyright: ignore[reportUnknownArgumentType]
            return self.trouble("its error is no JSON-RPC")
        return RpcError(code, text[:_MOST_SHOWN])

    def trouble(self, message: str) -> RpcTransportError:
        """The error for what went wrong between here and there."""
        return RpcTransportError(message, url=self._url)


def meaning_of(status: int) -> str:
    """What a status of HTTP says to who called a method."""
    if status in {401, 403}:
        return f"the token is not accepted (HTTP {status})"
    if status == 404:
        return "there is no API at this path (HTTP 404)"
    if status == 503:
        return "it is busy, or being stopped (HTTP 503)"
    if 300 <= status < 400:
        return f"the API is somewhere else, which is not followed with a token (HTTP {status})"
    return f"no answer, but HTTP {status}"


class Stream(Generic[_Result]):
    """One channel, from the call to its end.

    >>> from carv2.rpc import _calls
    >>> stream = Stream(Dialogue("ws://127.0.0.1:7878"), _calls.initialize_all(1, include_sealed=False), 7)
    >>> stream.feed('{"jsonrpc":"2.0","id":7,"result":1}'), stream.is_closed
    (None, False)
    >>> stream.feed('{"jsonrpc":"2.0","method":"xrpc.ch.close","params":[1]}'), stream.is_closed
    (None, True)
    """

    def __init__(self, dialogue: Dialogue, call: Call[_Result], number: int) -> None:
        self._dialogue, self._call, self._number = dialogue, call, number
        self._channel: int | None = None
        self.is_closed = False

    @property
    def opening(self) -> str:
        """What begins it."""
        return self._dialogue.question(self._call, self._number)

    @property
    def cancelling(self) -> str:
        """What asks for its end: no more is begun there."""
        return json.dumps({"jsonrpc": "2.0", "method": "xrpc.cancel", "params": [self._number]})

    def feed(self, text: bytes | str) -> _Result | None:
        """The value that a message brings, if it brings one."""
        message = self._dialogue.message(text)
        if self._channel is None:
            self._channel = self._opened(text)
            return None
        params = message.get("params")
        if not isinstance(params, list) or params[:1] != [self._channel]:  # nothing of ours
            return None
        if message.get("method") == "xrpc.ch.close":
            self.is_closed = True
        elif message.get("method") == "xrpc.ch.val" and len(params) == 2:  # pyright: ignore[reportUnknownArgumentType]
            return self._dialogue.read(self._call, params[1])
        return None

    def _opened(self, text: bytes | str) -> int:
        call: Any = _as_channel(self._call)
        channel = self._dialogue.answer(call, self._number, text)
        if type(channel) is not int:
            raise self._dialogue.trouble(f"{self._call.method} opens no channel")
        return channel


def _as_channel(call: Call[Any]) -> Call[Any]:
    """The same call, whose answer is taken as it is."""
    return type(call)(call.method, call.params, lambda value: value)
