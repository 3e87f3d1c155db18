"""What all answers of a gateway share: places, and memory of blocks that were sent."""

from __future__ import annotations

import ipaddress
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

from carv2.errors import BudgetError
from carv2.ipfs.gateway._refusal import RefusalError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType


RETRY = (("retry-after", "1"),)
_LEAST = 2 << 20  # bytes: a batch that is sent, and the next one


class Places:
    """Room for answers.

    Args:
        count: of answers at a time.
        per_client: of them, for one address.
        max_bytes: that they may hold, all together.
    """

    def __init__(self, count: int, per_client: int, max_bytes: int) -> None:
        self._count, self._per_client, self._max_bytes = count, per_client, max_bytes
        self.taken = self.bytes = 0
        self._clients: Counter[str] = Counter()
        self._lock = threading.Lock()

    def enter(self, client: str) -> Place:
        """Take a place; ``client`` is empty where that is not known.

        Raises:
            RefusalError: there is none.
        """
        with self._lock:
            if self.taken >= self._count:
                raise RefusalError(503, "this gateway is busy", RETRY)
            if client and self._clients[client] >= self._per_client:
                raise RefusalError(429, f"{self._per_client} answers to you are under way", RETRY)
            self.taken += 1
            self._clients[client] += 1
        place = Place(self, client)
        try:
            place.hold(0)
        except RefusalError:
            place.leave()
            raise
        return place

    def leave(self, client: str) -> None:
        """Give a place back."""
        with self._lock:
            self.taken -= 1
            self._clients[client] -= 1
            if not self._clients[client]:
                del self._clients[client]

    def add(self, size: int) -> None:
        """Count bytes that are held, or fewer.

        Raises:
            RefusalError: they are too many; the ``size`` is not counted.
        """
        with self._lock:
            if size > 0 and self.bytes + size > self._max_bytes:
                raise RefusalError(503, "too much is under way at this gateway", RETRY)
            self.bytes += size


class Place:
    """That of one answer, with the bytes that it holds."""

    def __init__(self, places: Places, client: str) -> None:
        self._places, self._client = places, client
        self._held = 0

    def hold(self, size: int) -> None:
        """So many bytes are held now, instead of those before.

        Raises:
            RefusalError: all answers together would hold too many.
        """
        size = max(size, _LEAST)
        self._places.add(size - self._held)
        self._held = size

    def leave(self) -> None:
        """Give all of it back."""
        self._places.add(-self._held)
        self._places.leave(self._client)


def client_of(scope: Mapping[str, Any]) -> str:
    """Whom an answer is for: an address, or the 64 bits of an IPv6 address that one host may fill up by itself.

    >>> client_of({"client": ("2001:db8::1", 5)}), client_of({"client": ("::ffff:192.0.2.1", 5)}), client_of({})
    ('2001:db8::/64', '192.0.2.1', '')
    """
    client = scope.get("client")
    if not client:
        return ""
    try:
        address = ipaddress.ip_address(client[0].partition("%")[0])
    except ValueError:
        return str(client[0])
    if isinstance(address, ipaddress.IPv6Address):
        return str(address.ipv4_mapped or ipaddress.ip_network((address, 64), strict=False))
    return str(address)


class Remembered:
    """How many blocks answers remember, all together."""

    def __init__(self, allowed: int) -> None:
        self._allowed, self.count = allowed, 0
        self._lock = threading.Lock()

    def share(self) -> Share:
        """The part of one answer."""
        return Share(self)

    def add(self, number: int) -> None:
        """Count more of them, or fewer.

        Raises:
            BudgetError: they are too many; the ``number`` is not counted.
        """
        with self._lock:
            if number > 0 and self.count + number > self._allowed:
                hint = "an answer with dups=y needs none"
                raise BudgetError("blocks to be remembered here", allowed=self._allowed, hint=hint)
            self.count += number


class Share:
    """What one answer remembers; forgotten at the end of the context."""

    _STEP = 256  # blocks that are counted at once: a lock for each would cost as much as the block

    def __init__(self, remembered: Remembered) -> None:
        self._remembered = remembered
        self._taken = self._left = 0
        self._is_over = False

    def take(self) -> None:
        """Count one more."""
        if not self._left and not self._is_over:
            self._remembered.add(self._STEP)
            self._taken += self._STEP
            self._left = self._STEP
        self._left -= 1

    def __enter__(self) -> Share:  # noqa: PYI034  (typing.Self needs Python 3.11)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over = True
        self._remembered.add(-self._taken)
