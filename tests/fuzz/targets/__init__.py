"""All targets, by their names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fuzz.targets import archives, binary, blocks, indexes, references, rpc, selectors, unixfs

if TYPE_CHECKING:
    from fuzz.target import Target

TARGETS: dict[str, Target] = {
    target.name: target
    for module in (binary, archives, indexes, blocks, unixfs, selectors, references, rpc)
    for target in module.TARGETS
}
