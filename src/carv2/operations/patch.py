"""An archive as a text that can be edited, and an archive made of such a text.

The text is that of go-car's ``car debug`` and ``car compile``: the command line that takes it back, a line for
each root; and for each block two lines with its CID, one with the number of lines, and its value in dag-json, or
the block itself where it is readable text. What go-car's own text would not carry whole is put in another way:
text that begins like the next block, or ends with a carriage return, as dag-json; floats without a fraction with
their ``.0``.

An edited block has another hash. :func:`from_patch` works out the new CIDs from the leaves up and puts them into
the links of other blocks and, unlike go-car, into the roots.
"""

from __future__ import annotations

import contextlib
import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from carv2 import codec, multihash
from carv2._atomic import writing
from carv2.cid import CID, DAG_PB
from carv2.codec import dag_cbor, dag_json, dag_pb
from carv2.codec._values import copied
from carv2.errors import CodecError, FormatError, UnknownCodecError
from carv2.operations._patch_text import PatchBlock, parse
from carv2.operations.wrap import wrap
from carv2.reader import CarReader
from carv2.units import DEFAULT_LIMITS, Limits
from carv2.writer import CarWriter

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator
    from typing import BinaryIO

    from carv2._source import SourceLike

__all__ = ["PatchReport", "from_patch", "to_patch"]

_DAG_CBOR = 0x71
_UNPRINTABLE = re.compile(rb"[\x00-\x08\x10-\x14\x16-\x19\x1c-\x1f]")  # exactly what go-car looks for
_NEXT = b"\n--- "


@dataclass(frozen=True, kw_only=True)
class PatchReport:
    """What :func:`from_patch` made."""

    version: int
    """Of the archive."""
    roots: tuple[CID, ...]
    block_count: int
    changed: dict[CID, CID]
    """CIDs of the text, of blocks that have other ones now."""


def to_patch(
    source: SourceLike,
    *,
    name: str = "-",
    on_inexact: Callable[[CID], object] | None = None,
    limits: Limits = DEFAULT_LIMITS,
    null_padding: bool = False,
) -> Iterator[bytes]:
    """The archive as a text, in pieces: one for the head, one for each block.

    Each block is checked against its CID. A block that is not in its codec's canonical form gets another CID when
    the text is made into an archive again, even unedited.

    Args:
        source: an archive of either version.
        name: what the text calls the archive.
        on_inexact: called with the CID of each block that is not canonical.
        limits: upper bounds for what the file may claim.
        null_padding: take a zero-length section for the end of the payload.

    Raises:
        FormatError: the archive is damaged; as :class:`CodecError`, a block breaks the rules of its codec.
        IntegrityError: a block is not what its CID says.

    >>> from carv2 import iter_car
    >>> archive = b"".join(iter_car([], [(CID.of_data(b"fish"), b"fish")]))
    >>> print(b"".join(to_patch(archive, name="fish.car")).decode(), end="")
    car compile fish.car
    --- bafkreifuosuzujyf4i6psbneqtwg2fhplc2wxptc5euspa2gn3bwhnihfu
    +++ raw (no-end-cr) bafkreifuosuzujyf4i6psbneqtwg2fhplc2wxptc5euspa2gn3bwhnihfu
    @@ -0,0 +0,0 @@
    fish
    """
    with CarReader(source, limits=limits, null_padding=null_padding) as car:
        flag = "--v2 " if car.version == 2 else ""
        lines = [f"car compile {flag}{_one_line(name)}", *(f"root {root}" for root in car.roots), ""]
        yield "\n".join(lines).encode("utf-8", "surrogateescape")
        for cid_bytes, data in car:
            cid = CID.trusted(cid_bytes)
            text, exact = _block_text(cid, data)
            if not exact and on_inexact is not None:
                on_inexact(cid)
            yield text


def _one_line(name: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in name)


