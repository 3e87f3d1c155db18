"""The methods of a DAG store's API as a client calls them: name, parameters, and what comes back.

What comes back is somebody else's: each value is checked before it is used. Source: Lotus' ``DagstoreShardInfo``,
``DagstoreShardResult``, ``DagstoreInitializeAllEvent``; ``DagstoreDestroyShard`` is Boost's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from carv2.cid import CID
from carv2.dagstore import Collected, InitializeEvent, ShardInfo, ShardState
from carv2.rpc._fields import checked, field

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from carv2.cid import CIDLike
    from carv2.errors import RpcError

_Result = TypeVar("_Result")

PREFIX = "Filecoin."


@dataclass(frozen=True, slots=True)
class Call(Generic[_Result]):
    """One call; ``read`` makes of the result in JSON what the caller gets, ValueError where it is not that."""

    method: str
    params: Sequence[object]
    read: Callable[[Any], _Result]


def list_shards() -> Call[list[ShardInfo]]:
    return Call("DagstoreListShards", [], _shards)


def initialize_shard(key: str) -> Call[None]:
    return Call("DagstoreInitializeShard", [key], _nothing)


def recover_shard(key: str) -> Call[None]:
    return Call("DagstoreRecoverShard", [key], _nothing)


def register_shard(key: str) -> Call[None]:
    return Call("DagstoreRegisterShard", [key], _nothing)


def destroy_shard(key: str) -> Call[None]:
    return Call("DagstoreDestroyShard", [key], _nothing)


def collect() -> Call[list[Collected]]:
    return Call("DagstoreGC", [], lambda value: [_collected(one) for one in checked(value, list)])


def lookup_pieces(cid: CIDLike) -> Call[list[ShardInfo]]:
    return Call("DagstoreLookupPieces", [{"/": str(CID.of(cid))}], _shards)


def index_size() -> Call[int]:
    return Call("DagstorePieceIndexSize", [], lambda value: checked(value, int))


def initialize_all(concurrency: int, *, include_sealed: bool) -> Call[InitializeEvent]:
    """The stream of events; ``read`` is for each of them."""
    params = {"MaxConcurrency": concurrency, "IncludeSealed": include_sealed}
    return Call("DagstoreInitializeAll", [params], _event)


def says_not_found(error: RpcError) -> bool:
    """Whether a lookup failed only because no shard has the block: an error in Lotus, though it is an answer."""
    return error.message.startswith("failed to lookup index for mh ") and error.message.endswith("not found")


def selected(shards: Sequence[ShardInfo], state: ShardState | None, prefix: str) -> Iterator[ShardInfo]:
    """Those in one state, or with one prefix."""
    return (info for info in shards if info.key.startswith(prefix) and state in {None, info.state})


# -- what comes back ------------------------------------------------------------------------------------------


def _nothing(_value: Any) -> None:
    return None


def _shards(value: Any) -> list[ShardInfo]:
    return [_shard(one) for one in checked(value or [], list)]  # Go's nil is no list, but null


def _shard(value: Any) -> ShardInfo:
    return ShardInfo(
        key=field(value, "Key", str),
        state=ShardState.of_go_name(field(value, "State", str)),
        error=field(value, "Error", str),
        error_type="",
        url="",
        local_copy="",
        is_lazy=False,
        references=0,
        block_count=0,
        index_size=0,
        source_size=None,
        generation=0,
        created=0.0,
        updated=0.0,
        last_access=0.0,
    )


def _collected(value: Any) -> Collected:
    key, is_gone = field(value, "Key", str), field(value, "Success", bool)
    return Collected(key, skipped="" if is_gone else field(value, "Error", str) or "it failed")


def _event(value: Any) -> InitializeEvent:
    event = field(value, "Event", str)
    if event not in {"start", "end"}:
        raise ValueError(f"{event} is no event")
    return InitializeEvent(
        field(value, "Key", str),
        event,
        success=field(value, "Success", bool),
        error=field(value, "Error", str),
        total=field(value, "Total", int),
        current=field(value, "Current", int),
    )
