"""What is on disk, as a value."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def snapshot(folder: Path) -> dict[str, bytes | str]:
    """Everything below ``folder``: the bytes of files, ``directory``, ``-> TARGET`` of symlinks."""
    found: dict[str, bytes | str] = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        name = path.relative_to(folder).as_posix()
        if stat.S_ISLNK(status.st_mode):
            found[name] = f"-> {os.readlink(path)}"
        elif stat.S_ISDIR(status.st_mode):
            found[name] = "directory"
        else:
            found[name] = path.read_bytes() if stat.S_ISREG(status.st_mode) else "special"
    return found
