"""D1, D6, D7, D13, D15, D16 for what is forwarded: nothing is lost, and what is repeated was under way."""

from __future__ import annotations

import collections
import contextlib
import os
import pathlib
import signal
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from node import orders
from node.faulty import pacs as faulty
from node.faulty import plan as faulty_plan
from tests import make, oracle, ports
from tests.faults import layer
from tests.scenario import harness

PATIENCE = 90.0
WINDOW = orders.Destination("any").window
MakeNode = Callable[..., harness.Node]


@pytest.fixture
def sink() -> Iterator[faulty.Faulty]:
    with faulty.Faulty() as running:
        yield running


def tables(*sinks: faulty.Faulty, **more: dict[str, object]) -> dict[str, dict[str, object]]:
    """A configuration that sends each series to each sink as soon as its association is over."""
    made: dict[str, dict[str, object]] = {"completeness.soon": {"released": "0.1s"}}
    names = [f"to{number}" for number in range(len(sinks))]
    for name, one in zip(names, sinks, strict=True):
        made[f"peers.{name}"] = {"aet": one.aet, "host": one.address[0], "port": one.address[1]}
        made[f"destinations.{name}"] = {"peer": name, "retry": "100ms", "retry_most": "1s"}
    made["routes.all"] = {"to": names}
    return {name: {**made.get(name, {}), **more.get(name, {})} for name in (*made, *more)}


def until(true: Callable[[], object], node: harness.Node, patience: float = PATIENCE) -> None:
    end = time.monotonic() + patience
    while not true():
        assert time.monotonic() < end, node.tail(40)
        time.sleep(0.02)


def rows(node: harness.Node, query: str) -> list[tuple[object, ...]]:
    """What the index says."""
    with contextlib.closing(sqlite3.connect(f"file:{node.data / 'index.sqlite'}?mode=ro", uri=True)) as index:
        return index.execute(query).fetchall()


def states(node: harness.Node, table: str, destination: str = "to0") -> dict[str, int]:
    query = f"SELECT state, count(*) FROM {table} WHERE destination = '{destination}' GROUP BY state"
    return dict(rows(node, query))  # type: ignore[arg-type]


def delivered(node: harness.Node, many: int, destination: str = "to0") -> Callable[[], bool]:
    return lambda: states(node, "delivery", destination) == {"done": many}


def whole(sink: faulty.Faulty, sent: Sequence[make.Made]) -> None:
    """The sink holds all of it, byte for byte."""
    assert {uid: one.digest for uid, one in sink.stored.items()} == {
        one.sop_instance: one.digest for one in sent
    }


def repeated(sink: faulty.Faulty) -> int:
    """Instances that the sink got more often than once, each time counted."""
    return sum(collections.Counter(entry.sop_instance for entry in sink.journal).values()) - len(sink.stored)


def killed_at(point: str, lives: int, node: harness.Node, sink: faulty.Faulty) -> None:
    made = make.series(300, seed="killed", size=2000)
    node.start({"DICOM_NODE_FAILPOINT": point})
    with contextlib.closing(oracle.Journal(node.work / "sent")) as journal:
        oracle.send(node.address, journal, made, senders=1)
        until(delivered(node, 300), node)
        whole(sink, made)
        assert repeated(sink) <= lives * WINDOW, f"{repeated(sink)} instances were sent again"
        deaths = [one for one in node.events() if one.get("action") == "child_died"]
        assert len(deaths) == lives, "the test proves nothing"
        until(lambda: states(node, "consignment") == {"done": 1}, node)
        harness.verify(node, journal)


def test_killed_at_instance_137_of_300(make_node: MakeNode, sink: faulty.Faulty) -> None:
    """The worker starts again with the same order to die, and does so at its 137th answer once more."""
    killed_at("push.after-answer:137", 2, make_node(**tables(sink)), sink)


@pytest.mark.soak
@pytest.mark.parametrize(
    ("point", "lives"),
    [
        ("queue.after-claim:1", 2),
        ("push.after-book:137", 2),
        ("push.after-record:1", 1),  # what is left is no whole batch
        ("queue.before-finish:1", 1),  # whoever takes it back finishes it
        ("queue.after-finish:1", 1),
    ],
)
def test_killed_at_every_other_place(
    point: str, lives: int, make_node: MakeNode, sink: faulty.Faulty
) -> None:
    node = make_node(**tables(sink, queue={"poison": 100}))
    # More than one batch of answers, or the index is only told of them at the end.
    made = make.series(700, seed="killed", size=2000)
    node.start({"DICOM_NODE_FAILPOINT": point})
    with contextlib.closing(oracle.Journal(node.work / "sent")) as journal:
        oracle.send(node.address, journal, made, senders=1)

        def died() -> bool:
            return sum(one.get("action") == "child_died" for one in node.events()) >= lives

        until(died, node)
        node.kill()
        node.start()
        until(delivered(node, 700), node)
        whole(sink, made)
        harness.verify(node, journal)


