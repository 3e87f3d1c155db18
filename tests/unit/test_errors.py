"""Errors carry their data, survive pickling, and fit the except clauses that people write."""

from __future__ import annotations

import copy
import pickle

import pytest

from carv2 import errors
from carv2.cid import CID
from carv2.dag import check_complete
from carv2.filestore.record import FileReference
from carv2.filestore.status import Status
from carv2.ipfs.kubo.records import CarImport
from helpers.archives import FISH

FISH_CID = CID(FISH[0])

GALLERY: list[tuple[errors.CarError, str]] = [
    (errors.FormatError("zero-length section", position=59), "zero-length section (at byte 59)"),
    (
        errors.TruncatedError("section", wanted=40, got=3, position=103),
        "section: wanted 40 bytes, got 3 (at byte 103)",
    ),
    (
        errors.GatewayTruncatedError("out of time", position=61),
        "the gateway cut the stream short: out of time (at byte 61)",
    ),
    (
        errors.LimitError("section", found=9, allowed=8, position=18),
        "section of 9 bytes, limit 8 (at byte 18)",
    ),
    (errors.VersionError(42, position=0), "CAR version 42, supported: 1 and 2 (at byte 0)"),
    (errors.VersionError(2, position=51, supported=(1,)), "CAR version 2, supported: 1 (at byte 51)"),
    (errors.UnfinalizedError("not finished", position=11), "not finished (at byte 11)"),
    (errors.IndexFormatError("no index", position=99, codec=0x0403), "no index (at byte 99)"),
    (errors.IntegrityError("other data", cid=FISH_CID, position=55), "other data (at byte 55)"),
    (
        errors.UnknownHashError("no such hash", cid=FISH_CID, position=55, hash_code=0x9999),
        "no such hash (at byte 55)",
    ),
    (errors.IndexMismatchError("not there", cid=FISH_CID, position=55), "not there (at byte 55)"),
    (
        errors.CorruptReferenceError(
            "data/input.bin is gone",
            cid=FISH_CID,
            position=59,
            status=Status.FILE_NOT_FOUND,
            reference=FileReference("data/input.bin", 0, 10),
        ),
        "data/input.bin is gone (at byte 59)",
    ),
    (errors.UnexpectedBlockError("not asked for", cid=FISH_CID, position=55), "not asked for (at byte 55)"),
    (errors.CodecError("no dag-pb", position=3), "no dag-pb (at byte 3 of the block)"),
    (
        errors.CodecError("no dag-pb", position=3, cid=FISH_CID),
        f"no dag-pb (at byte 3 of {FISH_CID.short()})",
    ),
    (errors.UnixFSError("no such type: 9", position=1), "no such type: 9 (at byte 1 of the block)"),
    (
        errors.UnsafePathError("the name '..' leads out", name="..", cid=FISH_CID),
        f"the name '..' leads out (at byte 0 of {FISH_CID.short()})",
    ),
    (
        errors.PathNotFoundError("a/b", segment="b", cid=FISH_CID),
        f"a/b: no 'b' in {FISH_CID.short()}",
    ),
    (errors.UnknownCodecError("no codec 0x9999", code=0x9999, cid=FISH_CID), "no codec 0x9999"),
    (errors.SelectorError("no field '>'", place="R :> a"), "selector: no field '>' (at R :> a)"),
    (errors.SelectorError("not JSON", place=""), "selector: not JSON"),
    (errors.BudgetError("blocks", allowed=9), "more than 9 blocks"),
    (errors.BudgetError("bytes", allowed=9, hint="see --max-bytes"), "more than 9 bytes; see --max-bytes"),
    (errors.BlockNotFoundError(FISH_CID), f"could not find {FISH_CID.short()}"),
    (errors.ShardNotFoundError("baga"), "baga: shard not found"),
    (errors.ShardExistsError("baga"), "baga: shard already exists"),
    (errors.ShardInUseError("baga", references=3), "baga: shard in use, active references: 3"),
    (errors.ShardErroredError("baga", cause="gone"), "baga: shard is in errored state; err: gone"),
    (errors.MountError("it is gone", url="file:///x.car"), "it is gone (file:///x.car)"),
    (errors.MountChangedError("it changed", url="file:///x.car"), "it changed (file:///x.car)"),
    (errors.UnknownMountError("gopher"), "unrecognized mount scheme: gopher"),
    (
        errors.QuotaError(wanted=9, quota=8),
        "a local copy of 9 bytes does not fit: quota 8, the rest is in use",
    ),
    (errors.WaitTimeoutError("baga", seconds=0.5), "baga: not done within 0.5 s"),
    (errors.RpcError(1, "shard not found"), "shard not found"),
    (errors.RpcError(-32601, "no such method"), "no such method (JSON-RPC error -32601)"),
    (errors.RpcTransportError("refused", url="http://a"), "http://a: refused"),
    (errors.TokenError("the token has expired"), "the token has expired"),
    (
        errors.GatewayError("it answered 429", url="https://a.b", status=429, retry_after=60.0),
        "https://a.b: it answered 429",
    ),
    (errors.FetchError(FISH_CID, failures=(), path="fish.car.part"), f"{FISH_CID.short()} could not be had"),
    (errors.KuboError("block/get: no", url="http://node:5001", code=500), "block/get: no (http://node:5001)"),
    (
        errors.PinError("no pin", url="http://node", report=CarImport(roots=(), block_count=1, block_bytes=4)),
        "no pin (http://node)",
    ),
    (errors.ImportNotFoundError(7), "there is no import 7"),
    (errors.RetrievalNotFoundError("sea"), "there is no retrieval sea"),
    (errors.StateError("wrong time"), "wrong time"),
    (
        errors.IncompleteError("1 block is missing", root=FISH_CID, completeness=check_complete({}, FISH_CID)),
        "1 block is missing",
    ),
    (errors.ChangedError("it was changed"), "it was changed"),
    (errors.ClosedError("the file was closed"), "the file was closed"),
    (errors.NoIndexError("x.car has no index"), "x.car has no index"),
    (errors.FinalizedError("it is finished"), "it is finished"),
    (errors.ReadOnlyError("for reading only"), "for reading only"),
    (errors.LockedError("x.car"), "x.car is locked by another writer"),
    (errors.ResumeError("other roots", expected=[FISH_CID], found=[]), "other roots"),
]


