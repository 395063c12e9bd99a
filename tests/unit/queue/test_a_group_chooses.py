from __future__ import annotations

import pytest

from node import orders
from node.queue import groups

UP, DOWN, HELD = orders.LaneState.UP, orders.LaneState.DOWN, orders.LaneState.HELD
FAILOVER = orders.Group("pacs", ("a", "b", "c"))
SPREAD = orders.Group("pacs", ("a", "b", "c"), orders.Choice.SPREAD)


def lanes(**states: orders.LaneState) -> dict[str, orders.Lane]:
    return {name: orders.Lane(name, state) for name, state in states.items()}


def test_the_first_that_is_up_takes_it() -> None:
    assert groups.choose(FAILOVER, {}, turn=2) == "a"
    assert groups.choose(FAILOVER, lanes(a=DOWN)) == "b"
    assert groups.choose(FAILOVER, lanes(a=DOWN, b=HELD, c=UP)) == "c"


def test_each_in_turn_and_who_is_down_is_left_out() -> None:
    assert [groups.choose(SPREAD, {}, turn) for turn in range(4)] == ["a", "b", "c", "a"]
    assert [groups.choose(SPREAD, lanes(b=DOWN), turn) for turn in range(3)] == ["a", "c", "c"]


def test_with_none_up_it_waits_at_its_own() -> None:
    everywhere = lanes(a=DOWN, b=DOWN, c=HELD)
    assert groups.choose(FAILOVER, everywhere) == "a"
    assert groups.choose(SPREAD, everywhere, 1) == "b"
    assert groups.instead(FAILOVER, "a", everywhere) is None


@pytest.mark.parametrize(
    ("states", "given", "found"),
    [
        ({}, "a", None),
        ({"a": DOWN}, "a", "b"),
        ({"a": HELD}, "a", "b"),
        ({"a": DOWN, "b": DOWN}, "a", "c"),
        ({"a": DOWN}, "b", None),  # what went to the second stays there when the first is down
        ({}, "gone", "a"),  # a destination that is no member any more
    ],
)
def test_who_takes_over(states: dict[str, orders.LaneState], given: str, found: str | None) -> None:
    assert groups.instead(FAILOVER, given, lanes(**states)) == found
