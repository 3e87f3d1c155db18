"""Archives of references that lie or are damaged, given to what rewrites them: CarErrors, and nothing wrong."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import carv2
from carv2 import CID
from carv2.errors import CarError
from carv2.filestore import FileReference, densify, import_by_reference, key_cid, refer, relocate
from carv2.filestore.record import encode
from carv2.units import Limits
from filestore.writing import SMALL
from unixfs_import.inputs import write_tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TIGHT = Limits(header=1 << 16, section=1 << 16, cid=1 << 10)  # so that a flipped length does not ask for megabytes
CONTENT = bytes(range(250))


@pytest.fixture(scope="module")
def top(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("hostile")
    write_tree(folder / "top", {"a": CONTENT[:150], "b": b"fish"})
    return folder / "top"


def archive_of(top: Path, variant: str) -> bytes:
    sink = io.BytesIO()
    import_by_reference(top, sink, profile=SMALL, variant=variant)
    return sink.getvalue()


def damaged(archive: bytes) -> Iterator[bytes]:
    """Cuts, and flips of every byte, each of one bit."""
    yield from (archive[:at] for at in range(0, len(archive), 7))
    for at, byte in enumerate(archive):
        yield archive[:at] + bytes([byte ^ (1 << at % 8)]) + archive[at + 1 :]


def rewritten(archive: bytes, top: Path, number: int) -> bytes | None:
    """What comes out of one of the functions that rewrite archives; None if it ends with a CarError."""
    out = io.BytesIO()
    try:
        if number == 0:
            relocate(archive, out, {str(top): str(top)}, limits=TIGHT)
        elif number == 1:
            relocate(archive, out, {"/": str(top)}, check="none", limits=TIGHT)
        elif number == 2:
            refer(archive, top, out, limits=TIGHT)
        else:
            densify(archive, out, allow=[top], limits=TIGHT)
    except CarError:
        return None
    return out.getvalue()


@pytest.mark.parametrize("variant", ["A", "D"])
def test_damage_ends_in_a_car_error_or_does_not_matter(top: Path, variant: str) -> None:
    archive = archive_of(top, variant)
    with carv2.open(dense(archive, top)) as car:
        whole = {block for _, block in car}
    survived = 0
    for at, data in enumerate(damaged(archive)):
        out = rewritten(data, top, at % 3)
        if out is not None:
            with carv2.open(out) as car:
                assert len(list(car.blocks(verify=False))) <= len(whole)
        out = rewritten(data, top, 3)
        if out is not None:
            survived += 1
            with carv2.open(out) as car:  # which checks each block
                assert {block for _, block in car} <= whole
    assert 0 < survived < len(archive) // 2


def dense(archive: bytes, *allow: Any) -> bytes:
    out = io.BytesIO()
    densify(archive, out, allow=allow)
    return out.getvalue()


PATHS = st.sampled_from(
    [
        "",
        "/",
        "..",
        "dev/zero",
        "proc/self/mem",
        "a\0b",
        "x" * 3000,
        "../" * 900,
        "https://",
        "http://127.0.0.1:1/",
    ]
) | st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
NUMBERS = st.sampled_from([0, 1, (1 << 31), (1 << 63) - 1, 1 << 63, (1 << 64) - 1]) | st.integers(0, 300)


@given(PATHS, NUMBERS, NUMBERS, st.booleans())
def test_records_that_say_anything(top: Path, path: str, offset: int, size: int, below: bool) -> None:
    leaf = CID.of_data(b"fish")
    reference = FileReference(f"{str(top)[1:]}/{path}" if below else path, offset, size)
    record = encode(reference)
    archive = b"".join(carv2.iter_car([leaf], [(key_cid(leaf), record)], verify=False))
    with pytest.raises(CarError):
        dense(archive, top)
    for check in ("hash", "size", "none"):
        with contextlib.suppress(CarError, FileNotFoundError):  # an empty path leads nowhere
            relocate(archive, io.BytesIO(), {"/": str(top)}, check=check)
