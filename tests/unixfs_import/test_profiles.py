"""Profiles: presets by their names, and what cannot be one."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from carv2.cli.commands.create import MEANINGS
from carv2.unixfs import DEFAULT_PROFILE, PROFILES, ImportProfile, profile_of


def test_the_presets_have_these_names() -> None:
    assert list(PROFILES) == [
        "unixfs-v1-2025", "unixfs-v0-2015", "kubo-legacy-v1", "go-car", "ipfs-car-2", "lotus",
    ]  # fmt: skip
    assert DEFAULT_PROFILE == "unixfs-v1-2025"
    assert all(profile.name == name for name, profile in PROFILES.items())
    with pytest.raises(TypeError):
        PROFILES["mine"] = profile_of("lotus")  # type: ignore[index]


def test_a_profile_is_found_by_name_or_is_itself() -> None:
    mine = dataclasses.replace(profile_of("go-car"), chunk_size=1000)
    assert profile_of(mine) is mine
    with pytest.raises(ValueError, match="unknown import profile v0; known are: unixfs-v1-2025, "):
        profile_of("v0")


def test_a_profile_is_a_value() -> None:
    assert ImportProfile(name="unixfs-v1-2025") == profile_of("unixfs-v1-2025")
    assert len({*PROFILES.values(), ImportProfile(name="unixfs-v1-2025")}) == len(PROFILES)
    with pytest.raises(dataclasses.FrozenInstanceError):
        profile_of("lotus").chunk_size = 1  # type: ignore[misc]


def test_every_field_is_explained() -> None:
    names = [field.name for field in dataclasses.fields(ImportProfile)]
    assert list(profile_of("lotus").explain()) == names
    assert list(MEANINGS) == names


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("chunk_size", 0, "chunk_size of 0"),
        ("file_links", 1, "file_links of 1"),
        ("hamt_threshold", 0, "hamt_threshold of 0"),
        ("hamt_fanout", 255, "hamt_fanout of 255"),
        ("hamt_fanout", 4, "hamt_fanout of 4"),
        ("hamt_fanout", 2048, "hamt_fanout of 2048"),
        ("inline_limit", 129, "inline_limit of 129"),
        ("inline_limit", -1, "inline_limit of -1"),
        ("hash", "sha3", "sha3"),
        ("hash", "identity", "identity"),
        ("cid_version", 2, "cid_version of 2"),
        ("leaves", "cooked", "leaves of cooked"),
        ("hamt_rule", "sometimes", "hamt_rule of sometimes"),
        ("symlinks", "eat", "symlinks of eat"),
    ],
)
def test_a_profile_that_cannot_be(field: str, value: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        dataclasses.replace(profile_of("unixfs-v1-2025"), **{field: value})


def test_a_cid_of_version_0_has_one_hash() -> None:
    with pytest.raises(ValueError, match="a CIDv0 is always a sha2-256"):
        ImportProfile(name="x", cid_version=0, hash="blake2b-256")
