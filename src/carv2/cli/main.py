"""From the words of a command line to an exit code: 0 fine, 1 the archive has a problem, 2 wrong usage."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from typing import TYPE_CHECKING, NoReturn

from carv2.cli import color, registry
from carv2.errors import CarError

if TYPE_CHECKING:
    from collections.abc import Sequence

OK, BAD_ARCHIVE, USAGE = 0, 1, 2


class UsageError(Exception):
    """The command line makes no sense."""


def entry() -> NoReturn:
    """Run the command of this process and leave with its code."""
    sys.exit(main(sys.argv[1:]))


def main(argv: Sequence[str]) -> int:
    """Run one command; return its exit code."""
    color.start()
    name = None
    try:
        words = _take_global_flags(list(argv))
        if not words:
            return OK
        name, words = _take_command(words)
        command = registry.load(name)
        args = _parser_for(name, command).parse_intermixed_args(_spell_out_color(words))
        color.apply(args.color)
        code = command.run(args)
        sys.stdout.flush()
        return code
    except (CarError, OSError) as error:
        return _report(error)
    except (UsageError, ValueError) as error:
        where = "carv2" if name is None else f"carv2 {name}"
        print(f"{where}: {color.printable(str(error))}\nTry '{where} --help'.", file=sys.stderr)
        return USAGE
    except SystemExit as stop:  # argparse's help and usage errors
        return stop.code if isinstance(stop.code, int) else USAGE
    except KeyboardInterrupt:
        return 130


def _report(error: CarError | OSError) -> int:
    if isinstance(error, BrokenPipeError):  # who reads us has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    where = getattr(error, "archive", None)
    prefix = "carv2: " if where is None else f"carv2: {color.printable(str(where))}: "
    print(color.paint(prefix, "error") + color.printable(str(error)), file=sys.stderr)
    return BAD_ARCHIVE


def _take_global_flags(words: list[str]) -> list[str]:
    """Obey the flags in front of the command; return the rest, nothing if all is said."""
    while words and words[0].startswith("-") and words[0] != "-":
        flag, _, value = words.pop(0).partition("=")
        if flag == "--color":
            color.apply(color.parse_flag(value))
        elif flag == "--version":
            print(f"carv2 {_version()}")
            return []
        elif flag in {"-h", "--help"}:
            print(_help())
            return []
        else:
            raise UsageError(f"unknown flag {flag} before the command")
    if not words:
        print(_help())
    return words


def _version() -> str:
    import carv2  # noqa: PLC0415  (the facade is above every other module but this one)

    return carv2.__version__


def _take_command(words: list[str]) -> tuple[str, list[str]]:
    """The command's full name, and the words behind it. Flags may stand between the words of a name."""
    name = registry.ALIASES.get(words[0], words[0])
    rest = words[1:]
    if name not in registry.COMMANDS:
        near = difflib.get_close_matches(name, [*registry.COMMANDS, *registry.ALIASES], n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UsageError(f"unknown command {name}{hint}")
    for at, word in enumerate(rest):
        if f"{name} {word}" in registry.COMMANDS:
            for flag in rest[:at]:
                _apply_color_word(flag)
            return f"{name} {word}", [flag for flag in rest[:at] if not _is_color(flag)] + rest[at + 1 :]
        if not _is_color(word):
            break
    return name, rest


def _is_color(word: str) -> bool:
    return word == "--color" or word.startswith("--color=")


def _apply_color_word(word: str) -> None:
    color.apply(color.parse_flag(word.partition("=")[2]))


def _spell_out_color(words: list[str]) -> list[str]:
    """``--color`` as ``--color=true``, so that it does not take the next word for its value."""
    end = words.index("--") if "--" in words else len(words)
    return ["--color=true" if word == "--color" else word for word in words[:end]] + words[end:]


def _parser_for(name: str, command: registry.Command) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"carv2 {name}",
        description=command.HELP[0].upper() + command.HELP[1:] + ".",
        epilog="examples:\n" + "\n".join(f"  {example}" for example in command.EXAMPLES),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON, one object a line")
    parser.add_argument(
        "--color",
        metavar="BOOL",
        type=color.parse_flag,
        help="colour, true or false (default: depends on the output being a terminal)",
    )
    return parser


def _help() -> str:
    width = max(map(len, registry.COMMANDS))
    lines = [f"  {name:{width}}  {text}" for name, text in registry.COMMANDS.items()]
    return "\n".join(
        [
            "usage: carv2 [--color[=BOOL]] COMMAND ...",
            "",
            "Content-addressed archives (CARv1, CARv2): look into them, check, index, convert and repair them.",
            "",
            "commands:",
            *lines,
            "",
            "  carv2 COMMAND --help says more; FILE may be - for standard input.",
            "  exit code: 0 fine, 1 the archive has a problem, 2 wrong usage.",
        ]
    )
