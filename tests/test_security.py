"""SECURITY.md says what the code says: each limit in its table, each with its value."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import carv2
from carv2.ipfs.gateway import GatewayLimits
from carv2.rpc.limits import ServerLimits
from carv2.units import Limits

TOP = Path(__file__).parents[1]
SOURCES = TOP / "src/carv2"
TEXT = (TOP / "SECURITY.md").read_text()

UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
WORDS = {"a quarter of them": None}

NO_LIMITS = {
    **dict.fromkeys(
        (
            "dag._gather.MAX_LISTED",
            "dag.exporting.MAX_LISTED",
            "filestore.checking.MAX_LISTED",
            "imports._damage.MAX_LISTED",
            "imports.sanity.MAX_NAMES",
            "operations._tally.MAX_LISTED",
        ),
        "how much of what was found is listed; the rest is counted",
    ),
    "dag.complete.MAX_TOLD_APART": "from there on one that is missing may be counted twice",
    "dag.order.MAX_REMEMBERED": "from there on the order is not known",
    "blockstore._written.MAX_KINDS": "of a cache",
    "_varint.MAX_VALUE": "follows from the size",
    "_multibase.MAX_RAW_SIZE": "MAX_TEXT_SIZE is the limit of what is read",
    "imports._retrieval_files.MAX_ID": "of a name that the user gives",
}


class Row(NamedTuple):
    what: str
    default: str
    how: str
    where: str


def rows() -> list[Row]:
    table = TEXT.partition("## Limits")[2]
    lines = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| ")][2:]
    return [Row(*(cell.strip() for cell in (*cells[:3], cells[-1].strip("` ")))) for cells in lines]


def meaning(text: str) -> float | None:
    """The number that a default is written as."""
    if text in WORDS:
        return WORDS[text]
    number, _, unit = text.partition(" ")
    assert unit in {*UNITS, "", "s", "bytes", "characters", "times"}
    return float(number.replace(",", "")) * UNITS.get(unit, 1)


def value(where: str) -> Any:
    """What the code says at a dotted name below ``carv2``."""
    parts = where.split(".")
    for length in range(len(parts) - 1, 0, -1):
        try:
            found: Any = importlib.import_module(".".join(["carv2", *parts[:length]]))
        except ModuleNotFoundError:
            continue
        for name in parts[length:-1]:
            found = getattr(found, name)
        named = {**getattr(found, "_field_defaults", {}), **_defaults(found)}
        return named[parts[-1]] if named else getattr(found, parts[-1])
    raise AssertionError(where)


def _defaults(found: Any) -> dict[str, Any]:
    if not dataclasses.is_dataclass(found):
        return {}
    return {field.name: field.default for field in dataclasses.fields(found)}


def constants() -> set[str]:
    """All that is called ``MAX_`` something in the sources, by dotted names."""
    found: set[str] = set()
    for path in SOURCES.rglob("*.py"):
        module = ".".join(path.relative_to(SOURCES).with_suffix("").parts)
        for node in ast.parse(path.read_bytes()).body:
            if isinstance(node, ast.Assign):
                names = {
                    name.id for target in node.targets for name in ast.walk(target) if isinstance(name, ast.Name)
                }
                found.update(f"{module}.{name}" for name in names if name.startswith("MAX_"))
    return found


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.where)
def test_the_table_says_what_the_code_says(row: Row) -> None:
    assert value(row.where) == (None if (number := meaning(row.default)) is None else pytest.approx(number, rel=0))


def test_the_table_has_every_limit() -> None:
    listed = [row.where for row in rows()]
    assert len(listed) == len(set(listed))
    fields = {f"units.Limits.{name}" for name in Limits._fields}
    fields |= {f"rpc.limits.ServerLimits.{field.name}" for field in dataclasses.fields(ServerLimits)}
    fields |= {f"ipfs.gateway.GatewayLimits.{field.name}" for field in dataclasses.fields(GatewayLimits)}
    assert (fields | constants()) - set(listed) == set(NO_LIMITS)


def test_options_of_the_commands_exist() -> None:
    commands = "".join(path.read_text() for path in (SOURCES / "cli").rglob("*.py"))
    for option in set(re.findall(r"`(--[a-z-]+)`", TEXT)) | set(re.findall(r"(--[a-z-]+)`", TEXT)):
        assert f'"{option}"' in commands, option


def test_the_supported_version_is_this_one() -> None:
    minor = ".".join(carv2.__version__.split(".")[:2])
    assert f"\n| {minor} | yes" in TEXT


def test_what_it_links_to_is_there() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert (TOP / target).exists(), target
