"""Retrievals that go straight into a node: CAR streams in, a pinned DAG out, and no archive in between."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2.cid import CID
from carv2.dag.complete import Completeness, check_complete
from carv2.decoder import iter_blocks
from carv2.errors import BlockNotFoundError, BudgetError, CarError, IncompleteError
from carv2.units import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from carv2.cid import CIDLike
    from carv2.ipfs.kubo.store import KuboBlockstore
    from carv2.section import Block

__all__ = ["NodeRetrieval"]


class NodeRetrieval:
    """Blocks of the DAG ``root`` on their way into a node.

    Each block is checked before it is put. What is there is passed over, so a retrieval that broke off simply
    begins again; until :meth:`finish` nothing is pinned, and the node may collect it as garbage.

    Args:
        node: which the blocks go into.
        root: of the DAG.
        max_blocks: that may come in; None for no limit.
        max_bytes: of data that may come in; None for no limit.
        limits: upper bounds for what a stream may claim.

    >>> import carv2
    >>> from carv2.ipfs.kubo import KuboBlockstore
    >>> fish = CID.of_data(b"fish")
    >>> def retrieve(stream, url="http://127.0.0.1:5001"):
    ...     with KuboBlockstore(url) as node:
    ...         retrieval = NodeRetrieval(node, fish)
    ...         retrieval.receive(stream)
    ...         retrieval.finish()
    """

    def __init__(
        self,
        node: KuboBlockstore,
        root: CIDLike,
        *,
        max_blocks: int | None = None,
        max_bytes: int | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._node, self.root = node, CID.of(root)
        self._max_blocks, self._max_bytes, self._limits = max_blocks, max_bytes, limits
        self.block_count = self.block_bytes = self.new_count = 0

    def receive(self, chunks: Iterable[bytes]) -> int:
        """Put the blocks of one CAR stream into the node; how many were new. Those before a fault are put.

        Raises:
            FormatError, IntegrityError: the stream is damaged, or cut.
            BudgetError: more came than was granted.
            KuboError: the node does not take a block.
        """
        faults: list[CarError] = []
        blocks = self._counted(_until_fault(iter_blocks(chunks, limits=self._limits), faults))
        new = self._node.put_many(blocks)
        self.new_count += new
        for fault in faults:
            raise fault
        return new

    def _counted(self, blocks: Iterable[Block]) -> Iterator[tuple[CIDLike, bytes]]:
        for cid_bytes, data in blocks:
            self.block_count += 1
            self.block_bytes += len(data)
            if self._max_blocks is not None and self.block_count > self._max_blocks:
                raise BudgetError("blocks (max_blocks)", allowed=self._max_blocks)
            if self._max_bytes is not None and self.block_bytes > self._max_bytes:
                raise BudgetError("bytes (max_bytes)", allowed=self._max_bytes)
            yield cid_bytes, data

    def finish(self, *, name: str = "") -> None:
        """Pin the root: the node goes through the DAG, and keeps it if all is there.

        Args:
            name: of the pin; for people.

        Raises:
            IncompleteError: blocks are missing; its ``completeness`` names them.
            KuboError: the node refuses, or cannot be asked.
        """
        try:
            self._node.pin_add(self.root, name=name)
        except BlockNotFoundError as error:
            raise self._incomplete(error) from error

    def _incomplete(self, error: BlockNotFoundError) -> IncompleteError:
        found: Completeness = check_complete(self._node, self.root)
        count = max(found.missing_count, 1)
        many = "1 block of the DAG is" if count == 1 else f"{count} blocks of the DAG are"
        why = f"{many} missing at {self._node.url}, {error.cid.short()} for one"
        return IncompleteError(why, root=self.root, completeness=found)


def _until_fault(blocks: Iterator[Block], faults: list[CarError]) -> Iterator[Block]:
    """The blocks in front of a fault, which is noted: what they come to is to be known before it is raised."""
    try:
        yield from blocks
    except CarError as error:
        faults.append(error)
