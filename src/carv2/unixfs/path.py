"""Paths: from text to names, and from a root along the names to what stands there.

Source: the Path Gateway specification (https://specs.ipfs.tech/http-gateways/path-gateway/).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

from carv2 import codec
from carv2.cid import CID, DAG_PB, RAW
from carv2.errors import PathNotFoundError
from carv2.unixfs._node import codec_of, parse
from carv2.unixfs._walk import Want
from carv2.unixfs.directory import look_up

if TYPE_CHECKING:
    from typing import Any, NoReturn

    from carv2.unixfs._walk import Walk

__all__ = ["names_of", "split_path"]


def names_of(path: str) -> tuple[str, ...]:
    """The names that ``path`` leads along. Slashes at its ends and doubled ones do not matter; ``.`` is nothing,
    ``..`` takes back the name before it.

    Raises:
        ValueError: it leads out of the root.

    >>> names_of("/a//b/../c/")
    ('a', 'c')
    """
    names: list[str] = []
    for name in path.split("/"):
        if name == "..":
            if not names:
                raise ValueError(f"the path {path!r} leads out of its root")
            names.pop()
        elif name not in {"", "."}:
            names.append(name)
    return tuple(names)


def split_path(text: str) -> tuple[CID | None, str]:
    """Take apart ``/ipfs/CID/path``, ``ipfs://CID/path`` or a path without a root, which gives None.

    >>> split_path("/ipfs/bafkqaatjmq/a/b")
    (CID('bafkqaatjmq'), 'a/b')
    >>> split_path("a/b")
    (None, 'a/b')
    """
    for scheme in ("/ipfs/", "ipfs://"):
        if text.startswith(scheme):
            root, _, path = text[len(scheme) :].partition("/")
            try:
                return CID.of(root), path
            except ValueError:  # a directory may be called ipfs
                break
    return None, text


class Target(NamedTuple):
    """What stands at the end of a path."""

    cid_bytes: bytes
    """Of the block."""
    depth: int
    """Links from the root."""
    size: int | None = None
    """Tsize of the link that led there."""
    block: bytes | None = None
    """The block itself, where the path ends inside it; otherwise it was not wanted."""


def walk_path(root: bytes, names: tuple[str, ...]) -> Walk[NoReturn, Target]:
    """Go from ``root`` along ``names``: through directories, and through the maps and lists of other codecs.

    Symlinks are not followed. Only blocks on the way are wanted, not the one at the end.

    Raises:
        PathNotFoundError: a name that is not where it should be.
        CodecError: a block on the way is not what it should be.
    """
    target, left = Target(root, 0), list(reversed(names))
    path = "/".join(names)
    while left:
        here = "/".join(names[: len(names) - len(left)])
        block = yield Want(target.cid_bytes, here, target.depth)
        if codec_of(target.cid_bytes) in {DAG_PB, RAW}:
            found = yield from _in_directory(target, block, left.pop(), here=here, path=path)
        else:
            found = _in_values(target, block, left, path=path)
        target = found
    return target


def _in_directory(target: Target, block: bytes, name: str, *, here: str, path: str) -> Walk[NoReturn, Target]:
    node = parse(target.cid_bytes, block)
    link, depth = None, target.depth
    if node.is_directory:
        link, depth = yield from look_up(node, name, path=here, depth=depth)
    if link is None:
        raise PathNotFoundError(path, segment=name, cid=node.cid)
    return Target(link.cid, depth + 1, link.size)


def _in_values(target: Target, block: bytes, left: list[str], *, path: str) -> Target:
    """Go on inside the value of a block, up to the next link or the end of the path; takes names off ``left``."""
    cid = CID.trusted(target.cid_bytes)
    value = codec.decode(cid, block)
    while left:
        name = left.pop()
        found = _part_of(value, name)
        if found is None:
            raise PathNotFoundError(path, segment=name, cid=cid)
        (value,) = found
        if isinstance(value, CID):
            return Target(bytes(value), target.depth + 1)
    return target._replace(block=block)


def _part_of(value: object, name: str) -> tuple[object] | None:
    if isinstance(value, dict):
        fields = cast("dict[Any, object]", value)
        return (fields[name],) if name in fields else None
    if isinstance(value, list) and name.isascii() and name.isdecimal() and len(name) < 10:
        items = cast("list[object]", value)
        return (items[int(name)],) if int(name) < len(items) else None
    return None
