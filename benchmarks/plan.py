"""What is measured, on which archives, and against whom."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import carv2

HERE = Path(__file__).parent
OURS = "carv2"
BY_ITSELF, BUFFERED, MAPPED = "go-car (os.File)", "go-car (bufio)", "go-car (mmap)"
_STREAMING = ("small", "medium", "large")


@dataclass(frozen=True)
class Contender:
    """One row: an operation of one program."""

    program: str
    op: str
    label: str
    flags: tuple[str, ...] = ()
    only_file: str | None = None
    """The one kind of file that it takes."""
    stand_in: str | None = None
    """The archive that it gets in that one's place."""


@dataclass(frozen=True)
class Operation:
    """One table. The first row is carv2's, to which the others are held."""

    name: str
    title: str
    contenders: tuple[Contender, ...]
    files: tuple[str, ...] = _STREAMING
    version: int = 1
    """Of the archive that is read."""
    writes: bool = False
    counts: dict[str, int] = dataclasses.field(default_factory=dict)
    """How many blocks are handled of which file; all of them where nothing stands here."""
    note: str = ""
    goes_on_with: Literal["finished", "unfinished"] | None = None
    """What lies where it writes: a copy of the archive, or one as it is before a writer has finished it."""


def _ours(op: str, label: str = OURS) -> Contender:
    return Contender("carv2", op, label)


def _go(op: str, label: str, *flags: str) -> Contender:
    return Contender("go-car", op, label, flags)


def _js(op: str, label: str = "@ipld/car") -> Contender:
    return Contender("@ipld/car", op, label)


def _ipld_car(op: str, label: str) -> Contender:
    return Contender("ipld-car", op, label, only_file="small", stand_in="tiny")


_GETS = {"small": 100_000, "medium": 100_000, "large": 1_000}
_WRITES = {"small": 500_000, "medium": 65_536, "large": 256}
_WRITES_NOTE = (
    "The blocks are in memory before the clock starts, and in the peak. carv2 checks each block against its CID"
    " unless told not to; the peers never do. go-car's writer is a blockstore that looks for duplicates."
)

