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
