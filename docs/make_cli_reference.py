"""Writes the last part of the reference of the command line, from the parsers of the commands.

``python docs/make_cli_reference.py`` does it; what stands before the mark is written by hand and stays.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from carv2.cli import registry
from carv2.cli.parser import parser_for, usage

if TYPE_CHECKING:
    from carv2.cli.parser import Argument

PAGE = Path(__file__).parent / "reference" / "cli.md"
BEGIN = "<!-- from the parsers of the commands, by docs/make_cli_reference.py: -->"
INTRODUCTION = """## Each command

Every command takes `-h`, `--help`, `--json` and `--color` besides; see [above](#for-every-command)."""
EVERYWHERE = {"--help", "--json", "--color"}


def rendered(page: str) -> str:
    """The page with its part below the mark as it should be."""
    parts = [page.partition(BEGIN)[0] + BEGIN, INTRODUCTION, *map(section, registry.COMMANDS)]
    aliases = ", ".join(f"`{alias}` for `{name}`" for alias, name in registry.ALIASES.items())
    return "\n\n".join([*parts, f"Other names: {aliases}."]) + "\n"


def section(name: str) -> str:
    command = registry.load(name)
    arguments = [one for one in parser_for(name, command).arguments() if not EVERYWHERE & set(one.names)]
    line = textwrap.fill(
        " ".join(word.replace(" ", "\0") for word in usage(name, arguments)),
        width=110,
        subsequent_indent=" " * 4,
        break_long_words=False,
        break_on_hyphens=False,
    ).replace("\0", " ")
    text = command.HELP[0].upper() + command.HELP[1:] + "."
    table = ["| | |", "| --- | --- |", *map(row, arguments)] if arguments else []
    examples = ["For example:", "", "```text", *command.EXAMPLES, "```"]
    return "\n".join([f"### carv2 {name}", "", text, "", "```text", line, "```", "", *table, "", *examples])


def row(argument: Argument) -> str:
    shown = (
        [argument.usage] if not argument.names else [f"{name} {argument.value}".strip() for name in argument.names]
    )
    names = ", ".join(f"`{one}`".replace("|", "\\|") for one in shown)
    return (
        f"| {names} | {escaped(argument.help)}{'; required' if argument.is_required and argument.names else ''} |"
    )


def escaped(text: str) -> str:
    """Without what Markdown would take for its own; what stands in backticks is left alone."""
    parts = text.split("`")
    parts[::2] = [re.sub(r"([*_<|\[\]])", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)


def main() -> None:
    PAGE.write_text(rendered(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
