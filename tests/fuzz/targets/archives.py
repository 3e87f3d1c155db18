"""Whole archives: the loop over sections, from a file and from chunks."""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING, NamedTuple

import carv2
from carv2 import _scan, _varint
from carv2.cid import CID
from carv2.decoder import CarDecoder
from carv2.errors import CarError, FormatError, GatewayTruncatedError, IntegrityError, TruncatedError
from carv2.reader import CarReader
from carv2.units import Limits, PayloadOffset
from carv2.writer import CarWriter
from fuzz.target import REFUSED, Question, Sabotage, Target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LIMITS = Limits(header=1 << 10, section=1 << 10)
"""Small ones, so that an input is above them as easily as below."""

TWICE = Limits(header=2 << 10, section=2 << 10)


class Reading(NamedTuple):
    """What reading an archive front to back gave."""

    roots: tuple[CID, ...] | None
    blocks: list[tuple[bytes, bytes]]
    error: CarError | None

    @property
    def fault(self) -> tuple[object, ...] | None:
        """What the error says: its class, where, and the text."""
        error = self.error
        return None if error is None else (type(error), getattr(error, "position", None), str(error))


def read_file(data: bytes, *, verify: bool, limits: Limits = LIMITS) -> Reading:
    """Through the reader."""
    roots, blocks = None, list[tuple[bytes, bytes]]()
    try:
        with carv2.open(data, limits=limits) as car:
            roots = car.roots
            for block in car.blocks(verify=verify):
                blocks.append((block.cid_bytes, block.data))
    except (FormatError, IntegrityError) as error:
        return Reading(roots, blocks, error)
    return Reading(roots, blocks, None)


def read_warm(data: bytes) -> Reading:
    """The same, unverified, where the first section takes the fast path already, not only the 33rd."""
    before, _scan._WARM_UP = _scan._WARM_UP, 1
    try:
        return read_file(data, verify=False)
    finally:
        _scan._WARM_UP = before


# -- the section loop -----------------------------------------------------------------------------------------


def check_sections(data: bytes) -> str:
    found = read_file(data, verify=False)
    _check_same(found, read_warm(data))
    _check_verified(data, found)
    if found.roots is None:
        return REFUSED
    _check_places(data, found)
    if found.error is not None:
        return "broken off"
    _check_written(found)
    with carv2.open(data, limits=LIMITS) as car:
        return f"version {car.version}"


def _check_same(one: Reading, other: Reading) -> None:
    assert (one.roots, one.blocks, one.fault) == (other.roots, other.blocks, other.fault)


def _check_verified(data: bytes, found: Reading) -> None:
    """With hashes checked the same blocks come, up to the first that is wrong."""
    verified = read_file(data, verify=True)
    assert verified.roots == found.roots
    assert verified.blocks == found.blocks[: len(verified.blocks)]
    error = verified.error
    if isinstance(error, GatewayTruncatedError) and isinstance(error.__cause__, IntegrityError):
        error = error.__cause__  # the gateway's words stand where the rest of the block should be
    if isinstance(error, IntegrityError):
        cid, wrong = found.blocks[len(verified.blocks)]
        assert error.cid.raw == cid
        assert not CID(cid).matches(wrong)
    else:
        assert verified.fault == found.fault
    for cid, block in verified.blocks:
        assert cid[:4] != b"\x01\x55\x12\x20" or hashlib.sha256(block).digest() == cid[4:]


def _check_places(data: bytes, found: Reading) -> None:
    """Sections are where a plain loop over the bytes finds them."""
    with carv2.open(data, limits=LIMITS) as car:
        at: int = car.payload_position + car.first_section
        sections = car.sections()
        for cid, block in found.blocks:
            section = next(sections)
            size, start = _varint.decode(data, at, len(data), position=0)
            assert (section.position, section.offset) == (at, at - car.payload_position)
            assert section.cid.raw == cid == data[start : start + len(cid)]
            assert data[start + len(cid) : start + size] == block
            assert car.read(section, verify=False).data == block
            at = start + size


def _check_written(found: Reading) -> None:
    """What is written of the blocks is read the same; an index finds each."""
    for version in (1, 2):
        sink = io.BytesIO()
        with CarWriter(sink, found.roots or (), version=version, verify=False, identity=True) as writer:
            for cid, block in found.blocks:
                writer.write(CID(cid), block)
        again = read_file(sink.getvalue(), verify=False, limits=TWICE)
        assert (again.roots, again.blocks, again.error) == (found.roots, found.blocks, None)
    with carv2.open(sink.getvalue()) as car:
        assert car.index is not None
        for cid, _ in found.blocks:
            assert CID(cid) in car.index


def ask_car(data: bytes) -> Question | None:
    found = read_file(data, verify=False)
    if found.roots is None or found.error is not None:
        return None
    roots = ",".join(root.raw.hex() for root in found.roots) or "-"
    blocks = ",".join(f"{cid.hex()}:{hashlib.sha256(block).hexdigest()[:8]}" for cid, block in found.blocks)
    with carv2.open(data) as car:
        return Question("car", data, f"ok {car.version} {roots} {blocks or '-'}")


