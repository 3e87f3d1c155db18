"""Out of a retrieval or an import: a file, a folder, a tar file or an archive."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any, Literal

from carv2._atomic import writing
from carv2.dag import export as export_dag
from carv2.dag.selector import EVERYTHING
from carv2.errors import FormatError, UnixFSError
from carv2.unixfs import extract, payload_stream, resolve, tar_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import BinaryIO, TypeAlias

    from carv2._folder import Existing
    from carv2.blockstore import ReadOnlyBlockstore
    from carv2.cid import CID
    from carv2.dag import Exported, Selector
    from carv2.unixfs import Entry, ExtractReport

    Form: TypeAlias = Literal["unixfs", "car", "tar"]
    Out: TypeAlias = "str | os.PathLike[str] | BinaryIO"

FORMS = ("unixfs", "car", "tar")


def export(
    store: ReadOnlyBlockstore,
    out: Out,
    *,
    form: Form,
    path: str,
    selector: Selector | str | None,
    version: int,
    partial: bool,
    existing: Existing,
    on_bytes: Callable[[int], object] | None,
    kept: Sequence[str | None],
    **options: Any,
) -> ExtractReport | Exported | None:
    """What a store with one root holds, as :meth:`carv2.imports.Retrievals.export` says.

    ``kept`` are files and folders in which nothing is written: what is read, and what else is kept there.
    """
    if form not in FORMS:
        raise ValueError(f"form {form!r}, known: {', '.join(map(repr, FORMS))}")
    if form != "car" and (selector is not None or version != 2):
        raise ValueError("a selector and a version are for archives: form='car'")
    check_outside(out, kept)
    if form != "unixfs":
        check_target(out, existing)
    root = only_root(store)
    if form == "car":
        how: Any = {"selector": selector, "version": version, "partial": partial}
        return export_car(store, root, out, path=path, **how, **options)
    options |= {"path": path, "partial": partial, "on_bytes": on_bytes}
    if form == "tar":
        export_tar(store, root, out, **options)
        return None
    return export_unixfs(store, root, out, existing=existing, **options)


def export_car(
    store: ReadOnlyBlockstore,
    root: CID,
    out: Out,
    *,
    path: str,
    selector: Selector | str | None,
    version: int,
    partial: bool,
    max_bytes: int | None = None,
    max_blocks: int | None = None,
) -> Exported:
    """The DAG at ``path`` below ``root``, or what a selector takes of it, as an archive of its own."""
    first = resolve(store, root, path).cid if path.strip("/") else root
    chosen = EVERYTHING if selector is None else selector
    return export_dag(
        store,
        out,
        first,
        chosen,
        version=version,
        strict=not partial,
        on_unknown="leaf",
        max_bytes=max_bytes,
        max_blocks=max_blocks,
    )


def export_unixfs(
    store: ReadOnlyBlockstore, root: CID, out: Out, *, path: str, partial: bool, **options: Any
) -> ExtractReport | None:
    """The file at ``path`` as the file ``out``, or what is in the directory there in the folder ``out``.

    A report of what came out; not for a binary file.
    """
    entry = _entry_at(store, root, path)
    options |= {"roots": [entry.cid], "on_missing": "skip" if partial else "raise"}
    if not isinstance(out, (str, os.PathLike)):
        if entry.kind == "directory":
            raise ValueError("a directory goes into a folder, or into a tar file")
        _write_content(store, out, options)
        return None
    if entry.kind == "file":
        out, options["root_file"] = os.path.split(os.path.abspath(out))
    return extract(store, out, **options)


def _write_content(store: ReadOnlyBlockstore, out: BinaryIO, options: dict[str, Any]) -> None:
    known = ("roots", "on_missing", "max_bytes", "on_skip")
    _write(payload_stream(store, **{name: options[name] for name in known if name in options}), out, options)


def _write(pieces: Iterable[bytes], out: Out, options: dict[str, Any]) -> None:
    on_bytes = options.get("on_bytes")
    with writing(out) as sink:
        for piece in pieces:
            sink.write(piece)
            if on_bytes is not None:
                on_bytes(len(piece))


def export_tar(
    store: ReadOnlyBlockstore, root: CID, out: Out, *, path: str, partial: bool, **options: Any
) -> None:
    """The same as a tar file; a file in it has the last name of ``path``, else its CID for a name."""
    entry = _entry_at(store, root, path)
    told = {"on_bytes": options.pop("on_bytes", None)}
    options |= {"roots": [entry.cid], "on_missing": "skip" if partial else "raise"}
    _write(tar_stream(store, root_file=entry.name or str(entry.cid), **options), out, told)


def _entry_at(store: ReadOnlyBlockstore, root: CID, path: str) -> Entry:
    entry = resolve(store, root, path)
    if entry.kind not in {"file", "directory"}:
        what = "a symlink" if entry.kind == "symlink" else "a block of no UnixFS"
        why = f"{what}, not a file or directory; an archive takes any block"
        raise UnixFSError(why, position=0, cid=entry.cid)
    return entry


def only_root(store: ReadOnlyBlockstore) -> CID:
    """The root; FormatError if there are others, or none."""
    roots = store.roots
    if len(roots) != 1:
        raise FormatError(f"{len(roots)} roots; an export is of one", position=0)
    return roots[0]


def check_outside(out: Out, kept: Sequence[str | None]) -> None:
    """ValueError where ``out`` is one of the ``kept`` files and folders, or in one."""
    if not isinstance(out, (str, os.PathLike)):
        return
    target = os.path.realpath(out)
    for path in filter(None, kept):
        own = os.path.realpath(path)
        if target == own or target.startswith(os.path.join(own, "")):
            raise ValueError(f"{os.fspath(out)}: nothing is exported into {path}, which it comes from")


def check_target(out: Out, existing: Existing) -> None:
    """FileExistsError where an archive or a tar file would replace a file that is to stay."""
    if existing == "keep":
        raise ValueError("existing='keep' is for files and folders: form='unixfs'")
    if existing not in {"error", "replace"}:
        raise ValueError(f"existing {existing!r}, known: 'error', 'replace' and 'keep'")
    if existing == "error" and isinstance(out, (str, os.PathLike)) and os.path.isfile(out):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fspath(out))
