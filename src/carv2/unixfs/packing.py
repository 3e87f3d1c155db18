"""From files and folders straight into an archive.

Source: the UnixFS specification (https://specs.ipfs.tech/unixfs/).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2._atomic import writing
from carv2._tree import inode_of
from carv2.cid import CID
from carv2.index import CAR_MULTIHASH_INDEX_SORTED
from carv2.units import DEFAULT_LIMITS, Limits
from carv2.unixfs.importing import Importer, ImportReport
from carv2.unixfs.profiles import DEFAULT_PROFILE, ImportProfile, profile_of
from carv2.writer import CarWriter

if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from typing import BinaryIO

    from carv2._seen import Seen
    from carv2.unixfs._blocks import Data
    from carv2.unixfs.importing import Paths, Special

__all__ = ["pack"]


def pack(
    paths: Paths,
    out: str | os.PathLike[str] | BinaryIO,
    *,
    profile: str | ImportProfile = DEFAULT_PROFILE,
    wrap: bool = True,
    version: int = 2,
    hidden: bool | None = None,
    special: Special = "raise",
    index_codec: int | None = CAR_MULTIHASH_INDEX_SORTED,
    workers: int | None = None,
    on_progress: Callable[[int], object] | None = None,
    limits: Limits = DEFAULT_LIMITS,
    sync: bool = True,
) -> ImportReport:
    """Pack files and folders into an archive with one root.

    Blocks are written as they are made, children first and the root last; the index grows with them, and the root
    goes into the header at the end. The same tree gives the same archive, byte for byte. Memory: a few chunks, the
    entries of the folders that are open, and for each block its CID and its record in the index.

    Args:
        paths: a file or folder, or several.
        out: a path, which is replaced whole or not at all; or a binary file that can seek, at its beginning. In
            a folder that is packed it is left out.
        profile: the name of a preset, or a profile.
        wrap: make a folder around the paths, in which they have their own names; without, there can be only one.
        version: of the archive, 1 or 2.
        hidden: take entries of folders whose names begin with a dot; None is as the profile says.
        special: what to do about a device, a socket or a named pipe in a folder: ``raise``, or ``skip`` it and
            say so in the report.
        index_codec: format of a CARv2's index; None for none.
        workers: threads that hash; None for what suits the machine.
        on_progress: called with each number of bytes that were read.
        limits: blocks that a reader with the same limits could not read back are refused.
        sync: that of :func:`carv2.wrap`.

    Raises:
        OSError: something cannot be read or has no place in a DAG; with its path.
        ValueError: no path, several without ``wrap``, two of the same name, or ``out`` cannot seek.

    >>> import io
    >>> pack(__file__, io.BytesIO(), wrap=False).block_count
    1
    """
    chosen = profile_of(profile)
    with writing(out, sync=sync) as file:
        skip = {inode for inode in (inode_of(file), inode_of(out)) if inode is not None}
        if not file.seekable() or file.tell():
            raise ValueError("an archive whose root is known last needs a file that can seek, at its beginning")
        blank = CID.of_data(b"", codec="dag-pb", hash=chosen.hash, version=chosen.cid_version)
        with CarWriter(
            file, [blank], version=version, verify=False, index_codec=index_codec, limits=limits
        ) as car:
            put = _Deduplicating(car, chosen)
            importer = Importer(chosen, put, workers=workers, on_progress=on_progress)
            root = importer.add_paths(paths, wrap=wrap, hidden=hidden, special=special, skip=skip)
            car.set_roots([root.cid])
    return importer.report(root, block_count=put.block_count, duplicate_count=put.duplicate_count)


class _Deduplicating:
    """Writes blocks, each as often as the profile says."""

    def __init__(self, car: CarWriter, profile: ImportProfile) -> None:
        self._write = car.write
        self._once = profile.duplicates != "again"
        self._by_multihash = profile.duplicates == "once-by-multihash"
        self._seen: Seen = {}
        self.block_count = self.duplicate_count = 0

    def __call__(self, cid: bytes, data: Data) -> None:
        if self._once:
            key = cid if not self._by_multihash or cid[0] != 1 else cid[2:]  # codecs of an import take one byte
            seen = self._seen
            if key in seen:
                self.duplicate_count += 1
                return
            seen[key] = None
        self.block_count += 1
        self._write(cid, data)
