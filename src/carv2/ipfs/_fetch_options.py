"""What a fetch may take, and what came of one.

Source: the Trustless Gateway specification (https://specs.ipfs.tech/http-gateways/trustless-gateway/).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from carv2.imports.retrieval import MAX_BLOCKS, MAX_BYTES
from carv2.units import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from carv2.cid import CID
    from carv2.errors import GatewayError
    from carv2.ipfs._ask import Scope

__all__ = ["FetchOptions", "Fetched"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchOptions:
    """How patient a fetch is, and how much it takes.

    Raises:
        ValueError: a number is negative, or zero where that means nothing.

    >>> FetchOptions(retries=0, timeout=5).timeout
    5
    """

    timeout: float = 30.0
    """Seconds without a byte after which a gateway is given up for now. 30 is the specification's."""
    patience: float = 120.0
    """Seconds that a block may take, so that a gateway that sends a byte now and then is no trap."""
    retries: int = 4
    """How often a gateway is asked again after failures in a row between which no new block came."""
    max_wait: float = 60.0
    """Seconds between two tries, at most: a gateway that wants to be left alone for longer is not asked again."""
    max_bytes: int = MAX_BYTES
    """CIDs and data of blocks; no more than twice that is let in, with what comes again."""
    max_blocks: int = MAX_BLOCKS
    """Their number."""
    max_held: int = 256 << 20
    """Bytes of memory for answers in another order than depth-first, or without repeated blocks."""
    dups: bool = False
    """Ask for blocks as often as links lead to them: no memory is needed then to check the order, and a DAG whose
    blocks are shared a lot takes much longer."""
    limits: Limits = DEFAULT_LIMITS
    """What a CAR may claim."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            lowest = 0 if field.name in {"retries", "max_wait", "dups"} else 1e-3
            if isinstance(value, (int, float)) and not value >= lowest:
                raise ValueError(f"{field.name}={value}, which is too small")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What came of a fetch that has all it was to get."""

    root: CID
    path: str
    """Below the root; the blocks on the way are among those fetched."""
    scope: Scope
    block_count: int
    """Blocks that are new."""
    block_bytes: int
    """Their CIDs and data."""
    resumed_count: int
    """Blocks that were there from an earlier try, in the partial file."""
    received_bytes: int
    """Of the bodies of all answers."""
    question_count: int
    """Requests that were made."""
    failures: tuple[GatewayError, ...]
    """What went wrong on the way, in order."""
