"""The Go dagstore's files: what it keeps of each shard as JSON, and its index files. Out of a store, and into one.

A folder of that layout holds ``shards.jsonl``, one record a line as the Go dagstore has them in its datastore
(below ``/dagstore``), and ``index/``, which is the Go dagstore's own index folder.

Source: the files that Lotus' DAG store (https://github.com/filecoin-project/dagstore) keeps.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from urllib.parse import parse_qs, quote_from_bytes, unquote_to_bytes, urlsplit

from carv2._atomic import make_folder, replacing, unlink
from carv2._source import FileSource
from carv2.dagstore._importing import Importer
from carv2.dagstore._opening import facts_of
from carv2.dagstore.catalogue import DurableState
from carv2.dagstore.catalogue._sql import checked
from carv2.dagstore.indices import IndexFolder
from carv2.dagstore.keys import check_key
from carv2.dagstore.states import ShardState
from carv2.errors import CarError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from carv2.dagstore._core import Core
    from carv2.dagstore.catalogue import IndexFacts, ShardRow
    from carv2.dagstore.indices import OpenIndex
    from carv2.dagstore.store import DagStore

__all__ = ["GoExport", "GoImport", "carv2_url", "go_url"]

_RECORDS, _INDEX = "shards.jsonl", "index"
_SUFFIX = ".full.idx"
_MAX_LINE = 1 << 20
_MAX_NAME = 255  # bytes of a file's name
_NO_HOST = re.compile(rb"[^A-Za-z0-9._-]|^irrecoverable$")
_MOST_NAMED = 100  # records that a report names

_STATES = {DurableState.NEW: ShardState.NEW, DurableState.ERRORED: ShardState.ERRORED}


class GoIndexFolder(IndexFolder):
    """An index folder whose files have the names that the Go dagstore gives them: keys as they are.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as path:
    ...     folder = GoIndexFolder(path)
    ...     os.path.basename(folder.path_of("Qm…")), folder.can_hold("../x")
    ('Qm….full.idx', False)
    """

    @staticmethod
    def can_hold(key: str) -> bool:
        """Whether a shard of that key can have an index file there."""
        return "/" not in key and len(os.fsencode(key + _SUFFIX)) <= _MAX_NAME

    def path_of(self, key: str) -> str:
        """The path of a shard's index file; ValueError if there cannot be one."""
        if not self.can_hold(check_key(key)):
            raise ValueError(f"{key[:40]!r} cannot be the name of an index file")
        return os.path.join(self.folder, key + _SUFFIX)


# -- out ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class GoExport:
    """What was written."""

    shard_count: int
    index_count: int


def export_go(core: Core, folder: str, *, url_of: Callable[[str], str], local_copies: bool) -> GoExport:
    """See :meth:`carv2.dagstore.DagStore.export_go`."""
    return write_export(
        folder,
        (
            (
                _record_of(row, url_of, local_copies=local_copies),
                partial(_copy_index, core, row) if row.state is DurableState.AVAILABLE else None,
            )
            for row in core.catalogue.rows()
        ),
    )


def write_export(
    folder: str, shards: Iterable[tuple[dict[str, Any], Callable[[GoIndexFolder], bool] | None]]
) -> GoExport:
    """Write records of shards that have no index, and for those that have one, what puts it there if it can.

    If it fails, nothing of it is left but the folders.
    """
    records, index_folder = os.path.join(folder, _RECORDS), os.path.join(folder, _INDEX)
    if os.path.lexists(records) or (os.path.lexists(index_folder) and any(GoIndexFolder(index_folder).names())):
        # The Go dagstore takes an index that is there for a shard's, whatever it is of.
        raise FileExistsError(f"{folder} holds shards already: export to a new folder")
    make_folder(folder)
    indices = GoIndexFolder(index_folder)
    count = copied = 0
    try:
        with replacing(records) as file:
            for record, copy in shards:
                if copy is not None and indices.can_hold(record["k"]) and copy(indices):
                    record["s"] = ShardState.AVAILABLE.value
                    copied += 1
                file.write(json.dumps(record, separators=(",", ":")).encode() + b"\n")
                count += 1
    except BaseException:
        unlink(records)  # its name may be there, and only not be durable
        for name in [*indices.names()]:
            indices.drop_stray(name)
        raise
    return GoExport(count, copied)


