"""Which names out of an archive may become names of files, and which symlinks may be made.

Names in an archive are anybody's text. Source of the rules: what extractors of all kinds were tricked with; names
that mean something to Windows are refused everywhere if they separate parts of a path, else on request.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

from carv2.errors import UnsafePathError

if TYPE_CHECKING:
    from carv2.cid import CID

__all__ = ["check_name"]

MAX_NAME = 255
"""Bytes. Source: NAME_MAX of the file systems in use."""

MAX_TARGET = 4095
"""Bytes of a symlink's target. Source: PATH_MAX of Linux, less the final zero."""

_HARMLESS = re.compile(r"[A-Za-z0-9_\-+=@,~ ][A-Za-z0-9_\-+=@,~ .]{0,200}").fullmatch
"""Most names: a look at the others takes longer."""

_SEPARATORS = {"/": "a slash", "\\": "a backslash", "\0": "a zero byte"}
_NOT_ON_WINDOWS = re.compile(r'[\x00-\x1f\x7f<>:"|?*]|[. ]$').search
_DEVICES = re.compile(
    r"(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(COM|LPT)[0-9\u00b9\u00b2\u00b3]) *(\..*)?", re.IGNORECASE
).fullmatch


def check_name(name: str, *, portable: bool = False, cid: CID | None = None) -> bytes:
    r"""The bytes of a file's name, if ``name`` can be one and means nothing else anywhere.

    Args:
        name: as :class:`Entry` has it.
        portable: refuse also what Windows cannot have: devices (``nul.txt``), ``:`` and other characters with a
            meaning (drives and streams), control characters, a dot or space at the end.
        cid: of the entry, for the error.

    Raises:
        UnsafePathError: it is empty, ``.`` or ``..``; it has a slash, a backslash or a zero byte in it; or it is
            longer than 255 bytes.

    >>> check_name("déjà vu.txt")
    b'd\xc3\xa9j\xc3\xa0 vu.txt'
    >>> check_name("../../etc/passwd")
    Traceback (most recent call last):
    ...
    carv2.errors.UnsafePathError: the name '../../etc/passwd' has a slash in it (at byte 0 of the block)
    """
    if _HARMLESS(name) and not portable:
        return name.encode()
    why = _why_not(name) or (_why_not_portable(name) if portable else None)
    if why is not None:
        raise UnsafePathError(f"the name {_shown(name)} {why}", name=name, cid=cid)
    return name.encode("utf-8", "surrogateescape")


def _why_not(name: str) -> str | None:
    if name in {"", ".", ".."}:
        return "is not that of a file"
    for character, what in _SEPARATORS.items():
        if character in name:
            return f"has {what} in it"
    try:
        size = len(name.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:
        return "is no text"
    return f"has {size} bytes, limit {MAX_NAME}" if size > MAX_NAME else None


def _why_not_portable(name: str) -> str | None:
    if _NOT_ON_WINDOWS(name) or any(0x80 <= ord(character) < 0xA0 for character in name):
        return "cannot be one on Windows"
    return "is a device on Windows" if _DEVICES(name) else None


def _shown(name: str) -> str:
    return repr(name) if len(name) <= MAX_NAME else f"{name[:40]!r}..."


def folded(name: str) -> str:
    """What names have in common that are one where case and composition of characters do not count."""
    return name.lower() if name.isascii() else unicodedata.normalize("NFC", name.casefold())


def check_target(target: str, depth: int, *, name: str, cid: CID | None = None) -> bytes:
    """The bytes of a symlink's target, if it leads to something inside the folder.

    It may go up at its beginning only, as many directories as the symlink is deep, and then down. Behind another
    name ``..`` is refused: that could be a symlink, and its parent be anywhere. Every symlink that is made by this
    rule leads inside, and so do chains of them.

    Args:
        target: as the archive has it.
        depth: how many directories below the top of the folder the symlink is made in.
        name: of the symlink, for the error.
        cid: the same.

    Raises:
        UnsafePathError: it leads outside, or might.
    """
    why = _why_no_target(target, depth)
    if why is not None:
        raise UnsafePathError(f"the symlink {_shown(name)} to {_shown(target)} {why}", name=name, cid=cid)
    return target.encode("utf-8", "surrogateescape")


def _why_no_target(target: str, depth: int) -> str | None:
    if not target or "\0" in target:
        return "leads nowhere"
    if len(target.encode("utf-8", "surrogateescape")) > MAX_TARGET:
        return f"has more than {MAX_TARGET} bytes"
    if target.startswith("/"):
        return "leads to a place outside"
    parts = [part for part in target.split("/") if part not in {"", "."}]
    ups = next((at for at, part in enumerate(parts) if part != ".."), len(parts))
    if ups > depth:
        return "leads outside"
    return "goes up behind a name" if ".." in parts[ups:] else None
