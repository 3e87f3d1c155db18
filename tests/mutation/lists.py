"""The two lists: which tests are to notice a mutant of a module, and which mutants no test can notice."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def _read(name: str) -> dict[str, Any]:
    toml: Any = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    tables: dict[str, Any] = toml.loads((HERE / name).read_text(encoding="utf-8"))
    return tables


def plan() -> dict[str, list[str]]:
    """The tests of each module, by the module's name."""
    return {module: part["tests"] for part in _read("plan.toml")["part"] for module in part["modules"]}


def settled() -> list[str]:
    """The modules of which every mutant is killed or explained."""
    return [module for part in _read("plan.toml")["part"] if not part.get("open") for module in part["modules"]]


def explained() -> dict[str, str]:
    """Why no test can see a mutant, by its name: ``module:function: before => after``."""
    rows = _read("equivalent.toml")["equivalent"]
    return {f"{row['where']}: {change}": row["why"] for row in rows for change in row["changes"]}
