"""What the commands of the group ``dagstore`` share: the store, its shards as a table, events as lines."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from carv2.cli import color, repo, streams

if TYPE_CHECKING:
    import argparse
    from collections.abc import Generator, Iterable, Sequence

    from carv2.dagstore import DagStore, DagStoreConfig, InitializeEvent, ShardInfo

_REMOTE = ("http", "https", "s3", "gs", "abfs", "ftp", "sftp")
"""fsspec's protocols that a shard's URL may have here; credentials come from where their libraries look."""

_STATE_STYLES = {"AVAILABLE": "good", "SERVING": "blue", "ERRORED": "bad", "NEW": "yellow"}


def add_store(parser: argparse.ArgumentParser) -> None:
    """The flags that say which store, and how it is run."""
    parser.add_argument(
        "--root", metavar="DIR", help="folder of the store; made if there is none (default: dagstore in the repo)"
    )
    parser.add_argument(
        "--config", metavar="FILE", help="TOML file of options; `carv2 dagstore config` prints one"
    )
    parser.add_argument("--pieces", metavar="DIR", help="folder of unsealed pieces, for mounts piece://CID")
    repo.add_repo(parser)


def add_key(parser: argparse.ArgumentParser) -> None:
    """The key of one shard."""
    parser.add_argument("key", metavar="KEY", help="key of the shard, most often a piece CID")


def config_of(args: argparse.Namespace) -> DagStoreConfig:
    """The options: of the file, if one is named."""
    from carv2.dagstore import DagStoreConfig, read_config  # noqa: PLC0415  (for the commands that have a store)

    return DagStoreConfig() if args.config is None else read_config(args.config)


@contextlib.contextmanager
def opened(args: argparse.Namespace) -> Generator[DagStore]:
    """The store that the arguments name."""
    from carv2.dagstore import DagStore, default_registry  # noqa: PLC0415  (the same)
    from carv2.dagstore.mounts import FolderPieces  # noqa: PLC0415  (the same)

    config = config_of(args)
    root = args.root or config.root_dir or os.path.join(repo.folder_of(args), "dagstore")
    pieces = None if args.pieces is None else FolderPieces(os.path.abspath(args.pieces))
    mounts = default_registry(fsspec=_REMOTE, pieces=pieces)
    with DagStore(os.path.expanduser(root), mounts=mounts, config=config) as store:
        yield store


# -- tables and lines -----------------------------------------------------------------------------------------


def plain(info: ShardInfo) -> dict[str, object]:
    """A shard for JSON; the first three as in Lotus' answers."""
    return {
        "Key": info.key,
        "State": info.state.go_name,
        "Error": info.error,
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


def print_shards(shards: Iterable[ShardInfo], *, as_json: bool) -> None:
    """A table as Lotus prints it, or an object for each shard."""
    if as_json:
        for info in shards:
            streams.print_json(plain(info))
        return
    rows = [
        (color.printable(info.key), info.state.name.title(), color.printable(info.error), info.state.name)
        for info in shards
    ]
    if rows:
        _print_table(("Key", "State", "Error"), rows)


def _print_table(heads: Sequence[str], rows: Sequence[tuple[str, str, str, str]]) -> None:
    """Cells padded to the widest of their column and two spaces; a column without values is left out."""
    kept = [column for column in range(len(heads)) if any(row[column] for row in rows)]
    widths = {column: 2 + max(len(heads[column]), *(len(row[column]) for row in rows)) for column in kept}
    print("".join(heads[column].ljust(widths[column]) for column in kept))
    for row in rows:
        cells: list[str] = []
        for column in kept:
            style = _STATE_STYLES.get(row[3], "") if column == 1 else ""
            text = color.paint(row[column], style) if style else row[column]
            cells.append(text + " " * (widths[column] - len(row[column])))
        print("".join(cells))


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
        what = color.paint("ERROR", "bad") + " " + color.printable(event.error)
    print(f"{count} {color.printable(event.key)} {what}", flush=True)
