"""What a store gets for nothing once it has ``__getitem__``."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING

from carv2.cid import CID
from carv2.errors import BlockNotFoundError
from carv2.section import Block

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType
    from typing import TypeVar

    from carv2.cid import CIDLike

    Store = TypeVar("Store", bound="ReadsOneByOne")
    Default = TypeVar("Default")


class ReadsOneByOne(abc.ABC):
    """Look-ups, many at a time, out of one at a time; and a context manager that closes."""

    @abc.abstractmethod
    def __getitem__(self, cid: CIDLike, /) -> bytes: ...

    @abc.abstractmethod
    def __iter__(self) -> Iterator[CID]: ...

    @abc.abstractmethod
    def __len__(self) -> int: ...

    @abc.abstractmethod
    def close(self) -> None:
        """Let go of files; may be called twice."""

    def __contains__(self, cid: object, /) -> bool:
        if not isinstance(cid, (CID, str, bytes)):
            return False
        try:
            self.size_of(cid)
        except BlockNotFoundError:
            return False
        return True

    def get(self, cid: CIDLike, default: Default | None = None, /) -> bytes | Default | None:
        """The block, or ``default`` where it is not there."""
        try:
            return self[cid]
        except BlockNotFoundError:
            return default

    def size_of(self, cid: CIDLike, /) -> int:
        """Bytes of the block."""
        return len(self[cid])

    def get_many(self, cids: Iterable[CIDLike], /) -> Iterator[Block]:
        """The blocks of all ``cids``, in that order."""
        for cid in cids:
            wanted = CID.of(cid)
            yield Block(wanted, self[wanted])

    def __enter__(self: Store) -> Store:  # noqa: PYI019  (typing.Self needs Python 3.11)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
