"""Options from a file: Lotus' names and defaults, durations, and clear words about what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from carv2.dagstore.config import DagStoreConfig, config_of, parse_duration, parse_size, read_config

if TYPE_CHECKING:
    from pathlib import Path

LOTUS = {  # dagstore.md 3.5
    "RootDir": "",
    "MaxConcurrentIndex": 5,
    "MaxConcurrentReadyFetches": 0,
    "MaxConcurrentUnseals": 5,
    "MaxConcurrencyStorageCalls": 100,
    "GCInterval": "1m",
}


def test_the_defaults_are_those_of_lotus() -> None:
    assert config_of({"DAGStore": LOTUS}) == DagStoreConfig() == config_of({})


def test_a_file_says_what_it_says_and_no_more(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(
        '[DAGStore]\nMaxConcurrentIndex = 2\nTransientQuota = "10GiB"\nLeaseSeconds = 5\n[Other]\nx = 1\n'
    )
    read = read_config(path)
    assert read == DagStoreConfig(max_concurrent_index=2, transient_quota=10 << 30, lease_seconds=5)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[DAGStore]\nMaxIndexes = 2\n", "unknown option MaxIndexes; known are: RootDir, "),
        ('[DAGStore]\nMaxConcurrentIndex = "many"\n', "MaxConcurrentIndex of 'many'"),
        ("[DAGStore]\nMaxConcurrentIndex = true\n", "MaxConcurrentIndex of True"),
        ("[DAGStore]\nMaxConcurrentIndex = -1\n", "MaxConcurrentIndex of -1"),
        ('[DAGStore]\nGCInterval = "soon"\n', "'soon' is no duration"),
        ('[DAGStore]\nTransientQuota = "10 apples"\n', "'10 apples' is no size"),
        ('[DAGStore]\nRecoverOnStart = "maybe"\n', "RecoverOnStart of maybe, allowed: no, on-acquire, now"),
        ("[DAGStore]\nMaxJobs = 0\n", "MaxJobs and LeaseSeconds must be above 0"),
        ("DAGStore = 3\n", "DAGStore is no table"),
        ("[DAGStore\n", "config.toml: "),
    ],
)
def test_what_cannot_be_is_said_with_the_file_and_the_option(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(ValueError) as caught:
        read_config(path)
    assert why in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="not UTF-8"):
        read_config(path)


@pytest.mark.parametrize(
    ("text", "seconds"), [("1m", 60), ("1h30m", 5400), ("250ms", 0.25), ("1.5s", 1.5), ("", 0), ("0", 0)]
)
def test_durations_are_read_as_go_writes_them(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["1", "1d", "m", "-1m", "1m2", "1 m"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        parse_duration(text)


def test_sizes_are_read() -> None:
    assert [parse_size(text) for text in ("0", "7", "2KiB", "3 mib", "1TiB")] == [0, 7, 2048, 3 << 20, 1 << 40]
