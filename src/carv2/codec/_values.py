"""Values of the IPLD data model, walked without recursion."""

from __future__ import annotations

from os import urandom
from typing import TYPE_CHECKING, Any, cast

from carv2.cid import CID

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    _Container: TypeAlias = "dict[str, object] | list[object]"

MAX_DEPTH = 128
"""How many maps and lists may stand in each other, in what is read and in what is written."""

_LEAVES = (str, int, bytes, CID, float, type(None))  # bool is an int


def copied(
    value: object, change: Callable[[Any], object], check: Callable[[dict[str, Any]], object] | None = None
) -> Any:
    """A copy of ``value``, with what is neither a map nor a list replaced by what ``change`` makes of it.

    ``check`` sees each map as it was.

    Raises:
        ValueError: nested deeper than :data:`MAX_DEPTH`, as by itself.
        TypeError: something that is not of the data model.
    """
    root: dict[str, object] = {"": value}
    todo: list[tuple[_Container, int]] = [(root, 0)]  # copies, whose items are still the originals
    while todo:
        holder, depth = todo.pop()
        for key, item in holder.items() if isinstance(holder, dict) else enumerate(holder):
            copy = _copy_of_container(item)
            if copy is not None:
                if check is not None and isinstance(copy, dict):
                    check(copy)
                if depth == MAX_DEPTH:
                    raise ValueError(f"nested deeper than {MAX_DEPTH}")
                todo.append((copy, depth + 1))
            elif not isinstance(item, _LEAVES):
                raise TypeError(f"a {type(item).__name__} is not of the IPLD data model")
            made = change(item) if copy is None else copy
            holder[key] = made  # type: ignore[index]  # pyright: ignore[reportArgumentType, reportCallIssue]
    return root[""]


def _copy_of_container(item: object) -> _Container | None:
    if isinstance(item, (list, tuple)):
        return list(cast("list[object]", item))
    if not isinstance(item, dict):
        return None
    copy = dict(cast("dict[object, object]", item))
    for key in copy:
        if not isinstance(key, str):
            raise TypeError(f"keys are text, got {type(key).__name__}")
    return cast("dict[str, object]", copy)


class Marks:
    """Byte strings of 12 that stand for CIDs where a library cannot deal with these.

    Each begins with ``mark``, which must not occur in the rest of the value.
    """

    def __init__(self, mark: bytes) -> None:
        self.mark = mark
        self.cids: list[bytes] = []

    def put(self, item: object) -> object:
        """What stands for ``item``, if it is a CID; else ``item``."""
        return self.of(item.raw) if isinstance(item, CID) else item

    def of(self, cid: bytes) -> bytes:
        """What stands for the next CID."""
        self.cids.append(cid)
        return self.mark + (len(self.cids) - 1).to_bytes(4, "big")

    def take(self, item: object) -> object:
        """The CID that ``item`` stands for; ``item`` if it stands for none."""
        if isinstance(item, bytes) and item.startswith(self.mark):
            return CID.trusted(self.cids[int.from_bytes(item[8:], "big")])
        return item


def unused_mark(data: bytes) -> bytes:
    """Eight bytes that are not in ``data``: drawn anew, so that nobody can have put them there."""
    mark = urandom(8)
    while mark in data:
        mark = urandom(8)
    return mark
