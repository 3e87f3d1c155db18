"""Retrievals: DAGs that come in as blocks, each in an archive of its own in one folder."""

from __future__ import annotations

import os
from time import time_ns
from typing import TYPE_CHECKING, Any

from carv2._atomic import make_folder
from carv2.blockstore import ReadOnlyBlockstore
from carv2.cid import CID
from carv2.errors import FormatError, ResumeError
from carv2.imports import _export, _retrieval_files
from carv2.imports._damage import check_file
from carv2.imports._retrieval_store import open_store, rebuild
from carv2.imports.retrieval import MAX_BLOCKS, MAX_BYTES, MAX_LINKS, Retrieval
from carv2.units import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from collections.abc import Callable

    from carv2._folder import Existing
    from carv2.blockstore import ReadWriteBlockstore
    from carv2.cid import CIDLike
    from carv2.dag import Exported, Selector
    from carv2.imports._damage import RetrievalCheck
    from carv2.imports._export import Form, Out
    from carv2.imports._retrieval_files import RetrievalRecord
    from carv2.unixfs import ExtractReport

__all__ = ["Retrievals"]


class Retrievals:
    """The retrievals in a folder, one archive ``<id>.car`` each, as Lotus keeps them in ``retrievals``.

    There is no catalogue: an archive says itself what it is of and whether it is finished. Files of other names
    are left alone. Several processes may share the folder; each retrieval has one writer at a time.

    Args:
        root: the folder; made when the first retrieval starts.
        limits: upper bounds for what streams and files may claim.

    >>> import carv2, tempfile
    >>> fish = CID.of_data(b"fish")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     retrievals = Retrievals(folder)
    ...     with retrievals.start(fish) as retrieval:
    ...         stored = retrieval.put(fish, b"fish")
    ...         found = retrieval.finish()
    ...     [(record.root == fish, record.state) for record in retrievals.list()]
    [(True, 'finished')]
    """

    def __init__(self, root: str | os.PathLike[str], *, limits: Limits = DEFAULT_LIMITS) -> None:
        self.folder: str = os.path.abspath(os.fspath(root))
        self._limits = limits

    def start(
        self,
        root: CIDLike | None,
        *,
        id: str | int | None = None,
        only_linked: bool = False,
        max_bytes: int = MAX_BYTES,
        max_blocks: int = MAX_BLOCKS,
        max_links: int = MAX_LINKS,
    ) -> Retrieval:
        """Begin a retrieval, or go on with the one of that id.

        Args:
            root: of the DAG. None for a retrieval that is there, whatever its root.
            id: letters of ASCII, digits and ``-_.``; None for a new one, by the clock in nanoseconds as in Lotus.
            only_linked: take a block only if the root, or a block that is there, links to it: for streams that
                send parents before their children. Others are left out, and counted.
            max_bytes: of blocks, CIDs included, that the retrieval may hold.
            max_blocks: that it may hold.
            max_links: different CIDs that are linked to that ``only_linked`` may remember, the root among them:
                some 110 bytes of memory for each. Whoever sends a block names them for 40 bytes each.

        Raises:
            LockedError: somebody is writing it.
            ResumeError: it is of another root.
            BudgetError: with ``only_linked``, the blocks that are there have more links than ``max_links``.
            FormatError: the file is damaged, and does not even say any more what it is of; else a damaged one is
                made anew of what is whole in it, see :attr:`Retrieval.repaired`.
            RetrievalNotFoundError: ``root`` is None, and there is no such retrieval.
            ValueError: ``root`` is no CID, or ``id`` cannot be one.
        """
        wanted = None if root is None else CID.of(root)
        name, path, store, repaired = self._open_store(wanted, None if id is None else str(id))
        try:
            retrieval = Retrieval(
                store,
                id=name,
                path=path,
                only_linked=only_linked,
                max_bytes=max_bytes,
                max_blocks=max_blocks,
                max_links=max_links,
                limits=self._limits,
            )
        except BaseException:
            store.discard()
            raise
        retrieval.repaired = repaired
        return retrieval

    def _open_store(self, root: CID | None, id_: str | None) -> tuple[str, str, ReadWriteBlockstore, bool]:
        if root is None and id_ is None:
            raise ValueError("a retrieval needs a root or an id")
        if root is not None:
            make_folder(self.folder)
        number = time_ns()
        while True:
            name = str(number) if id_ is None else id_
            path = _retrieval_files.path_in(self.folder, name)
            exists = id_ is not None and (root is None or os.path.lexists(path))
            if exists:
                path = _retrieval_files.existing_in(self.folder, name)
                return name, path, *self._resume(name, path, root)
            try:
                return name, path, open_store(path, root, create=True, limits=self._limits), False
            except FileExistsError:  # somebody was as fast as we are
                number += 1

    def _resume(self, name: str, path: str, root: CID | None) -> tuple[ReadWriteBlockstore, bool]:
        """The store that is there, and whether it had to be made anew."""
        try:
            return open_store(path, root, create=False, limits=self._limits), False
        except FormatError:
            if not rebuild(path, root, self._limits):
                raise
        except ResumeError as error:
            other = _retrieval_files.record_of(path, name).root
            if root is None or other is None or other == root:
                raise
            why = (
                f"retrieval {name} in {path} is of {other.short()}, not of {root.short()}: "
                f"give this one another id, or remove {name}"
            )
            raise ResumeError(why, expected=(root,), found=(other,)) from error
        return open_store(path, root, create=False, limits=self._limits), True

    def list(self) -> list[RetrievalRecord]:
        """All retrievals, in the order of their ids, by the headers of their files; damaged ones say why."""
        found: list[RetrievalRecord] = []
        for id_ in _retrieval_files.ids_in(self.folder):
            try:
                found.append(_retrieval_files.record_of(_retrieval_files.path_in(self.folder, id_), id_))
            except FileNotFoundError:  # removed meanwhile
                continue
        return found

    def info(self, id: str | int) -> RetrievalRecord:
        """The same for one.

        Raises:
            RetrievalNotFoundError: there is none of that id.
            ValueError: it cannot be an id, here and below.
        """
        return _retrieval_files.record_of(_retrieval_files.existing_in(self.folder, str(id)), str(id))

    def check(self, id: str | int) -> RetrievalCheck:
        """Walk from the root over what is there: what is missing, and what does not belong.

        Of one that is under way, what its last flush promised counts. Blocks that were damaged since they came are
        named, and count as missing; going on with the retrieval repairs it.

        Raises:
            RetrievalNotFoundError: there is none of that id.
            FormatError: the file is so damaged that it cannot be gone through.
            UnknownHashError: a block of the DAG cannot be checked here.
        """
        path = _retrieval_files.existing_in(self.folder, str(id))
        return check_file(path, None, self._limits)

    def open(self, id: str | int) -> ReadOnlyBlockstore:
        """The blocks that are there, finished or not, for reading.

        Raises:
            RetrievalNotFoundError: there is none of that id.
            FormatError: the file is damaged.
        """
        return ReadOnlyBlockstore(_retrieval_files.existing_in(self.folder, str(id)), limits=self._limits)

    def export(
        self,
        id: str | int,
        out: Out,
        *,
        form: Form = "unixfs",
        path: str = "",
        selector: Selector | str | None = None,
        version: int = 2,
        partial: bool = False,
        existing: Existing = "error",
        on_bytes: Callable[[int], object] | None = None,
        **options: Any,
    ) -> ExtractReport | Exported | None:
        """Write what was retrieved, each block checked again; nothing that is not of the DAG comes out.

        Args:
            id: of the retrieval.
            out: for ``unixfs`` the path of a file, which is there whole or not at all, or of a folder; for the
                others the path of a file, or a binary file.
            form: ``unixfs`` for the file or the content of the directory, ``tar``, or ``car`` for an archive.
            path: of a file or directory below the root; ``""`` for the root itself.
            selector: with ``car``, which blocks of the DAG; see :mod:`carv2.dag.selector`.
            version: with ``car``, of the archive.
            partial: pass over what is missing, where that can be done; else it is an error.
            existing: what becomes of files that are there: as in :func:`carv2.unixfs.extract`; ``"keep"`` is not
                for archives and tar files.
            on_bytes: called with numbers of bytes that were written; not with ``car``.
            options: others of :func:`carv2.unixfs.extract`, :func:`carv2.unixfs.tar_stream` or
                :func:`carv2.dag.export`: ``max_bytes``, ``symlinks``, ``on_skip`` and so on.

        Returns:
            What :func:`carv2.unixfs.extract` or :func:`carv2.dag.export` reports; None for a tar or binary file.

        Raises:
            RetrievalNotFoundError: there is no retrieval of that id.
            BlockNotFoundError: a block is missing.
            PathNotFoundError: there is nothing at ``path``.
            UnixFSError: what is there is no file or directory.
            BudgetError, UnsafePathError: as :func:`carv2.unixfs.extract`.
            FileExistsError: see ``existing``.
            FormatError: it has another number of roots than one.
            ValueError: the arguments do not fit each other, or ``out`` is in the folder of the retrievals.
        """
        with self.open(id) as store:
            return _export.export(
                store,
                out,
                form=form,
                path=path,
                selector=selector,
                version=version,
                partial=partial,
                existing=existing,
                on_bytes=on_bytes,
                kept=[self.folder],
                **options,
            )

    def remove(self, id: str | int) -> None:
        """Delete a retrieval.

        Raises:
            RetrievalNotFoundError: there is none of that id.
            LockedError: somebody is writing it.
        """
        _retrieval_files.remove(_retrieval_files.existing_in(self.folder, str(id)))
