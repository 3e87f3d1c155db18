"""Runs what docs/how-to/use-a-kubo-node.md says, on a node."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import Any

from cli.running import run

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "use-a-kubo-node.md"
URL = "http://127.0.0.1:5001"


def run_guide(folder: Path, url: str) -> int:
    """Do all that the page shows, in its order; how many examples there were."""
    (folder / "photos").mkdir()
    (folder / "photos" / "fish.txt").write_bytes(b"fish")
    (folder / "photos" / "large.bin").write_bytes(bytes(range(256)) * 9000)
    names: dict[str, Any] = {"print": lambda *_: None}
    here = os.getcwd()
    os.chdir(folder)
    try:
        examples = re.findall(r"^```(python|console)\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
        for kind, text in examples:
            example = text.replace(URL, url).replace("ROOT", str(names.get("root")))
            if kind == "python":
                exec(compile(example, PAGE.name, "exec"), names)
                continue
            for line in example.splitlines():
                ran = run(folder, line.removeprefix("$ carv2 ").split())
                assert ran.code == 0, f"{line}: {ran.err}"
    finally:
        os.chdir(here)
        with contextlib.suppress(KeyError):
            names["node"].close()
    return len(examples)
