"""From the words of a command line to an exit code: 0 fine, 1 the archive has a problem, 2 wrong usage."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import signal
import sys
import threading
from typing import TYPE_CHECKING, NoReturn

from carv2.cli import color, progress, registry
from carv2.cli.parser import UsageError, parser_for
from carv2.cli.suggest import among_known, did_you_mean
from carv2.errors import (
    BlockNotFoundError,
    BudgetError,
    CarError,
    CorruptReferenceError,
    FetchError,
    FormatError,
    IntegrityError,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from types import FrameType

OK, BAD_ARCHIVE, USAGE = 0, 1, 2
INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM
"""As shells have it."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

_FLAGS_BEFORE = ("--color", "--version", "--help")


class Terminated(KeyboardInterrupt):
    """SIGTERM came: what is half done is cleaned up as after Ctrl-C."""


def entry() -> NoReturn:
    """Run the command of this process and leave with its code."""
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:  # who ignores it, goes on doing so
        signal.signal(signal.SIGTERM, _terminate)
    sys.exit(_main(sys.argv[1:]))  # a command that served has signals ignored until the process is gone


def _terminate(_number: int, _frame: FrameType | None) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one is not to disturb the cleaning up
    raise Terminated


def main(argv: Sequence[str]) -> int:
    """Run one command; return its exit code. Who calls this has signals as they were before."""
    with _signals_kept():
        return _main(argv)


@contextlib.contextmanager
def _signals_kept() -> Generator[None]:
    """Give signals back to whoever had them; else processes begun later would ignore them too."""
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():  # no other may, and none has
            for number, handler in before.items():
                if handler is not None and signal.getsignal(number) is not handler:
                    signal.signal(number, handler)


def _main(argv: Sequence[str]) -> int:
    if sys.stdout is None or sys.stderr is None:  # pyright: ignore[reportUnnecessaryComparison]
        return BAD_ARCHIVE  # nobody is there to be told of anything
    _show_what_cannot_be_encoded()
    try:
        return _run(argv)
    finally:
        _settle_output()


def _run(argv: Sequence[str]) -> int:
    color.start()
    name, trouble, args = None, BAD_ARCHIVE, argparse.Namespace()
    try:
        words = _take_global_flags(_as_flags(list(argv)))
        if not words:
            return OK
        name, words = _take_command(words)
        if name not in registry.COMMANDS:
            print(_help_of_group(name))
            return OK
        command = registry.load(name)
        trouble = getattr(command, "TROUBLE", BAD_ARCHIVE)
        args = _parsed(name, command, words)
        color.apply(args.color)
        progress.hush(args.json)
        code = command.run(args)
        sys.stdout.flush()
        return code
    except (CarError, OSError) as error:
        code = _report(name or "", error, trouble)
        if not getattr(args, "allow", None):  # or it was read as a ref-CAR
            _hint(name or "", error, args)
        _hint_at_import(name or "", error)
        _advise(error)
        return code
    except (UsageError, ValueError, argparse.ArgumentTypeError) as error:
        where = "carv2" if name is None else f"carv2 {name}"
        text = color.printable(str(error)) + among_known(str(error))
        print(f"{where}: {text}\nTry '{where} --help'.", file=sys.stderr)
        return USAGE
    except MemoryError:
        print(color.paint("carv2: ", "error") + "there is not enough memory for this", file=sys.stderr)
        return trouble
    except SystemExit:  # argparse's --help
        return OK
    except KeyboardInterrupt as error:
        _advise(error)
        return TERMINATED if isinstance(error, Terminated) else INTERRUPTED


def _report(name: str, error: CarError | OSError, code: int) -> int:
    if isinstance(error, BrokenPipeError):  # who reads us has seen enough
        return OK
    where = getattr(error, "archive", None)
    prefix = "carv2: " if where is None else f"carv2: {color.printable(str(where))}: "
    text = color.words_of(error)
    if isinstance(error, FormatError):
        from carv2.cli import repairs  # noqa: PLC0415
        from carv2.operations.problems import Problem  # noqa: PLC0415

        text = repairs.text_of(name, where, Problem.of(error))
    elif isinstance(error, (BudgetError, FetchError)):  # which names the arguments of a call
        text = re.sub(r"\bmax_\w+", lambda found: f"--{found[0].replace('_', '-')}", text)
    print(color.paint(prefix, "error") + color.printable(text), file=sys.stderr)
    return code


def _hint_at_import(name: str, error: CarError | OSError) -> None:
    from carv2.cli import references  # noqa: PLC0415  (10 ms, for those who need it)

    references.hint_at_import(name, error)


def _hint(name: str, error: CarError | OSError, args: argparse.Namespace) -> None:
    """Say what mends it, or that it failed because an archive is a ref-CAR, which looks like an ordinary one."""
    from carv2.cli import references, repairs  # noqa: PLC0415

    if remedy := getattr(error, "remedy", ""):
        print(color.printable(remedy), file=sys.stderr)
        return
    may_be_reference = isinstance(error, (BlockNotFoundError, IntegrityError))
    if (
        may_be_reference
        and not isinstance(error, CorruptReferenceError)
        and references.hint(getattr(error, "archive", None))
    ):
        return
    if isinstance(error, CarError) and (repair := repairs.repair_of(name, error)):
        print(color.printable(repair), file=sys.stderr)
    elif isinstance(error, BlockNotFoundError):
        repairs.hint_at_index(error.archive, args)


