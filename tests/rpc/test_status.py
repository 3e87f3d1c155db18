"""Health and metrics, and the application as part of another one."""

from __future__ import annotations

import asyncio
import re
import threading
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from carv2 import CID
from carv2.blockstore import MemoryBlockstore
from carv2.dagstore import COUNTERS
from carv2.ipfs.gateway import create_gateway
from carv2.rpc import ServerLimits, create_app
from carv2.rpc._metrics import Metrics
from carv2.rpc._work import Shared, Work, within
from rpc.inprocess import PATIENCE, PLAIN, Service, eventually, request, service

if TYPE_CHECKING:
    from pathlib import Path

LINE = re.compile(r'[a-z_0-9]+(\{[a-z]+="(\\.|[^"\\])*"(,[a-z]+="(\\.|[^"\\])*")*\})? [-+.e0-9]+')


def get(api: Service, path: str) -> httpx.Response:
    return httpx.get(f"{api.url}{path}", timeout=PATIENCE, verify=PLAIN)


def metrics(api: Service) -> dict[str, float]:
    found = get(api, "/metrics")
    assert found.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = [line for line in found.text.splitlines() if not line.startswith("#")]
    assert all(LINE.fullmatch(line) for line in lines)
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def test_a_store_that_answers_is_healthy_and_a_closed_one_not(api: Service) -> None:
    api.register("a")
    found = get(api, "/health")
    assert (found.status_code, found.json()) == (200, {"status": "ok", "shards": 1})
    assert found.headers["cache-control"] == "no-store"
    api.store.close()
    found = get(api, "/health")
    assert (found.status_code, found.json()) == (503, {"status": "unavailable"})
    assert get(api, "/metrics").status_code == 503


@pytest.mark.parametrize("path", ["/health", "/metrics"])
def test_a_page_of_a_stranger_learns_nothing(tmp_path: Path, path: str) -> None:
    with service(tmp_path, origins=["https://example.org"]) as api:
        for origin, status in (("https://example.org", 200), ("https://example.com", 403), ("null", 403)):
            found = httpx.get(f"{api.url}{path}", timeout=PATIENCE, verify=PLAIN, headers={"Origin": origin})
            assert found.status_code == status
            assert status == 200 or found.text == "pages of this origin may not call the API\n"


def test_calls_are_counted_by_how_they_ended(api: Service) -> None:
    for _ in range(3):
        api.call("DagstoreListShards")
    api.call("DagstoreGC", token=None)
    api.call("DagstoreGC", 1)
    for number in range(20):
        api.call(f"DagstoreNothing{number}")
    api.post(b"{")
    found = metrics(api)
    requests = {name: value for name, value in found.items() if name.startswith("carv2_rpc_requests_total")}
    assert requests == {
        'carv2_rpc_requests_total{method="DagstoreListShards",outcome="ok"}': 3,
        'carv2_rpc_requests_total{method="DagstoreGC",outcome="error"}': 1,
        'carv2_rpc_requests_total{method="DagstoreGC",outcome="invalid"}': 1,
        'carv2_rpc_requests_total{method="",outcome="invalid"}': 21,
    }
    name = 'carv2_rpc_request_duration_seconds_{}{{method="DagstoreListShards"{}}}'
    assert found[name.format("count", "")] == found[name.format("bucket", ',le="+Inf"')] == 3
    assert found[name.format("sum", "")] > 0


def test_what_is_in_the_store_is_counted(api: Service) -> None:
    api.register("a", b"fish", b"lobster", lazy=False)
    api.register("b")
    found = metrics(api)
    assert found['carv2_dagstore_shards{state="available"}'] == 1
    assert found['carv2_dagstore_shards{state="new"}'] == 1
    assert found['carv2_dagstore_shards{state="errored"}'] == 0
    assert found["carv2_dagstore_blocks"] == 2
    assert found["carv2_dagstore_index_bytes"] == api.store.info("a").index_size
    assert found["carv2_dagstore_registered_total"] == 2
    for name in COUNTERS:
        assert f"carv2_dagstore_{name}_total" in found


