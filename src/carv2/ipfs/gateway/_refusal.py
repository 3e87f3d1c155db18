"""Requests that are refused: with which status, and with what to say. What is told is what anybody may know."""

from __future__ import annotations

from carv2.errors import (
    BlockNotFoundError,
    BudgetError,
    CodecError,
    IntegrityError,
    PathNotFoundError,
    UnknownCodecError,
    WaitTimeoutError,
)

_MOST = 500  # characters of a text: paths may be long

_MOST_LAST = 200
_INLINE = str.maketrans("[]\r\n", "()  ")

TIMED_OUT = "the storage behind this gateway did not answer in time"


class RefusalError(Exception):
    """The answer to a request is an HTTP error."""

    def __init__(self, status: int, text: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(text)
        self.status, self.text, self.headers = status, text, headers

    @property
    def body(self) -> bytes:
        """The text as it is sent."""
        return (self.text[:_MOST] + "\n").encode("utf-8", "backslashreplace")


def is_ours(error: Exception) -> bool:
    """Whether ``error`` is a fault of this gateway or its storage, rather than of the request or the DAG."""
    return refusal_of(error).status >= 500 and not isinstance(error, UnknownCodecError)


def refusal_of(error: Exception) -> RefusalError:
    """What to answer where reading ended with ``error``; storage's own words may name files, and are not told."""
    if isinstance(error, RefusalError):
        return error
    if isinstance(error, (BlockNotFoundError, PathNotFoundError)):
        return RefusalError(404, str(error))
    if isinstance(error, UnknownCodecError):
        return RefusalError(501, str(error))
    if isinstance(error, CodecError) and error.cid is not None:
        return RefusalError(422, str(error))
    if isinstance(error, BudgetError):
        return RefusalError(422, str(error))
    if isinstance(error, IntegrityError):
        return RefusalError(500, f"{error.cid.short()} is damaged here")
    if isinstance(error, (WaitTimeoutError, TimeoutError)):
        return RefusalError(504, TIMED_OUT)
    return RefusalError(500, "the storage behind this gateway failed")


def last_words(error: Exception) -> bytes:
    """What stands at the end of an archive that is broken off, where a section should be.

    Source: boxo 0.42.1 and later. A reader that takes it for a section fails; carv2's raises
    :class:`carv2.errors.GatewayTruncatedError` with the text.
    """
    text = refusal_of(error).text[:_MOST_LAST].translate(_INLINE)
    words = f"[Gateway Error: CAR stream truncated, response is incomplete: {text}]"
    return words.encode("ascii", "backslashreplace")
