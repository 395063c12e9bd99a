"""The queue with a long backlog and a long history: what it costs, whom it holds up, and how it drains."""

from __future__ import annotations

import contextlib
import datetime
import statistics
import subprocess
import time
from collections.abc import Iterator

import sqlalchemy

from bench import bench_ingest, big_index, contestants, corpora, forwarding, harness, procs
from bench.harness import Target
from node.files import layout
from node.index import db, ledger, tables, words

BACKLOG = 100_000  # deliveries that wait for a peer that is down
HISTORY = 1_000_000  # deliveries that were finished long ago
SECOND = 3_000  # instances to another destination beside them
CAPPED = 1_000  # instances of 75 kB under a cap
CAP = 10_000_000  # bytes a second
IDLE = 30.0  # seconds over which processor time is counted
_SIZE = "4 kB"


class Node(forwarding.Node):
    """Our node upon an index of so many instances, with a sink, a peer that is down, and a capped one."""

    rows = 0  # 0: an empty index
    ports = (0, 0)  # of the sink, of the peer that is down

    def command(self) -> list[str]:
        place = layout.database(self.data.root)
        if self.rows and not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", str(big_index.prepared(self.rows)), str(place)], check=True)
        sink, down = self.ports
        self.text = (
            forwarding.peer("sink", sink)
            + forwarding.peer("down", down, retry=1.0, retry_most=2.0)
            + f'[destinations.capped]\npeer = "sink"\nbandwidth = {CAP}\n'
        )
        return super().command()


def run(bench: harness.Bench) -> None:
    """Measure."""
    if contestants.find("storescp") is None:
        bench.skip("all", contestants.missing("storescp"))
        return
    with contestants.running(forwarding.Sink) as sink:
        if bench.wants("backlog"):
            _backlog(bench, sink)
        if bench.wants("history"):
            _history(bench, sink)
        if bench.wants("capped"):
            _capped(bench, sink)


@contextlib.contextmanager
def _node(rows: int, sink: contestants.Receiver, down: int) -> Iterator[tuple[Node, db.Database]]:
    """A node whose rows all have the bytes of one file that it took."""
    kind = type("Node", (Node,), {"rows": rows, "ports": (sink.port, down)})
    with contestants.running(kind) as node:
        assert isinstance(node, Node)
        file = corpora.files(_SIZE, 1)
        bench_ingest.send(node, [file])
        with forwarding.index(node) as database:
            _give_bytes(database)
            yield node, database


def _give_bytes(database: db.Database) -> None:
    """Let every row lead to the bytes of the last one: it is rows that are many, not files."""
    instance = tables.instance.c
    columns = (instance.path, instance.offset, instance.size, instance.digest, instance.syntax)
    with database.write() as connection:
        last = sqlalchemy.select(instance.key, *columns).order_by(instance.key.desc()).limit(1)
        row = connection.execute(last).one()
        values = {column.name: row[number] for number, column in enumerate(columns, 1)}
        connection.execute(sqlalchemy.update(tables.instance).where(instance.key < row[0]).values(values))


# -- a backlog ------------------------------------------------------------------------------------------


def _backlog(bench: harness.Bench, sink: contestants.Receiver) -> None:
    many, second = bench.count(BACKLOG), bench.count(SECOND)
    down, other = contestants.free_port(), contestants.free_port()
    with _node(many, sink, other) as (empty, its), _node(many, sink, down) as (node, database):
        for one, index in ((empty, its), (node, database)):
            forwarding.sent(one, index, "sink", second)  # what is loaded once is no backlog's cost
        before = procs.cost(node.process.pid)
        forwarding.owe(database, "down", many)
        forwarding.release(node, database, "down")
        time.sleep(5)  # until the peer is found to be down
        _costs(bench, node, before, many)
        bench.compare(
            f"backlog of {many:,}: another destination",
            {
                "with it": lambda: forwarding.sent(node, database, "sink", second),
                "without": lambda: forwarding.sent(empty, its, "sink", second),
            },
            unit="/s",
            targets={"without": Target(0.9)},
        )
        _drained(bench, node, database, many, down)


def _costs(bench: harness.Bench, node: Node, before: procs.Cost, many: int) -> None:
    now = procs.cost(node.process.pid)
    growth = (now.anonymous - before.anonymous) / 1e6
    bench.record(f"backlog of {many:,}: memory", growth, "MB", target=Target(30, at_least=False))
    seconds = min(IDLE, IDLE * many / BACKLOG * 2)
    time.sleep(seconds)
    used = procs.cost(node.process.pid).cpu - now.cpu
    bench.record(
        f"backlog of {many:,}: processor while idle",
        used / seconds * 100,
        "%",
        target=Target(3, at_least=False),
        note=f"of a core, over {seconds:.0f} s, the whole node",
    )


