"""``carv2 dot``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from carv2._atomic import writing
from carv2.blockstore import ReadOnlyBlockstore
from carv2.cli import streams
from carv2.dag import dot

if TYPE_CHECKING:
    import argparse

HELP = "draw the DAGs of an archive, as text for Graphviz"
EXAMPLES = ("carv2 dot archive.car | dot -Tsvg >dag.svg", "carv2 dot --max-nodes 50 archive.car dag.dot")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    streams.add_file(parser)
    parser.add_argument(
        "out", metavar="OUT", nargs="?", default="-", help="file for the text (default: standard output)"
    )
    parser.add_argument(
        "--root",
        dest="roots",
        metavar="CID",
        type=streams.as_cid,
        action="append",
        help="begin with this block, not with the archive's roots; may be given again",
    )
    parser.add_argument("--max-nodes", type=streams.positive, default=1000, help="blocks to draw (default 1000)")
    streams.add_null_padding(parser)
    streams.add_limits(parser)


def run(args: argparse.Namespace) -> int:
    with (
        streams.watched(args.file, "reading") as source,
        ReadOnlyBlockstore(source, null_padding=args.null_padding, limits=streams.limits_of(args)) as store,
    ):
        lines = list(dot(store, args.roots or store.roots, max_nodes=args.max_nodes))
    if args.json:
        streams.print_json({"dot": "\n".join(lines)})
        if args.out == "-":
            return 0
    with writing(streams.destination(args.out, is_binary=False)) as sink:
        sink.write("".join(f"{line}\n" for line in lines).encode())
    sys.stdout.flush()
    return 0
