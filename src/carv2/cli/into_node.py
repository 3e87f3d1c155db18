"""``carv2 retrieve --to-kubo``: the streams go into an IPFS node instead of an archive."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from carv2.cli import color, nodes, streams
from carv2.errors import BudgetError, CarError, IncompleteError, KuboError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Iterator

    from carv2.dag.complete import Completeness
    from carv2.ipfs.kubo import KuboBlockstore, NodeRetrieval

_LISTED = 10
_NOT_TOGETHER = {
    "id": "--id",
    "new": "--new",
    "repo": "--repo",
    "export": "--export",
    "only_linked": "--only-linked",
    "partial": "--partial",
}


def add_to_kubo(parser: argparse.ArgumentParser) -> None:
    """``--to-kubo``."""
    parser.add_argument(
        "--to-kubo",
        metavar="URL",
        type=nodes.address,
        help="put the blocks into this IPFS node instead of an archive, and pin ROOT when all is there",
    )


def run(args: argparse.Namespace, chunks_of: Callable[[str], Iterator[bytes]]) -> int:
    """Do it; ``chunks_of`` reads a source."""
    from carv2.ipfs.kubo import NodeRetrieval  # noqa: PLC0415  (for who asks a node)

    _check(args)
    with nodes.opened(args, args.to_kubo) as node:
        limits = streams.limits_of(args)
        budget = {"max_blocks": args.max_blocks, "max_bytes": args.max_bytes}
        retrieval = NodeRetrieval(node, args.root, limits=limits, **budget)
        for name in args.sources:
            _receive(retrieval, "standard input" if name == "-" else name, chunks_of(name))
        if args.kubo is not None:
            with nodes.opened(args) as source:
                _receive(retrieval, f"the node at {source.url}", source.export_car(args.root))
        found = _finish(retrieval)
        _report(args, node, retrieval, found)
    return 0 if found is None else 1


def _check(args: argparse.Namespace) -> None:
    given = [flag for name, flag in _NOT_TOGETHER.items() if getattr(args, name)]
    if given:
        raise ValueError(f"{given[0]} is about archives, and --to-kubo makes none")


def _receive(retrieval: NodeRetrieval, name: str, chunks: Iterable[bytes]) -> None:
    """Take one stream; one that is cut or damaged does not keep the next from being taken."""
    try:
        retrieval.receive(chunks)
    except (BudgetError, KuboError):
        raise
    except CarError as error:
        where = color.paint(f"carv2: {color.printable(name)}: ", "error")
        print(where + color.printable(str(error)), file=sys.stderr)


def _finish(retrieval: NodeRetrieval) -> Completeness | None:
    """What is missing; None if the DAG is there and pinned."""
    try:
        retrieval.finish()
    except IncompleteError as error:
        return error.completeness
    return None


def _report(
    args: argparse.Namespace, node: KuboBlockstore, retrieval: NodeRetrieval, found: Completeness | None
) -> None:
    if args.json:
        fields = {name: getattr(retrieval, name) for name in ("root", "block_count", "block_bytes", "new_count")}
        streams.print_json({"node": node.url, **fields, "pinned": found is None, "completeness": found})
        return
    print(f"Node: {color.printable(node.url)}")
    print(f"Came in: {_blocks(retrieval.block_count)}: {retrieval.new_count} new")
    if found is None:
        print("State: pinned")
        return
    print(color.paint("Missing:", "error") + f" {_blocks(found.missing_count)}")
    for missing in found.missing[:_LISTED]:
        print(f"  {color.printable(missing.cid.short())}")
    print("State: partial: not pinned, so the node may drop what came in")


def _blocks(count: int) -> str:
    return "1 block" if count == 1 else f"{count} blocks"
