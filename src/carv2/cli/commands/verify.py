"""``carv2 verify``; silent where all is well, like go-car's ``car verify``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from carv2.cid import RAW
from carv2.cli import color, references, streams, workers
from carv2.cli.repairs import repair_of_problems, text_of
from carv2.multicodec import name_of
from carv2.operations.verify import verify

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator, Sequence

    from carv2.dag import Completeness
    from carv2.operations.problems import Problem
    from carv2.operations.verify import Verification

HELP = "check archives from end to end: structure, hashes, roots, index"
EXAMPLES = (
    "carv2 verify archive.car",
    "carv2 verify --deep archive.car",
    "carv2 verify --profile dasl repo.car",
    "carv2 verify --verbose --workers 2 *.car",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", metavar="FILE", nargs="+", help="archives, - for standard input")
    parser.add_argument("-v", "--verbose", action="store_true", help="say what was checked")
    parser.add_argument("--deep", action="store_true", help="also check that all that the roots lead to is there")
    parser.add_argument(
        "--profile",
        choices=["dasl"],
        help="also check that the file is of this narrower format: dasl, as Bluesky's are",
    )
    workers.add_to(parser)
    parser.add_argument(
        "--allow-unknown-hash", action="store_true", help="a hash function that is not known is no problem"
    )
    parser.add_argument(
        "--allow-unknown-codec",
        action="store_true",
        help="with --deep: a block whose codec is not known is one without links, and no problem",
    )
    streams.add_null_padding(parser)
    streams.add_limits(parser)


def run(args: argparse.Namespace) -> int:
    code = 0
    for name in args.files:
        try:
            report, deep = _verify(name, args)
        except OSError as error:
            print(color.paint("carv2: ", "error") + color.printable(color.words_of(error)), file=sys.stderr)
            code = 1
            continue
        found = list(_problems_of(deep, allow_unknown_codec=args.allow_unknown_codec)) if deep else []
        ok = report.ok and not found
        if args.json:
            more = {"deep": deep} if args.deep else {}
            streams.print_json({"file": name, "ok": ok, **vars(report), **more})
        else:
            problems = list(report.problems)
            if not ok and references.is_ref_car(name):
                problems = [problem for problem in problems if not _may_be_record(problem)]
                references.hint(name)
            _print_problems(name, report, problems, found)
            if hint := repair_of_problems(name, problems):
                print(hint, file=sys.stderr)
            if args.verbose and ok:
                _print_what_was_checked(name, report, deep, args.profile)
        code = code if ok else 1
    return code


def _verify(name: str, args: argparse.Namespace) -> tuple[Verification, Completeness | None]:
    several = workers.number_of(args, name)
    settings: dict[str, Any] = {
        "workers": several,
        "allow_unknown_hash": args.allow_unknown_hash,
        "limits": streams.limits_of(args),
        "null_padding": args.null_padding,
        "profile": args.profile,
    }
    with streams.watched(name, "verifying", workers=several) as source:
        if not args.deep:
            return verify(source, **settings), None
        from carv2.dag import verify_deep  # noqa: PLC0415  (15 ms, for those who ask for it)

        return verify_deep(source, **settings)


def _problems_of(deep: Completeness, *, allow_unknown_codec: bool) -> Iterator[str]:
    """What is wrong with the DAG; a missing root is named by the other checks."""
    for missing in deep.missing:
        if missing.parent is not None:
            yield f"{missing.cid.short()} is missing, which {missing.parent.short()} links to"
    if deep.missing_count > len(deep.missing):
        yield f"{deep.missing_count - len(deep.missing)} more blocks are missing"
    yield from map(str, deep.faults)
    if deep.fault_count > len(deep.faults):
        yield f"{deep.fault_count - len(deep.faults)} more blocks have links that cannot be read"
    if not allow_unknown_codec:
        for code, many in deep.unknown_codecs.items():
            blocks = "1 block has" if many == 1 else f"{many} blocks have"
            yield f"{blocks} the codec {name_of(code)} ({code:#x}), whose links are not known here"


def _may_be_record(problem: Problem) -> bool:
    return problem.kind == "IntegrityError" and problem.cid is not None and problem.cid.codec == RAW


def _print_problems(name: str, report: Verification, problems: Sequence[Problem], found: Iterable[str]) -> None:
    where = color.paint(f"carv2: {_shown(name)}: ", "error")
    for problem in problems:
        print(where + color.printable(text_of("verify", name, problem)), file=sys.stderr)
    if records := len(report.problems) - len(problems):
        is_are = "section does" if records == 1 else "sections do"
        print(where + f"{records} {is_are} not match the hash, as records of references never do", file=sys.stderr)
    more = report.problem_count - len(report.problems)
    if more:
        print(where + f"{more} more problems", file=sys.stderr)
    for text in found:
        print(where + color.printable(text), file=sys.stderr)


def _print_what_was_checked(
    name: str, report: Verification, deep: Completeness | None, profile: str | None
) -> None:
    index = "index checked" if report.index_checked else "no index"
    unknown = "".join(f", {many} with {name_of(code)} not checked" for code, many in report.unverified.items())
    checked = f"{report.verified_count} blocks{unknown}, {index}"
    if deep is not None:
        checked += f", complete: {deep.block_count} blocks reached, {deep.unreachable_count} not"
    if profile is not None:
        checked += f", {profile.upper()}"
    print(f"{_shown(name)}: {color.paint('ok', 'good')}, {checked}")


def _shown(name: str) -> str:
    return "standard input" if name == "-" else color.printable(name)
