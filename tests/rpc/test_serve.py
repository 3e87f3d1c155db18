"""``carv2 dagstore serve`` and ``--api``, as processes: signals, streams, logs; and the clients against it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from carv2 import CID
from carv2.cli import serving, tokens
from carv2.dagstore import DagStore, FileMount, ShardState, default_registry
from carv2.errors import CarError, RpcError, RpcTransportError, ShardErroredError
from carv2.rpc import DagStoreClient, ServerLimits, load_or_make_secret, read_token
from cli.running import run
from cli.test_commands import _take_interrupts, start
from rpc.clients import BOTH, InLoop, InThread
from rpc.serving import PATIENCE, archive, make_token, served, stalling, stop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rpc.serving import StallingServer

    Client = type[InThread | InLoop]

FISH = CID.of_data(b"fish")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """The folder of a store with shards that are available, new, and errored."""
    archive(tmp_path / "sea.car", b"fish", b"newt")
    archive(tmp_path / "new.car", b"bird")
    with DagStore(tmp_path / "store") as opened:
        opened.register("available", FileMount(tmp_path / "sea.car"))
        opened.register_many(
            [("errored", FileMount(tmp_path / "later.car")), ("new", FileMount(tmp_path / "new.car"))]
        )
        with pytest.raises(ShardErroredError):
            opened.initialize("errored")
    return tmp_path


def slow_shards(folder: Path, web: StallingServer, count: int) -> None:
    with DagStore(folder / "store", mounts=default_registry(fsspec=["http"])) as opened:
        opened.register_many((f"slow-{number}", web.url(f"{number}.car")) for number in range(count))


def is_reached(url: str) -> bool:
    try:
        socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))).close()
    except OSError:
        return False
    return True


def until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


# -- the clients ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("client", BOTH)
def test_a_client_can_do_everything(client: Client, store: Path) -> None:
    token = make_token(store)
    (store / "pieces").mkdir()
    piece = str(archive(store / "pieces" / "x", b"a piece"))
    (store / "pieces" / "x").rename(store / "pieces" / piece)
    with served(store, "--pieces", "pieces") as (url, _):
        call = client(url, token=token)
        assert [(info.key, info.state.name) for info in call("list")] == [
            ("available", "AVAILABLE"),
            ("errored", "ERRORED"),
            ("new", "NEW"),
        ]
        assert [info.key for info in call("list", state=ShardState.NEW)] == ["new"]
        assert [info.key for info in call("list", prefix="a")] == ["available"]
        (store / "later.car").write_bytes((store / "sea.car").read_bytes())
        assert call("recover", "errored") is None
        assert call("shards_with", FISH) == ["available", "errored"]
        assert [info.state.name for info in call("lookup", str(FISH))] == ["AVAILABLE"] * 2
        assert call("lookup", CID.of_data(b"whale")) == []
        assert call("initialize", "new") is None
        assert call("register", piece) is None
        assert [info.state.name for info in call("list", prefix=piece)] == ["AVAILABLE"]
        with DagStore(store / "store", go_on=False) as opened:
            assert call("index_size") == opened.stat().index_bytes > 0
        assert call("gc") == []
        assert call("destroy", "new") is None
        assert call.events() == []
        with pytest.raises(RpcError, match="shard not found") as caught:
            call("recover", "new")
        assert caught.value.code == 1


@pytest.mark.parametrize("client", BOTH)
def test_a_stream_has_two_events_for_each_shard(client: Client, store: Path) -> None:
    with DagStore(store / "store") as opened:
        opened.register_many((f"new-{number}", FileMount(store / "sea.car")) for number in range(4))
    with served(store) as (url, _):
        events = client(url, token=make_token(store)).events(concurrency=2)
    assert len(events) == 10
    for key in ("new", *(f"new-{number}" for number in range(4))):
        start, end = (event for event in events if event.key == key)
        assert (start.event, start.success, end.event, end.success) == ("start", False, "end", True)
        assert start.current == end.current
        assert start.total == end.total == 5


@pytest.mark.parametrize("client", BOTH)
def test_who_leaves_a_stream_has_no_more_begun(client: Client, store: Path) -> None:
    with stalling((store / "sea.car").read_bytes()) as web:
        slow_shards(store, web, 3)
        with served(store) as (url, _):
            call = client(url, token=make_token(store))
            (event,) = call.events(concurrency=1, include_sealed=True, most=1)
            if event.key == "new":  # which is not slow
                return
            web.go_on.set()
            until(lambda: not call("list", state=ShardState.INITIALIZING))
            assert len(call("list", state=ShardState.NEW)) == 3


# -- the command ----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def streaming(folder: Path, url: str) -> Iterator[subprocess.Popen[bytes]]:
    """An ``initialize-all`` of the store at ``url``, one shard at a time."""
    words = ["dagstore", "initialize-all", "--api", url, "--token-file", "token", "--concurrency", "1"]
    process = start(folder, *words, "--include-sealed", preexec_fn=_take_interrupts)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_ctrl_c_ends_a_stream_and_begins_no_more(store: Path) -> None:
    with stalling((store / "sea.car").read_bytes()) as web:
        with DagStore(store / "store") as opened:
            opened.destroy("new")
        slow_shards(store, web, 3)
        make_token(store)
        with served(store) as (url, _), streaming(store, url) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"(1/3) slow-0 STARTING\n"
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=PATIENCE)
            assert (process.returncode, out, err) == (130, b"", b"aborted\n")
            web.go_on.set()
            with DagStoreClient(url) as client:
                until(lambda: next(client.list(prefix="slow-0")).state is ShardState.AVAILABLE)
                assert [info.key for info in client.list(state=ShardState.NEW)] == ["slow-1", "slow-2"]


def test_what_mends_it_is_said_with_the_api_in_it(store: Path) -> None:
    make_token(store)
    (store / "new.car").write_bytes(b"junk")
    with served(store) as (url, _):
        flags = ["--api", url, "--token-file", "token"]
        ran = run(store, ["dagstore", "initialize-all", "--concurrency", "1", *flags])
        assert ran.code == 1
        again = f"carv2 dagstore {' '.join(flags)} recover-shard"
        assert ran.err == f"1 failed; to try one again: {again} new\n"
        ran = run(store, ["dagstore", *flags, "initialize-shard", "errored"])
        assert (ran.code, ran.err.splitlines()[1]) == (1, f"To try it again: {again} errored")
        ran = run(store, [*again.split()[1:], "new"])
        assert ran.code == 1
        assert ran.err.startswith("carv2: failed to recover shard: ")
        ran = run(store, ["dagstore", *flags, "register-shard", "errored"])  # where Lotus answers null
        assert (ran.code, ran.out) == (1, b"")
        assert ran.err.startswith("carv2: errored: shard is in errored state; err: ")
        forget = f"carv2 dagstore {' '.join(flags)} destroy-shard errored"
        assert ran.err.splitlines()[1] == f"To try it again: {again} errored; to forget it: {forget}"
        assert run(store, ["dagstore", *flags, "register-shard", "available"]).code == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_is_stopped_ends_streams_and_gives_shards_back(store: Path, number: signal.Signals) -> None:
    with stalling((store / "sea.car").read_bytes()) as web:
        with DagStore(store / "store") as opened:
            opened.destroy("new")
        slow_shards(store, web, 2)
        make_token(store)
        with served(store) as (url, server), streaming(store, url) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"(1/2) slow-0 STARTING\n"
            assert web.asked.wait(PATIENCE)
            web.go_on.set()  # the store waits a while for what is under way
            assert stop(server, number) == (0, "")
            _, err = process.communicate(timeout=PATIENCE)
            assert process.returncode == (1 if err else 0)
            assert b"Traceback" not in err
    with DagStore(store / "store", go_on=False) as opened:
        assert opened.stat().by_state["initializing"] == 0
        assert opened.destroy("slow-0")


def test_a_server_that_is_stopped_does_not_wait_for_ever(store: Path) -> None:
    with stalling((store / "sea.car").read_bytes()) as web:
        slow_shards(store, web, 1)
        token = make_token(store)
        said: list[str] = []

        def wait(url: str) -> None:
            with DagStoreClient(url, token=token) as client, pytest.raises(RpcTransportError) as caught:
                client.initialize("slow-0")
            said.append(str(caught.value))

        with served(store) as (url, server):
            thread = threading.Thread(target=wait, args=[url])
            thread.start()
            assert web.asked.wait(PATIENCE)
            server.send_signal(signal.SIGINT)
            until(lambda: not is_reached(url))
            assert stop(server, signal.SIGINT) == (0, "")  # a second one ends calls at once
            thread.join(PATIENCE)
    assert len(said) == 1
    assert "HTTP 503" in said[0] or "broke" in said[0]
    with DagStore(store / "store", go_on=False) as opened:
        assert opened.info("slow-0").state is ShardState.NEW


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_do_not_disturb_the_cleaning_up(store: Path, number: signal.Signals) -> None:
    with stalling((store / "sea.car").read_bytes()) as web:
        slow_shards(store, web, 1)
        make_token(store)
        with served(store) as (url, server), streaming(store, url):
            assert web.asked.wait(PATIENCE)
            while server.poll() is None:  # the store waits a while for what is under way
                server.send_signal(number)
                time.sleep(0.005)
            _, err = server.communicate()
            assert (server.returncode, err) == (0, b"")
    with DagStore(store / "store", go_on=False) as opened:
        assert opened.info("slow-0").state is ShardState.NEW


def test_a_client_notices_that_the_server_was_killed(store: Path) -> None:
    with stalling((store / "sea.car").read_bytes()) as web:
        slow_shards(store, web, 1)
        with DagStore(store / "store") as opened:
            opened.destroy("new")
        token = make_token(store)
        with served(store) as (url, server), DagStoreClient(url, token=token) as client:
            events = client.initialize_all(include_sealed=True)
            next(events)
            server.kill()
            server.wait()
            with pytest.raises(RpcTransportError, match="the stream broke off"):
                next(events)


def test_two_servers_cannot_share_a_port_and_a_free_one_is_found(store: Path) -> None:
    with served(store) as (url, _):
        ran = run(store, ["dagstore", "serve", "--root", "store", "--listen", url.removeprefix("http://")])
        assert ran.code == 1
        assert re.fullmatch(r"carv2: cannot listen on 127\.0\.0\.1:\d+: Address already in use\n", ran.err)
        with served(store) as (other, _), DagStoreClient(other) as client:
            assert len(list(client.list())) == 3


def test_a_name_that_no_host_can_have_is_told() -> None:
    with pytest.raises(CarError, match=r"cannot listen on a\.\.b:0: no host can be called that"):
        serving.bound(serving.listen("a..b:0"))


def test_blocks_go_to_whoever_asks_unless_the_gateway_is_off(store: Path) -> None:
    import httpx

    path = f"/ipfs/{FISH}?format=raw"
    with served(store) as (url, _):
        assert httpx.get(url + path).content == b"fish"
        assert httpx.get(url + "/health").json() == {"status": "ok", "shards": 3}
    with served(store, "--no-gateway") as (url, _):
        assert httpx.get(url + path).status_code == 404


def test_an_access_log_has_every_request_and_no_token(store: Path) -> None:
    token = make_token(store)
    with served(store, "--access-log", "log") as (url, _), DagStoreClient(url, token=token) as client:
        list(client.list())
        list(client.initialize_all())
        import httpx

        httpx.get(f"{url}/health?token={token}")
    lines = (store / "log").read_text().splitlines()
    assert [re.sub(r"^\S+ \S+ \S+ - ", "", line) for line in lines] == [
        '"POST /rpc/v0 HTTP/1.1" 200',
        '"WebSocket /rpc/v0" [accepted]',
        '"GET /health HTTP/1.1" 200',
    ]


def test_a_server_on_all_interfaces_warns(store: Path) -> None:
    words = ["dagstore", "serve", "--root", "store", "--listen", "0.0.0.0:0"]
    process = start(store, *words)
    assert process.stdout is not None
    assert process.stdout.readline().startswith(b"Listening on http://0.0.0.0:")
    code, err = stop(process)
    assert code == 0
    assert err.startswith(
        "warning: other hosts can reach this: whoever does may list shards and read their blocks"
    )
    assert err.count("\n") == 1


def test_who_starts_it_at_once_after_it_ended_gets_the_same_port(store: Path) -> None:
    with served(store) as (url, _), DagStoreClient(url) as client:
        list(client.list())
    with served(store, "--listen", url.removeprefix("http://")) as (again, _):
        assert again == url


# -- tokens ---------------------------------------------------------------------------------------------------


def test_a_token_says_what_it_allows_and_how_long(store: Path) -> None:
    secret = load_or_make_secret(store / "store" / "token-secret")
    assert read_token(secret, make_token(store, "write,read")) == {"read", "write"}
    ran = run(store, ["dagstore", "token", "--root", "store", "--allow", "admin", "--expires", "1h", "--json"])
    told = json.loads(ran.out)
    assert told["allow"] == ["admin"]
    assert 3500 < told["expires"] - time.time() <= 3600
    assert read_token(secret, told["token"]) == {"admin"}


def test_a_token_of_another_secret_is_refused_and_not_shown(store: Path) -> None:
    make_token(store)
    other = run(store, ["dagstore", "token", "--token-secret", "other", "--allow", "read"])
    (store / "token").write_bytes(other.out)
    token = other.out.decode().strip()
    with served(store) as (url, _):
        for words in (["list-shards"], ["initialize-all", "--concurrency", "1"]):
            ran = run(store, ["dagstore", *words, "--api", url, "--token-file", "token"])
            assert ran.code == 1
            assert "the token is not accepted (HTTP 401)" in ran.err
            assert token not in ran.err + ran.out.decode()


@pytest.mark.parametrize("text", [b"", b"two words", b"schl\xc3\xbcssel", b"a\nb", bytes(100_000), b"a\x07b"])
def test_a_file_that_holds_no_token_is_named_and_not_shown(text: bytes, tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(text)
    ran = run(tmp_path, ["dagstore", "list-shards", "--api", "http://127.0.0.1:9", "--token-file", "token"])
    assert (ran.code, ran.err) == (1, "carv2: token holds no token, which is one word\n")


def test_a_token_that_goes_over_the_network_in_the_clear_is_warned_of(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(*_: object, **__: object) -> socket.socket:
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(socket, "create_connection", nobody)
    make_token(store)
    words = ["dagstore", "initialize-all", "--concurrency", "1", "--api", "http://192.0.2.1:1"]
    assert "unencrypted" in run(store, [*words, "--token-file", "token"]).err
    assert "unencrypted" not in run(store, words).err


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("12h", 43200), ("30d", 30 * 86400), ("2w", 14 * 86400)]
)
def test_durations(text: str, seconds: int) -> None:
    assert tokens.duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0s", "30", "d", "1.5h", "-1h", "1h30m", "99999999d", "\u0663d"])
def test_no_durations(text: str) -> None:
    with pytest.raises(Exception, match="expected a time"):
        tokens.duration(text)


@pytest.mark.parametrize("text", ["", "7878", ":80", "a:b", "a:70000", "::1:80", "[::1]", "a b:1", "http://a:1"])
def test_nowhere_to_listen(text: str) -> None:
    with pytest.raises(Exception, match="expected HOST:PORT"):
        serving.listen(text)


def test_the_page_has_every_limit_as_it_is() -> None:
    page = (Path(__file__).parents[2] / "docs/how-to/serve-a-dag-store.md").read_text(encoding="utf-8")
    table = page.partition("| limit | default | |")[2]
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+?) \|", table, re.MULTILINE))
    units = {"MiB": 1 << 20, "s": 1, "h": 3600}
    for field in dataclasses.fields(ServerLimits):
        number, _, unit = rows.pop(field.name).partition(" ")
        assert int(number) * units.get(unit, 1) == field.default, field.name
    assert rows == {}


# -- what it needs --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("starlette", ["serve", "--root", "store", "--listen", "127.0.0.1:0"]),
        ("uvicorn", ["serve", "--root", "store", "--listen", "127.0.0.1:0"]),
        ("jwt", ["token", "--root", "store", "--allow", "read"]),
        ("httpx", ["list-shards", "--api", "http://127.0.0.1:9"]),
    ],
)
def test_what_is_missing_is_named(missing: str, words: list[str], store: Path) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from carv2.cli.main import entry; entry()"
    done = subprocess.run(
        [sys.executable, "-c", code, "dagstore", *words],
        cwd=store,
        capture_output=True,
        text=True,
        check=False,
        env=dict(os.environ),
    )
    assert done.returncode == 1
    assert {"jwt": "PyJWT"}.get(missing, missing) in done.stderr
    assert "pip install 'carv2[rpc]'" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_secret_where_there_is_no_folder_is_named(store: Path) -> None:
    ran = run(store, ["dagstore", "token", "--root", "store", "--allow", "read", "--token-secret", "no/secret"])
    assert (ran.code, ran.err) == (1, "carv2: no/secret: there is no folder for it\n")


def test_a_shard_that_needs_fsspec_is_not_registered_without(store: Path) -> None:
    code = (
        "import importlib.util, sys; importlib.util.find_spec = lambda *_: None; "
        "from carv2.cli.main import entry; entry()"
    )
    words = ["dagstore", "register-shard", "--root", "store", "far", "http://127.0.0.1:9/x.car"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=store, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "pip install 'carv2[remote]'" in done.stderr
    with DagStore(store / "store", go_on=False) as opened:
        assert "far" not in opened


@pytest.mark.parametrize("path", ["/metrics", "/health/", "/ipfs/bafkqaaa"])
def test_another_page_of_the_server_is_no_api(path: str) -> None:
    with pytest.raises(ValueError, match=r"is no address of an API: leave the path out"):
        DagStoreClient(f"http://127.0.0.1:7878{path}")
