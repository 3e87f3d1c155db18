"""The states of a shard and what leads from one to the next: one table, for the store, its tests and its docs.

Only three of the states are kept on disk (:class:`carv2.dagstore.catalogue.DurableState`). The others are what is
going on in a process, so they end with it and need no repair. Names and numbers are the Go dagstore's.

Source: the states of shards of Lotus' DAG store (https://github.com/filecoin-project/dagstore).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carv2.dagstore.catalogue import DurableState

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["TRANSITIONS", "Operation", "ShardState", "Transition", "diagram", "is_allowed", "visible_state"]


class ShardState(enum.IntEnum):
    """What a shard is doing.

    >>> ShardState.AVAILABLE.go_name, ShardState.of_go_name("ShardStateErrored").value
    ('ShardStateAvailable', 240)
    """

    NEW = 0x00
    """Registered; nothing was read yet."""
    INITIALIZING = 0x01
    """Its bytes are being fetched and indexed."""
    AVAILABLE = 0x02
    """Indexed, and nobody reads it."""
    SERVING = 0x03
    """Indexed, and somebody reads it."""
    RECOVERING = 0x80
    """Being fetched and indexed anew, after an error."""
    ERRORED = 0xF0
    """The last attempt failed."""

    @property
    def go_name(self) -> str:
        """As Lotus prints it."""
        return f"ShardState{self.name.title()}"

    @classmethod
    def of_go_name(cls, name: str) -> ShardState:
        """The state of that name; ValueError if there is none."""
        for state in cls:
            if state.go_name == name:
                return state
        raise ValueError(f"{name} is no state of a shard")


class Operation(enum.Enum):
    """What happens to a shard."""

    REGISTER = "register"
    INITIALIZE = "initialize"
    MAKE_AVAILABLE = "make available"
    FAIL = "fail"
    RECOVER = "recover"
    BREAK_OFF = "break off"
    ACQUIRE = "acquire"
    RELEASE = "release"
    DESTROY = "destroy"


@dataclass(frozen=True, slots=True)
class Transition:
    """One way on; ``before`` is None where there was no shard, ``after`` where there is none any more."""

    before: ShardState | None
    operation: Operation
    after: ShardState | None
    when: str = ""
    """What must hold besides."""
    is_durable: bool = False
    """Whether it is written to disk."""


def _table() -> Iterator[Transition]:
    new, initializing, available, serving, recovering, errored = ShardState
    op = Operation
    yield Transition(None, op.REGISTER, new, is_durable=True)
    yield Transition(new, op.INITIALIZE, initializing, "asked for, or for the first reader")
    yield Transition(available, op.INITIALIZE, initializing, "its index is lost, damaged or not entered")
    yield Transition(serving, op.INITIALIZE, initializing, "its index is lost, damaged or not entered")
    yield Transition(errored, op.RECOVER, recovering)
    for busy in (initializing, recovering):
        yield Transition(busy, op.MAKE_AVAILABLE, available, "nobody reads it", is_durable=True)
        yield Transition(busy, op.MAKE_AVAILABLE, serving, "readers of before are there", is_durable=True)
        yield Transition(busy, op.FAIL, errored, is_durable=True)
        yield Transition(busy, op.RELEASE, busy, "a reader of before")
    for before in (new, available, serving):
        yield Transition(
            initializing, op.BREAK_OFF, before, "the store is closed, its catalogue fails, or a disk is full"
        )
    yield Transition(
        recovering, op.BREAK_OFF, errored, "the store is closed, its catalogue fails, or a disk is full"
    )
    yield Transition(available, op.FAIL, errored, "its bytes are not those that were indexed", is_durable=True)
    yield Transition(serving, op.FAIL, errored, "its bytes are not those that were indexed", is_durable=True)
    yield Transition(available, op.ACQUIRE, serving)
    yield Transition(serving, op.ACQUIRE, serving)
    yield Transition(serving, op.RELEASE, serving, "others read it")
    yield Transition(serving, op.RELEASE, available, "the last reader")
    yield Transition(errored, op.RELEASE, errored, "a reader of before")
    for idle in (new, available, errored):
        yield Transition(idle, op.DESTROY, None, "nobody reads it, or by force", is_durable=True)
    yield Transition(serving, op.DESTROY, None, "by force", is_durable=True)


TRANSITIONS = tuple(_table())
"""All that can happen. What is not here is refused."""

_ALLOWED = {(row.before, row.operation, row.after) for row in TRANSITIONS}


def is_allowed(before: ShardState | None, operation: Operation, after: ShardState | None) -> bool:
    """Whether the table has it.

    >>> is_allowed(ShardState.ERRORED, Operation.RELEASE, ShardState.AVAILABLE)
    False
    """
    return (before, operation, after) in _ALLOWED


def visible_state(durable: DurableState, *, is_busy: bool, references: int) -> ShardState:
    """What a shard is doing, of what is on disk and what goes on.

    >>> visible_state(DurableState.ERRORED, is_busy=True, references=0)
    <ShardState.RECOVERING: 128>
    """
    if durable is DurableState.ERRORED:
        return ShardState.RECOVERING if is_busy else ShardState.ERRORED
    if is_busy:
        return ShardState.INITIALIZING
    if durable is DurableState.NEW:
        return ShardState.NEW
    return ShardState.SERVING if references else ShardState.AVAILABLE


def diagram() -> str:
    """The table as a Mermaid state diagram.

    >>> diagram().splitlines()[:2]
    ['stateDiagram-v2', '    [*] --> New: register']
    """
    lines = ["stateDiagram-v2"]
    for row in TRANSITIONS:
        before = "[*]" if row.before is None else row.before.name.title()
        after = "[*]" if row.after is None else row.after.name.title()
        when = f" ({row.when})" if row.when else ""
        lines.append(f"    {before} --> {after}: {row.operation.value}{when}")
    return "\n".join(lines) + "\n"
