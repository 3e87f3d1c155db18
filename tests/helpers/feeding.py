"""Everything that reads an archive, behind one shape: what came out, and the error that ended it."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from carv2.decoder import CarDecoder, aiter_blocks, iter_blocks
from carv2.errors import CarError, FormatError, IntegrityError
from carv2.index import IndexBuilder
from carv2.reader import CarReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from carv2._source import SourceLike
    from carv2.section import Section


class Outcome(NamedTuple):
    """What a reader gave until it ended; ``items`` are blocks as (CID, data), or sections."""

    items: list[Any]
    error: CarError | None

    @property
    def kind(self) -> type[CarError] | None:
        return None if self.error is None else type(self.error)

    @property
    def position(self) -> int | None:
        return self.error.position if isinstance(self.error, (FormatError, IntegrityError)) else None

    @property
    def summary(self) -> tuple[list[Any], type[CarError] | None, int | None]:
        """What two ways of reading the same bytes must agree on."""
        return self.items, self.kind, self.position


def drain(items: Callable[[], Iterable[Any]]) -> Outcome:
    """Everything up to the first CarError, and that; any other exception goes through, and is a bug."""
    found: list[Any] = []
    try:
        for item in items():
            found.append(item)  # noqa: PERF402  (what came before an error must be kept)
    except CarError as error:
        return Outcome(found, error)
    return Outcome(found, None)


def by_reader(source: SourceLike, **options: Any) -> Outcome:
    """Through :meth:`CarReader.blocks`."""
    verify = options.pop("verify", True)
    return drain(lambda: (tuple(block) for block in CarReader(source, **options).blocks(verify=verify)))


def by_sections(source: SourceLike, **options: Any) -> Outcome:
    """Through :meth:`CarReader.sections`."""

    def sections() -> Iterator[Section]:
        return CarReader(source, **options).sections()

    return drain(sections)


def by_decoder(chunks: Iterable[bytes], **options: Any) -> Outcome:
    """Through :class:`CarDecoder`, chunk by chunk."""
    return drain(lambda: (tuple(block) for block in iter_blocks(chunks, **options)))


def by_async_decoder(chunks: Iterable[bytes], **options: Any) -> Outcome:
    """Through :func:`aiter_blocks`, driven by hand: it needs no event loop."""

    async def source() -> Any:
        for chunk in chunks:
            yield chunk

    def run() -> Iterator[Any]:
        stream = aiter_blocks(source(), **options)
        while True:
            try:
                stream.__anext__().send(None)  # type: ignore[attr-defined]
            except StopIteration as stop:
                yield tuple(stop.value)
            except StopAsyncIteration:
                return

    return drain(run)


def bytewise(data: bytes) -> Iterator[bytes]:
    return (data[at : at + 1] for at in range(len(data)))


def split_at(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """``data`` cut at these offsets; cuts outside of it do nothing."""
    bounds = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:stop] for start, stop in pairwise(bounds)]


def by_indexing(source: SourceLike, **options: Any) -> Outcome:
    """Through an index built of the sections; the items are its records as (digest, offset)."""
    builder = IndexBuilder(identity=True)

    def records() -> Iterator[tuple[bytes, int]]:
        reader = CarReader(source, **options)
        payload = reader.payload_position
        for batch in reader.batches(bodies=False):
            shift = batch.base - payload
            builder.add_sections(batch.entries, batch.start + shift, shift, payload=payload)
        return iter(())

    outcome = drain(records)
    return Outcome([(entry.digest, entry.offset) for entry in builder.to_index()], outcome.error)


def roots_by_decoder(data: bytes, chunks: Callable[[bytes], Iterable[bytes]]) -> Any:
    """The roots that a push parser hears of."""
    decoder = CarDecoder()
    for chunk in chunks(data):
        decoder.feed(chunk)
    return decoder.roots
