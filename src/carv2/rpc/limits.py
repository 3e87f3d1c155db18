"""How much of a server its clients may have."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ServerLimits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """How much clients may ask of a server, all of them together where nothing else is said. Times in seconds."""

    max_body: int = 1 << 20
    """Bytes of a request, over HTTP or as a message of a WebSocket."""
    max_index: int = 4 << 30
    """Bytes of an index file that is sent with its shard."""
    max_batch: int = 50
    """Calls in one batch."""
    max_concurrent: int = 256
    """Calls at once, those that wait for a shard aside."""
    max_waiting: int = 128
    """Calls at once that wait until a shard is indexed."""
    max_connections: int = 128
    """WebSockets at once; an eighth is kept for who may write or administer."""
    max_calls_per_connection: int = 64
    """Calls at once on a WebSocket."""
    max_streams: int = 16
    """Streams of events at once."""
    threads: int = 16
    """Calls that the store works on at once; others wait their turn."""
    request_timeout: float = 30.0
    """Until a request has arrived whole."""
    call_timeout: float = 60.0
    """Until a call is answered, those that wait for a shard aside."""
    wait_timeout: float = 6 * 3600.0
    """Until a call that waits for a shard is told that it is not indexed yet; that goes on."""
    send_timeout: float = 30.0
    """Until a client has taken a message; then it is let go of."""

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0")
