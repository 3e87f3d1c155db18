"""What listings of folders keep."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest

from carv2.cli import folders
from carv2.unixfs import Missing
from cli.running import run
from helpers.unixfs import Dag

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("argv", [["list", "--unixfs"], ["list", "--unixfs-blocks"], ["ls", "-l"]])
def test_what_is_missing_is_printed_and_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argv: list[str]
) -> None:
    dag = Dag()
    lost = dag.leaf(b"lost")
    root = dag.directory({f"{at:03}": lost for at in range(300)})
    (tmp_path / "a.car").write_bytes(dag.archive(root, without=[lost.cid]))
    kept: list[int] = []
    shown = folders.shown

    def watched(text: str) -> str:
        if text.endswith("99"):
            kept.append(sum(type(item) is Missing for item in gc.get_objects()))
        return shown(text)

    monkeypatch.setattr(folders, "shown", watched)
    ran = run(tmp_path, [*argv, "a.car"])
    assert ran.out.count(b"\n") == 300
    assert len(kept) == 3
    assert max(kept) <= kept[0] < 10
