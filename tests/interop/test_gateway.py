"""What boxo's gateway sends, checked as it arrives; compared with what the tests take for a response, and with
what carv2's own gateway sends.
"""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING, Any

import pytest

import carv2
from carv2 import CID
from carv2.errors import PathNotFoundError
from carv2.ipfs.gateway import create_gateway
from carv2.unixfs import read, resolve, verify_stream
from helpers import archives
from helpers.unixfs import Dag, Made
from interop.conftest import HERE, Peer, go_program
from ipfs import gateway_server
from unixfs_read.gateway import Gateway
from unixfs_read.stores import store_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Ask = Callable[..., bytes]

SCOPES = ("all", "entity", "block")


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Peer:
    """boxo's gateway, without its web server. ``CARV2_GATEWAY_PEER`` names the program, if it is built already."""
    given = os.environ.get("CARV2_GATEWAY_PEER")
    if given:
        return Peer((given,))
    return go_program(tmp_path_factory, "boxo's gateway", HERE / "gateway")


def sample() -> tuple[Dag, Made]:
    """A bit of everything that go-unixfsnode reads as others do: no payload beside links."""
    dag = Dag()
    same, other = dag.raw(b"same"), dag.raw(b"other")
    left = dag.file([same, other, same])
    big = dag.file([left, left, dag.file([other, dag.leaf(b"old", v0=True)]), dag.file([same])])
    folder = dag.directory({"big": big, "link": dag.symlink(b"big"), "one": same})
    names = {f"name {at}": dag.raw(b"%d" % at) for at in range(40)}
    sharded = dag.hamt({**names, "big": big, "folder": folder}, fanout=8)
    return dag, dag.directory({"again": folder, "empty": dag.directory({}), "folder": folder, "sharded": sharded})