def _blocks_without(
    fault: Callable[[list[carv2.Block]], list[carv2.Block]],
) -> Callable[..., Iterator[carv2.Block]]:
    def blocks(self: CarReader, **options: object) -> Iterator[carv2.Block]:
        return iter(fault(list(_BLOCKS(self, **options))))  # type: ignore[arg-type]

    return blocks


_BLOCKS, _SECTIONS, _LOOKED_OVER, _WRITE = (
    CarReader.blocks, CarReader.sections, _scan.SectionScanner._looked_over, CarWriter.write,
)  # fmt: skip

SECTIONS = Target(
    "sections",
    check_sections,
    frozenset({"version 1", "version 2", "broken off", REFUSED}),
    {
        "checks no hashes": Sabotage(CarReader, "blocks", lambda self, **_: _BLOCKS(self, verify=False)),
        "loses the last block": Sabotage(CarReader, "blocks", _blocks_without(lambda blocks: blocks[:-1])),
        "mixes positions with offsets": Sabotage(
            CarReader,
            "sections",
            lambda self: (each._replace(offset=PayloadOffset(each.position)) for each in _SECTIONS(self)),
        ),
        "writes nothing but CIDs": Sabotage(CarWriter, "write", lambda self, cid, _: _WRITE(self, cid, b"")),
        "indexes nothing": Sabotage(carv2.index.IndexBuilder, "add", lambda *_: None),
    },
    ask_car,
    max_size=3000,
    words=(b"roots", b"version", b"\x01\x55\x12\x20", b"\x12\x20", b"\x01\x55\x00", b"[Gateway Error:"),
)


# -- the push parser ------------------------------------------------------------------------------------------


def check_push(data: bytes) -> str:
    """The first byte says how large the chunks are that the rest comes in."""
    plan, archive = data[:1], data[1:]
    outcome = REFUSED
    for verify in (False, True):
        whole, pushed = read_file(archive, verify=verify), push(chunks_of(archive, plan), verify=verify)
        assert pushed.blocks == whole.blocks
        assert (pushed.roots or ()) == (whole.roots or ())
        assert (pushed.error is None) == (whole.error is None)
        if whole.error is not None:
            _check_error(whole, pushed)
        elif not verify:
            outcome = "taken"
        if whole.error is not None and whole.blocks and not verify:
            outcome = "broken off"
    return outcome


def _check_error(whole: Reading, pushed: Reading) -> None:
    """Some things may be told differently, as who pushes neither knows the size nor has all of a section at once.

    That is how much is missing of what is cut short; that a section runs over the payload's end, which the push
    parser may see before it sees what else is wrong with it; and what a gateway says at the very end.
    """
    mine, theirs = _without_gateway(whole), _without_gateway(pushed)
    if "runs over the end of the payload" in str(theirs.error):
        assert isinstance(mine.error, FormatError)
        assert isinstance(theirs.error, FormatError)
        assert mine.error.position >= theirs.error.position
    elif type(mine.error) is TruncatedError and type(theirs.error) is TruncatedError:
        assert theirs.error.position == mine.error.position
    else:
        assert theirs.fault == mine.fault


def _without_gateway(found: Reading) -> Reading:
    """With the error that a gateway's words stand for."""
    error = found.error
    if isinstance(error, GatewayTruncatedError):
        assert isinstance(error.__cause__, (FormatError, IntegrityError))
        return found._replace(error=error.__cause__)
    return found


def push(chunks: Iterator[bytes], *, verify: bool) -> Reading:
    """Through the push parser."""
    decoder, blocks = CarDecoder(verify=verify, limits=LIMITS), list[tuple[bytes, bytes]]()
    try:
        for chunk in chunks:
            blocks += ((block.cid_bytes, block.data) for block in decoder.feed(chunk))
        decoder.finish()
    except (FormatError, IntegrityError) as error:
        return Reading(decoder.roots, blocks, error)
    return Reading(decoder.roots, blocks, None)


def chunks_of(data: bytes, plan: bytes) -> Iterator[bytes]:
    """Pieces of sizes that follow from one byte, 1 to 255; 0 is all at once."""
    state, at = plan[0] if plan else 0, 0
    if not state:
        yield data
        return
    while at < len(data):
        state = state * 5 % 257  # goes round all of 1 to 256
        size = max(1, state // 4)
        yield data[at : at + size]
        at += size


_FEED, _FINISH = CarDecoder.feed, CarDecoder.finish

PUSH = Target(
    "push-parser",
    check_push,
    frozenset({"taken", "broken off", REFUSED}),
    {
        "never misses an end": Sabotage(CarDecoder, "finish", lambda _: None),
        "gives blocks too late": Sabotage(CarDecoder, "feed", lambda self, chunk: _FEED(self, chunk)[:-1]),
        "counts positions by the chunk": Sabotage(
            CarDecoder, "_explained", lambda _, error, rest, position: _moved(error)
        ),
    },
    max_size=3000,
    words=SECTIONS.words,
)


def _moved(error: CarError) -> CarError:
    if isinstance(error, FormatError):
        error.position += 1
    return error


TARGETS = (SECTIONS, PUSH)
