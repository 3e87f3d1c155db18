"""Charts of a report: sizes of blocks, and where a walk goes in the file."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from carv2.pictures._drawing import colours, part_text, size_text, svg, tag

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from carv2.pictures.model import Layout

_WIDTH = 1000
_LEFT, _RIGHT = 200, 20
_INNER = _WIDTH - _LEFT - _RIGHT
_ROW = 24
_HIGH = 320


class Bar(NamedTuple):
    """A line of a chart; ``words`` stand behind its bar."""

    name: str
    value: int
    words: str
    fill: str = "#0072B2"


def bars(title: str, heads: tuple[str, str], rows: Sequence[Bar]) -> str:
    """A chart of bars, one below the other; ``heads`` stand above the names and above the bars."""
    high = 34 + _ROW * len(rows)
    return svg(_WIDTH, high, title, _bars(heads, rows), alone=False)


def _bars(heads: tuple[str, str], rows: Sequence[Bar]) -> Iterator[str]:
    most = max((row.value for row in rows), default=0) or 1
    yield tag("text", heads[0], x=_LEFT - 10, y=16, class_="small end")
    yield tag("text", heads[1], x=_LEFT, y=16, class_="small")
    for at, row in enumerate(rows):
        y = 26 + at * _ROW
        wide = max(1.5, (_INNER - 220) * row.value / most) if row.value else 0.0
        yield tag("text", row.name, x=_LEFT - 10, y=y + 14, class_="end")
        yield tag("rect", x=_LEFT, y=y, width=wide, height=_ROW - 6, fill=row.fill, rx=2)
        yield tag("text", row.words, x=_LEFT + wide + 8, y=y + 14)


def sizes(found: Layout) -> str:
    """A bar for each power of two: how many blocks, and what part of the bytes they are."""
    rows = [
        Bar(range_text(entry.least), entry.count, f"{entry.count:,} ({part_text(entry.size, found.block_bytes)})")
        for entry in found.sizes
    ]
    return bars("Sizes of blocks", ("size", "blocks, and their part of all bytes"), rows)


def range_text(least: int) -> str:
    """The name of a class of sizes, by its smallest."""
    return size_text(least) if least < 2 else f"from {size_text(least)}"


def locality(found: Layout) -> str:
    """A point for each step of a depth-first walk: to the right how far it is, downwards where in the file."""
    return svg(_WIDTH, _HIGH + 50, "Order of a depth-first walk", _points(found), alone=False)


def _points(found: Layout) -> Iterator[str]:
    dag = found.dag
    if dag is None:
        return
    sections = next(region for region in found.regions if region.name == "sections")
    fills = colours(found.codecs)
    yield tag("rect", x=_LEFT, y=10, width=_INNER, height=_HIGH, class_="frame")
    for part in (0.25, 0.5, 0.75):
        yield tag("line", x1=_LEFT, x2=_LEFT + _INNER, y1=10 + _HIGH * part, y2=10 + _HIGH * part, class_="grid")
    for number, position in ((0, sections.start), (_HIGH, sections.end)):
        yield tag("text", f"{position:,}", x=_LEFT - 8, y=10 + number + 5, class_="small end")
    yield tag("text", "place in the file", x=_LEFT - 8, y=10 + _HIGH / 2, class_="small end")
    yield tag("text", "first block", x=_LEFT, y=_HIGH + 30, class_="small")
    yield tag("text", "steps of the walk", x=_LEFT + _INNER / 2, y=_HIGH + 30, class_="small middle")
    yield tag("text", f"block {dag.block_count:,}", x=_LEFT + _INNER, y=_HIGH + 30, class_="small end")
    last, size = max(1, dag.walk[-1].number), max(1, sections.end - sections.start)
    for point in dag.walk:
        x, y = _LEFT + _INNER * point.number / last, 10 + _HIGH * (point.position - sections.start) / size
        yield tag("circle", cx=x, cy=y, r=2, fill=fills.get(point.codec, fills.get("other", "#8c959f")))
