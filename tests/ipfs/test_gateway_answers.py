"""What the gateway answers to requests that are in order, and to those that are not."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

import carv2
from carv2 import CID
from carv2.blockstore import MemoryBlockstore, ReadOnlyBlockstore
from carv2.codec import encode
from carv2.dagstore import BytesMount, DagStore
from carv2.errors import MountError, WaitTimeoutError
from carv2.ipfs.gateway import GatewayLimits, create_gateway
from carv2.ipfs.gateway._log import Repeats
from carv2.ipfs.gateway._reader import PIECE, pieces_of
from carv2.unixfs import RequestedBlock, form_of, read, verify_stream
from helpers import archives
from helpers.shared import shared_fixture
from helpers.unixfs import Dag, Made, identity
from ipfs.gateway_server import ask, call
from unixfs_read import gateway as model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from carv2.unixfs._request import Scope

CAR_TYPE, RAW_TYPE = "application/vnd.ipld.car", "application/vnd.ipld.raw"
ABSENT = CID.of_data(b"nobody has this")


def sample() -> tuple[Dag, Made]:
    dag = Dag()
    same, other = dag.raw(b"same"), dag.raw(b"other")
    left = dag.file([same, other, same])
    inner = identity(b"in", codec=archives.RAW)._replace(size=2)
    right = dag.file([other, dag.leaf(b"old", v0=True), inner], inline=b"!")
    big = dag.file([left, left, right, dag.file([same])])
    folder = dag.directory({"big": big, "link": dag.symlink(b"big"), "one": same})
    names = {f"name {at}": dag.raw(b"%d" % at) for at in range(40)}
    sharded = dag.hamt({**names, "big": big, "folder": folder, "ü?%.txt": same}, fanout=8)
    return dag, dag.directory({"again": folder, "empty": dag.directory({}), "folder": folder, "sharded": sharded})


DAG, ROOT = sample()
CID_TEXT = str(CID(ROOT.cid))
MODEL = model.Gateway(DAG.blocks)
STORE = MemoryBlockstore((CID(cid), data) for cid, data in DAG.blocks.items())


@pytest.fixture(scope="module")
def app() -> Iterator[Any]:
    gateway = create_gateway(STORE)
    yield gateway
    gateway.close()


def blocks_of(body: bytes) -> list[tuple[bytes, bytes]]:
    return [(block.cid_bytes, block.data) for block in carv2.iter_blocks([body])]


# -- archives ---------------------------------------------------------------------------------------------------

PATHS = ["", "folder", "again/one", "sharded", "sharded/name 7", "sharded/folder/big", "folder/link", "empty"]
RANGES = ["0:*", "0:0", "4:8", "-3:*", "3:-4", "-1:-1", "30:31", "13:25", "1000:*", "0:-1", "-999:-3"]
ASKED = [(path, scope, None) for path in PATHS for scope in ("all", "entity", "block")] + [
    (path, "entity", text) for path in ("folder/big", "sharded/big", "folder/one", "folder") for text in RANGES
]


def as_range(text: str | None) -> tuple[int, int | None] | None:
    if text is None:
        return None
    first, _, last = text.partition(":")
    return int(first), None if last == "*" else int(last)


@pytest.mark.parametrize(("path", "scope", "span"), ASKED)
@pytest.mark.parametrize("dups", ["y", "n"])
def test_an_archive_has_the_blocks_of_the_specification_in_their_order(
    app: Any, path: str, scope: str, span: str | None, dups: str
) -> None:
    params = {"format": "car", "dag-scope": scope, "car-dups": dups, **({"entity-bytes": span} if span else {})}
    answer = ask(app, f"/ipfs/{CID_TEXT}/{path}", params=params)
    assert answer.status_code == 200
    asked: dict[str, Any] = {"scope": scope, "byte_range": as_range(span)}
    assert blocks_of(answer.content) == MODEL.answer(ROOT.cid, path, dups=dups == "y", **asked)
    form = form_of(answer.headers["content-type"])
    assert form["order"] == "dfs"
    assert form["dups"] == (dups == "y")
    assert list(verify_stream([answer.content], ROOT.cid, path, **asked, **form))


def test_the_root_of_an_archive_is_what_is_at_the_end_of_the_path(app: Any) -> None:
    answer = ask(app, f"/ipfs/{CID_TEXT}/folder/big?format=car")
    with carv2.open(answer.content) as archive, ReadOnlyBlockstore(answer.content) as store:
        assert b"".join(read(store, archive.roots[0])) == b"sameothersame" * 2 + b"!otheroldinsame"


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("dups", ["y", "n"])
def test_a_block_that_is_linked_to_by_two_codecs_is_a_block_of_each(dups: str, order: int) -> None:
    dag = Dag()
    file = dag.file([dag.raw(b"a"), dag.raw(b"b")])
    as_raw = file._replace(cid=b"\x01\x55" + file.cid[2:])
    root = dag.directory(dict(sorted({"x": file, "y": as_raw, "z": file}.items())[::order]))
    store = {CID(cid): data for cid, data in dag.blocks.items()}
    app = create_gateway({**store, CID(as_raw.cid): dag.blocks[file.cid]})
    scopes: tuple[Scope, ...] = ("all", "entity")
    for scope in scopes:
        answer = ask(app, f"/ipfs/{CID(root.cid)}?format=car&car-dups={dups}&dag-scope={scope}")
        form = form_of(answer.headers["content-type"])
        found = list(verify_stream([answer.content], root.cid, scope=scope, **form))
        assert len(found) == {("y", "all"): 8, ("n", "all"): 5}.get((dups, scope), 1)
    app.close()


@pytest.mark.parametrize("dups", ["y", "n"])
def test_a_path_may_end_inside_a_block(dups: str) -> None:
    fish = CID.of_data(b"fish")
    data = encode("dag-cbor", {"a": {"b": [1, fish]}, "other": CID.of_data(b"other")})
    root = CID.of_data(data, codec="dag-cbor")
    app = create_gateway({root: data, fish: b"fish", CID.of_data(b"other"): b"other"})
    for path, scope, expected in (
        ("a", "all", [data, b"fish", b"other"]),  # a block is whole, and so is what it links to
        ("a/b", "entity", [data]),
        ("a/b/0", "block", [data]),
        ("a/b/1", "block", [data, b"fish"]),
    ):
        answer = ask(app, f"/ipfs/{root}/{path}?format=car&dag-scope={scope}&car-dups={dups}")
        assert [block for _, block in blocks_of(answer.content)] == expected
        roots = answer.headers["x-ipfs-roots"].split(",")
        assert roots == [str(root), str(fish)][: 2 if path == "a/b/1" else 1]
    assert ask(app, f"/ipfs/{root}/a/c?format=car").status_code == 404
    app.close()


def test_a_range_implies_the_scope_entity(app: Any) -> None:
    for scope in ("all", "block", ""):
        answer = ask(app, f"/ipfs/{CID_TEXT}/folder/big?format=car&entity-bytes=4:8&dag-scope={scope}")
        asked: dict[str, Any] = {"scope": "entity", "byte_range": (4, 8), "dups": False}
        assert blocks_of(answer.content) == MODEL.answer(ROOT.cid, "folder/big", **asked)


def test_a_range_needs_no_blocks_outside_of_it() -> None:
    dag = Dag()
    leaves = [dag.raw(bytes([at]) * 10) for at in range(3)]
    root = CID(dag.file(leaves).cid)
    store = {CID(cid): data for cid, data in dag.blocks.items() if cid != leaves[1].cid}
    app = create_gateway(store)
    ask_for = f"/ipfs/{root}?format=car&entity-bytes="
    assert [blocks_of(ask(app, ask_for + span).content)[1][0] for span in ("0:9", "20:*")] == [
        leaves[0].cid,
        leaves[2].cid,
    ]
    assert ask(app, ask_for + "5:15").status_code == 404
    app.close()


def test_an_archive_of_an_identity_cid_is_empty_and_so_is_the_probe(app: Any) -> None:
    for cid in ("bafkqaaa", "bafkqaf3imvwgy3zaneqgc3janfxgy2lomvscay3jmqfa"):
        answer = ask(app, f"/ipfs/{cid}", headers={"accept": f"{CAR_TYPE}; dups=y"})
        with carv2.open(answer.content) as archive:
            assert (archive.roots, list(archive)) == ((CID.of(cid),), [])
    raw = ask(app, "/ipfs/bafkqaaa?format=raw")
    assert (raw.status_code, raw.content, raw.headers["content-length"]) == (200, b"", "0")
    assert ask(app, "/ipfs/bafkqaaa?format=raw", "HEAD").status_code == 200


# -- forms ------------------------------------------------------------------------------------------------------

FORMS = [
    ("format=raw", None, RAW_TYPE),
    ("format=car", None, f"{CAR_TYPE}; version=1; order=dfs; dups=n"),
    ("", RAW_TYPE, RAW_TYPE),
    ("", CAR_TYPE, f"{CAR_TYPE}; version=1; order=dfs; dups=n"),
    ("", f"{CAR_TYPE};version=1;order=dfs;dups=y", f"{CAR_TYPE}; version=1; order=dfs; dups=y"),
    ("", f'{CAR_TYPE.upper()}; Version="1"; dups="y"', f"{CAR_TYPE}; version=1; order=dfs; dups=y"),
    ("", f"{CAR_TYPE};order=unk", f"{CAR_TYPE}; version=1; order=dfs; dups=n"),
    ("", f"{CAR_TYPE};order=foo, {CAR_TYPE};order=dfs;dups=y;q=0.5", f"{CAR_TYPE}; version=1; order=dfs; dups=y"),
    ("", f"{CAR_TYPE};q=0.5,{RAW_TYPE}", RAW_TYPE),
    ("", f"{CAR_TYPE};q=0,{RAW_TYPE};q=0.1,text/html", RAW_TYPE),
    ("", f"{CAR_TYPE},{RAW_TYPE}", f"{CAR_TYPE}; version=1; order=dfs; dups=n"),
    ("format=raw", CAR_TYPE, RAW_TYPE),  # the URL comes first
    ("format=car", f"{RAW_TYPE}, */*", f"{CAR_TYPE}; version=1; order=dfs; dups=n"),
    ("format=car", f"{CAR_TYPE};dups=y", f"{CAR_TYPE}; version=1; order=dfs; dups=y"),
    ("format=car&car-dups=n", f"{CAR_TYPE};dups=y", f"{CAR_TYPE}; version=1; order=dfs; dups=n"),
    ("format=car&car-version=1&car-order=unk&car-dups=y", None, f"{CAR_TYPE}; version=1; order=dfs; dups=y"),
    ("car-order=dfs", f"{CAR_TYPE};order=foo", f"{CAR_TYPE}; version=1; order=dfs; dups=n"),
    ("format=car&format=raw", None, f"{CAR_TYPE}; version=1; order=dfs; dups=n"),
]


@pytest.mark.parametrize(("query", "accept", "expected"), FORMS)
def test_the_form_is_what_the_url_says_or_else_the_header(
    app: Any, query: str, accept: str | None, expected: str
) -> None:
    answer = ask(app, f"/ipfs/{CID_TEXT}?{query}", headers={"accept": accept} if accept else {})
    assert (answer.status_code, answer.headers["content-type"]) == (200, expected)
    dups = answer.headers["content-type"].endswith("dups=y")
    if expected == RAW_TYPE:
        assert answer.content == DAG.blocks[ROOT.cid]
    else:
        assert blocks_of(answer.content) == MODEL.answer(ROOT.cid, dups=dups)
    same = answer.headers.get("content-location")
    assert (same is None) == ("format" in query)
    if same is not None:
        assert ask(app, same).content == answer.content


REFUSED = [
    (f"/ipfs/{CID_TEXT}", 400),  # no form
    (f"/ipfs/{CID_TEXT}?format=", 400),
    (f"/ipfs/{CID_TEXT}?format=zip", 400),
    (f"/ipfs/{CID_TEXT}?format=tar", 406),
    (f"/ipfs/{CID_TEXT}?format=ipns-record", 406),
    (f"/ipfs/{CID_TEXT}?format=car&car-version=2", 400),
    (f"/ipfs/{CID_TEXT}?format=car&car-order=bfs", 400),
    (f"/ipfs/{CID_TEXT}?format=car&car-dups=maybe", 400),
    (f"/ipfs/{CID_TEXT}?format=car&dag-scope=some", 400),
    (f"/ipfs/{CID_TEXT}?format=raw&dag-scope=all", 400),
    (f"/ipfs/{CID_TEXT}/folder?format=raw", 400),
    ("/ipfs/?format=raw", 400),
    ("/ipfs/nonsense?format=raw", 400),
    (f"/ipfs/{CID_TEXT[:-1]}?format=raw", 400),
    (f"/ipfs/{CID_TEXT}/../x?format=car", 400),
    (f"/ipfs/{CID_TEXT}/%2e%2e/x?format=car", 400),
    *((f"/ipfs/{CID_TEXT}/folder/big?format=car&entity-bytes={text}", 400)
      for text in ("x", "5", "5:", ":5", "*:5", "9:5", "-3:-5", "0:1:2", "1" * 30 + ":*", "0:%2B5", "0: 5")),
    ("/ipns/example.org?format=car", 501),
    ("/", 404),
    ("/ipfs", 404),
    (f"/ipfs/{ABSENT}?format=raw", 404),
    (f"/ipfs/{ABSENT}?format=car", 404),
    (f"/ipfs/{ABSENT}?format=car&dag-scope=block", 404),
    (f"/ipfs/{ABSENT}/a/path?format=car", 404),
    (f"/ipfs/{CID_TEXT}/nothing?format=car", 404),
    (f"/ipfs/{CID_TEXT}/folder/one/below?format=car", 404),
    (f"/ipfs/{CID_TEXT}/sharded/nothing?format=car", 404),
    (f"/ipfs/{CID_TEXT}/a%2Fb?format=car", 404),
    (f"/ipfs/{CID_TEXT}/{'a' * 9000}?format=car", 414),
    (f"/ipfs/{CID_TEXT}?format=car&" + "&".join(["a=b"] * 65), 400),
]  # fmt: skip


@pytest.mark.parametrize(("url", "status"), REFUSED)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_cannot_be_answered_is_an_http_error_that_says_why(
    app: Any, url: str, status: int, method: str
) -> None:
    answer = ask(app, url, method)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert "cache-control" not in answer.headers
    assert bool(answer.text.strip()) == (method == "GET")
    assert len(answer.text) < 600


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("*/*", 400), ("text/html,*/*;q=0.8", 400), ("application/*", 400), ("", 400), (";;,,;q=", 400),
        ("text/html", 406), ("application/vnd.ipfs.ipns-record", 406), (f"{CAR_TYPE};version=2", 406),
        (f"{CAR_TYPE};order=bfs", 406), (f"{CAR_TYPE};dups=x", 406), (f"{RAW_TYPE};q=0,text/plain", 406),
    ],
)  # fmt: skip
def test_an_accept_header_with_nothing_that_is_served_is_refused(
    app: Any, accept: str | None, status: int
) -> None:
    assert ask(app, f"/ipfs/{CID_TEXT}", headers={"accept": accept}).status_code == status


def test_only_reading_is_allowed(app: Any) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        answer = ask(app, f"/ipfs/{CID_TEXT}?format=raw", method, content=b"x" * 1000)
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, OPTIONS")


# -- headers ----------------------------------------------------------------------------------------------------


def test_headers_of_a_block(app: Any) -> None:
    answer = ask(app, f"/ipfs/{CID_TEXT}?format=raw")
    expected = {
        "content-length": str(len(DAG.blocks[ROOT.cid])),
        "content-disposition": f'attachment; filename="{CID_TEXT}.bin"',
        "x-content-type-options": "nosniff",
        "etag": f'"{CID_TEXT}.raw"',
        "cache-control": "public, max-age=29030400, immutable",
        "x-ipfs-path": f"/ipfs/{CID_TEXT}",
        "x-ipfs-roots": CID_TEXT,
        "access-control-allow-origin": "*",
    }
    assert {name: answer.headers[name] for name in expected} == expected


def test_headers_of_an_archive(app: Any) -> None:
    answer = ask(app, f"/ipfs/{CID_TEXT}/sharded/ü?format=car".replace("ü", "ü%3F%25.txt"))
    store = dict(STORE.items()) if hasattr(STORE, "items") else STORE
    assert answer.status_code == 200
    assert answer.headers["content-disposition"] == f'attachment; filename="{CID_TEXT}.car"'
    assert answer.headers["x-ipfs-path"] == f"/ipfs/{CID_TEXT}/sharded/%C3%BC%3F%25.txt"
    roots = answer.headers["x-ipfs-roots"].split(",")
    assert (len(roots), roots[0], roots[2]) == (3, CID_TEXT, str(CID.of_data(b"same")))
    assert roots[1] in {str(cid) for cid in store}
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["accept-ranges"] == "none"


@pytest.mark.parametrize("query", ["format=raw", "format=car", "format=car&dag-scope=block"])
def test_head_has_the_headers_and_no_body(app: Any, query: str) -> None:
    url = f"/ipfs/{CID_TEXT}?{query}"
    whole, head = ask(app, url), ask(app, url, "HEAD")
    assert (head.status_code, head.content) == (200, b"")
    missing = set(whole.headers.items()) - set(head.headers.items())
    assert {name for name, _ in missing} <= ({"content-length"} if "car" in query else set())


NAMES = [
    ("fish.car", 'attachment; filename="fish.car"'),
    ("../../etc/fi%0d%0ash", "attachment; filename=\"fi__sh\"; filename*=UTF-8''fi%0D%0Ash"),
    ('a"; b=c', "attachment; filename=\"a__ b_c\"; filename*=UTF-8''a%22%3B%20b%3Dc"),
    ("C:\\x\\ü.car", "attachment; filename=\"_.car\"; filename*=UTF-8''%C3%BC.car"),
]


@pytest.mark.parametrize(("name", "expected"), NAMES)
def test_a_file_name_of_the_request_cannot_do_harm(app: Any, name: str, expected: str) -> None:
    name = name.replace("%0d%0a", "\r\n")
    answer = ask(app, f"/ipfs/{CID_TEXT}", params={"format": "raw", "filename": name})
    assert answer.headers["content-disposition"] == expected


def test_what_a_client_has_is_not_sent_again(app: Any) -> None:
    for query in ("format=raw", "format=car", "format=car&entity-bytes=0:*"):
        url = f"/ipfs/{CID_TEXT}?{query}"
        etag = ask(app, url).headers["etag"]
        for given in (etag, etag.removeprefix("W/"), f'"other", W/{etag.removeprefix("W/")}', "*"):
            answer = ask(app, url, headers={"if-none-match": given})
            assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag)
        assert ask(app, url, headers={"if-none-match": '"other"'}).status_code == 200
    assert ask(app, f"/ipfs/{ABSENT}?format=raw", headers={"if-none-match": "*"}).status_code == 404


def test_each_answer_has_an_etag_of_its_own(app: Any) -> None:
    queries = ["format=raw"] + [
        f"format=car{more}"
        for more in (
            "",
            "&car-dups=y",
            "&dag-scope=block",
            "&dag-scope=entity",
            "&entity-bytes=0:*",
            "&entity-bytes=1:*",
        )
    ]
    urls = [f"/ipfs/{CID_TEXT}?{query}" for query in queries] + [f"/ipfs/{CID_TEXT}/folder?format=car"]
    etags = [ask(app, url).headers["etag"] for url in urls]
    assert len(set(etags)) == len(urls)
    assert [re.sub(r"^.*\.car\.(\w+)\..*$", r"\1", etag) for etag in etags[1:5]] == [
        "all",
        "all",
        "block",
        "entity",
    ]


def test_only_if_cached_is_precondition_failed_where_the_root_is_not_here(app: Any) -> None:
    headers = {"cache-control": "max-age=0, Only-If-Cached"}
    assert ask(app, f"/ipfs/{ABSENT}?format=raw", "HEAD", headers=headers).status_code == 412
    assert ask(app, f"/ipfs/{CID_TEXT}?format=raw", "HEAD", headers=headers).status_code == 200


def test_pages_of_other_origins_may_read_unless_told_otherwise(app: Any) -> None:
    preflight = ask(app, f"/ipfs/{CID_TEXT}", "OPTIONS")
    assert (preflight.status_code, preflight.headers["access-control-allow-methods"]) == (
        204,
        "GET, HEAD, OPTIONS",
    )
    closed = create_gateway(STORE, cors=False)
    for method in ("GET", "OPTIONS"):
        answer = ask(closed, f"/ipfs/{CID_TEXT}?format=raw", method)
        assert not [name for name in answer.headers if name.startswith("access-control")]
    closed.close()


# -- what the storage does --------------------------------------------------------------------------------------


class Failing(dict[CID, bytes]):
    error: Exception

    def __getitem__(self, cid: CID) -> bytes:
        raise self.error


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (OSError("no such file: /secret/place"), 500),
        (MountError("gone", url="file:///secret/place"), 500),
        (RuntimeError("/secret/place"), 500),
        (WaitTimeoutError("shard /secret/place", seconds=1), 504),
        (carv2.IntegrityError("/secret/place", cid=ABSENT, position=7), 500),
        (carv2.FormatError("/secret/place", position=7), 500),
    ],
)
def test_faults_of_the_storage_are_ours_and_stay_in_the_log(
    error: Exception, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    store = Failing()
    store.error = error
    for query in ("format=raw", "format=car"):
        app = create_gateway(store)
        caplog.clear()
        answer = ask(app, f"/ipfs/{ABSENT}?{query}")
        assert answer.status_code == status
        assert "secret" not in answer.text + str(answer.headers)
        assert "secret" in caplog.text
        assert ("Traceback" in caplog.text) == (not isinstance(error, carv2.CarError))  # anybody can repeat it
        app.close()


def test_a_damaged_block_is_never_sent(tmp_path: Path) -> None:
    data = archives.v1([archives.FISH[0]], [archives.FISH])
    path = tmp_path / "sea.car"
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with ReadOnlyBlockstore(path) as store:
        app = create_gateway(store)
        for query in ("format=raw", "format=car"):
            answer = ask(app, f"/ipfs/{CID(archives.FISH[0])}?{query}")
            assert (answer.status_code, archives.FISH[1] in answer.content) == (500, False)
            assert "damaged" in answer.text
        app.close()


def test_an_error_that_comes_again_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(dict[CID, bytes]):
        def __getitem__(self, cid: CID) -> bytes:
            raise OSError("secret disk" if str(cid) == CID_TEXT else "another disk")

    times = [0.0, 59.0, 59.9, 60.0, 119.0, 300.0, 500.0]
    app = create_gateway(Broken())
    app._repeats = Repeats(iter([*times, 500.0]).__next__)
    for expected in (1, 1, 1, 2, 2, 3, 4):
        assert ask(app, f"/ipfs/{CID_TEXT}?format=raw").status_code == 500
        assert len(caplog.records) == expected
    said = [record.getMessage().partition("secret disk")[2] for record in caplog.records]
    once = " (and 1 time more since it was told last)"
    assert said == ["", once.replace("1 time", "2 times"), once, ""]
    assert ask(app, f"/ipfs/{ABSENT}?format=raw").status_code == 500
    assert "another disk" in caplog.records[4].getMessage()
    app.close()


def test_the_errors_that_are_remembered_are_bounded() -> None:
    repeats = Repeats(lambda: 0.0)
    assert {repeats.note_of(ValueError(str(at))) for at in range(1000)} == {""}
    assert len(repeats) == 256
    assert repeats.note_of(ValueError("999")) is None
    assert repeats.note_of(TypeError("999")) == ""


def test_a_dag_that_is_not_what_it_says_is_no_fault_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    broken = CID.of_data(b"no protobuf", codec="dag-pb")
    unknown = CID.of_data(b"?", codec=0x999)
    app = create_gateway({broken: b"no protobuf", unknown: b"?"})
    assert ask(app, f"/ipfs/{broken}?format=car").status_code == 422
    assert ask(app, f"/ipfs/{broken}/a?format=car").status_code == 422
    assert ask(app, f"/ipfs/{unknown}?format=car").status_code == 501
    assert ask(app, f"/ipfs/{unknown}?format=car&dag-scope=block").status_code == 200
    assert ask(app, f"/ipfs/{unknown}?format=raw").content == b"?"
    assert not caplog.records
    app.close()


def test_a_missing_block_that_shows_before_the_answer_begins_is_not_found() -> None:
    lost = next(cid for cid in DAG.blocks if DAG.blocks[cid] == b"other")
    app = create_gateway({CID(cid): data for cid, data in DAG.blocks.items() if cid != lost})
    answer = ask(app, f"/ipfs/{CID_TEXT}?format=car")
    assert (answer.status_code, str(CID(lost)) in answer.text) == (404, True)
    assert ask(app, f"/ipfs/{CID_TEXT}/folder?format=car&dag-scope=entity").status_code == 200
    app.close()


def test_what_is_remembered_is_bounded_and_given_back() -> None:
    dag = Dag()
    root = CID(dag.file([dag.raw(b"%d" % at) for at in range(600)]).cid)
    store = {CID(cid): data for cid, data in dag.blocks.items()}
    app = create_gateway(store, limits=GatewayLimits(max_remembered=512))
    for _ in range(2):
        answer = ask(app, f"/ipfs/{root}?format=car")
        assert (answer.status_code, "dups=y" in answer.text) == (422, True)
    assert ask(app, f"/ipfs/{root}?format=car&car-dups=y").status_code == 200
    assert app._remembered.count == 0
    app.close()
    enough = create_gateway(store, limits=GatewayLimits(max_remembered=768))
    assert ask(enough, f"/ipfs/{root}?format=car").status_code == 200
    enough.close()


def test_large_blocks_are_sent_as_they_are_and_small_ones_together() -> None:
    cid = bytes(CID.of_data(b""))
    given = [bytes(3), bytes(PIECE), bytes(PIECE - 1), bytes(5), bytes(2 * PIECE), b""]
    framed = b"".join(archives.section(cid, data) for data in given)
    blocks = [RequestedBlock(cid, data, 0, "") for data in given]
    pieces = list(pieces_of(b"head", iter(blocks), None, len(framed)))
    assert b"".join(pieces) == b"head" + framed
    assert [at for at, piece in enumerate(pieces) if any(piece is data for data in given)] == [1, 4]
    assert len(pieces) == 6
    taken: list[bytes] = []
    cut = pieces_of(b"head", iter(blocks), None, len(framed) - 1)
    with pytest.raises(carv2.CarError, match="bytes of an answer"):
        taken.extend(cut)
    assert b"".join(taken) == b"head" + framed[: -len(archives.section(cid, b""))]


def test_limits_that_cannot_be_are_refused() -> None:
    for limits in ({"max_responses": 0}, {"read_timeout": float("nan")}, {"max_bytes": -1}):
        with pytest.raises(ValueError, match=next(iter(limits))):
            GatewayLimits(**limits)


# -- where it is mounted ----------------------------------------------------------------------------------------


def test_it_can_be_mounted_in_another_app() -> None:
    from starlette.applications import Starlette
    from starlette.routing import Mount

    app = create_gateway(STORE)
    for place, prefix in (("/ipfs", ""), ("/", ""), ("/gateway", "/gateway")):
        outer = Starlette(routes=[Mount(place, app)])
        assert ask(outer, f"{prefix}/ipfs/{CID_TEXT}?format=raw").content == DAG.blocks[ROOT.cid]
        assert blocks_of(ask(outer, f"{prefix}/ipfs/{CID_TEXT}/folder/one?format=car").content)[2:] == [
            (bytes(CID.of_data(b"same")), b"same")
        ]
    app.close()


def test_a_server_need_not_give_the_raw_path() -> None:
    app = create_gateway(STORE)
    path = f"/ipfs/{CID_TEXT}/sharded/ü?%.txt"
    status, body = call(app, b"", b"format=car", path=path, raw_path=None)
    assert (status, blocks_of(body)[-1][1]) == (200, b"same")
    app.close()


def test_what_is_closed_answers_no_more() -> None:
    app = create_gateway(STORE)
    assert ask(app, f"/ipfs/{CID_TEXT}?format=raw").status_code == 200
    app.close()
    app.close()
    assert ask(app, f"/ipfs/{CID_TEXT}?format=raw").status_code == 503
    counted = app.counters()
    assert (counted["answered"], counted["refused"], counted["under_way"]) == (1, 1, 0)


# -- what the gateways' own test suite has -----------------------------------------------------------------------

CONFORMANCE = [
    "dir_listing/fixtures.car", "gateway-cache/fixtures.car", "gateway-raw-block.car",
    "path_gateway_dag/dag-cbor-traversal.car", "path_gateway_dag/dag-json-traversal.car",
    "path_gateway_dag/dag-pb.car", "path_gateway_dag/gateway-json-cbor.car", "path_gateway_dag/plain-json.car",
    "path_gateway_unixfs/dir-with-files.car", "path_gateway_unixfs/dir-with-percent-encoded-filename.car",
    "path_gateway_unixfs/symlink.car",
]  # fmt: skip


@pytest.mark.parametrize("name", CONFORMANCE)
def test_the_fixtures_of_gateway_conformance_are_served_whole(name: str) -> None:
    path = shared_fixture(f"gateway-conformance/{name}")
    with ReadOnlyBlockstore(path) as store:
        app = create_gateway(store)
        for root in store.roots:
            for dups in ("y", "n"):
                answer = ask(app, f"/ipfs/{root}?format=car&car-dups={dups}")
                form = form_of(answer.headers["content-type"])
                found = {block.cid for block in verify_stream([answer.content], root, **form)}
                assert found <= set(store)
        for cid in store:
            answer = ask(app, f"/ipfs/{cid}", headers={"accept": RAW_TYPE})
            assert (answer.status_code, answer.content) == (200, store[cid])
        app.close()


# -- all shards of a DAG store ----------------------------------------------------------------------------------


def test_a_dag_store_is_served_across_its_shards(tmp_path: Path) -> None:
    halves: list[list[tuple[bytes, bytes]]] = [[], []]
    for at, block in enumerate(DAG.blocks.items()):
        halves[at % 2].append(block)
    with DagStore(tmp_path / "dagstore") as shards:
        for at, half in enumerate(halves):
            shards.register(f"piece-{at}", BytesMount(archives.v1([], half)))
        with shards.blockstore() as blocks:
            app = create_gateway(blocks)
            for dups in ("y", "n"):
                answer = ask(app, f"/ipfs/{CID_TEXT}?format=car&car-dups={dups}")
                assert blocks_of(answer.content) == MODEL.answer(ROOT.cid, dups=dups == "y")
            assert ask(app, f"/ipfs/{ABSENT}?format=raw").status_code == 404
            shards.destroy("piece-1")
            lost = CID(halves[1][0][0])
            assert ask(app, f"/ipfs/{lost}?format=raw").status_code == 404
            app.close()