def _record_of(row: ShardRow, url_of: Callable[[str], str], *, local_copies: bool) -> dict[str, Any]:
    """A shard without an index, which is a new one there."""
    return {
        "k": row.key,
        "u": url_of(row.url),
        "t": row.local_copy if local_copies else "",
        "s": _STATES.get(row.state, ShardState.NEW).value,
        "l": row.lazy,
        "e": row.error,
    }


def _copy_index(core: Core, row: ShardRow, indices: GoIndexFolder) -> bool:
    """Whether it could be copied."""
    try:
        with core.indices.open(row.key, facts_of(row)) as opened:
            indices.write(row.key, opened.index.chunks())
    except (FileNotFoundError, CarError):
        return False
    return True


def records_of(store: DagStore, *, local_copies: bool) -> Iterator[tuple[dict[str, Any], bool]]:
    """The records of an export to another host, and whether the shard has an index: see :func:`open_index`."""
    for row in store._core.catalogue.rows():  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        yield _record_of(row, go_url, local_copies=local_copies), row.state is DurableState.AVAILABLE


def open_index(store: DagStore, key: str) -> tuple[OpenIndex, IndexFacts]:
    """The index file of a shard, and what is known of it.

    Raises:
        FileNotFoundError: there is none.
        CarError: there is no such shard, or the file is not the one that was written.
    """
    core = store._core  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    row = core.catalogue.find(key)
    if row.state is not DurableState.AVAILABLE:
        raise FileNotFoundError(2, os.strerror(2), key)
    facts = facts_of(row)
    return core.indices.open(key, facts), facts


def go_url(url: str) -> str:
    """What a URL of ours is in the Go dagstore: of a piece the one of Lotus' mount, of a file that of an FSMount.

    That is an FSMount of all files, ``os.DirFS("/")``, registered as ``fs``: Go cannot read back the URLs of its
    own mounts of files.

    >>> go_url("piece://baga"), go_url("file:///data/x.car")
    ('lotus://baga', 'fs://x.car?path=data%2Fx.car')
    """
    parts = urlsplit(url)
    if parts.scheme == "piece":
        return f"lotus://{parts.netloc}"
    if parts.scheme == "file":
        path = unquote_to_bytes(parts.path)
        name = _NO_HOST.sub(b"_", os.path.basename(path)).decode()  # Go reads no escapes in a host
        return f"fs://{name}?path={quote_from_bytes(path[1:], safe='')}"
    return url


# -- in -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class GoImport:
    """What was taken over."""

    shard_count: int
    """Shards that are new here."""
    index_count: int
    """Of these, those whose index was taken over."""
    known: int
    """Records of shards that were here already; they stay as they were."""
    refused: tuple[str, ...]
    """What was wrong with records that make no shard, the first hundred."""
    refused_count: int


class Record(NamedTuple):
    """A shard, as the Go dagstore has it."""

    key: str
    url: str
    local_copy: str
    state: int
    error: str

    @property
    def is_available(self) -> bool:
        """Whether it was indexed there."""
        return self.state in {ShardState.AVAILABLE, ShardState.SERVING}


def import_go(core: Core, folder: str, *, url_of: Callable[[str], str]) -> GoImport:
    """See :meth:`carv2.dagstore.DagStore.import_go`."""
    records = records_in(folder)  # nothing is made where there is nothing to be had
    return _take(core, records, GoIndexFolder(os.path.join(folder, _INDEX)), url_of=url_of)


def records_in(folder: str) -> Iterator[tuple[int, Record | str]]:
    """The lines of a folder's shards, and the shard or what is wrong with it; OSError if there are none."""
    path = os.path.join(folder, _RECORDS)
    os.stat(path)
    return _records(path)


def _records(path: str) -> Iterator[tuple[int, Record | str]]:
    for number, line in enumerate(_lines(path), 1):
        if line.strip():
            try:
                found: Record | str = parse_record(line)
            except (CarError, ValueError, RecursionError) as error:
                found = str(error)
            yield number, found


def index_of(folder: str, record: Record) -> FileSource | None:
    """The index file of a shard that was available, if there is one that can be taken over."""
    if not record.is_available or not GoIndexFolder.can_hold(record.key):
        return None
    try:
        return FileSource.open_regular(os.path.join(folder, _INDEX, record.key + _SUFFIX))
    except OSError:
        return None


