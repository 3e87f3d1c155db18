"""What carv2's gateway serves, carv2's fetch takes: both sides of the specification, held against a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from carv2.blockstore import MemoryBlockstore
from carv2.cid import CID
from carv2.errors import FetchError, PathNotFoundError
from carv2.ipfs import FetchOptions, fetch
from ipfs.test_fetch import DAG, QUICK, REQUESTS, ROOT, check, left
from ipfs.webgateway import WebGateway

pytest.importorskip("uvicorn")
pytest.importorskip("httpx")

from carv2.ipfs.gateway import create_gateway
from ipfs.gateway_server import served

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STORE = MemoryBlockstore([(CID(cid), data) for cid, data in DAG.blocks.items()])
MODEL = WebGateway(DAG.blocks)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    app = create_gateway(STORE)
    with served(app) as found:
        yield found
    app.close()


@pytest.mark.parametrize("dups", [False, True])
@pytest.mark.parametrize("name", [*REQUESTS, "all"])
def test_each_kind_of_request(url: str, tmp_path: Path, name: str, dups: bool) -> None:
    request: dict[str, Any] = REQUESTS.get(name, {})
    found = fetch(ROOT.cid, tmp_path / "out.car", url, **request, options=FetchOptions(dups=dups))
    check(tmp_path / "out.car", MODEL, **request)
    assert (found.failures, found.question_count) == ((), 1)


def test_nothing_at_the_path(url: str, tmp_path: Path) -> None:
    with pytest.raises((PathNotFoundError, FetchError)):
        fetch(ROOT.cid, tmp_path / "out.car", url, "folder/nothing")
    assert left(tmp_path) == []


def test_what_its_store_lacks_comes_from_another(url: str, tmp_path: Path) -> None:
    """It breaks its answer off; nothing of what came before that is asked for again."""
    gone = list(DAG.blocks)[5]
    app = create_gateway(MemoryBlockstore([(CID(cid), data) for cid, data in DAG.blocks.items() if cid != gone]))
    with served(app) as lacking:
        with pytest.raises(FetchError):
            fetch(ROOT.cid, tmp_path / "out.car", lacking, options=QUICK)
        found = fetch(ROOT.cid, tmp_path / "out.car", [lacking, url], options=QUICK)
    app.close()
    assert {error.url for error in found.failures} <= {lacking}
    check(tmp_path / "out.car", MODEL)
