"""What can be set about a store, and the TOML file that says it: Lotus' section ``[DAGStore]``, and some more.

Source: the section ``DAGStore`` of Lotus' configuration.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, cast, get_type_hints

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

__all__ = ["OPTIONS", "DagStoreConfig", "parse_duration", "parse_size", "read_config", "to_toml"]

_SECTION = "DAGStore"


@dataclass(frozen=True, slots=True, kw_only=True)
class DagStoreConfig:
    """Everything that can be set; :data:`OPTIONS` says what for.

    In a file, ``max_concurrent_index`` is ``MaxConcurrentIndex``, as in Lotus.
    Durations are seconds, and in a file texts such as ``"1m30s"``; sizes are bytes, and texts such as ``"10GiB"``.

    Raises:
        ValueError: a value that cannot be; with its name.

    >>> DagStoreConfig(max_concurrent_index=2).max_concurrent_index
    2
    """

    root_dir: str = ""
    max_concurrent_index: int = 5
    max_concurrent_ready_fetches: int = 0
    max_concurrent_unseals: int = 5
    max_concurrency_storage_calls: int = 100
    gc_interval: float = 60.0
    transient_max_idle: float = 3600.0
    transient_quota: int = 0
    mount_timeout: float = 60.0
    trust_own_index: bool = False
    catalogue: str = ""
    recover_on_start: Literal["no", "on-acquire", "now"] = "on-acquire"
    max_recover_attempts: int = 1
    recover_backoff: float = 1.0
    lease_seconds: float = 60.0
    max_open_shards: int = 64
    max_jobs: int = 256

    def __post_init__(self) -> None:
        for name, value in self.explain().items():
            most = _LONGEST if name in _DURATIONS else _LARGEST
            if isinstance(value, (int, float)) and not 0 <= value <= most:  # nor nan
                raise ValueError(f"{_key_of(name)} of {value}")
        if self.recover_on_start not in {"no", "on-acquire", "now"}:
            raise ValueError(f"RecoverOnStart of {self.recover_on_start}, allowed: no, on-acquire, now")
        if self.max_jobs < 1 or self.lease_seconds <= 0:
            raise ValueError("MaxJobs and LeaseSeconds must be above 0")

    def explain(self) -> dict[str, object]:
        """Every option by its name, in the order of the definition."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


OPTIONS = {
    "root_dir": 'Folder of the store; "" is dagstore in the repo.',
    "max_concurrent_index": "Shards of one origin that are indexed at the same time; 0 for no limit.",
    "max_concurrent_ready_fetches": "Shards whose bytes come from one origin at the same time; 0 for no limit.",
    "max_concurrent_unseals": "The same, where the origin has to work first; 0 for no limit.",
    "max_concurrency_storage_calls": "Calls to mounts of one origin at the same time; 0 for no limit.",
    "gc_interval": "Time between collections; 0 for none but those asked for.",
    "transient_max_idle": "Time without a reader after which such a collection takes a local copy.",
    "transient_quota": "Bytes of local copies; the ones not used for longest go first. 0 for no limit.",
    "mount_timeout": "How long a mount is waited for that says nothing of its bytes; 0 for ever.",
    "trust_own_index": "Take over any CARv2's own index after spot checks; false: walk its sections instead.",
    "catalogue": 'Of state and inverted index: a path, or postgresql://...; "" is a SQLite file in the root.',
    "recover_on_start": "Errored shards are tried again: no, on-acquire (for the next reader), or now (at start).",
    "max_recover_attempts": "How often that is done until it works, or the store is opened anew.",
    "recover_backoff": "Time after a failure before that is done; twice as much after each further one.",
    "lease_seconds": "How long others wait for a process that indexes a shard and is not heard of any more.",
    "max_open_shards": "Shards that stay open after their last reader left.",
    "max_jobs": "Shards that are worked on at the same time, most of them waiting for the limits above.",
}
"""What each option is for."""


_DURATIONS = ("gc_interval", "mount_timeout", "transient_max_idle", "recover_backoff", "lease_seconds")
_LONGEST = 1e9  # seconds, some 30 years: longer than that no lock can be waited for everywhere
_LARGEST = (1 << 63) - 1  # what TOML can say
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZES = {"": 1, "B": 1, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40}


def _key_of(name: str) -> str:
    """An option's name in a file: ``GCInterval`` has two capitals, as in Lotus.

    >>> _key_of("max_concurrent_index"), _key_of("gc_interval")
    ('MaxConcurrentIndex', 'GCInterval')
    """
    return "".join("GC" if word == "gc" else word.title() for word in name.split("_"))


