"""What the methods beyond Lotus' take and give, in JSON: there and back.

What comes is somebody else's: it is checked before it is used, and ValueError says what it is not.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carv2.dagstore import Deal, Finding, GoImport, MigrationReport, Problem, ShardState, StoreStat
from carv2.dagstore.config import config_of, table_of
from carv2.dagstore.golayout import Record
from carv2.dagstore.keys import check_key
from carv2.dagstore.mounts._urls import shown
from carv2.rpc._fields import checked, field

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from carv2.dagstore import DagStoreConfig

_SECTION = "DAGStore"


# -- findings -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DoctorEnd:
    """The last value of a stream of findings: without it the stream broke off."""

    error: str = ""
    """Why no more was looked at; ``""`` where all was."""


_FINDING = {"Key": str, "Problem": str, "Detail": str, "Remedy": str, "Mended": bool, "Error": str, "Done": bool}


def finding_out(found: Finding | DoctorEnd) -> dict[str, object]:
    """A value of the stream."""
    if isinstance(found, DoctorEnd):
        return {**{name: kind() for name, kind in _FINDING.items()}, "Error": found.error, "Done": True}
    return {
        "Key": found.key,
        "Problem": found.problem.value,
        "Detail": found.detail,
        "Remedy": found.remedy,
        "Mended": found.is_mended,
        "Error": found.error,
        "Done": False,
    }


def finding_in(value: Any) -> Finding | DoctorEnd:
    """The same back.

    >>> finding_in(finding_out(Finding("a", Problem.INDEX_MISSING))).problem.value
    'index missing'
    """
    key, problem, detail, remedy, is_mended, error, is_done = (
        field(value, name, kind) for name, kind in _FINDING.items()
    )
    if is_done:
        return DoctorEnd(error)
    return Finding(key, Problem(problem), detail, remedy, is_mended, error)


# -- counts ---------------------------------------------------------------------------------------------------

_COUNTS = {
    "Shards": "shard_count",
    "Multihashes": "multihash_count",
    "Blocks": "block_count",
    "IndexBytes": "index_bytes",
    "LocalCopies": "transient_count",
    "LocalCopyBytes": "transient_bytes",
}


def stat_out(stat: StoreStat) -> dict[str, object]:
    """What is in a store; states have their full names."""
    by_state = {state.go_name: stat.by_state[state.name.lower()] for state in ShardState}
    return {**{name: getattr(stat, own) for name, own in _COUNTS.items()}, "ByState": by_state}


def stat_in(value: Any) -> StoreStat:
    """The same back."""
    counts = {own: field(value, name, int) for name, own in _COUNTS.items()}
    told = field(value, "ByState", dict)
    by_state = {state.name.lower(): field(told, state.go_name, int) for state in ShardState}
    return StoreStat(by_state=by_state, **counts)


# -- options --------------------------------------------------------------------------------------------------


def config_out(config: DagStoreConfig) -> dict[str, object]:
    """The options by their names in a file; without a password of the catalogue's."""
    options = table_of(config)[_SECTION]
    return {name: _without_secrets(value) for name, value in options.items()}


def _without_secrets(value: object) -> object:
    return shown(value) if isinstance(value, str) and "://" in value else value


def config_in(value: Any) -> DagStoreConfig:
    """The same back."""
    return config_of({_SECTION: checked(value, dict)})


# -- records of an export ---------------------------------------------------------------------------------------

_AT_ONCE = 64 << 10
"""Bytes of records in a value, or one more record."""
_RECORD: dict[str, type[Any]] = {"k": str, "u": str, "t": str, "s": int, "l": bool, "e": str, "HasIndex": bool}


@dataclass(frozen=True, slots=True)
class Records:
    """A value of the stream: shards as the Go dagstore has them, and whether each has an index."""

    shards: list[tuple[dict[str, Any], bool]]
    is_end: bool = False
    """Whether there are no more: without that the stream broke off."""
    error: str = ""
    """Why there are no more; ``""`` where these were all."""


def batches_out(records: Iterable[tuple[dict[str, Any], bool]]) -> Iterator[bytes]:
    """Records as values of the stream, in JSON."""
    batch, size = list[str](), 0
    for record, has_index in records:
        batch.append(json.dumps({**record, "HasIndex": has_index}))
        size += len(batch[-1])
        if size >= _AT_ONCE:
            yield _values_out(batch)
            batch, size = [], 0
    if batch:
        yield _values_out(batch)


