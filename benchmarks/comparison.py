"""What readers of CAR files make of the same files, sound ones and broken ones.

    pip install libipld ipld-car carbox ipfsspec atmst    # those that are to be asked
    python benchmarks/comparison.py --go PEER --js tests/interop/js --docs

Each file is read by each library in a process of its own, which is stopped after a minute. ``--python`` names the
interpreter that has the libraries, ``--go`` the program of ``tests/interop/go``, ``--js`` the folder with
``peer.mjs`` and ``@ipld/car``; what is missing is left out and named. ``--docs`` writes the tables into
``docs/comparison.md`` and some rows of them into the README.
"""

from __future__ import annotations

import argparse
import datetime as dt
import importlib
import importlib.metadata
import io
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROOT = Path(__file__).absolute().parent.parent
PATIENCE = 60  # seconds for one file


class Case(NamedTuple):
    """A file, and the CIDs of its blocks if it is sound; None if a reader has to say that it is not."""

    name: str
    data: bytes
    cids: list[str] | None


class Library(NamedTuple):
    """A library, where it is from, and the command that lists the CIDs of a file."""

    name: str
    version: str
    command: list[str]


def cases() -> list[Case]:
    """The files. But for what they are about they are as plain as can be: dag-cbor, SHA-256, one root."""
    import carv2
    from carv2._varint import encode as varint
    from carv2.codec import dag_cbor

    def block(value: object) -> tuple[carv2.CID, bytes]:
        data = dag_cbor.encode(value)
        return carv2.CID.of_data(data, codec="dag-cbor"), data

    def section(cid: carv2.CID, data: bytes, size: bytes | None = None) -> bytes:
        return (varint(36 + len(data)) if size is None else size) + bytes(cid) + data

    one, two = block({"fish": 1}), block({"lobster": "x" * 200})
    raw, blake = carv2.CID.of_data(b"fish"), carv2.CID.of_data(b"fish", hash="blake2b-256")
    old, empty = carv2.CID.of_data(b"", codec="dag-pb", version=0), carv2.CID.of_data(b"")
    identity = carv2.CID.of_data(one[1], codec="dag-cbor", hash="identity")
    header, both = _car([one[0]], []), _car([one[0]], [one, two])
    with tempfile.TemporaryDirectory() as folder:
        carv2.wrap(io.BytesIO(both), f"{folder}/two.car")
        wrapped = Path(f"{folder}/two.car").read_bytes()
    damaged = bytearray(both)
    damaged[-5] ^= 1

    def sound(name: str, roots: list[Any], *blocks: tuple[carv2.CID, bytes]) -> Case:
        return Case(name, _car(roots, blocks), [str(cid) for cid, _ in blocks])

    return [
        sound("two dag-cbor blocks", [one[0]], one, two),
        sound("no roots", [], one),
        sound("two roots", [one[0], two[0]], one, two),
        sound("a raw block", [raw], (raw, b"fish")),
        sound("a hash other than SHA-256", [blake], (blake, b"fish")),
        sound("CIDv0, and a block of no bytes", [old], (old, b""), (empty, b"")),
        sound("an identity CID", [one[0]], one, (identity, one[1])),
        sound("the same block twice", [one[0]], one, one),
        Case("a CARv2 with an index", wrapped, [str(one[0]), str(two[0])]),
        Case("a block that is not what its CID says", bytes(damaged), None),
        Case("the file ends within the last block", both[:-7], None),
        Case("the file ends within a length", both + b"\xac", None),
        Case(
            "a length that is one too small",
            header + section(*one, varint(35 + len(one[1]))) + section(*two),
            None,
        ),
        Case(
            "a length that is one too large",
            header + section(*one, varint(37 + len(one[1]))) + section(*two),
            None,
        ),
        Case("a length of 2**40", header + section(*one, varint(1 << 40)), None),
        Case("a length of 12 bytes", header + section(*one, b"\xb0" + b"\x80" * 10 + b"\x00"), None),
        Case("a section of no bytes, and more behind it", header + section(*one) + b"\x00" + section(*two), None),
        Case("zeros behind the last section", both + bytes(100), None),
        Case("a header of version 3", both.replace(b"version\x01", b"version\x03"), None),
        Case("a header that ends early", header[:20], None),
        Case("nothing", b"", None),
    ]


def _car(roots: Sequence[Any], blocks: Sequence[Any]) -> bytes:
    import carv2

    return b"".join(carv2.iter_car(roots, blocks))


def _read_carv2(data: bytes) -> list[bytes]:
    import carv2

    return [bytes(block.cid) for block in carv2.open(data)]


def _read_libipld(data: bytes) -> list[bytes]:
    import libipld

    return list(libipld.decode_car(data)[1])


def _read_ipld_car(data: bytes) -> list[bytes]:
    import ipld_car

    return [bytes(cid) for cid, _ in ipld_car.decode(data)[1]]


def _read_carbox(data: bytes) -> list[bytes]:
    carbox = importlib.import_module("carbox")
    return [bytes(block.cid) for block in carbox.read_car(data, validate=True)[1]]


def _read_ipfsspec(data: bytes) -> list[bytes]:
    car = importlib.import_module("ipfsspec.car")
    return [bytes(item[0]) for item in car.read_car(io.BytesIO(data))[1]]


