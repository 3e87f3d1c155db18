"""Races over imports and retrievals: a folder of files that several threads and objects work in."""

from __future__ import annotations

import contextlib
import itertools
from contextlib import contextmanager
from typing import TYPE_CHECKING

import carv2
from carv2.errors import ImportNotFoundError, LockedError
from carv2.imports import ImportsManager, Retrievals
from carv2.imports.catalogue import Catalogue
from races.racing import Fault, blocks_of

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator
    from pathlib import Path

    from races.racing import Step


@contextmanager
def imports(folder: Path, _: random.Random) -> Iterator[list[Step]]:
    """Two managers of one folder: files are imported, found, read and forgotten."""
    root, originals = folder / "imports", folder / "originals"
    originals.mkdir()
    names, lasting = itertools.count(), originals / "lasting"
    lasting.write_bytes(b"lasting" * 1000)
    given: list[str] = []
    with ImportsManager(root) as one, ImportsManager(root) as other:
        kept = one.import_file(lasting)

        def reads(numbers: random.Random) -> None:
            manager = numbers.choice([one, other])
            found = manager.find(kept.root) if kept.root is not None else None
            assert found is not None
            assert found.id == kept.id
            with manager.open(found.id) as store:
                assert kept.root in store
                assert b"".join(store[cid] for cid in store) == lasting.read_bytes()

        def comes_and_goes(numbers: random.Random) -> None:
            path = originals / f"{next(names)}"
            path.write_bytes(f"{path.name} ".encode() * 500)
            manager, last = numbers.sample([one, other], 2)
            added = manager.import_file(path)
            assert last.info(added.id).root == added.root
            last.add_label(added.id, "seen", "yes")
            assert manager.info(added.id).labels["seen"] == "yes"
            last.remove(added.id)
            with contextlib.suppress(ImportNotFoundError):
                manager.info(added.id)
                raise AssertionError("it was removed")

        def makes_numbers(numbers: random.Random) -> None:
            manager = numbers.choice([one, other])
            id_ = manager.create()
            assert id_ in manager.ids()
            manager.remove(id_)

        def labels(numbers: random.Random) -> None:
            name = f"label {next(names)}"
            numbers.choice([one, other]).add_label(kept.id, name, "yes")
            given.append(name)

        def lists(numbers: random.Random) -> None:
            assert kept.id in [entry.id for entry in numbers.choice([one, other]).list()]

        yield [reads, reads, comes_and_goes, makes_numbers, labels, lists]
        assert one.info(kept.id).labels.keys() >= set(given)
        assert [entry.id for entry in one.list()] == [kept.id]
        checked = one.check(originals=True)
        assert (checked.total, checked.broken, checked.problems) == (1, 0, ()), checked
        assert one.strays() == []


@contextmanager
def retrievals(folder: Path, _: random.Random) -> Iterator[list[Step]]:
    """Several want to write the same few retrievals: one at a time does, and goes on where the last one was."""
    found = Retrievals(folder / "retrievals")
    blocks = [blocks_of(f"retrieval {each}", 12) for each in range(3)]
    roots = [next(iter(each)) for each in blocks]
    promised: list[dict[carv2.CID, bytes]] = [{} for _ in blocks]
    inside = [0] * len(blocks)

    def receives(numbers: random.Random) -> None:
        which = numbers.randrange(len(blocks))
        chosen = dict(numbers.sample(list(blocks[which].items()), 4))
        archive = b"".join(carv2.iter_car([roots[which]], chosen.items()))
        with contextlib.suppress(LockedError), found.start(roots[which], id=f"r{which}") as retrieval:
            inside[which] += 1
            assert inside[which] == 1
            assert all(cid in retrieval for cid in promised[which])
            retrieval.receive([archive[:50], archive[50:]])
            promised[which].update(chosen)
            assert inside[which] == 1
            inside[which] -= 1

    def removes(numbers: random.Random) -> None:
        name = f"own-{numbers.randrange(1 << 60)}"
        with found.start(roots[0], id=name) as retrieval:
            retrieval.put(roots[0], blocks[0][roots[0]])
            with contextlib.suppress(LockedError):
                found.remove(name)
                raise AssertionError("it was removed while it was written")
        with found.open(name) as store:
            assert store[roots[0]] == blocks[0][roots[0]]
        found.remove(name)

    yield [receives, receives, receives, removes]
    for which, there in enumerate(promised):
        if there:
            with found.open(f"r{which}") as store:
                assert {cid: store[cid] for cid in there} == there
                assert len(list(store)) == len(set(store))
    assert {record.id for record in found.list()} <= {f"r{which}" for which in range(len(blocks))}


@contextmanager
def _no_transaction(_: Catalogue) -> Iterator[None]:
    yield


TRANSACTION = Fault("no transactions in the catalogue", Catalogue, "transaction", _no_transaction)
