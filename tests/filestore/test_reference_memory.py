"""How much memory an import of a file takes that is much larger than it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 10 << 30
LIMIT = 100 << 20

IMPORT = """
import os, sys
from carv2.filestore import import_by_reference
file, got = os.open(sys.argv[1], os.O_RDONLY), 0
def forget(size):
    global got
    got += size
    if got % (16 << 20) == 0:
        os.posix_fadvise(file, got - (16 << 20), 16 << 20, os.POSIX_FADV_DONTNEED)
report = import_by_reference(sys.argv[1], sys.argv[2], profile="unixfs-v1-2025", on_progress=forget)
with open("/proc/self/status") as status:
    peak = next(int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM"))
print(report.size, report.reference_count, report.archive_size, peak)
"""
# The page cache is let go of on the way: to fill it with 10 GiB can take longer than to hash them, and it is no
# part of the peak. Not getrusage: its figure begins at the peak of the process that started this one.


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the peak")
def test_ten_gib_are_imported_in_less_than_a_hundred_mb(tmp_path: Path) -> None:
    original = tmp_path / "original"
    with original.open("wb") as file:
        file.truncate(SIZE)
        for at in range(0, SIZE, 1 << 20):  # no two chunks are equal, so each needs a record
            os.pwrite(file.fileno(), at.to_bytes(8, "big"), at)
    if original.stat().st_blocks * 512 > SIZE // 10:
        original.unlink()
        pytest.skip("the file system keeps no sparse files")
    try:
        command = [sys.executable, "-c", IMPORT, str(original), str(tmp_path / "out.car")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    finally:
        original.unlink()
    size, references, archive_size, peak = map(int, done.stdout.split())
    assert (size, references) == (SIZE, SIZE >> 20)
    assert archive_size < SIZE / 100
    assert peak < LIMIT
