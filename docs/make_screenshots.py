"""The screenshots of the documentation, of an archive and of a DAG store: ``python docs/make_screenshots.py``.

Needs Chromium. What the pictures show is made here, so that they come out the same wherever they are made.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import tempfile
from pathlib import Path

from carv2 import unixfs
from carv2.dagstore import ShardInfo, ShardState
from carv2.dagstore.survey import draw_store_report, survey
from carv2.pictures import draw_map, draw_report, layout

PICTURES = Path(__file__).parent / "pictures"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
STATES = {ShardState.AVAILABLE: 80, ShardState.NEW: 14, ShardState.SERVING: 4, ShardState.INITIALIZING: 1}
FAILED = (
    ("the server said 404 Not Found", "MountError"),
    ("section: wanted 1048615 bytes, got 999703 (at byte 1000000)", "TruncatedError"),
)


def damaged_archive(folder: Path) -> Path:
    """That of the how-to page: a few files, and one byte of it overwritten."""
    pond = folder / "pond"
    (pond / "deep").mkdir(parents=True)
    (pond / "fish.txt").write_text("a fish\n")
    (pond / "deep" / "lobster.txt").write_text("a lobster\n")
    (pond / "numbers.txt").write_text("".join(f"{n}\n" for n in range(900_000)))
    path = folder / "hurt.car"
    unixfs.pack(pond, path)
    with path.open("r+b") as file:
        file.seek(2_500_000)
        file.write(b"X")
    return path


def shards() -> list[ShardInfo]:
    """A store of some 1,800, as a storage provider may have it."""
    chosen = random.Random(1)  # noqa: S311  (nobody is to be surprised)
    states = chosen.choices(list(STATES), list(STATES.values()), k=1800)
    found = [_shard(chosen, state) for state in states]
    found += [_shard(chosen, ShardState.ERRORED, error=error, error_type=name) for error, name in FAILED]
    return sorted(found, key=lambda info: info.key)


def _shard(chosen: random.Random, state: ShardState, error: str = "", error_type: str = "") -> ShardInfo:
    key = f"baga6ea4seaq{chosen.randbytes(12).hex()}"
    is_known = state in {ShardState.AVAILABLE, ShardState.SERVING}
    size = int(chosen.lognormvariate(22, 1.6))
    return ShardInfo(
        key=key,
        state=state,
        error=error,
        error_type=error_type,
        url=f"{chosen.choice(('piece', 'piece', 'file', 'https'))}://{key}",
        local_copy="",
        is_lazy=state is ShardState.NEW,
        references=int(state is ShardState.SERVING),
        block_count=size // 200_000 if is_known else 0,
        index_size=size // 5_000 if is_known else 0,
        source_size=size if is_known else None,
        generation=int(is_known),
        created=1_780_000_000.0,
        updated=1_790_000_000.0,
        last_access=1_793_000_000.0 if is_known and chosen.random() < 0.4 else 0.0,
    )


def drawn(folder: Path) -> dict[str, str]:
    """Names and texts of what is looked at."""
    found = layout(damaged_archive(folder))
    store = survey(shards(), name="/srv/dagstore", local_copies=12, local_copy_bytes=31 << 30)
    return {"map.svg": draw_map(found), "report.html": draw_report(found), "store.html": draw_store_report(store)}


def main() -> None:
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise SystemExit("there is no Chromium to take pictures with")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, text in drawn(folder).items():
            (folder / file).write_text(text, encoding="utf-8")
            if file.endswith(".svg"):
                (PICTURES / "damaged-map.svg").write_text(text, encoding="utf-8")
                continue
            picture = PICTURES / f"{file.removesuffix('.html')}.png"
            options = [
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
                "--window-size=1000,1080",
            ]
            command = [browser, *options, f"--user-data-dir={folder / 'profile'}", f"--screenshot={picture}"]
            command.append((folder / file).as_uri())
            subprocess.run(command, check=True, capture_output=True)  # noqa: S603  (all of it is from here)


if __name__ == "__main__":
    main()
