"""One block of a UnixFS DAG, decoded."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from carv2.cid import CID, DAG_PB, RAW
from carv2.codec import dag_pb
from carv2.codec._protobuf import read_varint
from carv2.errors import CodecError, UnixFSError
from carv2.unixfs import data as unixfs_data
from carv2.unixfs.data import UnixFSData

if TYPE_CHECKING:
    from carv2.codec.dag_pb import PBLink

__all__ = ["Node"]

_DATA_KEY = 0x0A  # of the field Data in a dag-pb node


class Node(NamedTuple):
    """A node of UnixFS: its own part of a file or directory, and links to the rest."""

    cid_bytes: bytes
    links: list[PBLink]
    data: UnixFSData

    @property
    def cid(self) -> CID:
        """The block's CID."""
        return CID.trusted(self.cid_bytes)

    @property
    def is_directory(self) -> bool:
        """Whether it has entries, plain or sharded."""
        return self.data.type in {unixfs_data.DIRECTORY, unixfs_data.HAMT}

    @property
    def is_file(self) -> bool:
        """Whether it has a payload."""
        return self.data.type in {unixfs_data.FILE, unixfs_data.RAW}

    def broken(self, why: str) -> UnixFSError:
        """The error that says what is wrong with this block."""
        return UnixFSError(why, position=0, cid=self.cid)


def codec_of(cid_bytes: bytes) -> int:
    """The multicodec number of a binary CID."""
    if cid_bytes[0] == 1 and cid_bytes[1] < 128:
        return cid_bytes[1]
    return CID.trusted(cid_bytes).codec


def key_of(cid_bytes: bytes) -> bytes:
    """The same for all CIDs that mean the same: a CIDv0 is a CIDv1 of dag-pb."""
    return cid_bytes if cid_bytes[0] == 1 else b"\x01\x70" + cid_bytes


def multihash_of(cid_bytes: bytes) -> bytes:
    """The multihash of a binary CID: what identifies the data."""
    if cid_bytes[0] == 1 and cid_bytes[1] < 128:
        return cid_bytes[2:]
    return CID.trusted(cid_bytes).multihash


def parse(cid_bytes: bytes, block: bytes) -> Node:
    """Decode ``block``; a raw one is a file with nothing but payload.

    Raises:
        CodecError: it is no dag-pb.
        UnixFSError: it is dag-pb without UnixFS in it, or of another codec.
    """
    codec = codec_of(cid_bytes)
    if codec == RAW:
        return Node(cid_bytes, [], UnixFSData(unixfs_data.RAW, block, len(block)))
    cid = CID.trusted(cid_bytes)
    if codec != DAG_PB:
        raise UnixFSError(f"a block of {cid.codec_name}, which UnixFS does not use", position=0, cid=cid)
    try:
        node = dag_pb.decode(block)
        if node.data is None:
            raise UnixFSError("dag-pb without UnixFS data", position=0)
        return Node(cid_bytes, node.links, _message_in(block, node.data))
    except CodecError as error:
        error.cid = error.cid or cid
        raise


def _message_in(block: bytes, data: bytes) -> UnixFSData:
    """What ``data``, the Data of a dag-pb node, say; positions of errors count from the node's first byte."""
    try:
        return unixfs_data.decode(data)
    except UnixFSError as error:
        is_first = block[0] == _DATA_KEY  # else all links stand in front of it
        error.position += read_varint(block, 1, len(block), CodecError)[1] if is_first else len(block) - len(data)
        raise
