"""Races over servers and their clients."""

from __future__ import annotations

import contextlib
import itertools
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx

import carv2
from carv2.blockstore import MemoryBlockstore
from carv2.dagstore import BytesMount, ShardState
from carv2.errors import RpcError
from carv2.ipfs.gateway import create_gateway
from carv2.ipfs.gateway._memory import Places
from carv2.ipfs.kubo import KuboBlockstore
from carv2.ipfs.kubo._connections import Connections
from carv2.rpc import DagStoreClient, client
from carv2.rpc._connection import Answer
from carv2.rpc.tokens import make_token
from ipfs.gateway_server import served
from ipfs.kubo_node import running
from races import racing
from races.racing import Fault, blocks_of, sample
from rpc.inprocess import EVERYTHING, PLAIN, SECRET, service

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator
    from http.client import HTTPConnection
    from pathlib import Path

    from races.racing import Step


def _archive(blocks: dict[carv2.CID, bytes]) -> bytes:
    return b"".join(carv2.iter_car([next(iter(blocks))], blocks.items()))


@contextmanager
def rpc(folder: Path, _: random.Random) -> Iterator[list[Step]]:
    """One client that all share, of one server: shards are looked up, indexed, collected and removed."""
    lasting = blocks_of("lasting", 20)
    names = itertools.count()
    with contextlib.ExitStack() as held:
        api = held.enter_context(service(folder))
        api.store.register("lasting", BytesMount(_archive(lasting)))
        token = make_token(SECRET, EVERYTHING)
        calls = held.enter_context(DagStoreClient(api.url, token=token))

        def looks_up(numbers: random.Random) -> None:
            for cid in sample(numbers, lasting, 5):
                assert list(calls.shards_with(cid)) == ["lasting"]

        def lists(_: random.Random) -> None:
            assert "lasting" in {info.key for info in calls.list()}

        def has_a_shard(_: random.Random) -> None:
            key = f"passing-{next(names)}"
            blocks = blocks_of(key, 3)
            api.store.register(key, BytesMount(_archive(blocks)), lazy=True)
            calls.initialize(key)
            assert {info.key: info.state for info in calls.list()}[key] is ShardState.AVAILABLE
            assert all(list(calls.shards_with(cid)) == [key] for cid in blocks)
            calls.destroy(key)
            assert not any(calls.shards_with(cid) for cid in blocks)
            with contextlib.suppress(RpcError):
                calls.destroy(key)
                raise AssertionError("it was destroyed twice")

        def collects(_: random.Random) -> None:
            calls.gc()

        yield [looks_up, looks_up, lists, has_a_shard, has_a_shard, collects]
        assert [info.key for info in calls.list()] == ["lasting"]
        assert calls.stat().multihash_count == len(lasting)


@contextmanager
def gateway(_folder: Path, _: random.Random) -> Iterator[list[Step]]:
    """One gateway with little room, many requests; some are left in the middle."""
    blocks = blocks_of("gateway", 60, size=3000)
    children = list(blocks)
    node = carv2.codec.encode("dag-cbor", {"all": children})
    root = carv2.CID.of_data(node, codec="dag-cbor")
    app = create_gateway(MemoryBlockstore([(root, node), *blocks.items()]))
    whole = [root, *children]
    with served(app) as base, httpx.Client(verify=PLAIN, timeout=60) as web:

        def one(numbers: random.Random) -> None:
            for cid in sample(numbers, blocks, 3):
                answer = web.get(f"{base}/ipfs/{cid}?format=raw")
                assert (answer.status_code, answer.content) == (200, blocks[cid])

        def archive(_: random.Random) -> None:
            answer = web.get(f"{base}/ipfs/{root}?format=car&dag-scope=all")
            assert answer.status_code == 200
            assert [block.cid for block in carv2.iter_blocks([answer.content])] == whole

        def missing(numbers: random.Random) -> None:
            cid = carv2.CID.of_data(numbers.randbytes(8))
            assert web.get(f"{base}/ipfs/{cid}?format=raw").status_code == 404

        def gives_up(_: random.Random) -> None:
            with web.stream("GET", f"{base}/ipfs/{root}?format=car") as answer:
                assert answer.status_code == 200
                next(answer.iter_raw())

        yield [one, one, archive, missing, gives_up]
        until = time.monotonic() + racing.LONGEST
        while (held := (app._places.taken, app._places.bytes, app._remembered.count)) != (0, 0, 0):
            assert time.monotonic() < until, held
            time.sleep(0.01)


@contextmanager
def kubo(_folder: Path, _: random.Random) -> Iterator[list[Step]]:
    """One client of a node, with fewer connections than threads."""
    blocks = blocks_of("kubo", 200)
    known = dict(itertools.islice(blocks.items(), 100))
    with running() as node, KuboBlockstore(node.url, timeout=racing.LONGEST, connections=2) as store:
        store.put_many(known.items())

        def gets(numbers: random.Random) -> None:
            for cid in sample(numbers, known, 4):
                assert store[cid] == blocks[cid]
                assert store.size_of(cid) == len(blocks[cid])
                assert cid in store

        def gets_many(numbers: random.Random) -> None:
            found = {block.cid: block.data for block in store.get_many(sample(numbers, known))}
            assert all(blocks[cid] == data for cid, data in found.items())

        def puts(numbers: random.Random) -> None:
            cid = numbers.choice(list(blocks))
            store.put(cid, blocks[cid])
            assert store[cid] == blocks[cid]

        def lists(_: random.Random) -> None:
            assert {cid.multihash for cid in known} <= {cid.multihash for cid in store}

        yield [gets, gets, gets_many, puts, lists]


def _left_where_it_is(self: Connections, *, fresh: bool) -> HTTPConnection:
    if fresh or not self._idle:
        return _take(self, fresh=True)
    return self._idle[-1]


_take = Connections.take
CONNECTION = Fault("a connection is used by two", Connections, "take", _left_where_it_is)


def _one_for_all() -> Fault:
    """All answers come into the same memory."""
    shared: list[Answer] = []

    def answer(*arguments: Any) -> Answer:
        shared[:] = shared or [Answer(*arguments)]
        shared[0]._body.clear()
        return shared[0]

    return Fault("answers come into the same memory", client, "Answer", answer)


ANSWER = _one_for_all()


def _adds_slowly(self: Places, size: int) -> None:
    before = self.bytes
    time.sleep(0.0005)
    self.bytes = before + size


PLACES = Fault("what requests hold is counted without a lock", Places, "add", _adds_slowly)
