"""What the catalogue asks of a database; SQLite and PostgreSQL answer each in its own module.

Statements are written once, with ``?`` for a parameter, in the SQL that both read. What differs is named here:
the clock, the lock on a row, and the ways to move many rows at once.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

T = TypeVar("T")

PATIENCE = 30.0
"""Seconds to wait for a lock that another writer holds, or for a server that is away."""

MAX_MULTIHASH = 1 << 10
"""Bytes of a multihash that are stored as they are: a row of an index of PostgreSQL has 2.7 kB at most."""

KEY_OF = "(SELECT s.key FROM shards s WHERE s.id = b.shard)"
"""Of an entry; none if it is a removed shard's.

Not a join: PostgreSQL, until it has statistics of a new table, takes a multihash for one that many shards have,
and reads all shards for each look-up.
"""

MAX_TEXT = 1 << 16
"""Characters of an error that are kept."""

VERSIONS = (
    """
    CREATE TABLE shards (
        id {id},
        key TEXT {collate} NOT NULL UNIQUE,
        url TEXT NOT NULL,
        state TEXT {collate} NOT NULL DEFAULT 'new',
        lazy INTEGER NOT NULL,
        error_type TEXT NOT NULL DEFAULT '',
        error TEXT NOT NULL DEFAULT '',
        failures INTEGER NOT NULL DEFAULT 0,
        generation INTEGER NOT NULL DEFAULT 0,
        index_size BIGINT NOT NULL DEFAULT 0,
        index_digest {blob} NOT NULL DEFAULT {empty},
        index_codec BIGINT NOT NULL DEFAULT 0,
        block_count BIGINT NOT NULL DEFAULT 0,
        inverted INTEGER NOT NULL DEFAULT 0,
        source_size BIGINT,
        source_tag TEXT NOT NULL DEFAULT '',
        local_copy {blob} NOT NULL DEFAULT {empty},
        created DOUBLE PRECISION NOT NULL,
        updated DOUBLE PRECISION NOT NULL,
        last_access DOUBLE PRECISION NOT NULL DEFAULT 0,
        entries BIGINT NOT NULL DEFAULT 0
    );
    CREATE INDEX shards_by_state ON shards (state, key);
    CREATE TABLE owners (
        shard BIGINT NOT NULL, owner TEXT {collate} NOT NULL, PRIMARY KEY (shard, owner)
    ) {packed};
    CREATE TABLE blocks (mh {blob} NOT NULL, shard BIGINT NOT NULL, PRIMARY KEY (mh, shard)) {packed};
    CREATE TABLE leases (
        key TEXT {collate} NOT NULL PRIMARY KEY, holder TEXT NOT NULL, until DOUBLE PRECISION NOT NULL
    );
    CREATE TABLE markers (name TEXT {collate} NOT NULL PRIMARY KEY, text TEXT NOT NULL);
    CREATE TABLE done (token TEXT {collate} NOT NULL PRIMARY KEY, at DOUBLE PRECISION NOT NULL)
    """,
)
"""The schema, version after version.

``shards.entries`` counts the rows of ``blocks`` that are the shard's, so that their number is known, and a shard
without any is removed, with no look at ``blocks``. ``done`` holds the tokens of transactions that must not be
repeated (PostgreSQL only).
"""


_LONG = b"\x80\x00"  # 0 in two bytes, which is no valid varint


class Transaction(Protocol):
    """Statements that are done together or not at all."""

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of an answer that is known to be short."""
        ...

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """How many rows were changed."""
        ...

    def add_shards(self, shards: Sequence[tuple[str, str]], lazy: bool) -> int:
        """How many of the keys and URLs were new; the others stay as they are."""
        ...

    def add_blocks(self, shard: int, multihashes: Sequence[bytes]) -> int:
        """How many of these entries were not there."""
        ...

    def drop_blocks(self, shard: int, multihashes: Sequence[bytes]) -> int:
        """How many of these entries were there."""
        ...


class Database(Protocol):
    """One database, shared by the threads of a process; a child of a fork gets connections of its own."""

    @property
    def name(self) -> str:
        """For messages: the file, or the server, without what is secret."""
        ...

    now: str
    """Seconds since 1970 by the database's clock, as an expression."""
    row_lock: str
    """What a SELECT ends in that keeps others from changing the rows until the transaction ends."""
    chunk: int
    """Rows that are moved in one transaction."""

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of an answer that is known to be short."""
        ...

    def transact(self, work: Callable[[Transaction], T], *, once: bool = False, durable: bool = True) -> T:
        """What ``work`` returns, when all that it did is kept.

        ``work`` may be called again after the database was away: it does nothing but ask the transaction. It is
        repeated where it cannot have been kept; and where that is not known, unless it must happen ``once``:
        then it is found out. What is not ``durable`` may be lost in a power cut, together with all that came
        after it, so it is safe before something that is.
        """
        ...

    def shards_of(self, multihashes: Sequence[bytes]) -> list[tuple[bytes, str]]:
        """Pairs of a multihash and a key, in no order; at most ``chunk`` are asked for."""
        ...

    def close(self) -> None:
        """Let go of all connections of this process."""
        ...


def schema(version: str, **words: str) -> Iterator[str]:
    """The statements of one version of the schema."""
    yield from filter(str.strip, version.format(**words).split(";"))


def chunks(multihashes: Iterable[bytes], size: int) -> Iterator[list[bytes]]:
    """Lists of at most ``size``, each in sorted order: neighbours in the tree are written together."""
    batch: list[bytes] = []
    for multihash in multihashes:
        batch.append(bytes(multihash))
        if len(batch) == size:
            batch.sort()
            yield batch
            batch = []
    if batch:
        batch.sort()
        yield batch


def stored(multihash: bytes) -> bytes:
    r"""What stands for a multihash in the database; of a long one a hash, behind what no multihash begins with.

    >>> stored(b"\x12\x04fish").hex(), len(stored(b"\x18" + bytes(3000)))
    ('120466697368', 34)
    """
    if len(multihash) <= MAX_MULTIHASH:
        return bytes(multihash)
    return _LONG + hashlib.sha256(multihash).digest()


def checked(what: str, text: str) -> str:
    """``text``; ValueError where a database cannot hold it as it is."""
    if "\0" in text or not (text.isascii() or _is_unicode(text)):
        raise ValueError(f"{what} {text!r} is not text that can be stored")
    return text


def cleaned(text: str) -> str:
    """``text`` with what cannot be stored written out, and not longer than :data:`MAX_TEXT`."""
    return text[:MAX_TEXT].replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


def end_of_prefix(prefix: str) -> str | None:
    """The first text that sorts behind all that begin with ``prefix``; None if there is none.

    >>> end_of_prefix("deal/1"), end_of_prefix(chr(0x10FFFF))
    ('deal/2', None)
    """
    kept = prefix.rstrip("\U0010ffff")
    if not kept:
        return None
    last = ord(kept[-1]) + 1
    return kept[:-1] + chr(0xE000 if last == 0xD800 else last)
