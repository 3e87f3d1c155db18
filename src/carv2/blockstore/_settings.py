"""What a read-write store is told when it is made, and nothing on disk says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from carv2._source import SliceView
from carv2.blockstore._written import Written
from carv2.errors import FormatError
from carv2.header import PRAGMA, SIZE, CarV2Header
from carv2.index import CAR_INDEX_SORTED, CAR_MULTIHASH_INDEX_SORTED, MultihashSortedIndex, read_codec
from carv2.index import parse as parse_index

if TYPE_CHECKING:
    from typing import Any, TypeAlias

    from carv2._source import Source
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
    max_memory: int | None
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
        if self.max_memory is not None and self.max_memory < 0:
            raise ValueError(f"max_memory of {self.max_memory} bytes")

    def written(self) -> Written:
        """What is to keep track of the blocks."""
        return Written(whole_cids=self.deduplicate == "cid", max_memory=self.max_memory)


def header_in(file: Source) -> CarV2Header | None:
    """The header of the CARv2 in ``file``, if it has one that was written."""
    if file.read_at(0, len(PRAGMA)) != PRAGMA:
        return None
    try:
        return CarV2Header.from_bytes(file.read_at(len(PRAGMA), SIZE))
    except FormatError:
        return None


def as_in_the_file(
    file: Source, index_padding: int | None, index_codec: int | None, store_identity: bool | None
) -> dict[str, Any]:
    """The settings that are given, and for those that are None what header and index of ``file`` say of them."""
    header = header_in(file)
    padding, codec, identity = 0, CAR_MULTIHASH_INDEX_SORTED, header is not None and header.is_fully_indexed
    if header is not None and header.data_end <= header.index_offset < file.size:
        padding = header.index_offset - header.data_end
        codec = _codec_at(file, header.index_offset)
    return {
        "index_padding": padding if index_padding is None else index_padding,
        "index_codec": codec if index_codec is None else index_codec,
        "store_identity": identity if store_identity is None else store_identity,
    }


def _codec_at(file: Source, position: int) -> int:
    """The format of an index, be it cut or damaged behind its first bytes."""
    view = SliceView(file, position, file.size)
    try:
        return parse_index(view).codec
    except FormatError:
        pass
    try:
        codec, size = read_codec(view, position=position)
    except FormatError:
        return CAR_MULTIHASH_INDEX_SORTED
    if codec != CAR_INDEX_SORTED:
        return CAR_MULTIHASH_INDEX_SORTED
    try:  # a damaged codec in front of what is whole otherwise
        return MultihashSortedIndex.parse(view, size, position=position).codec
    except FormatError:
        return codec
