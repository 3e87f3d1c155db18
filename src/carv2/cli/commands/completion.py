"""``carv2 completion``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2.cli import completion, streams

if TYPE_CHECKING:
    import argparse

HELP = "print a script that lets a shell complete commands, options and choices"
EXAMPLES = (
    "carv2 completion bash >carv2.bash",
    "carv2 completion zsh >_carv2",
    "carv2 completion fish >carv2.fish",
)

_PLACES = (
    "bash: into a file that ~/.bashrc sources; zsh: into a file _carv2 in a folder of $fpath; "
    "fish: into ~/.config/fish/completions/carv2.fish"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", metavar="SHELL", choices=("bash", "zsh", "fish"), help=_PLACES)


def run(args: argparse.Namespace) -> int:
    script = completion.script(args.shell)
    if args.json:
        streams.print_json({"shell": args.shell, "script": script})
    else:
        print(script, end="")
    return 0
