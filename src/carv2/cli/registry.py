"""Which commands there are. A command is a module of ``carv2.cli.commands``, imported when it is called.

Such a module has ``HELP`` (one line), ``EXAMPLES``, ``add_arguments(parser)`` and ``run(args)``, which returns an
exit code.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    import argparse


class Command(Protocol):
    """What a module of ``carv2.cli.commands`` has."""

    HELP: str
    EXAMPLES: tuple[str, ...]

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None: ...

    @staticmethod
    def run(args: argparse.Namespace) -> int: ...


COMMANDS = {
    "create": "pack files and folders into an archive",
    "guess-profile": "say which import profile gives a file or folder its CID",
    "ls": "list the entries of a directory in an archive",
    "cat": "write a file of an archive to standard output",
    "tree": "draw what an archive holds, from its roots down",
    "extract": "take files and folders out of an archive",
    "root": "list the roots of an archive",
    "list": "list the CIDs of an archive, checking each block",
    "inspect": "describe an archive and count its blocks",
    "stat": "count everything in an archive, and what its roots reach",
    "verify": "check archives from end to end",
    "get-block": "take one block out of an archive",
    "get-dag": "take the DAG of one root out of an archive",
    "put-block": "append the block on standard input to an archive",
    "filter": "write the blocks of some CIDs to an archive of their own",
    "concat": "write the blocks of several archives to one",
    "split": "cut an archive into archives of at most so many bytes",
    "diff": "compare two archives",
    "sort": "write an archive anew, in the order of a walk",
    "map": "draw the bytes of an archive, as SVG",
    "report": "make one page about an archive, as HTML",
    "dot": "draw the DAGs of an archive, for Graphviz",
    "wrap": "make a CARv2 with an index of a CARv1",
    "unwrap": "take the CARv1 out of a CARv2",
    "index": "write an archive anew with a fresh index",
    "index create": "write the index of an archive to a file of its own",
    "detach-index": "copy the index out of a CARv2",
    "detach-index list": "list the records of an index",
    "attach-index": "put an index into an archive",
    "salvage": "save what is whole of a damaged archive",
    "recover": "say what an interrupted writer left, or finish its archive",
    "import": "import a file or folder without copying it",
    "imports list": "list the imports",
    "imports info": "show the labels of an import",
    "imports remove": "forget imports, and delete the archives that go with them",
    "imports check": "check the archives of all imports",
    "imports relocate": "tell an import where its original is now",
    "imports export": "write what was imported: as a file or folder, a tar file, or an archive",
    "imports dump": "write the records of all imports as Lotus has them",
    "imports load": "take in records of imports, as Lotus has them",
    "fetch": "take a DAG from trustless gateways into an archive",
    "retrieve": "take the blocks of a DAG out of streams, in as many goes as it takes",
    "retrievals list": "list the retrievals, and how far they are",
    "retrievals info": "check a retrieval: what is there of its DAG, and what is missing",
    "retrievals export": "write what was retrieved: as a file or folder, a tar file, or an archive",
    "retrievals remove": "delete retrievals, finished or not",
    "ref status": "say of each reference of a ref-CAR what became of it",
    "ref verify": "check ref-CARs as a whole, and what they refer to",
    "ref create": "turn an archive into a ref-CAR, where the original still has its bytes",
    "ref densify": "write an archive in which the leaves of a ref-CAR stand in full",
    "ref relocate": "make the references of a ref-CAR say where the originals are now",
    "dagstore list-shards": "list the shards of a DAG store",
    "dagstore register-shard": "register a shard, and index it",
    "dagstore initialize-shard": "index a shard that is new",
    "dagstore recover-shard": "index a shard anew that is errored",
    "dagstore initialize-all": "index all shards that are new",
    "dagstore gc": "remove the local copies of shards that nobody reads",
    "dagstore lookup-pieces": "list the shards that have a block",
    "dagstore destroy-shard": "remove a shard, its index and its local copy",
    "dagstore doctor": "look over a DAG store, and mend what can be mended",
    "dagstore migrate": "register the pieces of all active deals, once",
    "dagstore stat": "count what is in a DAG store",
    "dagstore report": "make one page about a DAG store, as HTML",
    "dagstore serve": "serve a DAG store to other programs and hosts",
    "dagstore token": "make a token for clients of a store that is served",
    "dagstore config": "print the options of a DAG store as a file",
    "dagstore export-go": "write shards and indexes as the Go dagstore has them",
    "dagstore import-go": "take over shards and indexes of the Go dagstore",
    "explain": "show an archive byte by byte, up to the first fault",
    "debug": "show an archive as a text that can be edited",
    "compile": "make an archive of such a text",
    "completion": "print a script that lets a shell complete commands",
}
"""Name and one-line help, in the order of the help page. A name of two words is a subcommand."""

HEADINGS = {
    "create": "files in archives",
    "root": "what an archive is, and whether it is sound",
    "get-block": "blocks and DAGs",
    "map": "pictures",
    "wrap": "versions and indexes",
    "salvage": "repair",
    "import": "imports, without a copy",
    "fetch": "transfers",
    "ref status": "archives with references into files",
    "dagstore list-shards": "DAG stores: thousands of archives as one",
    "explain": "byte by byte",
    "completion": "the shell",
}
"""What stands above a command in the page of help, and is about those behind it too."""

ALIASES = {"roots": "root", "blocks": "list", "pack": "create", "unpack": "extract"}
"""What users of other tools type."""

MEANT = {
    "add": "create",
    "check": "verify",
    "cids": "list",
    "get": "get-block",
    "header": "inspect",
    "info": "inspect",
    "join": "concat",
    "merge": "concat",
    "put": "put-block",
    "repair": "salvage",
    "show": "inspect",
    "unarchive": "extract",
    "validate": "verify",
}
"""What somebody means who types a word that is no command, and is like none."""


FLAGS_WITH_VALUES = {
    "-c",
    "--codec",
    "--max-section",
    "--max-header",
    "--repo",
    "--root",
    "--config",
    "--pieces",
    "--api",
    "--token-file",
}
"""Those that may stand between the words of a command's name."""


def subcommands(name: str) -> list[str]:
    """The full names of the commands that begin with the word ``name``."""
    return [full for full in COMMANDS if full.startswith(f"{name} ")]


def load(name: str) -> Command:
    """The command's module."""
    module = name.replace("-", "_").replace(" ", "_")
    return cast("Command", importlib.import_module(f"carv2.cli.commands.{module}"))
