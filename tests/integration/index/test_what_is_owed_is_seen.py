"""What the metrics and the status page say of destinations, from the ledger alone."""

from __future__ import annotations

import datetime
import pathlib

import sqlalchemy
from sqlalchemy.dialects import sqlite

from node import metrics, model, orders, pages, vitals
from node.files import layout
from node.index import db, decisions, lanes, ledger, recent, tables
from tests import indexed

NOW = datetime.datetime.now(datetime.UTC)
BEFORE = NOW - datetime.timedelta(seconds=500)


def owe(database: db.Database, destination: str, count: int, **fields: object) -> int:
    """Owe a destination a series of so many instances; the consignment's key."""
    series = f"1.2.3.{destination}".replace("archive", "1").replace("research", "2").replace("share", "3")
    indexed.take(
        database, [indexed.item(number, series=series, slot=destination) for number in range(1, count + 1)]
    )
    with database.write() as connection:
        instances = connection.execute(
            sqlalchemy.select(tables.instance.c.key, tables.instance.c.sop_instance)
            .join(tables.series, tables.series.c.key == tables.instance.c.series_key)
            .where(tables.series.c.series == series)
        )
        pairs = [(key, uid) for key, uid in instances]
        order = ledger.Order(destination, "1.2.3", series, "scans", 1, **fields)  # type: ignore[arg-type]
        key = ledger.enqueue(connection, order, pairs, BEFORE)
    assert key is not None
    return key


def fill(database: db.Database) -> None:
    """Three destinations: one is down, one is through with something, one has something held."""
    owe(database, "archive", 3)
    done = owe(database, "share", 2)
    owe(database, "research", 4, state=orders.State.HELD, error="the series is partial")
    reason, probe = "nobody there", NOW + datetime.timedelta(hours=1)
    with database.write() as connection:
        lanes.set_lane(
            connection, "archive", orders.LaneState.DOWN, BEFORE, failures=3, probe=probe, reason=reason
        )
        connection.execute(
            sqlalchemy.update(tables.consignment)
            .where(tables.consignment.c.key == done)
            .values(state="dead", done=1, dead=1, error="A900: no")
        )
        seen = decisions.Settlement(
            orders.When.SERIES, "1.2.3", "1.2.3.1", 1, orders.Completeness.COMPLETE, 3, {}
        )
        decisions.settled(connection, seen, BEFORE)


def test_metrics_tell_of_every_configured_destination(database: db.Database, tmp_path: pathlib.Path) -> None:
    fill(database)
    data = layout.Data(tmp_path)
    data.make()
    names = ("archive", "research", "share", "mirror")
    settings = model.Settings(
        node=model.NodeSettings(data=tmp_path),
        destinations=tuple(orders.Destination(name, peer="pacs") for name in names),
    )
    counts = metrics.start(destinations=names)
    vitals.Vitals(data, database, counts).sample(settings)
    text = counts.render().decode()
    said = {}
    for line in text.splitlines():
        name, _, value = line.rpartition(" ")
        if not line.startswith("#"):
            said[name.removeprefix("dicom_node_")] = float(value)
    depths = {name: said[f'queue_depth{{destination="{name}"}}'] for name in names}
    assert depths == {"archive": 3, "research": 4, "share": 0, "mirror": 0}
    assert said['owed{destination="research",state="held"}'] == 4
    assert said['owed{destination="research",state="due"}'] == 0
    assert said['owed{destination="archive",state="due"}'] == 3
    assert said['dead_letters{destination="share"}'] == 1
    assert said['queue_oldest_seconds{destination="archive"}'] >= 500
    assert said['queue_oldest_seconds{destination="share"}'] == 0
    assert said['lane{destination="archive",state="down"}'] == 1
    assert said['lane{destination="archive",state="up"}'] == 0
    assert said['lane{destination="mirror",state="up"}'] == 1


def test_the_page_tells_of_lanes_and_of_what_happened_lately(database: db.Database) -> None:
    fill(database)
    settings = model.Settings(destinations=(orders.Destination("mirror", peer="pacs"),))
    with database.read() as connection:
        shown = pages.forwarding(connection, settings, NOW)
    by_name = {lane.name: lane for lane in shown.lanes}
    assert set(by_name) == {"mirror", "archive", "research", "share"}
    archive = by_name["archive"]
    assert (archive.state, archive.waiting, archive.reason) == ("down", 3, "nobody there")
    assert archive.next is not None
    assert archive.next > NOW
    assert by_name["mirror"].next is None
    assert by_name["mirror"].reason == ""
    assert (by_name["research"].held, by_name["share"].dead) == (4, 1)
    assert [(one.destination, one.error) for one in shown.holds] == [("research", "the series is partial")]
    assert [(one.destination, one.state, one.done) for one in shown.last] == [("share", "dead", 1)]
    assert (shown.settled.complete, shown.settled.partial) == (1, 0)


def test_settled_long_ago_is_not_lately(database: db.Database) -> None:
    fill(database)
    with database.read() as connection:
        assert sum(recent.verdicts(connection, BEFORE)[0].values()) == 1
        assert sum(recent.verdicts(connection, NOW)[0].values()) == 0


def test_what_is_through_costs_nothing(tmp_path: pathlib.Path) -> None:
    index = indexed.sqlite(tmp_path)
    try:
        # The page and the metrics ask this every few seconds, whatever went out in the last years.
        for statement in (recent._HELD, sqlalchemy.text(str(ledger._OPEN_SUMS)), ledger._DEAD_SUMS):
            compiled = str(
                statement.compile(dialect=sqlite.dialect(), compile_kwargs={"render_postcompile": True})
            )
            values = tuple("x" for _ in range(compiled.count("?")))
            with index.read() as connection:
                plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}", values).all()
            assert any("ix_consignment_" in row[3] for row in plan), (compiled, plan)
    finally:
        index.close()