@pytest.fixture
def ask(gateway: Peer, tmp_path: Path) -> Ask:
    """The response to a request for what is in a DAG."""

    def response(
        dag: Dag,
        root: Made,
        path: str,
        scope: str,
        *,
        dups: bool,
        byte_range: tuple[int, int | None] | None = None,
    ) -> bytes:
        archive = tmp_path / "in.car"
        archive.write_bytes(dag.archive(root))
        words = [archive, f"/ipfs/{CID(root.cid)}/{path}".rstrip("/"), scope, "y" if dups else "n"]
        words += [word for word in byte_range or () if word is not None]
        done = gateway.run(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return response


@pytest.mark.parametrize("dups", [True, False])
@pytest.mark.parametrize("scope", SCOPES)
def test_whole_responses(ask: Ask, scope: Any, dups: bool) -> None:
    dag, root = sample()
    for path in (
        "",
        "folder",
        "again/one",
        "sharded",
        "sharded/name 7",
        "sharded/folder/big",
        "folder/link",
        "empty",
    ):
        sent = ask(dag, root, path, scope, dups=dups)
        found = list(verify_stream([sent], root.cid, path, scope=scope, dups=dups))
        expected = Gateway(dag.blocks).answer(root.cid, path, scope=scope, dups=dups)
        assert [(block.cid_bytes, block.data) for block in found] == expected
        assert [(bytes(block.cid), block.data) for block in carv2.iter_blocks([sent])] == expected


RANGES = [
    (0, None),
    (0, 0),
    (4, 8),
    (-3, None),
    (3, -4),
    (-1, -1),
    (30, 31),
    (13, 25),
    (0, -1),
    (13, 13),
    (12, 13),
]


@pytest.mark.parametrize("byte_range", RANGES, ids=str)
def test_ranges(ask: Ask, byte_range: tuple[int, int | None]) -> None:
    dag, root = sample()
    size = resolve(store_of(dag), root.cid, "folder/big").size
    assert size is not None
    first, last = byte_range
    wanted = range(size)[first : None if last in {None, -1} else (last or 0) + 1]
    for dups in (True, False):
        sent = ask(dag, root, "folder/big", "entity", dups=dups, byte_range=byte_range)
        found = list(
            verify_stream([sent], root.cid, "folder/big", scope="entity", byte_range=byte_range, dups=dups)
        )
        arrived = Dag()
        arrived.blocks.update((block.cid_bytes, block.data) for block in found)
        cid = resolve(store_of(arrived), root.cid, "folder/big").cid
        ours = b"".join(read(store_of(arrived), cid, wanted.start, wanted.stop))
        whole = b"".join(read(store_of(dag), cid))
        assert ours == whole[wanted.start : wanted.stop]


def random_file(dag: Dag, luck: random.Random) -> Made:
    level = [
        (dag.raw if luck.random() < 0.7 else dag.leaf)(bytes([luck.randrange(4)]) * luck.choice([1, 3, 5, 5]))
        for _ in range(luck.randrange(1, 40))
    ]
    width = luck.choice([2, 3, 5])
    while len(level) > 1:
        level = [dag.file(level[at : at + width]) for at in range(0, len(level), width)]
    return level[0]


@pytest.mark.parametrize("seed", range(8))
def test_ranges_of_trees_of_any_height(ask: Ask, seed: int) -> None:
    luck = random.Random(seed)
    dag = Dag()
    file = random_file(dag, luck)
    root = dag.hamt(
        {"file": file, **{f"{at}": dag.raw(b"%d" % at) for at in range(30)}}, fanout=luck.choice([8, 256])
    )
    for _ in range(6):
        first, last = sorted((luck.randrange(file.size), luck.randrange(file.size)))
        byte_range = luck.choice(
            [(first, last), (first - file.size, last), (first, last - file.size), (first, None)]
        )
        dups = luck.random() < 0.5
        sent = ask(dag, root, "file", "entity", dups=dups, byte_range=byte_range)
        expected = Gateway(dag.blocks).answer(root.cid, "file", scope="entity", byte_range=byte_range, dups=dups)
        found = verify_stream([sent], root.cid, "file", scope="entity", byte_range=byte_range, dups=dups)
        assert [(block.cid_bytes, block.data) for block in found] == expected


@pytest.mark.parametrize("dups", [True, False])
@pytest.mark.parametrize("scope", SCOPES)
def test_paths_through_dag_cbor(ask: Ask, scope: Any, dups: bool) -> None:
    dag = Dag()
    folder = dag.directory({"fish": dag.raw(b"fish")})
    root = dag.put(b"\xa2\x61a\x01\x61l" + archives.link(folder.cid), codec=archives.DAG_CBOR)
    last = {}
    for path in ("", "a", "l", "l/fish"):
        sent = ask(dag, root, path, scope, dups=dups)
        last[path] = list(verify_stream([sent], root.cid, path, scope=scope, dups=dups))[-1].path
    below = {"": "fish", "a": "a/fish", "l": "l/fish", "l/fish": "l/fish"}
    # the map has no names for links: what is below it is named from the directory on
    assert last == (below if scope == "all" else {"": "", "a": "a" if dups else "", "l": "l", "l/fish": "l/fish"})


@pytest.mark.parametrize("path", ["nothing", "folder/nothing", "folder/one/nothing", "sharded/nothing"])
def test_proofs_that_a_path_is_not_there(ask: Ask, path: str) -> None:
    dag, root = sample()
    for scope in SCOPES:
        with pytest.raises(PathNotFoundError, match="no 'nothing'"):
            list(verify_stream([ask(dag, root, path, scope, dups=True)], root.cid, path, scope=scope))  # type: ignore[arg-type]


# -- carv2's gateway beside boxo's -------------------------------------------------------------------------------


def ours(dag: Dag, root: Made, path: str, scope: str, *, dups: bool, span: str = "") -> list[tuple[bytes, bytes]]:
    app = create_gateway({CID(cid): data for cid, data in dag.blocks.items()})
    params = {"format": "car", "dag-scope": scope, "car-dups": "y" if dups else "n", "entity-bytes": span}
    answer = gateway_server.ask(app, f"/ipfs/{CID(root.cid)}/{path}", params=params)
    app.close()
    assert answer.status_code == 200, answer.text
    return sections(answer.content)


def sections(archive: bytes) -> list[tuple[bytes, bytes]]:
    return [(block.cid_bytes, block.data) for block in carv2.iter_blocks([archive])]


@pytest.mark.parametrize("dups", [True, False])
@pytest.mark.parametrize("scope", SCOPES)
def test_our_gateway_sends_what_boxos_sends(ask: Ask, scope: str, dups: bool) -> None:
    dag, root = sample()
    for path in ("", "folder", "again/one", "sharded", "sharded/name 7", "sharded/folder/big", "folder/link"):
        assert ours(dag, root, path, scope, dups=dups) == sections(ask(dag, root, path, scope, dups=dups))


@pytest.mark.parametrize("seed", range(4))
def test_our_gateway_sends_of_a_range_what_boxos_sends(ask: Ask, seed: int) -> None:
    luck = random.Random(seed)
    dag = Dag()
    file = random_file(dag, luck)
    root = dag.directory({"file": file})
    for _ in range(6):
        first, last = sorted((luck.randrange(file.size), luck.randrange(file.size)))
        for byte_range in ((first, last), (first, None), (first - file.size, last)):
            dups = luck.random() < 0.5
            span = f"{byte_range[0]}:{'*' if byte_range[1] is None else byte_range[1]}"
            sent = sections(ask(dag, root, "file", "entity", dups=dups, byte_range=byte_range))
            assert ours(dag, root, "file", "entity", dups=dups, span=span) == sent
