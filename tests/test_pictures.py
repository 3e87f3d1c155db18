"""The pictures in the documentation are those that their script draws from the code of today."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

DOCS = Path(__file__).parent.parent / "docs"
SPEC = importlib.util.spec_from_file_location("make_pictures", DOCS / "make_pictures.py")
assert SPEC is not None
assert SPEC.loader is not None
make_pictures = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(make_pictures)


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
