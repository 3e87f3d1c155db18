"""What the commands of the group ``dagstore`` share: the store, its shards as a table, events as lines."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from functools import partial
from typing import TYPE_CHECKING

from carv2.cli import api, color, progress, repo, streams
from carv2.cli.typed import line_of
from carv2.errors import CarError, RpcError, ShardErroredError, ShardExistsError, StateError, UnknownMountError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Generator, Iterable, Iterator
    from typing import IO

    from carv2.dagstore import DagStore, DagStoreConfig, InitializeEvent, ShardInfo
    from carv2.rpc import DagStoreClient

REMOTE = ("http", "https", "s3", "gs", "abfs", "ftp", "sftp")
"""fsspec's protocols that a shard's URL may have here; credentials come from where their libraries look."""

_STATE_STYLES = {"Available": "good", "Serving": "blue", "Errored": "bad", "New": "yellow"}
_HEADS = ["Key", "State", "Error"]
_MEMORY = 1 << 20
"""Bytes of a table that are kept in memory; a longer one goes to a temporary file."""
_CATALOGUE = "catalogue.sqlite"
_GONE = "underlying mount no longer exists"
"""What such an error says, also that of a store elsewhere, be it Lotus'."""
_PATIENCE = 1.0
"""Seconds that an interrupted command gives to what it began."""


def add_store(parser: argparse.ArgumentParser) -> None:
    """The flags that say which store, here or elsewhere, and how it is run."""
    add_local_store(parser)
    api.add_api(parser)


def add_local_store(parser: argparse.ArgumentParser) -> None:
    """Those of a store on this host."""
    parser.add_argument("--root", metavar="DIR", help="folder of the store (default: dagstore in the repo)")
    parser.add_argument(
        "--config", metavar="FILE", help="TOML file of options; `carv2 dagstore config` prints one"
    )
    parser.add_argument("--pieces", metavar="DIR", help="folder of unsealed pieces, for mounts piece://CID")
    repo.add_repo(parser)

    takes(parser, "takes no arguments")


def takes(parser: argparse.ArgumentParser, text: str) -> None:
    """What to say where there are too few arguments, or too many."""
    parser.set_defaults(takes=text)


def add_key(parser: argparse.ArgumentParser) -> None:
    """The key of one shard."""
    parser.add_argument("key", metavar="KEY", help="key of the shard, most often a piece CID")
    takes(parser, "must provide a single shard key")


def config_of(args: argparse.Namespace) -> DagStoreConfig:
    """The options: of the file, if one is named."""
    from carv2.dagstore import DagStoreConfig, read_config  # noqa: PLC0415  (for the commands that have a store)

    return DagStoreConfig() if args.config is None else read_config(args.config)


def folder_of(args: argparse.Namespace, config: DagStoreConfig) -> str:
    """The folder of the store."""
    return os.path.expanduser(args.root or config.root_dir or os.path.join(repo.folder_of(args), "dagstore"))


@contextlib.contextmanager
def either(
    args: argparse.Namespace, *, is_new_fine: bool = True, is_watched: bool = False
) -> Generator[DagStore | DagStoreClient]:
    """The store that the arguments name, here or elsewhere, for what can be done to both."""
    opening = (
        api.opened(args, partial(_remedy, args))
        if api.is_meant(args)
        else opened(args, is_new_fine=is_new_fine, is_watched=is_watched)
    )
    with opening as store:
        yield store


@contextlib.contextmanager
def opened(
    args: argparse.Namespace, *, is_new_fine: bool = True, is_served: bool = False, is_watched: bool = False
) -> Generator[DagStore]:
    """The store on this host that the arguments name.

    Args:
        args: of the command.
        is_new_fine: make one where there is none; else that is an error.
        is_served: take up what others left; else it is for a visit, and another process may serve it.
        is_watched: show how far a shard is that is indexed: of one at a time, and who prints nothing meanwhile.
    """
    from carv2.dagstore import DagStore, FolderPieces, default_registry  # noqa: PLC0415  (the same)

    config = config_of(args)
    root = folder_of(args, config)
    if not is_new_fine:
        _check_is_there(root, config)
    pieces = None if args.pieces is None else FolderPieces(os.path.abspath(args.pieces))
    mounts = default_registry(fsspec=REMOTE, pieces=pieces)
    watch = progress.watched("indexing") if is_watched and progress.is_wanted() else None
    try:
        visited = DagStore(root, mounts=mounts, config=config, go_on=is_served, watch=watch)
    except ImportError as error:
        why = f"a catalogue in PostgreSQL needs {error.name}: pip install 'carv2[postgres]'"
        raise CarError(why) from error
    with visited as store:
        try:
            yield store
        except KeyboardInterrupt:
            progress.hush(True)  # the indexing goes on for a moment
            print("aborted", file=sys.stderr)
            store.close(timeout=_PATIENCE)
            raise
        except CarError as error:
            error.remedy = _remedy(args, error)  # type: ignore[attr-defined]
            raise


def is_there(root: str, config: DagStoreConfig) -> bool:
    """Whether there is a store that can be looked at."""
    if config.catalogue:
        return os.path.isdir(root)
    return os.path.isfile(os.path.join(root, _CATALOGUE))


def _check_is_there(root: str, config: DagStoreConfig) -> None:
    if not is_there(root, config):
        raise CarError(f"{root}: there is no DAG store")
    catalogue = os.path.join(root, _CATALOGUE)
    if not config.catalogue and not os.path.getsize(catalogue):  # it would pass for one without shards
        raise CarError(f"{catalogue}: there is nothing in this file")


