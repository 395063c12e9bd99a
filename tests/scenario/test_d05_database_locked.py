"""D5: another program holds the database for longer than anyone waits."""

from __future__ import annotations

import contextlib
import pathlib
import sqlite3
import time
from collections.abc import Iterator

import pytest

from tests import make, oracle
from tests.scenario import harness


@contextlib.contextmanager
def locked(database: pathlib.Path) -> Iterator[None]:
    """Hold the write lock."""
    base = sqlite3.connect(database, isolation_level=None, timeout=20)
    base.execute("begin immediate")
    try:
        yield
    finally:
        base.execute("rollback")
        base.close()


def store_while_locked(node: harness.Node, journal: oracle.Journal, seconds: float) -> None:
    with locked(oracle.Held(node.data).database):
        end = time.monotonic() + seconds
        sent = oracle.send(node.address, journal, make.series(50, seed="locked"), senders=4)
        assert sent.waited < 20, "a modality does not wait longer for an answer"
        while time.monotonic() < end:
            time.sleep(0.2)
            node.alive()
    statuses = {answer.status for answer in journal.answers()}
    assert statuses <= {0, 0xA700}
    held = harness.verify(node, journal, timeout=30)
    assert len(held.rows) == len(journal.acknowledged()) > 0


def test_the_database_is_locked_for_longer_than_its_timeout(
    node: harness.Node, journal: oracle.Journal
) -> None:
    store_while_locked(node, journal, 7.0)


@pytest.mark.soak
def test_the_database_is_locked_for_a_minute(node: harness.Node, journal: oracle.Journal) -> None:
    store_while_locked(node, journal, 60.0)


def test_killed_while_the_database_is_locked(node: harness.Node, journal: oracle.Journal) -> None:
    with locked(oracle.Held(node.data).database):
        oracle.send(node.address, journal, make.series(30, seed="locked and killed"), senders=2)
        node.kill()
    assert journal.acknowledged()
    node.start()
    harness.verify(node, journal)
