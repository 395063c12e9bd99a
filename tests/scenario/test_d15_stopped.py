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
    node: harness.Node, journal: oracle.Journal
) -> None:
    many = make.series(200, seed="drained", size=20_000)
    assert node.process is not None
    with scu.call(node.address, many) as caller:
        for made in many[:20]:
            journal.note(made, caller.store(made).status)
        node.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        for made in many[20:60]:
            journal.note(made, caller.store(made).status)
        with pytest.raises(scu.Rejected) as refusal:
            scu.call(node.address, many, timeout=5.0)
        assert refusal.value.code == (2, 3, 1)
        caller.release()
    assert node.process.wait(15) == 0, node.tail()
    assert len(journal.acknowledged()) == 60
    node.start()
    held = harness.verify(node, journal)
    assert len(held.rows) == 60


def test_an_association_that_does_not_end_is_cut_at_the_limit(
    make_node: Callable[..., harness.Node], journal: oracle.Journal
) -> None:
    node = make_node(node={"drain": "2s"}).start()
    made = make.instance(seed="stays")
    with scu.call(node.address, [made]) as caller:
        journal.note(made, caller.store(made).status)
        assert node.stop(timeout=15) == 0
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
