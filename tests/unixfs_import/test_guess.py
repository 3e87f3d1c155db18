"""Which profile gives this CID."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING

import pytest

from carv2 import CID
from carv2.unixfs import PROFILES, ImportProfile, guess_profile, import_tree, profile_of
from unixfs_import.inputs import write_tree

if TYPE_CHECKING:
    from pathlib import Path

TREE: dict[str, object] = {
    "a": b"fish",
    "large": b"".join(number.to_bytes(4, "big") for number in range(600_000)),
    ".hidden": {"h": b"h"},
    "link": "a",
    "empty": {},
    "nothing": b"",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("guess") / "top"
    write_tree(path, TREE)
    return path


def root_of(path: Path, name: str, *, wrap: bool) -> CID:
    return import_tree(path, lambda _cid, _data: None, profile=name, wrap=wrap).root


@pytest.mark.parametrize("what", ["", "large", "a", "nothing", "link"])
def test_each_way_gives_what_an_import_gives(folder: Path, what: str) -> None:
    path = folder / what if what else folder
    roots = {(name, wrap): root_of(path, name, wrap=wrap) for name in PROFILES for wrap in (False, True)}
    for wanted in (("unixfs-v0-2015", True), ("ipfs-car-2", False), ("go-car", True)):
        guesses = guess_profile(path, roots[wanted])
        ways = [(guess.profile.name, guess.wrap) for guess in guesses]
        assert {way: guess.root for way, guess in zip(ways, guesses, strict=True)} == roots
        matching = [way for way, guess in zip(ways, guesses, strict=True) if guess.matches]
        assert wanted in matching
        assert matching == ways[: len(matching)]
        if not what:  # hidden entries, symlinks, large files, empty folders: every preset is another
            assert matching == [wanted]


def test_a_cid_of_either_version_will_do(folder: Path) -> None:
    root = import_tree(folder, lambda _cid, _data: None, profile="unixfs-v0-2015").root
    assert root.version == 0
    assert guess_profile(folder, root.to_v1())[0].profile.name == "unixfs-v0-2015"
    assert guess_profile(folder, str(root))[0].matches


def test_no_profile_at_all(folder: Path) -> None:
    guesses = guess_profile(folder, CID.of_data(b"something else"))
    assert not any(guess.matches for guess in guesses)
    assert [guess.profile.name for guess in guesses[::2]] == list(PROFILES)


def test_other_profiles_may_be_tried(folder: Path) -> None:
    odd = dataclasses.replace(profile_of("go-car"), name="odd", chunk_size=999)
    same = dataclasses.replace(odd, name="same")
    root = import_tree(folder / "large", lambda _cid, _data: None, profile=odd, wrap=False).root
    guesses = guess_profile(folder / "large", root, profiles=[ImportProfile(name="x"), odd, same])
    assert [(guess.profile.name, guess.matches) for guess in guesses[:3]] == [
        ("odd", True),
        ("same", True),
        ("x", False),
    ]


def test_a_file_is_read_once(folder: Path) -> None:
    seen: list[int] = []
    guess_profile(folder / "a", CID.of_data(b""), on_progress=seen.append)
    once = sum(seen)
    groups = {(profile.hidden, profile.symlinks) for profile in PROFILES.values()}
    assert once == 4 * len(groups)


def test_what_is_no_file_is_passed_over(tmp_path: Path) -> None:
    write_tree(tmp_path / "t", {"a": b"1"})
    root = import_tree(tmp_path / "t", lambda _cid, _data: None).root
    os.mkfifo(tmp_path / "t/pipe")
    assert guess_profile(tmp_path / "t", root)[0].matches
