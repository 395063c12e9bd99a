"""D15: SIGTERM in the middle of associations: they finish, nobody new comes in, the next start is clean."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable

import pytest

from tests import make, oracle, scu
from tests.scenario import harness


def test_what_is_under_way_finishes_and_the_next_start_is_clean(
    make_node: Callable[..., harness.Node], journal: oracle.Journal
) -> None:
    node = make_node(node={"drain": "60s"}).start()
    many = make.series(200, seed="drained", size=20_000)
    assert node.process is not None
    with scu.call(node.address, many) as caller:
        for made in many[:20]:
            journal.note(made, caller.store(made).status)
        node.process.send_signal(signal.SIGTERM)
        assert rejection(node) == (2, 3, 1)
        for made in many[20:60]:
            journal.note(made, caller.store(made).status)
        assert rejection(node) == (2, 3, 1)
        caller.release()
    assert node.process.wait(60) == 0, node.tail()
    assert len(journal.acknowledged()) == 60
    node.start()
    held = harness.verify(node, journal)
    assert len(held.rows) == 60


def rejection(node: harness.Node) -> tuple[int, int, int] | None:
    """How a new caller is turned away; None when he is let in for a whole minute."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            with scu.call(node.address) as caller:
                caller.release()
        except scu.Rejected as refusal:
            return refusal.code
        time.sleep(0.05)  # the signal has not reached the listener yet
    return None


def test_an_association_that_does_not_end_is_cut_at_the_limit(
    make_node: Callable[..., harness.Node], journal: oracle.Journal
) -> None:
    node = make_node(node={"drain": "2s"}).start()
    made = make.instance(seed="stays")
    with scu.call(node.address, [made]) as caller:
        journal.note(made, caller.store(made).status)
        assert node.stop() == 0
        with pytest.raises((scu.Aborted, scu.Closed)):
            caller.response()
    node.start()
    harness.verify(node, journal)


def test_stopped_while_many_send_and_started_again(node: harness.Node, journal: oracle.Journal) -> None:
    many = make.series(1500, seed="many", size=20_000)
    stop = threading.Event()
    sending = threading.Thread(
        target=oracle.send,
        args=(node.address, journal, many),
        kwargs={"senders": 4, "stop": stop, "patience": 30.0},
    )
    sending.start()
    for _ in range(2):
        time.sleep(0.4)
        node.stop()
        node.start()
    time.sleep(0.3)
    stop.set()
    sending.join()
    assert journal.acknowledged()
    harness.verify(node, journal)
    pids = node.pids()
    assert node.stop() == 0
    assert not [pid for pid in pids if harness._running(pid)], "SIGTERM left a process behind"
