"""The fuzz targets without a fuzzer: their seeds hold, get to every invariant, and find faults that are put in."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import pytest

from fuzz import bounds
from fuzz.targets import TARGETS
from helpers.shared import own_fixture

if TYPE_CHECKING:
    from pathlib import Path

    from fuzz.target import Target

ALL = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
FAULTS = [(target, name) for target in TARGETS.values() for name in target.sabotage]


@ALL
def test_what_holds_holds_for_each_seed_and_each_crash_of_old(target: Target) -> None:
    outcomes = {path.name: target.check(path.read_bytes()) for path in target.seeds()}
    assert set(outcomes.values()) <= target.outcomes, outcomes


@ALL
def test_the_seeds_get_to_every_outcome(target: Target) -> None:
    outcomes = {target.check(path.read_bytes()) for path in target.seeds()}
    assert target.outcomes - outcomes == set()


@pytest.mark.parametrize(("target", "fault"), FAULTS, ids=[f"{target.name}: {fault}" for target, fault in FAULTS])
def test_the_seeds_find_a_fault_that_is_put_in(
    target: Target, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, name, replacement = target.sabotage[fault]
    monkeypatch.setattr(module, name, replacement)
    assert any(fails(target, path.read_bytes()) for path in target.seeds())


def fails(target: Target, data: bytes) -> bool:
    try:
        return target.check(data) not in target.outcomes
    except Exception:  # noqa: BLE001  (any is a find)
        return True


@ALL
def test_no_seed_costs_more_than_its_size_allows(target: Target) -> None:
    for path in target.seeds():
        data = path.read_bytes()
        bounds.cost_of(target.check, data).check(len(data))


def test_the_bounds_can_be_broken() -> None:
    def idle(data: bytes) -> int:
        return sum(1 for _ in range(2 * bounds.LINES + 2 * bounds.LINES_PER_BYTE * len(data)) if data)

    def endless(_: bytes) -> None:
        while True:
            pass

    def hoard(data: bytes) -> int:
        return len(bytes(bounds.MEMORY) * 2) + len(data)

    with pytest.raises(AssertionError, match="lines of Python for 1 bytes, allowed"):
        bounds.cost_of(idle, b"x").check(1)
    with pytest.raises(bounds.TooMuchWorkError):
        bounds.cost_of(endless, b"x", warm=False)
    with pytest.raises(AssertionError, match="bytes of memory for 1 bytes, allowed"):
        bounds.cost_of(hoard, b"x").check(1)


def test_seeds_are_small() -> None:
    for target in TARGETS.values():
        for path in target.seeds():
            assert path.stat().st_size <= target.max_size, path


def test_making_the_seeds_anew_gives_the_same_files(tmp_path: Path) -> None:
    folder = own_fixture("fuzz")
    spec = importlib.util.spec_from_file_location("make_fuzz_seeds", folder.parent / "make_fuzz_seeds.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.write(tmp_path)
    assert contents(tmp_path) == {
        name: data for name, data in contents(folder).items() if not name.partition("/")[2].startswith("crash-")
    }
    assert {path.name for path in folder.iterdir()} == set(TARGETS)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
