"""Shard keys as names of files: safe, and read back where they are short enough."""

from __future__ import annotations

import hashlib
import re

__all__ = ["MAX_KEY_SIZE", "check_key", "file_name", "key_of"]

MAX_KEY_SIZE = 1024
"""Bytes of a key in UTF-8."""

_MAX_NAME = 200  # of 255 that file systems allow: callers put suffixes behind it
_DIGEST_MARK = "%~"  # no escape: those have two hexadecimal digits
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_PLAIN = re.compile(rb"[a-z0-9_.-]")
_ESCAPE = re.compile(r"%([0-9A-F]{2})")


def check_key(key: str) -> str:
    """``key``, if it can be a shard's: some text of up to 1,024 bytes without control characters.

    Raises:
        ValueError: it cannot; it says why.

    >>> check_key("baga6ea4seaqao7s73y24kcutaosvacpdjgfe5pw76ooefnyqw4ynr3d2y6x2mpq")[:4]
    'baga'
    """
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        raise ValueError(f"shard key {key!r} is no Unicode text") from None
    if not key:
        raise ValueError("a shard key cannot be empty")
    if size > MAX_KEY_SIZE:
        raise ValueError(f"shard key of {size} bytes, allowed {MAX_KEY_SIZE}: {key[:40]!r}…")
    if _CONTROL.search(key):
        raise ValueError(f"shard key {key!r} has a control character")
    return key


def file_name(key: str) -> str:
    """A file name for ``key``: other keys have other names, also where file systems do not know case.

    Keys of lower-case letters, digits, ``.``, ``-`` and ``_``, as piece CIDs are, stay as they are (the Go
    dagstore's names); what else is in them is escaped as in URLs, a leading dot too. A name is at most 200
    bytes; where it would be longer, its end gives way to a hash of the key.

    Raises:
        ValueError: not a key (see :func:`check_key`).

    >>> file_name("baga6ea4seaq"), file_name("../x"), file_name("Qm")
    ('baga6ea4seaq', '%2E.%2Fx', '%51m')
    """
    raw = check_key(key).encode()
    parts = [
        chr(byte) if _PLAIN.match(raw, at) and (at or byte != ord(".")) else f"%{byte:02X}"
        for at, byte in enumerate(raw)
    ]
    name = "".join(parts)
    if len(name) <= _MAX_NAME:
        return name
    tail = _DIGEST_MARK + hashlib.sha256(raw).hexdigest()
    front, room = "", _MAX_NAME - len(tail)
    for part in parts:
        if len(front) + len(part) > room:
            break
        front += part
    return front + tail


def key_of(name: str) -> str | None:
    """The key whose :func:`file_name` is ``name``; None if there is none, or too long a one to tell.

    >>> key_of("%2E.%2Fx"), key_of("%zz")
    ('../x', None)
    """
    try:
        raw = _ESCAPE.sub(lambda found: chr(int(found[1], 16)), name).encode("latin-1")
        key = raw.decode()
        return key if file_name(key) == name else None
    except ValueError:  # UnicodeError is one
        return None