def test_what_the_gateway_answered_is_counted(tmp_path: Path) -> None:
    fish = CID.of_data(b"fish")
    gateway = create_gateway(MemoryBlockstore([(fish, b"fish")]))
    with service(tmp_path, gateway=gateway) as api:
        assert get(api, f"/ipfs/{fish}?format=raw").content == b"fish"
        refused = get(api, f"/ipfs/{CID.of_data(b'crab')}?format=raw")
        size = 4 + len(refused.content)
        eventually(lambda: metrics(api)["carv2_gateway_bytes_sent_total"] == size)
        found, text = metrics(api), get(api, "/metrics").text
    gateway.close()
    assert refused.status_code == 404
    of_gateway = {name: value for name, value in found.items() if name.startswith("carv2_gateway_")}
    assert of_gateway == {
        "carv2_gateway_answered_total": 1,
        "carv2_gateway_refused_total": 1,
        "carv2_gateway_broken_off_total": 0,
        "carv2_gateway_clients_gone_total": 0,
        "carv2_gateway_bytes_sent_total": size,
        "carv2_gateway_under_way": 0,
    }
    told = re.findall(r"^# TYPE carv2_gateway_(\S+) (\S+)$", text, re.MULTILINE)
    assert [name for name, kind in told if kind == "gauge"] == ["under_way"]
    assert {name for name, kind in told if kind == "counter"} == {
        name for name in (each.removeprefix("carv2_gateway_") for each in of_gateway) if name != "under_way"
    }


def test_every_metric_says_what_it_is(api: Service) -> None:
    api.call("DagstoreListShards")
    text = get(api, "/metrics").text
    names = {re.split(r"[{ ]", line)[0] for line in text.splitlines() if not line.startswith("#")}
    told = set(re.findall(r"^# HELP (\S+) \S", text, re.MULTILINE))
    assert told == set(re.findall(r"^# TYPE (\S+) (?:counter|gauge|histogram)$", text, re.MULTILINE))
    assert {re.sub(r"_seconds_(bucket|sum|count)$", "_seconds", name) for name in names} <= told


def test_the_bucket_of_a_bound_has_what_took_just_so_long() -> None:
    found = Metrics()
    for seconds in (0.0, 0.001, 0.0011, 1e9):
        found.called("x", "ok", seconds)
    lines = [line for line in found.lines() if "_bucket" in line]
    assert [int(line.split()[1]) for line in lines] == [2, 3, 3, 3, 3, 3, 3, 3, 3, 4]


