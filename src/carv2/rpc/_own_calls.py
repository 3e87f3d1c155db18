"""The methods beyond Lotus' as a client calls them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from carv2.dagstore import MigrationReport
from carv2.errors import RpcError
from carv2.rpc import _forms as forms
from carv2.rpc._calls import Call

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from carv2.dagstore import DagStoreConfig, Deal, Finding, GoImport, StoreStat
    from carv2.rpc._dialogue import Dialogue

_AT_ONCE = 256 << 10
"""Bytes of deals in a call: a server takes 1 MiB, unless it was told otherwise."""
_MOST_NAMED = 100
_FAILED = 1  # the code of a method that failed


def stat() -> Call[StoreStat]:
    return Call("DagstoreStat", [], forms.stat_in)


def config() -> Call[DagStoreConfig]:
    return Call("DagstoreConfig", [], forms.config_in)


def doctor(*, repair: bool, thorough: bool, mounts: bool) -> Call[Finding | forms.DoctorEnd]:
    """The stream of findings and of its end; ``read`` is for each of them."""
    params = {"Repair": repair, "Thorough": thorough, "SkipMounts": not mounts}
    return Call("DagstoreDoctor", [params], forms.finding_in)


def export_go(*, local_copies: bool) -> Call[forms.Records]:
    """The stream of records, some at a time, and of their end."""
    return Call("DagstoreExportGo", [{"LocalCopies": local_copies}], forms.records_in)


def import_go(records: list[dict[str, object]]) -> Call[GoImport]:
    """Some records; also the answer to one that is sent with its index is read so."""
    return Call("DagstoreImportGo", [{"Records": records}], forms.taken_in)


class DoctorStream:
    """What comes out of that stream, which has to say itself that it is complete."""

    def __init__(self, dialogue: Dialogue) -> None:
        self._dialogue = dialogue
        self._end: forms.DoctorEnd | None = None

    def finding(self, value: Finding | forms.DoctorEnd) -> Finding | None:
        """A value's finding; None at the end."""
        if isinstance(value, forms.DoctorEnd):
            self._end = value
            return None
        return value

    def check_end(self) -> None:
        """After the last value.

        Raises:
            RpcError: the store could not be looked over to the end.
            RpcTransportError: the stream was closed too early.
        """
        if self._end is None:
            raise self._dialogue.trouble("the stream of findings ended early; there may be more")
        if self._end.error:
            raise RpcError(_FAILED, self._end.error)


class Migration:
    """A migration in calls that are small enough, one after the other, with one report of them all.

    The first call has no deals and asks whether there is something to do; the last one says that it is done.
    """

    def __init__(self, deals: Iterable[Deal], *, again: bool) -> None:
        self._deals, self._again = deals, again
        self.report = MigrationReport(did_work=True)

    def calls(self) -> Iterator[Call[MigrationReport]]:
        """The calls; give the report of each to :meth:`add` before the next is taken."""
        yield _migrate([], again=self._again, before=0, more=True)
        if not self.report.did_work:
            return
        batch, size = list[dict[str, str]](), 0
        for deal in self._deals:
            found = forms.deal_out(deal)
            length = len(json.dumps(found)) + 2
            if batch and size + length > _AT_ONCE:
                yield self._migrate(batch, more=True)
                batch, size = [], 0
            batch.append(found)
            size += length
        yield self._migrate(batch, more=False)

    def _migrate(self, batch: list[dict[str, str]], *, more: bool) -> Call[MigrationReport]:
        return _migrate(batch, again=True, before=self.report.deal_count, more=more)

    def add(self, part: MigrationReport) -> None:
        """What one of the calls did."""
        known = self.report
        self.report = replace(
            part,
            deal_count=known.deal_count + part.deal_count,
            registered=known.registered + part.registered,
            known=known.known + part.known,
            not_ready=known.not_ready + part.not_ready,
            invalid=(*known.invalid, *part.invalid)[:_MOST_NAMED],
            invalid_count=known.invalid_count + part.invalid_count,
        )


def _migrate(deals: list[dict[str, str]], **options: Any) -> Call[MigrationReport]:
    params = {"Deals": deals, **{name.title(): value for name, value in options.items()}}
    return Call("DagstoreMigrate", [params], forms.report_in)
