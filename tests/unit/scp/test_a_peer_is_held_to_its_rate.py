"""A peer that is faster than it may be is made to wait; one that was silent may catch up for a moment."""

from __future__ import annotations

import pytest

from node.scp import pace


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept += seconds


def test_a_steady_stream_takes_as_long_as_the_rate_says() -> None:
    clock = Clock()
    limit = pace.Pace(10.0, clock=clock, sleep=clock.sleep)
    for _ in range(50):
        limit.wait()
    assert clock.slept == pytest.approx(5.0)


def test_after_a_silence_a_seconds_worth_comes_at_once() -> None:
    clock = Clock()
    limit = pace.Pace(10.0, clock=clock, sleep=clock.sleep)
    clock.now += 3600
    for _ in range(10):
        limit.wait()
    assert clock.slept == 0.0
    limit.wait()
    assert clock.slept == pytest.approx(0.1)
