"""D4: EIO on a write, a sync or a rename: a failure status, never a false success."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import pytest

from tests import make, oracle
from tests.faults import layer
from tests.scenario import harness


def run(
    made: Callable[..., harness.Node],
    work: pathlib.Path,
    journal: oracle.Journal,
    refusal: layer.Refusal,
    size: int = 20_000,
) -> tuple[harness.Node, list[int | None]]:
    """Send 60 instances to a node under `refusal`; the answers."""
    root = work / "disk"
    root.mkdir()
    below = layer.Layer(work / "layer", root)
    node = made(data=root / "data")
    node.start(below.environment(refusal))
    oracle.send(node.address, journal, make.series(60, seed=str(refusal), size=size), senders=3)
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
    # The first segments are made at the start, so the count is of an append well behind them.
    refusal = layer.Refusal(operation, "/journal/listen", error, nth=90, times=1)
    node, statuses = run(make_node, tmp_path, journal, refusal)
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
    node, _ = run(make_node, tmp_path, journal, layer.Refusal("write", "/journal/listen", "SHORT", 90, 5))
    assert len(journal.acknowledged()) >= 50
    harness.verify(node, journal)


@pytest.mark.parametrize(
    ("operation", "place"),
    [
        ("write", "/store/"),
        ("rename", "/store/"),
        ("mkdir", "/store/"),
        ("write", "/index.sqlite"),
        ("sync", "/data"),
    ],
)
def test_an_error_behind_the_journal_is_tried_again(
    operation: str,
    place: str,
    make_node: Callable[..., harness.Node],
    journal: oracle.Journal,
    tmp_path: pathlib.Path,
) -> None:
    nth = {"/index.sqlite": 150, "/data": 40}.get(place, 2)
    node, _ = run(make_node, tmp_path, journal, layer.Refusal(operation, place, "EIO", nth, 2))
    assert len(journal.acknowledged()) >= 57
    harness.verify(node, journal, timeout=30)
    node.kill()
    node.start()
    harness.verify(node, journal)


def test_a_spool_file_whose_sync_failed_is_not_acknowledged(
    make_node: Callable[..., harness.Node], journal: oracle.Journal, tmp_path: pathlib.Path
) -> None:
    refusal = layer.Refusal("sync", "/spool/listen", "EIO", nth=12, times=4)
    node, statuses = run(make_node, tmp_path, journal, refusal, size=1_200_000)
    assert 0xA700 in statuses
    assert set(statuses) == {0, 0xA700}
    harness.verify(node, journal)