def parse_duration(text: str) -> float:
    """Seconds of a duration as Go writes it.

    Raises:
        ValueError: it is none.

    >>> parse_duration("1m30s"), parse_duration("1.5h"), parse_duration("0")
    (90.0, 5400.0, 0.0)
    """
    if text in {"", "0"}:
        return 0.0
    parts = re.findall(r"([0-9]+(?:\.[0-9]*)?)(ms|s|m|h)", text)
    if "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is no duration, such as 1m30s")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def parse_size(text: str) -> int:
    """Bytes of a size.

    Raises:
        ValueError: it is none.

    >>> parse_size("10GiB"), parse_size("512")
    (10737418240, 512)
    """
    found = re.fullmatch(r"([0-9]+)\s*([A-Za-z]*)", text)
    if found is None or found[2].upper() not in _SIZES:
        raise ValueError(f"{text!r} is no size, such as 10GiB")
    return int(found[1]) * _SIZES[found[2].upper()]


def to_toml(config: DagStoreConfig) -> str:
    """The file that says ``config``, each option with what it is for.

    >>> to_toml(DagStoreConfig()).splitlines()[:3]
    ['[DAGStore]', '# Folder of the store; "" is dagstore in the repo.', 'RootDir = ""']
    """
    lines = [f"[{_SECTION}]"]
    for name, value in config.explain().items():
        lines += [f"# {OPTIONS[name]}", f"{_key_of(name)} = {_toml_value(name, value)}"]
    return "\n".join(lines) + "\n"


def _toml_value(name: str, value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # TOML's escapes are JSON's
    if name in _DURATIONS and isinstance(value, float) and value.is_integer():
        size, unit = next((size, unit) for size, unit in ((3600, "h"), (60, "m"), (1, "s")) if not value % size)
        return f'"{int(value) // size}{unit}"' if value else '"0"'
    return repr(value)


def table_of(config: DagStoreConfig) -> dict[str, dict[str, object]]:
    """What such a file says, parsed, with durations in seconds: :func:`config_of` makes the options of it again.

    >>> table_of(DagStoreConfig())["DAGStore"]["GCInterval"]
    60.0
    """
    return {_SECTION: {_key_of(name): value for name, value in config.explain().items()}}


def read_config(path: str | os.PathLike[str]) -> DagStoreConfig:
    """The options in the TOML file at ``path``; what it does not say is as by default.

    Raises:
        ValueError: an option that there is not, or one whose value cannot be; it names the file.
        OSError: the file cannot be read.

    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "store.toml")
    ...     with open(path, "w") as file:
    ...         print("[DAGStore]", "MaxConcurrentIndex = 3", sep=chr(10), file=file)
    ...     read_config(path).max_concurrent_index
    3
    """
    from carv2._source import FileSource  # noqa: PLC0415  (with the parser below)

    source = FileSource.open(path)
    try:
        text = source.read_at(0, source.size).decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8: {error}") from error
    finally:
        source.close()
    try:
        return config_of(_parse(text))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _parse(text: str) -> Mapping[str, object]:
    import importlib  # noqa: PLC0415  (a parser, for those who have a file)

    parser: Any = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    parsed: Mapping[str, object] = parser.loads(text)
    return parsed


def config_of(table: Mapping[str, object]) -> DagStoreConfig:
    """The options in a parsed file.

    >>> config_of({"DAGStore": {"GCInterval": "5m"}}).gc_interval
    300.0
    """
    section = table.get(_SECTION, {})
    if not isinstance(section, dict):
        raise ValueError(f"{_SECTION} is no table")  # noqa: TRY004  (the file's fault, not the caller's)
    options = cast("dict[str, object]", section)
    names = {_key_of(field.name): field.name for field in fields(DagStoreConfig)}
    if misplaced := set(table) & set(names):
        raise ValueError(f"{min(misplaced)} belongs into the section [{_SECTION}]")
    unknown = set(options) - set(names)
    if unknown:
        raise ValueError(f"unknown option {min(unknown)}; known are: {', '.join(names)}")
    values: dict[str, Any] = {names[key]: _value(names[key], value) for key, value in options.items()}
    return DagStoreConfig(**values)


def _value(name: str, value: object) -> object:
    """``value`` as the option ``name`` has it."""
    key = _key_of(name)
    if isinstance(value, str) and name in _DURATIONS:
        return parse_duration(value)
    if isinstance(value, str) and name == "transient_quota":
        return parse_size(value)
    wanted = get_type_hints(DagStoreConfig)[name]
    expected: Any = wanted if wanted in {bool, int} else (int, float) if wanted is float else str
    if not isinstance(value, expected) or isinstance(value, bool) is not (wanted is bool):
        raise ValueError(f"{key} of {value!r}")
    return value