def _block_text(cid: CID, data: bytes) -> tuple[bytes, bool]:
    """The lines of a block, and whether they give the same block again."""
    value = _value_of(cid, data)
    if isinstance(value, bytes) and _is_readable(value):
        mode, content = "raw", value
    else:
        mode, content = "dag-json", _json_of(cid, value)
    note = "" if content.endswith(b"\n") else " (no-end-cr)"
    lines = content.count(b"\n")
    head = f"--- {cid}\n+++ {mode}{note} {cid}\n@@ -0,{lines} +0,{lines} @@\n"
    return head.encode() + content + b"\n", _is_exact(cid, mode, content, data)


def _value_of(cid: CID, data: bytes) -> Any:
    """The value of a block, its codec's leniency at its greatest; the data themselves, if the codec is unknown."""
    try:
        if cid.codec == DAG_PB:
            return dag_pb.to_map(codec.decode(cid, data))
        if cid.codec == _DAG_CBOR:
            return dag_cbor.decode(data, strict=False)
        return codec.decode(cid, data)
    except UnknownCodecError:
        return data
    except CodecError as error:
        error.cid = cid
        raise


def _is_readable(content: bytes) -> bool:
    """Whether go-car takes the bytes for text, and can take them back."""
    if _UNPRINTABLE.search(content) or _NEXT in content or content.startswith(_NEXT[1:]):
        return False
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return not content.endswith(b"\r")


def _json_of(cid: CID, value: object) -> bytes:
    """dag-json with an entry a line; what ends in a bracket also ends its line, as in go-ipld-prime."""
    try:
        text = dag_json.text_of(value, indent="\t", lossy=True)
    except ValueError as error:
        raise CodecError(f"no dag-json: {error}", position=0, cid=cid) from error
    return text.encode() + (b"\n" if text.endswith(("]", "}")) else b"")


def _is_exact(cid: CID, mode: str, content: bytes, data: bytes) -> bool:
    """Whether what stands in the text gives the same block again."""
    try:
        return _encoded(cid, content if mode == "raw" else dag_json.decode(content)) == data
    except (ValueError, TypeError):
        return False


def _encoded(cid: CID, value: object) -> bytes:
    """The block of a value; of an unknown codec, the value is the block.

    Raises:
        ValueError, TypeError: the codec cannot hold it.
    """
    if cid.codec == DAG_PB:
        return dag_pb.encode(dag_pb.from_map(value))
    try:
        return codec.encode(cid.codec, value)
    except UnknownCodecError:
        return codec.encode("raw", value)


