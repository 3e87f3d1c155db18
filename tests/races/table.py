"""All races, and for each a fault that it has to find: the code as it would be without a thought of threads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2.blockstore import cache, read_write, tracker, union
from carv2.dagstore import _held, shard, transients
from carv2.dagstore.catalogue import _sqlite_database
from races import archives, held, processes, records, services, shards, stores
from races.racing import without_file_locks, without_locks

if TYPE_CHECKING:
    from collections.abc import Callable

    from races.racing import Fault, Race

THREADS: dict[str, Race] = {
    "reader": archives.reader,
    "read-only": archives.read_only,
    "read-write": stores.read_write,
    "asynchronous": stores.asynchronous,
    "caching": stores.caching,
    "union": stores.union,
    "tracker": stores.tracker,
    "events": shards.events,
    "leases": shards.leases,
    "mounts": shards.mounts,
    "held-shards": held.held,
    "open-shards": held.open_shards,
    "copies": held.copies,
    "dag-store": shards.dag_store,
    "shared-shards": shards.shared_shards,
    "imports": records.imports,
    "retrievals": records.retrievals,
    "rpc": services.rpc,
    "gateway": services.gateway,
    "kubo": services.kubo,
}
FAULTS: dict[str, Fault] = {
    "reader": archives.CURSOR,
    "read-only": archives.CURSOR,
    "read-write": without_locks(read_write),
    "asynchronous": without_locks(read_write),
    "caching": without_locks(cache),
    "union": without_locks(union),
    "tracker": without_locks(tracker),
    "events": shards.EVENTS,
    "leases": shards.LEASES,
    "mounts": archives.CURSOR,
    "held-shards": without_locks(_held),
    "open-shards": without_locks(shard),
    "copies": without_locks(transients),
    "dag-store": without_locks(_sqlite_database),
    "shared-shards": archives.CURSOR,
    "imports": records.TRANSACTION,
    "retrievals": without_file_locks(),
    "rpc": services.ANSWER,
    "gateway": services.PLACES,
    "kubo": services.CONNECTION,
    **processes.FAULTS,
}
PROCESSES: dict[str, Callable[..., int]] = {
    "append": processes.append,
    "replace": processes.replace,
    "dag-store-processes": processes.dag_store,
}