def import_records(
    store: DagStore, records: Iterable[tuple[int, Record | str]], indices: GoIndexFolder | None
) -> GoImport:
    """Take over shards from another host, whose files are not here; ``indices`` has what came with them."""
    core = store._core  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    from_afar = (
        (number, found if isinstance(found, str) else found._replace(local_copy="")) for number, found in records
    )
    return _take(core, from_afar, indices, url_of=carv2_url)


def _take(
    core: Core,
    records: Iterable[tuple[int, Record | str]],
    indices: GoIndexFolder | None,
    *,
    url_of: Callable[[str], str],
) -> GoImport:
    importer, refused = Importer(core, indices), Refusals()
    for number, found in records:
        if isinstance(found, str):
            refused.add(number, found)
            continue
        try:
            url = checked("URL", core.url_of(url_of(found.url)))
        except (CarError, ValueError, RecursionError) as error:
            refused.add(number, str(error))
            continue
        importer.take(found._replace(url=url))
    importer.finish()
    return GoImport(
        shard_count=importer.shard_count,
        index_count=importer.index_count,
        known=importer.known,
        refused=refused.texts,
        refused_count=refused.count,
    )


class Refusals:
    """What was wrong with records, as far as there is room to tell."""

    def __init__(self) -> None:
        self.texts: tuple[str, ...] = ()
        self.count = 0

    def add(self, line: int, why: str) -> None:
        """A record makes no shard."""
        self.merge([f"line {line}: {why}"], 1)

    def merge(self, texts: Iterable[str], count: int) -> None:
        """Others, of which ``texts`` tells some."""
        self.texts = (*self.texts, *texts)[:_MOST_NAMED]
        self.count += count


def _lines(path: str) -> Iterator[bytes]:
    """The lines of a file; of one that is too long a piece that is too long."""
    source = FileSource.open_regular(path)
    try:
        at, rest, is_skipping = 0, b"", False
        while chunk := source.read_at(at, _MAX_LINE):
            at += len(chunk)
            *lines, rest = (rest + chunk).split(b"\n")
            if lines and is_skipping:
                del lines[0]
                is_skipping = False
            yield from lines
            if len(rest) > _MAX_LINE:
                yield rest
                is_skipping = True
            if is_skipping:
                rest = b""
        if not is_skipping:
            yield rest
    finally:
        source.close()


def parse_record(line: bytes) -> Record:
    """The shard that a line tells of.

    Raises:
        ValueError: none, or one that cannot be.

    >>> parse_record(b'{"k":"foo","u":"fs://x.car?path=x.car","t":"","s":2,"l":false,"e":""}')
    Record(key='foo', url='fs://x.car?path=x.car', local_copy='', state=2, error='')
    """
    if len(line) > _MAX_LINE:
        raise ValueError(f"a line of more than {_MAX_LINE} bytes")
    found: Any = json.loads(line)
    if not isinstance(found, dict):
        raise ValueError("no JSON object")  # noqa: TRY004  (the file's fault, not the caller's)
    fields = cast("dict[str, object]", found)
    state = fields.get("s")
    if not isinstance(state, int) or isinstance(state, bool) or not 0 <= state <= 0xFF:
        raise ValueError(f"no state: s is {str(state)[:20]}")
    texts = ["" if fields.get(name) is None else fields[name] for name in "kute"]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("one of k, u, t and e is no text")
    key, url, local_copy, error = cast("list[str]", texts)
    return Record(check_key(key), url, local_copy, state, error)


def carv2_url(url: str) -> str:
    """What a URL of the Go dagstore's, or of Lotus', is here.

    An FSMount is taken for one of all files, see :func:`go_url`.

    >>> carv2_url("lotus://baga"), carv2_url("fs://x.car?path=data%2Fx.car")
    ('piece://baga', 'file:///data/x.car')
    """
    parts = urlsplit(url)
    if parts.scheme == "lotus":
        return f"piece://{parts.netloc}"
    path = parse_qs(parts.query, errors="surrogateescape").get("path") if parts.scheme == "fs" else None
    return f"file:///{quote_from_bytes(os.fsencode(path[0].lstrip('/')))}" if path else url
