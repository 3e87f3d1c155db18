"""``carv2 retrieve``."""

from __future__ import annotations

import os
import re
import shlex
import stat
import sys
from typing import TYPE_CHECKING, Any

from carv2.cli import color, progress, repo, streams
from carv2.errors import BudgetError, CarError, IncompleteError
from carv2.imports.retrieval import MAX_BLOCKS, MAX_BYTES
from carv2.imports.retrievals import Retrievals

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from carv2.dag import Completeness
    from carv2.imports.retrieval import Retrieval

HELP = "take the blocks of a DAG out of streams, in as many goes as it takes"
EXAMPLES = (
    "carv2 retrieve bafkreifuosuzujyf4i6psbneqtwg2fhplc2wxptc5euspa2gn3bwhnihfu --from archive.car",
    "curl -s https://example.org/ipfs/CID?format=car | carv2 retrieve bafkqaatjmq --from - --export folder",
    "carv2 retrieve bafkqaatjmq --id 1637000000000000000 --from chunks --from rest.car",
)

_LISTED = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("root", metavar="ROOT", type=streams.as_cid, help="CID of the DAG's root")
    parser.add_argument(
        "--from",
        dest="sources",
        metavar="SOURCE",
        action="append",
        required=True,
        help="a CAR stream: a file, - for standard input, or a folder of chunks of one, which are joined in the "
        "order of their names (10 behind 9); may be given several times",
    )
    parser.add_argument("--id", help="go on with this retrieval, or give a new one this id (default: a new one)")
    repo.add_repo(parser)
    parser.add_argument("--export", metavar="OUT", help="write the file or folder to OUT when all is there")
    parser.add_argument(
        "--only-linked",
        action="store_true",
        help="leave out blocks that nothing before them links to: for streams with parents first",
    )
    parser.add_argument("--partial", action="store_true", help="finish it although blocks are missing")
    parser.add_argument(
        "--max-bytes",
        type=streams.size_with_unit,
        default=MAX_BYTES,
        metavar="BYTES",
        help="that it may hold (default 64GiB)",
    )
    parser.add_argument(
        "--max-blocks",
        type=streams.positive,
        default=MAX_BLOCKS,
        metavar="N",
        help=f"that it may hold (default {MAX_BLOCKS:,})",
    )
    streams.add_limits(parser)


def run(args: argparse.Namespace) -> int:
    if args.sources.count("-") > 1:
        raise ValueError("standard input can be read once only")
    if args.export == "-":
        raise ValueError("--export needs a name; `retrievals export` can write to standard output")
    retrievals = Retrievals(repo.retrievals_folder(args), limits=streams.limits_of(args))
    with retrievals.start(
        args.root,
        id=args.id,
        only_linked=args.only_linked,
        max_bytes=args.max_bytes,
        max_blocks=args.max_blocks,
    ) as retrieval:
        try:
            _receive(retrieval, args.sources)
            found, finished = _finish(retrieval, partial=args.partial)
        except BaseException:  # a full disk, Ctrl-C
            _tell_how_to_go_on(args, retrieval)
            raise
    _report(args, retrieval, found, finished=finished)
    if not finished:
        return 1
    if args.export is not None:
        retrievals.export(retrieval.id, args.export, partial=args.partial)
    return 0 if found.complete else 1


def _receive(retrieval: Retrieval, names: Sequence[str]) -> None:
    """Take all streams; one that is cut or damaged does not keep the next from being taken."""
    for name in names:
        try:
            with progress.bar("retrieving", _size_of(name)) as tick:
                retrieval.receive(_chunks_of(name), on_bytes=tick)
        except BudgetError:
            raise
        except CarError as error:
            where = "standard input" if name == "-" else name
            print(
                color.paint(f"carv2: {color.printable(where)}: ", "error") + color.printable(str(error)),
                file=sys.stderr,
            )


def _chunks_of(name: str) -> Iterator[bytes]:
    for part in _parts_of(name):
        yield from streams.chunks(part)


