"""Files and folders out of blocks, written once more and simply: shares no code with carv2."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (raw[at] & 127) << shift
        shift += 7
        at += 1
        if raw[at - 1] < 128:
            return value, at


def fields(raw: bytes) -> list[tuple[int, bytes | int]]:
    found: list[tuple[int, bytes | int]] = []
    at = 0
    while at < len(raw):
        key, at = varint(raw, at)
        value, at = varint(raw, at)
        if key & 7 == 2:
            found.append((key >> 3, raw[at : at + value]))
            at += value
        else:
            found.append((key >> 3, value))
    return found


class Node:
    """A dag-pb block: its links, as (name, CID, Tsize), and the fields of its UnixFS message."""

    def __init__(self, block: bytes) -> None:
        self.links: list[tuple[bytes | None, bytes, int]] = []
        self.message: dict[int, list[bytes | int]] = {}
        for number, value in fields(block):
            assert isinstance(value, bytes)
            if number == 2:
                link = dict(fields(value))
                self.links.append((link.get(2), link[1], link[3]))  # type: ignore[arg-type]
            else:
                for key, field in fields(value):
                    self.message.setdefault(key, []).append(field)

    @property
    def type(self) -> bytes | int:
        return self.message[1][0]

    @property
    def data(self) -> bytes:
        found = self.message.get(2, [b""])[0]
        assert isinstance(found, bytes)
        return found


class Archive:
    """Blocks by binary CID; identity CIDs are their own blocks."""

    def __init__(self, blocks: Mapping[bytes, bytes]) -> None:
        self.blocks = blocks
        self.asked: set[bytes] = set()

    def block(self, cid: bytes) -> bytes:
        if cid[0] == 1 and cid[2] == 0:
            return cid[varint(cid, 3)[1] :]
        self.asked.add(cid)
        return self.blocks[cid]

    def content(self, cid: bytes) -> object:
        """bytes of a file, ``symlink to`` a target, or a dict of a directory."""
        block = self.block(cid)
        if cid[0] == 1 and cid[1] == 0x55:
            return block
        node = Node(block)
        if node.type == 2:
            parts = [self.content(link) for _, link, _ in node.links]
            sizes = [len(part) for part in parts]  # type: ignore[arg-type]
            assert node.message.get(4, []) == sizes
            data = node.data + b"".join(parts)  # type: ignore[arg-type]
            assert node.message[3] == [len(data)]
            return data
        if node.type == 4:
            return ("symlink to", node.data)
        return self.directory(node)

    def directory(self, node: Node) -> dict[bytes, object]:
        found: dict[bytes, object] = {}
        names = [name or b"" for name, _, _ in node.links]
        assert names == sorted(names)
        if node.type == 1:
            return {name or b"": self.content(cid) for name, cid, _ in node.links}
        assert node.type == 5
        width = len(f"{node.message[6][0] - 1:X}")  # type: ignore[operator]
        slots = {int(name[:width], 16) for name in names}
        assert int.from_bytes(node.data, "big") == sum(1 << slot for slot in slots)
        for name, cid, _ in node.links:
            assert name is not None
            if len(name) == width:
                found |= self.directory(Node(self.block(cid)))
            else:
                found[name[width:]] = self.content(cid)
        return found

    def tsize(self, cid: bytes) -> int:
        """What a link to ``cid`` should say: its block, and all that is behind it; checks those that are there."""
        block = self.block(cid)
        if cid[0] == 1 and cid[1] == 0x55:
            return len(block)
        total = len(block)
        for _, link, size in Node(block).links:
            assert self.tsize(link) == size
            total += size
        return total
