"""The blocks of an import by its profile: their bytes, their CIDs, and what others link to them with."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from carv2 import _varint, multihash
from carv2.unixfs import data as unixfs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    from carv2.unixfs.profiles import ImportProfile

    Data: TypeAlias = "bytes | memoryview"
    Put: TypeAlias = "Callable[[bytes, Data], object]"
    """Takes a binary CID and its block; a view is valid during the call only."""
    Refer: TypeAlias = "Callable[[bytes, Place, int], object]"
    """Takes the binary CID of a leaf that is nothing but payload, where it stands, and its size in bytes."""

_V1_RAW, _V1_DAG_PB = b"\x01\x55", b"\x01\x70"

varint = lru_cache(maxsize=1 << 14)(_varint.encode)
"""Protobuf's shortest varints; an import has few different ones."""


class Link(NamedTuple):
    """What is known of a block, and of all that is behind it."""

    cid: bytes
    size: int
    """Bytes of payload."""
    tsize: int
    """What its links give as Tsize."""


class Place(NamedTuple):
    """Where the payload of a leaf begins."""

    path: str
    """Of the file, as it was opened."""
    offset: int


class BlockMaker:
    """Makes blocks and hands them to ``put``; identity CIDs hold their blocks themselves.

    With ``refer``, leaves that are nothing but payload go there instead, if their place is known. ``digest`` is
    the profile's hash function; it may be called in any thread. ``block_count`` is how many were handed out.
    """

    def __init__(self, profile: ImportProfile, put: Put, refer: Refer | None = None) -> None:
        self.profile, self._put, self._refer = profile, put, refer
        self.block_count = 0
        code = profile.hash_code
        size = multihash.default_size(code)
        new = multihash.constructor(code, size)
        hasher = multihash.hasher(code, size)
        if hasher is None:
            raise ValueError(f"hash function {profile.hash} is not available here")
        self.digest: Callable[[Data], bytes] = hasher if new is None else lambda data: new(data).digest()
        multihash_head = multihash.encode(code, bytes(size))[:-size]
        self._node_head = multihash_head if profile.cid_version == 0 else _V1_DAG_PB + multihash_head
        self._raw_leaves = profile.leaves == "raw"
        self.refers = refer is not None and self._raw_leaves
        self._leaf_head = _V1_RAW + multihash_head if self._raw_leaves else self._node_head
        self._inline_limit = -1 if profile.inline_limit is None else profile.inline_limit
        self._payload_tsize = profile.tsize == "payload"
        self._link_name = b"" if profile.empty_names else None

    def leaf_frame(self, size: int) -> tuple[bytes, bytes]:
        """What stands before and behind ``size`` bytes of payload in the block of a leaf."""
        if self._raw_leaves:
            return b"", b""
        payload_head = b"\x12" + varint(size) if size else b""
        head, tail = b"\x08\x02" + payload_head, b"\x18" + varint(size)
        return b"\x0a" + varint(len(head) + size + len(tail)) + head, tail

    def leaf_block(self, payload: bytes) -> bytes:
        """The block of a leaf."""
        if self._raw_leaves:
            return payload
        head, tail = self.leaf_frame(len(payload))
        return head + payload + tail

    def put_leaf(self, block: Data, digest: bytes, size: int, place: Place | None = None) -> Link:
        """Hand out the block of a leaf of ``size`` bytes of payload; ``digest`` is that of the block.

        With ``place``, which makes sense if ``refers``, hand that out instead.
        """
        if len(block) <= self._inline_limit:
            cid = _identity(_V1_RAW if self._raw_leaves else _V1_DAG_PB, bytes(block))
        else:
            cid = self._leaf_head + digest
            self.block_count += 1
            if place is None or self._refer is None:
                self._put(cid, block)
            else:
                self._refer(cid, place, size)
        return Link(cid, size, size if self._payload_tsize else len(block))

    def put_node(self, block: bytes, size: int, behind: int) -> Link:
        """Hand out a dag-pb block; ``behind`` is the sum of the Tsizes in it."""
        if len(block) <= self._inline_limit:
            cid = _identity(_V1_DAG_PB, block)
        else:
            cid = self._node_head + self.digest(block)
            self.block_count += 1
            self._put(cid, block)
        return Link(cid, size, size if self._payload_tsize else behind + len(block))

    def put_file_node(self, children: Sequence[Link]) -> Link:
        """The node of a file, or of a part of one, over its parts."""
        name = self._link_name
        links = [encode_link(name, link) for link in children]
        sizes = tuple(link.size for link in children)
        total = sum(sizes)
        message = unixfs.encode(unixfs.UnixFSData(unixfs.FILE, filesize=total, blocksizes=sizes))
        return self.put_node(_node(links, message), total, sum(link.tsize for link in children))

    def put_symlink(self, target: bytes) -> Link:
        """The node of a symlink."""
        message = unixfs.encode(unixfs.UnixFSData(unixfs.SYMLINK, target))
        return self.put_node(_node((), message), 0, 0)

    def put_directory_node(self, links: Sequence[bytes], message: bytes, entries: Sequence[Link]) -> Link:
        """The node of a directory or a shard: encoded ``links`` to ``entries``, and its UnixFS message."""
        size = sum(link.size for link in entries)
        return self.put_node(_node(links, message), size, sum(link.tsize for link in entries))


def encode_link(name: bytes | None, link: Link) -> bytes:
    """A link as it stands in a dag-pb node, its own key and length included.

    >>> encode_link(b"f", Link(bytes.fromhex("0155000161"), 1, 5)).hex()
    '120c0a0501550001611201661805'
    """
    cid = link.cid
    if name is None:
        message = b"\x0a%b%b\x18%b" % (varint(len(cid)), cid, varint(link.tsize))
    else:
        message = b"\x0a%b%b\x12%b%b\x18%b" % (varint(len(cid)), cid, varint(len(name)), name, varint(link.tsize))
    return b"\x12" + varint(len(message)) + message


def _node(links: Sequence[bytes], message: bytes) -> bytes:
    return b"%b\x0a%b%b" % (b"".join(links), varint(len(message)), message)


def _identity(head: bytes, block: bytes) -> bytes:
    return head + b"\x00" + varint(len(block)) + block
