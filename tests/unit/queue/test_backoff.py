from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.queue import backoff

NOW = datetime.datetime(2026, 11, 21, 8, tzinfo=datetime.UTC)
SECONDS = st.floats(0.01, 1e6)
CHANCES = st.floats(0, 1)


@given(st.integers(1, 10**9), SECONDS, SECONDS, CHANCES)
def test_no_pause_is_longer_than_the_longest(failures: int, first: float, most: float, chance: float) -> None:
    found = backoff.pause(failures, first, most, chance)
    assert 0 < found <= backoff.longest(most) * (1 + 1e-12)
    assert found >= min(first, most)


@given(st.integers(1, 200), SECONDS, SECONDS, CHANCES)
def test_it_never_becomes_shorter(failures: int, first: float, most: float, chance: float) -> None:
    assert backoff.pause(failures + 1, first, most, chance) >= backoff.pause(failures, first, most, chance)


def test_it_doubles_up_to_its_cap() -> None:
    assert [backoff.pause(n, 5, 900, 0) for n in range(10)] == [0, 5, 10, 20, 40, 80, 160, 320, 640, 900]
    assert backoff.pause(3, 5, 900, 1) == pytest.approx(24)


@given(st.floats(-4e9, 4e9), st.floats(0.01, 1e6))
def test_a_moment_that_no_pause_reaches_has_come(seconds: float, most: float) -> None:
    """A clock that was ten years ahead wrote it, and then was put right."""
    moment = NOW + datetime.timedelta(seconds=seconds)
    waits = (moment - NOW).total_seconds()
    assert backoff.come(moment, NOW, most) == (waits <= 0 or waits > backoff.longest(most))


def test_nothing_comes_after_the_end_of_the_calendar() -> None:
    assert backoff.later(NOW, 1e18) == datetime.datetime.max.replace(tzinfo=datetime.UTC)
    assert backoff.later(NOW, 60) == NOW + datetime.timedelta(minutes=1)
    assert backoff.come(None, NOW, 1)
