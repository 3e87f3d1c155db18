"""What a server counts, as Prometheus reads it: text format 0.0.4."""

from __future__ import annotations

import bisect
import itertools
from collections import Counter
from typing import TYPE_CHECKING

from carv2.dagstore import COUNTERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from carv2.dagstore import StoreStat

__all__ = ["Metrics", "of_store"]

_BOUNDS = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0, 600.0)  # seconds
_OF_GATEWAY = {
    "answered": "answers that were completed",
    "refused": "requests that got an HTTP error",
    "broken_off": "answers that were begun and not completed",
    "clients_gone": "clients that left before the end",
    "bytes_sent": "bytes of bodies",
}
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


class Metrics:
    """How many calls there were of each method, how they ended, how long they took, and what is open now.

    >>> metrics = Metrics()
    >>> metrics.called("DagstoreGC", "ok", 0.002)
    >>> print(next(line for line in metrics.lines() if line.startswith("carv2_rpc_requests_total")))
    carv2_rpc_requests_total{method="DagstoreGC",outcome="ok"} 1
    """

    def __init__(self, of_the_gateway: Callable[[], Mapping[str, int]] | None = None) -> None:
        self._gateway = of_the_gateway
        self._ends: Counter[tuple[str, str]] = Counter()
        self._buckets: dict[str, list[int]] = {}
        self._seconds: Counter[str] = Counter()
        self.open: Counter[str] = Counter()
        """Calls, waiting calls, connections and streams that there are now."""

    def called(self, method: str, outcome: str, seconds: float) -> None:
        """A call has ended."""
        self._ends[method, outcome] += 1
        buckets = self._buckets.setdefault(method, [0] * (len(_BOUNDS) + 1))
        buckets[bisect.bisect_left(_BOUNDS, seconds)] += 1
        self._seconds[method] += seconds  # type: ignore[assignment]  # a Counter of floats

    def lines(self) -> Iterator[str]:
        """All of it."""
        ends = {_labels(method=method, outcome=end): count for (method, end), count in sorted(self._ends.items())}
        yield from _metric("carv2_rpc_requests_total", "counter", "calls, by how they ended", ends)
        yield from self._durations()
        now = {_labels(what=what): self.open[what] for what in ("call", "wait", "connection", "stream")}
        yield from _metric("carv2_rpc_open", "gauge", "what is open now", now)
        yield from _of_gateway(self._gateway() if self._gateway is not None else {})

    def _durations(self) -> Iterator[str]:
        name = "carv2_rpc_request_duration_seconds"
        yield from _metric(name, "histogram", "how long calls took", {})
        for method, buckets in sorted(self._buckets.items()):
            counts = [*itertools.accumulate(buckets)]
            for bound, count in zip((*map(str, _BOUNDS), "+Inf"), counts, strict=True):
                yield f"{name}_bucket{_labels(method=method, le=bound)} {count}"
            yield f"{name}_sum{_labels(method=method)} {self._seconds[method]}"
            yield f"{name}_count{_labels(method=method)} {counts[-1]}"


def of_store(stat: StoreStat, counters: Mapping[str, int]) -> Iterator[str]:
    """What there is in a store, and how often things happened in it since it was opened."""
    by_state = {_labels(state=state): count for state, count in stat.by_state.items()}
    yield from _metric("carv2_dagstore_shards", "gauge", "shards, by what they are doing", by_state)
    for name, text, value in (
        ("blocks", "records in the indexes of the shards", stat.block_count),
        ("multihashes", "pairs of a multihash and a shard in the inverted index", stat.multihash_count),
        ("index_bytes", "bytes of the index files", stat.index_bytes),
        ("local_copies", "local copies of archives", stat.transient_count),
        ("local_copy_bytes", "bytes of these", stat.transient_bytes),
    ):
        yield from _metric(f"carv2_dagstore_{name}", "gauge", text, {"": value})
    for name, count in counters.items():
        yield from _metric(f"carv2_dagstore_{name}_total", "counter", COUNTERS.get(name, name), {"": count})


def _of_gateway(counters: Mapping[str, int]) -> Iterator[str]:
    """What a gateway counted since it started, and how many answers are under way."""
    for name, text in _OF_GATEWAY.items():
        if name in counters:
            yield from _metric(f"carv2_gateway_{name}_total", "counter", text, {"": counters[name]})
    if "under_way" in counters:
        text = "answers at this moment"
        yield from _metric("carv2_gateway_under_way", "gauge", text, {"": counters["under_way"]})


def _metric(name: str, kind: str, text: str, values: Mapping[str, float]) -> Iterable[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"
    for labels, value in values.items():
        yield f"{name}{labels} {value}"


def _labels(**labels: str) -> str:
    inside = ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels.items())
    return f"{{{inside}}}"
