"""What a retrieval is about, in which order, and how little is read for it."""

from __future__ import annotations

import contextlib
import datetime
import pathlib
import sqlite3

import sqlalchemy

from node import model
from node.index import db, remove, retrieval, tables
from tests import indexed, make

WHO = {"who": "op", "why": "test"}


def _query(level: model.Level, **keys: str) -> model.Query:
    names = {
        "patient": "PatientID",
        "study": "StudyInstanceUID",
        "series": "SeriesInstanceUID",
        "sop": "SOPInstanceUID",
    }
    return model.Query(level, {names[name]: value for name, value in keys.items()})


def _uids(database: db.Database, query: model.Query) -> list[str]:
    with database.read() as connection:
        chosen = retrieval.choose(connection, query)
        assert not chosen.lost
        found: list[str] = []
        for keys in retrieval.pages(chosen.keys):
            rows, gone = retrieval.page(connection, keys)
            assert not gone
            found += [row.sop_instance for row in rows]
    return found


def test_in_the_order_of_series_and_instance_numbers(database: db.Database) -> None:
    indexed.take(
        database,
        [
            indexed.item(1, series="1.2.3.9", sop_instance="9.1", series_number=2, instance_number=1),
            indexed.item(2, series="1.2.3.1", sop_instance="1.none", series_number=10, instance_number=None),
            indexed.item(3, series="1.2.3.1", sop_instance="1.2", series_number=10, instance_number=20),
            indexed.item(4, series="1.2.3.1", sop_instance="1.1", series_number=10, instance_number=3),
            indexed.item(5, series="1.2.3.0", sop_instance="0.1", series_number=None, instance_number=1),
            indexed.item(6, study="1.2.4", series="1.2.4.1", sop_instance="4.1"),
        ],
    )
    study = ["9.1", "1.1", "1.2", "1.none", "0.1"]
    assert _uids(database, _query(model.Level.STUDY, study="1.2.3")) == study
    assert _uids(database, _query(model.Level.PATIENT, patient="SYN-1")) == [*study, "4.1"]
    assert _uids(database, _query(model.Level.STUDY, study="1.2.4\\1.2.3")) == [*study, "4.1"]
    assert _uids(database, _query(model.Level.SERIES, study="1.2.3", series="1.2.3.9\\1.2.3.0")) == [
        "9.1",
        "0.1",
    ]
    assert _uids(database, _query(model.Level.SERIES, study="1.2.4", series="1.2.3.9")) == []
    assert _uids(database, _query(model.Level.STUDY, study="1.2.3", patient="SYN-2")) == []


def test_a_long_list_is_asked_for_in_parts(database: db.Database) -> None:
    indexed.take(database, [indexed.item(number) for number in range(1, 1301)])
    wanted = [f"1.2.3.1.{number}" for number in range(1300, 100, -1)]
    query = _query(
        model.Level.IMAGE, study="1.2.3", series="1.2.3.1", sop="\\".join([*wanted, wanted[0], "1.9"])
    )
    found = _uids(database, query)
    assert len(found) == 1200
    assert set(found) == set(wanted)


def test_kinds_studies_and_what_is_lost_are_known_at_once(database: db.Database) -> None:
    decided = indexed.take(
        database,
        [
            indexed.item(1),
            indexed.item(2, sop_class="1.2.840.10008.5.1.4.1.1.4"),
            indexed.item(3),
            indexed.item(4, study="1.2.9", series="1.2.9.1"),
        ],
    )
    with database.write() as connection:
        connection.execute(
            sqlalchemy.update(tables.instance)
            .where(tables.instance.c.sop_instance == "1.2.3.1.3")
            .values(state=model.Held.MISSING.value)
        )
    with database.read() as connection:
        chosen = retrieval.choose(connection, _query(model.Level.PATIENT, patient="SYN-1"))
    assert len(chosen.keys) == len(decided) - 1
    assert chosen.lost == (retrieval.Lost("1.2.3.1.3", "its file is missing"),)
    assert set(chosen.kinds) == {(make.CT, make.EXPLICIT), ("1.2.840.10008.5.1.4.1.1.4", make.EXPLICIT)}
    assert chosen.studies == ("1.2.3", "1.2.9")


def test_what_goes_between_the_choice_and_its_turn_is_named(database: db.Database) -> None:
    indexed.take(database, [indexed.item(1), indexed.item(2)])
    with database.read() as connection:
        chosen = retrieval.choose(connection, _query(model.Level.STUDY, study="1.2.3"))
    with database.write() as connection:
        remove.instances(connection, [chosen.keys[0]], now=datetime.datetime.now(datetime.UTC), **WHO)
    with database.read() as connection:
        rows, gone = retrieval.page(connection, chosen.keys.tolist())
    assert [row.sop_instance for row in rows] == ["1.2.3.1.2"]
    assert [one.sop_instance for one in gone.values()] == ["1.2.3.1.1"]


def test_no_statement_scans_the_instances(tmp_path: pathlib.Path) -> None:
    database = indexed.sqlite(tmp_path)
    seen: list[tuple[str, object]] = []

    @sqlalchemy.event.listens_for(database._reading, "before_cursor_execute")
    def _note(_c: object, _cursor: object, statement: str, values: object, _x: object, _many: bool) -> None:
        seen.append((statement, values))

    try:
        indexed.take(database, [indexed.item(number) for number in range(5)])
        for query in (
            _query(model.Level.PATIENT, patient="SYN-1"),
            _query(model.Level.STUDY, study="1.2.3"),
            _query(model.Level.SERIES, study="1.2.3", series="1.2.3.1"),
            _query(model.Level.SERIES, series="1.2.3.1"),
            _query(model.Level.IMAGE, study="1.2.3", series="1.2.3.1", sop="1.2.3.1.1\\1.2.3.1.2"),
            _query(model.Level.IMAGE, sop="1.2.3.1.1"),
        ):
            assert _uids(database, query), query
        with contextlib.closing(sqlite3.connect(str(database.path))) as plain:
            for statement, values in seen:
                if not statement.startswith("SELECT"):
                    continue
                steps = plain.execute(f"EXPLAIN QUERY PLAN {statement}", values).fetchall()
                assert not [step[3] for step in steps if step[3].startswith("SCAN")], (statement, steps)
    finally:
        database.close()
