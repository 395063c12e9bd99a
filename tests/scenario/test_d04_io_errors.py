"""D4: EIO on a write, a sync or a rename: a failure status, never a false success."""

from __future__ import annotations

import pathlib
import time
from collections.abc import Callable

import pytest

from tests import make, oracle
from tests.faults import layer
from tests.scenario import harness


def run(
    made: Callable[..., harness.Node],
    work: pathlib.Path,
    journal: oracle.Journal,
    fault: tuple[str, str, str, int, int],
    size: int = 20_000,
) -> tuple[harness.Node, list[int | None]]:
    """Send 20 instances, then 40 more while calls fail: what, where, how, which and how many; the answers."""
    root = work / "disk"
    root.mkdir()
    flag = work / "broken"
    below = layer.Layer(work / "layer", root)
    node = made(data=root / "data")
    refusal = layer.Refusal(*fault, flag=flag)
    node.start(below.environment(refusal))
    many = make.series(60, seed=str(fault), size=size)
    oracle.send(node.address, journal, many[:20], senders=3)
    node.settled(journal.answers(), 30)
    flag.touch()
    oracle.send(node.address, journal, many[20:], senders=3)
    end = time.monotonic() + 60
    while below.counts()[0] < refusal.nth and time.monotonic() < end:
        time.sleep(0.1)
    assert below.counts()[0] >= refusal.nth, "the fault was never met: the test proves nothing"
    return node, [answer.status for answer in journal.answers()]


@pytest.mark.parametrize("operation", ["write", "sync"])
@pytest.mark.parametrize("error", ["EIO"])
def test_an_error_of_the_journal_fails_those_who_waited_and_no_others(
    operation: str,
    error: str,
    make_node: Callable[..., harness.Node],
    journal: oracle.Journal,
    tmp_path: pathlib.Path,
) -> None:
    node, statuses = run(make_node, tmp_path, journal, (operation, "/journal/listen", error, 5, 1))
    failed = [status for status in statuses if status != 0]
    assert failed, "an error of the disk was answered with success"
    assert set(failed) == {0xA700}
    assert len(failed) <= 3, "more failed than can have waited on one sync"
    node.alive()
    assert (node.data / "degraded").exists()
    harness.verify(node, journal)
    node.kill()
    node.start()
    harness.verify(node, journal)


def test_a_short_write_is_finished_or_refused(
    make_node: Callable[..., harness.Node], journal: oracle.Journal, tmp_path: pathlib.Path
) -> None:
    node, _ = run(make_node, tmp_path, journal, ("write", "/journal/listen", "SHORT", 5, 5))
    assert len(journal.acknowledged()) >= 50
    harness.verify(node, journal)


@pytest.mark.parametrize(
    ("operation", "place"),
    [
        pytest.param("write", "/adopt.new", marks=pytest.mark.soak),
        ("rename", "/store/"),
        pytest.param("mkdir", "/store/", marks=pytest.mark.soak),
        ("write", "/index.sqlite"),
        ("sync", "/data$"),
    ],
)
def test_an_error_behind_the_journal_is_tried_again(
    operation: str,
    place: str,
    make_node: Callable[..., harness.Node],
    journal: oracle.Journal,
    tmp_path: pathlib.Path,
) -> None:
    nth = 1 if place == "/data$" else 2
    node, _ = run(make_node, tmp_path, journal, (operation, place, "EIO", nth, 2))
    assert len(journal.acknowledged()) == 60
    harness.verify(node, journal, timeout=30)
    node.kill()
    node.start()
    harness.verify(node, journal)


def test_a_spool_file_whose_sync_failed_is_not_acknowledged(
    make_node: Callable[..., harness.Node], journal: oracle.Journal, tmp_path: pathlib.Path
) -> None:
    fault = ("sync", "/spool/listen", "EIO", 6, 4)
    node, statuses = run(make_node, tmp_path, journal, fault, size=1_200_000)
    assert 0xA700 in statuses
    assert set(statuses) == {0, 0xA700}
    harness.verify(node, journal)
