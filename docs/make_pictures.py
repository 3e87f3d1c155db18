"""The pictures of the architecture, drawn from what the tests hold the code to: ``python docs/make_pictures.py``.

``layers.svg`` is the list that ``tests/test_layers.py`` checks every import against; ``shard-states.svg`` the
table of transitions that the DAG store refuses to leave. A test says when a picture is not what this script draws.
"""

from __future__ import annotations

import ast
import math
from collections import defaultdict
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from carv2.dagstore.states import TRANSITIONS, Operation, ShardState

if TYPE_CHECKING:
    from collections.abc import Iterator

TOP = Path(__file__).parent.parent
PICTURES = TOP / "docs" / "pictures"

STYLE = """<style>
text { font: 13px system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; fill: #24292f }
.name { font-weight: 600; text-anchor: middle } .label { font-size: 12px; text-anchor: middle }
.code { font-family: ui-monospace, "DejaVu Sans Mono", Menlo, monospace; font-size: 12.5px }
.number { font-weight: 600; text-anchor: end } .note { font-size: 12px; fill: #57606a }
.page { fill: #ffffff } .box { fill: #dbeafb; stroke: #0072B2; stroke-width: 1.5 }
.disk { fill: #fdebd0; stroke: #B35C00 } .file { fill: #fdebd0; stroke: #B35C00 }
.way { fill: none; stroke: #57606a; stroke-width: 1.5 } .dashed { stroke-dasharray: 6 4 }
.halo { paint-order: stroke; stroke: #ffffff; stroke-width: 5px; stroke-linejoin: round }
@media (prefers-color-scheme: dark) {
  text { fill: #d6dde4 } .note { fill: #9aa4ae } .page { fill: #0d1117 } .way { stroke: #9aa4ae }
  .box { fill: #10304d } .disk, .file { fill: #43290c } .halo { stroke: #0d1117 }
}
</style>"""


