"""Whether an archive is one that the DASL specification allows, section by section.

Source: https://dasl.ing/car.html. A DASL CAR is a CARv1 whose header is DRISL, whose sections have DASL CIDs, and
whose roots are among them; what its dag-cbor blocks hold is DRISL. Its header may have more keys than ``roots``
and ``version``: such an archive is not read here, nor by go-car.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2 import _varint
from carv2.cid import CID
from carv2.codec import dasl
from carv2.errors import CodecError
from carv2.header import CarV1Header
from carv2.operations.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from carv2._scan import Batch
    from carv2.reader import CarReader

_KIND = "NotDasl"


class DaslWatch:
    """Takes batches, as :class:`carv2.operations.verify.Watch` does, and tells what DASL does not allow."""

    def __init__(self, tell: Callable[[Problem], object]) -> None:
        self._tell = tell
        self._car: CarReader | None = None

    def open(self, car: CarReader) -> None:
        """Check what stands in front of the sections."""
        self._car = car
        if car.version != 1:
            self._say("a CARv2, allowed: CARv1", 0)
        at = car.payload_position
        raw = car.source.read_exactly(at, car.first_section, "CARv1 header")
        body = _varint.decode(raw, 0, len(raw), position=at)[1]
        try:
            dasl.check(raw[body:])
        except CodecError as error:
            self._say(f"the header is not DRISL: {_reason(error)}", at + body + error.position)
            return
        if raw != CarV1Header(car.roots).to_bytes():  # the only other form that is read
            self._say("the header has no list of roots", at)

    def add(self, batch: Batch) -> None:
        """Check the CIDs of a batch and its dag-cbor blocks."""
        entries = batch.entries
        kind = None if entries.prefix is None else dasl.CID_HEADS.get(entries.prefix)
        if kind is not None and kind != dasl.DAG_CBOR:
            return
        for cid, start, stop in entries:
            codec = kind or dasl.CID_HEADS.get(cid[: -dasl.DIGEST_SIZE])
            if codec is None:
                fault = dasl.fault_of_cid(cid)
                self._say(f"a section with {fault}", batch.base + start - len(cid), cid)
            elif codec == dasl.DAG_CBOR:
                self._check_block(batch, cid, start, stop)

    def finish(self) -> None:
        """Nothing is left to be said: that each root is a block is checked for any archive."""

    def _check_block(self, batch: Batch, cid: bytes, start: int, stop: int) -> None:
        if stop <= len(batch.buffer):
            data = batch.buffer[start:stop]
        elif self._car is not None:
            data = self._car.source.read_exactly(batch.base + start, stop - start, "block")
        else:
            return
        try:
            dasl.check(data)
        except CodecError as error:
            at = batch.base + start + error.position
            self._say(f"the block {CID.trusted(cid).short()} is not DRISL: {_reason(error)}", at, cid)

    def _say(self, text: str, position: int, cid: bytes | None = None) -> None:
        about = None if cid is None else CID.trusted(cid)
        message = f"not DASL: {text} (at byte {position})"
        self._tell(Problem(kind=_KIND, message=message, position=position, cid=about))


def _reason(error: CodecError) -> str:
    return str(error.args[0]).removeprefix("DRISL: ")
