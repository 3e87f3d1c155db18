"""What every catalogue of a DAG store must do, as tests: subclass, and let pytest find the class.

For example::

    class TestMyCatalogue(CatalogueTests):
        def catalogue(self):
            return MyCatalogue(self.folder)

        def again(self, catalogue):
            return MyCatalogue(self.folder)
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from carv2.dagstore.catalogue import Catalogue, DurableState, IndexFacts
from carv2.errors import ClosedError, ShardExistsError, ShardNotFoundError
from carv2.testing._catalogue_case import FACTS
from carv2.testing._catalogue_leases import LeaseTests
from carv2.testing.blockstores import THREADS, in_threads
from carv2.testing.index_stores import MANY, OTHERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from carv2.dagstore.catalogue import ShardRow

__all__ = ["CatalogueTests"]


class CatalogueTests(LeaseTests):
    """The :class:`carv2.dagstore.catalogue.Catalogue` protocol, and all of the above."""

    # -- registering ------------------------------------------------------------------------------------------

    def test_it_has_the_methods_of_the_catalogue_protocol(self) -> None:
        assert isinstance(self.made(), Catalogue)

    def test_a_new_shard_is_as_it_was_given(self) -> None:
        catalogue, before = self.made(), time.time()
        row = catalogue.add("baga1", "file:///data/x.car?a=%20#f", lazy=True)
        assert (row.key, row.url, row.state, row.lazy) == (
            "baga1", "file:///data/x.car?a=%20#f", DurableState.NEW, True,
        )  # fmt: skip
        assert (row.generation, row.failures, row.error, row.inverted, row.local_copy) == (0, 0, "", False, "")
        assert (row.source_size, row.source_tag, row.index_digest, row.last_access) == (None, "", b"", 0.0)
        assert abs(row.created - before) < 60
        assert row.updated == row.created
        assert catalogue.get("baga1") == catalogue.find("baga1") == row
        assert len(catalogue) == 1

    def test_a_local_copy_and_an_owner_are_kept(self) -> None:
        catalogue, path = self.made(), os.fsdecode(b"/data/f\xffsh \xf0\x9f\x90\x9f.car")
        row = catalogue.add("baga1", "piece://baga1", lazy=False, local_copy=path, owner="deal 7")
        assert (row.lazy, row.local_copy) == (False, path)
        assert catalogue.find("baga1").local_copy == path
        assert catalogue.owners_of("baga1") == ["deal 7"]
        catalogue.set_local_copy("baga1", "")
        assert catalogue.find("baga1").local_copy == ""

    def test_a_key_is_registered_once(self) -> None:
        catalogue = self.made()
        row = catalogue.add("baga1", "file:///1", lazy=True)
        with pytest.raises(ShardExistsError) as caught:
            catalogue.add("baga1", "file:///2", lazy=False, local_copy="/2", owner="me")
        assert caught.value.key == "baga1"
        assert catalogue.find("baga1") == row
        assert catalogue.owners_of("baga1") == []

    def test_many_are_registered_and_known_ones_stay_as_they_are(self) -> None:
        catalogue = self.made()
        row = catalogue.add("00500", "file:///mine", lazy=False)
        shards = [(f"{at:05}", f"file:///{at}") for at in range(2500)]
        assert catalogue.add_many(iter(shards)) == 2499
        assert catalogue.add_many([*shards, ("x", "file:///x"), ("x", "file:///y")], lazy=False) == 1
        assert catalogue.add_many([]) == 0
        assert len(catalogue) == 2501
        assert catalogue.find("00500") == row
        assert [(found.key, found.lazy) for found in catalogue.rows()][-2:] == [("02499", True), ("x", False)]

    def test_what_is_missing_is_none_or_an_error(self) -> None:
        catalogue = self.made()
        assert catalogue.get("nothing") is None
        with pytest.raises(ShardNotFoundError):
            catalogue.find("nothing")
        changes: list[Callable[[], object]] = [
            lambda: self.set_available(catalogue, "nothing"),
            lambda: catalogue.set_error("nothing", "MountError", "gone"),
            lambda: catalogue.set_new("nothing"),
            lambda: catalogue.set_local_copy("nothing", "/x"),
            lambda: catalogue.add_owner("nothing", "me"),
            lambda: catalogue.remove_owner("nothing", "me"),
            lambda: catalogue.owners_of("nothing"),
        ]
        for change in changes:
            with pytest.raises(ShardNotFoundError):
                change()
        assert catalogue.remove("nothing", None) is False

    def test_text_that_cannot_be_stored_is_refused(self) -> None:
        catalogue = self.made()
        for bad in ("a\0b", "a\ud800"):
            uses: list[Callable[[str], object]] = [
                lambda key: catalogue.add(key, "file:///x", lazy=True),
                lambda url: catalogue.add("key", url, lazy=True),
                lambda key: catalogue.add_many([("fine", "file:///x"), (key, "file:///x")]),
                catalogue.get,
                lambda key: catalogue.try_lease(key, "me", 1),
            ]
            for use in uses:
                with pytest.raises(ValueError, match="stored"):
                    use(bad)
        assert len(catalogue) == 0

    # -- listing ----------------------------------------------------------------------------------------------

    def test_rows_come_in_order_and_by_prefix(self) -> None:
        catalogue = self.made()
        keys = ["a", "a%", "a_b", "ab", "aB", "a\uffff", "a\U0001f41f", "a\u00e9", "b", "\u00e9", "'", '"', "A b"]
        catalogue.add_many((key, "file:///x") for key in keys)
        assert [row.key for row in catalogue.rows()] == sorted(keys)
        for prefix in ("a", "a%", "a_", "b", "\u00e9", "a\uffff", "\U0010ffff", "zz"):
            expected = sorted(key for key in keys if key.startswith(prefix))
            assert [row.key for row in catalogue.rows(prefix=prefix)] == expected

    def test_rows_by_state(self) -> None:
        catalogue = self.made()
        catalogue.add_many((f"{at:04}", "file:///x") for at in range(1300))
        for at in range(0, 1300, 100):
            catalogue.set_error(f"{at:04}", "MountError", "gone")
        self.set_available(catalogue, "0007")
        errored = [row.key for row in catalogue.rows(state=DurableState.ERRORED)]
        assert errored == [f"{at:04}" for at in range(0, 1300, 100)]
        assert [row.key for row in catalogue.rows(state=DurableState.AVAILABLE, prefix="00")] == ["0007"]
        assert len(list(catalogue.rows(state=DurableState.NEW))) == 1286
        assert catalogue.counts() == {
            DurableState.NEW: 1286, DurableState.AVAILABLE: 1, DurableState.ERRORED: 13,
        }  # fmt: skip

    def test_rows_that_are_lazy_or_wholly_in_the_index(self) -> None:
        catalogue = self.made()
        catalogue.add("a", "file:///x", lazy=True)
        catalogue.add("b", "file:///x", lazy=False)
        self.set_available(catalogue, "b")
        for lazy, inverted, keys in (
            (True, None, "a"),
            (False, None, "b"),
            (None, False, "a"),
            (False, True, "b"),
            (True, True, ""),
        ):
            assert [row.key for row in catalogue.rows(lazy=lazy, inverted=inverted)] == list(keys)

    def test_an_empty_catalogue_counts_nothing(self) -> None:
        catalogue = self.made()
        assert len(catalogue) == 0
        assert list(catalogue.rows()) == []
        assert catalogue.counts() == dict.fromkeys(DurableState, 0)

    def test_shards_may_come_and_go_while_they_are_listed(self) -> None:
        catalogue = self.made()
        catalogue.add_many((f"{at:04}", "file:///x") for at in range(2200))
        seen: list[str] = []
        for row in catalogue.rows():
            if not seen:
                catalogue.remove("0001", None)
                catalogue.remove("2100", None)
                catalogue.add("2199a", "file:///x", lazy=True)
            seen.append(row.key)
        assert seen == sorted(set(seen))
        assert set(seen) >= {f"{at:04}" for at in range(2200)} - {"0001", "2100"}

    # -- the life of a shard ----------------------------------------------------------------------------------

    def test_an_indexed_shard_has_the_facts_of_its_index(self) -> None:
        catalogue = self.made()
        catalogue.add_many([("baga1", "file:///1"), ("baga2", "file:///2")])
        other = catalogue.find("baga2")
        assert [self.set_available(catalogue, "baga1") for _ in range(3)] == [1, 2, 3]
        row = catalogue.find("baga1")
        assert (row.state, row.generation, row.inverted) == (DurableState.AVAILABLE, 3, True)
        assert IndexFacts(row.index_size, row.index_digest, row.index_codec, row.block_count) == FACTS
        assert (row.source_size, row.source_tag) == (1 << 40, 'W/"tag"')
        assert row.updated >= row.created
        assert catalogue.find("baga2") == other

    def test_errors_are_counted_until_one_attempt_succeeds(self) -> None:
        catalogue = self.made()
        catalogue.add("baga1", "file:///1", lazy=True)
        catalogue.set_error("baga1", "MountError", "gone")
        catalogue.set_error("baga1", "OSError", "line\nbreak \0 \udcff \U0001f41f")
        row = catalogue.find("baga1")
        assert (row.state, row.failures, row.error_type) == (DurableState.ERRORED, 2, "OSError")
        assert row.error == "line\nbreak \\x00 \\udcff \U0001f41f"
        catalogue.set_new("baga1")
        row = catalogue.find("baga1")
        assert (row.state, row.failures, row.error_type, row.error) == (DurableState.NEW, 2, "", "")
        catalogue.set_error("baga1", "OSError", "x" * 1_000_000)
        assert 1000 < len(catalogue.find("baga1").error) < 1_000_000
        self.set_available(catalogue, "baga1")
        row = catalogue.find("baga1")
        assert (row.failures, row.error_type, row.error) == (0, "", "")

    def test_a_removed_multihash_means_that_not_all_are_there(self) -> None:
        catalogue = self.made()
        catalogue.add("baga1", "file:///1", lazy=True)
        catalogue.add_multihashes("baga1", OTHERS)
        self.set_available(catalogue, "baga1")
        catalogue.remove_multihashes("baga1", OTHERS[:1])
        assert catalogue.find("baga1").inverted is False

    def test_the_last_access_goes_forward_only(self) -> None:
        catalogue = self.made()
        catalogue.add_many([("baga1", "file:///1"), ("baga2", "file:///2")])
        for when in (10.5, 7.0):
            catalogue.touch("baga1", when)
        catalogue.touch("nothing", 5.0)
        assert catalogue.find("baga1").last_access == 10.5
        assert [row.last_access for row in catalogue.rows()] == [10.5, 0.0]
        other = self.another(catalogue)
        catalogue.close()
        assert [row.last_access for row in other.rows()] == [10.5, 0.0]

    def test_owners_come_and_go(self) -> None:
        catalogue = self.made()
        catalogue.add_many([("baga1", "file:///1"), ("baga2", "file:///2")])
        for owner in ("deal 2", "deal 1", "deal 2"):
            catalogue.add_owner("baga1", owner)
        assert catalogue.owners_of("baga1") == ["deal 1", "deal 2"]
        assert catalogue.owners_of("baga2") == []
        assert [catalogue.remove_owner("baga1", owner) for owner in ("deal 2", "deal 2", "deal 1")] == [1, 1, 0]

    def test_markers_are_kept(self) -> None:
        catalogue = self.made()
        assert catalogue.get_marker("migrated") is None
        for text in ("yes", "twice", ""):
            catalogue.set_marker("migrated", text)
            assert catalogue.get_marker("migrated") == text
        assert catalogue.get_marker("other") is None

    def test_of_those_who_add_a_marker_the_first_one_counts(self) -> None:
        catalogue = self.made()
        assert [catalogue.add_marker("id", text) for text in ("first", "second")] == ["first", "first"]
        assert catalogue.get_marker("id") == "first"

    # -- removing ---------------------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        "known", [MANY, MANY[:10], [], [*OTHERS, *MANY], None], ids=["all", "some", "none", "more", "unknown"]
    )
    def test_nothing_of_a_removed_shard_stays(self, known: list[bytes] | None) -> None:
        catalogue = self.made()
        catalogue.add("baga2", "file:///2", lazy=True)
        catalogue.add("baga1", "file:///1", lazy=True)
        catalogue.add_owner("baga1", "deal")
        catalogue.add_multihashes("baga1", MANY)
        catalogue.add_multihashes("baga2", [*MANY[:5], *OTHERS])
        self.set_available(catalogue, "baga1")
        old = catalogue.find("baga1")
        assert catalogue.remove("baga1", None if known is None else iter(known)) is True
        assert catalogue.get("baga1") is None
        assert [row.key for row in catalogue.rows()] == ["baga2"]
        assert catalogue.multihash_count() == catalogue.entry_count("baga2") == 5 + len(OTHERS)
        assert catalogue.shards_with_many(MANY) == {key: ["baga2"] for key in MANY[:5]}
        new = catalogue.add("baga1", "file:///1", lazy=True)
        assert new.id != old.id
        assert (new.generation, new.state) == (0, DurableState.NEW)
        assert catalogue.owners_of("baga1") == []
        assert catalogue.shards_with(MANY[20]) == []
        assert catalogue.remove("baga1", known) is True
        assert catalogue.remove("baga1", known) is False

    # -- together ---------------------------------------------------------------------------------------------

    def test_handles_see_each_others_changes(self) -> None:
        one = self.made()
        other = self.another(one)
        one.add("baga1", "file:///1", lazy=True)
        assert other.find("baga1") == one.find("baga1")
        other.add_multihashes("baga1", MANY)
        assert one.shards_with(MANY[0]) == ["baga1"]
        assert one.try_lease("baga1", "me", 60)
        assert not other.try_lease("baga1", "you", 60)
        other.set_marker("migrated", "yes")
        assert one.get_marker("migrated") == "yes"
        one.close()
        assert other.remove("baga1", MANY)

    def test_of_threads_that_register_the_same_one_does(self) -> None:
        catalogue, new = self.made(), list["ShardRow"]()

        def register(at: int) -> None:
            for number in range(20):
                try:
                    new.append(catalogue.add(f"{number}", f"file:///{at}", lazy=True))
                except ShardExistsError:
                    continue
            catalogue.add_many((f"many {number}", f"file:///{at}") for number in range(100))

        in_threads(register, range(THREADS))
        assert len(catalogue) == 120
        assert sorted(row.key for row in new) == sorted(str(number) for number in range(20))
        assert all(catalogue.find(row.key) == row for row in new)

    def test_a_listing_that_is_left_does_not_keep_it_from_closing(self) -> None:
        catalogue = self.made()
        catalogue.add_many((f"{at:04}", "file:///x") for at in range(1200))
        rows = catalogue.rows()
        assert next(rows).key == "0000"
        catalogue.close()
        catalogue.close()

    def test_a_closed_catalogue_says_so(self) -> None:
        if not self.refuses_after_close:
            pytest.skip("there is nothing to close")
        catalogue = self.made()
        catalogue.add("baga1", "file:///1", lazy=True)
        catalogue.close()
        uses: list[Callable[[], object]] = [
            lambda: len(catalogue),
            lambda: catalogue.get("baga1"),
            lambda: list(catalogue.rows()),
            catalogue.counts,
            lambda: catalogue.add("baga2", "file:///2", lazy=True),
            lambda: catalogue.set_new("baga1"),
            lambda: catalogue.remove("baga1", None),
            lambda: catalogue.try_lease("baga1", "me", 60),
            lambda: catalogue.get_marker("x"),
        ]
        for use in uses:
            with pytest.raises(ClosedError):
                use()
