"""The balanced layout: how the leaves of a file become one DAG.

Each row of nodes takes up to ``file_links`` of the row below, in order; where only one is left, it is the root.
What is held meanwhile is the unfinished end of each row, whatever the size of the file.

Source: Kubo's balanced layout, as IPIP-0499 has it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from carv2.unixfs._blocks import BlockMaker, Link

__all__ = ["BalancedLayout"]


class BalancedLayout:
    """Takes the leaves of one file in order; hands the nodes over them to ``maker``."""

    def __init__(self, maker: BlockMaker) -> None:
        self._maker = maker
        self._width = maker.profile.file_links
        self._rows: list[list[Link]] = [[]]

    def add(self, leaf: Link) -> None:
        """Take the next leaf."""
        self._push(0, leaf)

    def finish(self) -> Link:
        """The root; there must have been at least one leaf, an empty one in an empty file."""
        profile, rows = self._maker.profile, self._rows
        if profile.single_chunk == "node" and len(rows) == 1 and len(rows[0]) == 1:
            return self._maker.put_file_node(rows[0])
        collapse = profile.last_link == "collapse"
        depth = 0
        while depth < len(rows) - 1 or len(rows[depth]) > 1:
            row, rows[depth] = rows[depth], []
            if row:
                self._push(depth + 1, row[0] if collapse and len(row) == 1 else self._maker.put_file_node(row))
            depth += 1
        return rows[depth][0]

    def _push(self, depth: int, link: Link) -> None:
        """Put ``link`` into a row; a row that is full becomes a node in the next one."""
        rows = self._rows
        while True:
            if depth == len(rows):
                rows.append([])
            row = rows[depth]
            row.append(link)
            if len(row) < self._width:
                return
            rows[depth] = []
            link = self._maker.put_file_node(row)
            depth += 1
