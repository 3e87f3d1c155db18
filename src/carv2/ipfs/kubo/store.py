"""The blocks of a running Kubo node, by its RPC.

Source: Kubo's RPC (https://docs.ipfs.tech/reference/kubo/rpc/).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from carv2.blockstore._mapping import ReadsOneByOne
from carv2.cid import CID, RAW
from carv2.errors import BlockNotFoundError, KuboError, PinError
from carv2.ipfs.kubo._answers import count_of, nonsense
from carv2.ipfs.kubo._at_once import AtOnce
from carv2.ipfs.kubo._calls import Calls, Multipart
from carv2.ipfs.kubo._uploads import pieces_of
from carv2.ipfs.kubo._writing import Writing
from carv2.ipfs.kubo.address import NodeAddress
from carv2.ipfs.kubo.records import CarImport, ImportedRoot, Pin
from carv2.section import Block, BlockChecker
from carv2.units import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from carv2.cid import CIDLike
    from carv2.ipfs.kubo._uploads import Archive

__all__ = ["DEFAULT_URL", "KuboBlockstore"]

DEFAULT_URL = "http://127.0.0.1:5001"

_MAX_ROOTS = 1 << 16  # of an import, which are remembered; and what the node may say of them
_MAX_REPORT = 16 << 20


class KuboBlockstore(ReadsOneByOne):
    """The blocks that a Kubo node holds, read and written through its RPC (``/api/v0``).

    Blocks are found by their multihashes, whatever codec a CID names; what the node gives is held against them,
    so that a broken node, or whoever answers in its place, is found out. Identity CIDs are answered without it.
    Only the node itself is asked: no redirects are followed, and no proxies used. Threads may share a store.

    The node keeps what is put until it collects its garbage: pin a root to have its DAG kept.

    Args:
        url: ``http://host:port``, ``https://user:password@host``, a multiaddr (``/ip4/127.0.0.1/tcp/5001``), or a
            unix socket (``unix:///run/kubo.sock``).
        online: let the node fetch blocks that it does not hold from its network, to read them, export DAGs and
            pin. ``cid in store`` is always about what it holds, as in Lotus.
        token: secret of an entry of ``API.Authorizations`` of the node, sent as ``Authorization: Bearer``.
        timeout: seconds that the node may say nothing. Headers must be there by then; a short answer, and each
            step of a long one, in ten times that.
        slow_timeout: the same for imports and lists of pins, where the node may have to go through DAGs first.
        retries: how often a call that failed on its way is made again. An import never is.
        connections: requests that :meth:`get_many` and :meth:`put_many` make at once.
        allow_big_blocks: put blocks of more than 2 MiB too (1 MiB with older nodes), which nodes do not send each
            other. Otherwise the node refuses them; it may have stored one all the same.
        limits: ``section`` is the largest block that is taken from the node, in bytes.

    Raises:
        ValueError: ``url`` names no node.

    >>> node = KuboBlockstore("/ip4/127.0.0.1/tcp/5001")
    >>> node.url, node[CID.of_data(b"fish", hash="identity")]
    ('http://127.0.0.1:5001', b'fish')
    >>> node.close()
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        online: bool = False,
        token: str | None = None,
        timeout: float = 60.0,
        slow_timeout: float = 3600.0,
        retries: int = 2,
        connections: int = 8,
        allow_big_blocks: bool = False,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._calls = Calls(
            NodeAddress.of(url),
            token=token,
            timeout=timeout,
            slow_timeout=slow_timeout,
            retries=retries,
            connections=connections,
        )
        self._reach: dict[str, Any] = {} if online else {"offline": True}
        self._limits, self._big = limits, allow_big_blocks
        self._checker = BlockChecker()
        self._at_once = AtOnce(connections)
        self._writing = Writing(self._calls, self._which_are_there, allow_big_blocks=allow_big_blocks)

    @property
    def url(self) -> str:
        """Of the node, without name and password."""
        return self._calls.url

    def version(self) -> str:
        """What the node says it is, such as ``0.43.0``.

        Raises:
            KuboError: there is no node, or it does not let us in.
        """
        return str(self._value("version").get("Version", ""))

    # -- blocks -------------------------------------------------------------------------------------------

    def __getitem__(self, cid: CIDLike, /) -> bytes:
        self._writing.settle()
        return self._get(CID.of(cid))

    def _get(self, cid: CID) -> bytes:
        if cid.is_identity:
            return cid.digest
        with self._calls.call("block/get", _key_of(cid), about=cid, **self._reach) as answer:
            data = answer.read(self._limits.section)
        self._checker.check(bytes(cid), data, position=0)
        return data

    def size_of(self, cid: CIDLike, /) -> int:
        """Bytes of the block, as the node says.

        Raises:
            BlockNotFoundError: it is not there.
            KuboError: the node cannot be asked.
        """
        self._writing.settle()
        return self._size_of(CID.of(cid), self._reach)

    def _size_of(self, cid: CID, reach: dict[str, Any]) -> int:
        if cid.is_identity:
            return len(cid.digest)
        value = self._value("block/stat", _key_of(cid), about=cid, **reach)
        try:
            return count_of(value.get("Size"))
        except ValueError:
            raise nonsense(self.url, "block/stat") from None

    def __contains__(self, cid: object, /) -> bool:
        if not isinstance(cid, (CID, str, bytes)):
            return False
        self._writing.settle()
        self._calls.check_open()
        return self._is_there(CID.of(cid))

    def _is_there(self, cid: CID) -> bool:
        try:
            self._size_of(cid, {"offline": True})
        except BlockNotFoundError:
            return False
        return True

    def _which_are_there(self, cids: Sequence[CID]) -> Sequence[bool]:
        if len(cids) == 1:
            return [self._is_there(cids[0])]
        return list(self._at_once.map(self._is_there, cids))

    def get_many(self, cids: Iterable[CIDLike], /) -> Iterator[Block]:
        """The blocks of all ``cids``, in that order, over several connections.

        Raises:
            BlockNotFoundError: one of them is not there; those before it were yielded.
            IntegrityError: what the node gave is not the block.
        """
        self._writing.settle()
        self._calls.check_open()
        return self._at_once.map(self._block, map(CID.of, cids))

    def _block(self, cid: CID) -> Block:
        return Block(cid, self._get(cid))

    def __iter__(self) -> Iterator[CID]:
        """What the node holds, as CIDs of codec ``raw``: it does not know any other. In no order."""
        self._writing.settle()
        self._calls.check_open()
        return self._cids()

    def _cids(self) -> Generator[CID]:
        with self._calls.call("refs/local", wait="stream") as answer:
            for value in answer.values(limit=None):
                if value.get("Err"):
                    raise KuboError(f"refs/local: {value['Err']}", url=self.url)
                yield self._cid_of(value.get("Ref"), "refs/local")

    def __len__(self) -> int:
        """How many blocks the node holds; it lists them all to say so."""
        return sum(1 for _ in self)

    def put(self, cid: CIDLike, data: bytes, /) -> bool:
        """Store one block, its hash checked here and by the node; whether it was new.

        Raises:
            IntegrityError: ``data`` are not what ``cid`` names, or the node stored something else.
            KuboError: the node refuses it: it is too large, or its hash function not allowed there.
        """
        return self._writing.put(cid, data)

    def put_many(self, blocks: Iterable[tuple[CIDLike, bytes]], /) -> int:
        """Store each (CID, data) pair, up to the first that fails; how many were new. Sent some at a time."""
        return self._writing.put_many(blocks)

    # -- whole DAGs ---------------------------------------------------------------------------------------

    def import_car(self, archive: Archive, *, pin: bool = True) -> CarImport:
        """Hand a CAR to the node as it is (``dag import``): the quickest way for many blocks.

        The node checks the blocks, and decodes them: it refuses an archive with a codec that it does not know,
        which :meth:`put_many` stores. What came before a failure may stay there, unpinned.

        Args:
            archive: a path, bytes, a binary file, or an iterable of chunks. It is read once, front to back.
            pin: each root, with all that is below it, which must be in the archive or at the node.

        Raises:
            PinError: a root could not be pinned; the blocks are there.
            KuboError: the node refuses the archive, or cannot be asked.
            OSError: ``archive`` cannot be read.
        """
        self._writing.settle()
        options: dict[str, Any] = {"pin_roots": pin, "stats": True}
        if self._big:
            options["allow_big_block"] = True
        with pieces_of(archive) as pieces:
            body = Multipart.of_stream(pieces)
            with self._calls.call("dag/import", body=body, wait="slow", **options) as answer:
                done = self._import_of(answer.values(_MAX_REPORT))
        failed = [root for root in done.roots if root.pin_error]
        if failed:
            why = f"{failed[0].cid.short()} could not be pinned: {failed[0].pin_error}"
            raise PinError(why, url=self.url, report=done)
        return done

    def _import_of(self, values: Iterable[dict[str, Any]]) -> CarImport:
        roots: list[ImportedRoot] = []
        counts: dict[str, Any] | None = None
        try:
            for value in values:
                if (root := value.get("Root")) is not None:
                    if len(roots) == _MAX_ROOTS:
                        raise KuboError(f"dag/import: it names more than {_MAX_ROOTS} roots", url=self.url)
                    cid = self._cid_of(root["Cid"]["/"], "dag/import")
                    roots.append(ImportedRoot(cid=cid, pin_error=str(root.get("PinErrorMsg") or "")))
                elif (stats := value.get("Stats")) is not None:
                    counts = stats
            count, size = (count_of((counts or {})[key]) for key in ("BlockCount", "BlockBytesCount"))
        except (KeyError, TypeError, ValueError):
            raise nonsense(self.url, "dag/import") from None
        return CarImport(roots=tuple(roots), block_count=count, block_bytes=size)

    def export_car(self, root: CIDLike, *, partial: bool = False) -> Iterator[bytes]:
        """A CARv1 of the DAG below ``root``, as it comes from the node (``dag export``).

        Depth-first, each block once. The chunks are not looked into: :func:`carv2.iter_blocks` checks each
        block, and a :class:`carv2.imports.Retrieval` that none is missing as well. That the node broke off is
        noticed here, by what it says at the end, which a proxy in between may drop.

        Args:
            root: of the DAG.
            partial: leave out what the node does not hold, and all below it (Kubo 0.42 and later).

        Raises:
            BlockNotFoundError: a block is missing; what came before it was yielded.
            KuboError: the node broke off, or cannot be asked.
        """
        self._writing.settle()
        self._calls.check_open()
        options = {"progress": False, **({"local_only": True} if partial else {}), **self._reach}
        return self._exported(CID.of(root), options)

    def _exported(self, root: CID, options: dict[str, Any]) -> Generator[bytes]:
        with self._calls.call("dag/export", str(root), wait="stream", **options) as answer:
            yield from answer.pieces()

    # -- pins ---------------------------------------------------------------------------------------------

    def pin_add(
        self,
        root: CIDLike,
        *,
        recursive: bool = True,
        name: str = "",
        on_progress: Callable[[int], object] | None = None,
    ) -> None:
        """Have the node keep a block and, if ``recursive``, all below it; it goes through all of that first.

        Args:
            root: of the DAG.
            recursive: with what is below it.
            name: of the pin; for people.
            on_progress: called with how many blocks it has come to, about twice a second.

        Raises:
            BlockNotFoundError: a block of the DAG is missing.
            KuboError: the node refuses, or cannot be asked.
        """
        self._writing.settle()
        options: dict[str, Any] = {"recursive": recursive, "progress": True, **self._reach}
        if name:
            options["name"] = name
        wanted, pinned = CID.of(root), False
        with self._calls.call("pin/add", str(wanted), wait="stream", **options) as answer:
            for value in answer.values(limit=None):
                pins = value.get("Pins")
                pinned = pinned or (isinstance(pins, list) and str(wanted) in pins)
                if on_progress is not None and isinstance(value.get("Progress"), int):
                    on_progress(value["Progress"])
        if not pinned:
            raise nonsense(self.url, "pin/add")

    def pin_rm(self, root: CIDLike, *, recursive: bool = True) -> None:
        """Let the node forget a block, and what is below it, when it collects its garbage.

        Raises:
            KuboError: it is not pinned so, or the node cannot be asked.
        """
        self._value("pin/rm", str(CID.of(root)), recursive=recursive)

    def pins(self, kind: str = "recursive") -> Iterator[Pin]:
        """What the node keeps.

        Args:
            kind: ``recursive``, ``direct``, ``indirect`` (which takes a walk through all DAGs), or ``all``.

        Raises:
            KuboError: there is no such kind, or the node cannot be asked.
        """
        self._calls.check_open()
        return self._pins(kind)

    def _pins(self, kind: str) -> Generator[Pin]:
        with self._calls.call("pin/ls", wait="slow", type=kind, stream=True, names=True) as answer:
            for value in answer.values(limit=None):
                cid = self._cid_of(value.get("Cid"), "pin/ls")
                yield Pin(cid=cid, kind=str(value.get("Type") or ""), name=str(value.get("Name") or ""))

    # -- the rest -----------------------------------------------------------------------------------------

    def _value(self, name: str, /, *args: str, about: CID | None = None, **options: Any) -> dict[str, Any]:
        """The one object that a call answers with."""
        with self._calls.call(name, *args, about=about, **options) as answer:
            return answer.value()

    def _cid_of(self, text: object, call: str) -> CID:
        try:
            return CID.of(str(text))
        except ValueError:
            raise nonsense(self.url, call) from None

    def close(self) -> None:
        """End all connections; calls that wait for the node end with an error. May be called twice."""
        self._at_once.close()
        self._calls.close()


def _key_of(cid: CID) -> str:
    """What to ask a node for: it looks for the multihash only, and this form needs no codec that it knows."""
    return str(CID.of_multihash(cid.multihash, codec=RAW))