def test_a_peer_that_is_down_holds_up_nobody_and_drains(make_node: MakeNode, sink: faulty.Faulty) -> None:
    """D7: many wait for it; the other destination gets all, memory stays flat, and then it all goes out."""
    many_wait(300, make_node, sink)


def many_wait(many: int, make_node: MakeNode, sink: faulty.Faulty) -> None:
    late = faulty.Faulty(aet="LATE", port=ports.free())
    node = make_node(**tables(sink, late, queue={"lanes": 4})).start()
    series = 15
    made = [
        one
        for number in range(series)
        for one in make.series(many // series, seed=f"late {number}", size=600)
    ]
    many = len(made)
    with contextlib.closing(oracle.Journal(node.work / "sent")) as journal:
        empty = resident(node)
        oracle.send(node.address, journal, made, senders=4)
        until(delivered(node, many), node)
        until(lambda: states(node, "lane", "to1") == {"down": 1}, node)
        until(lambda: states(node, "consignment", "to1") == {"due": series}, node)
        ((tries, most),) = rows(
            node, "SELECT sum(attempts), max(attempts) FROM consignment WHERE destination = 'to1'"
        )
        assert int(str(tries)) <= 3 * orders.Destination("any").breaker, (tries, most)
        assert rows(node, "SELECT count(*) FROM attempt") == [(0,)], "an instance that did not go has no try"
        grown = resident(node) - empty
        assert grown < 30 << 20, f"{grown} bytes more than before"
        whole(sink, made)
        with late:
            until(delivered(node, many, "to1"), node)
            whole(late, made)
            assert repeated(late) == 0
        assert states(node, "lane", "to1") == {"up": 1}
        assert repeated(sink) == 0
        harness.verify(node, journal)


@pytest.mark.soak
def test_twenty_thousand_wait_for_a_peer_that_is_down(make_node: MakeNode, sink: faulty.Faulty) -> None:
    many_wait(20_000, make_node, sink)


def resident(node: harness.Node) -> int:
    """Bytes of memory that the worker has."""
    status = pathlib.Path(f"/proc/{node.child('work-1')}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) * 1024


def test_a_stopped_worker_loses_its_work_and_a_stop_loses_none(
    make_node: MakeNode, sink: faulty.Faulty
) -> None:
    """D16, then D15 with an upgrade: SIGSTOP past the lease, SIGTERM in the middle, a start with a queue."""
    # A machine that is busy may miss such a lease by itself: then more is taken over than what was stopped.
    lease = {"heartbeat": "100ms", "dead_after": "1500ms", "poison": 100}
    node = make_node(node={"workers": 2, "drain": "20s"}, **tables(sink, queue=lease)).start()
    sink.plan = faulty_plan.Plan(slow=0.02, window=1)
    first = make.series(60, seed="stopped", size=600)
    with contextlib.closing(oracle.Journal(node.work / "sent")) as journal:
        oracle.send(node.address, journal, first, senders=1)
        until(lambda: len(sink.journal) >= 10, node)
        ((claim,),) = rows(node, "SELECT claim FROM consignment")
        stopped = node.child(str(claim).partition("@")[0])
        os.kill(stopped, signal.SIGSTOP)
        try:
            until(delivered(node, 60), node)
            until(lambda: states(node, "consignment") == {"done": 1}, node)
        finally:
            os.kill(stopped, signal.SIGCONT)
        whole(sink, first)
        assert rows(node, "SELECT attempts >= 2, crashes >= 1 FROM consignment") == [(1, 1)]

        node.config.write_text(node.config.read_text().replace("1500ms", "20s"))
        assert node.process is not None
        node.process.send_signal(signal.SIGHUP)
        until(lambda: any(one.get("action") == "config_reloaded" for one in node.events()), node)
        second = make.series(80, seed="ended", size=600)
        before = len(sink.journal)
        oracle.send(node.address, journal, second, senders=1)
        until(lambda: len(sink.journal) >= before + 10, node)
        assert node.stop() == 0
        assert len(sink.journal) < before + 80, "it was over before the stop: the test proves nothing"
        left = rows(node, "SELECT state, crashes FROM consignment WHERE total = 80")
        assert left == [("due", 0)]
        done = rows(node, "SELECT count(*) FROM delivery WHERE state = 'done'")
        assert done == [(len(sink.stored),)], "what was answered is on record"

        # The next program is another one than that which was killed over what this one left.
        with contextlib.closing(sqlite3.connect(node.data / "index.sqlite")) as index:
            index.execute("DELETE FROM worker")
            index.execute(
                "INSERT INTO worker (name, beats, started, version) VALUES (?, 7, '', '0.0.1')", (claim,)
            )
            index.execute("UPDATE consignment SET state = 'running', claim = ? WHERE total = 80", (claim,))
            index.commit()
        sink.plan = faulty_plan.Plan()
        node.start()
        until(delivered(node, 140), node)
        whole(sink, [*first, *second])
        assert len(sink.journal) - before == 80, "nothing of the second was sent twice"
        harness.verify(node, journal)


def test_programs_that_crash_hang_or_eat_memory(make_node: MakeNode, sink: faulty.Faulty) -> None:
    """D13: each becomes a dead letter after its attempts, the queue goes on, and a person may replay it."""
    programs = {
        "crashes": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
        "hangs": "import time; time.sleep(3600)",
        "eats": "x = bytearray(1 << 31)",
    }
    made = tables(sink)
    for name, program in programs.items():
        made[f"destinations.{name}"] = {
            "kind": "command",
            "command": [sys.executable, "-c", program, "{in}"],
            "attempts": 2,
            "retry": "50ms",
            "retry_most": "100ms",
            "timeout": "400ms",
            "memory": "1GiB",
        }
    # What programs make does not come back to them.
    made["routes.all"] = {"to": ["to0", *programs], "when.source": "!command:*"}
    node = make_node(**made).start()
    sent = make.series(3, seed="programs", size=600)
    with contextlib.closing(oracle.Journal(node.work / "sent")) as journal:
        oracle.send(node.address, journal, sent, senders=1)
        for name in programs:
            until(lambda name=name: states(node, "delivery", name) == {"dead": 3}, node)  # type: ignore[misc]
            until(lambda name=name: states(node, "consignment", name) == {"dead": 1}, node)  # type: ignore[misc]
        until(delivered(node, 3), node)
        whole(sink, sent)
        more = make.series(2, seed="afterwards", size=600)
        oracle.send(node.address, journal, more, senders=1)
        until(delivered(node, 5), node)
        # The program is mended: it is a file that says nothing now.
        node.config.write_text(node.config.read_text().replace("os.kill(os.getpid(), signal.SIGSEGV)", "0"))
        assert node.process is not None
        node.process.send_signal(signal.SIGHUP)
        until(lambda: any(one.get("action") == "config_reloaded" for one in node.events()), node)
        replayed = node.command("queue", "replay", "crashes", "--why", "mended", "--yes")
        assert replayed.returncode == 0, replayed.stderr
        until(lambda: states(node, "delivery", "crashes") == {"done": 5}, node)


def test_whatever_the_clock_does_what_waits_goes_out(
    make_node: MakeNode, sink: faulty.Faulty, tmp_path: pathlib.Path
) -> None:
    """D6: a destination goes down ten years ahead, and the clock is put right."""
    root = tmp_path / "disk"
    root.mkdir()
    below = layer.Layer(tmp_path / "layer", root)
    late = faulty.Faulty(aet="LATE", port=ports.free())
    node = make_node(data=root / "data", **tables(sink, late))
    node.start(below.environment())
    sent: list[make.Made] = []
    with contextlib.closing(oracle.Journal(node.work / "sent")) as journal:

        def more(step: int) -> None:
            made = make.series(5, seed=f"clock {step}", size=600)
            sent.extend(made)
            oracle.send(node.address, journal, made, senders=1)
            until(delivered(node, len(sent)), node)

        more(0)
        below.set_clock(10 * 365 * 86400)
        more(1)
        until(lambda: states(node, "lane", "to1") == {"down": 1}, node)
        ((probe,),) = rows(node, "SELECT probe FROM lane WHERE destination = 'to1'")
        until(lambda: rows(node, "SELECT probe FROM lane WHERE destination = 'to1'") != [(probe,)], node)
        ((probe,),) = rows(node, "SELECT probe FROM lane WHERE destination = 'to1'")
        assert str(probe) > "2035", "the clock that was set did not reach the node: the test proves nothing"
        below.set_clock(0)
        more(2)
        with late:
            until(delivered(node, len(sent), "to1"), node)
            whole(late, sent)
        whole(sink, sent)
        assert repeated(sink) == 0
        harness.verify(node, journal)
