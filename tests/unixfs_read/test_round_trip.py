"""What carv2 packs, by every profile, is read as what was packed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from carv2.blockstore import ReadOnlyBlockstore
from carv2.unixfs import PROFILES, open_file, pack, read, resolve, walk_entries

if TYPE_CHECKING:
    from pathlib import Path

SIZES = {"empty": 0, "small": 5, "one block": 256 << 10, "more": (256 << 10) + 1, "large/three": 3_000_000}


def laid_out(folder: Path) -> dict[str, bytes]:
    """Files of sizes around which something changes, and a directory that some profiles shard."""
    files = {name: (b"%s." % name.encode() * size)[:size] for name, size in SIZES.items()}
    files.update({f"many/{at:05} {'long name ' * 20}": b"%d" % at for at in range(1150)})
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return files


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_every_profile(profile: str, tmp_path: Path) -> None:
    files = laid_out(tmp_path / "in")
    report = pack([tmp_path / "in"], tmp_path / "out.car", profile=profile, wrap=False)
    with ReadOnlyBlockstore(tmp_path / "out.car") as store:
        found = {entry.path: entry for entry in walk_entries(store, report.root)}
        assert {path for path, entry in found.items() if entry.kind == "file"} == files.keys()
        for path, data in files.items():
            assert found[path].size == len(data)
            assert b"".join(read(store, found[path].cid)) == data
        large = resolve(store, report.root, "large/three").cid
        for start, stop in ((0, 10), (262_140, 262_150), (1_048_570, 1_048_580), (2_999_990, 3_000_000)):
            assert b"".join(read(store, large, start, stop)) == files["large/three"][start:stop]
        with open_file(store, large) as file:
            file.seek(-7, 2)
            assert file.read() == files["large/three"][-7:]
