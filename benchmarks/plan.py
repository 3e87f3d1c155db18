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
STREAMING = ("small", "medium", "large")
FILES = (*STREAMING, "tree", "graph")


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
    role: Literal["", "reference", "tuned"] = ""
    """Reference: go-car at the same work as the first row, called as its users call it. Tuned: sped up by means
    that the caller has to bring along, and kept in a table of its own."""


@dataclass(frozen=True)
class Operation:
    """One table, of programs that do the same work but for what is noted. The first row is carv2's, to which the
    others are held."""

    name: str
    title: str
    contenders: tuple[Contender, ...]
    files: tuple[str, ...] = STREAMING
    version: Literal[1, 2, "folder"] = 1
    """Of the archive that is read; or what was packed into it."""
    writes: bool = False
    counts: dict[str, int] = dataclasses.field(default_factory=dict)
    """How many blocks are handled of which file; all of them where nothing stands here."""
    note: str = ""
    goes_on_with: Literal["finished", "unfinished"] | None = None
    """What lies where it writes: a copy of the archive, or one as it is before a writer has finished it."""
    builds_index: bool = False
    """Whether its memory is that of an index."""


def _ours(op: str, label: str = OURS) -> Contender:
    return Contender("carv2", op, label)


def _ours_tuned(op: str, label: str) -> Contender:
    return Contender("carv2", op, label, role="tuned")


def _go(op: str, label: str, *flags: str) -> Contender:
    return Contender("go-car", op, label, flags, role="reference")


def _go_tuned(op: str, label: str, *flags: str) -> Contender:
    return Contender("go-car", op, label, flags, role="tuned")


def _js(op: str, label: str = "@ipld/car") -> Contender:
    return Contender("@ipld/car", op, label)


def _ipld_car(op: str, label: str) -> Contender:
    return Contender("ipld-car", op, label, only_file="small", stand_in="tiny")


def _command(name: str, what: str, label: str) -> Contender:
    """A whole program, from its start to its end; outside.py knows how it is called."""
    return Contender(name, f"{name}:{what}", label)


_GETS = {"small": 100_000, "medium": 100_000, "large": 1_000}
_STORE, _MAPPED_STORE, _WRITER = "go-car NewReadOnly (os.File)", "go-car OpenReadOnly (mmap)", "go-car storage"
_WRITING_STORE, _OURS_MAPPED = "go-car blockstore", "carv2, memory_map=True"
_MAPPING = (
    "Neither program maps a file unless it is asked to: go-car by `OpenReadOnly`, carv2 by `memory_map=True`. The"
    " pages of the file that were read count as memory of the process."
)
_HASHED_AHEAD = "Of blocks of 32 KiB and more, carv2 hashes some ahead, in a thread for each processor."
_DURABLE = "Each hashes every block and compares, and the file is synced to the disk before the clock stops."

