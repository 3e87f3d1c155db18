"""The Go dagstore's files: what it keeps of each shard as JSON, and its index files. Out of a store, and into one.

A folder of that layout holds ``shards.jsonl``, one record a line as the Go dagstore has them in its datastore
(below ``/dagstore``), and ``index/``, which is the Go dagstore's own index folder.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qs, quote, unquote, urlsplit

from carv2._atomic import replacing
from carv2._source import FileSource
from carv2.dagstore._opening import facts_of
from carv2.dagstore.catalogue import DurableState
from carv2.dagstore.indices import IndexFolder, multihashes_of
from carv2.dagstore.keys import check_key
from carv2.dagstore.states import ShardState
from carv2.errors import CarError, ShardExistsError
from carv2.index import CAR_MULTIHASH_INDEX_SORTED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from carv2.dagstore._core import Core
    from carv2.dagstore.catalogue import ShardRow

__all__ = ["GoExport", "GoImport", "carv2_url"]

_RECORDS, _INDEX = "shards.jsonl", "index"
_MAX_LINE = 1 << 20

_STATES = {
    DurableState.NEW: ShardState.NEW,
    DurableState.AVAILABLE: ShardState.AVAILABLE,
    DurableState.ERRORED: ShardState.ERRORED,
}


@dataclass(frozen=True, slots=True)
class GoExport:
    """What was written."""

    shard_count: int
    index_count: int


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
    """What was wrong with records that make no shard."""


# -- out ------------------------------------------------------------------------------------------------------


def export_go(core: Core, folder: str) -> GoExport:
    """See :meth:`carv2.dagstore.DagStore.export_go`."""
    os.makedirs(folder, exist_ok=True)
    indices = IndexFolder(os.path.join(folder, _INDEX))
    shards = copied = 0
    with replacing(os.path.join(folder, _RECORDS)) as file:
        for row in core.catalogue.rows():
            shards += 1
            copied += row.state is DurableState.AVAILABLE and _copy_index(core, row, indices)
            file.write(json.dumps(_record_of(row), separators=(",", ":")).encode() + b"\n")
    return GoExport(shards, copied)


def _record_of(row: ShardRow) -> dict[str, object]:
    return {
        "k": row.key,
        "u": row.url,
        "t": row.local_copy,
        "s": _STATES[row.state].value,
        "l": row.lazy,
        "e": row.error,
    }


def _copy_index(core: Core, row: ShardRow, indices: IndexFolder) -> bool:
    try:
        with core.indices.open(row.key, facts_of(row)) as opened:
            indices.write(row.key, opened.index.chunks())
    except (FileNotFoundError, CarError):
        return False
    return True


# -- in -------------------------------------------------------------------------------------------------------


def import_go(core: Core, folder: str, *, url_of: Callable[[str], str]) -> GoImport:
    """See :meth:`carv2.dagstore.DagStore.import_go`."""
    os.stat(os.path.join(folder, _RECORDS))  # nothing is made where there is nothing to be had
    indices = IndexFolder(os.path.join(folder, _INDEX))
    shards = taken = known = 0
    refused: list[str] = []
    for number, line in enumerate(_lines(os.path.join(folder, _RECORDS)), 1):
        try:
            taken += _take_record(core, indices, line, url_of)
            shards += 1
        except ShardExistsError:
            known += 1
        except (CarError, ValueError) as error:
            refused.append(f"line {number}: {error}")
    return GoImport(shard_count=shards, index_count=taken, known=known, refused=tuple(refused))


def _lines(path: str) -> Iterator[bytes]:
    """The lines of the file, of up to a megabyte each."""
    source = FileSource.open(path)
    try:
        at, rest = 0, b""
        while chunk := source.read_at(at, _MAX_LINE):
            at += len(chunk)
            *lines, rest = (rest + chunk).split(b"\n")
            yield from filter(bytes.strip, lines)
            if len(rest) > _MAX_LINE:
                raise ValueError(f"{path}: a line of more than {_MAX_LINE} bytes, before byte {at}")
        if rest.strip():
            yield rest
    finally:
        source.close()


def _take_record(core: Core, indices: IndexFolder, line: bytes, url_of: Callable[[str], str]) -> bool:
    """Register the shard of a record; whether its index was taken over."""
    record: Any = json.loads(line)
    if not isinstance(record, dict):
        raise ValueError("no JSON object")  # noqa: TRY004  (the file's fault)
    fields = cast("dict[str, object]", record)
    key, url, state = fields.get("k"), fields.get("u"), fields.get("s")
    if not isinstance(key, str) or not isinstance(url, str) or not isinstance(state, int):
        raise ValueError("a record needs the texts k and u, and the number s")  # noqa: TRY004  (the same)
    copy = fields.get("t")
    local_copy = os.path.abspath(copy) if isinstance(copy, str) and os.path.isfile(copy) else ""
    core.catalogue.add(check_key(key), core.url_of(url_of(url)), lazy=True, local_copy=local_copy)
    if state == ShardState.ERRORED:
        core.catalogue.set_error(key, "", str(fields.get("e") or "errored in the Go dagstore"))
    return state in {ShardState.AVAILABLE, ShardState.SERVING} and _take_index(core, indices, key)


def _take_index(core: Core, indices: IndexFolder, key: str) -> bool:
    """Make a Go index file the shard's; one that is not there or not iterable is made anew when it is needed."""
    try:
        with indices.open(key) as opened:
            if opened.index.codec != CAR_MULTIHASH_INDEX_SORTED:
                return False
            facts = core.indices.write(key, opened.index.chunks())
            core.catalogue.add_multihashes(key, multihashes_of(opened.index))
    except (FileNotFoundError, CarError):
        return False
    core.catalogue.set_available(key, index=facts, source_size=None, source_tag="", inverted=True)
    core.blocks_came()
    return True


def carv2_url(url: str) -> str:
    """What a URL of the Go dagstore's, or of Lotus', is here.

    Go's ``file`` mounts have the whole path for a host, which Go itself cannot read back.

    >>> carv2_url("file://%2Fdata%2Fx.car"), carv2_url("lotus://baga"), carv2_url("fs://x.car?path=data%2Fx.car")
    ('file:///data/x.car', 'piece://baga', 'file:///data/x.car')
    """
    parts = urlsplit(url)
    if parts.scheme == "lotus":
        return f"piece://{parts.netloc}"
    if parts.scheme == "file" and parts.netloc:
        return f"file:///{quote(unquote(parts.netloc + parts.path).lstrip('/'))}"
    if parts.scheme == "fs":
        path = parse_qs(parts.query).get("path", [""])[0]
        return f"file:///{quote(path.lstrip('/'))}"
    return url
