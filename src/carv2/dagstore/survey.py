"""What a DAG store looks like as a whole: the model of its report, and the page."""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, NamedTuple

from carv2.dagstore.states import ShardState
from carv2.pictures._charts import Bar, bars, range_text
from carv2.pictures._drawing import part_text, shown, size_text, tag
from carv2.pictures._page import page, table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from carv2.dagstore.info import ShardInfo

__all__ = ["ShardLine", "StoreSurvey", "draw_store_report", "survey"]

_MOST_ERRORS = 200
_MOST_LARGE = 20
_MOST_KINDS = 40
_MOST_COUNTED = 1000
_FILLS = {"available": "#009E73", "serving": "#0072B2", "errored": "#D55E00", "new": "#E69F00"}
_OTHER_FILL = "#8c959f"


class ShardLine(NamedTuple):
    """A shard that a report names."""

    key: str
    state: str
    error_type: str
    error: str
    url: str
    size: int
    """Bytes behind its mount, 0 where that is not known."""
    block_count: int
    updated: float
    """Seconds since 1970."""


@dataclass(frozen=True, kw_only=True)
class StoreSurvey:
    """What there is to say of all shards of a store together. Memory does not grow with them."""

    name: str
    shard_count: int = 0
    by_state: dict[str, int]
    mounts: dict[str, int]
    """Shards by what gets their bytes: the scheme of the mount's URL; beyond 40 of these, "other"."""
    errors: dict[str, int]
    """Shards whose last attempt failed, by the class of the error."""
    sizes: dict[int, int]
    """Shards by the bytes behind their mounts: the power of two that these reach, and how many."""
    lazy_count: int = 0
    reader_count: int = 0
    """In this process; or in that of the server."""
    block_count: int = 0
    index_bytes: int = 0
    source_bytes: int = 0
    unsized_count: int = 0
    """Shards of which nobody knows how many bytes they have, as they were not indexed."""
    indexed_again: int = 0
    """Shards that were indexed more than once."""
    never_read: int = 0
    oldest: float = 0.0
    """When the first was registered, in seconds since 1970; 0 where there is none."""
    last_access: float = 0.0
    failed: tuple[ShardLine, ...] = ()
    """The first 200 in error, by key."""
    largest: tuple[ShardLine, ...] = ()
    """Twenty, by the bytes behind their mounts."""
    local_copies: int | None = None
    local_copy_bytes: int | None = None
    """None where the server does not tell."""


def survey(
    shards: Iterable[ShardInfo],
    *,
    name: str = "DAG store",
    local_copies: int | None = None,
    local_copy_bytes: int | None = None,
) -> StoreSurvey:
    """Look at all shards once.

    Args:
        shards: as :meth:`DagStore.list` gives them, or a client's.
        name: of the store, for the report.
        local_copies: how many the store keeps, as :meth:`DagStore.stat` says.
        local_copy_bytes: bytes of these.

    >>> survey([], name="sea").shard_count
    0
    """
    tally = _Tally()
    for info in shards:
        tally.add(info)
    return StoreSurvey(
        name=name,
        shard_count=tally.states.total(),
        by_state={state.name.lower(): tally.states[state] for state in ShardState},
        mounts=_few(tally.mounts),
        errors=_few(tally.errors),
        sizes=dict(sorted(tally.sizes.items())),
        failed=tuple(tally.failed),
        largest=tuple(line for _, _, line in sorted(tally.largest, reverse=True)),
        local_copies=local_copies,
        local_copy_bytes=local_copy_bytes,
        **tally.counts,
        oldest=tally.oldest,
        last_access=tally.last_access,
    )


class _Tally:
    """Counts, while the shards pass by."""

    def __init__(self) -> None:
        self.states: Counter[ShardState] = Counter()
        self.mounts: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.sizes: Counter[int] = Counter()
        self.counts: Counter[str] = Counter(
            lazy_count=0,
            reader_count=0,
            block_count=0,
            index_bytes=0,
            source_bytes=0,
            unsized_count=0,
            indexed_again=0,
            never_read=0,
        )
        self.failed: list[ShardLine] = []
        self.largest: list[tuple[int, str, ShardLine]] = []
        self.oldest = self.last_access = 0.0

    def add(self, info: ShardInfo) -> None:
        counts = self.counts
        self.states[info.state] += 1
        _count(self.mounts, info.url.partition(":")[0] if ":" in info.url else "none")
        counts["lazy_count"] += info.is_lazy
        counts["reader_count"] += info.references
        counts["block_count"] += info.block_count
        counts["index_bytes"] += info.index_size
        counts["indexed_again"] += info.generation > 1
        counts["never_read"] += not info.last_access
        self.oldest = min(self.oldest or info.created, info.created or self.oldest)
        self.last_access = max(self.last_access, info.last_access)
        self._add_size(info)
        if info.state is ShardState.ERRORED:
            _count(self.errors, info.error_type or "unknown")
            if len(self.failed) < _MOST_ERRORS:
                self.failed.append(_line(info))

    def _add_size(self, info: ShardInfo) -> None:
        if info.source_size is None:
            self.counts["unsized_count"] += 1
            return
        self.counts["source_bytes"] += info.source_size
        self.sizes[1 << info.source_size.bit_length() - 1 if info.source_size else 0] += 1
        entry = (info.source_size, info.key, _line(info))
        if len(self.largest) < _MOST_LARGE:
            heapq.heappush(self.largest, entry)
        else:
            heapq.heappushpop(self.largest, entry)


