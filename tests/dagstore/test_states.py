"""The table of transitions: whole, reachable, and what the numbers and names of the Go dagstore say."""

from __future__ import annotations

import pytest

from carv2.dagstore.catalogue import DurableState
from carv2.dagstore.states import (
    TRANSITIONS,
    Operation,
    ShardState,
    diagram,
    is_allowed,
    visible_state,
)

GO = {  # dagstore.md 1.6
    "ShardStateNew": 0x00,
    "ShardStateInitializing": 0x01,
    "ShardStateAvailable": 0x02,
    "ShardStateServing": 0x03,
    "ShardStateRecovering": 0x80,
    "ShardStateErrored": 0xF0,
}


def test_states_have_the_names_and_numbers_of_the_go_dagstore() -> None:
    assert {state.go_name: state.value for state in ShardState} == GO
    assert [ShardState.of_go_name(name).value for name in GO] == list(GO.values())
    with pytest.raises(ValueError, match="ShardStateUnknown is no state"):
        ShardState.of_go_name("ShardStateUnknown")


def test_every_state_is_reached_and_left_and_every_shard_can_be_destroyed() -> None:
    assert {row.after for row in TRANSITIONS} == {*ShardState, None}
    assert {row.before for row in TRANSITIONS} == {*ShardState, None}
    reached = {ShardState.NEW}
    for _ in ShardState:
        reached |= {row.after for row in TRANSITIONS if row.before in reached and row.after is not None}
    assert reached == set(ShardState)
    gone = {row.before for row in TRANSITIONS if row.operation is Operation.DESTROY}
    assert gone == {ShardState.NEW, ShardState.AVAILABLE, ShardState.ERRORED, ShardState.SERVING}


def test_no_row_says_the_same_as_another() -> None:
    rows = [(row.before, row.operation, row.after) for row in TRANSITIONS]
    assert len(rows) == len(set(rows))


def test_what_the_go_dagstore_gets_wrong_is_not_in_the_table() -> None:
    errored, available, serving = ShardState.ERRORED, ShardState.AVAILABLE, ShardState.SERVING
    assert not is_allowed(errored, Operation.RELEASE, available)  # D7
    by_force = [row.when for row in TRANSITIONS if (row.before, row.after) == (serving, None)]
    assert by_force == ["by force"]  # D10
    assert not is_allowed(ShardState.RECOVERING, Operation.DESTROY, None)  # D11
    assert is_allowed(ShardState.RECOVERING, Operation.MAKE_AVAILABLE, serving)  # D8: readers of before count


@pytest.mark.parametrize("durable", DurableState)
@pytest.mark.parametrize("is_busy", [False, True])
@pytest.mark.parametrize("references", [0, 2])
def test_what_is_seen_follows_from_what_is_kept_and_what_goes_on(
    durable: DurableState, is_busy: bool, references: int
) -> None:
    seen = visible_state(durable, is_busy=is_busy, references=references)
    assert (seen in {ShardState.INITIALIZING, ShardState.RECOVERING}) == is_busy
    assert (seen in {ShardState.ERRORED, ShardState.RECOVERING}) == (durable is DurableState.ERRORED)
    assert (seen is ShardState.SERVING) == (durable is DurableState.AVAILABLE and not is_busy and references > 0)


def test_the_diagram_has_a_line_for_each_row() -> None:
    lines = diagram().splitlines()
    assert len(lines) == 1 + len(TRANSITIONS)
    assert "    Errored --> Recovering: recover" in lines
    assert "    Available --> [*]: destroy (nobody reads it, or by force)" in lines
