"""``carv2 retrieve``."""

from __future__ import annotations

import os
import re
import stat
import sys
from typing import TYPE_CHECKING, Any, cast

from carv2.cli import color, exporting, into_node, nodes, progress, repo, streams
from carv2.cli.typed import line_of
from carv2.errors import BudgetError, CarError, FormatError, IncompleteError
from carv2.imports.retrieval import MAX_BLOCKS, MAX_BYTES, MAX_LINKS
from carv2.imports.retrievals import Retrievals

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from carv2.cid import CID
    from carv2.imports import RetrievalCheck
    from carv2.imports.retrieval import Retrieval

HELP = "take the blocks of a DAG out of streams, in as many goes as it takes"
EXAMPLES = (
    "carv2 retrieve bafkreifuosuzujyf4i6psbneqtwg2fhplc2wxptc5euspa2gn3bwhnihfu --from archive.car",
    "curl -s https://example.org/ipfs/CID?format=car | carv2 retrieve bafkqaatjmq --from - --export folder",
    "carv2 retrieve bafkqaatjmq --id 1637000000000000000 --from chunks --from rest.car",
    "carv2 retrieve bafkqaatjmq --from archive.car --to-kubo http://127.0.0.1:5001",
)

_LISTED = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("root", metavar="ROOT", type=streams.as_cid, help="CID of the DAG's root")
    parser.add_argument(
        "--from",
        dest="sources",
        metavar="SOURCE",
        action="append",
        default=[],
        help="a CAR stream: a file, - for standard input, or a folder of chunks of one, which are joined in the "
        "order of their names (10 behind 9); may be given several times; "
        "without any, what is there is finished, if it is all",
    )
    parser.add_argument("--id", help="go on with this retrieval, or give a new one this id")
    parser.add_argument(
        "--new", action="store_true", help="begin another (default: go on with the unfinished one of ROOT, if any)"
    )
    repo.add_repo(parser)
    parser.add_argument("--export", metavar="OUT", help="write the file or folder to OUT when all is there")
    parser.add_argument("--overwrite", action="store_true", help="with --export: replace files that are there")
    parser.add_argument(
        "--symlinks",
        choices=("skip", "safe"),
        help="with --export: skip them (default), or make those that stay inside",
    )
    parser.add_argument(
        "--only-linked",
        action="store_true",
        help="leave out blocks that nothing before them links to: for streams with parents first",
    )
    parser.add_argument("--partial", action="store_true", help="finish it although blocks are missing")
    _add_budgets(parser)
    nodes.add_kubo(parser, "take the DAG from this IPFS node too")
    into_node.add_to_kubo(parser)
    streams.add_limits(parser)


