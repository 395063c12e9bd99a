"""Caps over time: what goes out never exceeds them for long, and is never held back more than they ask."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node import orders
from node.send import pace

MINUTE = 60.0


@dataclasses.dataclass
class Clock:
    """Time that passes when it is told to."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def _destination(**how: object) -> orders.Destination:
    return orders.Destination(name="slow", **how)  # type: ignore[arg-type]


def _drive(clock: Clock, take: object, seconds: float, amounts: list[int], lanes: int = 1) -> float:
    """What goes out in so long when every lane goes on as soon as its turn has come."""
    assert callable(take)
    begun, sent, at = clock.now, 0.0, 0
    free = [clock.now] * lanes
    while True:
        lane = free.index(min(free))
        clock.now = max(clock.now, free[lane])
        if clock.now - begun >= seconds:
            return sent
        amount = amounts[at % len(amounts)]
        at += 1
        free[lane] = clock.now + take(amount)
        if free[lane] - begun < seconds:
            sent += amount


@settings(deadline=None, max_examples=50)
@given(
    st.integers(10_000, 10_000_000),
    st.lists(st.integers(2_000, 262_144), min_size=1, max_size=20),
    st.integers(1, 8),
)
def test_bytes_are_kept_within_five_percent_over_a_minute(cap: int, amounts: list[int], lanes: int) -> None:
    clock = Clock()
    one = pace.Pace(_destination(bandwidth=cap), clock=clock)
    piece = one.piece()
    assert piece is not None
    pieces = [min(amount, piece) for amount in amounts]
    rounds = max(1, 2_000 // len(pieces))
    seconds = min(MINUTE, sum(pieces) * rounds / cap)  # a bounded number of turns
    sent = _drive(clock, one.bytes, seconds, pieces, lanes)
    # A minute's burst is a sixth of a percent; what is over here is the burst and a piece of each lane.
    assert sent <= 1.001 * cap * (seconds + pace.BURST) + (lanes + 1) * max(pieces)
    assert sent >= 0.999 * cap * seconds - (lanes + 1) * max(pieces)


def test_instances_are_kept_within_five_percent_over_a_minute() -> None:
    clock = Clock()
    one = pace.Pace(_destination(rate=2.5), clock=clock)
    sent = _drive(clock, lambda _: one.instance(), MINUTE, [1], lanes=3)
    assert 0.95 * 150 <= sent <= 1.05 * 150


def test_workers_share_a_cap() -> None:
    clock = Clock()
    living = 1
    one = pace.Pace(_destination(bandwidth=1000), workers=lambda: living, clock=clock)
    assert one.bytes(1000) == 0.0
    assert one.bytes(1000) == pytest.approx(1.0 - pace.BURST)
    living = 2
    assert one.bytes(1000) == pytest.approx(2.0 - pace.BURST)
    assert one.bytes(1) == pytest.approx(4.0 - pace.BURST)


def test_what_was_not_used_is_not_saved_up() -> None:
    clock = Clock()
    one = pace.Pace(_destination(bandwidth=1000), clock=clock)
    one.bytes(1)
    clock.now += 3600
    waits = [one.bytes(100) for _ in range(4)]
    assert waits == pytest.approx([0.0, 0.0, 0.1, 0.2])


def test_without_a_cap_nothing_waits() -> None:
    one = pace.Pace(_destination())
    assert (one.bytes(1 << 40), one.instance(), one.piece()) == (0.0, 0.0, None)


def test_a_changed_cap_counts_from_now_on() -> None:
    clock = Clock()
    one = pace.Pace(_destination(bandwidth=1000), clock=clock)
    one.bytes(1000)
    one.apply(_destination(bandwidth=2000))
    assert one.piece() == 4096
    one.bytes(1000)
    assert one.bytes(1) == pytest.approx(1.5 - pace.BURST)
    one.apply(_destination())
    assert one.bytes(1) == 0.0
