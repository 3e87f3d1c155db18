"""What all pictures have in common: colours, numbers as people read them, and text that stays text.

Names, CIDs and messages come out of archives, so they are whatever somebody wrote: they are escaped, and what
a page could obey (control characters, marks that turn the direction of writing) is shown as another sign.
Colours are those of Okabe and Ito, which people who see colours differently can tell apart; each has a word
beside it, and what is no block has a pattern.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING
from unicodedata import east_asian_width

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#8A6FC9", "#B8A200")
_OTHER = "#8c959f"
_USUAL = {"raw": 0, "dag-pb": 1, "dag-cbor": 2, "dag-json": 3, "git-raw": 5}

REGION_FILLS = {
    "pragma": "#57606a",
    "CARv2 header": "#57606a",
    "CARv1 header": "#24292f",
    "padding": "url(#dots)",
    "null padding": "url(#dots)",
    "index": "#7d5ba6",
    "trailing bytes": "url(#stripes)",
    "not read": "url(#stripes)",
}

DEFINITIONS = """<defs>
<pattern id="dots" width="6" height="6" patternUnits="userSpaceOnUse"><rect width="6" height="6" class="page"/>\
<circle cx="3" cy="3" r="1.2" fill="#8c959f"/></pattern>
<pattern id="stripes" width="8" height="8" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">\
<rect width="8" height="8" class="page"/><rect width="3" height="8" fill="#D55E00"/></pattern>
</defs>"""

SVG_STYLE = """
svg text { font: 13px system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; fill: #24292f }
svg .small { font-size: 11.5px; fill: #57606a } svg .title { font-size: 17px; font-weight: 600 }
svg .head { font-weight: 600 } svg .end { text-anchor: end } svg .middle { text-anchor: middle }
svg .page { fill: #ffffff } svg .frame { fill: none; stroke: #57606a }
svg .grid { stroke: #8c959f; stroke-opacity: .4 }
svg .crisp { shape-rendering: crispEdges } svg .way { fill: none; stroke-opacity: .45 }
svg .mark { fill: #D55E00; stroke: #ffffff; stroke-width: .8 }
@media (prefers-color-scheme: dark) {
  svg text { fill: #d6dde4 } svg .small { fill: #9aa4ae }
  svg .page { fill: #0d1117 } svg .frame { stroke: #9aa4ae }
}"""


def shown(text: str, limit: int = 120) -> str:
    r"""Somebody's text for a page: cut, without what is not seen, escaped.

    >>> shown("<b>\x1b[31m\u202e&")
    '&lt;b&gt;\ufffd[31m\ufffd&amp;'
    """
    short = text if len(text) <= limit else f"{text[: limit - 1]}\u2026"
    return escape("".join(char if char.isprintable() else "\ufffd" for char in short))


def fitted(text: str, width: float, *, size: float = 13) -> str:
    r"""Somebody's text as :func:`shown`, cut to about ``width`` pixels in letters of that ``size``.

    >>> fitted("lobster", 60), fitted("lobster", 40)[:-1], len(fitted("\u9f8d" * 9, 60))
    ('lobster', 'lobs', 4)
    """
    used = 0.0
    for at, char in enumerate(text):
        used += size * (1.05 if east_asian_width(char) in "WF" else 0.6)
        if used > width:
            return shown(text, max(1, at))
    return shown(text, len(text))


def colours(codecs: Iterable[str]) -> dict[str, str]:
    """A colour for each codec, the same one for a usual codec in every picture; the ninth and later share one."""
    found = {name: _PALETTE[_USUAL[name]] for name in codecs if name in _USUAL}
    free = [colour for colour in _PALETTE if colour not in found.values()]
    for name in codecs:
        if name not in found:
            found[name] = free.pop(0) if free and name != "other" else _OTHER
    return found


def size_text(size: int) -> str:
    """Bytes as people read them.

    >>> size_text(0), size_text(1023), size_text(1536), size_text(3 << 30)
    ('0 B', '1,023 B', '1.5 KiB', '3.0 GiB')
    """
    if size < 1 << 10:
        return f"{size:,} B"
    value, unit = float(size), "B"
    for unit in ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB"):  # noqa: B007
        value /= 1024
        if value < 1024:
            break
    return f"{value:,.1f} {unit}"


def part_text(part: int, whole: int) -> str:
    """A share in percent; never "0 %" or "100 %" of what is not."""
    if not whole or part in {0, whole}:
        return "100 %" if whole and part else "0 %"
    percent = 100 * part / whole
    return "under 0.1 %" if percent < 0.1 else "over 99.9 %" if percent > 99.9 else f"{percent:.1f} %"


def tag(name: str, content: str | None = None, /, **attributes: object) -> str:
    """An element; ``content`` and attributes are markup already. Numbers are cut to what can be seen."""
    words = "".join(f' {key.rstrip("_").replace("_", "-")}="{_value(value)}"' for key, value in attributes.items())
    return f"<{name}{words}/>" if content is None else f"<{name}{words}>{content}</{name}>"


def _value(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def svg(width: int, height: int, title: str, parts: Iterable[str], *, alone: bool) -> str:
    """A drawing; ``alone`` in its file, or part of a page that has the styles."""
    inner = [tag("title", title), *([f"<style>{SVG_STYLE}</style>"] if alone else []), DEFINITIONS]
    if alone:
        inner.append(tag("rect", class_="page", width="100%", height="100%"))
    body = "\n".join([*inner, *parts])
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">\n{body}\n</svg>\n'


def legend(entries: Mapping[str, str], x: float, y: float, width: float) -> tuple[list[str], float]:
    """Swatches with words (markup), in lines; and how high they are."""
    parts: list[str] = []
    at_x, at_y = x, y
    for words, fill in entries.items():
        wide = 34 + 7.2 * len(words)
        if at_x + wide > x + width and at_x > x:
            at_x, at_y = x, at_y + 22
        parts += [
            tag("rect", x=at_x, y=at_y, width=14, height=14, rx=2, fill=fill, stroke="#57606a"),
            tag("text", words, x=at_x + 20, y=at_y + 12),
        ]
        at_x += wide
    return parts, at_y - y + 22