def named(value: object) -> str:
    return type(value).__name__ if isinstance(value, Exception) else ""


@pytest.mark.parametrize(("error", "text"), GALLERY, ids=named)
def test_an_error_reads_as_one_line_made_of_its_data(error: errors.CarError, text: str) -> None:
    assert str(error) == text
    assert "\n" not in text


@pytest.mark.parametrize("error", [error for error, _ in GALLERY], ids=named)
def test_an_error_survives_pickling_and_copying_with_all_its_data(error: errors.CarError) -> None:
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert again.__dict__ == error.__dict__
        assert again.args == error.args


def test_every_public_error_is_in_the_gallery() -> None:
    shown = {type(error) for error, _ in GALLERY} | {errors.CarError}
    assert {getattr(errors, name) for name in errors.__all__} == shown


@pytest.mark.parametrize(
    ("kind", "bases"),
    [
        (errors.FormatError, (errors.CarError, ValueError)),
        (errors.TruncatedError, (errors.FormatError, EOFError)),
        (errors.GatewayTruncatedError, (errors.TruncatedError,)),
        (errors.LimitError, (errors.FormatError,)),
        (errors.VersionError, (errors.FormatError,)),
        (errors.UnfinalizedError, (errors.FormatError,)),
        (errors.IndexFormatError, (errors.FormatError,)),
        (errors.IntegrityError, (errors.CarError,)),
        (errors.UnknownHashError, (errors.IntegrityError,)),
        (errors.IndexMismatchError, (errors.IntegrityError,)),
        (errors.BlockNotFoundError, (errors.CarError, KeyError)),
        (errors.ImportNotFoundError, (errors.CarError, KeyError)),
        (errors.RetrievalNotFoundError, (errors.CarError, KeyError)),
        (errors.StateError, (errors.CarError, RuntimeError)),
        (errors.ClosedError, (errors.StateError,)),
        (errors.NoIndexError, (errors.CarError, LookupError)),
        (errors.FinalizedError, (errors.StateError,)),
        (errors.ReadOnlyError, (errors.StateError,)),
        (errors.LockedError, (errors.StateError,)),
        (errors.ResumeError, (errors.CarError, ValueError)),
    ],
)
def test_an_error_is_caught_by_the_ordinary_clauses(kind: type, bases: tuple[type, ...]) -> None:
    assert kind.__bases__ == bases


def test_corruption_is_no_truncation() -> None:
    assert not issubclass(errors.IntegrityError, errors.FormatError)
    assert not issubclass(errors.IntegrityError, ValueError)


REPORT = CarImport(roots=(), block_count=1, block_bytes=4)
REFERENCE = FileReference("data/input.bin", 0, 10)
COMPLETENESS = check_complete({}, FISH_CID)
REFUSED = errors.GatewayError("no", url="https://a.b")

