"""``carv2 put-block``; its messages are those of go-car's ``car put-block``."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import carv2
from carv2.blockstore import append_block
from carv2.cli import color, progress, streams
from carv2.errors import CarError

if TYPE_CHECKING:
    import argparse

    from carv2 import CID, Limits
    from carv2.blockstore import Appended

HELP = "append the block on standard input to an archive, or to a new one"
EXAMPLES = (
    "carv2 put-block archive.car <block",
    "carv2 put-block --codec dag-cbor --set-root new.car <block",
)
_CODECS = ("raw", "dag-pb", "dag-cbor", "dag-json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="the archive; created if there is none")
    parser.add_argument("-c", "--codec", metavar="CODEC", help=f"{', '.join(_CODECS)} (default: raw)")
    parser.add_argument("--cid", type=carv2.CID.of, help="what the block must be (default: CIDv1, sha2-256)")
    parser.add_argument(
        "--version", type=int, choices=(1, 2), help="of a new archive (default 2); an old one must have it"
    )
    parser.add_argument("--set-root", action="store_true", help="make the block the root of a new archive")
    streams.add_limits(parser)


def run(args: argparse.Namespace) -> int:
    codec = _codec(args)
    if args.set_root and os.path.exists(args.file):
        raise ValueError("cannot use --set-root when appending to existing file")
    limits = streams.limits_of(args)
    data = _block(limits)
    cid = carv2.CID.of_data(data, codec=codec) if args.cid is None else _checked(args.cid, data)
    roots = [cid] if args.set_root else []
    with streams.blame(args.file), progress.bar("examining", streams.total_size([args.file])) as tick:
        done = append_block(args.file, cid, data, roots=roots, version=args.version, limits=limits, on_bytes=tick)
    if args.json:
        streams.print_json({"cid": cid, "file": args.file, **streams.plain_fields(vars(done))})
    else:
        print(cid, flush=True)
        print(_message(args.file, done), file=sys.stderr)
    return 0


def _codec(args: argparse.Namespace) -> str:
    if args.file == "-":
        raise ValueError("a block cannot be appended to standard output")
    if args.cid is not None and args.codec is not None:
        raise ValueError("--cid and --codec are mutually exclusive (use one or the other)")
    codec: str = args.codec or "raw"
    if codec not in _CODECS:
        raise ValueError(f"unsupported codec: {codec}")
    return codec


def _block(limits: Limits) -> bytes:
    """Standard input, or as much as shows that it is too much."""
    data = b""
    for chunk in streams.chunks("-"):
        data += chunk
        if len(data) > limits.section:
            break
    return data


def _checked(wanted: CID, data: bytes) -> CID:
    if wanted.matches(data) is False:
        computed = carv2.CID.of_data(data, codec=wanted.codec, hash=wanted.hash_code, version=wanted.version)
        raise CarError(f"CID mismatch: expected {wanted}, computed {computed}")
    return wanted


def _message(name: str, done: Appended) -> str:
    file = color.printable(name)
    if done.created:
        return f"Created new CAR file: {file}"
    if not done.stored:
        return f"Block already in CAR file: {file}"
    roots = f" (roots: {len(done.roots)})" if done.version == 1 else ""
    return f"Block added to existing CAR file: {file}{roots}"
