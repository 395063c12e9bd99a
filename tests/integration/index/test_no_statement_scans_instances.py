"""What runs per batch, per image, or per retention round must search indexes, whatever is held."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest
import sqlalchemy

from node import model, orders
from node.index import (
    aside,
    db,
    decisions,
    holdings,
    ledger,
    lookup,
    manager,
    queue,
    remove,
    retain,
    series,
    tables,
    why,
)
from tests import histories, indexed

# Tables that grow with every instance; the others grow with patients, studies and series.
GROWING = (
    *("instance", "arrival", "deletion", "reference", "conflict", "quarantine", "image_override"),
    *("settlement", "decision", "consignment", "delivery", "attempt"),
)


@pytest.fixture
def filled(tmp_path: pathlib.Path) -> Iterator[db.Database]:
    database = indexed.sqlite(tmp_path)
    indexed.take(database, [indexed.item(number) for number in range(5)])
    yield database
    database.close()


def _scans(database: db.Database, work: object) -> tuple[list[str], int]:
    """The steps that scan a growing table in all statements that `work` runs, and how many statements ran."""
    seen: list[tuple[str, object]] = []

    def _note(_c: object, _cursor: object, statement: str, values: object, _x: object, many: bool) -> None:
        if not statement.startswith(("BEGIN", "EXPLAIN", "INSERT", "PRAGMA")):
            seen.append((statement, values[0] if many else values))  # type: ignore[index]

    engines = (database._reading, database._writing)
    for engine in engines:
        sqlalchemy.event.listen(engine, "before_cursor_execute", _note)
    work()  # type: ignore[operator]
    for engine in engines:
        sqlalchemy.event.remove(engine, "before_cursor_execute", _note)
    found = []
    with database.read() as connection:
        for statement, values in seen:
            steps = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)]
            scans = [step for step in steps if step.startswith("SCAN") and step.split()[1] in GROWING]
            found += [f"{step}: {statement}" for step in scans if "USING INDEX" not in step]
    return found, len(seen)


def test_taking_a_batch_in(filled: db.Database) -> None:
    batch = [
        indexed.item(11), indexed.item(1), indexed.item(12, sop_instance="1.2.3.1.2", content="other"),
        indexed.item(13, action=model.Action.QUARANTINE, rule="r"),
        indexed.item(14, seconds=-5, series="1.2.3.9"),
    ]  # fmt: skip
    found, statements = _scans(filled, lambda: indexed.take(filled, batch))
    assert found == []
    assert statements > 5


def test_looking_up_and_managing(filled: db.Database) -> None:
    images = manager.Images(filled)

    def work() -> None:
        images.tracker.locate("1.2.3.1.1")
        images.instances("1.2.3.1")
        images.images("1.2.3.1")
        images.metadata("1.2.3.1.1")
        images.references("1.2.3.1.1")
        images.presentations("1.2.3.1.1")
        images.name_image("1.2.3.1.1", "best")
        images.tracker.locate("best")
        images.order("1.2.3.1", ["1.2.3.1.3"])
        images.reset("1.2.3.1")
        with filled.read() as connection:
            lookup.by_uid(connection, "1.2.3.1.1")
            lookup.held(connection, model.Identity("", "1.2.3.1.1", "1.2.3", "1.2.3.1"))
            lookup.totals(connection)
            list(holdings.find(connection, ["1.2.3.1.1", "1.2.3.1.2"]))

    found, statements = _scans(filled, work)
    assert found == []
    assert statements > 20


def test_what_is_aside(filled: db.Database) -> None:
    odd = (
        indexed.item(12, sop_instance="1.2.3.1.2", content="other"),
        indexed.item(13, action=model.Action.QUARANTINE, rule="r"),
    )
    indexed.take(filled, list(odd))

    def work() -> None:
        with filled.write() as connection:
            for item in odd:
                assert len(aside.named(connection, item.arrival.identity.sop_instance)) == 1
            for kind in aside.Kind:
                (entry,) = aside.each(connection, kind)
                remove.aside(connection, kind, [entry.key], who="w", why="w", now=indexed.START)

    found, statements = _scans(filled, work)
    assert found == []
    assert statements > 8


def test_settling_and_deciding(filled: db.Database) -> None:
    now = indexed.START
    made = decisions.Decision("1.2.3", "1.2.3.1", 1, "scans", {}, ("archive",))
    seen = decisions.Settlement(
        orders.When.SERIES, "1.2.3", "1.2.3.1", 1, orders.Completeness.COMPLETE, 5, {"newest": "1.2.3.1.4"}
    )

    def work() -> None:
        with filled.write() as connection:
            assert decisions.fresh(connection, 3) == [decisions.Fresh(1, 2, 5)]
            assert decisions.place(connection) == 0
            decisions.move(connection, 5, now)
            assert decisions.unsettled(connection) == [1]
            (facts,) = series.each(connection, [1])
            assert len(decisions.instances(connection, 1)) == 5
            assert len(decisions.first(connection, 1, 3)) == 3
            decisions.geometry(connection, 1)
            assert decisions.owed_or_done(connection, [1, 2], ["archive"]) == set()
            assert series.settle(connection, facts, now) == 1
            decisions.settled(connection, seen, now)
            assert decisions.decide(connection, [made], now) == [made]
            assert decisions.decide(connection, [made], now) == []
            assert decisions.last_settled(connection, "1.2.3", "1.2.3.1") == (5, 0)
            assert decisions.of_study(connection, "1.2.3") == (0, 0)
            assert decisions.verdicts(connection, "1.2.3") == {"1.2.3.1": orders.Completeness.COMPLETE}
            assert decisions.behind(connection, "1.2.3")
            assert len(decisions.series_of(connection, "1.2.3")) == 1
            assert decisions.unsettled(connection) == []

    found, statements = _scans(filled, work)
    assert found == []
    assert statements > 15


def test_retention_and_removal(filled: db.Database) -> None:
    now = indexed.START.replace(year=2027)

    def work() -> None:
        with filled.write() as connection:
            retain.by_size(connection, now, 1)
            (candidate,) = retain.by_age(connection, now, 1.0)
            gone = retain.drop(connection, candidate, who="retention", now=now)
            assert len(gone) == 5
            due = remove.doomed(connection)
            remove.files_removed(connection, [one.deletion for one in due])

    found, statements = _scans(filled, work)
    assert found == []
    assert statements > 10
    assert indexed.rows(filled, tables.instance) == []


def test_what_is_owed_answered_and_done_by_hand(filled: db.Database, tmp_path: pathlib.Path) -> None:
    history = histories.History(filled, tmp_path / "data", 5)
    history.check = lambda: None  # type: ignore[method-assign]
    uid = history.items[0].arrival.identity.sop_instance

    def work() -> None:
        history.play(60)
        with filled.read() as connection:
            ledger.owed(connection)
            queue.standings(connection)
            assert queue.consignments_of(connection, queue.Chosen(uid=uid)) is not None
            queue.consignments_of(connection, queue.Chosen("pacs", states=(orders.State.DUE,)))
            queue.dead(connection, queue.Chosen("pacs"))
            ledger.undelivered(connection, [1, 2, 3])
            for one in (history.study, history.series[0], uid):
                assert why.story(connection, one)

    found, statements = _scans(filled, work)
    assert set(history.done) >= {"record", "die", "finish", "verify", "replay", "move", "resend", "cancel"}
    assert found == []
    assert statements > 200
    history.book.close()
