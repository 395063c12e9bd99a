"""A peer that is faster than it may be is made to wait; one that was silent may catch up for a moment."""

from __future__ import annotations

import os

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
    limit = pace.Paces(clock=clock, sleep=clock.sleep).of("ct", 10.0)
    for _ in range(50):
        limit.wait()
    assert clock.slept == pytest.approx(5.0)


def test_after_a_silence_a_seconds_worth_comes_at_once() -> None:
    clock = Clock()
    limit = pace.Paces(clock=clock, sleep=clock.sleep).of("ct", 10.0)
    limit.wait()
    clock.now += 3600
    clock.slept = 0.0
    for _ in range(10):
        limit.wait()
    assert clock.slept == 0.0
    limit.wait()
    assert clock.slept == pytest.approx(0.1)


def test_all_processes_of_the_node_together_keep_to_the_rate() -> None:
    waited: list[float] = []
    paces = pace.Paces(clock=lambda: 100.0, sleep=waited.append)
    for _ in range(3):
        paces.of("ct", 10.0).wait()
    assert waited == pytest.approx([0.1, 0.2, 0.3])
    pid = os.fork()
    if not pid:
        waited.clear()
        paces.of("ct", 10.0).wait()
        paces.of("mr", 10.0).wait()
        os._exit(0 if waited == pytest.approx([0.4, 0.1]) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    paces.of("ct", 10.0).wait()
    assert waited[-1] == pytest.approx(0.5)


def test_a_peer_with_another_rate_after_a_reload_goes_on_from_where_it_was() -> None:
    clock = Clock()
    paces = pace.Paces(clock=clock, sleep=clock.sleep)
    for _ in range(10):
        paces.of("ct", 10.0).wait()
    paces.of("ct", 1.0).wait()
    assert clock.slept == pytest.approx(2.0)
    for number in range(2000):  # more peers than there are places: none is left unpaced, and nothing breaks
        paces.of(f"peer {number}", 1e6).wait()