OPERATIONS = (
    Operation(
        "iterate",
        "Read every block, hashes not checked",
        (
            _ours("iterate"),
            _ours_tuned("decode", "carv2 CarDecoder"),
            _go("iterate", BY_ITSELF, "--bare"),
            _go_tuned("iterate", BUFFERED),
            _js("iterate"),
            Contender("libipld", "libipld-iterate", "libipld", only_file="small"),
            _ipld_car("ipld-car-iterate", "ipld-car, on fewer blocks"),
        ),
        files=FILES,
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
            _ours("iterate-verified-serial", "carv2, workers=1"),
            _ours_tuned("decode-verified", "carv2 CarDecoder"),
            _go("iterate-verified", BY_ITSELF, "--bare"),
            _go_tuned("iterate-verified", BUFFERED),
            _js("iterate-verified", "@ipld/car + node:crypto"),
            _ipld_car("ipld-car-iterate-verified", "ipld-car + hashlib, on fewer blocks"),
        ),
        files=FILES,
        note="carv2 hashes blocks of 32 KiB and more in a thread for each processor; with workers=1 in none.",
    ),
    Operation(
        "inspect",
        "Inspect, hashes not checked",
        (_ours("inspect"), _go("inspect", BY_ITSELF, "--bare"), _go_tuned("inspect", MAPPED)),
        files=FILES,
        note="`car inspect` reads the file as in the first of go-car's rows.",
    ),
    Operation(
        "inspect-full",
        "Inspect, hashes checked",
        (
            _ours("inspect-full"),
            _ours("inspect-full-workers", "carv2, 2 workers"),
            _go("inspect-full", BY_ITSELF, "--bare"),
            _go_tuned("inspect-full", MAPPED),
        ),
        files=FILES,
    ),
    Operation(
        "verify",
        "Verify a CARv2: hashes, roots, index",
        (_ours("verify"), _ours("verify-workers", "carv2, 2 workers"), _go("verify", "go-car (car verify)")),
        files=FILES,
        version=2,
        builds_index=True,
        note="carv2 holds index and data against each other both ways; `car verify` looks up each block.",
    ),
    Operation(
        "verify-deep",
        "Verify a CARv2, and that all is there that its roots lead to",
        (_ours("verify-deep"), _go("verify-deep", "go-car (car verify, then a walk)")),
        files=("tree", "graph"),
        version=2,
        note="The walk is go-ipld-prime's traversal, each link visited once; its blocks are not hashed again.",
    ),
    Operation(
        "walk",
        "Walk a DAG, hashes not checked",
        (_ours("walk"), _go("walk", f"{_STORE}, go-ipld-prime", "--bare")),
        files=("tree", "graph"),
        version=2,
    ),
    Operation(
        "walk-verified",
        "Walk a DAG, hashes checked",
        (_ours("walk-verified"), _go("walk", f"{_STORE}, go-ipld-prime", "--bare", "--verify")),
        files=("tree", "graph"),
        version=2,
    ),
    Operation(
        "walk-mapped",
        "Walk a DAG of a mapped file, hashes not checked",
        (_ours("walk-mapped", _OURS_MAPPED), _go("walk", f"{_MAPPED_STORE}, go-ipld-prime")),
        files=("tree", "graph"),
        version=2,
    ),
    Operation(
        "walk-mapped-verified",
        "Walk a DAG of a mapped file, hashes checked",
        (_ours("walk-mapped-verified", _OURS_MAPPED), _go("walk", f"{_MAPPED_STORE}, go-ipld-prime", "--verify")),
        files=("tree", "graph"),
        version=2,
        note=_MAPPING,
    ),
    Operation(
        "get-dag",
        "Write the DAG of a root to a new CARv2, hashes checked",
        (_ours("get-dag"), _go("get-dag", "go-car (TraverseToFile)", "--verify")),
        files=("tree", "graph"),
        version=2,
        writes=True,
        note="go-car's selective writer walks twice, to learn the size and to write. Neither syncs.",
    ),
    Operation(
        "index",
        "Build an index and write it to a file",
        (
            _ours("index"),
            _go("index-file", "go-car (GenerateIndexFromFile)"),
            _go_tuned("index", MAPPED),
            _js("index", "@ipld/car CarIndexer, not sorted, not written"),
        ),
        files=FILES,
        writes=True,
        builds_index=True,
    ),
    Operation(
        "wrap",
        "CARv1 to CARv2 with an index, not synced",
        (_ours("wrap"), _go("wrap", "go-car (WrapV1File)")),
        files=FILES,
        writes=True,
        builds_index=True,
        note="`carv2.wrap(..., sync=False)`.",
    ),
    Operation(
        "wrap-durably",
        "CARv1 to CARv2 with an index, synced",
        (_ours("wrap-durably"), _go("wrap", "go-car (WrapV1File) and File.Sync", "--sync")),
        writes=True,
        builds_index=True,
        note="carv2 writes to a path, where the file appears whole or not at all.",
    ),
    Operation(
        "unwrap",
        "CARv2 to CARv1, not synced",
        (_ours("unwrap"), _go("unwrap", "go-car (ExtractV1File)")),
        version=2,
        writes=True,
    ),
    Operation(
        "unwrap-durably",
        "CARv2 to CARv1, synced",
        (_ours("unwrap-durably"), _go("unwrap", "go-car (ExtractV1File) and File.Sync", "--sync")),
        version=2,
        writes=True,
    ),
    Operation(
        "open",
        "Open a CARv2 and get one block, hash not checked",
        (_ours("open"), _go("open", _STORE, "--bare")),
        files=FILES,
        version=2,
        counts=dict.fromkeys(FILES, 1),
        builds_index=True,
        note="Time of one such start, imports not counted.",
    ),
    Operation(
        "open-mapped",
        "Map a CARv2 and get one block, hash not checked",
        (_ours("open-mapped", _OURS_MAPPED), _go("open", _MAPPED_STORE)),
        files=FILES,
        version=2,
        counts=dict.fromkeys(FILES, 1),
        note=_MAPPING,
    ),
    Operation(
        "get",
        "Get random blocks of a CARv2 by its index, hashes not checked",
        (_ours("get"), _ours_tuned("get-many", "carv2 get_many"), _go("get", _STORE, "--bare")),
        version=2,
        counts=_GETS,
        builds_index=True,
    ),
    Operation(
        "get-verified",
        "Get random blocks of a CARv2 by its index, hashes checked",
        (
            _ours("get-verified"),
            _ours_tuned("get-many-verified", "carv2 get_many"),
            _go("get", f"{_STORE} and a hash", "--bare", "--verify"),
        ),
        version=2,
        counts=_GETS,
        builds_index=True,
        note="Both open the archive before the clock starts, which stays out of the time and is in the memory.",
    ),
    Operation(
        "get-mapped",
        "Get random blocks of a mapped CARv2 by its index, hashes not checked",
        (_ours("get-mapped", _OURS_MAPPED), _go("get", _MAPPED_STORE)),
        version=2,
        counts=_GETS,
    ),
    Operation(
        "get-mapped-verified",
        "Get random blocks of a mapped CARv2 by its index, hashes checked",
        (_ours("get-mapped-verified", _OURS_MAPPED), _go("get", f"{_MAPPED_STORE} and a hash", "--verify")),
        version=2,
        counts=_GETS,
        note=_MAPPING,
    ),
    Operation(
        "put",
        "Put blocks into a read-write store and finalize it, not checked, not synced",
        (_ours("put"), _go("put", _WRITING_STORE)),
        files=FILES,
        writes=True,
        builds_index=True,
        note=(
            "Each looks for duplicates and ends with an indexed CARv2. No hash is checked. go-car never syncs;"
            ' carv2 does not with `durability="none"` either.'
        ),
    ),
    Operation(
        "put-durably",
        "Put blocks into a read-write store and finalize it, checked and synced",
        (_ours("put-durably"), _go("put", f"{_WRITING_STORE}, a hash and File.Sync", "--verify", "--sync")),
        writes=True,
        builds_index=True,
        note=_DURABLE,
    ),
    Operation(
        "resume",
        "Resume a finished CARv2, until blocks can be put again",
        (_ours("resume"), _go("resume", _WRITING_STORE)),
        version=2,
        writes=True,
        goes_on_with="finished",
        builds_index=True,
        note="carv2 proves the index right and keeps it; go-car indexes all sections anew.",
    ),
    Operation(
        "resume-unfinished",
        "Resume a CARv2 that was never flushed, until blocks can be put again",
        (
            _ours("resume"),
            _go("resume", f"{_WRITING_STORE}, after reading all and checking the hashes", "--verify"),
            Contender("go-car", "resume", _WRITING_STORE),
        ),
        version=2,
        writes=True,
        goes_on_with="unfinished",
        builds_index=True,
        note=(
            "A header of zeros promises nothing, so carv2 checks every hash; go-car checks none, which is the last"
            " row and not the same work."
        ),
    ),
    Operation(
        "write-v1",
        "Write a CARv1, not checked",
        (
            _ours("write-v1"),
            _go("write", _WRITER, "--v1", "--duplicates"),
            _js("write"),
        ),
        files=FILES,
        writes=True,
        note="@ipld/car's blocks are all in memory before the clock starts.",
    ),
    Operation(
        "write-v1-verified",
        "Write a CARv1, hashes checked",
        (_ours("write-v1-verified"), _go("write", f"{_WRITER} and a hash", "--v1", "--duplicates", "--verify")),
        writes=True,
        note=_HASHED_AHEAD,
    ),
    Operation(
        "write-v2",
        "Write a CARv2 with an index, not checked",
        (_ours("write-v2"), _go("write", _WRITER, "--duplicates")),
        files=FILES,
        writes=True,
        builds_index=True,
    ),
    Operation(
        "write-v2-verified",
        "Write a CARv2 with an index, hashes checked",
        (_ours("write-v2-verified"), _go("write", f"{_WRITER} and a hash", "--duplicates", "--verify")),
        writes=True,
        builds_index=True,
        note=_HASHED_AHEAD,
    ),
    Operation(
        "pack",
        "Pack a folder of files into a CARv2, as programs from start to end",
        (
            _command("carv2-command", "pack", "carv2 create"),
            Contender(
                "go-unixfsnode",
                "go-unixfsnode:pack",
                "go-unixfsnode and a sync",
                ("--sync",),
                role="reference",
            ),
            _command("car", "pack", "car create, not synced"),
            _command("ipfs-car", "pack", "ipfs-car pack, not synced"),
        ),
        files=("tree",),
        version="folder",
        writes=True,
        note=(
            "carv2 and the Go programs make the same blocks, ipfs-car a CARv1 of others. carv2 syncs what it"
            " writes; after the Go program it is done for it."
        ),
    ),
    Operation(
        "extract",
        "Extract a folder of files from a CARv2, as programs from start to end",
        (
            _command("carv2-command", "extract", "carv2 extract"),
            Contender("car", "car:extract", "car extract", role="reference"),
            _command("ipfs-car", "extract", "ipfs-car unpack"),
        ),
        files=("tree",),
        version=2,
        writes=True,
        note="carv2 and ipfs-car check every hash.",
    ),
    Operation(
        "command-version",
        "Start and say the version",
        (
            _command("carv2-command", "version", "carv2 --version"),
            Contender("car", "car:version", "car --version", role="reference"),
        ),
        files=("small",),
        counts={"small": 1},
    ),
    Operation(
        "command-inspect",
        "Inspect an archive, hashes checked, as programs from start to end",
        (
            _command("carv2-command", "inspect", "carv2 inspect --full"),
            Contender("car", "car:inspect", "car inspect --full", role="reference"),
        ),
        files=FILES,
        version=2,
    ),
    Operation(
        "command-get",
        "Get the block of the root, as programs from start to end",
        (
            _command("carv2-command", "get", "carv2 get-block"),
            Contender("car", "car:get", "car get-block", role="reference"),
        ),
        files=FILES,
        version=2,
        counts=dict.fromkeys(FILES, 1),
    ),
)


