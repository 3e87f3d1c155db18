"""What an archive is and what is in it, counted in one pass."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carv2 import index
from carv2._source import SliceView
from carv2.errors import IndexFormatError, TruncatedError
from carv2.operations._tally import Tally, require_known_hashes, take
from carv2.reader import CarReader
from carv2.units import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from carv2._scan import Batch
    from carv2._source import SourceLike
    from carv2.cid import CID
    from carv2.header import CarV2Header


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """The figures of an archive; sizes are in bytes, averages are cut to whole bytes, all are 0 without blocks."""

    version: int
    header: CarV2Header | None
    """Of a CARv2."""
    roots: tuple[CID, ...]
    roots_present: bool
    """Each root is a block of the archive (or an identity CID); true if there are no roots."""
    block_count: int
    codecs: Mapping[int, int]
    """Blocks by multicodec number, ascending."""
    hashes: Mapping[int, int]
    """Blocks by hash code, ascending."""
    min_block_size: int
    average_block_size: int
    max_block_size: int
    min_cid_size: int
    average_cid_size: int
    max_cid_size: int
    index_codec: int | None
    """None without an index; whatever number stands there, also one that means nothing."""
    index_is_headless: bool
    """The index has no codec in front of it, as in the CARv2 specification's own example."""
    header_is_canonical: bool
    """The CARv1 header is just what go-car would write for these roots."""
    hashes_verified: bool


def inspect(
    source: SourceLike,
    *,
    full: bool = False,
    workers: int = 1,
    limits: Limits = DEFAULT_LIMITS,
    null_padding: bool = True,
) -> Inspection:
    """Describe an archive and count its blocks.

    Args:
        source: a path, bytes, a seekable binary file or an fsspec file.
        full: check the hash of each block too.
        workers: processes to share the hashing among, for a file with a path.
        limits: upper bounds for what the file may claim.
        null_padding: take a zero-length section for the end of the payload, as go-car's own command does.

    Raises:
        FormatError: the archive is damaged.
        IntegrityError: ``full``, and a block is not what its CID says (or nobody here can tell).

    >>> import carv2
    >>> archive = b"".join(carv2.iter_car([], [(carv2.CID.of_data(b"fish"), b"fish")]))
    >>> inspect(archive).block_count
    1
    """
    with CarReader(source, limits=limits, null_padding=null_padding) as car:
        return inspect_opened(car, full=full, workers=workers)


def inspect_opened(
    car: CarReader,
    *,
    full: bool,
    workers: int = 1,
    on_batch: Callable[[Batch], object] | None = None,
    on_progress: Callable[[int], object] | None = None,
) -> Inspection:
    """The same of an open archive; ``on_batch`` sees the sections in the same pass."""
    codec, headless = _index_codec(car)
    tally = take(car, hashes=full, workers=workers, on_batch=on_batch, on_progress=on_progress)
    require_known_hashes(car, tally)
    canonical = car.payload_header.to_bytes()
    same = car.source.read_at(car.payload_position, len(canonical)) == canonical
    return _report(car, tally, codec, headless=headless, full=full, canonical=same)


def _index_codec(car: CarReader) -> tuple[int | None, bool]:
    if car.header is None or not car.header.has_index:
        return None, False
    start, size = car.header.index_offset, car.source.size
    if start >= size:
        raise TruncatedError("index", wanted=start - size + 1, got=0, position=size)
    codec, _ = index.read_codec(SliceView(car.source, start, size), position=start)
    try:
        known = car.index
    except IndexFormatError:
        known = None
    if known is not None and known.is_headless:
        return known.codec, True
    return codec, False


def _report(
    car: CarReader, tally: Tally, codec: int | None, *, headless: bool, full: bool, canonical: bool
) -> Inspection:
    codecs, hashes, sizes = Counter[int](), Counter[int](), Counter[int]()
    for (codec_code, hash_code, cid_size), many in tally.kinds.items():
        codecs[codec_code] += many
        hashes[hash_code] += many
        sizes[cid_size] += many
    count = tally.block_count
    return Inspection(
        version=car.version,
        header=car.header,
        roots=car.roots,
        roots_present=not tally.missing_roots,
        block_count=count,
        codecs=dict(sorted(codecs.items())),
        hashes=dict(sorted(hashes.items())),
        min_block_size=tally.min_block or 0,
        average_block_size=tally.block_bytes // count if count else 0,
        max_block_size=tally.max_block,
        min_cid_size=min(sizes, default=0),
        average_cid_size=sum(size * many for size, many in sizes.items()) // count if count else 0,
        max_cid_size=max(sizes, default=0),
        index_codec=codec,
        index_is_headless=headless,
        header_is_canonical=canonical,
        hashes_verified=full,
    )
