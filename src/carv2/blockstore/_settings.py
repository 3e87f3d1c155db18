"""What a read-write store is told when it is made, and nothing on disk says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from carv2.blockstore._written import Written
from carv2.index import CAR_INDEX_SORTED, CAR_MULTIHASH_INDEX_SORTED

if TYPE_CHECKING:
    from typing import TypeAlias

    from carv2.units import Limits

    Durability: TypeAlias = Literal["none", "flush", "each-put"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The arguments of :meth:`ReadWriteBlockstore.create` that outlive the call, checked."""

    index_padding: int
    index_codec: int
    deduplicate: Literal["multihash", "cid"] | None
    store_identity: bool
    verify: bool
    durability: Durability
    limits: Limits

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("index codec", self.index_codec, (CAR_MULTIHASH_INDEX_SORTED, CAR_INDEX_SORTED)),
            ("durability", self.durability, ("none", "flush", "each-put")),
            ("deduplicate", self.deduplicate, ("multihash", "cid", None)),
        ):
            if value not in allowed:
                raise ValueError(f"{name} {value!r}, supported: {', '.join(map(repr, allowed))}")
        if self.index_padding < 0:
            raise ValueError(f"index padding of {self.index_padding} bytes")

    def written(self, max_memory: int | None) -> Written:
        return Written(whole_cids=self.deduplicate == "cid", max_memory=max_memory)
