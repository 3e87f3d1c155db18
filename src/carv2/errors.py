"""Every exception that carv2 raises on purpose.

The data of an error are attributes; the text is made of them. ``position`` is always the absolute byte
position in the file (or stream) that was read, also where the error came from a parser that saw a window.
A hostile file raises :class:`FormatError` or :class:`IntegrityError` and nothing else; anything else that
escapes on such a file is a bug in carv2. ``OSError`` passes through unchanged; a caller's own mistake is a
``TypeError`` or ``ValueError``, not a :class:`CarError`.

>>> from carv2.errors import TruncatedError
>>> error = TruncatedError("section", wanted=40, got=3, position=103)
>>> str(error)
'section: wanted 40 bytes, got 3 (at byte 103)'
>>> isinstance(error, EOFError), error.wanted
(True, 40)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carv2.cid import CID
    from carv2.dag.complete import Completeness
    from carv2.filestore.record import FileReference
    from carv2.filestore.status import Status
    from carv2.ipfs.kubo.records import CarImport

__all__ = [
    "BlockNotFoundError",
    "BudgetError",
    "CarError",
    "ChangedError",
    "ClosedError",
    "CodecError",
    "CorruptReferenceError",
    "FetchError",
    "FinalizedError",
    "FormatError",
    "GatewayError",
    "GatewayTruncatedError",
    "ImportNotFoundError",
    "IncompleteError",
    "IndexFormatError",
    "IndexMismatchError",
    "IntegrityError",
    "KuboError",
    "LimitError",
    "LockedError",
    "MountChangedError",
    "MountError",
    "NoIndexError",
    "PathNotFoundError",
    "PinError",
    "QuotaError",
    "ReadOnlyError",
    "ResumeError",
    "RetrievalNotFoundError",
    "RpcError",
    "RpcTransportError",
    "SelectorError",
    "ShardErroredError",
    "ShardExistsError",
    "ShardInUseError",
    "ShardNotFoundError",
    "StateError",
    "TokenError",
    "TruncatedError",
    "UnexpectedBlockError",
    "UnfinalizedError",
    "UnixFSError",
    "UnknownCodecError",
    "UnknownHashError",
    "UnknownMountError",
    "UnsafePathError",
    "VersionError",
    "WaitTimeoutError",
]


class CarError(Exception):
    """Base of every deliberate carv2 error."""

    archive: str | None = None
    """Path of the archive that is meant, if the call that raised this took several; else the caller knows it."""

    def __reduce__(self) -> tuple[object, ...]:  # keyword-only fields survive pickling
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(cls: type[CarError], args: tuple[object, ...], state: dict[str, object]) -> CarError:
    error = cls.__new__(cls)  # __init__ (and its keywords) is skipped
    error.args = args
    error.__dict__.update(state)
    return error


class FormatError(CarError, ValueError):
    """Bytes that break the CAR format; ``position`` is that of the first wrong byte."""

    def __init__(self, message: str, *, position: int) -> None:
        super().__init__(message)
        self.position = position

    def __str__(self) -> str:
        return f"{self.args[0]} (at byte {self.position})"


class TruncatedError(FormatError, EOFError):
    """The source itself ended inside ``field``: ``wanted`` bytes there, only ``got``."""

    def __init__(self, field: str, *, wanted: int, got: int, position: int) -> None:
        super().__init__(f"{field}: wanted {wanted} bytes, got {got}", position=position)
        self.field, self.wanted, self.got = field, wanted, got


class GatewayTruncatedError(TruncatedError):
    """An IPFS gateway gave up in mid-stream and wrote ``reason`` where a section should be.

    Source: boxo 0.42.1 and later end a failed CAR response with a text in square brackets.
    """

    def __init__(self, reason: str, *, position: int) -> None:
        super().__init__("section", wanted=1, got=0, position=position)
        self.args = (f"the gateway cut the stream short: {reason}",)
        self.reason = reason


class LimitError(FormatError):
    """A size in the file is above the field ``limit`` of :class:`carv2.Limits`."""

    def __init__(self, limit: str, *, found: int, allowed: int, position: int) -> None:
        super().__init__(f"{limit} of {found} bytes, limit {allowed}", position=position)
        self.limit, self.found, self.allowed = limit, found, allowed


class VersionError(FormatError):
    """The file says that it is of a version that carv2 does not read."""

    def __init__(self, found: int, *, position: int, supported: Sequence[int] = (1, 2)) -> None:
        known = " and ".join(map(str, supported))
        super().__init__(f"CAR version {found}, supported: {known}", position=position)
        self.found, self.supported = found, tuple(supported)


class UnfinalizedError(FormatError):
    """A CARv2 whose header is all zeros: its writer never finished it."""


class IndexFormatError(FormatError):
    """Bytes that are no CARv2 index; ``codec`` is the multicodec found, None if it is not even that."""

    def __init__(self, message: str, *, position: int, codec: int | None = None) -> None:
        super().__init__(message, position=position)
        self.codec = codec


class CodecError(FormatError):
    """The data of a block break the rules of its codec; ``position`` counts from the block's first byte.

    ``cid`` is the block's, None where only its data were known.
    """

    def __init__(self, message: str, *, position: int, cid: CID | None = None) -> None:
        super().__init__(message, position=position)
        self.cid = cid

    def __str__(self) -> str:
        block = "the block" if self.cid is None else self.cid.short()
        return f"{self.args[0]} (at byte {self.position} of {block})"


class UnixFSError(CodecError):
    """A block is sound dag-pb, but what it says about files and directories cannot be."""


class UnsafePathError(UnixFSError):
    """The name ``name``, of an entry of a directory, would lead out of the folder or cannot be a file's."""

    def __init__(self, message: str, *, name: str, cid: CID | None = None, position: int = 0) -> None:
        super().__init__(message, position=position, cid=cid)
        self.name = name


