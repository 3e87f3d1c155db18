"""One gateway as a source of blocks that are proven to be those asked for."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from carv2.errors import (
    BlockNotFoundError,
    BudgetError,
    CodecError,
    FormatError,
    GatewayError,
    GatewayTruncatedError,
    IntegrityError,
    LimitError,
    UnknownHashError,
)
from carv2.ipfs._ask import CAR_TYPE, RAW_TYPE, car_accept, raw_target
from carv2.ipfs._client import Client, Meter
from carv2.section import BlockChecker
from carv2.unixfs.stream import StreamVerifier, form_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from carv2.cid import CID
    from carv2.ipfs._ask import Ask
    from carv2.ipfs._client import Answer
    from carv2.ipfs._fetch_options import FetchOptions
    from carv2.unixfs.stream import Form

_END_SECONDS, _END_BYTES = 2.0, 64 << 10
"""For the end of an answer of which everything is there."""


class GatewaySource:
    """Asks one gateway; whatever is wrong with an answer is a :class:`carv2.errors.GatewayError`.

    ``speaks_cars`` is cleared by whoever finds out that it has single blocks only.
    """

    def __init__(self, url: str, options: FetchOptions, on_bytes: Callable[[int], object]) -> None:
        self._client = Client(url, max_wait=options.max_wait)
        self._options, self._on_bytes = options, on_bytes
        self._checker = BlockChecker()
        self.speaks_cars = True
        self.remarks: list[GatewayError] = []
        """What was wrong behind the last block of an answer, and cost nothing."""
        self._gave = False  # a block of the answer that is under way

    @property
    def url(self) -> str:
        """The gateway's address."""
        return self._client.url.text

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()

    def blocks(self, ask: Ask) -> Iterator[tuple[bytes, bytes]]:
        """Yield binary CID and data of each block asked for, proven, as it comes.

        Raises:
            GatewayError: the answer is not what was asked for, or not all of it; the blocks before it are sound.
            PathNotFoundError: the blocks prove that there is nothing at the path.
            CodecError, UnknownCodecError, UnknownHashError, BudgetError: the DAG cannot be followed or checked.
        """
        if self.speaks_cars:
            yield from self._car(ask)
        else:
            yield ask.root.raw, self._block(ask.root)

    def _car(self, ask: Ask) -> Iterator[tuple[bytes, bytes]]:
        dups, is_whole, self._gave = self._options.dups, False, False
        meter = self._meter()
        try:
            with self._client.get(ask.target(dups=dups), car_accept(dups=dups), meter) as answer:
                verifier = self._verifier(ask, self._form_of(answer), meter)
                for piece in answer.pieces():
                    self._on_bytes(len(piece))
                    with self._blamed():
                        found = verifier.feed(piece)
                    for block in found:
                        self._gave = True
                        meter.gain(len(block.cid_bytes) + len(block.data))
                        yield block.cid_bytes, block.data
                    if verifier.is_whole and not is_whole:
                        is_whole = True
                        meter.hurry(_END_SECONDS, _END_BYTES)
                with self._blamed():
                    verifier.finish()
        except GatewayError as error:
            if not is_whole or isinstance(error.__cause__, IntegrityError):
                raise
            if not isinstance(error.__context__, TimeoutError):  # else there is no end, and nobody waits for that
                self.remarks.append(self._remark(error))

    def _remark(self, error: GatewayError) -> GatewayError:
        what = str(error.__cause__ or str(error).removeprefix(f"{self.url}: "))
        return GatewayError(f"all that was asked for came, but behind it: {what}", url=self.url)

    def _form_of(self, answer: Answer) -> Form:
        """What the answer says of its order. Blocks that were not asked for are an error in any case."""
        if answer.kind != CAR_TYPE:
            why = _other_type(answer, CAR_TYPE)
            raise GatewayError(why, url=self.url, status=200, is_final=True, other_form=True)
        form = form_of(answer.content_type)
        if form["on_unexpected"] == "ignore":  # nothing is said of duplicates: they may come
            return {"order": "unk", "dups": True, "on_unexpected": "error"}
        return form

    def _verifier(self, ask: Ask, form: Form, meter: Meter) -> StreamVerifier:
        options = self._options
        if form["order"] == "unk":
            meter.gain(options.max_held)
        with self._blamed():
            return StreamVerifier(
                ask.root,
                ask.path,
                scope=ask.scope,
                byte_range=ask.byte_range,
                max_held=options.max_held,
                limits=options.limits,
                **form,
            )

    def _block(self, cid: CID) -> bytes:
        """One block, asked for as such. Its hash is what counts: the type only says what other bytes are."""
        with self._client.get(raw_target(cid), RAW_TYPE, self._meter()) as answer:
            parts, size = list[bytes](), 0
            for piece in answer.pieces():
                self._on_bytes(len(piece))
                parts.append(piece)
                size += len(piece)
                if size > self._options.limits.section:
                    raise GatewayError("it sends more than a block may have", url=self.url, is_final=True)
        data = b"".join(parts)
        try:
            with self._blamed():
                self._checker.check(cid.raw, data, position=0)
        except GatewayError as error:
            if answer.kind == RAW_TYPE:
                raise
            raise GatewayError(_other_type(answer, RAW_TYPE), url=self.url, status=200, is_final=True) from error
        return data

    def _meter(self) -> Meter:
        options = self._options
        return Meter(timeout=options.timeout, patience=options.patience, room=options.limits.section)

    @contextlib.contextmanager
    def _blamed(self) -> Generator[None]:
        """Tell what the gateway did from what the DAG is like, which no other gateway would change."""
        try:
            yield
        except (UnknownHashError, CodecError):
            raise
        except (IntegrityError, LimitError) as error:
            raise GatewayError(f"its answer is wrong: {error}", url=self.url, is_final=True) from error
        except GatewayTruncatedError as error:
            raise GatewayError(str(error), url=self.url) from error
        except FormatError as error:
            raise GatewayError(f"its answer is no archive, or not all of one: {error}", url=self.url) from error
        except BlockNotFoundError as error:
            why = f"its answer ends before the block {error.cid.short()}"
            raise GatewayError(why, url=self.url) from error
        except BudgetError as error:
            if "held back" not in error.budget:
                raise
            # what was remembered of a long answer is forgotten, and what is missing of it asked for
            why = f"its answer takes too much memory: {error}"
            raise GatewayError(why, url=self.url, is_final=not self._gave) from error


def _other_type(answer: Answer, wanted: str) -> str:
    return f"it answered with {answer.kind[:100] or 'an unknown type'}, not with {wanted}"
