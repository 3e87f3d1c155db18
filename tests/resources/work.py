"""The bounded process itself: ``python -m resources.work LIMITS NAMES FILES``, each of them JSON.

It prints ``[name, file, class of the error, text, seconds, bytes]`` for each piece of work that ended as it may:
by itself, or with an error of carv2's. Anything else ends the process.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import carv2
from carv2 import codec, dag, unixfs
from carv2.blockstore import ReadOnlyBlockstore, ReadWriteBlockstore, examine_file
from carv2.decoder import iter_blocks
from carv2.errors import CarError
from carv2.filestore import FileStore, densify
from carv2.operations.explain import explain
from carv2.operations.patch import to_patch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

EVERYTHING = '{"R":{"l":{"none":{}},":>":{"a":{">":{"@":{}}}}}}'
EVERY_VALUE = '{"R":{"l":{"none":{}},":>":{"|":[{".":{}},{"a":{">":{"@":{}}}}]}}}'

BOMB = 1 << 20
"""Bytes that may come out of what expands without end, before it is cut off."""


def use_up(items: Iterable[object]) -> None:
    for _ in items:
        pass


def read(path: Path) -> None:
    with carv2.open(path) as car:
        assert isinstance(car.roots, tuple)
        for block in car.blocks():
            if car.index is not None:
                car.get(block.cid)


def read_as_it_comes(path: Path) -> None:
    with path.open("rb") as file:
        use_up(iter_blocks(iter(lambda: file.read(1 << 16), b"")))


def decode_blocks(path: Path) -> None:
    with carv2.open(path) as car:
        for block in car.blocks(verify=False):
            with contextlib.suppress(CarError):
                codec.decode(block.cid_bytes, block.data)


def find_links(path: Path) -> None:
    with carv2.open(path) as car:
        for block in car.blocks(verify=False):
            with contextlib.suppress(CarError):
                use_up(block.links())


def with_roots(work: Callable[[ReadOnlyBlockstore, carv2.CID], object]) -> Callable[[Path], None]:
    """``work`` with each root of an archive, in a store of its blocks."""

    def each(path: Path) -> None:
        with ReadOnlyBlockstore(path) as store:
            for root in store.roots:
                work(store, root)

    return each


def cut_off(pieces: Iterable[bytes]) -> None:
    """Take pieces up to :data:`BOMB` bytes in all."""
    total = 0
    for piece in pieces:
        total += len(piece)
        if total > BOMB:
            return


def extract(path: Path) -> None:
    folder = Path(tempfile.mkdtemp(dir=INTO))
    try:
        unixfs.extract(path, folder)
    finally:
        remove(folder)


def remove(folder: Path) -> None:
    """Remove what was extracted, which may be deeper than Python's own way of doing so can go, and pytest's."""
    subprocess.run(["rm", "-rf", "--", folder], check=True)


def resume(path: Path) -> None:
    copy = Path(INTO) / "resumed.car"
    shutil.copyfile(path, copy)
    try:
        with carv2.open(path) as car:
            roots = car.roots
        ReadWriteBlockstore.resume(copy, roots).close()
    finally:
        copy.unlink()


def answer(path: Path) -> None:
    with carv2.open(path) as car:
        roots = car.roots
    for root in roots:
        with path.open("rb") as file:
            use_up(unixfs.verify_stream(iter(lambda: file.read(1 << 16), b""), root))


def follow(path: Path) -> None:
    with FileStore(path, allow=[]) as store:
        use_up(itertools.islice(store.references(), 1000))


def split_up(path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=INTO) as folder:
        carv2.split(path, f"{folder}/part-{{}}.car", size=16 << 20)


def export(path: Path, selector: str) -> None:
    with ReadOnlyBlockstore(path) as store:
        for root in store.roots:
            dag.export(store, outside("exported.car"), root, selector)


def outside(name: str) -> Path:
    """Where something is to be written; what was there is gone."""
    path = Path(INTO, name)
    path.unlink(missing_ok=True)
    return path


WORK: dict[str, Callable[[Path], object]] = {
    "read": read,
    "read as it comes": read_as_it_comes,
    "verify": carv2.verify,
    "inspect": lambda path: carv2.inspect(path, full=True),
    "explain": lambda path: use_up(itertools.islice(explain(path), 100_000)),
    "index": lambda path: carv2.build_index(path).to_index(),
    "wrap": lambda path: carv2.wrap(path, outside("wrapped.car")),
    "unwrap": lambda path: carv2.unwrap(path, outside("unwrapped.car")),
    "concat": lambda path: carv2.concat([path, path], outside("joined.car"), deduplicate=True),
    "diff": lambda path: carv2.diff(path, path),
    "split": split_up,
    "debug": lambda path: cut_off(to_patch(path)),
    "salvage": lambda path: carv2.salvage(path, outside("salvaged.car")),
    "decode": decode_blocks,
    "links": find_links,
    "examine": examine_file,
    "resume": resume,
    "walk": with_roots(lambda store, root: use_up(dag.walk(store, root, max_blocks=2_000_000))),
    "complete": dag.verify_deep,
    "stat": dag.stat,
    "dot": with_roots(lambda store, root: use_up(dag.dot(store, root))),
    "sort": lambda path: dag.sort(path, outside("sorted.car")),
    "export": lambda path: export(path, EVERYTHING),
    "select": lambda path: export(path, EVERY_VALUE),
    "entries": with_roots(lambda store, root: use_up(itertools.islice(unixfs.walk_entries(store, root), 100_000))),
    "cat": with_roots(lambda store, root: cut_off(unixfs.read(store, root))),
    "extract": extract,
    "tar": lambda path: use_up(unixfs.tar_stream(path)),
    "gateway": answer,
    "follow": follow,
    "densify": lambda path: densify(path, outside("dense.car"), allow=[]),
}


CONTROLS: dict[str, Callable[[Path], object]] = {
    "allocate 64 MiB": lambda _: bytes(64 << 20),
    "never end": lambda _: use_up(itertools.repeat(0)),
}
"""What must not get through."""


def outcomes(names: list[str], files: list[str]) -> Iterator[list[object]]:
    for name, file in itertools.product(names, files):
        start, kind, text = time.process_time(), "", ""
        try:
            (WORK.get(name) or CONTROLS[name])(Path(file))
        except CarError as error:
            kind, text = type(error).__name__, str(error)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
        yield [name, file, kind, text, round(time.process_time() - start, 3), peak]


def used_address_space() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    return pages * resource.getpagesize()


def be_bounded(memory: int, seconds: int) -> None:
    threading.stack_size(1 << 20)  # each reserves its addresses, 8 MiB of them, and glibc keeps some when they end
    most = used_address_space() + memory
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    spent = int(sum(resource.getrusage(resource.RUSAGE_SELF)[:2])) + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (spent, spent + 1))


if __name__ == "__main__":
    limits, names, files = map(json.loads, sys.argv[1:])
    INTO: str = limits["into"]
    be_bounded(limits["memory"], limits["seconds"])
    for outcome in outcomes(names, files):
        print(json.dumps(outcome), flush=True)