def test_a_gateway_gets_its_paths_whole(tmp_path: Path) -> None:
    seen = []

    async def gateway(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope["path"], scope.get("root_path", ""), scope["method"]))
        await send({"type": "http.response.start", "status": 418, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    with service(tmp_path, gateway=gateway) as api:
        for path in ("/ipfs", "/ipfs/", "/ipfs/bafkqaaa/a?format=car", "/ipns/a"):
            assert get(api, path).status_code == 418
        for path in ("/", "/ipfsx", "/ipnsx/a", "/rpc", "/rpc/v1"):
            assert get(api, path).status_code == 404
    assert seen == [
        ("/ipfs", "", "GET"),
        ("/ipfs/", "", "GET"),
        ("/ipfs/bafkqaaa/a", "", "GET"),
        ("/ipns/a", "", "GET"),
    ]


def test_without_a_gateway_there_is_none(idle: Service) -> None:
    assert get(idle, "/ipfs/bafkqaaa").status_code == 404


def test_it_can_be_part_of_another_application(idle: Service) -> None:
    app = Starlette(routes=[Mount("/store", create_app(idle.store, secret=None))])

    async def ask() -> tuple[httpx.Response, httpx.Response]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://a") as client:
            call = await client.post("/store/rpc/v0", content=request("DagstoreListShards"))
            return call, await client.get("/store/health")

    called, health = asyncio.run(ask())
    assert called.json()["result"] == []
    assert health.status_code == 200
    assert asyncio.run(ask())[0].json()["result"] == []  # in another event loop


@pytest.mark.parametrize("name", ServerLimits.__slots__)
def test_a_limit_of_nothing_is_a_mistake(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be above 0"):
        ServerLimits(**{name: 0})


# -- what it stands on ----------------------------------------------------------------------------------------


def test_work_that_nobody_wants_any_more_is_not_begun() -> None:
    go_on, done = threading.Event(), list[int]()

    async def main() -> None:
        work = Work(1)
        first = asyncio.ensure_future(work.run(lambda: go_on.wait(PATIENCE)))
        second = asyncio.ensure_future(work.run(lambda: done.append(2)))
        third = asyncio.ensure_future(work.run(lambda: done.append(3)))
        await asyncio.sleep(0.05)
        second.cancel()
        await asyncio.sleep(0)  # it hears of that
        go_on.set()
        await first
        await third
        with pytest.raises(asyncio.CancelledError):
            await second

    asyncio.run(main())
    assert done == [3]


def test_who_asks_while_a_run_goes_on_gets_the_next_and_all_of_them_one() -> None:
    runs = list[int]()

    async def main() -> list[int]:
        go_on = asyncio.Event()

        async def run() -> int:
            runs.append(len(runs))
            number = runs[-1]
            await go_on.wait()
            return number

        shared = Shared(run)
        first = asyncio.ensure_future(shared.get())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        others = list[asyncio.Future[int]]()
        for _ in range(9):
            others.append(asyncio.ensure_future(shared.get()))
            for _ in range(5):
                await asyncio.sleep(0)
        others[0].cancel()  # costs the others nothing
        go_on.set()
        return [await first, *[await other for other in others[1:]]]

    assert asyncio.run(main()) == [0] + [1] * 8
    assert runs == [0, 1]


def test_a_shared_run_that_ended_with_its_event_loop_is_nobodys() -> None:
    pauses = iter([PATIENCE, 0.0])

    async def run() -> str:
        await asyncio.sleep(next(pauses))
        return "fish"

    shared = Shared(run)

    async def leave() -> None:
        asking = [asyncio.ensure_future(shared.get()), asyncio.ensure_future(shared.get())]
        await asyncio.wait(asking, timeout=0.05)
        asking.append(asyncio.ensure_future(shared.get()))  # this one's run waits for theirs
        await asyncio.wait(asking, timeout=0.05)

    asyncio.run(leave())
    assert asyncio.run(shared.get()) == "fish"


def test_a_shared_run_that_fails_fails_for_all_and_the_next_may_work() -> None:
    outcomes = iter([ValueError("sea"), None])

    async def run() -> str:
        if (error := next(outcomes)) is not None:
            raise error
        return "fish"

    async def main() -> list[object]:
        shared = Shared(run)
        found = await asyncio.gather(shared.get(), shared.get(), return_exceptions=True)
        return [*map(str, found), await shared.get()]

    assert asyncio.run(main()) == ["sea", "sea", "fish"]


def test_within_forgets_no_cancellation_that_comes_with_the_end() -> None:
    async def main() -> None:
        async def soon() -> None:
            await asyncio.sleep(0)

        async def outer() -> None:
            await within(PATIENCE, ended)
            await asyncio.sleep(PATIENCE)

        ended = asyncio.ensure_future(soon())
        task = asyncio.ensure_future(outer())
        await ended
        task.cancel()
        await asyncio.wait({task}, timeout=5)
        assert task.cancelled()
        with pytest.raises(asyncio.TimeoutError):
            await within(0.01, asyncio.sleep(PATIENCE))

    asyncio.run(main())
