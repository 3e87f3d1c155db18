"""The text form of an archive taken apart: what go-car's ``car compile`` reads."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from carv2.cid import CID
from carv2.codec import dag_json
from carv2.errors import CodecError, FormatError

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEAD = re.compile(rb"car compile (--v2 )?")
_BLOCK = re.compile(rb"^--- ", re.MULTILINE)
_LINES = re.compile(rb"--- (\S+)[ \t]*\r?\n\+\+\+ (\S+) (?:(\S+) )?(\S+)[ \t]*\r?\n@@[^\n]*(?:\n|\Z)")
_NO_END = b"(no-end-cr)"


class PatchBlock(NamedTuple):
    """A block as the text has it."""

    cid: CID
    value: Any
    position: int
    """Of its first line, in bytes from the start of the text."""


class Patch(NamedTuple):
    """The text of an archive."""

    version: int
    roots: list[CID]
    blocks: list[PatchBlock]


def parse(text: bytes) -> Patch:
    """Take a text apart.

    Raises:
        FormatError: it is none, with the position of the line or block that is wrong.
    """
    starts = [found.start() for found in _BLOCK.finditer(text)]
    head = text[: starts[0]] if starts else text
    version, roots = _parse_head(head)
    blocks = [_parse_block(text[start:end], start) for start, end in pairwise([*starts, len(text)])]
    return Patch(version, roots, blocks)


def _parse_head(head: bytes) -> tuple[int, list[CID]]:
    found = _HEAD.match(head)
    if found is None:
        raise FormatError("the text does not begin with 'car compile'", position=0)
    roots = [_cid(line[5:], at) for at, line in _lines(head) if line.startswith(b"root ")]
    for at, line in _lines(head):
        if at and line and not line.startswith(b"root "):
            raise FormatError(f"expected a root or a block, got {_shown(line)}", position=at)
    return 1 if found[1] is None else 2, roots


def _lines(text: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    for line in text.splitlines(keepends=True):
        yield at, line.strip()
        at += len(line)


def _parse_block(text: bytes, position: int) -> PatchBlock:
    found = _LINES.match(text)
    if found is None:
        raise FormatError("expected lines that begin with ---, +++ and @@", position=position)
    first, mode, note, second = found.groups()
    if first != second:
        raise FormatError(f"two CIDs for a block: {_shown(first)} and {_shown(second)}", position=position)
    cid = _cid(first, position)
    content = _without_newline(text[found.end() :])
    if note == _NO_END:
        content = _without_newline(content)
    if mode == b"raw":
        return PatchBlock(cid, content, position)
    if mode not in {b"dag-json", b"json"}:  # json in the texts of old versions of go-car
        raise FormatError(f"unknown form {_shown(mode)}, known: dag-json and raw", position=position)
    try:
        return PatchBlock(cid, dag_json.decode(content), position)
    except CodecError as error:
        where = position + found.end() + error.position
        raise FormatError(f"{cid.short()}: {error.args[0]}", position=where) from error


def _without_newline(content: bytes) -> bytes:
    return content.removesuffix(b"\n").removesuffix(b"\r") if content.endswith(b"\n") else content


def _cid(text: bytes, position: int) -> CID:
    try:
        return CID.of(text.decode("ascii"))
    except ValueError as error:
        raise FormatError(f"no CID: {_shown(text)}", position=position) from error


def _shown(text: bytes) -> str:
    return repr(text[:80].decode("utf-8", "backslashreplace"))