def from_patch(
    text: str | bytes | Iterable[bytes],
    destination: str | os.PathLike[str] | BinaryIO,
    *,
    version: int | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> PatchReport:
    """Make an archive of a text that :func:`to_patch` or ``car debug`` made and somebody may have edited.

    Blocks keep their order. A CARv2 gets an index.

    Args:
        text: the whole of it, or pieces of bytes, as :func:`to_patch` gives them and a file opened for bytes does.
        destination: a path, which is replaced whole or not at all, or any sink.
        version: of the archive, 1 or 2; None for what the text says.
        limits: what a reader with the same limits could not read is refused.

    Raises:
        TypeError: ``text`` is something else.
        FormatError: the text is none, its blocks link in a circle, one of them comes twice and differs, or cannot
            be encoded or hashed. ``position`` counts from the start of the text.

    >>> archive = io.BytesIO()
    >>> report = from_patch(b'''car compile notes.car
    ... --- bafkreifuosuzujyf4i6psbneqtwg2fhplc2wxptc5euspa2gn3bwhnihfu
    ... +++ raw (no-end-cr) bafkreifuosuzujyf4i6psbneqtwg2fhplc2wxptc5euspa2gn3bwhnihfu
    ... @@ -0,0 +0,0 @@
    ... lobster
    ... ''', archive)
    >>> [block.data for block in CarReader(archive.getvalue())], len(report.changed)
    ([b'lobster'], 1)

    Unedited, it comes back as it was:

    >>> copy = io.BytesIO()
    >>> from_patch(to_patch(archive.getvalue()), copy).block_count, copy.getvalue() == archive.getvalue()
    (1, True)
    """
    patch = parse(_whole(text))  # nothing here keeps the text from now on
    builder = _Builder(patch.blocks)
    blocks = [builder.block(index) for index in range(len(patch.blocks))]
    roots = tuple(CID.trusted(builder.renamed.get(root.raw, root.raw)) for root in patch.roots)
    version = version or patch.version
    _write(blocks, roots, destination, version, limits)
    changed = {CID.trusted(old): CID.trusted(new) for old, new in builder.renamed.items() if old != new}
    return PatchReport(version=version, roots=roots, block_count=len(blocks), changed=changed)


def _whole(text: str | bytes | Iterable[bytes]) -> bytes:
    if isinstance(text, (bytes, bytearray, memoryview)):
        return bytes(text)
    if isinstance(text, str):
        return text.encode("utf-8", "surrogateescape")
    try:
        return b"".join(text)
    except TypeError as error:
        raise TypeError(f"the text is to be str, bytes, or pieces that are bytes: {error}") from error


def _write(
    blocks: list[tuple[bytes, bytes]],
    roots: tuple[CID, ...],
    destination: str | os.PathLike[str] | BinaryIO,
    version: int,
    limits: Limits,
) -> None:
    with contextlib.ExitStack() as stack:
        sink = io.BytesIO() if version == 2 else stack.enter_context(writing(destination))
        car = stack.enter_context(CarWriter(sink, roots, verify=False, limits=limits))
        for cid, data in blocks:
            car.write(cid, data)
    if version == 2:
        wrap(cast("io.BytesIO", sink).getvalue(), destination, limits=limits)


class _Builder:
    """Encodes blocks from the leaves up, and knows which CIDs became which."""

    def __init__(self, blocks: list[PatchBlock]) -> None:
        self._blocks = blocks
        self._indices: dict[bytes, int] = {}
        self._done: dict[int, tuple[bytes, bytes]] = {}
        self.renamed: dict[bytes, bytes] = {}
        for index, block in enumerate(blocks):
            first = blocks[self._indices.setdefault(block.cid.raw, index)]
            if first.value != block.value:
                raise FormatError(f"{block.cid.short()} comes twice, and differs", position=block.position)

    def block(self, index: int) -> tuple[bytes, bytes]:
        """The CID and data of a block, made after those that it links to."""
        index = self._indices[self._blocks[index].cid.raw]
        open_ones: dict[int, Iterator[int]] = {index: self._children(index)}
        while index not in self._done:
            current, children = next(reversed(open_ones.items()))
            child = next((child for child in children if child not in self._done), None)
            if child is None:
                self._done[current] = self._made(self._blocks[current])
                del open_ones[current]
            elif child in open_ones:
                block = self._blocks[child]
                raise FormatError(f"{block.cid.short()} links to itself by a circle", position=block.position)
            else:
                open_ones[child] = self._children(child)
        return self._done[index]

    def _children(self, index: int) -> Iterator[int]:
        found: list[int] = []

        def note(item: object) -> None:
            if isinstance(item, CID) and item.raw in self._indices:
                found.append(self._indices[item.raw])

        copied(self._blocks[index].value, note)
        return iter(found)

    def _made(self, block: PatchBlock) -> tuple[bytes, bytes]:
        try:
            data = _encoded(block.cid, copied(block.value, self._rename))
            cid = _cid_like(block.cid, data)
        except (ValueError, TypeError) as error:
            why = f"{block.cid.short()} cannot be made: {error}"
            raise FormatError(why, position=block.position) from error
        self.renamed[block.cid.raw] = cid
        return cid, data

    def _rename(self, item: object) -> object:
        return CID.trusted(self.renamed.get(item.raw, item.raw)) if isinstance(item, CID) else item


def _cid_like(cid: CID, data: bytes) -> bytes:
    """The CID of ``data``, of the same version, codec and hash function, with a digest as long."""
    size = None if cid.is_identity else cid.parts.digest_size
    digest = multihash.digest(cid.hash_code, data, size)
    return CID.of_multihash(multihash.encode(cid.hash_code, digest), codec=cid.codec, version=cid.version).raw
