"""Out of a retrieval: a file, a folder, a tar file or an archive."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal

from carv2._atomic import writing
from carv2.dag import export as export_dag
from carv2.dag.selector import EVERYTHING
from carv2.errors import UnixFSError
from carv2.unixfs import extract, read, resolve, tar_stream

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO, TypeAlias

    from carv2._folder import Existing
    from carv2.blockstore import ReadOnlyBlockstore
    from carv2.cid import CID
    from carv2.dag import Exported, Selector
    from carv2.unixfs import Entry, ExtractReport

    Form: TypeAlias = Literal["unixfs", "car", "tar"]
    Out: TypeAlias = "str | os.PathLike[str] | BinaryIO"

FORMS = ("unixfs", "car", "tar")


def export_car(
    store: ReadOnlyBlockstore,
    root: CID,
    out: Out,
    *,
    path: str,
    selector: Selector | str | None,
    version: int,
    partial: bool,
) -> Exported:
    """The DAG at ``path`` below ``root``, or what a selector takes of it, as an archive of its own."""
    first = resolve(store, root, path).cid if path.strip("/") else root
    chosen = EVERYTHING if selector is None else selector
    return export_dag(store, out, first, chosen, version=version, strict=not partial, on_unknown="leaf")


def export_unixfs(
    store: ReadOnlyBlockstore,
    root: CID,
    out: Out,
    *,
    path: str,
    partial: bool,
    existing: Existing,
    on_bytes: Callable[[int], object] | None,
    **options: Any,
) -> ExtractReport | None:
    """The file at ``path`` as the file ``out``, or what is in the directory there in the folder ``out``.

    A folder has a report of its own; of a file, which is there whole or not at all, there is nothing to report.
    """
    entry = _entry_at(store, root, path)
    if entry.kind == "directory":
        if not isinstance(out, (str, os.PathLike)):
            raise ValueError("a directory needs the path of a folder, or the form tar")
        return extract(
            store,
            out,
            roots=[entry.cid],
            existing=existing,
            on_missing="skip" if partial else "raise",
            on_bytes=on_bytes,
            **options,
        )
    if isinstance(out, (str, os.PathLike)) and os.path.lexists(out) and existing != "replace":
        if existing == "keep":
            return None
        raise FileExistsError(17, os.strerror(17), os.fspath(out))
    with writing(out) as sink:
        for piece in read(store, entry.cid):
            sink.write(piece)
            if on_bytes is not None:
                on_bytes(len(piece))
    return None


def export_tar(
    store: ReadOnlyBlockstore,
    root: CID,
    out: Out,
    *,
    path: str,
    partial: bool,
    on_bytes: Callable[[int], object] | None,
    **options: Any,
) -> None:
    """The same as a tar file; a file in it has the last name of ``path``, else its CID for a name."""
    entry = _entry_at(store, root, path)
    pieces = tar_stream(
        store,
        roots=[entry.cid],
        root_file=entry.name or str(entry.cid),
        on_missing="skip" if partial else "raise",
        **options,
    )
    with writing(out) as sink:
        for piece in pieces:
            sink.write(piece)
            if on_bytes is not None:
                on_bytes(len(piece))


def _entry_at(store: ReadOnlyBlockstore, root: CID, path: str) -> Entry:
    entry = resolve(store, root, path)
    if entry.kind not in {"file", "directory"}:
        what = "a symlink" if entry.kind == "symlink" else "a block of no UnixFS"
        why = f"{entry.cid.short()} is {what}, not a file or directory; the form car takes any block"
        raise UnixFSError(why, position=0, cid=entry.cid)
    return entry
