"""Command lines over archives, in a bounded process: ``python -m resources.commands LIMITS LINES``, each JSON.

It prints ``[line, file, exit code, standard error]`` for each; what escapes from a command ends the process.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from carv2.cli import registry
from cli.running import run
from resources.work import be_bounded, remove

LINES = {
    "inspect": ["inspect {}", "inspect --full {}"],
    "stat": ["stat {}"],
    "list": ["list {}", "list --verbose {}", "list --unixfs {}", "list --no-verify {}"],
    "ls": ["ls -l {}"],
    "cat": ["cat {} -o OUT"],
    "tree": ["tree {}"],
    "extract": ["extract {} -o OUT", "extract --tar -o OUT {}"],
    "root": ["root {}"],
    "verify": ["verify {}", "verify --deep {}"],
    "get-block": ["get-block {} bafkreifuosuzujyf4i6psbneqtwg2fhplc2wxptc5euspa2gn3bwhnihfu OUT"],
    "get-dag": ["get-dag {} OUT"],
    "put-block": ["put-block COPY"],
    "filter": ["filter --inverse --cid-file /dev/null {} OUT"],
    "concat": ["concat {} {} -o OUT"],
    "split": ["split {} OUT --size 16777216"],
    "diff": ["diff {} {}"],
    "sort": ["sort {} OUT"],
    "dot": ["dot {}"],
    "map": ["map {} -o OUT"],
    "report": ["report {} -o OUT"],
    "wrap": ["wrap {} OUT"],
    "unwrap": ["unwrap {} OUT"],
    "index": ["index {} OUT"],
    "index create": ["index create {} OUT"],
    "detach-index": ["detach-index {} OUT"],
    "detach-index list": ["detach-index list {}"],
    "attach-index": ["attach-index {} {} OUT"],
    "salvage": ["salvage {} OUT"],
    "recover": ["recover {}", "recover --apply COPY"],
    "retrieve": [
        "retrieve --repo OUT bafkreifuosuzujyf4i6psbneqtwg2fhplc2wxptc5euspa2gn3bwhnihfu --from {}",
    ],
    "ref status": ["ref status {} --allow ."],
    "ref verify": ["ref verify {} --allow ."],
    "ref densify": ["ref densify {} OUT --allow ."],
    "ref relocate": ["ref relocate {} a=b --check none -o OUT"],
    "dagstore register-shard": ["dagstore register-shard key {} --root OUT"],
    "explain": ["explain {}"],
    "debug": ["debug {} -o OUT"],
    "compile": ["compile {} -o OUT"],
}
"""What each command that reads archives of strangers is called with: ``{}`` is the archive, OUT is not there yet,
COPY is a copy of the archive."""

_SHOWN = 4000

OTHERS = {
    **dict.fromkeys(("create", "guess-profile", "import", "ref create"), "takes the user's own files"),
    **dict.fromkeys(
        (name for name in registry.COMMANDS if name.startswith(("imports ", "retrievals "))),
        "works on what is in the repository",
    ),
    **dict.fromkeys(
        (name for name in registry.COMMANDS if name.startswith("dagstore ") and name not in LINES),
        "works on what is in the store",
    ),
    "completion": "reads no archive",
    "fetch": "asks servers: tests/ipfs/test_hostile_gateways.py",
}
"""The other commands, and why."""


def main(folder: Path, files: list[str], names: list[str]) -> None:
    for file in files:
        for line in (line for name in names for line in LINES[name]):
            copy = folder / "copy.car"
            if "COPY" in line:
                copy.write_bytes(Path(file).read_bytes())
            words = [
                {"OUT": str(folder / "out"), "COPY": str(copy), "{}": file}.get(word, word)
                for word in line.split()
            ]
            ran = run(folder, words)
            print(json.dumps([line, file, ran.code, ran.err[:_SHOWN]]), flush=True)
            clear(folder)


def clear(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_file():
            path.unlink()
        else:
            remove(path)


if __name__ == "__main__":
    limits, files, names = map(json.loads, sys.argv[1:])
    for name in registry.COMMANDS:
        registry.load(name)
    be_bounded(limits["memory"], limits["seconds"])
    main(Path(limits["into"]), files, names)