def _values_out(batch: list[str]) -> bytes:
    return f'{{"Records": [{", ".join(batch)}], "Done": false, "Error": ""}}'.encode()


def end_of_records_out(error: str = "") -> bytes:
    """The last value."""
    return json.dumps({"Records": [], "Done": True, "Error": error}).encode()


def records_in(value: Any) -> Records:
    """The same back.

    >>> records_in(json.loads(end_of_records_out("why"))).error
    'why'
    """
    shards = [_record_in(one) for one in field(value, "Records", list)]
    return Records(shards, field(value, "Done", bool), field(value, "Error", str))


def _record_in(value: Any) -> tuple[dict[str, Any], bool]:
    found = {name: field(value, name, kind) for name, kind in _RECORD.items()}
    check_key(found["k"])
    return found, found.pop("HasIndex")


# -- shards of a Go dagstore ------------------------------------------------------------------------------------

_MOST_ERROR = 4096
"""Characters of a shard's error that are told."""
_FOREIGN: dict[str, tuple[str, type[Any]]] = {
    "Key": ("key", str),
    "URL": ("url", str),
    "State": ("state", int),
    "Error": ("error", str),
}
_TAKEN: dict[str, tuple[str, type[Any]]] = {
    "Shards": ("shard_count", int),
    "Indexes": ("index_count", int),
    "Known": ("known", int),
    "Refused": ("refused", list),
    "RefusedCount": ("refused_count", int),
}


def foreign_out(line: int, record: Record) -> dict[str, object]:
    """A record, and in which line of its file it stands."""
    short = record._replace(error=record.error[:_MOST_ERROR])
    return {"Line": line, **{name: getattr(short, own) for name, (own, _) in _FOREIGN.items()}}


def foreigners_in(value: Any) -> list[tuple[int, Record]]:
    """Some of them; as in Go, what is not there is empty."""
    return [foreign_in(one) for one in checked(value or [], list)]


def foreign_in(value: Any) -> tuple[int, Record]:
    """The same back.

    >>> foreign_in(foreign_out(7, Record("a", "fs://x", "", 2, "")))
    (7, Record(key='a', url='fs://x', local_copy='', state=2, error=''))
    """
    fields = {own: field(value, name, kind) for name, (own, kind) in _FOREIGN.items()}
    check_key(fields["key"])
    return field(value, "Line", int), Record(**fields, local_copy="")


def taken_out(report: GoImport) -> dict[str, object]:
    """What became of some records."""
    return {name: getattr(report, own) for name, (own, _) in _TAKEN.items()}


def taken_in(value: Any) -> GoImport:
    """The same back."""
    fields = {own: field(value, name, kind) for name, (own, kind) in _TAKEN.items()}
    texts: list[Any] = fields.pop("refused")
    return GoImport(**fields, refused=tuple(checked(text, str) for text in texts))


# -- deals ----------------------------------------------------------------------------------------------------

_DEAL = {"PieceCID": "piece_cid", "State": "state", "ProposalCID": "proposal_cid", "Source": "source"}
_REPORT: dict[str, tuple[str, type[Any]]] = {
    "DidWork": ("did_work", bool),
    "Deals": ("deal_count", int),
    "Registered": ("registered", int),
    "Known": ("known", int),
    "NotReady": ("not_ready", int),
    "Invalid": ("invalid", list),
    "InvalidCount": ("invalid_count", int),
}


def deal_out(deal: Deal) -> dict[str, str]:
    """A deal, of what a migration has to know."""
    return {name: getattr(deal, own) for name, own in _DEAL.items()}


def deals_in(value: Any) -> list[Deal]:
    """Deals; as in Go, what is not there is empty."""
    return [_deal_in(checked(one, dict)) for one in checked(value or [], list)]


def _deal_in(fields: dict[str, Any]) -> Deal:
    return Deal(**{own: checked(fields.get(name, ""), str) for name, own in _DEAL.items()})


def report_out(report: MigrationReport) -> dict[str, object]:
    """What a call of a migration did."""
    return {name: getattr(report, own) for name, (own, _) in _REPORT.items()}


def report_in(value: Any) -> MigrationReport:
    """The same back."""
    fields = {own: field(value, name, kind) for name, (own, kind) in _REPORT.items()}
    texts: list[Any] = fields.pop("invalid")
    return MigrationReport(**fields, invalid=tuple(checked(text, str) for text in texts))
