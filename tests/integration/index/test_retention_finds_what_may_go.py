"""Candidates by age, by size and by rule, and what keeps a series from being one."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

import sqlalchemy

from node.index import db, remove, retain, tables
from tests import indexed

HOUR = 3600.0


def _filled(database: db.Database) -> None:
    """Three studies of two series each, an hour between the studies."""
    number = 0
    for study in range(3):
        for series in range(2):
            number += 1
            indexed.take(
                database,
                [
                    indexed.item(
                        number, study=f"1.{study}", series=f"1.{study}.{series}", seconds=HOUR * study,
                        keep=10 * HOUR if (study, series) == (0, 1) else None,
                    )
                ],
            )  # fmt: skip


def _at(hours: float) -> datetime.datetime:
    return indexed.START + datetime.timedelta(hours=hours)


def test_by_age_a_rule_has_the_last_word(database: db.Database) -> None:
    _filled(database)
    with database.read() as connection:
        early = retain.by_age(connection, _at(1.9), 1.5 * HOUR)
        late = retain.by_age(connection, _at(11), 1.5 * HOUR)
        ruled = retain.by_age(connection, _at(11), None)
        never = retain.by_age(connection, _at(11), 100 * 365 * 24 * HOUR * 1000)
    assert [one.series for one in early] == ["1.0.0"]
    assert [one.series for one in late] == ["1.0.1", "1.0.0", "1.1.0", "1.1.1", "1.2.0", "1.2.1"]
    assert [one.series for one in ruled] == ["1.0.1"]
    assert [one.series for one in never] == ["1.0.1"]


def test_by_size_the_oldest_studies_go_whole(database: db.Database) -> None:
    _filled(database)
    with database.read() as connection:
        assert retain.by_size(connection, _at(3), 6000) == []
        chosen = retain.by_size(connection, _at(3), 5500)
    # The first study has a series that a rule keeps, so the second one goes.
    assert [one.series for one in chosen] == ["1.1.0", "1.1.1"]


def test_what_is_undelivered_stays(database: db.Database) -> None:
    _filled(database)

    def owed(connection: sqlalchemy.Connection, keys: Sequence[int]) -> set[int]:
        wanted = sqlalchemy.select(tables.series.c.key).where(tables.series.c.series == "1.1.1")
        return set(keys) & set(connection.execute(wanted).scalars())

    with database.write() as connection:
        aged = retain.by_age(connection, _at(11), HOUR, undelivered=owed)
        assert "1.1.1" not in [one.series for one in aged]
        sized = retain.by_size(connection, _at(3), 5500, undelivered=owed)
        assert {one.study for one in sized} == {"1.2"}
        (chosen,) = [one for one in retain.by_age(connection, _at(11), HOUR) if one.series == "1.1.1"]
        assert retain.drop(connection, chosen, who="retention", now=_at(11), undelivered=owed) == []


def test_a_series_that_changed_since_it_was_chosen_stays(database: db.Database) -> None:
    _filled(database)
    with database.read() as connection:
        chosen = {one.series: one for one in retain.by_age(connection, _at(1.9), 0.5 * HOUR)}
    indexed.take(database, [indexed.item(99, study="1.0", series="1.0.0", seconds=2 * HOUR)])
    with database.write() as connection:
        assert retain.drop(connection, chosen["1.0.0"], who="retention", now=_at(2)) == []
        dropped = retain.drop(connection, chosen["1.1.0"], who="retention", now=_at(2))
        assert retain.drop(connection, chosen["1.1.0"], who="retention", now=_at(2)) == []
    assert [one.sop_instance for one in dropped] == ["1.1.0.3"]
    assert dropped[0].why == "nothing came for longer than 1800 s, which the policy keeps"
    with database.write() as connection:
        assert [one.path for one in remove.doomed(connection)] == [dropped[0].path]


def test_the_store_counts_its_bytes(database: db.Database) -> None:
    with database.read() as connection:
        assert retain.stored_bytes(connection) == 0
    _filled(database)
    with database.read() as connection:
        assert retain.stored_bytes(connection) == 6000
