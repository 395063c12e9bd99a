"""Our node as a sender: what it owes is put into its ledger, which tells when it was sent."""

from __future__ import annotations

import contextlib
import datetime
import pathlib
from collections.abc import Iterator, Sequence

import sqlalchemy

from bench import contestants, harness, procs
from node import orders
from node.files import layout
from node.index import db, lanes, ledger, tables, words
from node.queue import bell

PATIENCE = 600.0  # seconds that anything here may take


class Sink(contestants.Receiver):
    """DCMTK's receiver, which throws away what it gets: what is measured is who sends."""

    name = "storescp"
    aet = "SINK"
    fixed: int | None = None  # the port that it listens on; None: a free one

    def command(self) -> list[str]:
        self.port = self.fixed or self.port
        return ["storescp", "--fork", "--ignore", "-aet", self.aet, str(self.port)]


class Node(contestants.Node):
    """Our node, with a configuration of its own."""

    text = ""  # the configuration

    def command(self) -> list[str]:
        config = self.folder / "node.toml"
        config.write_text(self.text)
        return [*super().command(), "--config", str(config)]

    @property
    def data(self) -> layout.Data:
        """Its data directory."""
        return layout.Data(self.folder / "data")


def peer(name: str, port: int, **more: object) -> str:
    """The tables of a peer and of the destination behind it."""
    said = "".join(f"{key} = {value!r}\n".replace("'", '"') for key, value in more.items())
    return (
        f'[peers.{name}]\naet = "{name.upper()}"\nhost = "127.0.0.1"\nport = {port}\n'
        f'[destinations.{name}]\npeer = "{name}"\n{said}'
    )


@contextlib.contextmanager
def index(node: Node) -> Iterator[db.Database]:
    """The database of a node that runs."""
    opened = db.open(layout.database_url(node.data.root))
    try:
        yield opened
    finally:
        opened.close()


def series(database: db.Database, most: int | None = None) -> list[tuple[str, str, list[tuple[int, str]]]]:
    """Everything that is held: study, series, and the instances (row, UID), so many at most."""
    statement = (
        sqlalchemy.select(
            tables.study.c.study,
            tables.series.c.series,
            tables.instance.c.key,
            tables.instance.c.sop_instance,
        )
        .join(tables.series, tables.series.c.key == tables.instance.c.series_key)
        .join(tables.study, tables.study.c.key == tables.series.c.study_key)
        .order_by(tables.instance.c.key)
        .limit(most)
    )
    found: dict[tuple[str, str], list[tuple[int, str]]] = {}
    with database.read() as connection:
        for study, uid, key, instance in connection.execute(statement):
            found.setdefault((study, uid), []).append((key, instance))
    return [(*names, instances) for names, instances in found.items()]


def owe(database: db.Database, destination: str, most: int | None = None) -> int:
    """Owe a destination everything that is held, whether it had it or not; how many deliveries that is."""
    now = datetime.datetime.now(datetime.UTC)
    total = 0
    for study, uid, instances in series(database, most):
        order = ledger.Order(destination, study, uid, "bench", 1)
        with database.write() as connection:
            ledger.enqueue(connection, order, instances, now, again=True)
        total += len(instances)
    return total


def hold(database: db.Database, destination: str) -> None:
    """Keep a lane from moving."""
    now = datetime.datetime.now(datetime.UTC)
    with database.write() as connection:
        lanes.set_lane(connection, destination, orders.LaneState.HELD, now)


def release(node: Node, database: db.Database, destination: str) -> datetime.datetime:
    """Let a lane go; when that was."""
    now = datetime.datetime.now(datetime.UTC)
    with database.write() as connection:
        lanes.set_lane(connection, destination, orders.LaneState.UP, now)
    bell.ring(node.data)
    return now


def left(database: db.Database, destination: str) -> int:
    """How many deliveries a destination is still owed, dead letters too."""
    with database.read() as connection:
        found = [one for one in ledger.owed(connection) if one.destination == destination]
    return sum(one.due + one.held + one.running + one.verifying + one.dead for one in found)


def emptied(node: Node, database: db.Database, destination: str, begun: datetime.datetime) -> float:
    """Wait until a destination has everything; the seconds from `begun` to its last answer."""
    procs.wait_until(
        lambda: left(database, destination) == 0,
        PATIENCE,
        f"{destination} did not get everything: {node.last_words()[-600:]}",
    )
    delivery = tables.delivery.c
    last = sqlalchemy.select(sqlalchemy.func.max(delivery.at)).where(delivery.destination == destination)
    with database.read() as connection:
        at = connection.execute(last).scalar_one()
    return (words.when(at) - begun).total_seconds()


def sent(node: Node, database: db.Database, destination: str, most: int | None = None) -> float:
    """Instances a second from the queue to a destination, from the release of its lane to its last answer."""
    hold(database, destination)
    total = owe(database, destination, most)
    begun = release(node, database, destination)
    return total / emptied(node, database, destination, begun)


def storescu(sink: contestants.Receiver, files: Sequence[pathlib.Path]) -> float:
    """Instances a second from DCMTK's sender to the same sink."""
    command = ["storescu", "-aec", sink.aet, "127.0.0.1", str(sink.port), *map(str, files)]
    return len(files) / harness.timed(command, env=contestants.ENVIRONMENT)
