"""Where shards are is told to admins only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from carv2.dagstore import DagStore, FileMount
from carv2.errors import RpcError, ShardErroredError
from carv2.rpc import DagStoreClient
from carv2.rpc._veiled import veiled
from rpc.serving import make_token, served

if TYPE_CHECKING:
    from pathlib import Path


def test_only_an_admin_sees_where_shards_are(tmp_path: Path) -> None:
    folder = tmp_path / "my data"
    for name in ("a.car", "b.car"):
        (folder / name).mkdir(parents=True)  # no file
    with DagStore(tmp_path / "store") as opened:
        opened.register_many([("a", FileMount(folder / "a.car")), ("b", FileMount(folder / "b.car"))])
        with pytest.raises(ShardErroredError):
            opened.initialize("a")
    writer, admin = make_token(tmp_path, "read,write"), make_token(tmp_path)
    with served(tmp_path) as (url, _):
        told: list[str] = []
        with DagStoreClient(url) as client:
            told += [info.error for info in client.list()]
        with DagStoreClient(url, token=writer) as client:
            with pytest.raises(RpcError) as caught:
                client.recover("a")
            told += [str(caught.value)]
            told += [event.error for event in client.initialize_all(include_sealed=True)]
        with DagStoreClient(url, token=admin) as client:
            shown = [info.error for info in client.list()]
    assert told[0] == "not a regular file"
    assert "not a regular file" in told[-1]
    assert not [text for text in told if "data" in text or "://" in text or str(tmp_path) in text]
    assert all("a.car" in text or "b.car" in text for text in shown)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("there is nothing (file:///data/a.car)", "there is nothing"),
        ("OSError: [Errno 5] I/O error: '/data/a b/x'", "OSError: [Errno 5] I/O error: …"),
        ("HTTP 404 of https://example.org/a?b, after 3 tries", "HTTP 404 of …, after 3 tries"),
        ("/data/a.car: not a CAR", "…: not a CAR"),
        ("text/html, expected application/octet-stream", "text/html, expected application/octet-stream"),
    ],
)
def test_the_reason_stays(text: str, seen: str) -> None:
    assert veiled(text) == seen
