"""What is asked of a trustless gateway: requests, and the questions that they come down to.

Source: the Trustless Gateway specification (https://specs.ipfs.tech/http-gateways/trustless-gateway/). URL
parameters win over ``Accept``, and old gateways know only one of the two, so both are sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple
from urllib.parse import quote, urlencode

from carv2.cid import CID
from carv2.unixfs.path import names_of

if TYPE_CHECKING:
    from typing import TypeAlias

    from carv2.cid import CIDLike

    Scope: TypeAlias = Literal["all", "entity", "block"]
    ByteRange: TypeAlias = tuple[int, int | None]

CAR_TYPE, RAW_TYPE = "application/vnd.ipld.car", "application/vnd.ipld.raw"


class Ask(NamedTuple):
    """One question: a CAR of what stands at a path below a CID."""

    root: CID
    names: tuple[str, ...] = ()
    scope: Scope = "all"
    byte_range: ByteRange | None = None

    @classmethod
    def of(cls, root: CIDLike, path: str = "", scope: Scope = "all", byte_range: ByteRange | None = None) -> Ask:
        """What a caller asks for.

        Raises:
            ValueError: the path leads out of its root, the scope is none, or a range that does not go with it.
        """
        if scope not in {"all", "entity", "block"}:
            raise ValueError(f"scope={scope!r}, allowed: all, entity, block")
        if byte_range is not None and scope != "entity":
            raise ValueError("a byte range goes with the scope 'entity'")
        first, last = byte_range or (0, None)
        if last is not None and (first < 0) == (last < 0) and last < first:
            raise ValueError(f"the byte range {first}:{last} ends before it starts")
        return cls(CID.of(root), names_of(path), scope, byte_range)

    @property
    def path(self) -> str:
        """The path below the root."""
        return "/".join(self.names)

    @property
    def span(self) -> tuple[int, int | None]:
        """The byte range as a slice."""
        first, last = self.byte_range or (0, None)
        return first, None if last is None or last == -1 else last + 1

    def target(self, *, dups: bool) -> str:
        """Path and query of the URL, of a CAR.

        >>> Ask.of("bafkqaaa", "a b").target(dups=False)
        '/ipfs/bafkqaaa/a%20b?format=car&dag-scope=all&car-version=1&car-order=dfs&car-dups=n'
        """
        query = {"format": "car", "dag-scope": self.scope}
        if self.byte_range is not None:
            first, last = self.byte_range
            query["entity-bytes"] = f"{first}:{'*' if last is None else last}"
        query |= {"car-version": "1", "car-order": "dfs", "car-dups": "y" if dups else "n"}
        below = "".join(f"/{quote(name, safe='')}" for name in self.names)
        return f"/ipfs/{self.root}{below}?{urlencode(query, safe=':*')}"


def car_accept(*, dups: bool) -> str:
    """The ``Accept`` header of a question for a CAR."""
    return f"{CAR_TYPE}; version=1; order=dfs; dups={'y' if dups else 'n'}"


def raw_target(cid: CID) -> str:
    """Path and query of the URL of one block."""
    return f"/ipfs/{cid}?format=raw"
