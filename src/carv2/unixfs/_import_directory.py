"""Directories: one block of links in the order of their names, or a HAMT where the profile wants one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2.unixfs import data as unixfs
from carv2.unixfs._blocks import encode_link
from carv2.unixfs._import_hamt import put_hamt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carv2.unixfs._blocks import BlockMaker, Link
    from carv2.unixfs.profiles import ImportProfile

_MESSAGE = unixfs.encode(unixfs.UnixFSData(unixfs.DIRECTORY))
_MESSAGE_SIZE = 2 + len(_MESSAGE)  # in its block
_LARGEST_ENTRY = 2048  # bytes, more than a link takes, whatever the file system's longest name


def put_directory(maker: BlockMaker, entries: Sequence[tuple[bytes, Link]]) -> Link:
    """Hand out the blocks of a directory; return its link.

    ``entries`` are (name, link) pairs in the order of the names' bytes, each name once.
    """
    if _wants_hamt(maker.profile, entries):
        return put_hamt(maker, entries)
    links = [encode_link(name, link) for name, link in entries]
    return maker.put_directory_node(links, _MESSAGE, [link for _, link in entries])


def _wants_hamt(profile: ImportProfile, entries: Sequence[tuple[bytes, Link]]) -> bool:
    rule = profile.hamt_rule
    if rule == "never":
        return False
    size = len(entries)
    if rule != "entries":
        if size * _LARGEST_ENTRY < profile.hamt_threshold:  # nearly all folders
            return False
        size = sum(len(name) + len(link.cid) for name, link in entries)
    if rule == "block-bytes" and size <= profile.hamt_threshold:
        size = sum(len(encode_link(name, link)) for name, link in entries) + _MESSAGE_SIZE
    return size > profile.hamt_threshold or (profile.hamt_inclusive and size == profile.hamt_threshold)