def _read_atmst(data: bytes) -> list[bytes]:
    stores = importlib.import_module("atmst.blockstore.car_file")
    store = stores.ReadOnlyCARBlockStore(io.BytesIO(data))
    for cid in store.block_offsets:
        store.get_block(cid)  # which checks the hash
    return list(store.block_offsets)


READERS: dict[str, Callable[[bytes], list[bytes]]] = {
    "carv2": _read_carv2,
    "libipld": _read_libipld,
    "ipld-car": _read_ipld_car,
    "carbox": _read_carbox,
    "ipfsspec": _read_ipfsspec,
    "atmst": _read_atmst,
}


def _libraries(given: argparse.Namespace) -> tuple[list[Library], list[str]]:
    """Those that are there, and the names of those that are not."""
    found, missing = [], []
    for name in READERS:
        python = sys.executable if name == "carv2" else given.python
        version = _output([python, "-c", f"import importlib.metadata as m; print(m.version('{name}'))"])
        if version is None:
            missing.append(name)
        else:
            found.append(Library(name, version, [python, str(ROOT / "benchmarks/comparison.py"), "--read", name]))
    versions = None if given.go is None else _output([str(given.go), "version"])
    if versions is None:
        missing.append("go-car")
    else:
        found.insert(1, Library("go-car", json.loads(versions)["go-car"], [str(given.go), "list"]))
    package = None if given.js is None else given.js / "node_modules/@ipld/car/package.json"
    if package is None or not package.exists():
        missing.append("@ipld/car")
    else:
        version = json.loads(package.read_text(encoding="utf-8"))["version"]
        found.insert(2, Library("@ipld/car", version, ["node", str(given.js / "peer.mjs"), "list"]))
    return found, missing


def _output(command: list[str]) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def ask(library: Library, case: Case, path: Path) -> str:
    """What a library makes of a file, in a word for the table."""
    try:
        done = subprocess.run(
            [*library.command, str(path)], capture_output=True, text=True, check=False, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:
        return "**hangs**"
    if done.returncode < 0:
        return "**crashes**"
    if done.returncode:
        return "error" if case.cids is None else "refused"
    if case.cids is None:
        return "**no word**"
    got = done.stdout.split()
    if got == case.cids:
        return "yes"
    return "once" if sorted(got) == sorted(set(case.cids)) else "**wrong**"


SHORT = (
    "no roots",
    "a raw block",
    "CIDv0, and a block of no bytes",
    "a CARv2 with an index",
    "a block that is not what its CID says",
    "the file ends within a length",
    "a length that is one too small",
)
"""The rows that the README shows."""


def short(text: str) -> str:
    """One table with some of the rows of both."""
    lines = text.splitlines()
    rows = {line[2:].partition(" | ")[0]: line for line in lines if line.startswith("| ")}
    names = rows["is read"].removeprefix("| is read")
    return "\n".join([f"| {names}", lines[3], *(rows[name] for name in SHORT)])


def tables(libraries: list[Library], missing: list[str], python: str) -> str:
    """Both tables, with the day and the versions."""
    answers: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for case in cases():
            path = Path(folder) / "case.car"
            path.write_bytes(case.data)
            answers[case.name] = [ask(library, case, path) for library in libraries]
    versions = ", ".join(f"{library.name} {library.version}" for library in libraries)
    lines = [f"{dt.datetime.now(dt.timezone.utc):%Y-%m-%d}, {python}: {versions}."]
    if missing:
        lines[0] += f" Left out: {', '.join(missing)} (not found)."
    for title, is_sound in (("is read", True), ("is told", False)):
        lines += ["", f"| {title} | {' | '.join(library.name for library in libraries)} |"]
        lines.append("|---" * (len(libraries) + 1) + "|")
        wanted = [case.name for case in cases() if (case.cids is not None) == is_sound]
        lines += [f"| {name} | {' | '.join(answers[name])} |" for name in wanted]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--read", choices=READERS, help=argparse.SUPPRESS)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--go", type=Path)
    parser.add_argument("--js", type=Path)
    parser.add_argument("--docs", action="store_true")
    parser.add_argument("file", nargs="?", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.read is not None:
        _list(given.read, given.file)
        return
    text = tables(*_libraries(given), f"Python {sys.version.split()[0]}")
    print(text)
    if given.docs:
        import run

        run.insert(ROOT / "docs/comparison.md", "comparison.py", text)
        run.insert(ROOT / "README.md", "comparison.py", short(text))


def _list(name: str, path: Path) -> None:
    """Print the CIDs that a library finds, as text; its errors end this process."""
    found = READERS[name](path.read_bytes())
    for raw in found:
        print(_text_of(raw))


def _text_of(raw: bytes) -> str:
    """A CID as text, without the library that is asked nor carv2, which its environment need not have."""
    if raw[:2] == b"\x12\x20":
        return _base58(raw)
    bits = "".join(f"{byte:08b}" for byte in raw)
    bits += "0" * (-len(bits) % 5)
    return "b" + "".join(
        "abcdefghijklmnopqrstuvwxyz234567"[int(bits[at : at + 5], 2)] for at in range(0, len(bits), 5)
    )


def _base58(raw: bytes) -> str:
    number, text = int.from_bytes(raw, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"[digit] + text
    return text


if __name__ == "__main__":
    main()