def _drained(bench: harness.Bench, node: Node, database: db.Database, many: int, port: int) -> None:
    """The peer is back: from its first answer to its last, held against the rate without a backlog."""
    alone = statistics.median(forwarding.sent(node, database, "sink", many // 10) for _ in range(3))
    with contestants.running(type("Back", (forwarding.Sink,), {"fixed": port})):
        forwarding.emptied(node, database, "down", datetime.datetime.now(datetime.UTC))
        delivery = tables.delivery.c
        with database.read() as connection:
            first, last, done = connection.execute(
                sqlalchemy.select(
                    sqlalchemy.func.min(delivery.at),
                    sqlalchemy.func.max(delivery.at),
                    sqlalchemy.func.count(),
                ).where(delivery.destination == "down", delivery.state == "done")
            ).one()
    span = words.when(last) - words.when(first)
    rate = done / span.total_seconds()
    bench.record(
        f"backlog of {many:,}: drains",
        rate / alone,
        "x",
        target=Target(0.9),
        note=f"{rate:,.0f}/s; {alone:,.0f}/s to the other one alone",
    )


# -- a history ------------------------------------------------------------------------------------------


def _history(bench: harness.Bench, sink: contestants.Receiver) -> None:
    """A million finished deliveries: each instance went to ten places."""
    many, second = bench.count(HISTORY), bench.count(SECOND)
    rows = max(many // 10, second)
    nobody = contestants.free_port()
    with _node(rows, sink, nobody) as (fresh, its), _node(rows, sink, nobody) as (node, database):
        _finished(database, many, rows)
        for one, index in ((fresh, its), (node, database)):
            forwarding.sent(one, index, "sink", second)
        bench.compare(
            f"history of {many:,}: from the queue",
            {
                "with it": lambda: forwarding.sent(node, database, "sink", second),
                "without": lambda: forwarding.sent(fresh, its, "sink", second),
            },
            unit="/s",
            targets={"without": Target(0.85)},
        )
        begun = time.perf_counter()
        with database.read() as connection:
            ledger.owed(connection)
        bench.record(f"history of {many:,}: what is owed", (time.perf_counter() - begun) * 1000, "ms")


def _finished(database: db.Database, many: int, rows: int) -> None:
    """Write down deliveries as they are when they are done, to destinations that are no more."""
    places = max(1, many // rows)
    for place in range(places):
        now = datetime.datetime.now(datetime.UTC)
        for study, uid, instances in forwarding.series(database):
            with database.write() as connection:
                order = ledger.Order(f"old-{place}", study, uid, "bench", 1)
                key = ledger.enqueue(connection, order, instances, now)
                assert key is not None
                done = {"state": "done", "done": len(instances)}
                connection.execute(
                    sqlalchemy.update(tables.consignment).where(tables.consignment.c.key == key).values(done)
                )
                connection.execute(
                    sqlalchemy.update(tables.delivery)
                    .where(tables.delivery.c.consignment_key == key)
                    .values(state="done", at=words.moment(now), status=0)
                )
        print(f"  history: {(place + 1) * rows:,} of {many:,} deliveries", flush=True)


# -- a cap ----------------------------------------------------------------------------------------------


def _capped(bench: harness.Bench, sink: contestants.Receiver) -> None:
    """Bytes a second under a cap, counted over whole data sets."""
    size = "75 kB"
    files = corpora.files(size, max(300, bench.count(CAPPED)))  # a bucket holds a moment ahead: not too few
    sizes = sum(path.stat().st_size for path in files)
    kind = type("Node", (Node,), {"rows": 0, "ports": (sink.port, contestants.free_port())})
    with contestants.running(kind) as node:
        assert isinstance(node, Node)
        bench_ingest.send(node, [files])
        with forwarding.index(node) as database:
            rates = []
            for _ in range(bench.runs):
                rate = forwarding.sent(node, database, "capped") / len(files) * sizes
                rates.append(rate)
    off = max(abs(rate / CAP - 1) for rate in rates)
    told = f"{statistics.median(rates) / 1e6:.2f} MB/s of {CAP / 1e6:g}"
    bench.record("capped bandwidth: off by", off * 100, "%", target=Target(5, at_least=False), note=told)
