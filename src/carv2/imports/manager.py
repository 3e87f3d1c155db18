"""The imports of a client: which files went into which archive, and under which root.

Source: Lotus' ``imports.Manager``.
"""

from __future__ import annotations

import contextlib
import errno
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, cast

from carv2._atomic import make_folder, sync_folder, unlink
from carv2._atomic import replace as replace_file
from carv2._locks import create_locked, is_locked, make_durable
from carv2.cid import CID
from carv2.errors import CarError, ImportNotFoundError, LockedError, StateError
from carv2.filestore.importing import absolute, import_by_reference
from carv2.imports import _export, _moving, sanity
from carv2.imports._archives import examine, only_root, open_archive
from carv2.imports._strays import is_stray, strays_in
from carv2.imports.catalogue import Catalogue
from carv2.imports.lotus import Loaded, read_records, write_record
from carv2.imports.record import (
    CAR_OWNER,
    CAR_PATH,
    FILENAME,
    IMPORTED,
    OURS,
    ROOT,
    SOURCE,
    THEIRS,
    UNKNOWN,
    Import,
    distrusted,
)
from carv2.units import DEFAULT_LIMITS, Limits
from carv2.unixfs.profiles import profile_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import BinaryIO, TypeAlias

    from carv2._folder import Existing
    from carv2.blockstore import ReadOnlyBlockstore
    from carv2.cid import CIDLike
    from carv2.dag import Exported, Selector
    from carv2.filestore.importing import ReferenceReport
    from carv2.filestore.keys import Variant
    from carv2.filestore.relocate import Check
    from carv2.filestore.store import FileStore
    from carv2.imports._export import Form, Out
    from carv2.imports.sanity import SanityReport
    from carv2.unixfs import ExtractReport
    from carv2.unixfs.importing import Special
    from carv2.unixfs.profiles import ImportProfile

    PathLike: TypeAlias = "str | os.PathLike[str]"

__all__ = ["ImportsManager"]

CATALOGUE = "catalogue.sqlite"


