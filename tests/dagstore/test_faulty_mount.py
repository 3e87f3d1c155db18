"""The mount that fails as it is told does that, and nothing else."""

from __future__ import annotations

import pickle
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any, cast

import pytest

from carv2.dagstore.mounts import BytesMount, FileMount, MountRegistry, MountStat
from carv2.errors import MountError, UnknownMountError
from carv2.testing import Faults, FaultyMount, FaultyMounts
from carv2.testing.blockstores import in_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DATA = bytes(range(256))


@pytest.fixture
def mount() -> FaultyMount:
    return FaultyMount(BytesMount(DATA))


def outcome(use: Callable[[], object]) -> object:
    try:
        return use()
    except Exception as error:  # noqa: BLE001
        return type(error)


def test_gone(mount: FaultyMount) -> None:
    with closing(mount.open()) as source:
        mount.faults.gone = True
        assert mount.stat() == MountStat(exists=False)
        for use in (mount.open, lambda: list(mount.chunks()), lambda: source.read_at(0, 1)):
            with pytest.raises(MountError, match="there is nothing"):
                use()
        mount.faults.gone = False
        assert source.read_at(0, 9) == DATA[:9]
    assert mount.stat().exists


def test_what_it_says_of_itself(mount: FaultyMount) -> None:
    mount.faults.size, mount.faults.tag, mount.faults.ready = 5, "x", False
    assert mount.stat() == MountStat(exists=True, size=5, ready=False, tag="x")
    mount.faults.random_access = False
    assert mount.random_access is False
    with pytest.raises(MountError):
        mount.open()
    mount.faults.resumable = False
    with pytest.raises(MountError):
        list(mount.chunks(1))
    assert b"".join(mount.chunks()) == DATA


@pytest.mark.parametrize("start", [0, 50, 99])
def test_truncated(mount: FaultyMount, start: int) -> None:
    mount.faults.truncate_at = 100
    assert b"".join(mount.chunks(start)) == DATA[start:100]
    with closing(mount.open()) as source:
        assert source.read_at(start, 1000) == DATA[start:100]
        assert source.read_at(100, 10) == source.read_at(150, 10) == b""


@pytest.mark.parametrize("byte", [0, 1, 100, 255])
def test_an_error_at_a_byte_comes_after_those_before_it(mount: FaultyMount, byte: int) -> None:
    mount.faults.fail_at = byte
    got: list[bytes] = []
    with pytest.raises(MountError, match=f"failed at byte {byte}"):
        got.extend(mount.chunks())
    assert b"".join(got) == DATA[:byte]
    with closing(mount.open()) as source:
        assert source.read_at(0, byte) == DATA[:byte]
        with pytest.raises(MountError):
            source.read_at(0, byte + 1)
    mount.faults.fail_at = None
    assert b"".join(mount.chunks()) == DATA


def test_changed_bytes(mount: FaultyMount) -> None:
    mount.faults.flip = (0, 77, 255)
    damaged = bytes(value ^ 0xFF if at in {0, 77, 255} else value for at, value in enumerate(DATA))
    assert b"".join(mount.chunks()) == damaged
    assert b"".join(mount.chunks(30)) == damaged[30:]
    with closing(mount.open()) as source:
        assert source.read_at(70, 20) == damaged[70:90]


def test_refusing_for_a_while(mount: FaultyMount) -> None:
    mount.faults.refuse(3)
    uses: list[Callable[[], object]] = [
        mount.stat,
        mount.open,
        lambda: list(mount.chunks()),
        lambda: mount.stat().size,
    ]
    assert [outcome(use) for use in uses] == [MountError, MountError, MountError, len(DATA)]
    mount.faults.refuse(1, "open")
    assert outcome(mount.stat) == BytesMount(DATA).stat()
    assert outcome(mount.open) is MountError
    source = mount.open()
    mount.faults.refuse(2, "read")
    assert [outcome(lambda: source.read_at(0, 2)) for _ in range(3)] == [MountError, MountError, DATA[:2]]
    source.close()


def test_other_exceptions(mount: FaultyMount) -> None:
    mount.faults.error = lambda: OSError(28, "No space left on device")
    mount.faults.refuse(1)
    with pytest.raises(OSError, match="No space"):
        mount.stat()


def test_slow(mount: FaultyMount) -> None:
    mount.faults.delay = 0.05
    before = time.monotonic()
    mount.stat()
    assert time.monotonic() - before >= 0.05


