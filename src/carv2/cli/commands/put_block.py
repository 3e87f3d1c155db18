"""``carv2 put-block``; its messages are those of go-car's ``car put-block``."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
from typing import TYPE_CHECKING, Any

import carv2
from carv2._atomic import sync_folder, unlink
from carv2._locks import lock
from carv2.blockstore import ReadWriteBlockstore
from carv2.cli import color, streams
from carv2.errors import CarError, LockedError, UnfinalizedError
from carv2.header import FULLY_INDEXED

if TYPE_CHECKING:
    import argparse
    from typing import BinaryIO

    from carv2 import CID, Limits

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
    with streams.blame(args.file):
        done = _put(args, cid, data, limits)
    if args.json:
        streams.print_json({"cid": cid, "file": args.file, **done})
    else:
        print(cid, flush=True)
        print(_message(args.file, **done), file=sys.stderr)
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


def _put(args: argparse.Namespace, cid: CID, data: bytes, limits: Limits) -> dict[str, Any]:
    """Work on a copy, which takes the place of the archive when it is whole; keep other writers out meanwhile."""
    target = os.path.realpath(args.file)
    draft = os.path.join(os.path.dirname(target), f".carv2-{os.urandom(8).hex()}.part")
    with contextlib.ExitStack() as stack:
        stack.callback(unlink, draft)
        created = not os.path.exists(target)
        if not created and not os.path.isfile(target):
            raise OSError(errno.EINVAL, "not a regular file", args.file)
        if created:
            store = _create(draft, args, [cid] if args.set_root else [], limits)
        else:
            _lock(stack.enter_context(open(target, "r+b")), target)
            shutil.copy(target, draft)
            like = _index_settings(target, limits)
            store = ReadWriteBlockstore.resume(draft, version=args.version, limits=limits, **like)
        with store:
            _refuse_to_cut(store)
            stored = store.put(cid, data)
        if created:
            _publish(draft, target)
        elif stored:
            os.replace(draft, target)
        sync_folder(os.path.dirname(target))
    version = store.recovery.version if store.recovery is not None else args.version or 2
    return {"created": created, "stored": stored, "version": version, "roots": store.roots}


def _create(draft: str, args: argparse.Namespace, roots: list[CID], limits: Limits) -> ReadWriteBlockstore:
    try:
        return ReadWriteBlockstore.create(draft, roots, version=args.version or 2, limits=limits)
    except OSError as error:
        raise OSError(error.errno, error.strerror, args.file) from None


def _lock(file: BinaryIO, path: str) -> None:
    lock(file.fileno(), path)
    if not os.path.samestat(os.fstat(file.fileno()), os.stat(path)):  # a writer before us put another in its place
        raise LockedError(path)


def _index_settings(path: str, limits: Limits) -> dict[str, Any]:
    """What the archive's index is like, so that the new one is like it."""
    with contextlib.suppress(UnfinalizedError), carv2.open(path, limits=limits) as car:
        if car.header is not None and car.index is not None:
            return {
                "index_codec": car.index.codec,
                "index_padding": car.header.index_offset - car.header.data_end,
                "store_identity": bool(car.header.characteristics & FULLY_INDEXED),
            }
    return {}


def _refuse_to_cut(store: ReadWriteBlockstore) -> None:
    found = store.recovery
    if found is not None and found.cut_bytes:
        raise CarError(f"the last {found.cut_bytes} bytes are no section: {found.reason} (see carv2 recover)")


def _publish(draft: str, target: str) -> None:
    """Give ``draft`` the name ``target``, unless somebody took that meanwhile."""
    try:
        os.link(draft, target)
    except FileExistsError as error:
        raise FileExistsError(error.errno, error.strerror, target) from None
    except OSError:  # a file system without links
        os.replace(draft, target)


def _message(name: str, *, created: bool, stored: bool, version: int, roots: tuple[CID, ...]) -> str:
    file = color.printable(name)
    if created:
        return f"Created new CAR file: {file}"
    if not stored:
        return f"Block already in CAR file: {file}"
    return f"Block added to existing CAR file: {file}" + (f" (roots: {len(roots)})" if version == 1 else "")
