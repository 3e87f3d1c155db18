"""The parser of one command: what all of them have in common, and what it takes, as data."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from carv2.cli import color, suggest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from carv2.cli.registry import Command


_ADDED = " (default: %(default)s)"
"""What Python 3.10 to 3.12 put behind the help of an option that has a ``--no-`` form; ours says it already."""


class UsageError(Exception):
    """The command line makes no sense."""


class Argument(NamedTuple):
    """One argument or option of a command, as its parser has it."""

    names: tuple[str, ...]
    """``-o``, ``--output``; none for what is known by its place."""
    value: str
    """What stands for its value in a help text, as in ``FILE``; nothing for an option without one."""
    choices: tuple[str, ...]
    is_required: bool
    repeats: bool
    """Whether its place takes several words."""
    help: str
    group: int
    """The same number for those of which there may be one only, else 0."""

    @property
    def usage(self) -> str:
        """As it stands in a line of usage, without brackets."""
        if not self.names:
            return self.value + "..." * self.repeats
        if not self.value:
            return " | ".join(self.names) if self.names[-1].startswith("--no-") else self.names[0]
        return f"{self.names[0]} {self.value}"


class Parser(argparse.ArgumentParser):
    """As argparse's, with the errors and the help of ``carv2``."""

    typed: Sequence[str] = ()
    """The words that are parsed, for errors."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and what may have been meant."""
        if message.startswith("the following arguments are required") and (unknown := self._unknown()):
            message = f"unrecognized arguments: {' '.join(unknown)}"  # of both, what nobody would look for
        takes = self.get_default("takes")
        if takes and re.match(
            "unrecognized arguments: (?!.*(^| )-)|the following arguments are required: (?!-)", message
        ):
            message = f"{takes} ({message})"
        raise UsageError(message + self._meant(message))

    def _unknown(self) -> list[str]:
        """The long options that were typed and that the command has not."""
        options = [word.partition("=")[0] for word in self.typed if word.startswith("--")]
        return [option for option in options if option not in self._option_string_actions]

    def _meant(self, message: str) -> str:
        unknown = re.match("unrecognized arguments: (?:.* )?(--[^ =]+)", message)
        return suggest.did_you_mean(unknown[1], self._option_string_actions) if unknown else ""

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """As argparse's, in words that are the same in all versions of Python."""
        if action.choices is not None and value not in action.choices:
            choices = [str(choice) for choice in action.choices]
            meant = suggest.did_you_mean(str(value), choices)
            raise argparse.ArgumentError(
                action, f"invalid choice: {value} (choose from {', '.join(choices)}){meant}"
            )

    def arguments(self) -> list[Argument]:
        """What the command takes, in the order of its help."""
        groups = {
            id(action): number
            for number, group in enumerate(self._mutually_exclusive_groups, 1)
            for action in group._group_actions  # noqa: SLF001  (argparse has no other way)
        }
        return [_argument(action, groups.get(id(action), 0)) for action in self._actions]


def _argument(action: argparse.Action, group: int) -> Argument:
    choices = tuple(str(choice) for choice in action.choices or ())
    metavar = action.metavar if isinstance(action.metavar, str) else "|".join(choices) or action.dest.upper()
    return Argument(
        names=tuple(action.option_strings),
        value="" if action.nargs == 0 else metavar,
        choices=choices,
        is_required=action.required and action.nargs not in {"*", "?"},
        repeats=action.nargs in {"*", "+"},
        help=(action.help or "").removesuffix(_ADDED).replace("%%", "%"),
        group=group,
    )


def usage(name: str, arguments: Iterable[Argument]) -> list[str]:
    """The words of a command's line of usage: options, then what has its place; in brackets what may be left out.

    >>> quiet = Argument(("-q", "--quiet"), "", (), False, False, "", 0)
    >>> files = Argument((), "FILE", (), True, True, "", 0)
    >>> usage("verify", [files, quiet])
    ['carv2 verify', '[-q]', 'FILE...']
    """
    ordered = sorted(arguments, key=lambda argument: not argument.names)
    words = [f"carv2 {name}"]
    for group, members in groupby(ordered, key=lambda argument: argument.group):
        if group:
            words.append(f"[{' | '.join(member.usage for member in members)}]")
        else:
            words += [member.usage if member.is_required else f"[{member.usage}]" for member in members]
    return words


_COLOR = "--color =BOOL", "--color[=BOOL]"  # argparse would put a space there, which is not typed


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_columns() - 2)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        return super()._format_action_invocation(action).replace(*_COLOR)

    def format_help(self) -> str:
        return super().format_help().replace(*_COLOR)


def _columns() -> int:
    """Width of the terminal, as ``shutil`` has it, which argparse would import: 4 ms, for those who want help."""
    with contextlib.suppress(KeyError, ValueError):
        if (columns := int(os.environ["COLUMNS"])) > 0:
            return columns
    with contextlib.suppress(AttributeError, ValueError, OSError):
        return os.get_terminal_size(1).columns or 80
    return 80


def parser_for(name: str, command: Command) -> Parser:
    """The parser of the command of that name."""
    parser = Parser(
        prog=f"carv2 {name}",
        description=command.HELP[0].upper() + command.HELP[1:] + ".",
        epilog="examples:\n" + "\n".join(f"  {example}" for example in command.EXAMPLES),
        formatter_class=_Formatter,
        allow_abbrev=False,
    )
    command.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON, one object a line")
    parser.add_argument(
        "--color",
        metavar="=BOOL",
        type=color.parse_flag,
        help="colour; --color=false for none (default: depends on the output being a terminal)",
    )
    return parser
