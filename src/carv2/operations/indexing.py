"""Indexes of archives: made anew, taken out, put in.

Source: the CARv2 specification (https://ipld.io/specs/transport/car/carv2/); what its indexes look like, go-car
decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2 import index
from carv2._atomic import writing
from carv2._source import SliceView, open_source
from carv2.errors import FormatError, NoIndexError
from carv2.index import CAR_INDEX_SORTED, CAR_MULTIHASH_INDEX_SORTED, Index
from carv2.index._listed import RECORD_KEYS
from carv2.operations._index_check import lists_identity, require_matching_index
from carv2.operations.wrap import check_sections, copy, write_v2
from carv2.reader import CarReader
from carv2.units import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    import os
    from typing import BinaryIO

    from carv2._source import SourceLike
    from carv2.header import CarV2Header
    from carv2.index import IndexBuilder


def build_index(
    source: SourceLike,
    *,
    codec: int = CAR_MULTIHASH_INDEX_SORTED,
    identity: bool = False,
    limits: Limits = DEFAULT_LIMITS,
    null_padding: bool = False,
) -> IndexBuilder:
    """Index the sections of an archive of either version; an index that it carries is not looked at.

    Takes 40 bytes of memory a block and a little more; ``.chunks()`` of the result writes it out, ``.to_index()``
    makes it ready for look-ups. The blocks are not hashed.

    Raises:
        FormatError: the archive is damaged.

    >>> import carv2
    >>> archive = b"".join(carv2.iter_car([], [(carv2.CID.of_data(b"fish"), b"fish")]))
    >>> [entry.offset for entry in build_index(archive).to_index()]
    [18]
    """
    with CarReader(source, limits=limits, null_padding=null_padding) as car:
        return car.build_index(codec, identity=identity)


def usual_codec(source: SourceLike, *, limits: Limits = DEFAULT_LIMITS) -> int:
    """The format that a fresh index of an archive had best have, where nobody says: 0x0401.

    Of a ref-CARv2 of variant A it is that of the index that it has, 0x0400: the programs that read such archives
    know no other.
    """
    with CarReader(source, limits=limits) as car:
        try:
            found = car.index
        except FormatError:
            found = None
        if found is None or found.codec != CAR_INDEX_SORTED:
            return CAR_MULTIHASH_INDEX_SORTED
        digests = (digest for _, bucket in found.buckets() for digest, _ in bucket)
        is_reference = any(digest.startswith(RECORD_KEYS) for digest in digests)
        return CAR_INDEX_SORTED if is_reference else CAR_MULTIHASH_INDEX_SORTED


def reindex(
    source: SourceLike,
    destination: str | os.PathLike[str] | BinaryIO,
    *,
    codec: int | None = CAR_MULTIHASH_INDEX_SORTED,
    identity: bool = False,
    limits: Limits = DEFAULT_LIMITS,
    null_padding: bool = False,
) -> CarV2Header:
    """Write a CARv2 of the payload of an archive of either version with a fresh index (none if ``codec`` is None).

    ``destination`` may be the path that ``source`` is: it is replaced whole or not at all. The keys of a
    ref-CARv2's records are listed in any case, and a header that says "fully indexed" goes on saying so as long as
    it is true.

    Raises:
        FormatError: the archive is damaged.

    >>> import carv2, io
    >>> cid = carv2.CID.of_data(b"fish")
    >>> archive = b"".join(carv2.iter_car([cid], [(cid, b"fish")]))
    >>> out = io.BytesIO()
    >>> _ = reindex(archive, out)
    >>> with carv2.open(out.getvalue()) as car:
    ...     [entry.offset for entry in car.index]
    [59]
    """
    with CarReader(source, limits=limits, null_padding=null_padding) as car:
        if codec is None:
            check_sections(car)
            return write_v2(car, destination, (), has_index=False)
        builder = car.build_index(codec, identity=identity)
        said = car.header is not None and car.header.is_fully_indexed
        return write_v2(
            car,
            destination,
            builder.chunks(),
            has_index=True,
            fully_indexed=identity or (said and not builder.left_out_count),
        )


def detach_index(
    source: SourceLike, destination: str | os.PathLike[str] | BinaryIO, *, limits: Limits = DEFAULT_LIMITS
) -> int:
    """Copy the index out of a CARv2, as it stands there to the end of the file; return its size in bytes.

    Raises:
        NoIndexError: the archive carries none.
        IndexFormatError: what it carries is no index.

    >>> import carv2, io
    >>> cid = carv2.CID.of_data(b"fish")
    >>> archive = b"".join(carv2.iter_car([cid], [(cid, b"fish")]))
    >>> wrapped, index = io.BytesIO(), io.BytesIO()
    >>> _ = carv2.wrap(archive, wrapped)
    >>> detach_index(wrapped.getvalue(), index) == len(index.getvalue())
    True
    >>> len(read_index(index.getvalue()))
    1
    """
    with CarReader(source, limits=limits) as car:
        if car.header is None or car.index is None:
            raise NoIndexError("no index present")
        start, size = car.header.index_offset, car.source.size
        with writing(destination) as file:
            copy(car.source, start, size, file.write)
        return size - start


def read_index(source: SourceLike) -> Index:
    """The index in a file: one of its own (a detached index), or the one that a CARv2 carries.

    Raises:
        NoIndexError: an archive without one.
        IndexFormatError: neither of the two.
    """
    opened = open_source(source)
    codec, _ = index.read_codec(SliceView(opened, 0, opened.size))
    if codec in {index.CAR_INDEX_SORTED, index.CAR_MULTIHASH_INDEX_SORTED}:
        return index.parse(SliceView(opened, 0, opened.size))
    found = CarReader(opened).index
    if found is None:
        raise NoIndexError("no index present")
    return found


def attach_index(
    source: SourceLike,
    index_source: SourceLike,
    destination: str | os.PathLike[str] | BinaryIO,
    *,
    verify: bool = True,
    limits: Limits = DEFAULT_LIMITS,
    null_padding: bool = False,
) -> CarV2Header:
    """Write a CARv2 of the payload of an archive of either version with the given index.

    ``destination`` may be the path that ``source`` is: it is replaced whole or not at all.

    Args:
        source: the archive; an index that it carries is left behind.
        index_source: a detached index, or a CARv2 to take it from.
        destination: a path, or any sink.
        verify: refuse an index that is not one of this payload.
        limits: upper bounds for what the file may claim.
        null_padding: take a zero-length section for the end of the sections.

    Raises:
        IndexMismatchError: the index is not of this archive.
        IndexFormatError: it is none.

    >>> import carv2, io
    >>> cid = carv2.CID.of_data(b"fish")
    >>> archive = b"".join(carv2.iter_car([cid], [(cid, b"fish")]))
    >>> index, out = io.BytesIO(), io.BytesIO()
    >>> for chunk in carv2.build_index(archive).chunks():
    ...     _ = index.write(chunk)
    >>> _ = attach_index(archive, index.getvalue(), out)
    >>> carv2.verify(out.getvalue()).ok
    True
    """
    opened = open_source(index_source)
    try:
        attached = read_index(opened)
        with CarReader(source, limits=limits, null_padding=null_padding) as car:
            if verify:
                require_matching_index(car, attached)
            return write_v2(
                car,
                destination,
                attached.chunks(),
                has_index=True,
                fully_indexed=lists_identity(attached) or _is_said_and_true(car, attached),
            )
    finally:
        if opened is not index_source:
            opened.close()


def _is_said_and_true(car: CarReader, attached: Index) -> bool:
    """Whether the archive says that everything is in its index, and as much is in the new one."""
    if car.header is None or not car.header.is_fully_indexed:
        return False
    listed = sum(len(bucket) for _, bucket in attached.buckets())
    return listed == sum(len(batch.entries) for batch in car.batches(bodies=False))