class IntegrityError(CarError):
    """Well-formed, but not what it claims to be: the data of the section at ``position`` are not ``cid``'s."""

    def __init__(self, message: str, *, cid: CID, position: int) -> None:
        super().__init__(message)
        self.cid, self.position = cid, position

    def __str__(self) -> str:
        return f"{self.args[0]} (at byte {self.position})"


class UnknownHashError(IntegrityError):
    """The block cannot be checked, because its hash function ``hash_code`` is not available here."""

    def __init__(self, message: str, *, cid: CID, position: int, hash_code: int) -> None:
        super().__init__(message, cid=cid, position=position)
        self.hash_code = hash_code


class UnexpectedBlockError(IntegrityError):
    """A stream holds the block ``cid`` at ``position``, where what was asked for does not have it."""


class IndexMismatchError(IntegrityError):
    """The index says that the block ``cid`` is at ``position``, and it is not."""


class CorruptReferenceError(IntegrityError):
    """The bytes that ``reference`` names cannot be had, or are not the block ``cid``; ``status`` says which.

    ``position`` is that of the record in the archive, or in the block the record was read from.
    """

    def __init__(
        self, message: str, *, cid: CID, position: int, status: Status, reference: FileReference | None
    ) -> None:
        super().__init__(message, cid=cid, position=position)
        self.status, self.reference = status, reference


class BlockNotFoundError(CarError, KeyError):
    """No block for ``cid`` here."""

    def __init__(self, cid: CID) -> None:
        super().__init__(cid)
        self.cid = cid

    def __str__(self) -> str:  # KeyError's own shows a repr
        return f"could not find {self.cid.short()}"


class ImportNotFoundError(CarError, KeyError):
    """There is no import of the number ``id``, or of that root."""

    def __init__(self, id_: int | CID) -> None:
        super().__init__(id_)
        self.id = id_

    def __str__(self) -> str:  # KeyError's own shows a repr
        return f"there is no import {self.id}"


class RetrievalNotFoundError(CarError, KeyError):
    """There is no retrieval by the name ``id``."""

    def __init__(self, id_: str) -> None:
        super().__init__(id_)
        self.id = id_

    def __str__(self) -> str:  # KeyError's own shows a repr
        return f"there is no retrieval {self.id}"


