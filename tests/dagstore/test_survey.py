"""The report of a DAG store: it counts what is there, does not grow without end, and shows text as text."""

from __future__ import annotations

import random
import shutil
import subprocess
from collections import Counter
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest

from carv2.dagstore import BytesMount, DagStore, FileMount, ShardInfo, ShardState
from carv2.dagstore import survey as module
from carv2.dagstore.survey import draw_store_report, survey
from carv2.errors import CarError
from helpers import archives

if TYPE_CHECKING:
    from pathlib import Path

EVIL = "<script>document.title='owned'</script>\x1b[31m\u202e\"'&"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def info(key: str, state: ShardState = ShardState.AVAILABLE, **changes: Any) -> ShardInfo:
    plain = {
        "error": "",
        "error_type": "",
        "url": f"file:///{key}.car",
        "local_copy": "",
        "is_lazy": False,
        "references": 0,
        "block_count": 10,
        "index_size": 400,
        "source_size": 1000,
        "generation": 1,
        "created": 1_700_000_000.0,
        "updated": 1_700_000_100.0,
        "last_access": 0.0,
    }
    return ShardInfo(key=key, state=state, **{**plain, **changes})


def failed(key: str, **changes: Any) -> ShardInfo:
    return info(key, ShardState.ERRORED, **{"error": "gone", "error_type": "MountError", **changes})


class Page(HTMLParser):
    def __init__(self, markup: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.text = ""
        self.feed(markup)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        assert not [
            name for name, _ in attrs if name in {"src", "href", "data", "action"} or name.startswith("on")
        ]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_shards_are_counted() -> None:
    found = survey(
        [
            info("a", is_lazy=True, references=2, generation=3),
            info("b", ShardState.NEW, source_size=None, block_count=0, index_size=0, created=1_600_000_000.0),
            info("c", url="s3://x/c.car", source_size=5_000_000, last_access=1_800_000_000.0),
            failed("d"),
        ]
    )
    assert (found.shard_count, found.by_state["available"], found.by_state["new"]) == (4, 2, 1)
    assert (found.mounts, found.errors) == ({"file": 3, "s3": 1}, {"MountError": 1})
    assert found.sizes == {512: 2, 4_194_304: 1}
    assert (found.source_bytes, found.unsized_count, found.block_count, found.index_bytes) == (
        5_002_000,
        1,
        30,
        1200,
    )
    assert (found.lazy_count, found.reader_count, found.indexed_again, found.never_read) == (1, 2, 1, 3)
    assert (found.oldest, found.last_access) == (1_600_000_000.0, 1_800_000_000.0)
    assert [line.key for line in found.failed] == ["d"]
    assert [line.key for line in found.largest] == ["c", "d", "a"]


def test_a_report_of_very_many_shards_is_as_long_as_one_of_some() -> None:
    chosen = random.Random(5)
    sizes = [chosen.randrange(1 << 35) for _ in range(20_000)]
    shards = (failed(f"{at:05}", url=f"k{at % 97}://{at}", source_size=size) for at, size in enumerate(sizes))
    found = survey(shards)
    assert [line.size for line in found.largest] == sorted(sizes, reverse=True)[:20]
    assert [line.key for line in found.failed] == [f"{at:05}" for at in range(200)]
    assert (len(found.mounts), sum(found.mounts.values())) == (41, 20_000)
    page = draw_store_report(found)
    assert "and 19,800 more" in page
    assert len(page) < 200_000


def test_an_empty_store_has_a_report() -> None:
    page = Page(draw_store_report(survey([], name="sea")))
    assert "There are no shards." in page.text
    assert "First registered" in page.text


@pytest.mark.parametrize("field", ["key", "error", "error_type", "url"])
def test_text_of_other_people_stays_text(field: str) -> None:
    changes = {"error": EVIL, "error_type": "X", "url": EVIL, field: EVIL}
    page = draw_store_report(survey([failed(changes.pop("key", "a"), **changes)], name=EVIL))
    found = Page(page)
    assert "script" not in found.names
    assert "<script>document.title='owned'" in found.text
    assert "\x1b" not in page
    assert "\u202e" not in page


@pytest.mark.parametrize("seconds", [-1.0, 1e300, float("nan"), float("inf")])
def test_a_time_that_is_none_is_not_shown_as_one(seconds: float) -> None:
    found = survey([failed("a", updated=seconds, created=seconds, last_access=seconds)])
    assert "unknown" in draw_store_report(found)


def test_a_real_store(tmp_path: Path) -> None:
    piece = archives.v1([], [(archives.cid_v1(b"fish"), b"fish")])
    with DagStore(tmp_path / "store") as store:
        store.register("here", BytesMount(piece))
        store.register("later", BytesMount(piece), lazy=True)
        with pytest.raises(CarError):
            store.register("gone", FileMount(tmp_path / "gone.car"))
        found = survey(store.list(), name="store")
    assert {name: many for name, many in found.by_state.items() if many} == {
        "available": 1,
        "new": 1,
        "errored": 1,
    }
    assert found.sizes == {1 << len(piece).bit_length() - 1: 1}
    assert "gone.car" in Page(draw_store_report(found)).text


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium to look at the page with")
def test_a_browser_shows_the_page_and_runs_nothing_of_it(tmp_path: Path) -> None:
    assert CHROMIUM is not None
    path = tmp_path / "report.html"
    path.write_text(draw_store_report(survey([failed(EVIL, error=EVIL), info("a")], name=EVIL)), encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run(
        [CHROMIUM, *options, "--virtual-time-budget=2000", "--dump-dom", path.as_uri()],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "owned</title>" not in done.stdout
    assert "1 in error" in done.stdout


def test_memory_does_not_grow_with_names(monkeypatch: pytest.MonkeyPatch) -> None:
    most = 0

    class Counted(Counter[str]):
        def __setitem__(self, name: str, count: int) -> None:
            nonlocal most
            super().__setitem__(name, count)
            most = max(most, len(self))

    monkeypatch.setattr(module, "Counter", Counted)
    found = survey(failed(str(at), url=f"m{at}:x", error_type=f"E{at}") for at in range(3000))
    assert most == 1001
    assert (sum(found.mounts.values()), sum(found.errors.values())) == (3000, 3000)
    assert (found.mounts["other"], found.errors["other"]) == (2961, 2961)
