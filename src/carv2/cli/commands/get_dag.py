"""``carv2 get-dag``; arguments and defaults are those of go-car's ``car get-dag``."""

from __future__ import annotations

import argparse
import contextlib
import sys
from typing import TYPE_CHECKING

from carv2.cli import color, nodes, references, repairs, streams
from carv2.dag import export, selector
from carv2.errors import SelectorError

if TYPE_CHECKING:
    from collections.abc import Generator

    from carv2._source import SourceLike
    from carv2.cid import CID
    from carv2.dag import Exported, Selector
    from carv2.dag.walking import Store

HELP = "take the DAG of one root out of an archive"
EXAMPLES = (
    "carv2 get-dag archive.car dag.car",
    "carv2 get-dag --strict archive.car bafkreifuosuzujyf4i6psbneqtwg2fhplc2wxptc5euspa2gn3bwhnihfu dag.car",
    """carv2 get-dag --selector '{".":{}}' archive.car root.car""",
    "carv2 get-dag --kubo auto bafkreifuosuzujyf4i6psbneqtwg2fhplc2wxptc5euspa2gn3bwhnihfu dag.car",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="the archive, - for standard input; left out with --kubo")
    parser.add_argument(
        "root", metavar="ROOT", nargs="?", type=streams.as_cid, help="CID (default: the only root)"
    )
    parser.add_argument("out", metavar="OUT", help="the new archive; - for standard output, with --version 1")
    parser.add_argument(
        "-s",
        "--selector",
        metavar="JSON",
        type=_as_selector,
        default=selector.EVERYTHING,
        help="which of its blocks: an IPLD selector in DAG-JSON (default: all)",
    )
    parser.add_argument(
        "--max-steps",
        type=_as_count,
        metavar="N",
        help="that the selector may take within blocks (default 10,000,000 and 10 for each byte)",
    )
    parser.add_argument(
        "--strict", action="store_true", help="a missing block is an error, as always with --version 1"
    )
    parser.add_argument("--version", type=int, choices=(1, 2), default=2, help="of the new archive (default 2)")
    nodes.add_kubo(parser, "take the DAG out of an IPFS node instead")
    references.add_ref(parser)
    streams.add_limits(parser)


def _as_selector(text: str) -> Selector:
    try:
        return selector.parse(text)
    except SelectorError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _as_count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is no number of steps")
    return int(text)


def run(args: argparse.Namespace) -> int:
    by_reference = references.is_wanted(args)
    nodes.require(args)
    with _source(args, by_reference=by_reference) as (source, root):
        found = export(
            source,
            streams.destination(args.out, version=args.version),
            root,
            args.selector,
            strict=args.strict or args.version == 1,
            version=args.version,
            identity=args.version == 1,
            max_steps=args.max_steps,
            limits=streams.limits_of(args),
        )
    if args.json:
        sys.stdout.flush()
        streams.print_json(found, beside=args.out)
    elif found.missing_count:
        _tell(found)
        if not by_reference and args.kubo is None and not references.hint(args.file):
            repairs.hint_at_index(args.file, args)
    return 0


@contextlib.contextmanager
def _source(args: argparse.Namespace, *, by_reference: bool) -> Generator[tuple[SourceLike | Store, CID | None]]:
    """The archive or store to read, and the root to begin at; None for the only one."""
    if args.kubo is None:
        opened = references.opened(args) if by_reference else streams.watched(args.file, "reading", passes=2)
        with opened as source:
            yield source, args.root
    elif args.root is not None or by_reference:
        raise ValueError("with --kubo there is no archive to read: carv2 get-dag --kubo URL ROOT OUT")
    else:
        with nodes.opened(args) as node:
            yield node, nodes.root_of(node, args.file)


def _tell(found: Exported) -> None:
    many = "1 block is" if found.missing_count == 1 else f"{found.missing_count} blocks are"
    first = "" if found.missing_count == 1 else ", the first"
    print(f"{many} missing{first}: {color.printable(found.missing[0].short())}", file=sys.stderr)