def _count(counts: Counter[str], name: str) -> None:
    """Count one more; of very many names, those that come late are "other"."""
    counts[name if name in counts or len(counts) < _MOST_COUNTED else "other"] += 1


def _few(counts: Counter[str]) -> dict[str, int]:
    """The most frequent; the rest together."""
    found = dict(counts.most_common(_MOST_KINDS))
    left = counts.total() - sum(found.values())
    return {**found, "other": found.get("other", 0) + left} if left else found


def _line(info: ShardInfo) -> ShardLine:
    return ShardLine(
        key=info.key,
        state=info.state.name.lower(),
        error_type=info.error_type,
        error=info.error,
        url=info.url,
        size=info.source_size or 0,
        block_count=info.block_count,
        updated=info.updated,
    )


# -- the page -----------------------------------------------------------------------------------------------------


def draw_store_report(found: StoreSurvey) -> str:
    """Make a page of what :func:`survey` found: states, errors, sizes, mounts, disk use, the largest shards.

    Returns:
        the text of the HTML page. It has no script and asks for nothing; keys, URLs and messages are escaped.

    >>> "no shards" in draw_store_report(survey([], name="sea"))
    True
    """
    return page(f"{shown(found.name)}: carv2 DAG store report", _body(found))


def _body(found: StoreSurvey) -> Iterator[str]:
    yield tag("h1", shown(found.name))
    yield tag("p", _verdict(found))
    yield tag("h2", "Shards by state", id="states")
    yield bars("Shards by state", ("state", "shards"), _states(found))
    if found.failed:
        yield tag("h2", "Shards in error", id="errors")
        yield table(("Error", "shards"), _counts(found.errors))
        yield table(("Shard", "what happened", "mount"), _failed(found), numbers=-1)
        left = found.by_state["errored"] - len(found.failed)
        if left > 0:
            yield tag("p", f"and {left:,} more", class_="quiet")
    yield tag("h2", "Summary", id="summary")
    yield table((), _summary(found))
    if found.sizes:
        yield tag("h2", "Sizes of archives", id="sizes")
        rows = [Bar(range_text(least), many, f"{many:,}") for least, many in found.sizes.items()]
        yield bars("Sizes of archives", ("size", "shards"), rows)
    if found.mounts:
        yield tag("h2", "Where the bytes come from", id="mounts")
        yield table(("Mount", "shards", "share"), _shares(found.mounts, found.shard_count))
    if found.largest:
        yield tag("h2", "Largest archives", id="largest")
        yield table(("Shard", "bytes", "blocks", "state"), _largest(found))


def _verdict(found: StoreSurvey) -> str:
    if not found.shard_count:
        return "There are no shards."
    errored = found.by_state["errored"]
    many = f"{found.shard_count:,} shard{'s' * (found.shard_count != 1)}"
    if errored:
        return f'<span class="bad">{errored:,} in error</span> of {many}.'
    return f'<span class="good">none in error</span> {many}.'


def _states(found: StoreSurvey) -> list[Bar]:
    return [
        Bar(name, many, f"{many:,} ({part_text(many, found.shard_count)})", _FILLS.get(name, _OTHER_FILL))
        for name, many in found.by_state.items()
    ]


def _counts(counts: dict[str, int]) -> Iterator[tuple[str, ...]]:
    for name, many in counts.items():
        yield f"<code>{shown(name)}</code>", f"{many:,}"


def _shares(counts: dict[str, int], whole: int) -> Iterator[tuple[str, ...]]:
    for name, many in counts.items():
        yield shown(name), f"{many:,}", part_text(many, whole)


def _failed(found: StoreSurvey) -> Iterator[tuple[str, ...]]:
    for line in found.failed:
        what = f"{shown(line.error, 400)}<br>" + tag("span", _when(line.updated), class_="quiet")
        yield f"<code>{shown(line.key)}</code>", what, f"<code>{shown(line.url, 200)}</code>"


def _largest(found: StoreSurvey) -> Iterator[tuple[str, ...]]:
    for line in found.largest:
        yield f"<code>{shown(line.key)}</code>", f"{line.size:,}", f"{line.block_count:,}", line.state


def _summary(found: StoreSurvey) -> Iterator[tuple[str, ...]]:
    unknown = f"; of {found.unsized_count:,} shards nobody knows yet" if found.unsized_count else ""
    yield "Archives", f"{found.source_bytes:,} bytes ({size_text(found.source_bytes)}){unknown}"
    yield "Blocks", f"{found.block_count:,} in all indexes"
    yield "Indexes on disk", f"{found.index_bytes:,} bytes ({size_text(found.index_bytes)})"
    if found.local_copies is not None:
        size = found.local_copy_bytes or 0
        yield "Local copies", f"{found.local_copies:,} with {size:,} bytes ({size_text(size)})"
    yield "Registered, to be indexed when asked for", f"{found.lazy_count:,}"
    yield "Indexed more than once", f"{found.indexed_again:,}"
    yield "Never read", f"{found.never_read:,}"
    yield "Readers now", f"{found.reader_count:,}"
    yield "First registered", _when(found.oldest)
    yield "Last read", _when(found.last_access)


def _when(seconds: float) -> str:
    if not 0 < seconds < 1 << 34:
        return "never" if not seconds else "unknown"
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
