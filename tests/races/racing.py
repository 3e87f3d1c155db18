"""Threads that do whatever they like to one shared thing, until something is not as it must be.

A race is a context manager: it sets the shared thing up, gives steps that any thread may take at any time in any
order, each of which checks what must be so, and at its end checks what must be left. Half of the threads run
shaken, those that carv2 starts too: they may give way after any line of carv2, which is where the others get in.
"""

from __future__ import annotations

import faulthandler
import fcntl
import itertools
import os
import random
import sys
import threading
import time
from collections import Counter
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import carv2
from carv2 import _locks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from types import FrameType, ModuleType

Step: TypeAlias = "Callable[[random.Random], object]"
Race: TypeAlias = "Callable[[Path, random.Random], AbstractContextManager[list[Step]]]"

THREADS = 4
LONGEST = 60.0
"""Seconds that a step may take; none comes near, unless it hangs."""
_SWITCH = 1e-5
SHAKEN = 0.02
"""The chance that a shaken thread gives way after a line."""
_SOURCES = os.path.dirname(carv2.__file__)


class RaceError(AssertionError):
    """A race was lost; says how to run it again."""


class Crew:
    """The threads of one race."""

    def __init__(self, name: str, seed: int, steps: list[Step]) -> None:
        self.name, self.seed, self.steps = name, seed, steps
        self.taken: Counter[str] = Counter()
        self.failure: BaseException | None = None
        self._lock = threading.Lock()

    def run(self, seconds: float, threads: int = THREADS) -> None:
        """Go on for so long.

        Raises:
            RaceError: something was not as it must be, or somebody hangs.
        """
        until = time.monotonic() + seconds
        crew = [threading.Thread(target=self._work, args=(each, until), daemon=True) for each in range(threads)]
        for thread in crew:
            thread.start()
        for thread in crew:
            thread.join(max(0.0, until - time.monotonic()) + LONGEST)
            if thread.is_alive():
                faulthandler.dump_traceback(all_threads=True)
                raise RaceError(f"race {self.name}, seed {self.seed}: hangs") from self.failure
        if self.failure is not None:
            raise RaceError(f"race {self.name}, seed {self.seed}: {self.failure!r}") from self.failure

    def _work(self, number: int, until: float) -> None:
        numbers = random.Random(f"{self.name} {self.seed} {number}")
        taken: Counter[str] = Counter()
        try:
            while time.monotonic() < until and self.failure is None:
                step = numbers.choice(self.steps)
                step(numbers)
                taken[step.__name__] += 1
        except BaseException as error:  # noqa: BLE001  (told by the main thread)
            self.failure = error
        with self._lock:
            self.taken += taken


class _Shaker:
    """Traces threads that are started meanwhile: carv2's, too. Every second one gives way now and then."""

    def __init__(self, seed: str) -> None:
        self._seed, self._numbers = seed, itertools.count()
        self._before: Any = None

    def __enter__(self) -> None:
        self._before = threading.gettrace()  # coverage's, where that is measured
        threading.settrace(self._begin)

    def __exit__(self, *_: object) -> None:
        threading.settrace(self._before)

    def _begin(self, frame: FrameType, event: str, about: object) -> Any:
        """The first call in a thread."""
        number = next(self._numbers)
        chosen = self._shaking(random.Random(f"{self._seed} {number}")) if number % 2 else self._before
        sys.settrace(chosen)
        return chosen and chosen(frame, event, about)

    @staticmethod
    def _shaking(numbers: random.Random) -> Any:
        def within(_frame: FrameType, event: str, _: object) -> Any:
            if event == "line" and numbers.random() < SHAKEN:
                time.sleep(0)
            return within

        def shaking(frame: FrameType, _event: str, _: object) -> Any:
            return within if frame.f_code.co_filename.startswith(_SOURCES) else None

        return shaking


@contextmanager
def _switching_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def run(name: str, race: Race, folder: Path, *, seed: int, seconds: float) -> Counter[str]:
    """Run a race; how often which step was taken.

    Raises:
        RaceError: it was lost.
    """
    with _switching_often(), _Shaker(f"{name} {seed}"):
        try:
            with race(folder, random.Random(f"{name} {seed}")) as steps:
                crew = Crew(name, seed, steps)
                crew.run(seconds)
        except RaceError:
            raise
        except Exception as error:
            raise RaceError(f"race {name}, seed {seed}, at its end: {error!r}") from error
    return crew.taken


class Fault:
    """Something of carv2 as it would be if somebody had not thought of threads."""

    def __init__(self, what: str, where: object, name: str, instead: object) -> None:
        self.what, self._where, self._name, self._instead = what, where, name, instead

    @contextmanager
    def put_in(self) -> Iterator[None]:
        """Have it so meanwhile."""
        before = vars(self._where)[self._name]
        setattr(self._where, self._name, self._instead)
        try:
            yield
        finally:
            setattr(self._where, self._name, before)


class NoLock:
    """Lets everybody in, and makes sure that somebody else comes."""

    def __enter__(self) -> bool:
        time.sleep(0)
        return True

    def __exit__(self, *_: object) -> None:
        time.sleep(0)

    def acquire(self, *_: object, **__: object) -> bool:
        return self.__enter__()

    def release(self) -> None:
        time.sleep(0)

    def wait_for(self, condition: Callable[[], object], _timeout: float | None = None) -> object:
        return condition()

    def wait(self, _timeout: float | None = None) -> bool:
        time.sleep(0)
        return True

    def notify(self, _count: int = 1) -> None: ...

    def notify_all(self) -> None: ...


class _Instead:
    """A module in which some things are others."""

    def __init__(self, module: object, **others: object) -> None:
        self._module = module
        vars(self).update(others)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


def without_locks(module: ModuleType) -> Fault:
    """``module`` with locks that are none, in what it makes from now on."""
    instead = _Instead(threading, Lock=NoLock, RLock=NoLock, Condition=NoLock)
    return Fault(f"no locks in `{module.__name__.removeprefix('carv2.')}`", module, "threading", instead)


def without_file_locks() -> Fault:
    """Locks of files that anybody has who wants them."""
    return Fault("no locks of files", _locks, "fcntl", _Instead(fcntl, flock=lambda _fd, _how: None))


def blocks_of(seed: str, count: int, size: int = 200) -> dict[carv2.CID, bytes]:
    """Blocks that no other seed has, of all sizes up to ``size``."""
    numbers = random.Random(seed)
    data = [f"{seed} {each} ".encode() + numbers.randbytes(numbers.randrange(size)) for each in range(count)]
    return {carv2.CID.of_data(each): each for each in data}


def sample(numbers: random.Random, blocks: Mapping[carv2.CID, bytes], most: int = 20) -> list[carv2.CID]:
    """A few of them."""
    return numbers.sample(list(blocks), numbers.randrange(1, min(most, len(blocks)) + 1))
