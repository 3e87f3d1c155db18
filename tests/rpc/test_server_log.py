"""What a server writes of errors: once, and nothing of clients that are gone."""

from __future__ import annotations

import http.client
import logging
import signal
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pytest

from carv2.cli.serving import Tracebacks
from cli.running import SOURCE
from rpc.serving import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def passes(tracebacks: Tracebacks, error: BaseException | None) -> bool:
    about: Any = None if error is None else (type(error), error, None)
    record = logging.getLogger("test").makeRecord("test", logging.ERROR, "", 1, "it broke", (), about)
    return bool(tracebacks.filter(record))


def test_who_is_gone_is_no_news() -> None:
    tracebacks = Tracebacks((ConnectionError,))
    assert not passes(tracebacks, ConnectionError("gone"))
    assert not passes(tracebacks, BrokenPipeError("gone"))
    assert passes(tracebacks, OSError("no room"))


def test_what_is_no_error_passes_always() -> None:
    tracebacks = Tracebacks((), most=1)
    assert [passes(tracebacks, error) for error in (OSError(), None, None)] == [True] * 3


def test_the_same_passes_once_a_minute() -> None:
    clock = Clock()
    tracebacks = Tracebacks((), clock=clock)
    assert [passes(tracebacks, OSError("no room")) for _ in range(3)] == [True, False, False]
    assert passes(tracebacks, OSError("no light"))
    assert passes(tracebacks, ValueError("no room"))
    clock.now = 59.9
    assert not passes(tracebacks, OSError("no room"))
    clock.now = 60.0  # since it was written, not since it happened
    assert [passes(tracebacks, OSError("no room")) for _ in range(2)] == [True, False]


def test_ever_different_ones_are_limited_too() -> None:
    clock = Clock()
    tracebacks = Tracebacks((), most=4, clock=clock)
    assert sum(passes(tracebacks, OSError(str(number))) for number in range(1000)) == 4
    assert len(tracebacks._said) == 4
    clock.now = 60.0
    assert passes(tracebacks, OSError("999"))
    assert len(tracebacks._said) == 1


def test_a_long_text_is_not_kept() -> None:
    tracebacks = Tracebacks(())
    assert passes(tracebacks, OSError("x" * (1 << 20)))
    assert len(next(iter(tracebacks._said))[1]) <= 500


SERVER = """
    from carv2.cli import serving
    from carv2.ipfs.gateway._exchange import ClientGoneError
    from carv2.rpc import ServerLimits
    from starlette.requests import ClientDisconnect
    from starlette.websockets import WebSocketDisconnect

    ERRORS = {
        "/gone": ClientGoneError("took nothing"),
        "/left": ClientDisconnect(),
        "/ws": WebSocketDisconnect(1006),
    }

    async def app(scope, receive, send):
        raise ERRORS.get(scope["path"], RuntimeError("an error of ours"))

    with serving.bound(serving.listen("127.0.0.1:0")) as server:
        serving.run(app, server, ServerLimits(), lambda: print(server.getsockname()[1], flush=True))
"""


@pytest.mark.parametrize(("path", "count"), [("/gone", 0), ("/left", 0), ("/ws", 0), ("/bug", 1)])
def test_a_server_writes_an_error_once_and_nothing_of_who_is_gone(path: str, count: int, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(SERVER)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(SOURCE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline() or b"0")
        assert port, process.communicate()[1].decode()
        for _ in range(5):
            peer = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
            peer.request("GET", path)
            assert peer.getresponse().status == 500
            peer.close()
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=PATIENCE)
        assert (process.returncode, err.count(b"Traceback"), err.count(b"an error of ours")) == (0, count, count)
        assert count or not err
    finally:
        process.kill()
        process.communicate()
