"""Names of processes that hold leases, and whether one of this very host is dead."""

from __future__ import annotations

import functools
import hashlib
import os
import socket
import uuid
from pathlib import Path


def holder_name() -> str:
    """A name for this process that no other has, and that tells people where to look.

    Host, process, when the system started it, which machine that is, and a random number.
    """
    process = os.getpid()
    return f"{socket.gethostname()}:{process}:{_start_of(process) or 0}:{_machine()}:{uuid.uuid4().hex[:8]}"


def shown(holder: str) -> str:
    """Host and process.

    >>> shown("sp1:4711:88:0a:1b#3")
    'process 4711 on sp1'
    """
    host, process = _parts(holder)[:2]
    return f"process {process} on {host}" if process else holder


def is_dead(holder: str) -> bool:
    """Whether the process is known not to run any more; False where that cannot be told, as of other hosts.

    >>> is_dead(holder_name())
    False
    """
    host, process, start, machine = _parts(holder)
    if not process.isdecimal() or (host, machine) != (socket.gethostname(), _machine()):
        return False
    now = _start_of(int(process)) if machine else None
    if now is None:
        return os.name == "posix" and not _is_there(int(process))
    return now != start


def _parts(holder: str) -> tuple[str, str, str, str]:
    parts = holder.partition("#")[0].rsplit(":", 4)
    return (parts[0], parts[1], parts[2], parts[3]) if len(parts) == 5 else (holder, "", "", "")


def _start_of(process: int) -> str | None:
    """When it was started, in ticks since the machine was; empty if it is dead, None where that is not told."""
    try:
        fields = Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return "" if fields[0] in {b"Z", b"X"} else fields[19].decode()


@functools.cache
def _machine() -> str:
    """Which machine, since when, and which of its containers: where a process number means the same."""
    try:
        boot, space = Path("/proc/sys/kernel/random/boot_id").read_bytes(), os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""
    return hashlib.sha256(boot + space.encode()).hexdigest()[:8]


def _is_there(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
