"""The map of an archive: its bytes as a ribbon, and how a depth-first walk goes through them."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from carv2.pictures._drawing import REGION_FILLS, colours, fitted, legend, part_text, shown, size_text, svg, tag

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carv2.pictures.model import Layout, Region

__all__ = ["draw_map"]

_WIDTH, _EDGE = 1000, 30
_INNER = _WIDTH - 2 * _EDGE
_RIBBON = 46
_WAYS = 130
_LINES = 400
_LEAST = 2.0
"""Pixels that a region is wide, however few bytes it has."""
_PROBLEMS = 8
_COLUMNS, _ROWS = 120, 3
"""Characters of a line of a problem, and its lines."""
_MARK = 12
"""Pixels above the ribbon that its triangles need."""


def draw_map(found: Layout, *, alone: bool = True) -> str:
    """Draw an archive as SVG: its bytes from left to right, to scale, and below the order of a depth-first walk.

    Sections are coloured by codec; lines lead from each place of the walk to the place in the file where its block
    is. Parallel lines are an archive that can be streamed, crossing ones are seeks. Triangles are problems.

    Args:
        found: what :func:`carv2.pictures.layout` says of the archive.
        alone: with its own styles and background, as a file needs; a page has them already.

    Returns:
        the text of the SVG, which asks nothing of any network.

    >>> import carv2
    >>> from carv2.pictures import layout
    >>> cid = carv2.CID.of_data(b"fish")
    >>> draw_map(layout(b"".join(carv2.iter_car([cid], [(cid, b"fish")]))))[:4]
    '<svg'
    """
    drawing = _Map(found)
    parts = list(drawing.parts())
    title = f"Map of {shown(found.name)}"
    return svg(_WIDTH, round(drawing.bottom), title, parts, alone=alone)


class _Scale:
    """From file positions to pixels: to scale, but nothing that is there vanishes."""

    def __init__(self, regions: tuple[Region, ...], size: int) -> None:
        widths = [max(_LEAST, _INNER * (region.end - region.start) / max(1, size)) for region in regions]
        small = sum(width for width in widths if width <= _LEAST)
        large = sum(width for width in widths if width > _LEAST)
        factor = (_INNER - small) / large if large else 1.0
        self._stops: list[tuple[int, int, float, float]] = []
        x = float(_EDGE)
        for region, width in zip(regions, widths, strict=True):
            wide = width if width <= _LEAST else width * factor
            self._stops.append((region.start, region.end, x, wide))
            x += wide

    def x(self, position: int) -> float:
        for start, end, x, width in self._stops:
            if position < end:
                return x + width * max(0, position - start) / (end - start)
        return float(_EDGE + _INNER)


class _Map:
    def __init__(self, found: Layout) -> None:
        self._found = found
        self._scale = _Scale(found.regions, found.size)
        self._colours = colours(found.codecs)
        self.bottom = 20.0
        """How far down it was drawn."""

    def parts(self) -> Iterator[str]:
        yield from self._title()
        top = self.bottom
        yield from self._ribbon(top)
        yield from self._marks(top)
        self.bottom = top + _RIBBON + 18
        if self._found.dag is not None and self._found.dag.walk:
            yield from self._walk(top + _RIBBON)
        yield from self._legends()
        yield from self._problems()
        self.bottom += 10

    def _title(self) -> Iterator[str]:
        found = self._found
        kind = "unknown" if found.version is None else f"CARv{found.version}"
        counts = [
            f"{found.block_count:,} block{_s(found.block_count)}",
            f"{found.root_count:,} root{_s(found.root_count)}",
        ]
        words = ", ".join([kind, size_text(found.size), *counts])
        name = fitted(found.name, _INNER - 20 - 7.8 * len(words), size=17)
        yield tag("text", name, x=_EDGE, y=self.bottom + 14, class_="title")
        yield tag("text", words, x=_WIDTH - _EDGE, y=self.bottom + 14, class_="end")
        yield tag("text", "The file, byte by byte", x=_EDGE, y=self.bottom + 44, class_="head")
        self.bottom += 62 + _MARK

    def _ribbon(self, top: float) -> Iterator[str]:
        x = self._scale.x
        for region in self._found.regions:
            if region.name == "sections":
                yield from self._sections(top)
                continue
            left, right = x(region.start), x(region.end - 1) if region.end - region.start > 1 else x(region.start)
            wide = max(_LEAST, right - left)
            what = f"{region.name}: {region.start:,} to {region.end:,} ({size_text(region.end - region.start)})"
            yield tag(
                "rect",
                tag("title", what),
                x=left,
                y=top,
                width=wide,
                height=_RIBBON,
                fill=REGION_FILLS[region.name],
            )
        yield tag("rect", x=_EDGE, y=top, width=_INNER, height=_RIBBON, class_="frame")
        y = top - 6 - _MARK
        yield tag("text", "0", x=_EDGE, y=y, class_="small")
        yield tag("text", f"{self._found.size:,}", x=_WIDTH - _EDGE, y=y, class_="small end")

    def _sections(self, top: float) -> Iterator[str]:
        """Each slice as a column of its codecs, the largest of the archive at the bottom."""
        for part in self._found.slices:
            left, right = self._scale.x(part.start), self._scale.x(part.end)
            whole, y = sum(part.codecs.values()), top + _RIBBON
            for codec, colour in self._colours.items():
                size = part.codecs.get(codec, 0)
                if size:
                    high = _RIBBON * size / whole
                    y -= high
                    wide = max(0.5, right - left + 0.3)
                    yield tag("rect", x=left, y=y, width=wide, height=high, fill=colour, class_="crisp")

    def _marks(self, top: float) -> Iterator[str]:
        for problem in self._found.problems[:200]:
            if problem.position is not None:
                x = self._scale.x(problem.position)
                path = f"M {x:.1f} {top - 2} l -6 -11 h 12 z"
                yield tag("path", tag("title", shown(problem.message, 300)), class_="mark", d=path)

    def _walk(self, top: float) -> Iterator[str]:
        """The second ribbon, and the lines between the two."""
        dag = self._found.dag
        if dag is None:
            return
        walk, below = dag.walk, top + _WAYS
        wide = _INNER / len(walk)
        for at in range(0, len(walk), max(1, -(-len(walk) // _LINES))):
            point = walk[at]
            x0, x1 = self._scale.x(point.position), _EDGE + (at + 0.5) * wide
            path = f"M {x0:.1f} {top} C {x0:.1f} {top + 60} {x1:.1f} {below - 60} {x1:.1f} {below}"
            yield tag("path", class_="way", d=path, stroke=self._colour(point.codec))
        for at, point in enumerate(walk):
            yield tag(
                "rect",
                x=_EDGE + at * wide,
                y=below,
                width=wide + 0.3,
                height=22,
                fill=self._colour(point.codec),
                class_="crisp",
            )
        yield tag("rect", x=_EDGE, y=below, width=_INNER, height=22, class_="frame")
        back = part_text(dag.seeks_back, max(1, dag.block_count))
        steps = f"{dag.block_count:,} blocks, {dag.seeks_back:,} steps back ({back})"
        words = f"A depth-first walk from the roots: {steps}"
        yield tag("text", words, x=_EDGE, y=below + 40, class_="head")
        self.bottom = below + 62

    def _colour(self, codec: str) -> str:
        return self._colours.get(codec, self._colours.get("other", "#8c959f"))

    def _legends(self) -> Iterator[str]:
        found = self._found
        codecs = {
            f"{shown(name, 30)} {share.count:,} ({part_text(share.size, found.block_bytes)})": self._colours[name]
            for name, share in found.codecs.items()
        }
        sizes: dict[str, int] = {}
        for region in found.regions:
            if region.name != "sections":
                sizes[region.name] = sizes.get(region.name, 0) + region.end - region.start
        others = {f"{name} {size_text(size)}": REGION_FILLS[name] for name, size in sizes.items()}
        for entries in (codecs, others):
            parts, high = legend(entries, _EDGE, self.bottom, _INNER)
            yield from parts
            self.bottom += high if entries else 0

    def _problems(self) -> Iterator[str]:
        found = self._found
        if not found.problem_count:
            return
        self.bottom += 22
        count = f"{found.problem_count:,} problem{_s(found.problem_count)}"
        yield tag("text", count, x=_EDGE, y=self.bottom, class_="head")
        for problem in found.problems[:_PROBLEMS]:
            yield tag("path", class_="mark", d=f"M {_EDGE + 6} {self.bottom + 19} l -6 -11 h 12 z")
            for line in textwrap.wrap(problem.message, _COLUMNS, max_lines=_ROWS, placeholder=" \u2026"):
                self.bottom += 19
                yield tag("text", fitted(line, _INNER - 20), x=_EDGE + 20, y=self.bottom)
        if found.problem_count > _PROBLEMS:
            self.bottom += 19
            more = f"and {found.problem_count - _PROBLEMS:,} more"
            yield tag("text", more, x=_EDGE + 20, y=self.bottom, class_="small")


def _s(count: int) -> str:
    return "" if count == 1 else "s"
