"""What scheduled forwards and pulls ask the index, on both databases."""

from __future__ import annotations

import pytest

from node import model
from node.index import db, forwards, runs
from tests import indexed

ITEMS = [
    *(indexed.item(number, position=number) for number in (1, 2, 3)),
    *(indexed.item(number, series="1.2.3.2", position=10 + number) for number in (1, 2)),
    indexed.item(1, study="1.2.4", series="1.2.4.1", position=20),
    indexed.item(9, study="1.2.5", series="1.2.5.1", position=30, action=model.Action.QUARANTINE),
]


@pytest.fixture
def filled(database: db.Database) -> db.Database:
    indexed.take(database, ITEMS)
    return database


@pytest.mark.parametrize(
    ("level", "found"),
    [
        (model.Level.PATIENT, {"1.2.3.1": 3, "1.2.3.2": 2, "1.2.4.1": 1}),
        (model.Level.STUDY, {"1.2.3.1": 3, "1.2.3.2": 2}),
        (model.Level.SERIES, {"1.2.3.1": 3}),
        (model.Level.IMAGE, {"1.2.3.1": 1}),
    ],
)
def test_what_is_below_an_entry(filled: db.Database, level: model.Level, found: dict[str, int]) -> None:
    with filled.read() as connection:
        below = list(forwards.below(connection, level, [1]))
    assert {one.series: len(one.instances) for one in below} == found
    assert all(uid.startswith(one.series) for one in below for _, uid in one.instances)


def test_what_is_held_is_counted_and_what_is_missing_is_named(filled: db.Database) -> None:
    with filled.read() as connection:
        assert forwards.count(connection, model.Level.STUDY, "1.2.3") == 5
        assert forwards.count(connection, model.Level.SERIES, "1.2.3.2") == 2
        assert forwards.count(connection, model.Level.STUDY, "1.2.9") == 0
        # What is in quarantine has come, and waits for a person.
        assert forwards.missing(connection, ["1.2.3.1.2", "1.2.5.1.9", "1.2.9.9"]) == ["1.2.9.9"]


def test_the_runs_of_schedules_are_kept(database: db.Database) -> None:
    said = runs.Run(indexed.START, runs.State.FAILED, tries=2, again=indexed.START, says="nobody there")
    with database.write() as connection:
        runs.save(connection, "night", said, indexed.START)
    with database.read() as connection:
        assert runs.load(connection, "night") == said
        assert runs.load(connection, "day") is None
