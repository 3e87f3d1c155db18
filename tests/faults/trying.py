"""Each scenario, with each fault at each call, and with the power cut at each moment."""

from __future__ import annotations

import contextlib
import errno
import gc
import itertools
import os
import random
import shutil
import time
from typing import TYPE_CHECKING

from carv2.errors import CarError
from faults.power import Recorder
from faults.scenarios import users
from faults.seam import CHANGES, GROWS, READS, Fault, Seam

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest

    from faults.scenarios import Scenario

FAULTS = {
    "EIO": (errno.EIO, READS | CHANGES, False),
    "ENOSPC once": (errno.ENOSPC, GROWS, False),
    "ENOSPC from then on": (errno.ENOSPC, GROWS, True),
    "EROFS from then on": (errno.EROFS, CHANGES, True),
    "a sync fails, and is forgotten": (errno.EIO, frozenset({"fsync"}), False),
}


PATIENCE = 2.0
"""Seconds for a thread that has ended to let go of its files."""


class Trial:
    """A scenario in folders of its own, one for each try."""

    def __init__(self, scenario: Scenario, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.scenario, self._folder, self._patch = scenario, folder, patch
        self._numbers = itertools.count()

    def _prepared(self) -> Path:
        folder = self._folder / f"try{next(self._numbers)}" / "disk"
        folder.mkdir(parents=True)
        users(folder).mkdir()
        self.scenario.prepare(folder)
        return folder

    def calls(self) -> int:
        """How many calls it takes, if nothing fails."""
        folder, said = self._prepared(), set[str]()
        with Seam(folder).installed(self._patch) as seam:
            self.scenario.act(folder, said.add)
        assert said, "it says nothing"
        self.scenario.check(folder, frozenset(said))
        shutil.rmtree(folder.parent)
        return len(seam.calls)

    def fail(self, kind: str, number: int) -> bool:
        """Have the call of that number fail; whether there was one of that kind."""
        error, among, is_lasting = FAULTS[kind]
        folder, said = self._prepared(), set[str]()
        fault, recorder, open_before = Fault(number, error, among, is_lasting), Recorder(folder), _open_files()

        seam = Seam(folder, fault=fault, listener=recorder)
        with seam.installed(self._patch):

            def say(word: str) -> None:
                seam.say(word)
                said.add(word)

            try:
                self.scenario.act(folder, say)
            except (OSError, CarError) as raised:
                assert fault.hits, raised  # noqa: PT017  (nothing fails by itself)
        if fault.hits:
            left = _left_open(open_before)
            assert not left, f"a file was left open: {left}"
            if not is_lasting and fault.last != "unlink":
                assert not [*_drafts(folder)], "a draft was left behind"
            if self.scenario.is_durable:
                self._check_after_cut(recorder, folder)
            self.scenario.check(folder, frozenset(said))
        shutil.rmtree(folder.parent)
        return bool(fault.hits)

    def _check_after_cut(self, recorder: Recorder, folder: Path) -> None:
        """What was said is durable, also after a sync that failed; paths are as they were."""
        kept = folder.with_name("kept")
        folder.rename(kept)
        folder.mkdir()
        state = recorder.durable()
        state.make(folder)
        self.scenario.check(folder, state.said)
        shutil.rmtree(folder)
        kept.rename(folder)

    def in_halves(self) -> None:
        """Reads and writes that move half of what they were asked to, each time."""
        folder, said = self._prepared(), set[str]()
        with Seam(folder, is_short=True).installed(self._patch):
            self.scenario.act(folder, said.add)
        assert said
        self.scenario.check(folder, frozenset(said))

    def cut_power(self, seed: int, *, subsets: int, most: int | None = None) -> int:
        """At each moment, with some subsets of what was not synced; how many different ends were tried."""
        folder, count = self._prepared(), 0
        recorder = Recorder(folder)
        with Seam(folder, listener=recorder).installed(self._patch) as seam:
            self.scenario.act(folder, seam.say)
        rng = random.Random(seed)
        states = list(recorder.cuts(rng, subsets=subsets))
        if most is not None and most < len(states):
            states = rng.sample(states, most)
        for state in states:
            shutil.rmtree(folder)
            folder.mkdir()
            state.make(folder)
            self.scenario.check(folder, state.said)
            count += 1
        return count


def _drafts(folder: Path) -> Iterator[Path]:
    return itertools.chain(folder.rglob(".carv2-*.part"), folder.rglob("*.draft"))


def _left_open(before: dict[str, str]) -> dict[str, str]:
    """What is open and was not before."""
    deadline = time.monotonic() + PATIENCE
    while True:
        left = {fd: path for fd, path in _open_files().items() if before.get(fd) is None}
        if not left or time.monotonic() > deadline:
            return left
        gc.collect()  # what only a traceback holds
        time.sleep(0.01)


def _open_files() -> dict[str, str]:
    """What descriptors lead to."""
    found: dict[str, str] = {}
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # that of the list itself
            found[fd] = os.readlink(f"/proc/self/fd/{fd}")
    return found
