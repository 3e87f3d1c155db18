"""How fast the gateway streams an archive, next to reading the same archive, and what memory it takes.

    python benchmarks/gateway.py [--quick] [--data DIR] [--rounds N] [--size MIB] [--http h11|httptools]
                                [--store archive|shard] [--leaves BYTES]

carv2 and uvicorn must be importable. Archives of one UnixFS file each are written to --data: of --size MiB (1,024)
in leaves of 1 MiB and of 256 KiB, of a quarter of that in leaves of 16 KiB, and of as many leaves of 120 bytes as
are 500,000 for 1,024 MiB. Reading is :func:`carv2.open` and a loop over all blocks, each checked against its hash,
in one process. Streaming is ``GET /ipfs/CID?format=car`` from uvicorn in a process of its own, whose store checks
each block too, to a socket that throws away what comes: from the archive itself (ReadOnlyBlockstore) and from a
DAG store that has it as its one shard (GlobalBlockstore). The two take turns, and the best round of each counts;
both keep the file in the page cache. The server's peak memory is that of the process over what it had before the
first request; its processor time, of all its threads, is compared too. With --quick, all of it is a hundredth, and
a round is one.

Prints a line for each figure, with what it should be where that was set, and all of it as JSON in the end.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import multiprocessing
import random
import socket
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import carv2
from carv2 import CID
from carv2.blockstore import ReadOnlyBlockstore
from carv2.dag import sort
from carv2.dagstore import DagStore, FileMount
from carv2.ipfs.gateway import create_gateway
from carv2.unixfs import import_file, profile_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

    from carv2.blockstore import Blockstore

GOAL = 0.5
FIGURES = dict[str, float]()
FILES = {
    "leaves of 1 MiB": (1 << 20, 1024),
    "leaves of 256 KiB": (256 << 10, 4096),
    "leaves of 16 KiB": (16 << 10, 16384),
    "leaves of 120 B": (120, 500_000),
}
NO_GOAL = "leaves of 120 B"


def say(name: str, value: float, unit: str, goal: float | None = None) -> None:
    FIGURES[f"{name} [{unit}]"] = round(value, 3)
    note = "" if goal is None else f"   (at least {goal:g})"
    print(f"{name:52} {value:12,.2f} {unit}{note}", flush=True)


def payload(size: int) -> Iterator[bytes]:
    """Bytes in which no block comes twice."""
    chosen = random.Random(1)
    while size > 0:
        yield chosen.randbytes(min(size, 1 << 20))
        size -= 1 << 20


def write_archive(folder: Path, chunk: int, leaves: int) -> tuple[Path, CID]:
    """An archive of one file, its blocks in the order of a walk."""
    made, path = folder / "made.car", folder / f"{chunk}.car"
    profile = dataclasses.replace(profile_of("unixfs-v1-2025"), name="benchmark", chunk_size=chunk)
    root = CID.of("bafkqaaa")
    with carv2.create(made, roots=[CID.of_data(b"")]) as car:
        root = import_file(payload(chunk * leaves), car.write, profile=profile)
        car.set_roots([root])
    sort(made, path)
    made.unlink()
    return path, root


# -- the server, in a process of its own ----------------------------------------------------------------------


def memory() -> float:
    """MiB, the most there ever were."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024


@contextlib.contextmanager
def opened(path: Path, kind: str) -> Iterator[Blockstore]:
    """The store that is served from."""
    if kind == "archive":
        with ReadOnlyBlockstore(path) as archive:
            yield archive
        return
    with tempfile.TemporaryDirectory() as folder, DagStore(folder) as shards:
        shards.register("benchmark", FileMount(path))
        with shards.blockstore() as blocks:
            yield blocks


def serve(path: Path, kind: str, http: Any, pipe: Connection) -> None:
    """Serve the archive, say where, and in the end how much memory that took."""
    import uvicorn

    with opened(path, kind) as store:
        server = uvicorn.Server(
            uvicorn.Config(create_gateway(store), port=0, http=http, ws="none", log_level="error")
        )
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        before = memory()
        pipe.send(server.servers[0].sockets[0].getsockname()[1])
        while pipe.recv():
            pipe.send(time.process_time())
        pipe.send(memory() - before)
        server.should_exit = True
        thread.join()