OPERATIONS = (
    Operation(
        "iterate",
        "Read every block, hashes not checked",
        (
            _ours("iterate"),
            _ours("decode", "carv2 CarDecoder"),
            _go("iterate", BY_ITSELF, "--bare"),
            _go("iterate", BUFFERED),
            _js("iterate"),
            Contender("libipld", "libipld-iterate", "libipld", only_file="small"),
            _ipld_car("ipld-car-iterate", "ipld-car, on fewer blocks"),
        ),
        note=(
            "CarDecoder is the push parser, fed 64 KiB at a time. libipld (Rust) takes the whole file at once and"
            " gives decoded objects in place of the blocks' bytes: not the same work. ipld-car gets a hundredth of"
            " the blocks, for it would take an hour."
        ),
    ),
    Operation(
        "iterate-verified",
        "Read every block, hashes checked",
        (
            _ours("iterate-verified"),
            _ours("iterate-verified-workers", "carv2, 2 workers"),
            _ours("decode-verified", "carv2 CarDecoder"),
            _go("iterate-verified", BY_ITSELF, "--bare"),
            _go("iterate-verified", BUFFERED),
            _js("iterate-verified", "@ipld/car + node:crypto"),
            _ipld_car("ipld-car-iterate-verified", "ipld-car + hashlib, on fewer blocks"),
        ),
    ),
    Operation(
        "inspect",
        "Inspect, hashes not checked",
        (_ours("inspect"), _go("inspect", BY_ITSELF, "--bare"), _go("inspect", MAPPED)),
        note="`car inspect` reads the file as in the first of go-car's rows.",
    ),
    Operation(
        "inspect-full",
        "Inspect, hashes checked",
        (
            _ours("inspect-full"),
            _ours("inspect-full-workers", "carv2, 2 workers"),
            _go("inspect-full", BY_ITSELF, "--bare"),
            _go("inspect-full", MAPPED),
        ),
    ),
    Operation(
        "verify",
        "Verify a CARv2: hashes, roots, index",
        (_ours("verify"), _ours("verify-workers", "carv2, 2 workers"), _go("verify", "go-car (car verify)")),
        version=2,
        note="carv2 holds index and data against each other both ways; `car verify` looks up each block.",
    ),
    Operation(
        "index",
        "Build an index and write it to a file",
        (
            _ours("index"),
            _go("index-file", "go-car (GenerateIndexFromFile)"),
            _go("index", MAPPED),
            _js("index", "@ipld/car CarIndexer, not sorted, not written"),
        ),
        writes=True,
    ),
    Operation(
        "wrap",
        "CARv1 to CARv2 with an index",
        (_ours("wrap"), _go("wrap", "go-car (WrapV1File)")),
        writes=True,
        note="carv2 syncs what it writes to the disk before the file gets its name; go-car does not.",
    ),
    Operation(
        "unwrap",
        "CARv2 to CARv1",
        (_ours("unwrap"), _go("unwrap", "go-car (ExtractV1File)")),
        version=2,
        writes=True,
        note="The same holds here.",
    ),
    Operation(
        "open",
        "Open a CARv2 and get one block",
        (_ours("open"), _go("open", "go-car blockstore")),
        version=2,
        counts=dict.fromkeys(_STREAMING, 1),
        note="Time of one such start, imports not counted.",
    ),
    Operation(
        "get",
        "Get random blocks of a CARv2 by its index, hashes checked",
        (
            _ours("get"),
            _ours("get-mapped", "carv2, memory_map=True"),
            _ours("get-many", "carv2 get_many"),
            _go("get", "go-car blockstore, not checked"),
        ),
        version=2,
        counts=_GETS,
    ),
    Operation(
        "put",
        "Put blocks into a read-write store and finalize it",
        (
            _ours("put"),
            _ours("put-unverified", "carv2, not checked"),
            _go("put", "go-car blockstore, not checked"),
        ),
        writes=True,
        counts=_WRITES,
        note="Each looks for duplicates and ends with a CARv2 with an index; carv2 also syncs it to the disk.",
    ),
    Operation(
        "resume",
        "Resume a finished CARv2, until blocks can be put again",
        (_ours("resume"), _go("resume", "go-car blockstore")),
        version=2,
        writes=True,
        goes_on_with="finished",
        note="carv2 proves the index right and keeps it; go-car indexes all sections anew.",
    ),
    Operation(
        "resume-unfinished",
        "Resume a CARv2 that was never flushed, until blocks can be put again",
        (_ours("resume"), _go("resume", "go-car blockstore")),
        version=2,
        writes=True,
        goes_on_with="unfinished",
        note="A header of zeros promises nothing, so carv2 checks every hash; go-car checks none.",
    ),
    Operation(
        "write-v1",
        "Write a CARv1",
        (
            _ours("write-v1"),
            _ours("write-v1-unverified", "carv2, not checked"),
            _go("put", "go-car blockstore, not checked", "--v1"),
            _js("write", "@ipld/car, not checked"),
        ),
        writes=True,
        counts=_WRITES,
        note=_WRITES_NOTE,
    ),
    Operation(
        "write-v2",
        "Write a CARv2 with an index",
        (
            _ours("write-v2"),
            _ours("write-v2-unverified", "carv2, not checked"),
            _go("put", "go-car blockstore, not checked"),
        ),
        writes=True,
        counts=_WRITES,
    ),
)


@dataclass(frozen=True)
class Program:
    """How to start it, and what it is."""

    command: tuple[str, ...]
    version: str


def find_programs(go: Path | None, js: Path | None) -> tuple[dict[str, Program], dict[str, str]]:
    """The programs that are here by name, and why the others are not."""
    found = {"carv2": Program((sys.executable, str(HERE / "ours.py")), f"carv2 {carv2.__version__}")}
    missing = {}
    for name, where, find in (("go-car", go, _find_go), ("@ipld/car", js, _find_js)):
        program = None if where is None else find(where)
        if program is None:
            missing[name] = "not given" if where is None else f"{where} does not run"
        else:
            found[name] = program
    for name in ("libipld", "ipld-car"):
        version = _installed_version(name)
        if version is None:
            missing[name] = "not installed"
        else:
            found[name] = Program((sys.executable, str(HERE / "python_peers.py")), f"{name} {version}")
    return found, missing


def _installed_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _find_go(binary: Path) -> Program | None:
    text = _output_of(str(binary), "version")
    if text is None:
        return None
    versions = json.loads(text)
    return Program((str(binary), "bench"), f"go-car {versions['go-car']} ({versions['go']})")


def _find_js(where: Path) -> Program | None:
    script = where / "peer.mjs" if where.is_dir() else where
    package = script.parent / "node_modules" / "@ipld" / "car" / "package.json"
    node, engine = shutil.which("node"), _output_of("node", "--version")
    if node is None or engine is None or not script.exists() or not package.exists():
        return None
    version = json.loads(package.read_text(encoding="utf-8"))["version"]
    return Program((node, str(script), "bench"), f"@ipld/car {version} (Node {engine})")


def _output_of(*command: str) -> str | None:
    """What ``command`` prints, None if it cannot be run."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