@dataclass(frozen=True)
class Program:
    """How to start it, and what it is."""

    command: tuple[str, ...]
    version: str


def find_programs(go: Path | None, js: Path | None) -> tuple[dict[str, Program], dict[str, str]]:
    """The programs that are here by name, and why the others are not."""
    version, outside = f"carv2 {carv2.__version__}", (sys.executable, str(HERE / "outside.py"))
    found = {
        "carv2": Program((sys.executable, str(HERE / "ours.py")), version),
        "carv2-command": Program((*outside, sys.executable), version),
    }
    missing = {}
    for name, where, find in (
        ("go-car", go, _find_go),
        ("go-unixfsnode", go, _find_unixfsnode),
        ("@ipld/car", js, _find_js),
        ("ipfs-car", js, _find_ipfs_car),
        ("car", _which("car"), _find_car),
    ):
        program = None if where is None else find(where)
        if program is not None:
            found[name] = program
        elif name != "go-unixfsnode":
            missing[name] = "not found" if where is None else f"not runnable in {where.name}"
    for name in ("libipld", "ipld-car"):
        installed = _installed_version(name)
        if installed is None:
            missing[name] = "not installed"
        else:
            found[name] = Program((sys.executable, str(HERE / "python_peers.py")), f"{name} {installed}")
    return found, missing


