"""Import profiles: everything that the root CID of a folder depends on, besides the folder.

Two imports of the same files agree on the root only if every field here agrees. The presets are those of programs
that people compare with; :func:`dataclasses.replace` makes others of them.

Sources: IPIP-0499 and the UnixFS specification for the profiles with ``unixfs`` in their name; for the others what
the programs do, checked against them: Kubo's boxo, go-unixfsnode, ipfs-car, and the importer that Lotus uses.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from carv2 import multicodec, multihash

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DEFAULT_PROFILE", "PROFILES", "ImportProfile", "profile_of"]

_KIB, _MIB = 1 << 10, 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportProfile:
    """How files and folders become blocks. Sizes are in bytes.

    Raises:
        ValueError: fields that cannot be, or not together; the text says which.

    >>> import dataclasses
    >>> wide = dataclasses.replace(profile_of("unixfs-v1-2025"), name="wide", file_links=4096)
    >>> wide.chunk_size, wide.file_links
    (1048576, 4096)
    """

    name: str
    cid_version: Literal[0, 1] = 1
    """Of dag-pb blocks; raw leaves always have version 1."""
    hash: str = "sha2-256"
    """Multicodec name of the hash function, used at its full size."""
    chunk_size: int = _MIB
    """Bytes of payload in each leaf but a file's last."""
    file_links: int = 1024
    """Most links of a node within a file."""
    leaves: Literal["raw", "file"] = "raw"
    """``raw``: a leaf is the payload alone; ``file``: it is a dag-pb node of type File around it."""
    single_chunk: Literal["leaf", "node"] = "leaf"
    """Of a file of one chunk: the leaf is the file, or a node with one link is."""
    last_link: Literal["node", "collapse"] = "node"
    """Where a file's last node would have one link: make the node, or let its parent link to what it links to."""
    empty_names: bool = True
    """Links within a file carry an empty name, instead of none."""
    tsize: Literal["dag", "payload"] = "dag"
    """Tsize of links: all bytes of the blocks behind it, or those of the payload alone."""
    hamt_rule: Literal["block-bytes", "links-bytes", "entries", "never"] = "block-bytes"
    """What makes a HAMT of a folder when it is above ``hamt_threshold``: the size of its plain block, the sum of
    its names' and CIDs' sizes, or the number of its entries."""
    hamt_threshold: int = 256 * _KIB
    hamt_inclusive: bool = False
    """The threshold itself makes a HAMT already (Kubo before 0.40)."""
    hamt_fanout: int = 256
    """Most links of a shard: a power of two from 8 to 1024."""
    hidden: bool = False
    """Take in entries of folders whose names begin with a dot."""
    empty_directories: bool = True
    """Keep folders in which there is nothing to import."""
    symlinks: Literal["keep", "follow", "skip"] = "keep"
    """``keep`` them as such; ``follow`` them; ``skip`` those in folders, and follow one that is named itself."""
    inline_limit: int | None = None
    """Blocks of up to so many bytes become identity CIDs and are not stored; None for no block."""
    duplicates: Literal["once-by-cid", "once-by-multihash", "again"] = "once-by-cid"
    """A block that comes again: known by its CID, by its multihash whatever its codec, or written again."""

    def __post_init__(self) -> None:
        self._require(self.chunk_size >= 1, "chunk_size", "1 and more")
        self._require(self.file_links >= 2, "file_links", "2 and more")
        self._require(self.hamt_threshold >= 1, "hamt_threshold", "1 and more")
        inline = self.inline_limit
        self._require(inline is None or 0 <= inline <= _MAX_INLINE, "inline_limit", f"0 to {_MAX_INLINE}")
        for name, allowed in _CHOICES.items():
            self._require(getattr(self, name) in allowed, name, ", ".join(map(str, allowed)))
        if self.cid_version == 0 and self.hash_code != multihash.SHA2_256:
            raise ValueError(f"profile {self.name}: a CIDv0 is always a sha2-256")
        multihash.default_size(self.hash_code)  # raises where it cannot be computed here

    def _require(self, is_met: bool, field: str, allowed: str) -> None:
        if not is_met:
            raise ValueError(f"profile {self.name}: {field} of {getattr(self, field)}, allowed: {allowed}")

    @property
    def hash_code(self) -> int:
        """Multicodec number of the hash function."""
        return multicodec.code_of(self.hash)

    def explain(self) -> dict[str, object]:
        """Every field by its name, in the order of the definition."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


_CHOICES: dict[str, tuple[object, ...]] = {
    "cid_version": (0, 1),
    "leaves": ("raw", "file"),
    "single_chunk": ("leaf", "node"),
    "last_link": ("node", "collapse"),
    "tsize": ("dag", "payload"),
    "hamt_rule": ("block-bytes", "links-bytes", "entries", "never"),
    "hamt_fanout": (8, 16, 32, 64, 128, 256, 512, 1024),
    "symlinks": ("keep", "follow", "skip"),
    "duplicates": ("once-by-cid", "once-by-multihash", "again"),
}

_MAX_INLINE = 128  # what go's verifcid lets pass, and the UnixFS specification allows


def _presets() -> Mapping[str, ImportProfile]:
    return _by_name(
        ImportProfile(name="unixfs-v1-2025"),
        ImportProfile(
            name="unixfs-v0-2015",
            cid_version=0,
            chunk_size=256 * _KIB,
            file_links=174,
            leaves="file",
            hamt_rule="links-bytes",
        ),
        ImportProfile(name="kubo-legacy-v1", chunk_size=256 * _KIB, file_links=174, hamt_rule="links-bytes"),
        ImportProfile(
            name="go-car",
            chunk_size=256 * _KIB,
            file_links=174,
            last_link="collapse",
            hamt_rule="links-bytes",
            hidden=True,
            duplicates="once-by-multihash",
        ),
        ImportProfile(
            name="ipfs-car-2",
            chunk_size=256 * _KIB,
            file_links=174,
            hamt_rule="entries",
            hamt_threshold=1000,
            empty_directories=False,
            symlinks="skip",
            duplicates="again",
        ),
        ImportProfile(name="lotus", hash="blake2b-256", hamt_rule="links-bytes", inline_limit=126),
    )


def _by_name(*profiles: ImportProfile) -> Mapping[str, ImportProfile]:
    return MappingProxyType({profile.name: profile for profile in profiles})


PROFILES = _presets()
"""The presets by name."""

DEFAULT_PROFILE = "unixfs-v1-2025"


def profile_of(profile: str | ImportProfile) -> ImportProfile:
    """The preset of that name; a profile is returned as it is.

    Raises:
        ValueError: there is none; the text names those that there are.

    >>> profile_of("lotus").hash
    'blake2b-256'
    """
    if isinstance(profile, ImportProfile):
        return profile
    if profile not in PROFILES:
        raise ValueError(f"unknown import profile {profile}; known are: {', '.join(PROFILES)}")
    return PROFILES[profile]
