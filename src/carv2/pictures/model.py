"""The one model of an archive that every picture is drawn from; it goes into JSON as it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from carv2.operations.problems import Problem

    RegionName: TypeAlias = Literal[
        "pragma",
        "CARv2 header",
        "padding",
        "CARv1 header",
        "sections",
        "null padding",
        "index",
        "trailing bytes",
        "not read",
    ]

__all__ = ["Dag", "Layout", "Region", "Share", "SizeClass", "Slice", "TreeNode", "WalkPoint"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Region:
    """A stretch of the file that is for one thing."""

    name: RegionName
    start: int
    """File position of its first byte."""
    end: int
    """File position behind its last byte."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """How many blocks, and the bytes of their data."""

    count: int
    size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class SizeClass:
    """Blocks of ``least`` bytes up to less than the next power of two; ``least`` 0 is empty blocks."""

    least: int
    count: int
    size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Slice:
    """One of the equal parts that the sections are cut into: bytes of sections by codec."""

    start: int
    end: int
    codecs: Mapping[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class WalkPoint:
    """A block that a depth-first walk comes to."""

    number: int
    """How many came before it."""
    position: int
    """File position of its section."""
    codec: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TreeNode:
    """A block as the DAG's top shows it. Names and CIDs are of whoever wrote the archive."""

    name: str | None
    """Of the link that leads to it, where links have names."""
    cid: str
    codec: str
    size: int = 0
    """Bytes of its data; 0 if it is missing."""
    link_count: int = 0
    state: Literal["block", "missing", "shown above"] = "block"
    children: tuple[TreeNode, ...] = ()
    """Those that are shown; of ``link_count`` links, the others are left out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Dag:
    """What the roots reach."""

    block_count: int
    block_bytes: int
    link_count: int
    depth: int
    missing_count: int
    unreachable_count: int
    unreachable_bytes: int
    seeks_back: int
    """Steps of the depth-first walk that go back in the file; 0 is an archive that can be streamed."""
    walk: tuple[WalkPoint, ...]
    """Of its blocks, at most 2,000 at equal distances."""
    tree: tuple[TreeNode, ...]
    """The roots, and what is below them until there is too much to show."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """An archive, as :func:`carv2.pictures.layout` found it. Positions and sizes are bytes of the file."""

    name: str
    size: int
    version: int | None
    """None where not even that could be read."""
    roots: tuple[str, ...]
    """The first 100."""
    root_count: int
    regions: tuple[Region, ...]
    """In file order, without gaps, from 0 to ``size``."""
    slices: tuple[Slice, ...]
    """At most 240."""
    block_count: int
    block_bytes: int
    codecs: Mapping[str, Share]
    """The largest first; more than 20 are ``other``."""
    hashes: Mapping[str, Share]
    sizes: tuple[SizeClass, ...]
    identity_count: int
    duplicate_count: int | None
    """Sections whose CID was there before; None where there were too many blocks to tell."""
    duplicate_bytes: int | None
    dag: Dag | None
    """None where the sections could not be read to their end, or were too many."""
    verified_count: int
    """Blocks whose hash was made and is right."""
    index_checked: bool
    problems: tuple[Problem, ...]
    """The first 1,000."""
    problem_count: int
