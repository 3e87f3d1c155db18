"""Each method of the API, over HTTP, as a client of Lotus' would call it."""

from __future__ import annotations

import pytest

import carv2
from carv2.errors import ShardExistsError
from carv2.rpc import make_token
from rpc.inprocess import EVERYTHING, FISH, PIECE, SECRET, Service, all_methods, archive_of

LEVELS = {
    "DagstoreListShards": "read",
    "DagstoreInitializeShard": "write",
    "DagstoreRecoverShard": "write",
    "DagstoreInitializeAll": "write",
    "DagstoreGC": "admin",
    "DagstoreLookupPieces": "admin",
    "DagstorePieceIndexSize": "admin",
    "DagstoreRegisterShard": "admin",
    "DagstoreDestroyShard": "admin",
    "DagstoreStat": "admin",
    "DagstoreConfig": "admin",
    "DagstoreDoctor": "admin",
    "DagstoreExportGo": "admin",
    "DagstoreImportGo": "admin",
    "DagstoreMigrate": "admin",
}


def states(api: Service) -> dict[str, str]:
    return {shard["Key"]: shard["State"] for shard in api.call("DagstoreListShards")}


def test_an_empty_store_has_a_list_of_no_shards(idle: Service) -> None:
    assert idle.call("DagstoreListShards") == []


def test_shards_are_listed_by_key_with_what_became_of_them(api: Service) -> None:
    bad = api.register('b"\\é\u2028')
    api.register("a")
    api.mounts[bad].gone = True
    assert api.call("DagstoreInitializeShard", 'b"\\é\u2028')[0] == 1
    assert api.call("DagstoreListShards") == [
        {"Key": "a", "State": "ShardStateNew", "Error": ""},
        {
            "Key": 'b"\\é\u2028',
            "State": "ShardStateErrored",
            "Error": api.store.info('b"\\é\u2028').error,
        },
    ]


def test_a_new_shard_is_initialized_once(api: Service) -> None:
    api.register("a")
    assert api.call("DagstoreInitializeShard", "a") is None
    assert states(api) == {"a": "ShardStateAvailable"}
    text = "cannot initialize shard; expected state ShardStateNew, was: ShardStateAvailable"
    assert api.call("DagstoreInitializeShard", "a") == (1, text)


def test_a_shard_that_fails_says_why_and_can_be_recovered(api: Service) -> None:
    url = api.register("a")
    text = "cannot recover shard; expected state ShardStateErrored, was: ShardStateNew"
    assert api.call("DagstoreRecoverShard", "a") == (1, text)
    api.mounts[url].gone = True
    code, text = api.call("DagstoreInitializeShard", "a")
    assert code == 1
    assert text == f"failed to acquire shard: {api.store.info('a').error}"
    code, text = api.call("DagstoreRecoverShard", "a")
    assert (code, text) == (1, f"failed to recover shard: {api.store.info('a').error}")
    api.mounts[url].gone = False
    assert api.call("DagstoreRecoverShard", "a") is None
    assert states(api) == {"a": "ShardStateAvailable"}


@pytest.mark.parametrize("method", ["DagstoreInitializeShard", "DagstoreRecoverShard"])
def test_a_shard_that_there_is_not_is_said_to_be_none(idle: Service, method: str) -> None:
    assert idle.call(method, "a") == (1, "failed to get shard info: shard not found")


def test_a_piece_is_registered_and_indexed_and_that_twice_is_no_error(api: Service) -> None:
    (api.pieces / f"{PIECE}.car").write_bytes(archive_of(b"fish"))
    assert api.call("DagstoreRegisterShard", PIECE) is None
    assert states(api) == {PIECE: "ShardStateAvailable"}
    assert api.store.shards_with(FISH) == [PIECE]
    assert api.call("DagstoreRegisterShard", PIECE) is None


def test_what_is_no_piece_cid_is_not_registered_unless_it_is_known(api: Service) -> None:
    code, text = api.call("DagstoreRegisterShard", "fish")
    assert code == 1
    assert text.startswith("parsing shard key as piece cid: ")
    api.register("fish")
    assert api.call("DagstoreRegisterShard", "fish") is None
    assert states(api) == {"fish": "ShardStateNew"}