class ImportsManager:
    """The imports in a folder: a catalogue of them, and the archives that go with them, ``<number>.car``.

    Several processes may use one folder at once, and several threads one manager. Each import has a number, the
    time at which it was begun in nanoseconds, and labels, as in Lotus: see :class:`Import`. Opening checks all of
    them and tells the logger ``carv2.imports`` about it; what is broken stays as it is. See :meth:`check`.

    Args:
        root: the folder, made with its parents where there is none.
        check: what opening looks at: the ``archives``, the ``originals`` of each import as well, or nothing.
        read_only: make and change nothing. What may not be written to can be read so, and where there is no
            catalogue, there are no imports.
        limits: upper bounds for what an archive may claim.

    Attributes:
        sanity: what the check on opening found; None if there was none.

    Raises:
        OSError: the folder cannot be made or written to, or the catalogue cannot be used.
        StateError: a newer program made the catalogue.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, ImportsManager(folder) as imports:
    ...     added = imports.import_file(__file__)
    ...     found = imports.find(added.root)
    ...     with imports.open(found.id) as store:
    ...         len(list(store.references())), imports.sanity.total
    (1, 0)
    """

    def __init__(
        self,
        root: PathLike,
        *,
        check: Literal["archives", "originals"] | None = "archives",
        read_only: bool = False,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self.folder = os.path.abspath(root)
        self._limits = limits
        if not read_only:
            make_folder(self.folder)
            if not os.access(self.folder, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, "the folder of the imports cannot be written to", self.folder)
        self._catalogue = Catalogue(os.path.join(self.folder, CATALOGUE), read_only=read_only)
        self.sanity: SanityReport | None = None
        if check is not None:
            try:
                self.sanity = self.check(originals=check == "originals")
            except BaseException:
                self.close()
                raise

    # -- records ------------------------------------------------------------------------------------------

    def create(self) -> int:
        """Begin an import: a record whose source is ``unknown``; return its number."""
        return self._catalogue.add({SOURCE: UNKNOWN})

    def allocate_car(self, id_: int) -> str:
        """Make an empty archive for an import, which goes with it; return its path.

        Raises:
            StateError: the import has an archive.
            ImportNotFoundError: there is no such import.
        """
        with contextlib.ExitStack() as undo:
            file = self._allocate(id_, undo)
            undo.pop_all()
        file.close()
        return self._path_of(id_)

    def _allocate(self, id_: int, undo: contextlib.ExitStack) -> BinaryIO:
        """The archive of an import, locked before anybody can see it; ``undo`` gets what removes it again."""
        path = self._path_of(id_)
        with self._catalogue.transaction():
            labels = self._catalogue.labels_of(id_)
            if labels.get(CAR_PATH):
                raise StateError(f"import CAR already exists at {labels[CAR_PATH]}")
            file = create_locked(path)
            undo.callback(unlink, path)
            undo.callback(file.close)
            self._catalogue.set_labels(id_, {**labels, CAR_PATH: path, CAR_OWNER: OURS})
        return file

    def _path_of(self, id_: int) -> str:
        return os.path.join(self.folder, f"{id_}.car")

    def add_label(self, id_: int, key: str, value: str) -> None:
        """Give an import a label, in the place of one of that name; ImportNotFoundError if there is none."""
        self._label(id_, {key: value})

    def _label(self, id_: int, added: dict[str, str]) -> None:
        with self._catalogue.transaction():
            self._catalogue.set_labels(id_, {**self._catalogue.labels_of(id_), **added})

    def ids(self) -> Sequence[int]:
        """The numbers of all imports, oldest first."""
        return self._catalogue.ids()

    def info(self, id_: int) -> Import:
        """One import.

        Raises:
            ImportNotFoundError: there is none of that number.
            FormatError: its record is damaged.
        """
        return Import.of(id_, self._catalogue.labels_of(id_))

    def list(self) -> Sequence[Import]:
        """All imports, oldest first; of one whose record is damaged, ``error`` says so."""
        found: list[Import] = []
        for id_ in self.ids():
            try:
                found.append(self.info(id_))
            except ImportNotFoundError:  # removed meanwhile
                continue
            except CarError as error:
                found.append(Import.unreadable(id_, str(error)))
        return found

    def find(self, root: CIDLike) -> Import | None:
        """The first import with that root, looked up in an index; None if there is none."""
        id_ = self._catalogue.first_with_root(CID.of(root))
        return None if id_ is None else self.info(id_)

    # -- imports ------------------------------------------------------------------------------------------

    def import_file(
        self,
        path: PathLike,
        *,
        profile: str | ImportProfile = "lotus",
        variant: str | Variant = "D",
        wrap: bool = False,
        hidden: bool | None = None,
        special: Special = "raise",
        workers: int | None = None,
        on_progress: Callable[[int], object] | None = None,
        on_report: Callable[[ReferenceReport], object] | None = None,
    ) -> Import:
        """Import a file or folder by reference: the archive says where in it the bytes of the leaves are.

        It is there when this returns, also after a crash of the machine; of one that failed there is nothing.
        Of one whose process was killed there is a record without a root, which :meth:`remove` clears.

        Args:
            path: becomes absolute, with its symlinks. One that is a symlink itself is followed, as by Lotus; what
                becomes of those in a folder, the profile says.
            profile, variant, wrap, hidden, special, workers, on_progress: of
                :func:`carv2.filestore.import_by_reference`, which does it.
            on_report: gets what that returns.

        Raises:
            ChangedError: a file was written to while it was read.
            ValueError: the imports themselves are kept in what is to be imported.
            OSError: something cannot be read, has no place in a DAG, or the archive cannot be written.
        """
        original = absolute(os.fspath(path))
        chosen = profile_of(profile)
        self._refuse_own_folder(original, hidden=chosen.hidden if hidden is None else hidden)
        followed, chosen = _follow(original, chosen)
        with self._begun({SOURCE: IMPORTED, FILENAME: original}) as (id_, file):
            report = import_by_reference(
                followed,
                file,
                profile=chosen,
                variant=variant,
                wrap=wrap,
                hidden=hidden,
                special=special,
                workers=workers,
                on_progress=on_progress,
                limits=self._limits,
            )
            make_durable(file)
            sync_folder(self.folder)
            self._label(id_, {ROOT: str(report.root)})
        if on_report is not None:
            on_report(report)
        return self.info(id_)

    def _refuse_own_folder(self, original: str, *, hidden: bool) -> None:
        """Raise ValueError if ``original`` is a folder that has ours in it: that changes with each import."""
        inside = os.path.relpath(os.path.realpath(self.folder), os.path.realpath(original)).split(os.sep)
        if inside[0] != os.pardir and (hidden or not any(name.startswith(".") for name in inside if name != ".")):
            raise ValueError(f"{original} cannot be imported: the imports are kept in it, in {self.folder}")

    @contextlib.contextmanager
    def _begun(self, labels: Mapping[str, str]) -> Generator[tuple[int, BinaryIO]]:
        """A new import with an empty archive, locked meanwhile; both go again if an exception comes out."""
        with contextlib.ExitStack() as undo:
            with self._catalogue.transaction():
                id_ = self._catalogue.add(labels)
                undo.callback(self._forget, id_)
                file = self._allocate(id_, undo)
            yield id_, file
            undo.pop_all()
        file.close()

    def _forget(self, id_: int) -> None:
        with contextlib.suppress(OSError, CarError):  # what stays is found by the next check
            self._catalogue.remove(id_)

    def add_car(self, path: PathLike) -> Import:
        """Take in an archive of the user's, where it is: CARv1 or CARv2, with exactly one root, which it holds.

        Removing the import leaves the file alone.

        Raises:
            StateError: it is a ref-CAR: the references of others are not followed.
            FormatError: it is no archive, or has another number of roots.
            BlockNotFoundError: it does not have its root.
            OSError: it cannot be read, or is no file.
        """
        where = absolute(os.fspath(path))
        labels = {SOURCE: IMPORTED, FILENAME: where, CAR_PATH: where, CAR_OWNER: THEIRS}
        if os.path.isfile(where):  # what is none is named below
            labels[ROOT] = str(only_root(where, limits=self._limits))
        store = examine(Import.of(0, labels), thorough=True, limits=self._limits)
        if store is not None:
            store.close()
        return self.info(self._catalogue.add(labels))

    def remove(self, id_: int, *more: int) -> None:
        """Forget imports, and delete their archives if those go with them.

        Those are ``<number>.car`` in this folder: whatever a label says, no other file is ever deleted. One of
        that name without a record, as :meth:`strays` lists them, is removed by its number too.

        Raises:
            ImportNotFoundError: there is none of such a number; then all are left.
            LockedError: one is being made; then too.
        """
        with self._catalogue.transaction():
            found = {number: self._removable(number) for number in (id_, *more)}
            for number, (own, is_recorded) in found.items():
                if own is not None:
                    unlink(own)
                if is_recorded:
                    self._catalogue.remove(number)

    def _removable(self, id_: int) -> tuple[str | None, bool]:
        """The archive that goes with an import, and whether there is a record."""
        path = self._path_of(id_)
        try:
            own = self._own_archive(self._seen(id_))
        except ImportNotFoundError:
            if not is_stray(path, self):
                raise
            return path, False
        if own is not None and is_locked(own):
            raise LockedError(own)
        return own, True

    def strays(self) -> Sequence[str]:
        """Names of the archives in the folder that no import has, though nobody is writing them.

        They are left where the catalogue was lost or a process was killed; :meth:`remove` deletes them by number.
        """
        return strays_in(self.folder, self)

    def relocate(self, id_: int, moves: Mapping[str, str], *, check: Check = "hash") -> Import:
        """Tell an import whose original was moved or renamed where that is now; return what is recorded then.

        The references in its archive and its ``filename`` change together. What only the one or the other knows
        of, after a crash or because the archive was rewritten by :func:`carv2.filestore.relocate`, is put right by
        the same call. For an archive that was taken in where it is, its new path is recorded.

        Args:
            id_: of the import.
            moves: new paths of files and folders by their old ones, all made absolute; the longest counts.
            check: as of :func:`carv2.filestore.relocate`; by ``hash``, the import is tried out as well.

        Raises:
            ImportNotFoundError: there is no such import.
            CorruptReferenceError: at a new place is not what should be there. Nothing changed, here and below.
            StateError: the import would not work so, has no archive, or changed meanwhile.
            ValueError: ``moves`` does not concern it, or takes a part of the original away from the rest.
            LockedError: it is being made.
        """
        before = self.info(id_)
        if self.is_under_way(before):
            raise LockedError(self._path_of(id_))
        with (
            _moving.relocated(before, moves, check=check, limits=self._limits) as (labels, draft),
            self._catalogue.transaction(),
        ):
            if self._catalogue.labels_of(id_) != before.labels:
                raise StateError(f"import {id_} was changed meanwhile")
            self._catalogue.set_labels(id_, labels)
            if draft is not None:
                replace_file(draft, os.path.abspath(str(before.car_path)))
        return self.info(id_)

    def _seen(self, id_: int) -> Import:
        try:
            return self.info(id_)
        except ImportNotFoundError:
            raise
        except CarError as error:
            return Import.unreadable(id_, str(error))

    def _own_archive(self, entry: Import) -> str | None:
        """The archive that was allocated for an import, if its labels name it; it may be gone."""
        folder, name = os.path.split(entry.car_path or "")
        if entry.car_owner != OURS or name != f"{entry.id}.car":
            return None
        try:
            is_here = os.path.realpath(folder) == os.path.realpath(self.folder)
        except ValueError:  # a zero byte, or what no path can be
            return None
        return self._path_of(entry.id) if is_here else None

    def is_under_way(self, entry: Import) -> bool:
        """Whether somebody is at work on that import now, here or in another process."""
        own = self._own_archive(entry)
        return own is not None and is_locked(own)

    def open(self, id_: int) -> FileStore | ReadOnlyBlockstore:
        """The blocks of an import; references lead to the original that is recorded, and only there.

        Raises:
            ImportNotFoundError: there is no such import.
            StateError: it has no archive.
            OSError, FormatError: the archive cannot be opened.
        """
        return open_archive(self.info(id_), limits=self._limits)

    def export(
        self,
        id_: int,
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
        """Write what was imported as a file or folder, a tar file or an archive that holds everything itself.

        Arguments, results and errors are those of :meth:`carv2.imports.Retrievals.export`. Nothing is written over
        the original, nor into it.

        Raises:
            ImportNotFoundError: there is no such import.
            CorruptReferenceError: the original is not what it was.
        """
        with self.open(id_) as store:
            return _export.export(
                cast("ReadOnlyBlockstore", store),
                out,
                form=form,
                path=path,
                selector=selector,
                version=version,
                partial=partial,
                existing=existing,
                on_bytes=on_bytes,
                kept=[self.folder, self.info(id_).filename],
                **options,
            )

    # -- all of them --------------------------------------------------------------------------------------

    def check(
        self,
        *,
        originals: bool = False,
        samples: int = sanity.SAMPLES,
        on_progress: Callable[[int], object] | None = None,
    ) -> SanityReport:
        """Look at the archive of each import, and tell the log ``carv2.imports`` about each, in Lotus' words.

        An import that is being made meanwhile is passed over. What is looked at is told by
        :func:`carv2.imports.sanity.check_imports`.

        Args:
            originals: read ``samples`` leaves of each import in their originals too.
            samples: at most so many of each.
            on_progress: called with 1 after each import.
        """
        return sanity.check_imports(
            self, samples=samples if originals else 0, limits=self._limits, on_progress=on_progress
        )

    def export_records(self) -> Iterator[str]:
        """The records as Lotus has them, one line each; :mod:`carv2.imports.lotus` tells how.

        Raises:
            FormatError: a record is damaged.
        """
        for id_ in self.ids():
            with contextlib.suppress(ImportNotFoundError):
                yield write_record(id_, self._catalogue.labels_of(id_))

    def load_records(self, records: BinaryIO | Iterable[str | bytes], *, trust: bool = False) -> Loaded:
        """Take in records of Lotus', all of them or none; return how many were new, and how many were there.

        Args:
            records: a binary file, or lines, such as :meth:`export_records` gives them. Archives stay where they
                are.
            trust: believe records that say an archive was made by the importer: its references are followed into
                the original that the record names, and an archive in this folder goes with its import. Only for
                records of your own; without it such archives are the user's own, which lead nowhere and stay.

        Raises:
            FormatError: there is something else in ``records``.
            StateError: there is an import of the same number with other labels.
            ValueError: a number is too large.
        """
        added = present = 0
        with self._catalogue.transaction():
            for record in read_records(records):
                labels = record.labels if trust else distrusted(record.labels)
                try:
                    if self._catalogue.labels_of(record.id) not in (record.labels, labels):
                        raise StateError(f"import {record.id} is there already, with other labels")
                    present += 1
                except ImportNotFoundError:
                    self._catalogue.insert(record.id, labels)
                    added += 1
        return Loaded(added, present)

    # -- life cycle ---------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the catalogue; may be called twice. Archives that were opened stay open."""
        self._catalogue.close()

    def __enter__(self) -> ImportsManager:  # noqa: PYI034  (typing.Self needs Python 3.11)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _follow(path: str, profile: ImportProfile) -> tuple[str, ImportProfile]:
    """The same path and profile, so that the path is followed if it is a symlink itself."""
    if not os.path.islink(path):
        return path, profile
    if os.path.isdir(path):
        return path + os.sep, profile
    return path, replace(profile, symlinks="follow")
