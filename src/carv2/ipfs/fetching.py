"""DAGs out of trustless gateways: checked while they arrive, and gone on with after any break.

A gateway is believed nothing. Each block is held against its hash, and must be one that the walk from the root
asks for, as :class:`carv2.unixfs.StreamVerifier` knows it; nothing else is kept. After a break a walk over what is
there finds what is missing, and only that is asked for: the DAGs below missing blocks, or single blocks.

Source: the Trustless Gateway specification (https://specs.ipfs.tech/http-gateways/trustless-gateway/).
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from carv2.cid import CID
from carv2.errors import BudgetError, FetchError, GatewayError, PathNotFoundError
from carv2.ipfs._ask import Ask
from carv2.ipfs._fetch_options import Fetched, FetchOptions
from carv2.ipfs._missing import questions
from carv2.ipfs._part import PartialFile
from carv2.ipfs._source import GatewaySource
from carv2.ipfs._turns import Turns

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable

    from carv2.cid import CIDLike
    from carv2.ipfs._ask import ByteRange, Scope
    from carv2.ipfs._missing import Store

__all__ = ["fetch", "fetch_into"]

_MOST_FAILURES = 1000  # that are remembered


def fetch(
    root: CIDLike,
    out: str | os.PathLike[str],
    gateways: str | Iterable[str],
    path: str = "",
    *,
    scope: Scope = "all",
    byte_range: ByteRange | None = None,
    version: int = 2,
    options: FetchOptions | None = None,
    on_bytes: Callable[[int], object] | None = None,
) -> Fetched:
    """Write an archive of a DAG, or of what a path leads to in it, as gateways have it.

    What came is kept in ``OUT.part`` until all is there: the same call goes on with it, in this process or in
    another, and the archive then appears at ``out``, whole or not at all. Its root is ``root``, also where a path
    was asked for: the blocks on the way are in it.

    Args:
        root: the CID.
        out: path of the archive; a file that is there is replaced, once all is there.
        gateways: URLs such as ``https://example.org`` or multiaddrs such as ``/dns4/example.org/tcp/443/https``,
            asked in this order; one that fails waits while the next is asked. Redirects are followed to the same
            host and hosts below it.
        path: names with slashes between them, below the root; not percent-encoded.
        scope: all below the path's end; or what it takes to read the file or list the directory there
            (``"entity"``); or its one block.
        byte_range: of a file, with the scope ``"entity"``: first and last byte, negative ones counted from the
            end, None for the end.
        version: of the archive, 1 or 2. A CARv2 has an index.
        options: times and budgets.
        on_bytes: called with the size of each piece of an answer.

    Raises:
        FetchError: no gateway gave all of it; what came is kept.
        PathNotFoundError: there is nothing at the path: the blocks prove it.
        BudgetError: it is more than ``options`` grant; what came is kept.
        CodecError, UnknownCodecError, UnknownHashError: the DAG has blocks that cannot be followed or checked.
        LockedError: somebody else is writing ``OUT.part``.
        ResumeError: ``OUT.part`` is of another root.
        FormatError: ``OUT.part`` is not what a fetch leaves; it was not touched.
        ValueError: a version that there is not, or no gateway.
        OSError: the file cannot be written.

    See the page *How to fetch from a gateway* for examples.
    """
    if version not in {1, 2}:
        raise ValueError(f"version {version}, allowed: 1 and 2")
    options = options or FetchOptions()
    ask = Ask.of(root, path, scope, byte_range)
    work = Fetching(ask, gateways, options, on_bytes=on_bytes)
    part = PartialFile(out, ask.root, options.limits)
    try:
        fetched = work.into(part, resumed=(part.resumed_count, part.resumed_bytes))
        part.finish(ask, version=version)
    except BaseException as error:
        if isinstance(error, PathNotFoundError) or (part.is_new and not work.block_count):
            part.discard()
        elif isinstance(error, FetchError):
            error.path = part.path
        raise
    finally:
        part.close()
    return fetched


def fetch_into(
    store: Store,
    root: CIDLike,
    gateways: str | Iterable[str],
    path: str = "",
    *,
    scope: Scope = "all",
    byte_range: ByteRange | None = None,
    options: FetchOptions | None = None,
    on_bytes: Callable[[int], object] | None = None,
    on_block: Callable[[bytes, bytes], object] | None = None,
) -> Fetched:
    """Put the blocks of a DAG into a store, as gateways have them; what the store has is not asked for.

    Args:
        store: any blockstore that can be written to; its blocks are taken to be sound.
        on_block: called with binary CID and data of each block after it was stored.

    The other arguments and the errors are those of :func:`fetch`; what came stays in the store.

    >>> from carv2.blockstore import MemoryBlockstore
    >>> from carv2.cid import CID
    >>> fish = CID.of_data(b"fish")
    >>> fetch_into(MemoryBlockstore([(fish, b"fish")]), fish, "https://example.org").question_count
    0
    """
    ask = Ask.of(root, path, scope, byte_range)
    work = Fetching(ask, gateways, options or FetchOptions(), on_bytes=on_bytes, on_block=on_block)
    return work.into(store)


class Fetching:
    """A fetch under way."""

    def __init__(
        self,
        ask: Ask,
        gateways: str | Iterable[str],
        options: FetchOptions,
        *,
        on_bytes: Callable[[int], object] | None = None,
        on_block: Callable[[bytes, bytes], object] | None = None,
    ) -> None:
        urls = [gateways] if isinstance(gateways, str) else list(gateways)
        if not urls:
            raise ValueError("no gateway was named")
        self._ask, self._options = ask, options
        self._on_bytes, self._on_block = on_bytes, on_block
        self._sources = [GatewaySource(url, options, self._count_bytes) for url in dict.fromkeys(urls)]
        self._turns = Turns(self._sources, options)
        self._failures: list[GatewayError] = []
        self._blocks_there = self._bytes_there = self._let_in = 0
        self._received = self._asked = self.block_bytes = 0
        self.block_count = 0
        """New blocks so far."""

    def into(self, store: Store, *, resumed: tuple[int, int] = (0, 0)) -> Fetched:
        """Bring what ``store`` lacks; ``resumed`` are blocks and bytes in it that the budget counts."""
        self._blocks_there, self._bytes_there = resumed
        try:
            while self._go(store):
                pass
        finally:
            for source in self._sources:
                source.close()
        return Fetched(
            root=self._ask.root,
            path=self._ask.path,
            scope=self._ask.scope,
            block_count=self.block_count,
            block_bytes=self.block_bytes,
            resumed_count=resumed[0],
            received_bytes=self._received,
            question_count=self._asked,
            failures=tuple(self._failures),
        )

    def _go(self, store: Store) -> bool:
        """Ask one gateway for all that is missing; False if nothing was."""
        source = self._turns.first()
        asks = questions(self._ask, store, as_cars=source is None or source.speaks_cars)
        ask = next(asks, None)
        if ask is None:
            return False
        if source is None:
            raise FetchError(self._ask.root, failures=self._failures)
        self._turns.wait(source)
        before = self.block_count
        try:
            for each in chain([ask], asks):
                self._take(source, each, store)
                self._note(source.remarks)
                source.remarks.clear()
            if self.block_count == before:
                why = "its answers were whole, and had nothing of what is missing"
                raise GatewayError(why, url=source.url, is_final=True)
        except GatewayError as error:
            self._note([error])
            self._turns.failed(source, error, was_useful=self.block_count > before)
        return True

    def _note(self, errors: Iterable[GatewayError]) -> None:
        self._failures += errors
        del self._failures[_MOST_FAILURES:-1]

    def _take(self, source: GatewaySource, ask: Ask, store: Store) -> None:
        self._asked += 1
        for cid_bytes, data in source.blocks(ask):
            cid, size = CID.trusted(cid_bytes), len(cid_bytes) + len(data)
            self._let_in += size
            self._check_budget(cid, size, store)
            if store.put(cid, data):
                self.block_count += 1
                self.block_bytes += size
                if self._on_block is not None:
                    self._on_block(cid_bytes, data)

    def _check_budget(self, cid: CID, size: int, store: Store) -> None:
        options = self._options
        no_room = self._bytes_there + self.block_bytes + size > options.max_bytes
        if self._let_in > 2 * options.max_bytes:
            raise BudgetError(
                "bytes of blocks, each twice", allowed=options.max_bytes, hint="max_bytes grants more"
            )
        if (no_room or self._blocks_there + self.block_count >= options.max_blocks) and cid not in store:
            if no_room:
                raise BudgetError("bytes of blocks", allowed=options.max_bytes, hint="max_bytes grants more")
            raise BudgetError("blocks", allowed=options.max_blocks, hint="max_blocks grants more")

    def _count_bytes(self, count: int) -> None:
        self._received += count
        if self._on_bytes is not None:
            self._on_bytes(count)
