"""Methods beyond Lotus', for what its API cannot tell: looking a store over, counting it, moving to it."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any, cast

from carv2.dagstore.golayout import import_records, records_of
from carv2.errors import CarError
from carv2.rpc import _forms as forms
from carv2.rpc._work import Shared, Work
from carv2.rpc.methods import Method, refusal_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from carv2.dagstore import DagStore, Deal
    from carv2.dagstore.golayout import Record

__all__ = ["OwnMethods"]


class OwnMethods:
    """These methods on ``store``; each stream has one of ``threads`` threads while it looks for the next value."""

    def __init__(self, store: DagStore, work: Work, *, threads: int) -> None:
        self._store, self._work = store, work
        self._streams = Work(threads)  # of their own: a look at one shard may take long
        self._stat = Shared(lambda: self._work.run(self._counted))

    def table(self) -> dict[str, Method]:
        """All of them, by their whole names."""
        methods = (
            Method("DagstoreStat", "admin", (), self.stat),
            Method("DagstoreConfig", "admin", (), self.config),
            Method("DagstoreDoctor", "admin", (_doctor_params,), self.doctor, "stream"),
            Method("DagstoreExportGo", "admin", (_export_params,), self.export_go, "stream"),
            Method("DagstoreImportGo", "admin", (_import_params,), self.import_go),
            Method("DagstoreMigrate", "admin", (_migrate_params,), self.migrate),
        )
        return {f"Filecoin.{method.name}": method for method in methods}

    async def stat(self) -> bytes:
        """What is in the store."""
        return await self._stat.get()

    def _counted(self) -> bytes:
        return _json(forms.stat_out(self._store.stat()))

    async def config(self) -> bytes:
        """The options that it was opened with."""
        return _json(forms.config_out(self._store.config))

    async def doctor(self, params: dict[str, bool]) -> AsyncGenerator[bytes]:
        """What is wrong, as it is found, and a value that says that this was all. To close it ends the looking."""
        stop = threading.Event()
        findings = self._store.doctor(**params, stop=stop)
        try:
            while (found := await self._streams.run(lambda: next(findings, None))) is not None:
                yield _json(forms.finding_out(found))
            yield _json(forms.finding_out(forms.DoctorEnd()))
        except (CarError, OSError) as error:  # the close of a channel says nothing of it
            told = refusal_of(error)
            yield _json(forms.finding_out(forms.DoctorEnd(str(told))))
        finally:
            stop.set()

    async def export_go(self, local_copies: bool) -> AsyncGenerator[bytes]:
        """The records of all shards, some at a time, and a value that says that these were all."""
        batches = forms.batches_out(records_of(self._store, local_copies=local_copies))
        try:
            while (batch := await self._streams.run(lambda: next(batches, None))) is not None:
                yield batch
            yield forms.end_of_records_out()
        except (CarError, OSError) as error:  # the close of a channel says nothing of it
            yield forms.end_of_records_out(str(refusal_of(error)))

    async def import_go(self, records: list[tuple[int, Record]]) -> bytes:
        """Take over shards whose indexes, if they had some, do not come with them."""
        return _json(forms.taken_out(await self._work.run(lambda: import_records(self._store, records, None))))

    async def migrate(self, params: tuple[list[Deal], bool, int, bool]) -> bytes:
        """Register the pieces of some deals, or of the last of them."""
        deals, again, before, more = params
        call = self._store.migrate
        return _json(
            forms.report_out(await self._work.run(lambda: call(deals, again=again, before=before, more=more)))
        )


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _fields(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("an object is wanted")
    return cast("dict[str, Any]", value)


def _flag(fields: dict[str, Any], name: str) -> bool:
    """As in Go, what is not there is false."""
    found = fields.get(name) or False
    if type(found) is not bool:
        raise TypeError(f"{name} is true or false")
    return found


def _doctor_params(value: Any) -> dict[str, bool]:
    fields = _fields(value)
    return {
        "repair": _flag(fields, "Repair"),
        "thorough": _flag(fields, "Thorough"),
        "mounts": not _flag(fields, "SkipMounts"),
    }


def _export_params(value: Any) -> bool:
    return _flag(_fields(value), "LocalCopies")


def _import_params(value: Any) -> list[tuple[int, Record]]:
    return forms.foreigners_in(_fields(value).get("Records"))


def _migrate_params(value: Any) -> tuple[list[Deal], bool, int, bool]:
    fields = _fields(value)
    before = fields.get("Before") or 0
    if type(before) is not int:
        raise TypeError("Before is a whole number")
    return forms.deals_in(fields.get("Deals")), _flag(fields, "Again"), before, _flag(fields, "More")
