"""Other roots for an archive.

Source: go-car's ``ReplaceRootsInFile``, whose condition, a header of the same size, holds here too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2._atomic import replacing
from carv2.cid import CID
from carv2.errors import FormatError
from carv2.header import CarV1Header
from carv2.operations.wrap import copy
from carv2.reader import CarReader
from carv2.units import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from carv2.cid import CIDLike


def replace_roots(
    path: str | os.PathLike[str], roots: Iterable[CIDLike], *, limits: Limits = DEFAULT_LIMITS
) -> None:
    """Replace the roots in the archive at ``path``; whole or not at all, everything else stays as it is.

    The new header must take as many bytes as the old one, since an index counts from its front: as many roots,
    with CIDs as long, will do.

    Raises:
        FormatError: the sizes differ (both are named), or the file is not a CAR.

    >>> import carv2, os, tempfile
    >>> fish, cow = (carv2.CID.of_data(data) for data in (b"fish", b"cow"))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "sea.car")
    ...     with carv2.create(path, [fish]) as car:
    ...         car.write(fish, b"fish")
    ...     _ = replace_roots(path, [cow])
    ...     with carv2.open(path) as car:
    ...         car.roots == (cow,)
    True
    """
    header = CarV1Header(tuple(map(CID.of, roots))).to_bytes()
    with CarReader(path, limits=limits) as car:
        current = car.first_section
        start = car.payload_position
        if len(header) != current:
            why = f"current header size ({current}) must match replacement header size ({len(header)})"
            raise FormatError(why, position=start)
        with replacing(path) as file:
            copy(car.source, 0, start, file.write)
            file.write(header)
            copy(car.source, start + current, car.source.size, file.write)
