"""How many calls a second a served DAG store answers.

    python benchmarks/rpc.py [--requests N] [--connections N] [--shards N] [--data DIR]

carv2 must be importable, with its extra ``rpc``. A store of 100 shards is made in --data, each indexed, and served
by uvicorn in a process of its own. The client is a second process, so two cores are in use: it keeps
--connections connections open and sends one request after the other on each, over HTTP with keep-alive, then over
WebSockets. Whole answers are read; a few are checked.

Prints for each kind of call how many a second there were, the median and the 99th percentile of how long one took,
what the server used of its core, and its memory; and all of it as JSON in the end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import resource
import socket
import statistics
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any

import carv2
from carv2.dagstore import BytesMount, DagStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

GOAL = 1000.0  # ListShards a second, of 100 shards, on 2 cores
HOST = "127.0.0.1"


def make_store(folder: str, shards: int) -> None:
    fish = carv2.CID.of_data(b"fish")
    archive = b"".join(carv2.iter_car([fish], [(fish, b"fish")]))
    with DagStore(folder) as store:
        for number in range(shards):
            store.register(
                f"baga6ea4seaqao7s73y24kcutaosvacpdjgfe5pw76ooefnyqw4ynr3d2y{number:06}", BytesMount(archive)
            )


def serve(folder: str, listener: socket.socket, told: Any) -> None:
    """In a process of its own, until it is told to end; then says what it used."""
    import uvicorn

    from carv2.rpc import create_app

    with DagStore(folder, go_on=False) as store:
        config = uvicorn.Config(
            create_app(store, secret=None, anonymous=["read", "admin"]), log_level="warning", access_log=False
        )
        server = uvicorn.Server(config)

        def end() -> None:
            server.should_exit = True

        async def run() -> None:
            asyncio.get_running_loop().add_reader(told.fileno(), end)
            await server.serve([listener])

        asyncio.run(run())
    usage = resource.getrusage(resource.RUSAGE_SELF)
    told.send((usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024))


def body_of(method: str, params: list[Any]) -> bytes:
    call = {"jsonrpc": "2.0", "id": 1, "method": f"Filecoin.{method}", "params": params}
    return json.dumps(call).encode()


async def http_client(port: int, body: bytes, count: int, took: list[float], check: Callable[[Any], bool]) -> None:
    reader, writer = await asyncio.open_connection(HOST, port)
    head = b"POST /rpc/v0 HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    message = head % (HOST.encode(), len(body)) + body
    for number in range(count):
        start = time.perf_counter()
        writer.write(message)
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200"), answer
        size = int(answer.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        data = await reader.readexactly(size)
        took.append(time.perf_counter() - start)
        if number % 500 == 0:
            assert check(json.loads(data)["result"]), data[:200]
    writer.close()
    await writer.wait_closed()


async def websocket_client(
    port: int, body: bytes, count: int, took: list[float], check: Callable[[Any], bool]
) -> None:
    from websockets.asyncio.client import connect

    async with connect(f"ws://{HOST}:{port}/rpc/v0", compression=None) as socket_:
        for number in range(count):
            start = time.perf_counter()
            await socket_.send(body.decode())
            data = await socket_.recv()
            took.append(time.perf_counter() - start)
            if number % 500 == 0:
                assert check(json.loads(data)["result"]), data[:200]


async def measure(
    client: Callable[..., Awaitable[None]],
    port: int,
    body: bytes,
    check: Callable[[Any], bool],
    *,
    connections: int,
    requests: int,
) -> dict[str, float]:
    took: list[float] = []
    each = max(1, requests // connections)
    start = time.perf_counter()
    await asyncio.gather(*(client(port, body, each, took, check) for _ in range(connections)))
    seconds = time.perf_counter() - start
    took.sort()
    return {
        "per_second": len(took) / seconds,
        "median_ms": statistics.median(took) * 1e3,
        "p99_ms": took[int(len(took) * 0.99)] * 1e3,
    }


def run(folder: str, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    make_store(folder, options.shards)
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # so asyncio sets TCP_NODELAY
    listener.bind((HOST, 0))
    listener.listen(256)
    port = listener.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    server = context.Process(target=serve, args=(folder, listener, theirs))
    server.start()
    listener.close()
    cid = {"/": str(carv2.CID.of_data(b"fish"))}
    every = options.shards
    calls = {
        "ListShards": (body_of("DagstoreListShards", []), lambda found: len(found) == every, 1),
        "LookupPieces": (body_of("DagstoreLookupPieces", [cid]), lambda found: len(found) == every, 10),
        "PieceIndexSize": (body_of("DagstorePieceIndexSize", []), lambda found: found > 0, 1),
    }
    found: dict[str, dict[str, float]] = {}
    try:
        for name, (body, check, less) in calls.items():
            for kind, client in (("HTTP", http_client), ("WebSocket", websocket_client)):
                for connections in (options.connections, 1):
                    count = max(options.requests // less // (1 if connections > 1 else 4), 1)
                    label = f"{name}, {kind}, {connections} connections"
                    found[label] = asyncio.run(
                        measure(client, port, body, check, connections=connections, requests=count)
                    )
    finally:
        ours.send("end")
        seconds, mib = ours.recv()
        server.join()
    found["server"] = {"cpu_seconds": seconds, "peak_mib": mib}
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--shards", type=int, default=100)
    parser.add_argument("--data", help="folder for the store (default: a temporary one)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.data) as folder:
        found = run(os.path.join(folder, "store"), options)
    for label, figures in found.items():
        print(f"{label:45}", "  ".join(f"{name} {value:10.2f}" for name, value in figures.items()))
    best = max(figures["per_second"] for label, figures in found.items() if label.startswith("ListShards, HTTP"))
    print(f"ListShards over HTTP: {best:.0f} a second; goal {GOAL:.0f}")
    json.dump(found, sys.stdout)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
