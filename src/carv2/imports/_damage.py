"""What is there of a DAG in a file that may have been damaged since it was written."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carv2.blockstore import ReadOnlyBlockstore
from carv2.cid import CID
from carv2.dag.complete import Completeness, check_complete
from carv2.errors import BlockNotFoundError, FormatError, IntegrityError, UnknownHashError
from carv2.operations.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from carv2.cid import CIDLike
    from carv2.section import Block
    from carv2.units import Limits

MAX_LISTED = 1000


@dataclass(frozen=True, kw_only=True)
class RetrievalCheck(Completeness):
    """What there is of a retrieval; a damaged block counts as missing, for it has to come again."""

    damaged: tuple[Problem, ...] = ()
    """The first 1,000 blocks whose bytes in the file are not theirs any more, of the DAG or not."""
    damaged_count: int = 0


def check_file(path: str, root: CID | None, limits: Limits) -> RetrievalCheck:
    """What a walk from the root finds in the file; not a scan, which would keep the links of all blocks.

    Raises:
        FormatError: the sections cannot be gone through.
        UnknownHashError: a block of the DAG cannot be checked here.
    """
    with contextlib.closing(_Tolerant(path, limits=limits)) as store:
        found = check_complete(store, root, limits=limits)
        fields = {name: getattr(found, name) for name in Completeness.__dataclass_fields__}
        return RetrievalCheck(**fields, damaged=tuple(store.damaged), damaged_count=store.damaged_count)


class _Tolerant(ReadOnlyBlockstore):
    """A store in which a damaged block is one that is missing, and noted."""

    def __init__(self, path: str, *, limits: Limits) -> None:
        self.damaged: list[Problem] = []
        self._places: set[int] = set()
        super().__init__(path, limits=limits)

    def __getitem__(self, cid: CIDLike, /) -> bytes:
        try:
            return super().__getitem__(cid)
        except UnknownHashError:
            raise
        except (FormatError, IntegrityError) as error:
            self._note(error)
            raise BlockNotFoundError(CID.of(cid)) from error

    def get_many(self, cids: Iterable[CIDLike], /) -> Iterator[Block]:
        try:
            yield from super().get_many(cids)
        except UnknownHashError:
            raise
        except (FormatError, IntegrityError) as error:  # who asked goes on one by one, and notes it then
            raise BlockNotFoundError(self.roots[0]) from error

    def size_of(self, cid: CIDLike, /) -> int:
        """Bytes of the block, checked: nothing else looks at those beside the DAG. 0 of a damaged one."""
        try:
            return len(self[cid])
        except UnknownHashError:
            return super().size_of(cid)
        except BlockNotFoundError:
            return 0

    def __iter__(self) -> Iterator[CID]:
        try:
            yield from super().__iter__()
        except FormatError as error:
            self._note(error)

    @property
    def damaged_count(self) -> int:
        """How many places are damaged; some are come to more than once."""
        return len(self._places)

    def _note(self, error: FormatError | IntegrityError) -> None:
        if error.position in self._places:
            return
        self._places.add(error.position)
        if len(self.damaged) < MAX_LISTED:
            self.damaged.append(Problem.of(error))