class PathNotFoundError(CarError, LookupError):
    """The DAG has all blocks on the way, and nothing by the name ``segment`` of ``path``."""

    def __init__(self, path: str, *, segment: str, cid: CID) -> None:
        super().__init__(f"{path}: no {segment!r} in {cid.short()}")
        self.path, self.segment, self.cid = path, segment, cid


class UnknownCodecError(CarError, LookupError):
    """No codec is registered for the code ``code``: what the block links to cannot be known."""

    def __init__(self, message: str, *, code: int, cid: CID | None = None) -> None:
        super().__init__(message)
        self.code, self.cid = code, cid


class SelectorError(CarError, ValueError):
    """A selector that cannot be; ``place`` is the way to the fault in its JSON, keys with spaces between them."""

    def __init__(self, message: str, *, place: str) -> None:
        super().__init__(f"selector: {message}" + (f" (at {place})" if place else ""))
        self.place = place


class BudgetError(CarError):
    """A walk or an extraction came to the end of its ``budget``, of which ``allowed`` was granted."""

    def __init__(self, budget: str, *, allowed: int, hint: str = "") -> None:
        super().__init__(f"more than {allowed} {budget}" + (f"; {hint}" if hint else ""))
        self.budget, self.allowed = budget, allowed


class NoIndexError(CarError, LookupError):
    """The archive carries no index, and one was asked for."""


class StateError(CarError, RuntimeError):
    """The call does not fit the state that the object is in."""


class ClosedError(StateError):
    """The object was closed."""


class ChangedError(StateError):
    """Somebody else changed the file while it was open."""


class IncompleteError(StateError):
    """There is more to the DAG of ``root`` than is there, or may be: ``completeness`` names what is missing."""

    def __init__(self, message: str, *, root: CID, completeness: Completeness) -> None:
        super().__init__(message)
        self.root, self.completeness = root, completeness


class FinalizedError(StateError):
    """The archive was finalized: nothing can be added."""


class ReadOnlyError(StateError):
    """The store is for reading only."""


class LockedError(StateError):
    """Another writer has the file at ``path``."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} is locked by another writer")
        self.path = path


class ResumeError(CarError, ValueError):
    """The file is not one that can be gone on with as asked; it was not touched.

    ``expected`` is what the caller said, ``found`` what the file says.
    """

    def __init__(self, message: str, *, expected: object, found: object) -> None:
        super().__init__(message)
        self.expected, self.found = expected, found


class ShardNotFoundError(CarError, KeyError):
    """The store has no shard of the key ``key``."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key

    def __str__(self) -> str:  # KeyError's own shows a repr
        return f"{self.key}: shard not found"


class ShardExistsError(CarError, ValueError):
    """The store has a shard of the key ``key`` already."""

    def __init__(self, key: str) -> None:
        super().__init__(f"{key}: shard already exists")
        self.key = key


class ShardInUseError(StateError):
    """The shard ``key`` cannot go: ``references`` readers have it open."""

    def __init__(self, key: str, *, references: int) -> None:
        super().__init__(f"{key}: shard in use, active references: {references}")
        self.key, self.references = key, references


class ShardErroredError(CarError):
    """The shard ``key`` failed before, with ``cause``, and waits to be recovered; ``error_type`` is its class."""

    def __init__(self, key: str, *, cause: str, error_type: str = "") -> None:
        super().__init__(f"{key}: shard is in errored state; err: {cause}")
        self.key, self.cause, self.error_type = key, cause, error_type


class MountError(CarError):
    """The bytes behind ``url`` cannot be had, or are not what they were."""

    def __init__(self, message: str, *, url: str) -> None:
        super().__init__(f"{message} ({url})" if url else message)
        self.url = url


class MountChangedError(MountError, ChangedError):
    """The bytes behind ``url`` changed while they were being read."""


_MOUNTS_OF_CARV2 = frozenset(
    {"file", "bytes", "piece", "http", "https", "s3", "s3a", "gs", "gcs", "abfs", "az", "ftp", "sftp"}
)


