"""Charts as SVG: bars of ratios, and lines over logarithmic axes. Plain text, and no library.

Colours are those of Okabe and Ito, which people who see colours differently can tell apart; each line has a mark
of its own shape, too. Text and axes are of a grey that shows on light pages and on dark ones.
"""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8A6FC9", "#7F7F7F")
_SHAPES = ("circle", "square", "diamond", "up")
_STYLE = """<style>
text { font: 13px system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; fill: #24292f }
.small { font-size: 11px } .title { font-size: 16px; font-weight: 600 } .head { font-size: 13px; font-weight: 600 }
.end { text-anchor: end } .middle { text-anchor: middle }
.axis { stroke: #57606a; stroke-width: 1 } .grid { stroke: #8c959f; stroke-opacity: .35; stroke-width: 1 }
.one { stroke: #57606a; stroke-width: 1.5; stroke-dasharray: 5 4 } .line { fill: none; stroke-width: 2 }
.page { fill: #ffffff }
@media (prefers-color-scheme: dark) {
  text { fill: #d6dde4 } .page { fill: #0d1117 } .axis, .one { stroke: #9aa4ae } .grid { stroke: #6e7681 }
}
</style>"""


class Bar(NamedTuple):
    label: str
    group: str
    value: float
    text: str


class Line(NamedTuple):
    label: str
    points: Sequence[tuple[float, float]]
    look: int
    """Number of its colour and its mark."""


class Panel(NamedTuple):
    """Lines over two logarithmic axes."""

    title: str
    x_name: str
    y_name: str
    lines: Sequence[Line]


class Scale:
    """From values to places on the page, logarithmic."""

    def __init__(self, values: Iterable[float], start: float, end: float) -> None:
        logs = [math.log10(value) for value in values if value > 0] or [0.0]
        self.low = float(math.floor(min(logs)))
        self.high = max(float(math.ceil(max(logs))), self.low + 1)
        self._start, self._end = start, end

    def __call__(self, value: float) -> float:
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return round(self._start + share * (self._end - self._start), 1)

    def decades(self) -> Iterator[float]:
        yield from (10.0**power for power in range(int(self.low), int(self.high) + 1))


def bars(title: str, subtitle: str, found: Sequence[Bar], *, width: int = 860) -> str:
    """Horizontal bars on a logarithmic axis that they leave at 1, grouped; each says its value."""
    groups = list(dict.fromkeys(bar.group for bar in found))
    left, right, top, row = 250, 90, 92, 20
    height = top + row * len(found) + 12 * len(groups) + 34
    scale = _steps_scale([bar.value for bar in found], left, width - right)
    parts = [_text(16, 28, title, "title"), _text(16, 48, subtitle, "small")]
    for step in _steps(found):
        at = scale(step)
        parts.append(_line(at, top - 8, at, height - 26, "one" if step == 1 else "grid"))
        parts.append(_text(at, top - 16, f"{step:g}x", "small middle"))
    y = float(top)
    for group in groups:
        colour = _colour(groups.index(group))
        for bar in found:
            if bar.group == group:
                at, one = scale(bar.value), scale(1)
                parts.append(_text(left - 10, y + 14, bar.label, "end"))
                parts.append(_rect(min(at, one), y + 3, max(abs(at - one), 1.5), row - 6, colour))
                parts.append(_text(max(at, one) + 6, y + 14, bar.text, "small"))
                y += row
        y += 12
    parts.extend(_legend(16, height - 12, {name: look for look, name in enumerate(groups)}, marks=False))
    return _page(width, height, title, parts)


def _steps(found: Sequence[Bar]) -> list[float]:
    values = [bar.value for bar in found] or [1]
    all_steps = [0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]
    return [step for step in all_steps if step == 1 or min(values) / 2 <= step <= max(values)]


def _steps_scale(values: Sequence[float], start: float, end: float) -> Scale:
    scale = Scale([1], start, end)
    scale.low = min(0.0, math.log10(min(values, default=1)) - 0.05)
    scale.high = max(0.3, math.log10(max(values, default=2)) + 0.02)
    return scale


