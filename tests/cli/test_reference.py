"""The reference of the command line has what the parsers have, and its script writes it."""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path

import pytest

from carv2.cli import registry
from carv2.cli.parser import parser_for

DOCS = Path(__file__).resolve().parents[2] / "docs"
SPEC = importlib.util.spec_from_file_location("make_cli_reference", DOCS / "make_cli_reference.py")
assert SPEC is not None
assert SPEC.loader is not None
make_cli_reference = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(make_cli_reference)

UPDATE = bool(os.environ.get("CARV2_UPDATE_CLI_REFERENCE"))
SWITCHES: tuple[object, ...] = (None, False, "", "-", [])
"""Defaults that are nothing to tell of."""


def test_the_reference_is_what_the_parsers_say() -> None:
    page = make_cli_reference.PAGE.read_text(encoding="utf-8")
    if UPDATE:
        make_cli_reference.main()
        return
    assert make_cli_reference.rendered(page) == page, "run docs/make_cli_reference.py"


def test_what_is_written_by_hand_stays() -> None:
    page = f"# By hand\n\n{make_cli_reference.BEGIN}\n\nstale\n"
    found = make_cli_reference.rendered(page)
    assert found.startswith(f"# By hand\n\n{make_cli_reference.BEGIN}\n\n## Each command\n")
    assert "stale" not in found
    assert make_cli_reference.rendered(found) == found


def test_a_section_has_usage_names_choices_and_examples() -> None:
    section = make_cli_reference.section("list")
    assert "carv2 list [--no-verify] [-v | --unixfs | --unixfs-blocks] [--max-entries N]" in section
    assert "| `-v`, `--verbose` | say what each block is and links to |" in section
    assert "carv2 list --unixfs archive.car" in section
    assert r"| `--symlinks skip\|safe` |" in make_cli_reference.section("extract")
    assert "--size SIZE " in make_cli_reference.section("split")  # no brackets: it is required


@pytest.mark.parametrize("name", registry.COMMANDS)
def test_each_default_is_told(name: str) -> None:
    for action in parser_for(name, registry.load(name))._actions:
        if action.default not in SWITCHES and action.default != "==SUPPRESS==":
            assert re.search(r"\(default|the default\b", action.help or ""), (action.dest, action.default)
