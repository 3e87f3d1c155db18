"""The three dialects of an index: formats 0x0400 and 0x0401, and 0x0400 without its codec in front."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from carv2 import index
from carv2.cid import CID
from carv2.errors import FormatError
from carv2.index import CAR_INDEX_SORTED, CAR_MULTIHASH_INDEX_SORTED, Index, IndexBuilder
from carv2.index._bucket import Bucket
from carv2.multihash import SHA2_256
from carv2.multihash import encode as multihash_of
from fuzz.target import REFUSED, Question, Sabotage, Target
from fuzz.targets.binary import POSITION, is_within

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST_LOOKUPS = 40


def check_index(data: bytes, codec: int) -> str:
    """The layout is a claim; what can be said of any is that it is the same when written anew."""
    try:
        found = index.parse(data, position=POSITION)
    except FormatError as error:
        assert is_within(error, data)
        return REFUSED
    assert found.size <= len(data)
    entries = list(found)
    assert len(entries) == len(found) <= len(data) // 8
    written = found.to_bytes()
    again = index.parse(written)
    assert list(again) == entries
    assert again.to_bytes() == written
    assert (again.size, again.codec, again.is_headless) == (len(written), found.codec, False)
    if found.codec != codec:
        return REFUSED
    if not all(bucket.is_sorted() for _, bucket in found.buckets()):
        return "out of order"
    _check_lookups(found)
    _check_built(found)
    return "empty" if not entries else "headless" if found.is_headless else "in order"


def _check_lookups(found: Index) -> None:
    """Each record is found by its hash, and nothing else is; also by the quick way that many look-ups take."""
    by_hash: dict[tuple[int | None, bytes], list[int]] = {}
    for code, digest, offset in found:
        by_hash.setdefault((code, digest), []).append(offset)
    for (code, digest), offsets in list(by_hash.items())[:_MOST_LOOKUPS]:
        cid = _cid_of(code, digest)
        if cid is None:
            continue
        assert list(found.offsets_of(cid)) == offsets
        assert cid in found
        quick = found.usual_offset(cid.raw)
        assert quick is None or quick == offsets[0]
        other = _cid_of(code, bytes(byte ^ 85 for byte in digest))
        assert other is not None
        assert (other in found) == ((code, other.digest) in by_hash)


def _cid_of(code: int | None, digest: bytes) -> CID | None:
    """A CID that a record may be for; None where there can be none."""
    if code is not None and code >> 63:
        return None
    return CID.of_multihash(multihash_of(SHA2_256 if code is None else code, digest))


def _check_built(found: Index) -> None:
    """An index that is made of the records has each of them."""
    builder = IndexBuilder(found.codec, identity=True)
    for code, digest, offset in found:
        builder.add_record(code or 0, digest, offset)
    assert sorted(builder.to_index(), key=repr) == sorted(found, key=repr)


def check_of(codec: int) -> Callable[[bytes], str]:
    """The check for inputs that are an index without its codec, which is put in front of it."""
    front = bytes((codec & 127 | 128, codec >> 7))
    return lambda data: check_index(front + data, codec)


def ask_index(data: bytes, codec: int = 0) -> Question | None:
    """Go sorts records when it reads them, so only those in order can be compared."""
    front = bytes((codec & 127 | 128, codec >> 7)) if codec else b""
    try:
        found = index.parse(front + data)
    except FormatError:
        return None
    if not len(found) or not all(bucket.is_sorted() and not bucket.stray for _, bucket in found.buckets()):
        return None
    if any(code is not None and code >> 63 for code, _, _ in found):
        return None
    if found.codec == CAR_INDEX_SORTED:
        return Question("index", found.to_bytes(), "ok ?")
    records = ",".join(f"{multihash_of(code or 0, digest).hex()}:{at}" for code, digest, at in found)
    return Question("index", (front + data)[: found.size], f"ok {records}")


_OFFSETS, _ITER, _PARSE, _WINDOWS = Bucket.offsets_of, Bucket.__iter__, index.parse, Bucket.windows

_SABOTAGE: dict[str, Sabotage] = {
    "finds only the first of equal records": Sabotage(
        Bucket, "offsets_of", lambda self, digest: iter(list(_OFFSETS(self, digest))[:1])
    ),
    "finds what is not there": Sabotage(Bucket, "offsets_of", lambda *_: iter((1,))),
    "loses the last record": Sabotage(Bucket, "__iter__", lambda self: iter(list(_ITER(self))[:-1])),
    "writes no records": Sabotage(Bucket, "windows", lambda _: iter(())),
    "builds with the offset of another": Sabotage(
        IndexBuilder, "add_record", lambda self, code, digest, offset: _ADD(self, code, digest, offset + 1)
    ),
}
_ADD: Any = IndexBuilder.add_record

INDEX_0400 = Target(
    "index-sorted",
    check_of(CAR_INDEX_SORTED),
    frozenset({"in order", "out of order", "empty", REFUSED}),
    _SABOTAGE,
    lambda data: ask_index(data, CAR_INDEX_SORTED),
)

INDEX_0401 = Target(
    "index-multihash-sorted",
    check_of(CAR_MULTIHASH_INDEX_SORTED),
    frozenset({"in order", "out of order", "empty", REFUSED}),
    _SABOTAGE,
    lambda data: ask_index(data, CAR_MULTIHASH_INDEX_SORTED),
)

HEADLESS = Target(
    "index-headless",
    lambda data: check_index(data, CAR_INDEX_SORTED),
    frozenset({"headless", "out of order", REFUSED}),
    {
        **_SABOTAGE,
        "takes it for something else": Sabotage(
            index, "parse", lambda data, position=0: _not_headless(_PARSE(data, position=position))
        ),
    },
)


def _not_headless(found: Index) -> Index:
    found.size += 2
    return found


TARGETS = (INDEX_0400, INDEX_0401, HEADLESS)