def _advise(error: BaseException) -> None:
    """Say what the command had to add about the error: how to go on."""
    advice = getattr(error, "advice", "")
    if advice and not isinstance(error, BrokenPipeError):
        print(advice, file=sys.stderr)


def _show_what_cannot_be_encoded() -> None:
    """Print what the encoding of a terminal does not have as Python writes it in a text; it is no error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _settle_output() -> None:
    """Hand over what is printed; where nobody takes it, see to it that Python does not try again at the end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _as_flags(words: list[str]) -> list[str]:
    """``help``, ``help COMMAND`` and ``version``, which other programs have, as the flags that they are here."""
    at = next((at for at, word in enumerate(words) if not word.startswith("-")), len(words))
    if words[at:] == ["version"]:
        return [*words[:at], "--version"]
    if words[at : at + 1] == ["help"]:
        return [*words[:at], *words[at + 1 :], "--help"]
    return words


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
            meant = did_you_mean(flag, _FLAGS_BEFORE)
            raise UsageError(f"unknown flag {flag} before the command{meant}")
    if not words:
        print(_help())
    return words


def _version() -> str:
    import carv2  # noqa: PLC0415  (the facade is above every other module but this one)

    return carv2.__version__


def _take_command(words: list[str]) -> tuple[str, list[str]]:
    """The command's full name, and the words behind it. Flags may stand between the words of a name.

    A group of commands, whose name alone does nothing, comes back if it is asked for help.
    """
    name = registry.ALIASES.get(words[0], words[0])
    rest = words[1:]
    if name not in registry.COMMANDS and not registry.subcommands(name):
        raise UsageError(f"unknown command {name}{_meant(name)}")
    at = 0
    while at < len(rest) and rest[at].startswith("-"):
        at += 2 if rest[at] in registry.FLAGS_WITH_VALUES else 1
    if at >= len(rest) or f"{name} {rest[at]}" not in registry.COMMANDS:
        if name not in registry.COMMANDS and not {"-h", "--help"} & set(rest):
            raise _wrong_subcommand(name, rest[at : at + 1])
        return name, rest
    for flag in filter(_is_color, rest[:at]):
        color.apply(color.parse_flag(flag.partition("=")[2]))
    return f"{name} {rest[at]}", [flag for flag in rest[:at] if not _is_color(flag)] + rest[at + 1 :]


def _meant(name: str) -> str:
    if meant := registry.MEANT.get(name):
        return f"; did you mean {meant}?"
    return did_you_mean(name, [*registry.COMMANDS, *registry.ALIASES])


def _wrong_subcommand(group: str, given: list[str]) -> UsageError:
    names = [name.removeprefix(f"{group} ") for name in registry.subcommands(group)]
    what = f"{group} has no {given[0]}" if given else f"{group} needs to be told what to do"
    meant = did_you_mean(given[0], names) if given else ""
    return UsageError(f"{what}; there is {', '.join(names)}{meant}")


def _is_color(word: str) -> bool:
    return word == "--color" or word.startswith("--color=")


def _parsed(name: str, command: registry.Command, words: list[str]) -> argparse.Namespace:
    _check_keys(name, words)
    parser = parser_for(name, command)
    parser.typed = _plain_words(words)
    return parser.parse_intermixed_args(parser.typed)


def _check_keys(name: str, words: list[str]) -> None:
    """No key that looks like a flag: what follows would make a file's name of it."""
    behind = words[words.index("--") + 1 :] if "--" in words else []
    if name.startswith("dagstore ") and any(word.startswith("-") for word in behind):
        raise UsageError("what begins with - is no key here; a file's name begins with ./ then")


def _plain_words(words: list[str]) -> list[str]:
    """``--color`` with its value, and files that look like flags as what argparse does not take for flags."""
    end = words.index("--") if "--" in words else len(words)
    files = [f"./{word}" if word.startswith("-") and word != "-" else word for word in words[end + 1 :]]
    return ["--color=true" if word == "--color" else word for word in words[:end]] + files


def _help_of_group(group: str) -> str:
    names = registry.subcommands(group)
    width = max(map(len, names))
    lines = [f"  {name:{width}}  {registry.COMMANDS[name]}" for name in names]
    return "\n".join([f"usage: carv2 {group} COMMAND ...", "", "commands:", *lines])


def _commands() -> Iterator[str]:
    """The lines of the page of help that name each command, under headings."""
    width = max(map(len, registry.COMMANDS))
    for name, text in registry.COMMANDS.items():
        if heading := registry.HEADINGS.get(name):
            yield from ("", f"{heading}:")
        yield f"  {name:{width}}  {text}"


def _help() -> str:
    return "\n".join(
        [
            "usage: carv2 [--color[=BOOL]] COMMAND ...",
            "",
            "Content-addressed archives (CARv1, CARv2): look into them, check, index, convert and repair them.",
            *_commands(),
            "",
            "  carv2 COMMAND --help says more; FILE may be - for standard input.",
            "  exit code: 0 fine, 1 the archive has a problem, 2 wrong usage.",
        ]
    )
