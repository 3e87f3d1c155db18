"""What the leases of every catalogue must do, as tests."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from carv2.errors import StateError
from carv2.testing._catalogue_case import CatalogueCase
from carv2.testing.blockstores import THREADS, in_threads
from carv2.testing.index_stores import MANY, OTHERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


__all__ = ["LeaseTests"]

LEASE = 0.3
"""Seconds; of a lease whose end is waited for."""


class LeaseTests(CatalogueCase):
    """Who may work on a shard: one at a time, and nobody for ever."""

    def test_one_holder_has_the_lease(self) -> None:
        catalogue = self.made()
        assert catalogue.lease_of("baga1") is None
        assert catalogue.try_lease("baga1", "me", 60)
        assert not catalogue.try_lease("baga1", "you", 60)
        assert catalogue.try_lease("baga2", "you", 60)
        lease = catalogue.lease_of("baga1")
        assert lease is not None
        assert (lease.key, lease.holder) == ("baga1", "me")
        assert 0 < lease.left <= 60
        assert catalogue.try_lease("baga1", "me", 500)  # who has it may ask again
        assert (lease := catalogue.lease_of("baga1")) is not None
        assert lease.left > 60

    def test_only_its_holder_renews_or_ends_it(self) -> None:
        catalogue = self.made()
        assert catalogue.renew_lease("baga1", "me", 60) is False
        catalogue.try_lease("baga1", "me", 60)
        assert catalogue.renew_lease("baga1", "you", 60) is False
        catalogue.release_lease("baga1", "you")
        assert not catalogue.try_lease("baga1", "you", 60)
        assert catalogue.renew_lease("baga1", "me", 600) is True
        assert (lease := catalogue.lease_of("baga1")) is not None
        assert lease.left > 60
        catalogue.release_lease("baga1", "me")
        catalogue.release_lease("baga1", "me")
        assert catalogue.lease_of("baga1") is None
        assert catalogue.try_lease("baga1", "you", 60)
        assert catalogue.renew_lease("baga1", "me", 60) is False

    def test_the_leases_of_all_are_those_that_last(self) -> None:
        catalogue = self.made()
        assert catalogue.leases() == []
        for key, holder, seconds in (("a", "one", 600), ("b", "two", 600), ("c", "one", LEASE)):
            assert catalogue.try_lease(key, holder, seconds)
        catalogue.release_lease("b", "two")
        time.sleep(LEASE + 0.1)
        (lease,) = catalogue.leases()
        assert (lease.key, lease.holder) == ("a", "one")
        assert 0 < lease.left <= 600

    def test_a_lease_ends_by_itself(self) -> None:
        catalogue = self.made()
        catalogue.add("baga1", "file:///1", lazy=True)
        assert catalogue.try_lease("baga1", "dead", LEASE)
        assert not catalogue.try_lease("baga1", "me", 60)
        time.sleep(LEASE * 1.2)
        assert catalogue.lease_of("baga1") is None
        assert catalogue.renew_lease("baga1", "dead", 60) is False
        assert catalogue.try_lease("baga1", "me", 60)
        assert not catalogue.try_lease("baga1", "dead", 60)

    def test_who_lost_the_lease_changes_nothing(self) -> None:
        catalogue = self.made()
        row = catalogue.add("baga1", "file:///1", lazy=True)
        catalogue.try_lease("baga1", "me", 60)
        uses: list[Callable[[], object]] = [
            lambda: self.set_available(catalogue, "baga1", holder="you"),
            lambda: catalogue.set_error("baga1", "OSError", "gone", holder="you"),
            lambda: catalogue.add_multihashes("baga1", OTHERS, holder="you"),
            lambda: catalogue.remove_multihashes("baga1", None, holder="you"),
            lambda: catalogue.remove("baga1", None, holder="you"),
            lambda: catalogue.remove("baga1", OTHERS, holder="you"),
        ]
        for use in uses:
            with pytest.raises(StateError):
                use()
        assert catalogue.find("baga1") == row
        assert catalogue.entry_count("baga1") == 0
        catalogue.add_multihashes("baga1", OTHERS, holder="me")
        catalogue.remove_multihashes("baga1", OTHERS[:1], holder="me")
        assert catalogue.entry_count("baga1") == len(OTHERS) - 1
        assert self.set_available(catalogue, "baga1", holder="me") == 1
        assert catalogue.remove("baga1", OTHERS, holder="me")
        assert catalogue.get("baga1") is None

    @pytest.mark.parametrize("what", ["add", "remove"])
    def test_a_lease_that_ends_between_two_chunks_is_noticed(self, what: str) -> None:
        catalogue = self.made()
        catalogue.add("baga1", "file:///1", lazy=True)
        catalogue.try_lease("baga1", "me", 60)
        if what == "remove":
            catalogue.add_multihashes("baga1", MANY, holder="me")

        def source() -> Iterator[bytes]:
            yield from MANY
            catalogue.release_lease("baga1", "me")
            assert catalogue.try_lease("baga1", "you", 60)
            yield OTHERS[0]

        change = catalogue.add_multihashes if what == "add" else catalogue.remove_multihashes
        with pytest.raises(StateError):
            change("baga1", source(), holder="me")
        assert not catalogue.shards_with(OTHERS[0])

    def test_of_many_that_want_a_lease_one_gets_it(self) -> None:
        catalogue, winners, together = self.made(), list[str](), threading.Barrier(THREADS)

        def want(at: int) -> None:
            for turn in range(5):
                together.wait(30)
                if catalogue.try_lease(f"shard {turn}", f"holder {at}", 60):
                    winners.append(f"shard {turn}")

        in_threads(want, range(THREADS))
        assert sorted(winners) == [f"shard {turn}" for turn in range(5)]
