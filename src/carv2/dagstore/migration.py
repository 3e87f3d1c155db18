"""Moving to the DAG store: one pass that registers the pieces of all active deals, once, as Lotus' migrator."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carv2.cid import CID
from carv2.errors import CarError

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
_MOST_NAMED = 100  # deals that a report names, of each kind

_log = logging.getLogger("carv2.dagstore.migrator")


@dataclass(frozen=True, slots=True)
class Deal:
    """What a migration has to know of a storage deal."""

    piece_cid: str
    state: str
    """As Lotus prints it, such as ``StorageDealActive``."""
    proposal_cid: str = ""
    """Which deal it is, for the report."""


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
    """One pass over the deals."""

    def __init__(self, core: Core, mount_of: Callable[[str], Mount | str]) -> None:
        self._core, self._mount_of = core, mount_of
        self.deal_count = self.not_ready = self.invalid_count = self.active = 0
        self.invalid: list[str] = []

    def shards(self, deals: Iterable[Deal]) -> Iterator[tuple[str, str]]:
        """Key and URL of each active deal's piece."""
        for deal in deals:
            self.deal_count += 1
            if deal.state not in ACTIVE_STATES:
                self.not_ready += 1
                _log.debug("deal not ready; skipping", extra={"deal": deal.proposal_cid, "state": deal.state})
                continue
            try:
                key = str(CID.of(deal.piece_cid))
                url = self._core.url_of(self._mount_of(key))
            except (CarError, ValueError) as error:
                self._refuse(deal, error)
                continue
            self.active += 1
            _log.debug(
                "registering deal in dagstore with lazy init",
                extra={"deal": deal.proposal_cid, "piece": key},
            )
            yield key, url

    def _refuse(self, deal: Deal, error: Exception) -> None:
        self.invalid_count += 1
        _log.warning("failed to register shard", extra={"deal": deal.proposal_cid, "error": str(error)})
        if len(self.invalid) < _MOST_NAMED:
            self.invalid.append(f"deal {deal.proposal_cid or self.deal_count}, {deal.piece_cid!r}: {error}")


def migrate_deals(
    core: Core, deals: Iterable[Deal], *, mount_of: Callable[[str], Mount | str], again: bool
) -> MigrationReport:
    """See :meth:`carv2.dagstore.DagStore.migrate`."""
    if core.catalogue.get_marker(_MARKER) is not None and not again:
        _log.info("no shard migration necessary; already marked complete")
        return MigrationReport(did_work=False)
    _log.info("registering shards for all active deals in sealing subsystem")
    once = _Pass(core, mount_of)
    registered = core.catalogue.add_many(once.shards(deals), lazy=True)
    core.counters.add("registered", registered)
    _log.info("finished registering all shards", extra={"total": once.active})
    core.catalogue.set_marker(_MARKER, f"{registered} of {once.deal_count} deals")
    _log.info("successfully marked migration as complete")
    _log.info("dagstore migration complete")
    return MigrationReport(
        did_work=True,
        deal_count=once.deal_count,
        registered=registered,
        known=once.active - registered,
        not_ready=once.not_ready,
        invalid=tuple(once.invalid),
        invalid_count=once.invalid_count,
    )
