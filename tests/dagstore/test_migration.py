"""Registering the pieces of all active deals: in one pass, once, whatever else is among the deals."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import carv2
from carv2.dagstore import (
    ACTIVE_STATES,
    BytesMount,
    DagStore,
    DagStoreConfig,
    Deal,
    FolderPieces,
    ShardState,
    default_registry,
)
from carv2.dagstore.mounts import PieceMount
from carv2.dagstore.mounts.piece import PieceMounts
from carv2.errors import UnknownMountError
from dagstore.shards import archive_of, check_serves

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOGGER = "carv2.dagstore.migrator"
STATES = [
    "StorageDealUnknown", "StorageDealProposalNotFound", "StorageDealProposalRejected",
    "StorageDealProposalAccepted", "StorageDealStaged", "StorageDealSealing", "StorageDealFinalizing",
    "StorageDealActive", "StorageDealExpired", "StorageDealSlashed", "StorageDealRejecting",
    "StorageDealFailing", "StorageDealFundsReserved", "StorageDealCheckForAcceptance", "StorageDealValidating",
    "StorageDealAcceptWait", "StorageDealStartDataTransfer", "StorageDealTransferring",
    "StorageDealWaitingForData", "StorageDealVerifyData", "StorageDealReserveProviderFunds",
    "StorageDealReserveClientFunds", "StorageDealProviderFunding", "StorageDealClientFunding",
    "StorageDealPublish", "StorageDealPublishing", "StorageDealError", "StorageDealProviderTransferAwaitRestart",
    "StorageDealClientTransferRestart", "StorageDealAwaitingPreCommit", "StorageDealTransferQueued",
]  # fmt: skip
"""All that there are. Source: go-fil-markets v1.28."""


def piece(number: int) -> str:
    """A piece CID: fil-commitment-unsealed, sha2-256-trunc254-padded."""
    return str(carv2.CID(bytes.fromhex("0181e203922020") + number.to_bytes(32, "big")))


def deal(number: int, state: str = "Active", *, of: int | None = None) -> Deal:
    return Deal(piece(number if of is None else of), f"StorageDeal{state}", f"deal-{number}")


@pytest.fixture
def pieces(tmp_path: Path) -> Path:
    folder = tmp_path / "pieces"
    folder.mkdir()
    return folder


def open_store(tmp_path: Path, *schemes: str) -> DagStore:
    registry = default_registry()
    for scheme in schemes or ("piece",):
        registry.register(scheme, PieceMounts(FolderPieces(str(tmp_path / "pieces")), scheme=scheme))
    return DagStore(tmp_path / "store", mounts=registry, config=DagStoreConfig(gc_interval=0))


@pytest.fixture
def store(tmp_path: Path, pieces: Path) -> Iterator[DagStore]:
    with open_store(tmp_path) as store:
        yield store


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == LOGGER]


# -- what is registered ---------------------------------------------------------------------------------------


def test_the_pieces_of_active_deals_are_registered_lazily(store: DagStore, pieces: Path) -> None:
    report = store.migrate([deal(1), deal(2), deal(3, "Expired")])
    assert (report.did_work, report.deal_count, report.registered) == (True, 3, 2)
    assert (report.known, report.not_ready, report.invalid_count, report.invalid) == (0, 1, 0, ())
    assert [info.key for info in store.list()] == sorted([piece(1), piece(2)])
    for info in store.list():
        assert (info.state, info.is_lazy) == (ShardState.NEW, True)
        assert info.url == PieceMount(info.key, FolderPieces(str(pieces))).url
    (pieces / piece(2)).write_bytes(archive_of("two").ljust(1 << 12, b"\0"))
    check_serves(store, piece(2), "two")


def test_the_states_with_a_piece_are_those_of_lotus(store: DagStore) -> None:
    report = store.migrate(Deal(piece(number), state) for number, state in enumerate(STATES))
    names = ("Staged", "AwaitingPreCommit", "Sealing", "Finalizing", "Active")
    expected = {piece(STATES.index(f"StorageDeal{name}")) for name in names}
    assert {info.key for info in store.list()} == expected
    assert len(ACTIVE_STATES) == report.registered == len(names)
    assert report.not_ready == len(STATES) - len(names)


@pytest.mark.parametrize("state", ["", "Active", "storagedealactive", "StorageDealActive ", "StorageDeal"])
def test_a_state_that_there_is_not_is_not_active(store: DagStore, state: str) -> None:
    assert store.migrate([Deal(piece(1), state)]).not_ready == 1


def test_deals_that_share_a_piece_make_one_shard(store: DagStore) -> None:
    store.register_many([(piece(7), f"piece://{piece(7)}")])
    report = store.migrate(
        [deal(1), deal(2, of=1), deal(3, "Sealing", of=1), deal(4), deal(7), deal(8, "Slashed", of=4)]
    )
    assert (report.registered, report.known, report.not_ready) == (2, 3, 1)
    assert len(store) == 3


def test_what_is_known_stays_as_it_is(store: DagStore) -> None:
    store.register(piece(1), BytesMount(archive_of("a")))
    before = list(store.list())
    assert store.migrate([deal(1)]).known == 1
    assert list(store.list()) == before


def test_a_piece_is_the_same_in_whatever_base_it_is_written(store: DagStore) -> None:
    cid = carv2.CID.of(piece(1))
    texts = [piece(1), piece(1).upper(), "f" + bytes(cid).hex(), "F" + bytes(cid).hex().upper()]
    report = store.migrate([Deal(text, "StorageDealActive") for text in texts])
    assert (report.registered, report.known) == (1, 3)
    assert [info.key for info in store.list()] == [piece(1)]


def test_deals_may_come_one_by_one_and_are_not_kept(store: DagStore) -> None:
    taken = 0

    def deals() -> Iterator[Deal]:
        nonlocal taken
        for number in range(12_000):
            taken += 1
            yield deal(number)
            if number == 11_000:
                assert len(store) >= 10_000

    assert store.migrate(deals()).registered == taken == 12_000
    assert len(store) == 12_000


def test_no_deals_are_a_migration_too(store: DagStore) -> None:
    assert store.migrate([]).did_work
    assert not store.migrate([deal(1)]).did_work


def test_another_mount_can_be_given(store: DagStore) -> None:
    store.migrate([deal(1)], mount_of=lambda cid: BytesMount(archive_of(cid)))
    check_serves(store, piece(1), piece(1))


# -- once -----------------------------------------------------------------------------------------------------


def test_it_is_done_once(tmp_path: Path, pieces: Path) -> None:
    with open_store(tmp_path) as store:
        assert store.migrate([deal(1)]).did_work
        second = store.migrate(unread())
        assert (second.did_work, second.deal_count, second.registered) == (False, 0, 0)
    with open_store(tmp_path) as store:
        assert not store.migrate(unread()).did_work
        assert len(store) == 1
        report = store.migrate([deal(1), deal(2)], again=True)
        assert (report.did_work, report.registered, report.known) == (True, 1, 1)
        assert not store.migrate(unread()).did_work


def unread() -> Iterator[Deal]:
    raise AssertionError("the deals were looked at")
    yield


def test_one_that_ends_early_is_not_done_and_can_be_repeated(store: DagStore) -> None:
    def deals() -> Iterator[Deal]:
        for number in range(6000):
            yield deal(number)
        raise OSError("the deals cannot be read")

    with pytest.raises(OSError, match="cannot be read"):
        store.migrate(deals())
    there = len(store)
    assert 0 < there < 6000
    report = store.migrate(deal(number) for number in range(6000))
    assert (report.did_work, report.registered, report.known) == (True, 6000 - there, there)


def test_a_store_without_such_mounts_is_an_error_and_not_a_migration(tmp_path: Path, pieces: Path) -> None:
    with open_store(tmp_path, "lotus") as store:
        with pytest.raises(UnknownMountError, match="piece"):
            store.migrate([deal(1)])
        assert len(store) == 0
        assert store.migrate([deal(1)], mount_of="lotus://{}".format).registered == 1


# -- deals that make no shard ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["", None, "baga", "not a CID", "x" * 100_000, "\ud800", "\0", 7, b"baga", ["baga"]]
)
def test_a_deal_without_a_piece_is_told_and_passed_over(store: DagStore, text: Any) -> None:
    report = store.migrate(
        [deal(1), Deal(text, "StorageDealActive", "bafy…"), deal(2), Deal(text, "StorageDealError")]
    )
    assert (report.registered, report.invalid_count, report.not_ready) == (2, 1, 1)
    assert report.invalid[0].startswith("deal bafy…, ")
    assert store.migrate([deal(1)]).did_work is False


def test_a_deal_without_a_name_is_told_by_its_number(store: DagStore) -> None:
    assert store.migrate([deal(1), Deal("x", "StorageDealActive")]).invalid[0].startswith("deal 2, 'x': ")


def test_a_mount_that_cannot_be_is_told_and_passed_over(store: DagStore) -> None:
    report = store.migrate([deal(1), deal(2)], mount_of=lambda key: f"bytes:///{'!' if key == piece(1) else ''}")
    assert (report.registered, report.invalid_count) == (1, 1)


def test_of_many_invalid_deals_a_hundred_are_named(store: DagStore, caplog: pytest.LogCaptureFixture) -> None:
    report = store.migrate([Deal("x", "StorageDealActive")] * 1000)
    assert (report.invalid_count, len(report.invalid)) == (1000, 100)
    assert messages(caplog) == ["failed to register shard"] * 100


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.builds(
            Deal,
            piece_cid=st.sampled_from([*map(piece, range(5)), "", "x", piece(1).upper()]),
            state=st.sampled_from(STATES),
        )
    )
)
def test_every_deal_is_counted_once(store: DagStore, deals: list[Deal]) -> None:
    before = {info.key for info in store.list()}
    report = store.migrate(iter(deals), again=True)
    active = [one for one in deals if one.state in ACTIVE_STATES]
    expected = {one.piece_cid.lower() for one in active if len(one.piece_cid) > 1}
    assert {info.key for info in store.list()} == before | expected
    assert report.registered == len(expected - before)
    assert report.deal_count == len(deals)
    assert report.registered + report.known + report.not_ready + report.invalid_count == len(deals)


# -- what is logged -------------------------------------------------------------------------------------------


def test_the_log_tells_it_in_lotus_words(store: DagStore, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, LOGGER):
        store.migrate([deal(1), deal(2, "Expired"), Deal("x", "StorageDealActive"), deal(3, of=1)])
        store.migrate([])
    assert messages(caplog) == [
        "registering shards for all active deals in sealing subsystem",
        "registering deal in dagstore with lazy init",
        "deal not ready; skipping",
        "failed to register shard",
        "registering deal in dagstore with lazy init",
        "async shard registration completed successfully",
        "async shard registration completed successfully",
        "finished registering all shards",
        "confirmed registration of all shards",
        "successfully marked migration as complete",
        "dagstore migration complete",
        "no shard migration necessary; already marked complete",
    ]
    told = {record.getMessage(): vars(record) for record in caplog.records}
    assert told["registering shards for all active deals in sealing subsystem"]["count"] == 4
    assert told["finished registering all shards"]["total"] == 2
    assert told["deal not ready; skipping"]["state"] == "StorageDealExpired"
    assert told["deal not ready; skipping"]["deal"] == "deal-2"


def test_what_cannot_be_registered_is_logged(
    store: DagStore, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def add_many(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store._core.catalogue, "add_many", add_many)
    with pytest.raises(OSError, match="No space"):
        store.migrate([deal(1)])
    assert messages(caplog)[-1] == "async shard registration failed"


def test_nothing_is_made_for_a_log_that_nobody_reads(store: DagStore, monkeypatch: pytest.MonkeyPatch) -> None:
    logger = logging.getLogger(LOGGER)
    made: list[str] = []

    def debug(message: str, **_: object) -> None:
        made.append(message)

    monkeypatch.setattr(logger, "debug", debug)
    deals = [deal(number, "Active" if number % 2 else "Expired") for number in range(1000)]
    monkeypatch.setattr(logger, "isEnabledFor", lambda level: level > logging.DEBUG)
    store.migrate(deals)
    assert made == []