@contextlib.contextmanager
def served(path: Path, kind: str, http: str, found: list[float]) -> Iterator[tuple[int, Callable[[], float]]]:
    """The port of a gateway, and what tells its processor time; its peak memory goes to ``found``."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(path, kind, http, theirs))
    process.start()
    try:
        yield ours.recv(), lambda: asked(ours)
        ours.send(False)
        found.append(ours.recv())
    finally:
        process.join()


def asked(pipe: Connection) -> float:
    pipe.send(True)
    return float(pipe.recv())


def stream(port: int, root: CID, dups: str) -> int:
    """Bytes of the answer, head and chunks included."""
    request = f"GET /ipfs/{root}?format=car&car-dups={dups} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    buffer = bytearray(1 << 20)
    taken = 0
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(request.encode())
        while size := client.recv_into(buffer):
            taken += size
    return taken


# -- figures ----------------------------------------------------------------------------------------------------


def read_all(path: Path) -> None:
    with carv2.open(path) as car:
        for _ in car:
            pass


def read_plain(path: Path) -> None:
    buffer = bytearray(1 << 20)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def compare(name: str, path: Path, root: CID, kind: str, options: argparse.Namespace) -> None:
    size = path.stat().st_size
    with carv2.open(path) as car:
        size_v1 = car.payload_end - car.payload_position
    found: list[float] = []
    times: dict[str, list[float]] = {"plain": [], "read": [], "dups=n": [], "dups=y": []}
    worked: dict[str, list[float]] = {"read": [], "dups=n": [], "dups=y": []}
    for dups in ("n", "y"):
        with served(path, kind, options.http, found) as (port, clock):
            for _ in range(options.rounds):
                times["plain"].append(timed(lambda: read_plain(path)))
                begun = time.process_time()
                times["read"].append(timed(lambda: read_all(path)))
                worked["read"].append(time.process_time() - begun)
                begun, start = clock(), time.perf_counter()
                assert stream(port, root, dups) > size_v1
                times[f"dups={dups}"].append(time.perf_counter() - start)
                worked[f"dups={dups}"].append(clock() - begun)
    best = {how: min(taken) for how, taken in times.items()}
    say(f"{name}: bytes of the file, unchecked", size / best["plain"] / 1e6, "MB/s")
    say(f"{name}: read, checked", size / best["read"] / 1e6, "MB/s")
    for dups, peak in zip(("dups=n", "dups=y"), found, strict=True):
        say(f"{name}: streamed, {dups}", size_v1 / best[dups] / 1e6, "MB/s")
        say(
            f"{name}: streamed, {dups}, of reading",
            best["read"] / best[dups],
            "times",
            None if name.startswith(NO_GOAL) else GOAL,
        )
        say(f"{name}: server's memory, {dups}", peak, "MiB")
        say(f"{name}: processor, {dups}, of reading", min(worked[dups]) / min(worked["read"]), "times")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--data", type=Path, default=None)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=1024, metavar="MIB")
    parser.add_argument("--leaves", type=int, action="append", metavar="BYTES")
    parser.add_argument("--store", choices=("archive", "shard"), action="append")
    parser.add_argument("--http", choices=("h11", "httptools"), default="h11")
    options = parser.parse_args()
    if options.quick:
        options.size, options.rounds = 1024 / 100, 1
    with tempfile.TemporaryDirectory(dir=options.data) as folder:
        for name, (chunk, leaves) in FILES.items():
            if options.leaves and chunk not in options.leaves:
                continue
            path, root = write_archive(Path(folder), chunk, max(2, int(leaves * options.size / 1024)))
            for kind in options.store or ("archive", "shard"):
                compare(f"{name}, {kind}", path, root, kind, options)
            path.unlink()
    print(json.dumps(FIGURES))


if __name__ == "__main__":
    main()
