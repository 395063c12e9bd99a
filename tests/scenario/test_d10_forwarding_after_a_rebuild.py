"""D10: the index is deleted; what was delivered is not sent again, and what is owed is not forgotten."""

from __future__ import annotations

import contextlib
import pathlib
import sqlite3
import time
from collections.abc import Callable

from node.faulty import pacs as faulty
from tests import make, oracle, ports
from tests.scenario import harness

PATIENCE = 90.0
# What an index says of forwarding without its own row numbers.
FACTS = {
    "settlements": "select level, study, series, revision, at, verdict, instances, signals from settlement",
    "decisions": "select study, series, revision, route, at, matched, destinations, discard from decision",
    # What was under way when it was killed is due again.
    "consignments": """
        select destination, series, route, revision, replace(state, 'running', 'due'), created, total, done,
               dead, cancelled, priority from consignment""",
    "deliveries": """
        select d.destination, d.sop_instance, d.state, d.attempts, d.at, d.status, d.syntax, d.size,
               d.seconds, c.series, c.created
        from delivery d join consignment c on c.key = d.consignment_key""",
    "series": "select series, revision, settled_instances, settled_at from series",
}


def facts(data: pathlib.Path) -> dict[str, list[tuple[object, ...]]]:
    path = f"file:{data / 'index.sqlite'}?mode=ro"
    with contextlib.closing(sqlite3.connect(path, uri=True)) as index:
        return {name: sorted(index.execute(query).fetchall(), key=repr) for name, query in FACTS.items()}


def states(data: pathlib.Path) -> dict[tuple[object, ...], int]:
    found: dict[tuple[object, ...], int] = {}
    for destination, _, state, *_ in facts(data)["deliveries"]:
        found[destination, state] = found.get((destination, state), 0) + 1
    return found


def until(true: Callable[[], object], node: harness.Node) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, node.tail(40)
        time.sleep(0.05)


def test_a_rebuild_knows_what_was_delivered_and_what_is_owed(
    make_node: Callable[..., harness.Node], journal: oracle.Journal
) -> None:
    late = ports.free()
    with faulty.Faulty() as there:
        node = make_node(
            **{
                "completeness.soon": {"released": "0.1s"},
                "peers.there": {"aet": there.aet, "host": there.address[0], "port": there.address[1]},
                "peers.late": {"aet": "LATE", "host": "127.0.0.1", "port": late},
                "destinations.there": {"peer": "there"},
                "destinations.late": {"peer": "late", "retry": "100ms", "retry_most": "1s", "breaker": 1},
                "routes.all": {"to": ["there", "late"]},
            }
        ).start()
        first, second = make.series(20, seed="before one"), make.series(10, seed="before two")
        oracle.send(node.address, journal, first, senders=1)
        oracle.send(node.address, journal, second, senders=1)
        until(lambda: states(node.data) == {("there", "done"): 30, ("late", "due"): 30}, node)
        held = node.command("queue", "hold", first[0].series, "--lane", "late", "--why", "not yet")
        assert held.returncode == 0, held.stdout + held.stderr
        node.kill()
        before = facts(node.data)
        for path in node.data.glob("index.sqlite*"):
            path.unlink()
        done = node.command("rebuild")
        assert done.returncode == 0, done.stdout + done.stderr
        assert facts(node.data) == before
        assert sorted(one[4] for one in before["consignments"]) == ["done", "done", "due", "held"]
        node.start()
        with faulty.Faulty(aet="LATE", port=late) as again:
            until(lambda: states(node.data).get(("late", "done")) == 10, node)
            released = node.command("queue", "release", first[0].series, "--lane", "late", "--why", "now")
            assert released.returncode == 0, released.stdout + released.stderr
            oracle.send(node.address, journal, make.series(5, seed="after"), senders=1)
            until(lambda: states(node.data) == {("there", "done"): 35, ("late", "done"): 35}, node)
            for sink in (there, again):
                uids = [entry.sop_instance for entry in sink.journal]
                assert len(uids) == len(set(uids)) == 35, "nothing was sent twice"
            harness.verify(node, journal)
