"""Checking the answer of a trustless gateway block by block, while it arrives.

Such an answer is a CAR of untrusted bytes: what is proven is proven by the CID that was asked for. So the roots
of its header are not looked at, blocks are compared by multihash (one block may come as ``Qm...`` where
``bafy...`` was asked for), and their order is what the request and the DAG itself say. Source: the Trustless
Gateway specification.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from carv2.cid import CID
from carv2.codec import links_of
from carv2.decoder import CarDecoder
from carv2.errors import BlockNotFoundError, BudgetError, CarError, UnexpectedBlockError
from carv2.units import DEFAULT_LIMITS, Limits
from carv2.unixfs._node import multihash_of
from carv2.unixfs._request import span_of, walk_request
from carv2.unixfs._walk import Want, inline
from carv2.unixfs.path import names_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
    from typing import Literal, TypeAlias, TypedDict

    from carv2._scan import Entries
    from carv2.cid import CIDLike
    from carv2.unixfs._request import ByteRange, Scope

    Order: TypeAlias = Literal["dfs", "unk"]
    OnUnexpected: TypeAlias = Literal["error", "ignore"]

    class Form(TypedDict):
        """What a response says of itself."""

        order: Order
        dups: bool
        on_unexpected: OnUnexpected


__all__ = ["StreamVerifier", "StreamedBlock", "averify_stream", "form_of", "verify_stream"]

_ENTRY = 300
"""Bytes that one remembered block takes besides its data, roughly."""

_MAX_HELD = 256 << 20


class StreamedBlock(NamedTuple):
    """A block that was asked for, proven to be it."""

    cid_bytes: bytes
    """Its binary CID, as the DAG links to it; the response may have named another of the same multihash."""
    data: bytes
    depth: int
    """Links between the root that was asked for and the block."""
    path: str
    """Of the file or directory that it is part of, from that root."""
    position: int
    """Of the first byte of ``data`` in the stream."""

    @property
    def cid(self) -> CID:
        """The CID as an object."""
        return CID.trusted(self.cid_bytes)


class StreamVerifier:
    r"""Takes a response in pieces, gives the blocks that are proven to belong there; does no I/O.

    The arguments say what was asked for, and ``order`` and ``dups`` what the response's ``Content-Type`` says of
    it (see :func:`form_of`). Memory: with ``order="dfs"`` and ``dups`` the block that is under way, and the links
    on the way to it.

    Args:
        root: the CID of the request.
        path: the path behind it, not percent-encoded.
        scope: ``dag-scope`` of the request: everything below the end of the path; or what it takes to read the
            file or list the directory there; or its one block.
        byte_range: ``entity-bytes`` of the request, for files and the scope ``entity``: first and last byte,
            negative ones counted from the end, None for the end.
        order: ``dfs``: blocks come as a depth-first walk finds them; ``unk``: as they like. They are given in the
            order of the walk, in any case.
        dups: with ``dfs``, a block comes again wherever the walk finds it again; otherwise it comes once. With
            ``unk``, it may.
        on_unexpected: what a block is that does not belong there: an error, or nothing.
        max_held: bytes for blocks that came too early, or are to be recognised when the walk comes to them again.
        limits: upper bounds for what the stream may claim.

    >>> import carv2
    >>> cid = CID.of_data(b"fish")
    >>> verifier = StreamVerifier(cid)
    >>> for chunk in carv2.iter_car([], [(cid, b"fish")]):
    ...     for block in verifier.feed(chunk):
    ...         print(block.data, block.depth)
    b'fish' 0
    >>> verifier.finish()
    """

    def __init__(
        self,
        root: CIDLike,
        path: str = "",
        *,
        scope: Scope = "all",
        byte_range: ByteRange | None = None,
        order: Order = "dfs",
        dups: bool = True,
        on_unexpected: OnUnexpected = "error",
        max_held: int = _MAX_HELD,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        _check_choice("scope", scope, ("all", "entity", "block"))
        _check_choice("order", order, ("dfs", "unk"))
        _check_choice("on_unexpected", on_unexpected, ("error", "ignore"))
        self._any_order, self._dups, self._ignore = order == "unk", dups, on_unexpected == "ignore"
        self._strict = dups and not self._any_order
        self._decoder = _Decoder(limits=limits)
        self._memory = _Memory(max_held, keep_nodes=scope == "entity" and byte_range is not None)
        self._out: list[StreamedBlock] = []
        self._failure: CarError | None = None
        span = span_of(byte_range)
        self._walk = walk_request(bytes(CID.of(root)), names_of(path), scope, span, once=not self._strict)
        self._want: Want | None = None
        self._go_on(None)

    @property
    def is_whole(self) -> bool:
        """Whether all that was asked for is there; whatever comes behind it was not asked for."""
        return self._want is None and self._failure is None

    def feed(self, chunk: bytes) -> list[StreamedBlock]:
        """Take ``chunk``; return the blocks that are now proven, in the order of the walk, maybe none.

        Blocks before a fault are handed out first: the fault is then raised by the next call, and by each one
        after it.

        Raises:
            UnexpectedBlockError: a block that was not asked for, or not in that place.
            PathNotFoundError: the blocks prove that there is nothing at the path.
            GatewayTruncatedError: the gateway gave up, and says why.
            FormatError: the stream is no archive from here on, or a block is not what its codec demands.
            IntegrityError: a block is not what its CID says.
            BudgetError: more came too early than ``max_held``, or the DAG is deeper than 1024 links.
        """
        if self._failure is not None:
            raise self._failure
        try:
            blocks = self._decoder.feed(chunk)
            for (cid_bytes, data), position in zip(blocks, self._decoder.take_positions(), strict=False):
                self._take(cid_bytes, data, position)
        except CarError as error:
            self._failure = error
        if self._failure is not None and not self._out:
            raise self._failure
        proven, self._out = self._out, []
        return proven

    def finish(self) -> None:
        """Say that no more will come.

        Raises:
            TruncatedError: the stream ends inside a block.
            BlockNotFoundError: it ends before the block ``cid``, which belongs there.
            UnexpectedBlockError: blocks came that nothing wanted.
        """
        if self._failure is not None:
            raise self._failure
        self._decoder.finish()
        self._pass_over_optional(b"")
        if self._failure is not None:
            raise self._failure
        if self._want is not None:
            raise BlockNotFoundError(CID.trusted(self._want.cid))
        if not self._ignore:
            self._memory.check_all_wanted()

    def _take(self, cid_bytes: bytes, data: bytes, position: int) -> None:
        key = multihash_of(cid_bytes)
        self._pass_over_optional(key)
        if self._failure is not None:
            return
        want = self._want
        if want is not None and key == multihash_of(want.cid):
            self._hand_out(want, key, data, position)
            self._go_on(data)
        elif self._any_order and want is not None and key not in self._memory:
            self._memory.put_early(key, cid_bytes, data, position)
        elif not self._ignore and not (self._any_order and self._dups and key in self._memory):
            cid = CID.trusted(cid_bytes)
            expected = "the end" if want is None else CID.trusted(want.cid).short()
            why = f"{cid.short()} in the stream, where {expected} belongs"
            raise UnexpectedBlockError(why, cid=cid, position=position)

    def _pass_over_optional(self, key: bytes) -> None:
        """Go on without a block that need not come, if the next one, by its multihash ``key``, is another."""
        want = self._want
        if want is not None and want.optional and key != multihash_of(want.cid):
            self._go_on(BlockNotFoundError(CID.trusted(want.cid)))

    def _hand_out(self, want: Want, key: bytes, data: bytes, position: int) -> None:
        self._out.append(StreamedBlock(want.cid, data, want.depth, want.path, position))
        if not self._strict:
            self._memory.put_given(key, want.cid, data)

    def _go_on(self, answer: bytes | BlockNotFoundError | None) -> None:
        """Send the walk what it wanted, up to the first want that only the stream can fulfil."""
        self._want = None
        try:
            while True:
                item = self._step(answer)
                answer = self._known(item) if isinstance(item, Want) else None
                if answer is None and isinstance(item, Want):
                    self._want = item
                    return
        except StopIteration:
            return
        except CarError as error:
            self._failure = error

    def _step(self, answer: bytes | BlockNotFoundError | None) -> object:
        if answer is None:
            return next(self._walk)
        return self._walk.send(answer) if isinstance(answer, bytes) else self._walk.throw(answer)

    def _known(self, want: Want) -> bytes | None:
        data = inline(want.cid)
        if data is not None:
            return data
        key = multihash_of(want.cid)
        early = self._memory.take_early(key)
        if early is not None:
            self._hand_out(want, key, *early)
            return early[0]
        return self._memory.given(key)


class _Decoder(CarDecoder):
    """A decoder that knows where in the stream each block was."""

    def __init__(self, *, limits: Limits) -> None:
        super().__init__(limits=limits)
        self._positions: list[int] = []

    def take_positions(self) -> list[int]:
        """Of the data of the blocks that were handed out since the last call."""
        positions, self._positions = self._positions, []
        return positions

    def _give(self, buffer: bytes, entries: Entries) -> None:
        self._positions += [self._position + start for start in entries.starts]
        super()._give(buffer, entries)


class _Memory:
    """Blocks that came before they were wanted, and those that were given; by multihash."""

    def __init__(self, allowed: int, *, keep_nodes: bool) -> None:
        self._early: dict[bytes, tuple[bytes, bytes, int]] = {}
        self._given: dict[bytes, bytes] = {}
        self._allowed, self._held = allowed, 0
        self._keep_nodes = keep_nodes

    def __contains__(self, key: bytes) -> bool:
        return key in self._early or key in self._given

    def put_early(self, key: bytes, cid_bytes: bytes, data: bytes, position: int) -> None:
        self._early[key] = (cid_bytes, data, position)
        self._hold(len(data) + _ENTRY)

    def take_early(self, key: bytes) -> tuple[bytes, int] | None:
        found = self._early.pop(key, None)
        if found is None:
            return None
        self._held -= len(found[1]) + _ENTRY
        return found[1], found[2]

    def put_given(self, key: bytes, cid_bytes: bytes, data: bytes) -> None:
        """Remember that the block was given; of one with links, which a walk may come back to, also what it is."""
        kept = data if self._keep_nodes and links_of(cid_bytes, data) else b""
        self._given[key] = kept
        self._hold(_ENTRY + len(kept))

    def given(self, key: bytes) -> bytes | None:
        """A block with links that was given before."""
        return self._given.get(key) or None

    def check_all_wanted(self) -> None:
        if self._early:
            cid_bytes, _, position = next(iter(self._early.values()))
            cid = CID.trusted(cid_bytes)
            raise UnexpectedBlockError(f"{cid.short()} in the stream, unasked for", cid=cid, position=position)

    def _hold(self, size: int) -> None:
        self._held += size
        if self._held > self._allowed:
            raise BudgetError("bytes of blocks held back", allowed=self._allowed)


def verify_stream(
    chunks: Iterable[bytes],
    root: CIDLike,
    path: str = "",
    *,
    scope: Scope = "all",
    byte_range: ByteRange | None = None,
    order: Order = "dfs",
    dups: bool = True,
    on_unexpected: OnUnexpected = "error",
    max_held: int = _MAX_HELD,
    limits: Limits = DEFAULT_LIMITS,
) -> Iterator[StreamedBlock]:
    """Yield the blocks of a trustless gateway's response, each as soon as it is proven to be what was asked for.

    Only when the iteration ends without an error is the response whole. Arguments and errors are those of
    :class:`StreamVerifier`; ``max_held`` is in bytes.

    >>> import carv2
    >>> cid = CID.of_data(b"fish")
    >>> [block.data for block in verify_stream(carv2.iter_car([], [(cid, b"fish")]), cid)]
    [b'fish']
    """
    verifier = StreamVerifier(
        root,
        path,
        scope=scope,
        byte_range=byte_range,
        order=order,
        dups=dups,
        on_unexpected=on_unexpected,
        max_held=max_held,
        limits=limits,
    )
    for chunk in chunks:
        yield from verifier.feed(chunk)
    verifier.finish()


async def averify_stream(
    chunks: AsyncIterable[bytes],
    root: CIDLike,
    path: str = "",
    *,
    scope: Scope = "all",
    byte_range: ByteRange | None = None,
    order: Order = "dfs",
    dups: bool = True,
    on_unexpected: OnUnexpected = "error",
    max_held: int = _MAX_HELD,
    limits: Limits = DEFAULT_LIMITS,
) -> AsyncIterator[StreamedBlock]:
    """The same for an asynchronous iterable of chunks, under any event loop.

    >>> import asyncio, carv2
    >>> cid = carv2.CID.of_data(b"fish")
    >>> async def receive():
    ...     async def chunks():
    ...         for chunk in carv2.iter_car([cid], [(cid, b"fish")]):
    ...             yield chunk
    ...     return [found.data async for found in averify_stream(chunks(), cid)]
    >>> asyncio.run(receive())
    [b'fish']
    """
    verifier = StreamVerifier(
        root,
        path,
        scope=scope,
        byte_range=byte_range,
        order=order,
        dups=dups,
        on_unexpected=on_unexpected,
        max_held=max_held,
        limits=limits,
    )
    async for chunk in chunks:
        for block in verifier.feed(chunk):
            yield block
    verifier.finish()


def form_of(content_type: str) -> Form:
    """The keyword arguments that a response's ``Content-Type`` stands for.

    Source: the Trustless Gateway specification: without ``order`` the order is unknown; without ``dups`` there
    should be none, and those that are there do not matter, as other blocks do not.

    >>> form_of("application/vnd.ipld.car; version=1; order=dfs; dups=y")
    {'order': 'dfs', 'dups': True, 'on_unexpected': 'error'}
    >>> form_of("application/vnd.ipld.car")
    {'order': 'unk', 'dups': True, 'on_unexpected': 'ignore'}
    """
    parts = [part.partition("=") for part in content_type.lower().split(";")[1:]]
    given = {name.strip(): value.strip().strip('"') for name, _, value in parts}
    dups = given.get("dups")
    return {
        "order": "dfs" if given.get("order") == "dfs" else "unk",
        "dups": dups == "y" or (dups is None and given.get("order") != "dfs"),
        "on_unexpected": "ignore" if dups is None else "error",
    }


def _check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name}={value!r}, allowed: {', '.join(allowed)}")
