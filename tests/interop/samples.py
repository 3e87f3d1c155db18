"""Archives for peers to read, written by carv2 from blocks of every kind."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import carv2
from helpers import archives

if TYPE_CHECKING:
    from pathlib import Path

Pair = tuple[carv2.CID, bytes]

_NUMBERS = random.Random(2)


def block(data: bytes, **kind: Any) -> Pair:
    return carv2.CID.of_data(data, **kind), data


def dag_cbor(number: int) -> Pair:
    """The map {"n": number}, as a block."""
    return block(b"\xa1\x61n" + archives.cbor_head(0, number), codec="dag-cbor")


EMPTY_NODE = bytes.fromhex("0a020801")
MIXED = [
    block(b"fish"),
    block(EMPTY_NODE, codec="dag-pb", version=0),
    block(EMPTY_NODE, codec="dag-pb"),
    dag_cbor(7),
    block(b"lobster", hash="blake2b-256"),
    block(b"barreleye", hash="sha2-512"),
    block(b"no data follows", hash="sha1"),
    block(b""),
]

BLOCKS: dict[str, list[Pair]] = {
    "one": [block(b"fish")],
    "no-data": [block(b"")],
    "mixed": MIXED,
    "versions": [block(EMPTY_NODE, codec="dag-pb", version=version) for version in (0, 1)],
    "blake2b": [block(data, codec="dag-cbor", hash="blake2b-256") for _, data in map(dag_cbor, range(20))],
    "identity": [
        block(b"fish"),
        block(b"in the CID", hash="identity"),
        block(b"", hash="identity"),
        block(b"lobster"),
    ],
    "copies": [block(b"fish"), block(b"lobster"), block(b"fish"), block(b"fish")],
    "cut-digest": [
        (carv2.CID.of_multihash(b"\x12\x14" + carv2.CID.of_data(b"fish").digest[:20]), b"fish"),
        block(b"lobster"),
    ],
    "large": [block(_NUMBERS.randbytes(3_000_000)), block(b"small"), block(_NUMBERS.randbytes(70_000))],
    "sizes": [block(bytes(size)) for size in (89, 90, 91, 92, 93, 127, 128, 16_345, 16_346, 16_347, 16_348)],
    "many": [dag_cbor(number) for number in range(3000)],
    "unknown-codec": [(carv2.CID.of_data(b"fish", codec=0x3FFFFF), b"fish")],
}
"""By name; the CID of the first block is the root."""

LAYOUTS: dict[str, dict[str, Any]] = {
    "v1": {"version": 1},
    "v2": {},
    "v2-sorted": {"index_codec": 0x0400},
    "v2-padded": {"data_padding": 1413, "index_padding": 1314},
    "v2-identity": {"identity": True},
    "v2-no-index": {"index_codec": None},
}

EVERY = [(name, layout) for name in BLOCKS for layout in LAYOUTS]


def write(path: Path, name: str, layout: str) -> Path:
    """Let carv2 write one of them."""
    with carv2.create(path, [BLOCKS[name][0][0]], **LAYOUTS[layout]) as car:
        car.write_all(BLOCKS[name])
    return path


SHARED = [
    "go-car/sample-v1.car",
    "go-car/sample-v1-noidentity.car",
    "go-car/sample-wrapped-v2.car",
    "go-car/sample-v2-indexless.car",
    "go-car/sample-rw-bs-v2.car",
    "go-car/sample-unixfs-v2.car",
    "go-car-cli/simple-unixfs.car",
    "go-car-cli/simple-unixfs-missing-blocks.car",
    "spec/carv1-basic.car",
    "spec/carv2-basic.car",
    "gateway-conformance/dir_listing/fixtures.car",
    "gateway-conformance/gateway-cache/fixtures.car",
    "gateway-conformance/gateway-raw-block.car",
    "gateway-conformance/path_gateway_dag/dag-cbor-traversal.car",
    "gateway-conformance/path_gateway_dag/dag-json-traversal.car",
    "gateway-conformance/path_gateway_unixfs/dir-with-files.car",
    "gateway-conformance/path_gateway_unixfs/symlink.car",
]
