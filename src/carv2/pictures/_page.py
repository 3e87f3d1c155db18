"""What all pages of HTML have in common: they stand by themselves, without a script and without a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2.pictures._drawing import SVG_STYLE, tag

if TYPE_CHECKING:
    from collections.abc import Iterable

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; color: #24292f;
  background: #ffffff; max-width: 1040px; margin: 0 auto; padding: 16px 20px 48px; overflow-wrap: anywhere }
h1 { font-size: 24px; margin: 12px 0 4px } h2 { font-size: 18px; margin: 34px 0 8px }
table { border-collapse: collapse; width: 100% } th, td { text-align: left; padding: 4px 14px 4px 0;
  border-bottom: 1px solid #8c959f66; vertical-align: top } td.n, th.n { text-align: right;
  font-variant-numeric: tabular-nums; white-space: nowrap } th { font-weight: 600 }
table + table { margin-top: 18px } td.k { white-space: nowrap }
code { font: 13px ui-monospace, "DejaVu Sans Mono", Menlo, monospace } .quiet { color: #57606a }
.good, .bad { display: inline-block; padding: 1px 10px; border-radius: 10px; font-weight: 600 }
.good { background: #d5efe4; color: #00543b } .bad { background: #fbe0d0; color: #8a3b00 }
.swatch { display: inline-block; width: 12px; height: 12px; border-radius: 2px; margin-right: 8px;
  border: 1px solid #57606a } details { margin-left: 18px } summary { cursor: pointer; margin-left: -18px }
.leaf { margin-left: 0 } .tree div { margin-left: 18px } svg { max-width: 100%; height: auto; display: block }
@media (prefers-color-scheme: dark) {
  body { color: #d6dde4; background: #0d1117 } .quiet { color: #9aa4ae }
  .good { background: #0d3b2c; color: #8fe0c2 } .bad { background: #4a2208; color: #ffc9a3 }
}"""


def page(title: str, body: Iterable[str]) -> str:
    """A whole page; ``title`` and ``body`` are markup."""
    head = (
        '<meta charset="utf-8">\n<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f"<title>{title}</title>\n<style>{_STYLE}{SVG_STYLE}</style>"
    )
    parts = "\n".join(body)
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{parts}\n</body>\n</html>\n'


def table(heads: Iterable[str], rows: Iterable[tuple[str, ...]], *, numbers: int = 0) -> str:
    """Cells are markup. With heads, all columns but the first hold numbers; or just the first ``numbers`` do.

    With ``numbers`` below 0 none does.
    """
    heads = tuple(heads)

    def cell(name: str, at: int, content: str) -> str:
        is_number = at < numbers if numbers else bool(heads and at)
        if is_number:
            return tag(name, content, class_="n")
        return tag(name, content, class_="k") if numbers and at == numbers else tag(name, content)

    lines = ["<table>"]
    if heads:
        lines.append(tag("tr", "".join(cell("th", at, head) for at, head in enumerate(heads))))
    lines += [tag("tr", "".join(cell("td", at, text) for at, text in enumerate(row))) for row in rows]
    return "\n".join([*lines, "</table>"])
