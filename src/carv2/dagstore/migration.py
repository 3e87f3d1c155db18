"""Moving to the DAG store: one pass that registers the pieces of all active deals, once, as Lotus' migrator.

Source: Lotus v1.11.2, ``MigrateDeals``.
"""

from __future__ import annotations

import logging
from collections.abc import Sized
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from carv2.cid import CID
from carv2.errors import CarError, UnknownMountError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from carv2.dagstore._core import Core
    from carv2.dagstore.mounts import Mount

__all__ = ["ACTIVE_STATES", "Deal", "MigrationReport"]

ACTIVE_STATES = frozenset(
    f"StorageDeal{name}" for name in ("Staged", "AwaitingPreCommit", "Sealing", "Finalizing", "Active")
)
"""The states of deals whose pieces the sealing subsystem has. Source: Lotus v1.11.2."""

_MARKER = "shard-registration-complete"
_AT_ONCE = 5000  # shards
_MOST_NAMED = 100  # deals that a report names, of each kind

_log = logging.getLogger("carv2.dagstore.migrator")


@dataclass(frozen=True, slots=True)
class Deal:
    """What a migration has to know of a storage deal."""

    piece_cid: str
    """As text, of any base."""
    state: str
    """As Lotus prints it, such as ``StorageDealActive``."""
    proposal_cid: str = ""
    """Which deal it is, for the report."""
    source: str = ""
    """Where it is written, such as ``line 7``, for the report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationReport:
    """What a migration did."""

    did_work: bool
    """False where an earlier one had been done; nothing was looked at then."""
    deal_count: int = 0
    registered: int = 0
    """Shards that are new."""
    known: int = 0
    """Deals whose piece was there already, also by another deal of this pass."""
    not_ready: int = 0
    """Deals in other states, which have no piece to be served."""
    invalid: tuple[str, ...] = ()
    """What was wrong with deals that make no shard, the first hundred."""
    invalid_count: int = 0


class _Pass:
    """One pass over the deals. Whether a line of log for each is wanted is asked once."""

    def __init__(self, core: Core, mount_of: Callable[[str], Mount | str], before: int) -> None:
        self._core, self._mount_of, self._before = core, mount_of, before
        self._is_logged = _log.isEnabledFor(logging.DEBUG)
        self.deal_count = self.not_ready = self.invalid_count = self.active = self.registered = 0
        self.invalid: list[str] = []

    def register(self, deals: Iterable[Deal]) -> None:
        """Register what is active of ``deals``, some thousands at a time."""
        shards = self._shards(deals)
        while batch := list(islice(shards, _AT_ONCE)):
            try:
                new = self._core.catalogue.add_many(batch, lazy=True)
            except Exception as error:
                _log.warning("async shard registration failed", extra={"error": str(error)})
                raise
            self.registered += new
            self._core.counters.add("registered", new)
            for key, _ in batch if self._is_logged else ():
                _log.debug("async shard registration completed successfully", extra={"piece": key})

    def _shards(self, deals: Iterable[Deal]) -> Iterator[tuple[str, str]]:
        """Key and URL of each active deal's piece."""
        for deal in deals:
            self.deal_count += 1
            if deal.state not in ACTIVE_STATES:
                self.not_ready += 1
                if self._is_logged:
                    _log.debug("deal not ready; skipping", extra={"deal": _name(deal), "state": deal.state})
                continue
            try:
                key = str(CID.of(_piece(deal)))
                shard = key, self._core.url_of(self._mount_of(key))
            except UnknownMountError:  # of this store, and so of every deal
                raise
            except (CarError, ValueError) as error:
                self._refuse(deal, error)
                continue
            self.active += 1
            if self._is_logged:
                extra = {"deal": _name(deal), "piece": key}
                _log.debug("registering deal in dagstore with lazy init", extra=extra)
            yield shard

    def _refuse(self, deal: Deal, error: Exception) -> None:
        self.invalid_count += 1
        if len(self.invalid) < _MOST_NAMED:
            _log.warning("failed to register shard", extra={"deal": _name(deal), "error": str(error)})
            where = f"{deal.source}: " if deal.source else ""
            self.invalid.append(
                f"{where}deal {_name(deal) or self._before + self.deal_count}, {deal.piece_cid!r}: {error}"
            )


def _piece(deal: Deal) -> str:
    if not deal.piece_cid or not isinstance(deal.piece_cid, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValueError("no piece CID")
    return deal.piece_cid


def _name(deal: Deal) -> str:
    return deal.proposal_cid


def migrate_deals(
    core: Core,
    deals: Iterable[Deal],
    *,
    mount_of: Callable[[str], Mount | str],
    again: bool,
    before: int = 0,
    more: bool = False,
) -> MigrationReport:
    """See :meth:`carv2.dagstore.DagStore.migrate`.

    Of a pass that comes in several calls, ``before`` says how many deals earlier ones had, and ``more`` that
    another one follows: only the last says that it is done.
    """
    if core.catalogue.get_marker(_MARKER) is not None and not again:
        _log.info("no shard migration necessary; already marked complete")
        return MigrationReport(did_work=False)
    _log.info(
        "registering shards for all active deals in sealing subsystem",
        extra={"count": len(deals) if isinstance(deals, Sized) else None},
    )
    once = _Pass(core, mount_of, before)
    once.register(deals)
    _log.info("finished registering all shards", extra={"total": once.active})
    _log.info("confirmed registration of all shards", extra={"registered": once.registered})
    if not more:
        _mark(core, f"{once.registered} shards of {once.deal_count} deals")
    return MigrationReport(
        did_work=True,
        deal_count=once.deal_count,
        registered=once.registered,
        known=once.active - once.registered,
        not_ready=once.not_ready,
        invalid=tuple(once.invalid),
        invalid_count=once.invalid_count,
    )


def _mark(core: Core, what: str) -> None:
    core.catalogue.set_marker(_MARKER, what)
    _log.info("successfully marked migration as complete")
    _log.info("dagstore migration complete")