def _add_budgets(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--max-bytes",
        type=streams.size,
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
    parser.add_argument(
        "--max-links",
        type=streams.positive,
        default=MAX_LINKS,
        metavar="N",
        help=f"that --only-linked may remember (default {MAX_LINKS:,}, which take 120 MB)",
    )


def run(args: argparse.Namespace) -> int:
    nodes.require(args)
    _check(args)
    if args.to_kubo is not None:
        return into_node.run(args, _chunks_of)
    retrievals = Retrievals(repo.retrievals_folder(args), limits=streams.limits_of(args))
    with _started(args, retrievals) as retrieval:
        try:
            _receive(retrieval, args.sources)
            _receive_from_node(args, retrieval)
            found, finished = _finish(retrieval, partial=args.partial)
        except BaseException as error:  # a full disk, Ctrl-C
            error.advice = _settled(args, retrieval)  # type: ignore[attr-defined]
            raise
        advice = "" if finished else _settled(args, retrieval)
    _report(args, retrieval, found, finished=finished)
    print(advice, end="\n" if advice else "", file=sys.stderr)
    if not finished:
        return 1
    if args.export is not None:
        _export(args, retrievals, retrieval)
    return 0 if found.complete else 1


def _check(args: argparse.Namespace) -> None:
    """ValueError for flags that do not go together."""
    if args.sources.count("-") > 1:
        raise ValueError("standard input can be read once only")
    if args.export == "-":
        raise ValueError("--export needs a name; `retrievals export` can write to standard output")
    if args.export is None and (args.overwrite or args.symlinks is not None):
        raise ValueError("--overwrite and --symlinks go with --export")
    if args.new and args.id is None and not _has_sources(args):
        raise ValueError("a new retrieval needs --from")


def _has_sources(args: argparse.Namespace) -> bool:
    return bool(args.sources) or args.kubo is not None


def _started(args: argparse.Namespace, retrievals: Retrievals) -> Retrieval:
    id_ = args.id
    if id_ is None and not args.new:
        id_ = _unfinished(args, retrievals)
    if not _has_sources(args):  # nothing is to begin
        if id_ is None:
            raise ValueError("no retrieval of this root is unfinished: --from names streams to begin one")
        retrievals.info(id_)
    try:
        return retrievals.start(
            args.root,
            id=id_,
            only_linked=args.only_linked,
            max_bytes=args.max_bytes,
            max_blocks=args.max_blocks,
            max_links=args.max_links,
        )
    except FormatError as error:
        if id_ is not None:
            error.advice = how_to_salvage(args, id_, retrievals.info(id_).path, args.root)  # type: ignore[attr-defined]
        raise


def _unfinished(args: argparse.Namespace, retrievals: Retrievals) -> str | None:
    """The unfinished retrieval of the root, which is said; None if there is none."""
    ids = [it.id for it in retrievals.list() if it.state == "partial" and it.root == args.root]
    if len(ids) > 1:
        more = f" and {len(ids) - _LISTED} more" if len(ids) > _LISTED else ""
        named = ", ".join(ids[:_LISTED])
        raise ValueError(
            f"several of this root are unfinished: --id goes on with {named}{more}; --new begins another"
        )
    for id_ in ids:
        print(f"going on with retrieval {id_}, which is unfinished (--new begins another)", file=sys.stderr)
        return id_
    return None


def _settled(args: argparse.Namespace, retrieval: Retrieval) -> str:
    """How to go on with what is kept; a retrieval that began here, and that nothing came into, is not."""
    if retrieval.resumed_count or retrieval.received.new_count:  # len() needs the file, which may be at fault
        return f"what came in is kept; to go on: {how_to_go_on(args, retrieval.id, retrieval.root)} --from ..."
    if retrieval.created:
        retrieval.discard()
    return ""


def how_to_go_on(args: argparse.Namespace, id_: str, root: CID | str) -> str:
    """The command that goes on with a retrieval, or finishes it."""
    return _words(args, "retrieve", str(root), "--id", id_)


def how_to_salvage(args: argparse.Namespace, id_: str, path: str, root: CID | str) -> str:
    """What to do about a file that does not even say what it is of."""
    saved = f"{id_}-saved.car"
    save = line_of(["carv2", "salvage", path, saved])
    begin = f"{how_to_go_on(args, id_, root)} --from {saved}"
    return color.printable(
        f"to save what is whole in it: {save} && {_words(args, 'retrievals', 'remove', id_)} && {begin}"
    )


def _words(args: argparse.Namespace, *words: str) -> str:
    return color.printable(line_of(["carv2", *words, *(["--repo", args.repo] if args.repo else [])]))


def _receive(retrieval: Retrieval, names: Sequence[str]) -> None:
    """Take all streams; one that is cut or damaged does not keep the next from being taken."""
    for name in names:
        before = retrieval.received.block_count
        try:
            with progress.bar("retrieving", _size_of(name)) as tick:
                retrieval.receive(_chunks_of(name), on_bytes=tick)
        except BudgetError:
            raise
        except CarError as error:
            where = "standard input" if name == "-" else name
            why = f"{error}{_about_chunks(name) if retrieval.received.block_count == before else ''}"
            print(
                color.paint(f"carv2: {color.printable(where)}: ", "error") + color.printable(why),
                file=sys.stderr,
            )


def _receive_from_node(args: argparse.Namespace, retrieval: Retrieval) -> None:
    """Take what the node of ``--kubo`` has of the DAG, as a stream."""
    if args.kubo is None:
        return
    try:
        with nodes.opened(args) as node, progress.bar("retrieving") as tick:
            retrieval.receive(node.export_car(retrieval.root), on_bytes=tick)
    except BudgetError:
        raise
    except CarError as error:
        where = color.paint("carv2: the node: ", "error")
        print(f"{where}{color.printable(str(error))}", file=sys.stderr)


def _about_chunks(name: str) -> str:
    """What to say of a stream out of which no block came."""
    if name == "-" or not os.path.isdir(name):
        return ""
    if not _parts_of(name):
        return ": there are no files in the folder"
    return (
        "; the files of a folder are one stream from its first byte on: the chunks before these belong there too, "
        "also if what is in them came in already"
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


def _finish(retrieval: Retrieval, *, partial: bool) -> tuple[RetrievalCheck, bool]:
    """What is there, and whether that is an archive now."""
    try:
        return retrieval.finish(partial=partial and len(retrieval) > 0), True
    except IncompleteError as error:
        return cast("RetrievalCheck", error.completeness), False


def _report(args: argparse.Namespace, retrieval: Retrieval, found: RetrievalCheck, *, finished: bool) -> None:
    if retrieval.repaired:
        why = "the file was damaged: what is whole was taken over into a new one, the rest has to come again"
        print(f"{color.printable(retrieval.path)}: {why}", file=sys.stderr)
    if args.json:
        streams.print_json(_fields(retrieval, found, finished=finished))
        return
    for line in _lines(retrieval, found, finished=finished):
        print(line)


def _export(args: argparse.Namespace, retrievals: Retrievals, retrieval: Retrieval) -> None:
    skipped = exporting.Skips()
    try:
        with streams.blame(f"retrieval {retrieval.id}"), exporting.overwriting():
            report = retrievals.export(
                retrieval.id,
                args.export,
                partial=args.partial,
                existing="replace" if args.overwrite else "error",
                symlinks=args.symlinks or "skip",
                on_skip=skipped.add,
            )
    except (CarError, OSError) as error:
        how = _words(args, "retrievals", "export", retrieval.id, args.export)
        error.advice = f"the retrieval is finished; to export it: {how}"  # type: ignore[union-attr]
        raise
    exporting.tell(skipped, report)


def _fields(retrieval: Retrieval, found: RetrievalCheck, *, finished: bool) -> dict[str, Any]:
    return {
        "id": retrieval.id,
        "path": retrieval.path,
        "root": retrieval.root,
        "state": _state(retrieval, finished=finished),
        "received": retrieval.received,
        "resumed_count": retrieval.resumed_count,
        "completeness": found,
    }


def _lines(retrieval: Retrieval, found: RetrievalCheck, *, finished: bool) -> Iterator[str]:
    received = retrieval.received
    yield f"Retrieval: {retrieval.id}"
    yield f"Was there: {_blocks(retrieval.resumed_count)}"
    left_out = f", {received.left_out_count} left out" if received.left_out_count else ""
    yield (
        f"Came in: {_blocks(received.block_count)}: {received.new_count} new, "
        f"{received.known_count} already there{left_out}"
    )
    yield from lines_of(found)
    state = _state(retrieval, finished=finished)
    yield f"State: {state}{': nothing came in, so nothing is kept' if state == 'none' else ''}"


def _state(retrieval: Retrieval, *, finished: bool) -> str:
    if finished:
        return "finished"
    return "partial" if os.path.lexists(retrieval.path) else "none"


def lines_of(found: RetrievalCheck) -> Iterator[str]:
    """What there is of the DAG, and what is missing, for people."""
    yield f"Of the DAG: {_blocks(found.block_count)}, {found.block_bytes} bytes"
    if found.unreachable_count:
        yield f"Beside the DAG: {_blocks(found.unreachable_count)}, {found.unreachable_bytes} bytes"
    if found.damaged_count:
        yield color.paint("Damaged:", "error") + f" {_blocks(found.damaged_count)} of the file"
    for problem in found.damaged[:_LISTED]:
        yield f"  {color.printable(problem.message)}"
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