DATA: list[tuple[errors.CarError, dict[str, object]]] = [
    (errors.FormatError("bad", position=59), {"position": 59}),
    (
        errors.TruncatedError("section", wanted=40, got=3, position=103),
        {"field": "section", "wanted": 40, "got": 3, "position": 103},
    ),
    (
        errors.GatewayTruncatedError("late", position=61),
        {"field": "section", "wanted": 1, "got": 0, "position": 61, "reason": "late"},
    ),
    (
        errors.LimitError("section", found=9, allowed=8, position=18),
        {"limit": "section", "found": 9, "allowed": 8, "position": 18},
    ),
    (errors.VersionError(42, position=3), {"found": 42, "supported": (1, 2), "position": 3}),
    (errors.VersionError(2, position=5, supported=[1]), {"found": 2, "supported": (1,), "position": 5}),
    (errors.IndexFormatError("bad", position=9, codec=0x0403), {"codec": 0x0403, "position": 9}),
    (errors.IndexFormatError("bad", position=9), {"codec": None, "position": 9}),
    (errors.CodecError("bad", position=3, cid=FISH_CID), {"position": 3, "cid": FISH_CID}),
    (errors.CodecError("bad", position=3), {"position": 3, "cid": None}),
    (errors.UnsafePathError("bad", name=".."), {"name": "..", "cid": None, "position": 0}),
    (
        errors.UnsafePathError("bad", name="..", cid=FISH_CID, position=7),
        {"name": "..", "cid": FISH_CID, "position": 7},
    ),
    (errors.IntegrityError("other", cid=FISH_CID, position=55), {"cid": FISH_CID, "position": 55}),
    (
        errors.UnknownHashError("bad", cid=FISH_CID, position=55, hash_code=0x9999),
        {"cid": FISH_CID, "position": 55, "hash_code": 0x9999},
    ),
    (
        errors.CorruptReferenceError(
            "gone", cid=FISH_CID, position=59, status=Status.FILE_NOT_FOUND, reference=REFERENCE
        ),
        {"cid": FISH_CID, "position": 59, "status": Status.FILE_NOT_FOUND, "reference": REFERENCE},
    ),
    (errors.BlockNotFoundError(FISH_CID), {"cid": FISH_CID}),
    (errors.ImportNotFoundError(7), {"id": 7}),
    (errors.RetrievalNotFoundError("sea"), {"id": "sea"}),
    (
        errors.PathNotFoundError("a/b", segment="b", cid=FISH_CID),
        {"path": "a/b", "segment": "b", "cid": FISH_CID},
    ),
    (errors.UnknownCodecError("bad", code=9, cid=FISH_CID), {"code": 9, "cid": FISH_CID}),
    (errors.UnknownCodecError("bad", code=9), {"code": 9, "cid": None}),
    (errors.SelectorError("bad", place="R"), {"place": "R"}),
    (errors.BudgetError("blocks", allowed=9), {"budget": "blocks", "allowed": 9}),
    (
        errors.IncompleteError("missing", root=FISH_CID, completeness=COMPLETENESS),
        {"root": FISH_CID, "completeness": COMPLETENESS},
    ),
    (errors.LockedError("x.car"), {"path": "x.car"}),
    (errors.ResumeError("other", expected=1, found=2), {"expected": 1, "found": 2}),
    (errors.ShardNotFoundError("k"), {"key": "k"}),
    (errors.ShardExistsError("k"), {"key": "k"}),
    (errors.ShardInUseError("k", references=3), {"key": "k", "references": 3}),
    (errors.ShardErroredError("k", cause="gone"), {"key": "k", "cause": "gone", "error_type": ""}),
    (
        errors.ShardErroredError("k", cause="gone", error_type="OSError"),
        {"key": "k", "cause": "gone", "error_type": "OSError"},
    ),
    (errors.MountError("gone", url="file:///x"), {"url": "file:///x"}),
    (errors.UnknownMountError("gopher"), {"scheme": "gopher"}),
    (errors.QuotaError(wanted=9, quota=8), {"wanted": 9, "quota": 8}),
    (errors.WaitTimeoutError("k", seconds=0.5), {"what": "k", "seconds": 0.5}),
    (errors.RpcError(1, "no"), {"code": 1, "message": "no"}),
    (errors.RpcTransportError("no", url="http://a"), {"url": "http://a"}),
    (
        REFUSED,
        {"url": "https://a.b", "status": 0, "retry_after": None, "is_final": False, "other_form": False},
    ),
    (
        errors.GatewayError("no", url="u", status=429, retry_after=6.0, is_final=True, other_form=True),
        {"url": "u", "status": 429, "retry_after": 6.0, "is_final": True, "other_form": True},
    ),
    (errors.FetchError(FISH_CID, failures=[REFUSED]), {"root": FISH_CID, "failures": (REFUSED,), "path": None}),
    (errors.FetchError(FISH_CID, failures=(), path="x"), {"root": FISH_CID, "failures": (), "path": "x"}),
    (errors.KuboError("no", url="http://n", code=500), {"url": "http://n", "code": 500}),
    (errors.KuboError("no", url="http://n"), {"url": "http://n", "code": None}),
    (errors.PinError("no", url="http://n", report=REPORT), {"url": "http://n", "code": None, "report": REPORT}),
]


