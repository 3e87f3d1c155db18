"""``carv2 detach-index list``; its text is that of go-car's ``car detach-index list``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from carv2.cli import streams
from carv2.errors import CarError
from carv2.multihash import encode
from carv2.operations.indexing import read_index

if TYPE_CHECKING:
    import argparse

HELP = "list the records of an index: multihash and payload offset"
EXAMPLES = (
    "carv2 detach-index list archive.carindex",
    "carv2 detach-index archive.car | carv2 detach-index list -",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    streams.add_file(parser, text="a detached index or a CARv2, - for standard input")


def run(args: argparse.Namespace) -> int:
    with streams.source(args.file) as source:
        found = read_index(source)
        for code, digest, offset in found:
            if args.json:
                streams.print_json({"hash_code": code, "digest": digest, "offset": offset})
                continue
            if code is None:
                why = "index of codec car-index-sorted is not iterable: it keeps no hash functions"
                raise CarError(f"{why} (--json lists its bare digests)")
            sys.stdout.write(f"{encode(code, digest).hex()} {offset}\n")
    return 0
