"""The files that the transcripts talk about: small, and made byte by byte."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli import folders, hostile, references
from helpers import archives
from helpers.shared import shared_folder

if TYPE_CHECKING:
    from pathlib import Path

FISH, LOBSTER, BARRELEYE = archives.FISH, archives.LOBSTER, archives.BARRELEYE
BLOCKS = [FISH, LOBSTER, BARRELEYE]
ROOTS = [FISH[0], LOBSTER[0]]
TWO = archives.v1(ROOTS, BLOCKS)
RECORDS = archives.records_of(archives.header(ROOTS), BLOCKS)
INDEX = archives.index_multihash_sorted(RECORDS)
ALL_AT_THE_SECOND = [record._replace(offset=RECORDS[1].offset) for record in RECORDS]
UNKNOWN = (FISH[0][:2] + b"\x99\xb3\x02\x04abcd", b"data")
START, STOP = archives.section_bounds(archives.header(ROOTS), BLOCKS)[1]

MIDDLE = archives.node(FISH[0], LOBSTER[0])
TOP = archives.node(MIDDLE[0], FISH[0], MIDDLE[0])
STRANGE = (archives.cid_v1(b"tree", codec=0x78), b"tree")
BROKEN = (archives.cid_v1(b"\x82", codec=archives.DAG_CBOR), b"\x82")
ODD = archives.node(STRANGE[0], BROKEN[0])

FISH_PATCH = """car compile fish.car
root bafkreifuosuzujyf4i6psbneqtwg2fhplc2wxptc5euspa2gn3bwhnihfu
--- bafkreifuosuzujyf4i6psbneqtwg2fhplc2wxptc5euspa2gn3bwhnihfu
+++ raw (no-end-cr) bafkreifuosuzujyf4i6psbneqtwg2fhplc2wxptc5euspa2gn3bwhnihfu
@@ -0,0 +0,0 @@
fish
"""

IMPORTS = b"""{"id":1629158672000000001,"Labels":{"source":"import","filename":"/data/fish","car_path":"fish.car",\
"root":"bafkreifuosuzujyf4i6psbneqtwg2fhplc2wxptc5euspa2gn3bwhnihfu"}}
"""

FILES: dict[str, bytes] = {
    "imports.jsonl": IMPORTS,
    "dag.car": archives.v1([TOP[0]], [FISH, LOBSTER, BARRELEYE, MIDDLE, TOP]),
    "dag-v2.car": archives.v2(archives.v1([TOP[0]], [FISH, LOBSTER, BARRELEYE, MIDDLE, TOP])),
    "gaps.car": archives.v1([TOP[0]], [TOP, MIDDLE, FISH]),
    "odd.car": archives.v1([ODD[0]], [ODD, STRANGE, BROKEN]),
    "fish.car": archives.v1([FISH[0]], [FISH]),
    "two.car": TWO,
    "empty.car": archives.EMPTY_HEADER,
    "mixed.car": archives.SMALL_V1,
    "mixed-v2.car": archives.SMALL_V2,
    "wrapped.car": archives.v2(TWO, INDEX),
    "padded.car": archives.v2(TWO, INDEX, data_padding=100, index_padding=10),
    "sorted.car": archives.v2(TWO, archives.index_sorted(RECORDS)),
    "headless.car": archives.v2(TWO, archives.index_body(RECORDS)),
    "no-index.car": archives.v2(TWO),
    "two.carindex": INDEX,
    "sorted.carindex": archives.index_sorted(RECORDS),
    "other.carindex": archives.index_multihash_sorted([record._replace(offset=7) for record in RECORDS]),
    "nulls.car": TWO + bytes(64),
    "damaged.car": TWO[: STOP - 1] + b"?" + TWO[STOP:],
    "cut.car": TWO[:-1],
    "junk.car": TWO[:START] + b"\xff" * 20 + TWO[START:],
    "bad-section.car": archives.header(ROOTS) + bytes.fromhex("e0e0e0e0a706"),
    "bad-header.car": bytes.fromhex("e0e0e0e0a706"),
    "lying.car": archives.v2(TWO, archives.index_multihash_sorted(ALL_AT_THE_SECOND)),
    "strange-index.car": archives.v2(TWO, b"\x1f no index"),
    "unfinished.car": archives.PRAGMA + bytes(40) + TWO,
    "unknown.car": archives.v1([], [FISH, UNKNOWN]),
    "missing-root.car": archives.v1([FISH[0], BARRELEYE[0]], [FISH]),
    "version-42.car": bytes.fromhex("0ba16776657273696f6e182a"),
    "gateway.car": TWO[:STOP] + b"\n\n[Gateway Error: \x1b[31mno\x07 more\x9b]",
    "hostile-key.car": archives.varint(10) + b"\xa1\x68\x1b[2J\x07\r\x0a\x7f",
    "-dashed.car": archives.v1([FISH[0]], [FISH]),
    **folders.FILES,
    **hostile.FILES,
    **references.FILES,
    "nothing": b"",
    "text": b"not an archive\n",
    "fish.patch": FISH_PATCH.encode(),
}  # fmt: skip


def lay_out(folder: Path) -> None:
    """Write them all, and link what other programs made as ``shared``, if that is here."""
    for name, data in FILES.items():
        (folder / name).write_bytes(data)
    shared = shared_folder() / "fixtures"
    if shared.is_dir():
        (folder / "shared").symlink_to(shared)
