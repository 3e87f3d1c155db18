"""What strangers' archives may cost: each kind of work, on archives made to be expensive, within memory and time.

The limits are the kernel's (``RLIMIT_AS``, ``RLIMIT_CPU``), and count from when the program is loaded. Who goes
beyond them ends with ``MemoryError`` or a signal, and that is a failure; an error of carv2's is none.
"""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from helpers.shared import own_fixture
from resources.bounded import run_bounded
from resources.inputs import INPUTS, write
from resources.work import WORK

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS means address space on Linux only")

MIB = 1 << 20
EVERYTHING = list(WORK)
BROKEN = [*sorted(own_fixture("broken").glob("*.car")), *sorted(own_fixture("broken").glob("inside/*.car"))]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("inputs")


def check(kept: Path, tmp_path: Path, name: str, work: list[str], *, mib: int, seconds: int) -> dict[str, str]:
    """How each piece of work with an input ended: the class of its error, or nothing."""
    ran = run_bounded(work, write(kept, [name]), memory=mib * MIB, seconds=seconds, into=tmp_path)
    assert ran.code == 0, f"{work[len(ran.outcomes)]}: {ran.code}, {ran.err[-2000:]}"
    return {outcome.name: outcome.kind for outcome in ran.outcomes}


# -- that the limits hold ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "mib", "seconds", "message"),
    [("allocate 64 MiB", 32, 10, "MemoryError"), ("never end", 32, 1, "")],
)
def test_work_that_takes_too_much_is_ended(
    tmp_path: Path, name: str, mib: int, seconds: int, message: str
) -> None:
    ran = run_bounded([name], [tmp_path], memory=mib * MIB, seconds=seconds)
    assert ran.code != 0
    assert ran.outcomes == []
    assert message in ran.err


# -- small archives that lie ------------------------------------------------------------------------------------


def test_all_work_on_all_broken_archives_takes_next_to_nothing(tmp_path: Path) -> None:
    ran = run_bounded(EVERYTHING, BROKEN, memory=64 * MIB, seconds=60, into=tmp_path)
    assert ran.code == 0, ran.err[-2000:]
    assert len(ran.outcomes) == len(EVERYTHING) * len(BROKEN) > 4000
    kinds = Counter(outcome.kind for outcome in ran.outcomes)
    assert kinds["TruncatedError"] > 300
    assert kinds["FormatError"] > 500


# -- archives that are deep, wide, or unfold --------------------------------------------------------------------

READING = ["read", "read as it comes", "verify", "inspect", "index", "wrap", "salvage", "resume", "diff"]
LOOKING = ["decode", "links", "complete", "stat", "walk", "dot", "export", "select", "sort", "gateway", "follow"]

DEEP = [name for name in INPUTS if name.startswith(("cbor ", "json "))]


@pytest.mark.parametrize("name", DEEP)
def test_brackets_within_brackets_cost_no_more_than_the_bytes_that_hold_them(
    kept: Path, tmp_path: Path, name: str
) -> None:
    ended = check(kept, tmp_path, name, EVERYTHING, mib=96, seconds=20)
    assert ended["links"] == ended["decode"] == ""  # which go on behind a block that is none
    assert ended["export"] == ended["select"] == ended["gateway"] == "CodecError"


@pytest.mark.parametrize(
    "name",
    [
        "a chain of blocks",
        "folders in folders",
        "identities in identities",
        "identities in identities, too large",
        "shards below each other",
    ],
)
def test_blocks_below_blocks_end_with_a_budget_or_with_the_blocks(kept: Path, tmp_path: Path, name: str) -> None:
    ended = check(kept, tmp_path, name, ["complete", "stat", "export", "entries"], mib=96, seconds=30)
    assert ended["complete"] == ""  # which goes through all of them, and reports those that are too large
    assert set(ended.values()) <= {"", "BudgetError", "UnexpectedBlockError", "UnixFSError", "BlockNotFoundError"}


WIDE = {
    "a value of 1,000,000 links": (["verify", "walk"], 200),
    "a list of 1,000,000 lists": (["verify", "decode"], 300),
    "a folder of 100,000 entries": (["verify", "complete", "entries"], 100),
    "a file of 100,000 children": (["verify", "complete", "cat"], 100),
    "100,000 empty blocks": (["read as it comes", "verify"], 64),
    "100,000 roots": (["verify", "inspect"], 64),
    "a root in 1,000,000 pieces": (["read", "read as it comes"], 64),
}
"""The work and the memory, in MiB: of a file of 1 to 8 MiB."""


@pytest.mark.parametrize("name", WIDE)
def test_what_is_wide_takes_memory_in_proportion(kept: Path, tmp_path: Path, name: str) -> None:
    work, mib = WIDE[name]
    check(kept, tmp_path, name, work, mib=mib, seconds=60)


UNFOLDING = ["64^9 files", "a file of 64^9 pieces", "64^9 values", "a file of 2^63 bytes"]


@pytest.mark.parametrize("name", UNFOLDING)
def test_a_few_kilobytes_do_not_unfold(kept: Path, tmp_path: Path, name: str) -> None:
    ended = check(kept, tmp_path, name, ["verify", *LOOKING, "entries", "cat", "tar"], mib=64, seconds=60)
    assert ended["complete"] == ended["verify"] == ""
    assert ended["tar"] == ("" if name == "64^9 values" else "BudgetError") or "2^63" in name


LYING = [name for name in INPUTS if name.startswith("an index ")]


@pytest.mark.parametrize("name", LYING)
def test_an_index_costs_no_more_than_its_bytes(kept: Path, tmp_path: Path, name: str) -> None:
    check(kept, tmp_path, name, READING, mib=96, seconds=30)
