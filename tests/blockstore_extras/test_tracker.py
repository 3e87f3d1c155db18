"""A tracker: one store for each key, one writer for each file, and nothing left behind by what fails."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

import carv2
from blockstore_extras.stores import FISH, LOBSTER, indexed, pair
from carv2.blockstore import ReadOnlyBlockstore, ReadWriteBlockstore, StoreTracker, examine_file, tracker
from carv2.errors import ChangedError, ClosedError, LockedError, ResumeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deal.car"


@pytest.fixture
def stores() -> Iterator[StoreTracker]:
    with StoreTracker() as made:
        yield made


def wait_until(happened: Callable[[], bool]) -> None:
    for _ in range(2000):
        if happened():
            return
        time.sleep(0.005)
    raise AssertionError("it did not happen")


class Gate:
    """Stands before the opening of stores at some paths."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.waiting: dict[str, threading.Event] = {}
        self.opened: list[str] = []
        self._open = tracker._resume_or_create
        monkeypatch.setattr(tracker, "_resume_or_create", self)

    def __call__(self, path: Path, *rest: Any) -> ReadWriteBlockstore:
        self.opened.append(os.path.basename(path))
        gate = self.waiting.get(os.path.basename(path))
        assert gate is None or gate.wait(20)
        return self._open(path, *rest)


def test_holders_of_a_key_share_a_store_and_the_last_one_finalizes(stores: StoreTracker, path: Path) -> None:
    first = stores.get_or_create("deal", path, [FISH[0]])
    assert stores.get_or_create("deal", path, [FISH[0]]) is stores.get("deal") is first
    first.put(*FISH)
    assert stores.release("deal") is False
    first.put(*LOBSTER)
    assert ("deal" in stores, len(stores)) == (True, 1)
    assert stores.release("deal") is True
    assert ("deal" in stores, len(stores)) == (False, 0)
    with pytest.raises(ClosedError):
        first.put(*FISH)
    assert carv2.verify(path).ok
    assert examine_file(path).state == "finalized"


def test_a_store_that_is_not_finalized_can_be_resumed(stores: StoreTracker, path: Path) -> None:
    stores.get_or_create("deal", path, [FISH[0]]).put(*FISH)
    stores.release("deal", finalize=False)
    assert examine_file(path).state == "whole"
    store = stores.get_or_create("deal", path, [FISH[0]])
    assert (store[FISH[0]], store.put(*LOBSTER)) == (b"fish", True)
    stores.release("deal")
    assert list(ReadOnlyBlockstore(path)) == [FISH[0], LOBSTER[0]]


def test_the_last_release_decides(stores: StoreTracker, path: Path) -> None:
    for _ in range(2):
        stores.get_or_create("deal", path).put(*FISH)
    stores.release("deal", finalize=True)
    stores.release("deal", finalize=False)
    assert examine_file(path).state == "whole"


def test_options_are_those_of_resume_and_reach_the_store(stores: StoreTracker, path: Path) -> None:
    options: dict[str, Any] = {"deduplicate": "cid", "data_padding": 9, "check_promised": True}
    store = stores.get_or_create(("any", 1), path, **options)
    assert (store.put(*FISH), store.put(*pair(b"fish", "dag-json"))) == (True, True)
    stores.release(("any", 1))
    header = carv2.open(path).header
    assert header is not None
    assert header.data_offset == 60
    with pytest.raises(ResumeError) as caught:
        stores.get_or_create(("any", 1), path, data_padding=0)
    assert (caught.value.expected, caught.value.found) == (0, 9)