def _remedy(args: argparse.Namespace, error: CarError) -> str:
    """What mends it, to be typed; or nothing."""
    key = getattr(error, "key", getattr(args, "key", ""))
    if not key.isprintable():  # nobody can type it
        return ""
    if isinstance(error, ShardErroredError) or str(error).endswith("was: ShardStateErrored"):
        return again(args, key, str(error))
    if isinstance(error, (StateError, RpcError)) and str(error).endswith("was: ShardStateNew"):
        return f"To index it: {line(args, 'initialize-shard', key)}"
    if isinstance(error, ShardExistsError):
        return f"To register it anew, first: {line(args, 'destroy-shard', key)}"
    if isinstance(error, UnknownMountError) and error.scheme == "piece":
        return "Name the folder of unsealed pieces with --pieces."
    return ""


def again(args: argparse.Namespace, key: str, error: str) -> str:
    """What can be done about a shard that is errored, to be typed; ``error`` is the text of why."""
    return f"To try it again: {recovery(args, key, error)}"


def recovery(args: argparse.Namespace, key: str, error: str) -> str:
    """The command that tries it again; and where its bytes are gone, the one that gives the shard up."""
    recover = line(args, "recover-shard", key)
    return f"{recover}; to forget it: {line(args, 'destroy-shard', key)}" if _GONE in error else recover


def line(args: argparse.Namespace, *words: str) -> str:
    """A command on the same store, as it is typed."""
    names = ("root", "repo", "config", "pieces", "api", "token_file")
    flags = [(f"--{name.replace('_', '-')}", getattr(args, name, None)) for name in names]
    given = [word for flag, value in flags if value is not None for word in (flag, str(value))]
    return line_of(["carv2", "dagstore", *given, *words])


# -- tables and lines -----------------------------------------------------------------------------------------


def plain_for_all(info: ShardInfo) -> dict[str, object]:
    """As much of a shard as Lotus' answers have, for JSON."""
    return {"Key": info.key, "State": info.state.go_name, "Error": info.error}


def plain(info: ShardInfo) -> dict[str, object]:
    """A shard of a store on this host for JSON."""
    return {
        **plain_for_all(info),
        "url": info.url,
        "local_copy": info.local_copy,
        "lazy": info.is_lazy,
        "references": info.references,
        "block_count": info.block_count,
        "index_size": info.index_size,
        "source_size": info.source_size,
        "generation": info.generation,
        "created": info.created,
        "updated": info.updated,
        "last_access": info.last_access,
    }


def print_done(args: argparse.Namespace, info: ShardInfo | None) -> None:
    """With ``--json``, the shard that something was done to; an API does not tell how it is now."""
    if args.json:
        streams.print_json({"Key": args.key} if info is None else plain(info))


def print_shards(shards: Iterable[ShardInfo], *, as_json: bool, is_remote: bool = False) -> None:
    """A table as Lotus prints it, or an object for each shard; any number of them."""
    if as_json:
        for info in shards:
            print(json.dumps(plain_for_all(info) if is_remote else plain(info)))
        return
    with tempfile.SpooledTemporaryFile(_MEMORY, "w+", encoding="utf-8", newline="\n") as spool:
        widths = _spool(shards, spool)
        if widths is not None:
            spool.seek(0)
            _print_table(widths, (row.rstrip("\n").split("\t") for row in spool))


def _spool(shards: Iterable[ShardInfo], spool: IO[str]) -> list[int] | None:
    """Write the cells of each shard as a line, which no cell ends before its end; the widths of the columns.

    A column without values has width 0. None if there are no shards.
    """
    widths = [0] * len(_HEADS)
    is_empty = True
    for info in shards:
        is_empty = False
        cells = [color.printable(info.key), info.state.name.title(), color.printable(info.error)]
        widths = list(map(max, widths, map(len, cells)))
        spool.write("\t".join(cells) + "\n")
    if is_empty:
        return None
    return [max(width, len(head)) if width else 0 for width, head in zip(widths, _HEADS, strict=True)]


def _print_table(widths: list[int], rows: Iterator[list[str]]) -> None:
    """Cells padded to the widest of their column and two spaces; a column without values is left out."""
    print(_padded(_HEADS, widths))
    for cells in rows:
        print(_padded(cells, widths, style=_STATE_STYLES.get(cells[1], "")))


def _padded(cells: list[str], widths: list[int], *, style: str = "") -> str:
    padded = [f"{cell:{width + 2}}" if width else "" for cell, width in zip(cells, widths, strict=True)]
    if style:
        padded[1] = color.paint(cells[1], style) + padded[1][len(cells[1]) :]
    return "".join(padded)


def cause(key: str, text: str) -> str:
    """What went wrong, as a table shows it: of an error that repeats the key, the rest."""
    return text.removeprefix(str(ShardErroredError(key, cause="")))


def print_event(event: InitializeEvent, *, as_json: bool) -> None:
    """A line on a shard that begins or ends to be indexed, as Lotus prints it."""
    if as_json:
        streams.print_json(
            {
                "Key": event.key,
                "Event": event.event,
                "Success": event.success,
                "Error": event.error,
                "Total": event.total,
                "Current": event.current,
            }
        )
        return
    count = color.paint(f"({event.current}/{event.total})", "count")
    if event.event == "start":
        what = "STARTING"
    elif event.success:
        what = color.paint("SUCCESS", "good")
    else:
        what = color.paint("ERROR", "bad") + " " + color.printable(cause(event.key, event.error))
    print(f"{count} {color.printable(event.key)} {what}", flush=True)
