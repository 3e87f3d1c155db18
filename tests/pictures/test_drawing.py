"""Pictures are well-formed, ask for nothing, and what comes out of an archive stays text in them."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

import carv2
from carv2.operations.problems import Problem
from carv2.pictures import draw_map, draw_report, layout
from carv2.pictures._charts import Bar, bars
from carv2.pictures._drawing import colours, part_text, shown
from pictures.test_layout import FISH, NEWT, archive, node

if TYPE_CHECKING:
    from pathlib import Path

EVIL = "<script>document.title='owned'</script>\x1b[31m\u202egpj.exe\"'&"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Page(HTMLParser):
    """Which elements are open where, and what refers to elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.targets: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.targets += [value or "" for name, value in attrs if name in {"src", "href", "data", "action"}]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def evil(tmp_path: Path) -> Path:
    root = node((EVIL, FISH.cid), ("newt", NEWT.cid))
    path = archive(tmp_path / EVIL.replace("/", "|"), [root.cid], [FISH, root, NEWT, FISH])
    damaged = bytearray(path.read_bytes())
    damaged[damaged.index(b"newt", damaged.index(b"newt") + 1)] ^= 1  # the data: the link's name comes before
    path.write_bytes(damaged)
    return path


def test_names_out_of_an_archive_stay_text(evil: Path) -> None:
    found = layout(evil)
    page = Page()
    page.feed(draw_report(found))
    assert "script" not in page.names
    assert page.text.count("<script>document.title='owned'") >= 2  # the file's name, and the link's
    assert page.targets == []
    for picture in (draw_map(found), draw_report(found)):
        assert "\x1b" not in picture
        assert "\u202e" not in picture
    drawn = ET.fromstring(draw_map(found))
    assert not [element for element in drawn.iter() if "script" in element.tag]
    assert not re.search(r"(https?:)?//(?!www\.w3\.org/2000/svg)", draw_report(found))


def test_the_damage_is_told_and_marked(evil: Path) -> None:
    found = layout(evil)
    (problem,) = found.problems
    assert f"{problem.position:,}" in draw_report(found)
    assert draw_map(found).count('class="mark"') == 2  # at its place, and beside its words


def test_the_map_is_well_formed_and_within_its_frame(evil: Path, tmp_path: Path) -> None:
    for path in (evil, archive(tmp_path / "empty.car", [], [])):
        drawn = ET.fromstring(draw_map(layout(path)))
        width, height = map(float, drawn.attrib["viewBox"].split()[2:])
        for element in drawn.iter():
            x, y = float(element.get("x", 0)), float(element.get("y", 0))
            assert 0 <= x <= width
            assert 0 <= y <= height
            if element.get("width", "").replace(".", "").isdecimal():
                assert x + float(element.attrib["width"]) <= width


def test_text_is_cut_and_made_visible() -> None:
    assert shown("a" * 200, 10) == "a" * 9 + "\u2026"
    assert shown("\udc80\n\x00") == "\ufffd" * 3
    assert (part_text(1, 10**6), part_text(10**6 - 1, 10**6)) == ("under 0.1 %", "over 99.9 %")
    assert (part_text(0, 5), part_text(5, 5), part_text(0, 0)) == ("0 %", "100 %", "0 %")


def test_a_usual_codec_has_the_same_colour_everywhere() -> None:
    assert colours(["raw", "dag-cbor"])["raw"] == colours(["dag-pb", "raw"])["raw"]
    many = colours([*map(str, range(12)), "other"])
    assert many["other"] == many["11"]
    assert len({many[str(at)] for at in range(8)}) == 8


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium to look at the pages with")
def test_a_browser_shows_the_page_and_runs_nothing_of_it(evil: Path, tmp_path: Path) -> None:
    assert CHROMIUM is not None
    (tmp_path / "report.html").write_text(draw_report(layout(evil)), encoding="utf-8")
    (tmp_path / "map.svg").write_text(draw_map(layout(evil)), encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    for name in ("report.html", "map.svg"):
        done = subprocess.run(
            [CHROMIUM, *options, "--virtual-time-budget=2000", "--dump-dom", (tmp_path / name).as_uri()],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        assert "owned</title>" not in done.stdout
        assert "parsererror" not in done.stdout
        assert "problem" in done.stdout


def test_a_picture_of_a_piece_in_memory() -> None:
    raw = b"".join(carv2.iter_car([FISH.cid], [FISH]))
    assert "archive" in draw_map(layout(raw))


def _texts(picture: str) -> list[tuple[float, float, str, str]]:
    """Place, class and words of each text of a map."""
    root = ET.fromstring(picture)
    return [
        (float(each.get("x", "")), float(each.get("y", "")), each.get("class", ""), "".join(each.itertext()))
        for each in root.iter("{http://www.w3.org/2000/svg}text")
    ]


def test_no_triangle_lies_on_the_numbers_above_the_ribbon(tmp_path: Path) -> None:
    path = archive(tmp_path / "x.car", [FISH.cid], [FISH])
    path.write_bytes(path.read_bytes()[:-1])  # the place of the problem is the end of the file
    picture = draw_map(layout(path))
    mark = re.search(r'class="mark" d="M ([0-9.]+) ([0-9.]+) l -6 -11', picture)
    assert mark is not None
    number = next(text for text in _texts(picture) if text[2] == "small end")
    assert float(mark[1]) == number[0] == 970
    assert float(mark[2]) - 11 >= number[1] + 2  # the number's baseline, and what hangs below it


@pytest.mark.parametrize("name", ["a" * 200 + ".car", "\u9f8d" * 80 + ".car"])
def test_a_long_name_leaves_room_for_the_counts(name: str, tmp_path: Path) -> None:
    found = layout(archive(tmp_path / "x.car", [FISH.cid], [FISH]), name=name)
    title, counts = _texts(draw_map(found))[:2]
    letter = 17 if name[0] > "z" else 9.5
    assert title[3].endswith("\u2026")
    assert title[0] + letter * len(title[3]) < counts[0] - 7 * len(counts[3])


def test_a_long_message_takes_several_lines(tmp_path: Path) -> None:
    found = layout(archive(tmp_path / "x.car", [FISH.cid], [FISH]))
    words = " ".join(f"word-{at}" for at in range(30))
    several = [words, " ".join([words] * 9), "x" * 500]
    problems = tuple(Problem(kind="FormatError", message=message) for message in several)
    lines = [text[3] for text in _texts(draw_map(replace(found, problems=problems, problem_count=3)))[-8:]]
    assert " ".join(lines[:2]) == words
    assert lines[4].endswith("\u2026")
    assert all(7.8 * len(line) < 930 for line in lines)


def test_long_names_of_codecs_fit_beside_their_bars() -> None:
    name = "poseidon-bls12_381-a2-fc1"
    place, _, _, words = next(
        text for text in _texts(bars("x", ("a", "b"), [Bar(name, 1, "1")])) if text[3] == name
    )
    assert place - 7.4 * len(words) > 0
