"""Trees and files at the edges of the import profiles, for comparison with other importers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from carv2.unixfs import ImportProfile

TREES = ("edges", "nested", "names", "symlinks", "empty", "many")
"""By name; see :func:`make`."""


MIB = 1 << 20
EDGES = (
    0,
    1,
    40,
    52,
    53,
    125,
    126,
    127,
    128,
    MIB // 4 - 1,
    MIB // 4,
    MIB // 4 + 1,
    MIB,
    MIB + 1,
    MIB + 52,
    MIB + 127,
)
NAMES = [
    "b",
    "B",
    "a b",
    "ä",
    "a\u0308",
    "日本語",
    "😀",
    "\uff21",
    "\ue000",
    "a\\b",
    "a\nb",
    "~",
    "-o",
    "a." * 100,
]


def payload(size: int) -> bytes:
    """Bytes in which no two chunks of a profile are the same."""
    return b"".join(number.to_bytes(4, "big") * 256 for number in range(size // 1024 + 1))[:size]


def edge_sizes(profile: ImportProfile) -> list[int]:
    """Around nothing, a chunk, two, and (for small enough ones) a full node and two full nodes."""
    chunk, full = profile.chunk_size, profile.chunk_size * profile.file_links
    around = [chunk, 2 * chunk]
    if full <= 64 << 20:
        around += [full]
    return [0, 1, 125, 126, 127, *(size + step for size in around for step in (-1, 0, 1)), chunk * 7 + 100]


def make(name: str, folder: Path) -> None:
    """Make one of :data:`TREES` in ``folder``."""
    folder.mkdir()
    if name == "edges":
        for size in EDGES:
            (folder / f"file-{size:08}").write_bytes(payload(size))
    elif name == "nested":
        deep = folder
        for depth in range(30):
            deep /= f"level {depth}"
            deep.mkdir()
            (deep / "file").write_bytes(payload(depth * 1000))
        (folder / "beside" / "another").mkdir(parents=True)
        (folder / "beside" / "another" / "x.bin").write_bytes(payload(600_000))
    elif name == "names":
        for entry in NAMES:
            (folder / entry).write_text(entry)
    elif name == "symlinks":
        (folder / "file").write_text("file")
        (folder / "to file").symlink_to("file")
        (folder / "to nothing").symlink_to("../nothing/at/all")
        (folder / "to itself").symlink_to("to itself")
        (folder / "away").symlink_to("/" + "far/" * 50)
    elif name == "empty":
        (folder / "nothing" / "in" / "here").mkdir(parents=True)
        (folder / "file").write_bytes(b"")
    else:
        for number in range(1500):
            (folder / f"{number:05}").write_bytes(b"%d" % number)


def make_threshold(profile: ImportProfile, folder: Path, *, above: bool) -> None:
    """A folder that is as large as a plain directory may get, or one byte (or entry) larger."""
    folder.mkdir()
    if profile.hamt_rule == "entries":
        for number in range(profile.hamt_threshold + above):
            (folder / f"{number:04}").write_bytes(b"x")
        return
    per_entry, fixed = 36 if profile.cid_version else 34, 0
    if profile.hamt_rule == "block-bytes":  # a link: 12 LL, 0a 24 CID, 12 LL NAME, 18 01; the UnixFS message
        per_entry, fixed = per_entry + 8, 4
    size, more = divmod(profile.hamt_threshold + above - fixed - ENTRIES * per_entry, ENTRIES)
    assert 4 <= size < 80  # so that LL is one byte
    for number in range(ENTRIES):
        (folder / f"{number:04}".ljust(size + (number < more), "-")).write_bytes(b"x")


ENTRIES = 2700
