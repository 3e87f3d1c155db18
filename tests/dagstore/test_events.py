"""Listeners hear everything they have room for, and never hold anybody up."""

from __future__ import annotations

import threading

import pytest

from carv2.dagstore.events import Event, EventHub
from carv2.dagstore.states import Operation, ShardState


def event(key: str) -> Event:
    return Event(key, Operation.REGISTER, ShardState.NEW)


def test_each_listener_hears_what_happens_while_it_listens() -> None:
    hub = EventHub()
    hub.publish(event("before"))
    first, second = hub.subscribe(), hub.subscribe()
    hub.publish(event("a"))
    first.close()
    hub.publish(event("b"))
    second.close()
    assert [each.key for each in first] == ["a"]
    assert [each.key for each in second] == ["a", "b"]


def test_the_oldest_go_where_there_is_no_room() -> None:
    hub = EventHub()
    with hub.subscribe(3) as events:
        for number in range(10):
            hub.publish(event(str(number)))
        assert events.dropped == 7
        assert [events.get(0).key for _ in range(3)] == ["7", "8", "9"]  # type: ignore[union-attr]
        assert events.get(0) is None


def test_iterating_waits_and_ends_with_the_hub() -> None:
    hub = EventHub()
    events = hub.subscribe()
    heard: list[str] = []
    listener = threading.Thread(target=lambda: heard.extend(each.key for each in events))
    listener.start()
    hub.publish(event("a"))
    hub.publish(event("b"))
    hub.close()
    listener.join(10)
    assert not listener.is_alive()
    assert heard == ["a", "b"]


def test_a_buffer_has_room_for_something() -> None:
    with pytest.raises(ValueError, match="a buffer of 0 events"):
        EventHub().subscribe(0)
