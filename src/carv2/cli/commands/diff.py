"""``carv2 diff``; its exit codes are those of ``diff``: 0 the same, 1 different, 2 trouble."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from carv2.cli import color, progress, streams
from carv2.operations.diff import diff

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from carv2._source import SourceLike
    from carv2.blockstore import ReadOnlyBlockstore
    from carv2.cid import CID
    from carv2.operations.diff import Difference
    from carv2.unixfs.diff import PathChange

HELP = "compare the roots and blocks of two archives; exit code 0: the same, 1: different, 2: trouble"
EXAMPLES = ("carv2 diff old.car new.car", "carv2 diff --paths old.car new.car")
TROUBLE = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", metavar="A", help="an archive, - for standard input")
    parser.add_argument("b", metavar="B", help="the other one")
    parser.add_argument("--paths", action="store_true", help="compare files and directories, not blocks")
    parser.add_argument(
        "--max-entries",
        metavar="N",
        type=streams.positive,
        help="with --paths: files and folders to compare (default: a fourth of the archives' bytes)",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="print nothing, only give the exit code")
    streams.add_checking(parser)
    streams.add_null_padding(parser)
    streams.add_limits(parser)


def run(args: argparse.Namespace) -> int:
    with contextlib.ExitStack() as stack:
        a, b = streams.sources(stack, [args.a, args.b])
        if args.paths:
            return _diff_paths(a, b, args)
        tick = stack.enter_context(progress.bar("comparing", streams.total_size([args.a, args.b])))
        found = diff(
            a,
            b,
            verify=not args.no_verify,
            workers=args.workers,
            on_progress=tick,
            limits=streams.limits_of(args),
            null_padding=args.null_padding,
        )
    _print_blocks(found, args)
    return 0 if found.same else 1


def _diff_paths(a: SourceLike, b: SourceLike, args: argparse.Namespace) -> int:
    """The same for the trees of the archives' roots."""
    from carv2.blockstore import ReadOnlyBlockstore  # noqa: PLC0415  (what compares blocks needs none of them)
    from carv2.operations._assembly import naming  # noqa: PLC0415
    from carv2.unixfs.diff import diff_paths  # noqa: PLC0415

    with contextlib.ExitStack() as stack:
        trees: list[tuple[ReadOnlyBlockstore, CID]] = []
        for source, name in ((a, args.a), (b, args.b)):
            with naming(source):
                store = ReadOnlyBlockstore(
                    source,
                    limits=streams.limits_of(args),
                    null_padding=args.null_padding,
                    verify=not args.no_verify,
                )
            stack.enter_context(store)
            trees.append((store, _only_root(store, name)))
        return _print_changes(diff_paths(*trees[0], *trees[1], max_entries=args.max_entries), args)


def _only_root(store: ReadOnlyBlockstore, name: str) -> CID:
    if len(store.roots) != 1:
        raise ValueError(f"{name} has {len(store.roots)} roots; --paths compares archives with one")
    return store.roots[0]


def _print_changes(changes: Iterator[PathChange], args: argparse.Namespace) -> int:
    code = 0
    for change in changes:
        code = 1
        if args.quiet:
            break
        _print_change(change, as_json=args.json)
    return code


_SIGNS = {"removed": ("-", "error"), "added": ("+", "good"), "changed": ("~", "name"), "incomplete": ("?", "dim")}


def _print_change(change: PathChange, *, as_json: bool) -> None:
    if as_json:
        sides = {"before": change.before, "after": change.after}
        streams.print_json({"change": change.change, "path": change.path, **sides})
        return
    sign, style = _SIGNS[change.change]
    entry = change.after or change.before
    slash = "/" if entry is not None and entry.kind == "directory" else ""
    print(color.paint(f"{sign} {color.printable(change.path) or '.'}{slash}", style))


def _print_blocks(found: Difference, args: argparse.Namespace) -> None:
    if args.json:
        streams.print_json(_plain(found))
    elif not args.quiet:
        for sign, text in _changes(found):
            print(color.paint(f"{sign} {text}", "error" if sign == "-" else "good"))
        if not found.same:
            print(_summary(found))


def _plain(found: Difference) -> dict[str, object]:
    return {
        "same": found.same,
        "roots": found.roots,
        "only_in_a": {
            "count": len(found.only_in_a),
            "bytes": found.only_in_a.byte_count,
            "cids": [*found.only_in_a],
        },
        "only_in_b": {
            "count": len(found.only_in_b),
            "bytes": found.only_in_b.byte_count,
            "cids": [*found.only_in_b],
        },
        "common": {"count": found.common_count, "bytes": found.common_bytes},
    }


def _changes(found: Difference) -> Iterator[tuple[str, str]]:
    """Roots and blocks that only one of the archives has, each with - or +."""
    a, b = found.roots
    in_other_order = a != b and set(a) == set(b)
    yield from (("-", f"root {root}") for root in a if in_other_order or root not in b)
    yield from (("+", f"root {root}") for root in b if in_other_order or root not in a)
    yield from (("-", str(cid)) for cid in found.only_in_a)
    yield from (("+", str(cid)) for cid in found.only_in_b)


def _summary(found: Difference) -> str:
    counts = [
        f"{what} {count} ({size} bytes)"
        for what, count, size in (
            ("only in A:", len(found.only_in_a), found.only_in_a.byte_count),
            ("only in B:", len(found.only_in_b), found.only_in_b.byte_count),
            ("in both:", found.common_count, found.common_bytes),
        )
    ]
    return ", ".join(counts)
