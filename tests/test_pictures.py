"""The pictures in the documentation are those that their script draws from the code of today."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

DOCS = Path(__file__).parent.parent / "docs"


def load(name: str) -> Any:
    """A script of the documentation."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


make_pictures = load("make_pictures")


@pytest.mark.parametrize("name", make_pictures.DRAWN)
def test_a_picture_is_up_to_date(name: str) -> None:
    drawn = make_pictures.DRAWN[name]()
    assert (DOCS / "pictures" / name).read_text(encoding="utf-8") == drawn, "run docs/make_pictures.py"
    ET.fromstring(drawn)  # well-formed


def test_the_table_of_layers_has_the_modules_of_each() -> None:
    page = (DOCS / "design" / "0001-layers.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (?:\d+|beside) \| (.+?) \|", page, re.MULTILINE)
    told = {name.strip("/") for row in rows for name in re.findall(r"`(.+?)`", row)}
    assert told == set().union(*make_pictures.layers())


def test_the_map_on_the_page_about_maps_is_that_of_today(tmp_path: Path) -> None:
    module = load("make_screenshots")
    drawn = (DOCS / "pictures" / "damaged-map.svg").read_text(encoding="utf-8")
    assert drawn == module.drawn(tmp_path)["map.svg"], "run docs/make_screenshots.py"
    for name in ("report.png", "store.png"):
        assert (DOCS / "pictures" / name).read_bytes().startswith(b"\x89PNG")
