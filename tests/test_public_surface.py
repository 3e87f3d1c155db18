"""What `carv2` offers is spelled out in four places; they are held together here."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import carv2

TOP = Path(__file__).parent.parent

PUBLIC = {
    "Block", "BlockNotFoundError", "CID", "CarDecoder", "CarError", "CarReader", "CarV1Header", "CarV2Header",
    "CarWriter", "FormatError", "IntegrityError", "Limits", "Section", "aiter_blocks", "attach_index",
    "build_index", "concat", "create", "detach_index", "diff", "explain", "filter_blocks", "inspect",
    "iter_blocks", "iter_car", "open", "read_version", "reindex", "replace_roots", "salvage", "split", "unwrap",
    "verify", "wrap",
}  # fmt: skip


def test_the_facade_offers_exactly_this() -> None:
    assert set(carv2.__all__) == PUBLIC


def test_every_name_of_the_facade_is_there_and_documented_in_its_docstring() -> None:
    for name in carv2.__all__:
        assert getattr(carv2, name).__doc__, name


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse((TOP / "src/carv2/__init__.py").read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    names = {alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert names == PUBLIC


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_every_name_is_on_the_reference_page(name: str) -> None:
    assert f"`{name}" in (TOP / "docs/reference/python.md").read_text()


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = carv2.nothing


def test_the_version_has_one_value_everywhere() -> None:
    project = re.search(r'^version = "(.+)"', (TOP / "pyproject.toml").read_text(), re.MULTILINE)
    assert project is not None
    newest = next(
        line.split()[1].rstrip(",")
        for line in (TOP / "CHANGELOG.md").read_text().splitlines()
        if line.startswith("## ")
    )
    assert carv2.__version__ == project[1] == newest


def test_importing_carv2_loads_no_other_package() -> None:
    code = "import sys; old = set(sys.modules); import carv2; print(*sorted(set(sys.modules) - old))"
    loaded = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True).stdout
    foreign = {name for name in loaded.split() if name.split(".")[0] not in sys.stdlib_module_names | {"carv2"}}
    assert not foreign
    assert "dataclasses" not in loaded.split()
