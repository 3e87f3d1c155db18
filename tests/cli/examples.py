"""The folder in which the examples of ``carv2 COMMAND --help`` run: the files that they name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from carv2.unixfs.packing import pack
from cli.files import BLOCKS, FISH, FISH_PATCH, IMPORTS, INDEX, ROOTS, START, STOP, TWO
from helpers import archives

if TYPE_CHECKING:
    from pathlib import Path

NUMBER = "1629158672000000001"
FISH_CID = "bafkreifuosuzujyf4i6psbneqtwg2fhplc2wxptc5euspa2gn3bwhnihfu"
RETRIEVAL = "1637000000000000000"
SHARD = "baga6ea4seaq"

NODE = archives.node(FISH[0])
TREE = {
    "docs/readme.txt": b"read me\n",
    "docs/readme.md": b"# read me\n",
    "images/shell.png": b"\x89PNG",
    "log": b"nothing happened\n" * 30,
    "photos/2026/reef.jpg": b"\xff\xd8\xff reef",
    "photos/shore.jpg": b"\xff\xd8\xff shore",
    "fish": FISH[1],
    "video.mp4": bytes(range(256)) * 500,
    "input.bin": b"input",
    "folder/a": b"a",
}
"""What ``archive.car`` holds, and the folder ``data``."""

FILES = {
    "old.car": TWO,
    "new.car": archives.v2(TWO, INDEX),
    "a.car": TWO,
    "b.car": archives.v1([FISH[0]], [FISH]),
    "shard-1.car": archives.v1(ROOTS, BLOCKS[:2]),
    "shard-2.car": archives.v1(ROOTS, BLOCKS[2:]),
    "old.carindex": INDEX,
    "damaged.car": TWO[: STOP - 1] + b"?" + TWO[STOP:],
    "unfinished.car": archives.PRAGMA + bytes(40) + TWO[:START],
    "block": NODE[1],
    "archive.patch": FISH_PATCH.encode(),
    "photo.jpg": b"\xff\xd8\xff a photo\n",
    "cids.txt": f"{FISH_CID}\n".encode(),
    "deals.jsonl": json.dumps({"PieceCID": "bafkqaaa", "State": "StorageDealActive"}).encode() + b"\n",
    f"pieces/{SHARD}.car": TWO,
    "imports.jsonl": IMPORTS,
    "lotus-imports.jsonl": IMPORTS,
    "chunks/1": archives.v1([], BLOCKS[:1]),
    "fish.car": archives.v1([FISH[0]], [FISH]),
    "repo.car": archives.v1([NODE[0]], [NODE, FISH]),
    "rest.car": archives.v1([], BLOCKS[1:]),
}
"""What lies beside them."""

_REGISTER = f"carv2 dagstore register-shard {SHARD} pieces/{SHARD}.car"
_REGISTER_ELSEWHERE = _REGISTER + " --root data/dagstore"
_IMPORTED = "carv2 imports load imports.jsonl"
_BY_REFERENCE = "CARV2_PATH=by carv2 import $PWD/data/video.mp4"
_MOVED = "mkdir -p mnt/films && mv data/video.mp4 mnt/films"
_RETRIEVED = f"carv2 retrieve ROOT --id {RETRIEVAL} --from archive.car"

BEFORE: dict[str, tuple[str, ...]] = {
    "get-block": ("cp b.car archive.car",),
    "attach-index": ("carv2 index create archive.car archive.carindex",),
    "detach-index": ("carv2 index create archive.car archive.carindex",),
    "detach-index list": ("carv2 index create archive.car archive.carindex",),
    "put-block": ("rm new.car",),
    "wrap": ("rm new.car",),
    "create": ("cp -r data/photos photos",),
    "guess-profile": ("cp -r data/photos photos",),
    **dict.fromkeys(
        ("imports list", "imports info", "imports remove", "imports check", "imports dump"), (_IMPORTED,)
    ),
    "imports export": ("carv2 imports load whole.jsonl",),
    "imports relocate": (
        _BY_REFERENCE,
        f"""CARV2_PATH=by carv2 imports dump | sed 's/"id": *"[0-9]*"/"id":"{NUMBER}"/' >moved.jsonl""",
        "carv2 imports load --trust moved.jsonl",
        _MOVED,
    ),
    **dict.fromkeys(
        ("ref status", "ref verify", "ref densify"),
        (_BY_REFERENCE, "mkdir imports && cp by/imports/*.car imports && cp by/imports/*.car archive.car"),
    ),
    "ref relocate": (_BY_REFERENCE, "cp by/imports/*.car archive.car", _MOVED),
    "ref create": (
        "carv2 create --no-wrap -o video.car data/video.mp4",
        "carv2 create --no-wrap -o folder.car data/folder",
    ),
    "diff": (
        "carv2 create --no-wrap -o old.car data/docs",
        "echo >>data/docs/readme.md && carv2 create --no-wrap -o new.car data/docs",
    ),
    "split": ("mkdir shards",),
    **dict.fromkeys(
        ("retrievals list", "retrievals info", "retrievals export", "retrievals remove"), (_RETRIEVED,)
    ),
    **dict.fromkeys(
        (
            "dagstore lookup-pieces",
            "dagstore destroy-shard",
            "dagstore stat",
            "dagstore report",
            "dagstore doctor",
            "dagstore export-go",
        ),
        (_REGISTER,),
    ),
    **dict.fromkeys(
        ("dagstore initialize-shard", "dagstore initialize-all"),
        (_REGISTER.replace("-shard", "-shard --lazy", 1),),
    ),
    **dict.fromkeys(("dagstore list-shards", "dagstore gc", "dagstore token"), (_REGISTER, _REGISTER_ELSEWHERE)),
    "dagstore recover-shard": (f"mv pieces away; {_REGISTER} 2>log; mv away pieces",),
    "dagstore import-go": (f"{_REGISTER} && carv2 dagstore export-go backup && rm -r repo",),
}
"""What is done before, command by command."""


def lay_out(folder: Path) -> str:
    """Write them all; the root of ``archive.car``."""
    for name, data in {**FILES, **{f"data/{name}": data for name, data in TREE.items()}}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    root = str(pack([folder / "data"], folder / "archive.car", wrap=False).root)
    labels = {"source": "import", "filename": "", "car_path": "archive.car", "root": root}
    (folder / "whole.jsonl").write_text(json.dumps({"id": NUMBER, "Labels": labels}) + "\n", encoding="utf-8")
    return root
