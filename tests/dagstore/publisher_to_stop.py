"""A process that stops itself: ``python -m dagstore.publisher_to_stop FOLDER CATALOGUE WHERE [die] [destroy]``.

It does so while it indexes a shard, or destroys it. It goes on when it is told to, and, where it is to die, is
killed as soon as what it was about to do is done. It ends with :data:`REFUSED` if its work is done no more.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from carv2.dagstore._leases import LeaseKeeper
from carv2.errors import StateError
from dagstore.shards import PATIENCE, Place

LEASE = 0.5
REFUSED = 3


def stop_before(target: str, *, and_die: bool) -> None:
    module, owner, name = target.split(":")
    holder = getattr(importlib.import_module(module), owner)
    real, calls, renew, renewing = getattr(holder, name), [0], LeaseKeeper._renew, threading.Lock()

    def renew_alone(*arguments: Any) -> None:
        with renewing:
            renew(*arguments)

    setattr(LeaseKeeper, "_renew", renew_alone)  # noqa: B010

    def stopping(*arguments: Any, **options: Any) -> Any:
        calls[0] += 1
        if calls[0] == 1:
            with renewing:  # else this or that thread might hold the database's lock as long as it stands still
                signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)  # here, and not a little further on
        result = real(*arguments, **options)
        if and_die:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(holder, name, stopping)


def main(folder: str, catalogue: str, target: str, *more: str) -> None:
    stop_before(target, and_die="die" in more)
    with Place.at(Path(folder)).store(lease_seconds=LEASE, recover_on_start="no", catalogue=catalogue) as store:
        for thread in store._core._background:  # nothing else is to be at the database when it stops
            thread.join(PATIENCE)
        if "destroy" not in more:
            store.recover("key", timeout=PATIENCE)
            return
        try:
            store.destroy("key")
        except StateError:
            sys.exit(REFUSED)


if __name__ == "__main__":
    main(*sys.argv[1:])
