"""The page about Kubo nodes is right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipfs.kubo_guide import run_guide
from ipfs.kubo_node import running

if TYPE_CHECKING:
    from pathlib import Path


def test_the_page_is_right(tmp_path: Path) -> None:
    with running() as node:
        assert run_guide(tmp_path, node.url) > 10
        assert node.pins != {}
