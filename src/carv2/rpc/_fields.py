"""Values in JSON that are somebody else's, looked at before they are used."""

from __future__ import annotations

from typing import Any

__all__ = ["checked", "field"]


def checked(value: Any, kind: type[Any]) -> Any:
    """``value`` if it is of that type, and a bool is no int; ValueError otherwise."""
    if type(value) is not kind:
        raise ValueError(f"{kind.__name__} expected, not {type(value).__name__}")
    return value


def field(value: Any, name: str, kind: type[Any]) -> Any:
    """The field ``name`` of an object; ValueError if there is none, or it is of another type."""
    found = checked(value, dict)
    if name not in found:
        raise ValueError(f"there is no {name}")
    return checked(found[name], kind)