def _which(name: str) -> Path | None:
    path = shutil.which(name)
    return None if path is None else Path(path)


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


def _find_unixfsnode(binary: Path) -> Program | None:
    found = _find_go(binary)
    return found and Program((sys.executable, str(HERE / "outside.py"), str(binary)), found.version)


def _find_car(binary: Path) -> Program | None:
    text = _output_of(str(binary), "--version")
    return None if text is None else Program((sys.executable, str(HERE / "outside.py"), str(binary)), text)


def _find_js(where: Path) -> Program | None:
    return _node_program(where, "peer.mjs", "@ipld/car", "@ipld/car", ("bench",))


def _find_ipfs_car(where: Path) -> Program | None:
    found = _node_program(where, "ipfs-car.mjs", "ipfs-car-3", "ipfs-car", ())
    return found and Program((sys.executable, str(HERE / "outside.py"), found.command[1]), found.version)


def _node_program(where: Path, name: str, package: str, title: str, arguments: tuple[str, ...]) -> Program | None:
    script, about = where / name, where / "node_modules" / package / "package.json"
    node, engine = shutil.which("node"), _output_of("node", "--version")
    if node is None or engine is None or not script.exists() or not about.exists():
        return None
    version = json.loads(about.read_text(encoding="utf-8"))["version"]
    return Program((node, str(script), *arguments), f"{title} {version} (Node {engine})")


def _output_of(*command: str) -> str | None:
    """What ``command`` prints, None if it cannot be run."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
