"""A process that downloads into a folder, slowly, and is killed: ``python -m ... FOLDER ARCHIVE KEY WHAT``."""

from __future__ import annotations

import sys
import time

from carv2 import _downloads
from carv2.dagstore import _fetching
from carv2.dagstore.mounts import FileMount
from carv2.dagstore.transients import Transients
from carv2.testing.faulty_mount import Faults, FaultyMount


def main(folder: str, archive: str, key: str, what: str) -> None:
    """Download; say ``begun`` at the first byte and ``done`` at the end, and stay until killed."""
    faults = Faults(random_access=False, resumable=True)
    mount = FaultyMount(FileMount(archive), faults)
    _fetching._CHECKPOINT = 100_000
    if what == "stuck before the name":
        _downloads.Part.finish = lambda part: time.sleep(60)  # type: ignore[method-assign,assignment,return-value]
    if what.isdecimal():
        faults.delay = float(what) / 1e6
    transients = Transients(folder)
    print("begun", flush=True)
    if what == "hold":
        print(transients.fetch(key, mount), flush=True)
    else:
        transients.fetch(key, mount)
        print("done", flush=True)
    time.sleep(60)


if __name__ == "__main__":
    main(*sys.argv[1:])