@pytest.mark.parametrize("kind", ["same", "symbolic", "relative", "hard"])
def test_two_keys_never_write_to_one_file(
    stores: StoreTracker, path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = stores.get_or_create("deal", path)
    other: Any = path.with_name("link.car")
    if kind == "symbolic":
        other.symlink_to(path)
    elif kind == "hard":
        other.hardlink_to(path)
    elif kind == "relative":
        monkeypatch.chdir(path.parent)
        other = f"../{path.parent.name}/{path.name}"
    else:
        other = path
    with pytest.raises(LockedError):
        stores.get_or_create("other", other)
    assert ("other" in stores, stores.get("deal") is store) == (False, True)
    stores.release("deal")
    assert stores.get_or_create("other", other).put(*FISH) is True


def test_a_file_that_another_process_writes_is_locked_until_it_is_done(stores: StoreTracker, path: Path) -> None:
    code = (
        "import sys; from carv2.blockstore import ReadWriteBlockstore as R\n"
        "store = R.create(sys.argv[1]); print('open', flush=True); sys.stdin.read(); store.close()"
    )
    environment = {**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(carv2.__file__))}
    with subprocess.Popen(
        [sys.executable, "-c", code, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    ) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(LockedError):
            stores.get_or_create("deal", path)
        assert "deal" not in stores
        other.stdin.close()
        assert other.wait(20) == 0
    assert stores.get_or_create("deal", path).put(*FISH) is True


@pytest.mark.parametrize("content", [b"not an archive", indexed([FISH])[:-70], b""])
def test_a_failed_opening_leaves_no_ghost_and_the_file_as_it_is(
    stores: StoreTracker, path: Path, content: bytes
) -> None:
    path.write_bytes(content)
    with pytest.raises((carv2.CarError, OSError)):
        stores.get_or_create("deal", path, [LOBSTER[0]])
    assert ("deal" in stores, len(stores), path.read_bytes()) == (False, 0, content)
    path.unlink()
    assert stores.get_or_create("other", path, [LOBSTER[0]]).roots == (LOBSTER[0],)


def test_other_roots_are_an_error_for_the_first_and_for_the_next_holder(stores: StoreTracker, path: Path) -> None:
    store = stores.get_or_create("deal", path, [FISH[0]])
    with pytest.raises(ResumeError) as caught:
        stores.get_or_create("deal", path, [LOBSTER[0]])
    assert (caught.value.expected, caught.value.found) == ((LOBSTER[0],), (FISH[0],))
    store.put(*FISH)  # it is still open
    assert stores.release("deal") is True  # and held once
    with pytest.raises(ResumeError):
        stores.get_or_create("deal", path, [LOBSTER[0]])
    assert "deal" not in stores
    assert stores.get_or_create("deal", path).roots == (FISH[0],)


def test_a_key_is_for_one_file_and_one_use(stores: StoreTracker, path: Path) -> None:
    store = stores.get_or_create("deal", path)
    with pytest.raises(ValueError, match=r"'deal' is in use for a ReadWriteBlockstore over .*deal\.car$"):
        stores.get_or_create("deal", path.with_name("other.car"))
    with pytest.raises(ValueError, match="in use"):
        stores.get_or_open("deal", path)
    stores.get_or_open("bytes", indexed([FISH]))
    with pytest.raises(ValueError, match=r"for a ReadOnlyBlockstore over bytes$"):
        stores.get_or_open("bytes", indexed([LOBSTER]))
    assert not path.with_name("other.car").exists()
    assert stores.get("deal") is store
    assert stores.release("deal") is True


def test_nobody_holds_what_was_never_got_or_was_released(stores: StoreTracker, path: Path) -> None:
    stores.get_or_create("deal", path)
    stores.release("deal")
    for use in (stores.get, stores.release):
        with pytest.raises(KeyError, match="deal"):
            use("deal")


def test_stores_for_reading_are_shared_and_any_number_of_keys_may_read_a_file(
    stores: StoreTracker, path: Path
) -> None:
    path.write_bytes(indexed([FISH]))
    first, other = stores.get_or_open("a", path), stores.get_or_open("b", path, whole_cids=True)
    assert stores.get_or_open("a", os.fspath(path)) is first is not other
    assert (stores.release("a"), first[FISH[0]]) == (False, b"fish")
    assert stores.release("a") is True
    with pytest.raises(ClosedError):
        _ = first[FISH[0]]
    assert other[FISH[0]] == b"fish"
    writer = stores.get_or_create("c", path)
    assert (writer.put(*LOBSTER), other[FISH[0]]) == (True, b"fish")  # nothing of it is on the file yet
    writer.flush()
    with pytest.raises(ChangedError, match="open it again"):
        _ = other[LOBSTER[0]]
    with pytest.raises(FileNotFoundError):
        stores.get_or_open("d", path.with_name("missing.car"))
    assert "d" not in stores


def test_a_holder_may_have_finalized_or_closed_the_store_himself(stores: StoreTracker, path: Path) -> None:
    for finish in (ReadWriteBlockstore.finalize, ReadWriteBlockstore.close, ReadWriteBlockstore.discard):
        store = stores.get_or_create("deal", path)
        store.put(*FISH)
        store.flush()
        finish(store)
        assert stores.release("deal") is True
    assert list(carv2.open(path))


def test_an_archive_that_cannot_be_finished_is_closed_and_free(
    stores: StoreTracker, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = stores.get_or_create("deal", path)
    store.put(*FISH)
    store.flush()
    with monkeypatch.context() as patch:
        patch.setattr(ReadWriteBlockstore, "_write_index", _full)
        with pytest.raises(OSError, match="No space"):
            stores.release("deal")
    assert "deal" not in stores
    with pytest.raises(ClosedError):
        store.put(*LOBSTER)
    assert stores.get_or_create("other", path)[FISH[0]] == b"fish"
    with monkeypatch.context() as patch:
        patch.setattr(ReadWriteBlockstore, "_checkpoint", _full)
        with pytest.raises(OSError, match="No space"):
            stores.release("other", finalize=False)
    assert stores.get_or_create("deal", path)[FISH[0]] == b"fish"


def _reset(_: object) -> None:
    raise ConnectionResetError(104, "reset")


def _full(_: object) -> None:
    raise OSError(28, "No space left on device")


# -- all at once ------------------------------------------------------------


def test_closing_all_leaves_every_file_resumable(tmp_path: Path) -> None:
    with StoreTracker() as stores:
        for at in range(5):
            stores.get_or_create(at, tmp_path / f"{at}.car").put(*FISH)
            stores.get_or_create(at, tmp_path / f"{at}.car")
        stores.get_or_open("read", indexed([FISH]))
    assert len(stores) == 0
    assert {examine_file(tmp_path / f"{at}.car").state for at in range(5)} == {"whole"}
    with pytest.raises(KeyError):
        stores.release(0)
    stores.get_or_create(0, tmp_path / "0.car")
    stores.close_all(finalize=True)
    assert examine_file(tmp_path / "0.car").state == "finalized"


def test_closing_all_closes_the_others_when_one_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stores = StoreTracker()
    opened = [stores.get_or_create(at, tmp_path / f"{at}.car") for at in range(3)]
    opened[1].put(*FISH)
    monkeypatch.setattr(opened[1], "_checkpoint", lambda: _full(None))
    with pytest.raises(OSError, match="No space"):
        stores.close_all()
    assert len(stores) == 0
    for store in opened:
        with pytest.raises(ClosedError):
            store.put(*LOBSTER)


def test_holding_finalizes_on_success_and_leaves_a_resumable_file_otherwise(
    stores: StoreTracker, path: Path
) -> None:
    with pytest.raises(ConnectionResetError), stores.holding("deal", path, [FISH[0]]) as store:
        _reset(store.put(*FISH))
    assert (examine_file(path).state, "deal" in stores) == ("whole", False)
    with stores.holding("deal", path, [FISH[0]]) as store:
        assert store.put(*FISH) is False
    assert (examine_file(path).state, "deal" in stores) == ("finalized", False)


def test_holding_does_not_hide_an_error_behind_a_shutdown(stores: StoreTracker, path: Path) -> None:
    with pytest.raises(ConnectionResetError), stores.holding("deal", path):  # noqa: PT012
        stores.close_all()
        _reset(None)
    with pytest.raises(KeyError), stores.holding("deal", path):
        stores.close_all()


# -- threads ------------------------------------------------------------


def test_a_slow_opening_keeps_nobody_waiting_but_those_of_its_key(
    stores: StoreTracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    gate.waiting["slow.car"] = threading.Event()
    with ThreadPoolExecutor(4) as pool:
        slow = [pool.submit(stores.get_or_create, "slow", tmp_path / "slow.car") for _ in range(3)]
        wait_until(lambda: "slow.car" in gate.opened)
        assert stores.get_or_create("fast", tmp_path / "fast.car").put(*FISH) is True
        assert stores.release("fast") is True
        with pytest.raises(LockedError):
            stores.get_or_create("thief", tmp_path / "slow.car")
        assert not any(future.done() for future in slow)
        gate.waiting["slow.car"].set()
        assert len({id(future.result(20)) for future in slow}) == 1
    assert gate.opened.count("slow.car") == 1
    assert [stores.release("slow") for _ in range(3)] == [False, False, True]


def test_who_waits_for_an_opening_that_fails_tries_for_himself(
    stores: StoreTracker, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    gate.waiting[path.name] = threading.Event()
    path.write_bytes(b"not an archive")
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(stores.get_or_create, "deal", path)
        wait_until(lambda: gate.opened == [path.name])
        second = pool.submit(stores.get_or_create, "deal", path)
        time.sleep(0.05)
        assert gate.opened == [path.name]
        gate.waiting[path.name].set()
        for future in (first, second):
            with pytest.raises(carv2.FormatError):
                future.result(20)
    assert gate.opened == [path.name] * 2
    assert "deal" not in stores


def test_who_comes_while_an_archive_is_finished_gets_it_opened_anew(
    stores: StoreTracker, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = stores.get_or_create("deal", path)
    store.put(*FISH)
    begun, go_on = threading.Event(), threading.Event()
    finalize = store.finalize

    def slowly(roots: object) -> None:
        assert roots is None
        begun.set()
        assert go_on.wait(20)
        finalize()

    monkeypatch.setattr(store, "finalize", slowly)
    with ThreadPoolExecutor(3) as pool:
        releasing = pool.submit(stores.release, "deal")
        assert begun.wait(20)
        coming = pool.submit(stores.get_or_create, "deal", path)
        closing = pool.submit(stores.release, "deal")
        time.sleep(0.05)
        assert not any(future.done() for future in (releasing, coming, closing))
        go_on.set()
        assert releasing.result(20) is True
        again = coming.result(20)
        assert again is not store
        assert again.recovery is not None
        assert again.recovery.state == "finalized"
        try:
            closing.result(20)  # it came before the new holder, or after
        except KeyError:
            stores.release("deal")
    assert "deal" not in stores


def test_many_threads_put_into_many_stores_and_lose_nothing(stores: StoreTracker, tmp_path: Path) -> None:
    blocks = [pair(b"%d" % at) for at in range(640)]

    def work(worker: int) -> None:
        for at in range(worker, len(blocks), 64):
            key = at % 5
            with stores.holding(key, tmp_path / f"{key}.car", [FISH[0]]) as store:
                assert store.put(*blocks[at]) is True
                assert store[blocks[at][0]] == blocks[at][1]

    with ThreadPoolExecutor(64) as pool:
        list(pool.map(work, range(64)))
    assert len(stores) == 0
    for key in range(5):
        assert sorted(ReadOnlyBlockstore(tmp_path / f"{key}.car")) == sorted(cid for cid, _ in blocks[key::5])
        assert [one.message for one in carv2.verify(tmp_path / f"{key}.car").problems] == [
            f"the root {FISH[0]} is not a block"
        ]


def test_trackers_that_want_the_same_file_write_to_it_in_turn(path: Path) -> None:
    ReadWriteBlockstore.create(path).close()

    def work(_: int) -> int:
        done = 0
        with StoreTracker() as stores:
            for at in range(20):
                try:
                    with stores.holding("deal", path) as store:
                        store.put(*pair(b"%d" % at))
                        done += 1
                except LockedError:
                    time.sleep(0.001)
        return done

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(work, range(4))) > 0
    assert carv2.verify(path).ok
    assert {*ReadOnlyBlockstore(path)} <= {pair(b"%d" % at)[0] for at in range(20)}