def test_held_and_released(mount: FaultyMount) -> None:
    mount.faults.hold()
    done: list[object] = []
    threads = [threading.Thread(target=lambda: done.append(mount.stat().size)) for _ in range(3)]
    for thread in threads:
        thread.start()
    mount.faults.wait_until_held(3)
    assert done == []
    with pytest.raises(TimeoutError, match="3 operations wait, not 4"):
        mount.faults.wait_until_held(4, timeout=0.01)
    mount.faults.release()
    for thread in threads:
        thread.join(30)
    assert done == [len(DATA)] * 3


@pytest.mark.parametrize("byte", [0, 100])
def test_held_at_a_byte(mount: FaultyMount, byte: int) -> None:
    mount.faults.hold(at=byte)
    got: list[bytes] = []
    thread = threading.Thread(target=lambda: got.extend(mount.chunks()))
    thread.start()
    mount.faults.wait_until_held()
    assert b"".join(got) == DATA[:byte]
    assert mount.stat().exists  # the others go on
    with closing(mount.open()) as source:
        assert source.read_at(byte + 1, 5) == DATA[byte + 1 : byte + 6]
    mount.faults.release()
    thread.join(30)
    assert b"".join(got) == DATA


def test_nobody_releases(mount: FaultyMount, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("carv2.testing.faulty_mount.LONGEST_HOLD", 0.01)
    mount.faults.hold()
    with pytest.raises(MountError, match="nobody released it"):
        mount.stat()


def test_counts(mount: FaultyMount) -> None:
    counts = mount.faults.counts
    mount.stat()
    source = mount.open()
    chunks = cast("Any", mount.chunks())
    source.read_at(0, 10)
    source.read_at(250, 10)
    next(chunks)
    assert (counts.stats, counts.opens, counts.streams, counts.reads) == (1, 1, 1, 3)
    assert counts.bytes == 10 + 6 + 256
    assert counts.open_now == 2
    source.close()
    source.close()
    chunks.close()
    assert counts.open_now == 0
    mount.faults.refuse(2)
    outcome(mount.stat)
    outcome(mount.open)
    assert (counts.stats, counts.opens, counts.open_now) == (2, 2, 0)
    in_threads(lambda _: [mount.stat() for _ in range(100)], range(4))
    assert counts.stats == 402


def random_walk(seed: int, **options: Any) -> Iterator[object]:
    mount = FaultyMount(BytesMount(DATA), Faults.seeded(seed, **options))
    for _ in range(60):
        yield outcome(lambda: mount.stat().size)
        yield outcome(lambda: b"".join(mount.chunks()))
        yield outcome(lambda: mount.open().read_at(0, 300))


def test_chance_is_the_same_for_the_same_seed() -> None:
    walks = {seed: list(random_walk(seed)) for seed in range(3)}
    assert walks == {seed: list(random_walk(seed)) for seed in range(3)}
    assert walks[0] != walks[1]
    assert set(random_walk(1, chance=0.0)) == {len(DATA), DATA}
    assert set(random_walk(1, chance=1.0, kinds=["refuse"])) == {MountError}
    found = set(random_walk(1, chance=0.5))
    assert {MountError, DATA} <= found
    short = [data for data in found if isinstance(data, bytes) and data != DATA]
    assert short
    assert all(DATA.startswith(data) for data in short)


def test_another_process_has_the_same_faults(mount: FaultyMount) -> None:
    mount.faults.truncate_at = 9
    mount.stat()
    copy = pickle.loads(pickle.dumps(mount))
    assert copy == mount
    assert b"".join(copy.chunks()) == DATA[:9]
    assert (copy.faults.counts.stats, mount.faults.counts.stats) == (0, 1)
    mount.faults.hold()
    with pytest.raises(TypeError, match="held"):
        pickle.dumps(mount)


def test_a_registry_with_faults(tmp_path: Path) -> None:
    (tmp_path / "x.car").write_bytes(DATA)
    mounts = FaultyMounts()
    url = FileMount(tmp_path / "x.car").url
    one, other = mounts.registry.instantiate(url), mounts.registry.instantiate(url)
    assert one == other
    assert one.url == url
    mounts[url].gone = True
    assert one.stat().exists is other.stat().exists is False
    assert mounts[url].counts.stats == 2
    assert mounts.registry.instantiate(BytesMount(DATA).url).stat().exists
    assert set(mounts) == {url, BytesMount(DATA).url}
    with pytest.raises(UnknownMountError):
        mounts.registry.instantiate("gopher://x")


def test_a_registry_with_faults_by_chance() -> None:
    registry = MountRegistry()
    registry.register("bytes", BytesMount.of_url)
    mounts = FaultyMounts(registry, faults=lambda url: Faults.seeded(len(url), chance=1.0, kinds=["refuse"]))
    assert mounts.registry.schemes == ("bytes",)
    with pytest.raises(MountError):
        mounts.registry.instantiate(BytesMount(DATA).url).stat()
