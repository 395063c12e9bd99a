"""D5: the database server is killed under the node and comes back; the journal acknowledges meanwhile."""

from __future__ import annotations

import json
import pathlib
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy

from tests import indexed, make, oracle
from tests.scenario import harness


class Held(oracle.Held):
    """What a node holds by its index on a server."""

    def __init__(self, data: pathlib.Path, url: str) -> None:
        self._url = url
        super().__init__(data)

    def query(self, sql: str, *values: object) -> list[tuple[object, ...]]:
        assert not values
        engine = sqlalchemy.create_engine(self._url)
        try:
            with engine.connect() as connection:
                return [tuple(row) for row in connection.execute(sqlalchemy.text(sql))]
        finally:
            engine.dispose()


@pytest.fixture
def server() -> Iterator[indexed.Server]:
    made = indexed.Server()
    try:
        made.start()
        yield made
    finally:
        made.close()


@pytest.fixture
def served(server: indexed.Server, make_node: Callable[..., harness.Node]) -> harness.Node:
    """A daemon with its index on a server."""
    return make_node(storage={"database": server.url}).start(timeout=60.0)


def becomes(node: harness.Node, wanted: int, timeout: float = 60.0) -> str:
    """Wait for /readyz to say so; its text then."""
    end = time.monotonic() + timeout
    while True:
        status, text = node.get("/readyz")
        if status == wanted:
            return text
        assert time.monotonic() < end, f"/readyz still says {status}: {text}\n{node.tail()}"
        time.sleep(0.2)


def kill_while_sending(
    node: harness.Node, server: indexed.Server, journal: oracle.Journal, turn: int
) -> None:
    """Modalities send the whole time; the server goes in the middle, and comes back."""
    stop = threading.Event()
    instances = make.series(8000, size=2000, seed=f"server killed {turn}")
    sending = threading.Thread(
        target=oracle.send,
        args=(node.address, journal, instances),
        kwargs={"senders": 3, "stop": stop},
    )
    before = len(journal.acknowledged())
    sending.start()
    try:
        _until(lambda: len(journal.acknowledged()) > before + 20)
        server.kill()
        at_kill = len(journal.acknowledged())
        (reason,) = json.loads(becomes(node, 503))["reasons"]
        assert reason.startswith("database: ")
        status, page = node.get("/")
        assert status == 200
        assert "database" in page
        _until(lambda: len(journal.acknowledged()) > at_kill + 20)
        node.alive()
    finally:
        stop.set()
        sending.join()
    server.start()
    becomes(node, 200)


def _until(holds: Callable[[], bool], timeout: float = 60.0) -> None:
    end = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < end, "nothing is acknowledged any more"
        time.sleep(0.05)


def prove(node: harness.Node, server: indexed.Server, journal: oracle.Journal) -> None:
    """Everything that was acknowledged is filed and whole, by connections that recovered by themselves."""
    answers = journal.answers()
    wanted = {(one.sop_instance, one.digest) for one in answers if one.acknowledged}
    end = time.monotonic() + 60
    while True:
        held = Held(node.data, server.url)
        missing = wanted - {(row.sop_instance, row.digest) for row in held.rows}
        if not missing or time.monotonic() > end:
            break
        time.sleep(0.2)
    wrong = oracle.judge(held, answers)
    assert not wrong, "\n".join(wrong[:10]) + "\n" + node.tail()
    assert {one.status for one in answers} <= {0, 0xA700, None}
    done = node.command("audit", "--deep")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_server_is_killed_and_comes_back(
    served: harness.Node, server: indexed.Server, journal: oracle.Journal
) -> None:
    processes = {role: served.child(role) for role in ("adopt", "listen-1", "web", "work-1")}
    kill_while_sending(served, server, journal, 0)
    prove(served, server, journal)
    assert {role: served.child(role) for role in processes} == processes, "a process had to be restarted"
    assert "database_recovered" in served.log.read_text()
    # And once more, with the node killed as well before what it acknowledged could be filed.
    server.kill()
    before = len(journal.acknowledged())
    oracle.send(served.address, journal, make.series(60, seed="both killed"), senders=2)
    assert len(journal.acknowledged()) == before + 60
    served.kill()
    server.start()
    served.start(timeout=60.0)
    prove(served, server, journal)


@pytest.mark.soak
def test_the_server_is_killed_again_and_again(
    served: harness.Node, server: indexed.Server, journal: oracle.Journal
) -> None:
    for turn in range(20):
        kill_while_sending(served, server, journal, turn)
    prove(served, server, journal)
