"""What the pages show: shell sessions run as they stand, and what cannot be run says why.

A ```` ```console ```` block is a session: what stands behind ``$ `` is typed, the lines after it are what comes
back, output and errors as they came. The sessions of a page share a folder, which is empty when it begins.
``CARV2_UPDATE_PAGES=1 pytest tests/docs`` writes down what is. A block under ``<!-- not run: REASON -->`` is only
held against the parser of the command line, as those in ``sh`` are.
"""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import NamedTuple

import pytest

from carv2.cli import main, registry
from carv2.cli.parser import UsageError, parser_for
from cli.running import run_shell

TOP = Path(__file__).resolve().parents[2]
DOCS = TOP / "docs"
PAGES = [TOP / "README.md", TOP / "SECURITY.md", *sorted(DOCS.rglob("*.md"))]
UPDATE = bool(os.environ.get("CARV2_UPDATE_PAGES"))
NOT_RUN = re.compile(r"<!-- not run: (.+) -->")
SHELLS = {"console", "sh"}
SOME_CID = "bafkreifuosuzujyf4i6psbneqtwg2fhplc2wxptc5euspa2gn3bwhnihfu"
"""For what a page says instead of a CID of the reader's."""


class Block(NamedTuple):
    """A fenced block: what it is said to be, why it is not run, its lines and where they begin."""

    language: str
    reason: str
    first: int
    lines: list[str]


def blocks(text: str) -> list[Block]:
    found: list[Block] = []
    reason, begins, language = "", -1, ""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        fence = re.fullmatch(r"```(\S*).*", line)
        if begins < 0 and fence:
            begins, language = number + 1, fence[1]
        elif fence:
            found.append(Block(language, reason, begins, lines[begins:number]))
            begins, reason = -1, ""
        elif begins < 0 and line:
            said = NOT_RUN.fullmatch(line)
            reason = said[1] if said else ""
    return found


def test_no_example_stands_outside_of_a_block() -> None:
    """`>>>` begins quotations in quotations where no fence is around it."""
    bare = [
        f"{page.relative_to(TOP)}:{number + 1}"
        for page in PAGES
        for fenced in [
            {
                at
                for block in blocks(page.read_text("utf-8"))
                for at in range(block.first, block.first + len(block.lines))
            }
        ]
        for number, line in enumerate(page.read_text("utf-8").splitlines())
        if line.startswith(">>>") and number not in fenced
    ]
    assert bare == []


def sessions(page: Path) -> list[Block]:
    found = blocks(page.read_text(encoding="utf-8"))
    return [block for block in found if block.language == "console" and not block.reason]


def played(block: Block, folder: Path) -> list[str]:
    """The block as it should be: each of its commands, and what comes of it here."""
    lines: list[str] = []
    for line in commands(block):
        ran = run_shell(folder, f"{{ {line}\n}} 2>&1")
        lines += [f"$ {part}" if not at else f"> {part}" for at, part in enumerate(line.split("\n"))]
        lines += ran.out.decode().splitlines()
    return lines


def commands(block: Block) -> list[str]:
    """What is typed: of a session what stands behind ``$ ``, gone on with behind ``> ``."""
    if block.language == "sh":
        return [line for line in "\n".join(block.lines).replace("\\\n", " ").splitlines() if line]
    found: list[str] = []
    for line in block.lines:
        if line.startswith("$ "):
            found.append(line[2:])
        elif line.startswith("> ") and found:
            found[-1] += "\n" + line[2:]
    return found


@pytest.mark.parametrize("page", [page for page in PAGES if sessions(page)], ids=lambda page: page.stem)
def test_the_sessions_of_a_page_go_as_shown(page: Path, tmp_path: Path) -> None:
    text = page.read_text(encoding="utf-8").splitlines()
    moved = 0
    for block in sessions(page):
        came = played(block, tmp_path)
        if UPDATE:
            begin = block.first + moved
            text[begin : begin + len(block.lines)] = came
            moved += len(came) - len(block.lines)
        else:
            assert came == block.lines
    if UPDATE:
        page.write_text("\n".join(text) + "\n", encoding="utf-8")


def typed(page: Path) -> list[list[str]]:
    """The arguments of every carv2 command of the page's shell blocks."""
    found: list[list[str]] = []
    for block in blocks(page.read_text(encoding="utf-8")):
        for line in commands(block) if block.language in SHELLS else []:
            lexer = shlex.shlex(line, posix=True, punctuation_chars="|;&<>()")
            lexer.whitespace_split = True
            part: list[str] = []
            for word in [*lexer, ";"]:
                if set(word) <= set("|;&<>()"):
                    if part and part[0].rsplit("/", 1)[-1] == "carv2":
                        found.append(part[1:])
                    part = []
                else:
                    part.append(re.sub(r"\b(ROOT|CID)\b", SOME_CID, word))
    return found


@pytest.mark.parametrize("page", [page for page in PAGES if typed(page)], ids=lambda page: page.stem)
def test_every_command_that_is_shown_is_one(page: Path) -> None:
    for arguments in typed(page):
        if "--help" in arguments or "--version" in arguments:
            continue
        try:
            name, words = main._take_command(main._take_global_flags(list(arguments)))
            parser_for(name, registry.load(name)).parse_intermixed_args(main._plain_words(words))
        except UsageError as error:
            pytest.fail(f"carv2 {shlex.join(arguments)}: {error}")


def is_run(page: Path, block: Block) -> bool:
    """Sessions are, and examples; the two commands of the README are by what runs all tests."""
    if block.language == "python":
        return block.lines[0].startswith(">>> ")
    return block.language == "console" or page.name == "README.md"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_is_not_run_has_a_reason(page: Path) -> None:
    found = blocks(page.read_text(encoding="utf-8"))
    for block in found:
        if block.language in {*SHELLS, "python"} and (block.reason or not is_run(page, block)):
            assert len(block.reason) > 15, f"line {block.first}: it is not run, and does not say why"
