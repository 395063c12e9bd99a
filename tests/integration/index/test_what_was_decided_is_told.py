"""What was decided since a moment, for `replay`: as it came, settled, with and without a route."""

from __future__ import annotations

import datetime

import sqlalchemy

from node import orders
from node.index import db, decided, keys, tables, words

NOW = datetime.datetime(2026, 11, 21, 12, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)


def decide(
    database: db.Database,
    series: str,
    revision: int,
    *routes: str,
    at: datetime.datetime = NOW,
    settled: bool = True,
) -> None:
    with database.write() as connection:
        for route in routes:
            connection.execute(
                sqlalchemy.insert(tables.decision).values(
                    key=keys.take(connection, "decision"),
                    study="1.2",
                    series=series,
                    revision=revision,
                    route=route,
                    at=words.moment(at),
                    matched="{}",
                    destinations="a\\b",
                    discard="",
                )
            )
        if settled:
            connection.execute(
                sqlalchemy.insert(tables.settlement).values(
                    key=keys.take(connection, "settlement"),
                    level="series" if series else "study",
                    study="1.2",
                    series=series,
                    revision=revision,
                    at=words.moment(at),
                    verdict="partial",
                    instances=7,
                    signals="{}",
                )
            )


def test_each_revision_is_told_once_with_how_it_settled(database: db.Database) -> None:
    decide(database, "1.2.1", 0, "now", "also", settled=False)
    decide(database, "1.2.1", 1)
    decide(database, "1.2.2", 1, "default")
    decide(database, "1.2.2", 2, "default", "late")
    assert decided.count(database, NOW - DAY) == 5
    rows = list(decided.each(database, NOW - DAY))
    assert len(rows) == 5
    found = [one for one in rows if one is not None]
    assert [(one.series, one.revision, [taken.route for taken in one.taken]) for one in found] == [
        ("1.2.1", 0, ["now", "also"]),
        ("1.2.1", 1, []),
        ("1.2.2", 1, ["default"]),
        ("1.2.2", 2, ["default", "late"]),
    ]
    assert [(one.verdict, one.instances) for one in found] == [
        (None, None),
        *[(orders.Completeness.PARTIAL, 7)] * 3,
    ]
    assert [one.first for one in found] == [True, False, True, False]
    assert found[0].taken[0].destinations == ("a", "b")
    assert {one.at for one in found} == {NOW}


def test_what_is_older_is_left_out_and_a_study_that_settled_is_known(database: db.Database) -> None:
    decide(database, "1.2.1", 1, "default", at=NOW - 2 * DAY)
    decide(database, "1.2.2", 1, "default")
    (one,) = decided.each(database, NOW - DAY)
    assert one is not None
    assert (one.series, one.whole) == ("1.2.2", False)
    decide(database, "", 1)
    (one,) = decided.each(database, NOW - DAY)
    assert one is not None
    assert one.whole
