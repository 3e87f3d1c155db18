"""A node passes the suite that carv2.testing offers to all blockstores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from carv2.ipfs.kubo import KuboBlockstore
from carv2.testing import WritableBlockstoreTests
from ipfs.kubo_node import Node, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carv2.blockstore import WritableBlockstore


@pytest.fixture(scope="class")
def node() -> Iterator[Node]:
    with running() as node:
        yield node


class TestKubo(WritableBlockstoreTests):
    keeps_codecs = False
    in_order = False

    @pytest.fixture(autouse=True)
    def _of_node(self, node: Node) -> None:
        self.node = node

    def writable_store(self) -> WritableBlockstore:
        self.node.blocks.clear()
        return KuboBlockstore(self.node.url, timeout=30, connections=3)