def panels(title: str, subtitle: str, found: Sequence[Panel], *, across: int = 2) -> str:
    """One chart beside the other, with one legend for each."""
    wide, high = 430, 320
    rows = -(-len(found) // across)
    width, height = wide * across + 20, 66 + high * rows
    parts = [_text(16, 28, title, "title"), _text(16, 48, subtitle, "small")]
    for number, panel in enumerate(found):
        down, right = divmod(number, across)
        parts.extend(_panel(panel, 10 + right * wide, 62 + down * high, wide, high))
    return _page(width, height, title, parts)


def _panel(panel: Panel, x: float, y: float, width: float, height: float) -> Iterator[str]:
    legend = 16 * -(-len(panel.lines) // 3)
    left, right, top, bottom = x + 66, x + width - 18, y + 34, y + height - 56 - legend
    across = Scale([one for line in panel.lines for one, _ in line.points], left, right)
    up = Scale([one for line in panel.lines for _, one in line.points], bottom, top)
    yield _text(x + 8, y + 18, panel.title, "head")
    for step in across.decades():
        yield _line(across(step), top, across(step), bottom, "grid")
        yield _text(across(step), bottom + 16, _power(step), "small middle")
    for step in up.decades():
        yield _line(left, up(step), right, up(step), "grid")
        yield _text(left - 6, up(step) + 4, short(step), "small end")
    yield _line(left, bottom, right, bottom, "axis")
    yield _line(left, top, left, bottom, "axis")
    yield _text((left + right) / 2, bottom + 32, panel.x_name, "small middle")
    yield _text(right, y + 18, panel.y_name, "small end")
    for line in panel.lines:
        places = [(across(one), up(two)) for one, two in line.points if one > 0 and two > 0]
        path = " ".join(f"{one},{two}" for one, two in places)
        yield f'<polyline class="line" stroke="{_colour(line.look)}" points="{path}"/>'
        yield from (_mark(one, two, line.look) for one, two in places)
    yield from _legend(x + 12, bottom + 52, {line.label: line.look for line in panel.lines}, marks=True, across=3)


def _legend(x: float, y: float, names: Mapping[str, int], *, marks: bool, across: int = 8) -> Iterator[str]:
    step = 135 if across == 3 else 160
    for number, (name, look) in enumerate(names.items()):
        down, right = divmod(number, across)
        at, low = x + right * step, y + down * 16
        yield _mark(at + 5, low - 4, look) if marks else _rect(at, low - 9, 10, 10, _colour(look))
        yield _text(at + 15, low, name, "small")


def _colour(number: int) -> str:
    return PALETTE[number % len(PALETTE)]


def _mark(x: float, y: float, number: int) -> str:
    shape, fill = _SHAPES[number % len(_SHAPES)], f'fill="{_colour(number)}"'
    if shape == "circle":
        return f'<circle cx="{x}" cy="{y}" r="4" {fill}/>'
    corners = {
        "square": ((-3.5, -3.5), (3.5, -3.5), (3.5, 3.5), (-3.5, 3.5)),
        "diamond": ((0, -5), (5, 0), (0, 5), (-5, 0)),
        "up": ((0, -5), (4.5, 4), (-4.5, 4)),
    }[shape]
    points = " ".join(f"{x + right:.1f},{y + down:.1f}" for right, down in corners)
    return f'<polygon points="{points}" {fill}/>'


def short(value: float) -> str:
    """
    >>> [short(value) for value in (0.001, 1, 100, 10_000, 1e6, 1e9)]
    ['0.001', '1', '100', '10k', '1M', '1G']
    """
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def _power(value: float) -> str:
    return f"10{''.join('⁰¹²³⁴⁵⁶⁷⁸⁹'[int(digit)] for digit in str(round(math.log10(value))))}"


def _page(width: float, height: float, title: str, parts: Iterable[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    )
    lines = [
        f'{head} role="img" aria-label="{escape(title)}">',
        _STYLE,
        f'<rect class="page" width="{width}" height="{height}"/>',
        *parts,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    return f'<text x="{x:g}" y="{y:g}" class="{kind}">{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" class="{kind}"/>'


def _rect(x: float, y: float, width: float, height: float, fill: str) -> str:
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="2" fill="{fill}"/>'
