"""``carv2 dagstore config``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2.cli import api, dagstore, streams

if TYPE_CHECKING:
    import argparse

    from carv2.dagstore import DagStoreConfig

HELP = "print the options of a store as a file that --config takes"
EXAMPLES = ("carv2 dagstore config > dagstore.toml",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    dagstore.add_store(parser)


def run(args: argparse.Namespace) -> int:
    from carv2.dagstore.config import to_toml  # noqa: PLC0415  (not for --help)

    config = _config_elsewhere(args) if api.is_meant(args) else dagstore.config_of(args)
    if args.json:
        streams.print_json(config.explain())
    else:
        print(to_toml(config), end="")
    return 0


def _config_elsewhere(args: argparse.Namespace) -> DagStoreConfig:
    with api.opened(args) as client:
        return client.config()