class UnknownMountError(CarError, LookupError):
    """No mount is registered for the URL scheme ``scheme``."""

    def __init__(self, scheme: str) -> None:
        how = {"piece": "pieces=…", "file": "", "bytes": ""}.get(scheme, f'fsspec=["{scheme}"]')
        hint = f" (default_registry({how}) knows it)" if scheme in _MOUNTS_OF_CARV2 else ""
        super().__init__(f"unrecognized mount scheme: {scheme}{hint}")
        self.scheme = scheme


class QuotaError(CarError):
    """Local copies of ``wanted`` bytes do not fit into the ``quota``, whatever unused ones go."""

    def __init__(self, *, wanted: int, quota: int) -> None:
        super().__init__(f"a local copy of {wanted} bytes does not fit: quota {quota}, the rest is in use")
        self.wanted, self.quota = wanted, quota


class WaitTimeoutError(CarError, TimeoutError):
    """Waiting for ``what`` took longer than ``seconds``; the work itself goes on."""

    def __init__(self, what: str, *, seconds: float) -> None:
        super().__init__(f"{what}: not done within {seconds:g} s")
        self.what, self.seconds = what, seconds


class RpcError(CarError):
    """A JSON-RPC API refused a call, with ``code``: below zero one of JSON-RPC's own, else of the method."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(code, message)
        self.code, self.message = code, message

    def __str__(self) -> str:
        return self.message if self.code > 0 else f"{self.message} (JSON-RPC error {self.code})"


class RpcTransportError(CarError):
    """The API at ``url`` cannot be reached, or what it sends is no answer."""

    def __init__(self, message: str, *, url: str) -> None:
        super().__init__(f"{url}: {message}")
        self.url = url


class TokenError(CarError, ValueError):
    """A token that lets nobody in: of another server, damaged, or expired."""


class GatewayError(CarError):
    """The gateway at ``url`` does not give what it was asked for; ``status`` is that of its answer, 0 without one.

    ``retry_after`` are the seconds that it wants to be left alone, None if it does not say. ``is_final`` says that
    asking again is no use, and ``other_form`` that it does not speak the form that was asked for.
    """

    def __init__(
        self,
        message: str,
        *,
        url: str,
        status: int = 0,
        retry_after: float | None = None,
        is_final: bool = False,
        other_form: bool = False,
    ) -> None:
        super().__init__(f"{url}: {message}")
        self.url, self.status, self.retry_after = url, status, retry_after
        self.is_final, self.other_form = is_final, other_form


class FetchError(CarError):
    """No gateway gave all of the DAG ``root``; ``failures`` are what went wrong, in order, at least one for each.

    ``path`` is the file that what came is kept in, None if nothing came, or if it was not to go into a file.
    """

    def __init__(self, root: CID, *, failures: Sequence[CarError], path: str | None = None) -> None:
        super().__init__(root)
        self.root, self.failures, self.path = root, tuple(failures), path

    def __str__(self) -> str:
        last = {getattr(error, "url", ""): error for error in self.failures}
        said = [self._said(url, error) for url, error in last.items()]
        return f"{self.root.short()} could not be had" + ": " * bool(said) + "; ".join(said)

    def _said(self, url: str, last: CarError) -> str:
        """What went wrong with one gateway, with why it was asked in another form, if it was."""
        mine = [error for error in self.failures if getattr(error, "url", "") == url]
        first = next((error for error in mine if getattr(error, "other_form", False)), last)
        if first is last:
            return str(last)
        return f"{first}; and block by block: {str(last).removeprefix(f'{url}: ')}"


class KuboError(CarError):
    """The IPFS node at ``url`` cannot be asked, said no, or answered with nonsense.

    ``code`` is the status of its HTTP answer; None where there was none, or the error came behind one.
    """

    def __init__(self, message: str, *, url: str, code: int | None = None) -> None:
        super().__init__(f"{message} ({url})")
        self.url, self.code = url, code


class PinError(KuboError):
    """The node at ``url`` has the blocks of an import, and could not pin all roots: see ``report``."""

    def __init__(self, message: str, *, url: str, report: CarImport) -> None:
        super().__init__(message, url=url)
        self.report = report