@pytest.mark.parametrize(("error", "data"), DATA, ids=named)
def test_the_data_of_an_error_are_what_it_was_made_of(error: errors.CarError, data: dict[str, object]) -> None:
    assert vars(error) == data
    assert type(error).archive is None


ARGUMENTS: list[tuple[errors.CarError, tuple[object, ...]]] = [
    (errors.FormatError("bad", position=59), ("bad",)),
    (errors.IntegrityError("other", cid=FISH_CID, position=55), ("other",)),
    (errors.GatewayTruncatedError("late", position=61), ("the gateway cut the stream short: late",)),
    (errors.BlockNotFoundError(FISH_CID), (FISH_CID,)),
    (errors.ImportNotFoundError(7), (7,)),
    (errors.RetrievalNotFoundError("sea"), ("sea",)),
    (errors.ShardNotFoundError("k"), ("k",)),
    (errors.RpcError(-1, "no"), (-1, "no")),
    (errors.FetchError(FISH_CID, failures=()), (FISH_CID,)),
]


@pytest.mark.parametrize(("error", "arguments"), ARGUMENTS, ids=named)
def test_what_an_error_has_in_its_args(error: errors.CarError, arguments: tuple[object, ...]) -> None:
    assert error.args == arguments


def test_an_error_of_the_api_with_code_zero_is_one_of_its_own() -> None:
    assert str(errors.RpcError(0, "no")) == "no (JSON-RPC error 0)"


@pytest.mark.parametrize("scheme", ["http", "https", "s3", "s3a", "gs", "gcs", "abfs", "az", "ftp", "sftp"])
def test_a_mount_that_fsspec_would_serve_is_said_to_be(scheme: str) -> None:
    expected = f'unrecognized mount scheme: {scheme} (default_registry(fsspec=["{scheme}"]) knows it)'
    assert str(errors.UnknownMountError(scheme)) == expected


def test_mounts_of_carv2_are_said_to_be_in_the_default_registry() -> None:
    for scheme, how in (("piece", "pieces=…"), ("file", ""), ("bytes", "")):
        expected = f"unrecognized mount scheme: {scheme} (default_registry({how}) knows it)"
        assert str(errors.UnknownMountError(scheme)) == expected


def test_a_mount_without_an_address_has_none_in_its_text() -> None:
    assert str(errors.MountError("it is gone", url="")) == "it is gone"


def test_a_fetch_that_failed_says_of_each_gateway_what_came_last() -> None:
    early = errors.GatewayError("busy", url="https://a", status=503)
    late = errors.GatewayError("no such block", url="https://a", status=404)
    other = errors.GatewayError("no", url="https://b")
    failed = errors.FetchError(FISH_CID, failures=[early, other, late])
    assert str(failed) == f"{FISH_CID.short()} could not be had: https://a: no such block; https://b: no"


def test_of_what_went_wrong_here_a_failed_fetch_says_the_last() -> None:
    bad = [errors.FormatError("bad", position=at) for at in (3, 4)]
    assert str(errors.FetchError(FISH_CID, failures=bad)).split(": ", 1)[1] == "bad (at byte 4)"


def test_a_fetch_in_another_form_says_why_it_was_tried() -> None:
    archive = errors.GatewayError("it sends no archives", url="https://a", other_form=True)
    again = errors.GatewayError("it sends none still", url="https://a", other_form=True)
    block = errors.GatewayError("no such block", url="https://a", status=404)
    elsewhere = errors.GatewayError("no archives", url="https://b", other_form=True)
    damaged = errors.FormatError("bad", position=3)
    failed = errors.FetchError(FISH_CID, failures=[archive, again, block, elsewhere, damaged])
    assert str(failed).split(": ", 1)[1] == (
        "https://a: it sends no archives; and block by block: no such block;"
        " https://b: no archives; bad (at byte 3)"
    )