def page(width: int, height: int, title: str, parts: Iterator[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img">\n<title>{escape(title)}</title>'
    )
    return "\n".join([head, STYLE, '<rect class="page" width="100%" height="100%"/>', *parts, "</svg>", ""])


# ---- layers ----

JOBS = {
    "errors": "every exception; units and limits",
    "cid": "bytes in, values out; no input or output",
    "index": "index formats, builder, look-up in place; codecs",
    "_source": "the only modules that touch files",
    "_scan": "one hot loop over sections, and what stands on it",
    "operations": "whole files in, a report out",
    "blockstore": "blocks by CID, out of archives and into them",
    "dag": "walks and selectors; files and folders as DAGs",
    "filestore": "references into original files; pictures",
    "imports": "imports, retrievals, the check at the start",
    "dagstore": "shards, mounts, indices, transients",
    "rpc": "the service of a DAG store; gateways and nodes",
    "__init__": "the facade",
    "cli": "parse, one library call, print",
    "testing": "beside them: suites for stores of others",
}
ROW, TEXT_WIDTH = 30, 58


def layers() -> list[set[str]]:
    """The list as the test has it, read without running the test."""
    tree = ast.parse((TOP / "tests" / "test_layers.py").read_text(encoding="utf-8"))
    found = next(
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "LAYERS"
    )
    return list(ast.literal_eval(found))


def folded(names: set[str]) -> list[str]:
    """The modules of a layer, in lines that fit its box: folders with a slash."""
    lines = [""]
    for name in sorted(names, key=lambda name: name.lstrip("_")):
        word = f"{name}/" if (TOP / "src" / "carv2" / name).is_dir() else name
        if len(lines[-1]) + len(word) > TEXT_WIDTH:
            lines.append("")
        lines[-1] += f"{word}  "
    return [line.rstrip() for line in lines]


def draw_layers() -> str:
    rows = [(number, folded(names), job_of(names)) for number, names in enumerate(layers())]
    height = sum(ROW + 16 * (len(lines) - 1) + 6 for _, lines, _ in rows) + 52
    return page(
        960, height, "The layers of carv2: a module imports from those below it here", layer_rows(rows, height)
    )


def job_of(names: set[str]) -> str:
    return next(job for name, job in JOBS.items() if name in names)


def layer_rows(rows: list[tuple[int, list[str], str]], height: int) -> Iterator[str]:
    bottom = height - 36
    for number, lines, job in rows:
        tall = ROW + 16 * (len(lines) - 1)
        bottom -= tall + 6
        style = "box file" if "_source" in " ".join(lines) else "box"
        yield f'<text class="number" x="36" y="{bottom + 20}">{number}</text>'
        yield f'<rect class="{style}" x="48" y="{bottom}" width="500" height="{tall}" rx="5"/>'
        for at, line in enumerate(lines):
            place = f'x="60" y="{bottom + 20 + 16 * at}" xml:space="preserve"'
            yield f'<text class="code" {place}>{escape(line)}</text>'
        yield f'<text class="note" x="566" y="{bottom + 20}">{escape(job)}</text>'
    yield (
        f'<text class="note" x="48" y="{height - 16}">Imports point down, and to the same layer, never up. '
        "Only the layer of another colour opens, reads, writes or renames files.</text>"
    )


# ---- states ----

WIDE, TALL = 132, 44
PLACES = {
    ShardState.NEW: (110, 90),
    ShardState.INITIALIZING: (430, 90),
    ShardState.AVAILABLE: (840, 90),
    ShardState.ERRORED: (230, 320),
    ShardState.RECOVERING: (430, 550),
    ShardState.SERVING: (840, 550),
}
KEPT = {ShardState.NEW, ShardState.AVAILABLE, ShardState.ERRORED}
NOTES = (
    (662, "Orange: kept on disk. Blue: what goes on in a process, and ends with it."),
    (680, "Dashed: broken off. Cross: may be destroyed; Serving only by force."),
)
LOOPS = {ShardState.INITIALIZING: -90, ShardState.RECOVERING: 90, ShardState.SERVING: 90, ShardState.ERRORED: 180}


def draw_states() -> str:
    return page(960, 696, "The states of a shard, and what leads from one to the next", state_parts())


def state_parts() -> Iterator[str]:
    yield (
        '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0 0 L10 5 L0 10 z" fill="#57606a"/></marker></defs>'
    )
    ways: defaultdict[tuple[ShardState, ShardState], list[Operation]] = defaultdict(list)
    for row in TRANSITIONS:
        if row.before is not None and row.after is not None:
            ways[row.before, row.after].append(row.operation)
    labels: list[str] = []
    for (before, after), operations in ways.items():
        draw = loop if before is after else curve
        way, label = draw(before, after, operations)
        yield way
        labels.append(label)
    yield '<path class="way" d="M 14 90 H 42" marker-end="url(#tip)"/>'
    yield '<text class="label" x="30" y="62">register</text>'
    for state in ShardState:
        yield from box(state)
    yield from labels
    for y, note in NOTES:
        yield f'<text class="note" x="20" y="{y}">{note}</text>'


def box(state: ShardState) -> Iterator[str]:
    x, y = PLACES[state]
    style = "box disk" if state in KEPT else "box"
    yield f'<rect class="{style}" x="{x - WIDE / 2}" y="{y - TALL / 2}" width="{WIDE}" height="{TALL}" rx="9"/>'
    yield f'<text class="name" x="{x}" y="{y + 5}">{state.name.title()}</text>'
    if any(row.before is state and row.operation is Operation.DESTROY for row in TRANSITIONS):
        yield f'<text class="label" x="{x + WIDE / 2 - 11}" y="{y - TALL / 2 + 14}">\u00d7</text>'


def words(operations: list[Operation]) -> str:
    return " / ".join(dict.fromkeys(operation.value for operation in operations))


def style_of(operations: list[Operation]) -> str:
    return "way dashed" if set(operations) == {Operation.BREAK_OFF} else "way"


def curve(before: ShardState, after: ShardState, operations: list[Operation]) -> tuple[str, str]:
    """An arrow that keeps to its left, so that the one the other way has room."""
    (x0, y0), (x1, y1) = PLACES[before], PLACES[after]
    length = math.hypot(x1 - x0, y1 - y0)
    bend = 34
    cx, cy = (x0 + x1) / 2 + (y1 - y0) / length * bend, (y0 + y1) / 2 - (x1 - x0) / length * bend
    sx, sy = edge(x0, y0, cx, cy)
    ex, ey = edge(x1, y1, cx, cy)
    path = f"M {sx} {sy} Q {cx:.0f} {cy:.0f} {ex} {ey}"
    way = f'<path class="{style_of(operations)}" d="{path}" marker-end="url(#tip)"/>'
    at = 0.36  # nearer to where it comes from: arrows cross in the middle
    lx = (1 - at) ** 2 * sx + 2 * at * (1 - at) * cx + at**2 * ex
    ly = (1 - at) ** 2 * sy + 2 * at * (1 - at) * cy + at**2 * ey
    return way, text(lx, ly, words(operations))


def edge(x: float, y: float, towards_x: float, towards_y: float) -> tuple[int, int]:
    """Where the line from the middle of a box to a point leaves the box."""
    dx, dy = towards_x - x, towards_y - y
    part = min(
        (WIDE / 2 + 3) / abs(dx) if dx else math.inf,
        (TALL / 2 + 3) / abs(dy) if dy else math.inf,
    )
    return round(x + dx * part), round(y + dy * part)


def loop(state: ShardState, _: ShardState, operations: list[Operation]) -> tuple[str, str]:
    """An arrow back to where it comes from, on the side where there is room."""
    x, y = PLACES[state]
    turn = LOOPS[state]
    if turn == 180:
        left = x - WIDE / 2
        path = f"M {left} {y - 10} C {left - 44} {y - 34} {left - 44} {y + 34} {left - 2} {y + 10}"
        return f'<path class="way" d="{path}" marker-end="url(#tip)"/>', text(left - 62, y, words(operations))
    side = y + math.copysign(TALL / 2, turn)
    far = side + math.copysign(38, turn)
    path = f"M {x - 16} {side} C {x - 40} {far} {x + 40} {far} {x + 16} {side + math.copysign(2, turn)}"
    label = text(x, far + math.copysign(8, turn) + (4 if turn > 0 else -2), words(operations))
    return f'<path class="way" d="{path}" marker-end="url(#tip)"/>', label


def text(x: float, y: float, content: str) -> str:
    return f'<text class="label halo" x="{x:.0f}" y="{y + 4:.0f}">{escape(content)}</text>'


DRAWN = {"layers.svg": draw_layers, "shard-states.svg": draw_states}


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    for name, draw in DRAWN.items():
        (PICTURES / name).write_text(draw(), encoding="utf-8")


if __name__ == "__main__":
    main()
