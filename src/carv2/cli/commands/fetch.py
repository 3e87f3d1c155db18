"""``carv2 fetch``."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
import tempfile
from typing import TYPE_CHECKING, Any

from carv2.cli import color, progress, streams
from carv2.errors import CodecError, FormatError, IntegrityError, LockedError, ResumeError
from carv2.imports.retrieval import MAX_BLOCKS
from carv2.unixfs.path import split_path

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from carv2.cid import CID
    from carv2.ipfs import Fetched, FetchOptions

HELP = "take a DAG from trustless gateways into an archive, in as many goes as it takes"
EXAMPLES = (
    "carv2 fetch bafkqaatjmq --from https://example.org -o out.car",
    "carv2 fetch bafkqaatjmq/docs/readme.md --from https://example.org --from http://127.0.0.1:8080 -o out.car",
    "carv2 fetch bafkqaatjmq/film.mp4 --bytes 0:1048575 --from https://example.org -o start.car",
    "carv2 fetch bafkqaatjmq --from https://example.org -o - | carv2 extract -o folder -",
)

_RANGE = re.compile(r"(-?\d{1,19}):(-?\d{1,19}|\*)", re.ASCII)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what", metavar="CID[/PATH]", type=_what, help="the DAG; /ipfs/ or ipfs:// may be in front"
    )
    parser.add_argument(
        "--from",
        dest="gateways",
        metavar="GATEWAY",
        action="append",
        required=True,
        help="a trustless gateway: http(s)://HOST[:PORT] or a multiaddr; given several times, the next one is "
        "asked where one fails",
    )
    parser.add_argument(
        "-o",
        "--output",
        dest="out",
        metavar="OUT",
        required=True,
        help="the archive, which replaces a file that is there; - writes a CARv1 to standard output while it "
        "comes in",
    )
    parser.add_argument(
        "--scope",
        choices=("all", "entity", "block"),
        help="all below the path's end (default), what it takes to read the file or list the directory there, "
        "or its one block",
    )
    parser.add_argument(
        "--bytes",
        metavar="FIRST:LAST",
        type=_byte_range,
        help="of a file: both included, counted from the end if negative, * for the end, as in --bytes=-500:*; "
        "implies --scope entity",
    )
    parser.add_argument("--version", type=int, choices=(1, 2), help="of the archive (default 2, and 1 with -o -)")
    parser.add_argument("--v1", dest="version", action="store_const", const=1, help="the same as --version 1")
    _add_patience(parser)
    _add_budgets(parser)
    streams.add_limits(parser)


def _add_patience(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--timeout", metavar="SECONDS", type=_seconds, default=30.0, help="without a byte (default 30)")
    add("--patience", metavar="SECONDS", type=_seconds, default=120.0, help="for each block (default 120)")
    add("--retries", metavar="N", type=_count, default=4, help="of a gateway without anything new (default 4)")
    add("--max-wait", metavar="SECONDS", type=_seconds, default=60.0, help="between two of them (default 60)")


def _add_budgets(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--max-bytes",
        metavar="BYTES",
        type=streams.size,
        default=64 << 30,
        help="of blocks that may come in (default 64GiB)",
    )
    add(
        "--max-blocks",
        metavar="N",
        type=streams.positive,
        default=MAX_BLOCKS,
        help=f"that may come in (default {MAX_BLOCKS:,})",
    )
    add("--dups", action="store_true", help="ask for blocks as often as links lead to them")


def _what(text: str) -> tuple[CID, str]:
    """The CID and the path below it.

    >>> _what("/ipfs/bafkqaatjmq/a/b") == _what("ipfs://bafkqaatjmq/a/b") == _what("bafkqaatjmq/a/b")
    True
    """
    root, path = split_path(text)
    if root is not None:
        return root, path
    text, _, path = text.partition("/")
    return streams.as_cid(text), path


def _byte_range(text: str) -> tuple[int, int | None]:
    found = _RANGE.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no range of bytes, such as 0:1023 or -500:*")
    return int(found[1]), None if found[2] == "*" else int(found[2])


def _seconds(text: str) -> float:
    if not re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return float(text)


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of tries")
    return int(text)


def run(args: argparse.Namespace) -> int:
    if args.out == "-" and args.version == 2:
        raise ValueError("a CARv2 needs a file that can seek; --version 1 goes to standard output")
    with progress.bar("fetching") as tick, _advising(args):
        found = _to_standard_output(args, tick) if args.out == "-" else _to_file(args, tick)
    _report(args, found)
    return 0


def _to_file(args: argparse.Namespace, tick: Callable[[int], object]) -> Fetched:
    from carv2.ipfs import fetch  # noqa: PLC0415  (what --help does not need)

    return fetch(args.what[0], args.out, args.gateways, version=args.version or 2, on_bytes=tick, **_request(args))


def _to_standard_output(args: argparse.Namespace, tick: Callable[[int], object]) -> Fetched:
    """Each block as it comes, once; those that came are remembered in a file that nobody sees."""
    from carv2.blockstore import ReadWriteBlockstore  # noqa: PLC0415
    from carv2.ipfs import fetch_into  # noqa: PLC0415
    from carv2.writer import CarWriter  # noqa: PLC0415

    root, sink = args.what[0], streams.destination("-")
    assert not isinstance(sink, str)  # it is standard output
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        store = ReadWriteBlockstore.create(os.path.join(folder, "seen.car"), [root], verify=False)
        stack.callback(store.discard)
        writer = stack.enter_context(CarWriter(sink, [root], version=1, verify=False))
        found = fetch_into(store, root, args.gateways, on_bytes=tick, on_block=writer.write, **_request(args))
    sink.flush()
    return found


def _request(args: argparse.Namespace) -> dict[str, Any]:
    scope = args.scope or ("all" if args.bytes is None else "entity")
    return {"path": args.what[1], "scope": scope, "byte_range": args.bytes, "options": _options(args)}


def _options(args: argparse.Namespace) -> FetchOptions:
    from carv2.ipfs import FetchOptions  # noqa: PLC0415

    return FetchOptions(
        timeout=args.timeout,
        patience=args.patience,
        retries=args.retries,
        max_wait=args.max_wait,
        max_bytes=args.max_bytes,
        max_blocks=args.max_blocks,
        dups=args.dups,
        limits=streams.limits_of(args),
    )


@contextlib.contextmanager
def _advising(args: argparse.Namespace) -> Generator[None]:
    """Say how to go on after an error that leaves a partial file."""
    part = f"{os.path.realpath(args.out)}.part"
    try:
        yield
    except BaseException as error:
        if args.out != "-" and os.path.exists(part):
            shown = color.printable(f"{args.out}.part" if not os.path.islink(args.out) else part)
            error.advice = _advice(error, part, shown)  # type: ignore[attr-defined]
        raise


def _advice(error: BaseException, part: str, shown: str) -> str:
    if isinstance(error, LockedError):
        return "another fetch is writing it: wait for that to end, or name another file"
    if isinstance(error, ResumeError):
        return f"{shown} is of another fetch: remove it, or name another file"
    is_of_dag = isinstance(error, (CodecError, IntegrityError))
    if isinstance(error, FormatError) and str(error).startswith(part):
        return ""  # it says so
    is_refused = isinstance(error, PermissionError) and error.filename == part
    if is_refused or not os.path.isfile(part) or (isinstance(error, FormatError) and not is_of_dag):
        return f"{shown} is not what a fetch leaves: remove it, or name another file"
    return f"what came in is kept in {shown}; the same command goes on with it"


def _report(args: argparse.Namespace, found: Fetched) -> None:
    failures = [str(error) for error in found.failures]
    if args.json:
        sys.stdout.flush()
        fields = {name: getattr(found, name) for name in found.__slots__}
        streams.print_json({**fields, "failures": failures, "out": args.out}, beside=args.out)
        return
    for failure in failures:
        print(color.paint("carv2: ", "error") + color.printable(failure), file=sys.stderr)
    if args.out != "-":
        for line in _lines(found):
            print(line)


def _lines(found: Fetched) -> list[str]:
    lines = [f"Root: {found.root}"]
    lines += [f"Path: {color.printable(found.path)}"] if found.path else []
    lines += [f"Was there: {_blocks(found.resumed_count)}"] if found.resumed_count else []
    answers = "1 answer" if found.question_count == 1 else f"{found.question_count} answers"
    return [*lines, f"Came in: {_blocks(found.block_count)}, {found.block_bytes} bytes, in {answers}"]


def _blocks(count: int) -> str:
    return "1 block" if count == 1 else f"{count} blocks"