def test_a_piece_that_somebody_else_registers_at_that_moment_is_no_error(
    api: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def register(key: str, *_: object, **__: object) -> None:
        raise ShardExistsError(key)

    monkeypatch.setattr(api.store, "register", register)
    assert api.call("DagstoreRegisterShard", PIECE) is None


def test_a_piece_that_nobody_has_stays_registered_and_errored(api: Service) -> None:
    code, text = api.call("DagstoreRegisterShard", PIECE)
    assert code == 1
    assert text.startswith("failed to register shard: ")
    assert states(api) == {PIECE: "ShardStateErrored"}


def test_a_shard_is_destroyed_unless_it_is_read(api: Service) -> None:
    api.register("a", lazy=False)
    with api.store.acquire("a"):
        text = "failed to destroy shard: a: shard in use, active references: 1"
        assert api.call("DagstoreDestroyShard", "a") == (1, text)
    assert api.call("DagstoreDestroyShard", "a") is None
    assert api.call("DagstoreDestroyShard", "a") == (1, "failed to destroy shard: a: shard not found")


def test_pieces_are_looked_up_by_a_block_whatever_its_codec(api: Service) -> None:
    api.register("b", b"fish", lazy=False)
    api.register("a", b"fish", b"lobster", lazy=False)
    for cid in (FISH, carv2.CID.of_data(b"fish", codec="dag-pb")):
        found = api.call("DagstoreLookupPieces", {"/": str(cid)})
        assert found == [{"Key": key, "State": "ShardStateAvailable", "Error": ""} for key in "ab"]


def test_a_block_that_no_piece_has_is_an_error_as_in_lotus(idle: Service) -> None:
    text = f"failed to lookup index for mh {FISH.multihash.hex()}, err: datastore: key not found"
    assert idle.call("DagstoreLookupPieces", {"/": str(FISH)}) == (1, text)


def test_a_shard_that_goes_while_it_is_looked_up_is_left_out(
    api: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.register("a", b"fish", lazy=False)
    monkeypatch.setattr(api.store, "shards_with", lambda _: ["gone", "a"])
    assert [shard["Key"] for shard in api.call("DagstoreLookupPieces", {"/": str(FISH)})] == ["a"]


def test_the_size_of_the_indexes(api: Service) -> None:
    assert api.call("DagstorePieceIndexSize") == 0
    api.register("a", lazy=False)
    assert api.call("DagstorePieceIndexSize") == api.store.info("a").index_size > 0


def test_local_copies_are_collected_but_for_those_in_use(api: Service) -> None:
    for key in "ab":
        api.mounts[api.register(key)].random_access = False
        assert api.call("DagstoreInitializeShard", key) is None
    with api.store.acquire("b"):
        in_use, freed = sorted(api.call("DagstoreGC"), key=lambda one: one["Success"])
    assert freed == {"Key": "a", "Success": True, "Error": ""}
    assert (in_use["Key"], in_use["Success"], bool(in_use["Error"])) == ("b", False, True)
    assert [one["Key"] for one in api.call("DagstoreGC")] == ["b"]


def test_the_stream_is_not_for_plain_http(idle: Service) -> None:
    text = "method 'Filecoin.DagstoreInitializeAll' not supported in this mode (no out channel support)"
    assert idle.call("DagstoreInitializeAll", {"MaxConcurrency": 1, "IncludeSealed": False}) == (-32601, text)


def test_without_a_token_one_may_read(idle: Service) -> None:
    assert idle.call("DagstoreListShards", token=None) == []
    assert idle.call("DagstoreGC", token=None) == (1, "missing permission to invoke 'DagstoreGC' (need 'admin')")


@pytest.mark.parametrize(("method", "level"), LEVELS.items())
def test_each_method_takes_its_permission_and_no_other(idle: Service, method: str, level: str) -> None:
    refused = (1, f"missing permission to invoke '{method}' (need '{level}')")
    others = make_token(SECRET, [one for one in EVERYTHING if one != level])
    assert idle.call(method, 1, 2, token=others) == refused
    code, text = idle.call(method, 1, 2, token=make_token(SECRET, [level]))
    assert code in {-32601, -32602}, text


def test_the_table_of_permissions_names_all_methods(idle: Service) -> None:
    table = all_methods(idle.store)
    assert {name.removeprefix("Filecoin."): method.permission for name, method in table.items()} == LEVELS


def test_a_store_that_was_closed_is_not_available(api: Service) -> None:
    api.store.close()
    assert api.call("DagstoreListShards") == (1, "dagstore not available on this node")
