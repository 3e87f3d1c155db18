"""What a catalogue can do.

:func:`carv2.dagstore.catalogue.open_catalogue` gives one on SQLite or PostgreSQL; whoever writes another runs the
suites of :mod:`carv2.testing.catalogues` and :mod:`carv2.testing.index_stores` on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from carv2.dagstore.catalogue.records import DurableState, IndexFacts, Lease, ShardRow

__all__ = ["Catalogue", "IndexStore"]


@runtime_checkable
class IndexStore(Protocol):
    """The inverted index: which shards hold a multihash. A set of pairs; adding one twice is adding it once.

    Multihashes are whole ones: function code, length, digest. Every method may be called from any thread.
    """

    def add_multihashes(self, key: str, multihashes: Iterable[bytes], *, holder: str = "") -> None:
        """Say that the shard holds these; they are taken in chunks, each of which is kept or not as a whole.

        Whoever was interrupted does it again from the start. Fastest in sorted order.

        Args:
            key: of the shard.
            multihashes: those that it holds.
            holder: who must hold the lease of the shard for this to be done, looked at anew for each chunk;
                empty: nobody. A store that has no leases takes no notice.

        Raises:
            ShardNotFoundError: there is no such shard, or it was removed meanwhile.
            StateError: ``holder`` has no lease (any more); the chunks before were kept.
        """
        ...

    def remove_multihashes(self, key: str, multihashes: Iterable[bytes] | None, *, holder: str = "") -> None:
        """Take it back; None: all that the shard has, for which the whole index is read.

        Raises:
            ShardNotFoundError: there is no such shard.
            StateError: as above.
        """
        ...

    def shards_with(self, multihash: bytes) -> list[str]:
        """Keys of the shards that hold it, sorted; empty if none does."""
        ...

    def shards_with_many(self, multihashes: Iterable[bytes]) -> dict[bytes, list[str]]:
        """The same for many at once; those that no shard holds are not in it."""
        ...

    def multihash_count(self) -> int:
        """Pairs of a multihash and a shard."""
        ...


@runtime_checkable
class Catalogue(IndexStore, Protocol):
    """Shards, how they stand, who owns them and who works on them, and the inverted index.

    Every method may be called from any thread, and each is done as a whole or not at all, also if the process is
    killed or the disk is full; those that take many things at once do so in chunks, and can be repeated. In a
    child of a fork it works on connections of its own. Where many processes share a catalogue, on one host
    (SQLite) or several (PostgreSQL), they see each other's changes at once.

    Raises, in every method:
        ShardNotFoundError: a shard that is to be changed is not there.
        ValueError: a key or another text cannot be stored (NUL, half a surrogate pair).
        WaitTimeoutError: another writer did not let go in time.
        OSError: the disk is full, the database is damaged, the server is away for too long; nothing was changed.
        ClosedError: :meth:`close` was called.
    """

    def __len__(self) -> int:
        """Shards."""
        ...

    def add(self, key: str, url: str, *, lazy: bool, local_copy: str = "", owner: str = "") -> ShardRow:
        """Register a shard; with an ``owner`` at once, unless that is empty.

        Raises:
            ShardExistsError: it is there already; nothing was changed.
        """
        ...

    def add_many(self, shards: Iterable[tuple[str, str]], *, lazy: bool = True) -> int:
        """Register shards, given as key and URL; return how many are new. Known ones stay as they are."""
        ...

    def get(self, key: str) -> ShardRow | None:
        """The shard, or None."""
        ...

    def find(self, key: str) -> ShardRow:
        """The shard, or ShardNotFoundError."""
        ...

    def rows(
        self,
        *,
        state: DurableState | None = None,
        prefix: str = "",
        lazy: bool | None = None,
        inverted: bool | None = None,
    ) -> Iterator[ShardRow]:
        """Shards in order of their keys' code points, read a page at a time: all, or those that are as given.

        Shards may come and go meanwhile; those that stay are seen once.
        """
        ...

    def counts(self) -> dict[DurableState, int]:
        """How many shards are in each of the states."""
        ...

    def set_available(
        self,
        key: str,
        *,
        index: IndexFacts,
        source_size: int | None,
        source_tag: str,
        inverted: bool,
        holder: str = "",
    ) -> int:
        """The shard has an index now; return its generation, one more than before.

        Args:
            holder: who must hold the lease of the shard for this to be done; empty: nobody.

        Raises:
            StateError: ``holder`` has no lease (any more).
        """
        ...

    def set_error(self, key: str, error_type: str, text: str, *, holder: str = "") -> None:
        """The last attempt failed; one more is counted in ``failures``. Raises StateError as above."""
        ...

    def set_new(self, key: str) -> None:
        """The shard waits to be indexed (again); ``failures`` and the facts of an older index stay."""
        ...

    def set_local_copy(self, key: str, path: str) -> None:
        """The caller has a file with the same bytes, or, if ``path`` is empty, none any more."""
        ...

    def touch(self, key: str, when: float) -> None:
        """The shard was used at ``when``. Gathered and written later; a crash loses the last ones."""
        ...

    def remove(self, key: str, multihashes: Iterable[bytes] | None, *, holder: str = "") -> bool:
        """Forget the shard, its owners and its part of the inverted index; False if there was none.

        The shard goes last, so a crash leaves it to be removed again.

        Args:
            multihashes: those that it holds, best in sorted order; None if they are not known. What they leave
                out is found, but that takes a look at the whole inverted index.
            holder: who must hold the lease of the shard for this to be done; empty: nobody.

        Raises:
            StateError: ``holder`` has no lease (any more); another shard of the key stays whole.
        """
        ...

    def entry_count(self, key: str) -> int:
        """Multihashes that the inverted index has of the shard.

        Raises:
            ShardNotFoundError: there is no such shard.
        """
        ...

    def try_lease(self, key: str, holder: str, seconds: float) -> bool:
        """Whether ``holder`` alone may work on ``key`` for so long; True too if it may already.

        The clock is the database's. A key need not be a shard's.
        """
        ...

    def renew_lease(self, key: str, holder: str, seconds: float) -> bool:
        """``seconds`` more from now; False if the lease has ended or is another's."""
        ...

    def release_lease(self, key: str, holder: str) -> None:
        """End it, if ``holder`` has it."""
        ...

    def lease_of(self, key: str) -> Lease | None:
        """The lease that has not ended."""
        ...

    def leases(self) -> list[Lease]:
        """All leases that have not ended."""
        ...

    def add_owner(self, key: str, owner: str) -> None:
        """``owner`` wants the shard to stay."""
        ...

    def remove_owner(self, key: str, owner: str) -> int:
        """``owner`` does not need it any more; return how many others do."""
        ...

    def owners_of(self, key: str) -> list[str]:
        """Sorted."""
        ...

    def get_marker(self, name: str) -> str | None:
        """What was noted under that name."""
        ...

    def set_marker(self, name: str, text: str) -> None:
        """Note something that is to be known after the next start."""
        ...

    def add_marker(self, name: str, text: str) -> str:
        """Note ``text``, unless something is noted under that name already; what is noted there now."""
        ...

    def close(self) -> None:
        """Write what was gathered, and let go. Closing twice is closing once."""
        ...
