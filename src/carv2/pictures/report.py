"""One page about an archive that stands by itself: no script, nothing from a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2.pictures._charts import locality, sizes
from carv2.pictures._drawing import colours, part_text, shown, size_text, tag
from carv2.pictures._page import page, table
from carv2.pictures.map import draw_map

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from carv2.pictures.model import Layout, Share, TreeNode

__all__ = ["draw_report"]

_PROBLEMS = 200


def draw_report(found: Layout) -> str:
    """Make a page of what :func:`carv2.pictures.layout` found: summary, map, sizes, codecs, DAG, problems.

    Returns:
        the text of the HTML page. It has no script and asks for nothing; names out of the archive are escaped.

    >>> import carv2
    >>> from carv2.pictures import layout
    >>> cid = carv2.CID.of_data(b"fish")
    >>> "no problem found" in draw_report(layout(b"".join(carv2.iter_car([cid], [(cid, b"fish")]))))
    True
    """
    return page(f"{shown(found.name)}: carv2 report", _body(found))


def _body(found: Layout) -> Iterator[str]:
    yield tag("h1", shown(found.name))
    yield tag("p", _verdict(found))
    if found.problem_count:
        yield tag("h2", "Problems", id="problems")
        yield from _problems(found)
    yield tag("h2", "Summary", id="summary")
    yield table((), _summary(found))
    yield tag("h2", "Map", id="map")
    yield draw_map(found, alone=False)
    yield table(("Region", "from", "to", "bytes", "share"), _regions(found))
    if found.block_count:
        yield from _blocks(found)
    if found.dag is not None:
        yield from _dag(found)


def _verdict(found: Layout) -> str:
    if found.problem_count:
        many = f"{found.problem_count:,} problem{'s' * (found.problem_count != 1)}"
        return f'<span class="bad">{many}</span>'
    checked = f"{found.verified_count:,} of {found.block_count:,} blocks have the hash that their CID says"
    index = "; the index lists each where it is" if found.index_checked else ""
    return f'<span class="good">no problem found</span> {checked}{index}.'


def _summary(found: Layout) -> Iterator[tuple[str, ...]]:
    yield "Format", "unknown" if found.version is None else f"CARv{found.version}"
    yield "Size", f"{found.size:,} bytes ({size_text(found.size)})"
    roots = "<br>".join(f"<code>{shown(root)}</code>" for root in found.roots[:10])
    more = f"<br>and {found.root_count - 10:,} more" if found.root_count > 10 else ""
    yield "Roots", f"{roots}{more}" if found.root_count else "none"
    yield "Blocks", f"{found.block_count:,} with {found.block_bytes:,} bytes of data"
    if found.block_count:
        yield "Average block", size_text(found.block_bytes // found.block_count)
    if found.identity_count:
        yield "Identity CIDs", f"{found.identity_count:,}"
    yield "Duplicates", _duplicates(found)
    if found.dag is not None:
        yield "Reached from the roots", _reached(found)


def _duplicates(found: Layout) -> str:
    if found.duplicate_count is None:
        return "not counted"
    return f"{found.duplicate_count:,} sections with {found.duplicate_bytes or 0:,} bytes"


def _reached(found: Layout) -> str:
    dag = found.dag
    if dag is None:
        return ""
    words = [f"{dag.block_count:,} blocks ({size_text(dag.block_bytes)})", f"{dag.depth:,} levels of links"]
    if dag.missing_count:
        words.append(f"{dag.missing_count:,} missing")
    if dag.unreachable_count:
        words.append(f"{dag.unreachable_count:,} blocks ({size_text(dag.unreachable_bytes)}) not reached")
    return ", ".join(words)


def _regions(found: Layout) -> Iterator[tuple[str, ...]]:
    for region in found.regions:
        size = region.end - region.start
        share = part_text(size, found.size)
        yield region.name, f"{region.start:,}", f"{region.end:,}", f"{size:,}", share


def _blocks(found: Layout) -> Iterator[str]:
    yield tag("h2", "Sizes of blocks", id="sizes")
    yield sizes(found)
    yield tag("h2", "Codecs and hashes", id="codecs")
    yield table(("Codec", "blocks", "bytes", "share"), _shares(found.codecs, found.block_bytes, swatches=True))
    yield table(("Hash function", "blocks", "bytes", "share"), _shares(found.hashes, found.block_bytes))


def _shares(shares: Mapping[str, Share], whole: int, *, swatches: bool = False) -> Iterator[tuple[str, ...]]:
    fills = colours(shares) if swatches else {}
    for name, share in shares.items():
        swatch = f'<span class="swatch" style="background:{fills[name]}"></span>' if swatches else ""
        yield swatch + shown(name), f"{share.count:,}", f"{share.size:,}", part_text(share.size, whole)


def _dag(found: Layout) -> Iterator[str]:
    dag = found.dag
    if dag is None:
        return
    if dag.walk:
        yield tag("h2", "Order", id="order")
        way = "never goes back: the archive can be streamed as it is"
        if dag.seeks_back:
            way = f"goes back {dag.seeks_back:,} times in {dag.block_count:,} blocks"
        yield tag("p", f"A depth-first walk from the roots {way}.")
        yield locality(found)
    if dag.tree:
        yield tag("h2", "DAG", id="dag")
        yield tag("div", "\n".join(map(_tree, dag.tree)), class_="tree")


def _tree(node: TreeNode, levels: int = 1) -> str:
    """A node and what is below it, so many levels of it open; no deeper than the model is."""
    name = f"{shown(node.name or '-', 80)} " if node.name is not None else ""
    size = "missing" if node.state == "missing" else size_text(node.size)
    again = " (shown above)" if node.state == "shown above" else ""
    line = f'{name}<code>{shown(node.cid)}</code> <span class="quiet">{shown(node.codec)}, {size}{again}</span>'
    if not node.link_count or node.state != "block":
        return tag("div", line, class_="leaf")
    left = node.link_count - len(node.children)
    inner = [_tree(child, max(0, levels - 1)) for child in node.children]
    if left:
        inner.append(tag("div", f"{left:,} more link{'s' * (left != 1)}", class_="quiet"))
    is_open = " open" if node.name is None or levels else ""
    return f"<details{is_open}><summary>{line}</summary>\n" + "\n".join(inner) + "\n</details>"


def _problems(found: Layout) -> Iterator[str]:
    rows = (
        (
            "" if problem.position is None else f"{problem.position:,}",
            shown(problem.kind),
            shown(str(problem), 400),
        )
        for problem in found.problems[:_PROBLEMS]
    )
    yield table(("at byte", "kind", "what is wrong"), rows, numbers=1)
    if found.problem_count > _PROBLEMS:
        yield tag("p", f"and {found.problem_count - _PROBLEMS:,} more", class_="quiet")
