"""A series is settled as it was seen, and what happens when more comes after that."""

from __future__ import annotations

import datetime

from node.index import db, decisions, series
from tests import indexed


def _at(seconds: float) -> datetime.datetime:
    return indexed.START + datetime.timedelta(seconds=seconds)


def test_a_late_instance_makes_another_revision(database: db.Database) -> None:
    indexed.take(database, [indexed.item(1), indexed.item(2, seconds=5)])
    with database.write() as connection:
        (seen,) = series.each(connection, decisions.unsettled(connection))
        assert (seen.instances, seen.last_arrival, seen.settled) == (2, _at(5), False)
        assert series.settle(connection, seen, _at(10)) == 1
        assert series.settle(connection, seen, _at(10)) is None, "nobody settles the same twice"
        assert decisions.unsettled(connection) == []
    indexed.take(database, [indexed.item(3, seconds=30)])
    with database.write() as connection:
        (late,) = series.each(connection, decisions.unsettled(connection))
        assert (late.revision, late.settled_instances, late.instances) == (1, 2, 3)
        assert series.settle(connection, late, _at(60)) == 2
        found = series.facts(connection, "1.2.3", "1.2.3.1")
        assert found is not None
        assert found.settled


def test_what_came_between_looking_and_settling_is_not_lost(database: db.Database) -> None:
    indexed.take(database, [indexed.item(1)])
    with database.read() as connection:
        (seen,) = series.each(connection, decisions.unsettled(connection))
    indexed.take(database, [indexed.item(2, seconds=1)])
    with database.write() as connection:
        assert series.settle(connection, seen, _at(11)) is None


def test_a_series_that_is_not_held_has_no_facts(database: db.Database) -> None:
    with database.read() as connection:
        assert series.facts(connection, "1", "2") is None
