"""The lease of a killed process of this host is nobody's; that of any other is waited for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from carv2.dagstore import ShardState
from carv2.dagstore._holders import holder_name, is_dead, shown
from carv2.errors import WaitTimeoutError
from dagstore.shards import PATIENCE, Place, check_serves, eventually, with_tests

if TYPE_CHECKING:
    from pathlib import Path

HOLDER = """
import sys
from carv2.dagstore._holders import holder_name
print(holder_name() + "#0", flush=True)
sys.stdin.read()
"""


def other_process() -> tuple[subprocess.Popen[str], str]:
    environment = {**os.environ, "PYTHONPATH": with_tests()}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def test_the_lease_of_a_killed_process_is_taken_over_at_once(tmp_path: Path) -> None:
    place = Place.at(tmp_path)
    with place.store(lease_seconds=10 * PATIENCE) as store:
        process, holder = other_process()
        with process:
            store.register("key", place.mount("key"), lazy=True)
            store.register("gone", place.mount("gone"), lazy=True)
            for key in ("key", "gone"):
                assert store._core.catalogue.try_lease(key, holder, 10 * PATIENCE)
            assert store.info("key").state is ShardState.INITIALIZING
            assert store.stat().by_state["initializing"] == 2
            with pytest.raises(WaitTimeoutError) as caught:
                store.acquire("key", timeout=0.3)
            assert f"(process {process.pid} on " in str(caught.value)
            assert "last heard of" in str(caught.value)
            process.send_signal(signal.SIGKILL)
            eventually(lambda: is_dead(holder))  # a zombie, which nobody has waited for yet
            assert {info.state for info in store.list() if info.key == "gone"} == {ShardState.NEW}
            check_serves(store, "key", "key")
            assert store.destroy("gone")


def test_only_the_dead_of_this_machine_are_dead() -> None:
    mine = holder_name()
    host, process, start, machine, number = mine.rsplit(":", 4)
    assert not is_dead(mine)
    assert not is_dead(f"{mine}#7")
    assert not is_dead(f"other:{process}:1:{machine}:{number}")
    assert not is_dead(f"{host}:{process}:1:other:{number}")
    assert not is_dead("somebody")
    assert not is_dead("")
    assert shown("somebody") == "somebody"
    if machine:
        assert is_dead(f"{host}:{process}:{int(start) + 1}:{machine}:{number}")  # the number was used again
