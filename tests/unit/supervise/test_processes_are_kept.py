"""The supervisor starts children in order, restarts what dies, and ends them."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

PROGRAM = pathlib.Path(__file__).with_name("program.py")


class Running:
    """A supervised program and what it has said so far."""

    def __init__(self, scenario: str, out: pathlib.Path, drain: float) -> None:
        self.out = out
        self.process = subprocess.Popen([sys.executable, str(PROGRAM), scenario, str(out), str(drain)])

    def lines(self) -> list[str]:
        return self.out.read_text().splitlines() if self.out.exists() else []

    def until(self, condition: Callable[[list[str]], bool]) -> list[str]:
        limit = time.monotonic() + 20
        while not condition(self.lines()):
            assert time.monotonic() < limit, self.lines()
            time.sleep(0.02)
        return self.lines()

    def pid_of(self, role: str) -> int:
        return int([line for line in self.lines() if line.startswith(f"started {role} ")][-1].split()[-1])


@pytest.fixture
def start(tmp_path: pathlib.Path) -> Iterator[Callable[..., Running]]:
    made: list[Running] = []

    def make(scenario: str, drain: float = 5.0) -> Running:
        made.append(Running(scenario, tmp_path / "said", drain))
        return made[-1]

    yield make
    for running in made:
        running.process.kill()
        running.process.wait()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return pathlib.Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"


def test_a_later_group_starts_when_the_earlier_one_has_recovered(start: Callable[..., Running]) -> None:
    running = start("order")
    lines = running.until(lambda lines: "ready" in lines)
    words = [line.split()[0] for line in lines]
    assert words == ["started", "recovered", "started", "ready"]


def test_sigterm_ends_the_groups_in_reverse_order(start: Callable[..., Running]) -> None:
    running = start("order")
    running.until(lambda lines: "ready" in lines)
    first, second = running.pid_of("a"), running.pid_of("b")
    running.process.terminate()
    assert running.process.wait(20) == 0
    left = [int(line.split()[1]) for line in running.lines() if line.startswith("left")]
    assert left == [second, first]
    assert running.lines()[-1] == "end"


def test_a_child_that_is_killed_is_started_again(start: Callable[..., Running]) -> None:
    running = start("restart")
    running.until(lambda lines: sum(line.startswith("started a") for line in lines) == 2)
    died = next(line for line in running.lines() if line.startswith("died"))
    assert "killed by SIGKILL" in died
    assert alive(running.pid_of("b"))


def test_a_role_that_cannot_start_ends_the_whole_start_with_its_sentence(
    start: Callable[..., Running],
) -> None:
    running = start("refuse")
    assert running.process.wait(20) == 1
    lines = running.lines()
    assert "refused the port 104 is in use: choose another with --port" in lines
    assert any(line.startswith("left") for line in lines)  # the one that had started was drained


def test_sighup_reaches_every_child_as_an_update(start: Callable[..., Running]) -> None:
    running = start("order")
    running.until(lambda lines: "ready" in lines)
    running.process.send_signal(signal.SIGHUP)
    lines = running.until(lambda lines: sum("updated" in line for line in lines) == 2)
    assert "word a updated {'peers': 2}" in lines
    assert "word b updated {'peers': 2}" in lines


def test_a_second_sigterm_does_not_wait_for_the_drain(start: Callable[..., Running]) -> None:
    running = start("stubborn", drain=600.0)
    running.until(lambda lines: "ready" in lines)
    running.process.terminate()
    running.until(lambda lines: any(line.startswith("draining") for line in lines))
    running.process.terminate()
    assert running.process.wait(20) == 0


def test_the_drain_limit_ends_a_child_that_does_not_leave(start: Callable[..., Running]) -> None:
    running = start("stubborn", drain=0.2)
    running.until(lambda lines: "ready" in lines)
    running.process.terminate()
    assert running.process.wait(20) == 0


def test_children_do_not_outlive_a_killed_supervisor(start: Callable[..., Running]) -> None:
    running = start("order")
    running.until(lambda lines: "ready" in lines)
    pids = [running.pid_of("a"), running.pid_of("b")]
    running.process.kill()
    running.process.wait()
    limit = time.monotonic() + 10
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < limit
        time.sleep(0.05)