def _parts_of(name: str) -> list[str]:
    """The files that make up a stream. Of a folder hidden files are left out, and all that is no file."""
    if name == "-" or not os.path.isdir(name):
        return [name]
    with os.scandir(name) as entries:
        names = [entry.name for entry in entries if not entry.name.startswith(".") and entry.is_file()]
    return [os.path.join(name, part) for part in sorted(names, key=_as_people_count)]


def _as_people_count(name: str) -> list[tuple[int, str]]:
    """What to sort names by: numbers in them by their value.

    >>> sorted(["part-10", "part-9", "part-09a"], key=_as_people_count)
    ['part-9', 'part-09a', 'part-10']
    """
    parts = re.split(r"([0-9]+)", name)
    return [(int(part[:1000]), "") if at % 2 else (0, part) for at, part in enumerate(parts)] + [(0, name)]


def _size_of(name: str) -> int | None:
    """Bytes of a stream, if files are all that it is made of."""
    if name == "-" or (os.path.exists(name) and stat.S_ISFIFO(os.stat(name).st_mode)):
        return None
    return streams.total_size(_parts_of(name))


def _finish(retrieval: Retrieval, *, partial: bool) -> tuple[Completeness, bool]:
    """What is there, and whether that is an archive now."""
    try:
        return retrieval.finish(partial=partial), True
    except IncompleteError as error:
        return error.completeness, False


def _report(args: argparse.Namespace, retrieval: Retrieval, found: Completeness, *, finished: bool) -> None:
    if args.json:
        streams.print_json(_fields(retrieval, found, finished=finished))
        return
    for line in _lines(retrieval, found, finished=finished):
        print(line)
    if not finished:
        _tell_how_to_go_on(args, retrieval)


def _fields(retrieval: Retrieval, found: Completeness, *, finished: bool) -> dict[str, Any]:
    return {
        "id": retrieval.id,
        "path": retrieval.path,
        "root": retrieval.root,
        "state": "finished" if finished else "partial",
        "received": retrieval.received,
        "resumed_count": retrieval.resumed_count,
        "completeness": found,
    }


def _lines(retrieval: Retrieval, found: Completeness, *, finished: bool) -> Iterator[str]:
    received = retrieval.received
    yield f"Retrieval: {retrieval.id}"
    yield f"Was there: {_blocks(retrieval.resumed_count)}"
    left_out = f", {received.left_out_count} left out" if received.left_out_count else ""
    yield (
        f"Came in: {_blocks(received.block_count)}: {received.new_count} new, "
        f"{received.known_count} already there{left_out}"
    )
    yield from lines_of(found)
    yield f"State: {'finished' if finished else 'partial'}"


def lines_of(found: Completeness) -> Iterator[str]:
    """What there is of the DAG, and what is missing, for people."""
    yield f"Of the DAG: {_blocks(found.block_count)}, {found.block_bytes} bytes"
    if found.unreachable_count:
        yield f"Beside the DAG: {_blocks(found.unreachable_count)}, {found.unreachable_bytes} bytes"
    not_followed = found.fault_count + sum(found.unknown_codecs.values())
    if not_followed:
        yield color.paint("Not followed:", "error") + f" the links of {_blocks(not_followed)}"
    if found.missing_count:
        yield color.paint("Missing:", "error") + f" {_blocks(found.missing_count)}"
    for missing in found.missing[:_LISTED]:
        yield f"  {color.printable(missing.cid.short())}"
    if found.missing_count > _LISTED:
        yield f"  and {found.missing_count - _LISTED} more"


def _blocks(count: int) -> str:
    return "1 block" if count == 1 else f"{count} blocks"


def _tell_how_to_go_on(args: argparse.Namespace, retrieval: Retrieval) -> None:
    """On standard error, so that it is read whatever becomes of the rest."""
    words = ["carv2", "retrieve", str(retrieval.root), "--id", retrieval.id]
    words += ["--repo", args.repo] if args.repo else []
    print(f"what came in is kept; to go on: {color.printable(shlex.join(words))} --from ...", file=sys.stderr)
