"""Options from a file: Lotus' names and defaults, durations, and clear words about what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carv2.dagstore.config import (
    OPTIONS,
    DagStoreConfig,
    config_of,
    parse_duration,
    parse_size,
    read_config,
    to_toml,
)

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
        ("[DAGStore]\nTrustOwnIndex = 1\n", "TrustOwnIndex of 1"),
        ('[DAGStore]\nTrustOwnIndex = "false"\n', "TrustOwnIndex of 'false'"),
        ("[DAGStore]\nMaxConcurrentIndex = -1\n", "MaxConcurrentIndex of -1"),
        ('[DAGStore]\nGCInterval = "soon"\n', "'soon' is no duration"),
        ('[DAGStore]\nTransientQuota = "10 apples"\n', "'10 apples' is no size"),
        ('[DAGStore]\nRecoverOnStart = "maybe"\n', "RecoverOnStart of maybe, allowed: no, on-acquire, now"),
        ("[DAGStore]\nGCInterval = nan\n", "GCInterval of nan"),
        ("[DAGStore]\nLeaseSeconds = inf\n", "LeaseSeconds of inf"),
        ('[DAGStore]\nTransientMaxIdle = "999999999h"\n', "TransientMaxIdle of 3599999996400.0"),
        ("[DAGStore]\nMaxJobs = 0\n", "MaxJobs and LeaseSeconds must be above 0"),
        ("MaxJobs = 3\n[DAGStore]\n", "MaxJobs belongs into the section [DAGStore]"),
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


# -- and into a file ------------------------------------------------------------------------------------------

COUNT = st.integers(0, 2**63 - 1)
SECONDS = st.floats(0, 1e9)
CONFIGS = st.builds(
    DagStoreConfig,
    root_dir=st.text(),
    max_concurrent_index=COUNT,
    max_concurrent_ready_fetches=COUNT,
    max_concurrent_unseals=COUNT,
    max_concurrency_storage_calls=COUNT,
    gc_interval=SECONDS | st.integers(0, 10**9),
    transient_max_idle=SECONDS,
    transient_quota=COUNT,
    mount_timeout=SECONDS,
    catalogue=st.text(),
    recover_on_start=st.sampled_from(["no", "on-acquire", "now"]),
    max_recover_attempts=COUNT,
    recover_backoff=SECONDS,
    lease_seconds=st.floats(0, 1e9, exclude_min=True),
    max_open_shards=COUNT,
    max_jobs=st.integers(1, 2**63 - 1),
    trust_own_index=st.booleans(),
)


@given(config=CONFIGS)
def test_what_is_written_is_read_again(config: DagStoreConfig, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("config") / "config.toml"
    path.write_bytes(to_toml(config).encode())
    assert read_config(path) == config


def test_each_option_is_in_the_file_once_with_what_it_is_for() -> None:
    text = to_toml(DagStoreConfig())
    assert list(OPTIONS) == list(DagStoreConfig().explain())
    for purpose in OPTIONS.values():
        assert text.count(f"\n# {purpose}\n") == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 1e10])
def test_no_lock_is_waited_for_that_long(value: float) -> None:
    with pytest.raises(ValueError, match=r"^LeaseSeconds of "):
        DagStoreConfig(lease_seconds=value)
