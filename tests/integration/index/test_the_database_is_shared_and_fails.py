"""Readers beside writers, a database that is locked, full, broken or gone, and commits that must last."""

from __future__ import annotations

import os
import pathlib
import sqlite3
import subprocess
import sys
import threading

import pytest
import sqlalchemy

from node import errors
from node.index import audit, db, ingest, migrate, tables
from tests import indexed


def test_a_reader_sees_whole_batches_while_a_writer_works(database: db.Database) -> None:
    done = threading.Event()
    faults: list[str] = []

    def read() -> None:
        while not done.is_set():
            with database.read() as connection:
                rows = connection.execute(sqlalchemy.select(tables.instance.c.key)).all()
                counted = connection.execute(sqlalchemy.select(tables.series.c.instances)).scalar() or 0
                if database.path is not None and (len(rows) != counted or len(rows) % 10):
                    faults.append(f"{len(rows)} rows, {counted} counted")
                if len(rows) % 10:
                    faults.append(f"half a batch: {len(rows)}")

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for start in range(0, 200, 10):
        indexed.take(database, [indexed.item(number) for number in range(start, start + 10)])
    done.set()
    for reader in readers:
        reader.join()
    assert faults == []
    assert len(indexed.rows(database, tables.instance)) == 200


def test_writers_with_the_same_instances_take_turns(database: db.Database) -> None:
    """Every writer has the same fifty instances from a journal of its own: one is first, the rest repeat."""

    def write(slot: str) -> None:
        for start in range(0, 50, 5):
            numbers = range(start, start + 5)
            indexed.take(database, [indexed.item(number, slot=slot) for number in numbers])

    writers = [threading.Thread(target=write, args=(f"listen-{n}",)) for n in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(indexed.rows(database, tables.instance)) == 50
    with database.read() as connection:
        assert audit.counts(connection) == {"stored": 50, "duplicate": 150}
        assert list(audit.unaccounted(connection)) == []
    (series,) = indexed.rows(database, tables.series)
    assert series["instances"] == 50


def test_a_scope_that_raises_leaves_nothing(database: db.Database) -> None:
    def batch() -> None:
        with database.write() as connection:
            decided = ingest.decide(connection, [indexed.item(1)])
            ingest.record(connection, [indexed.placed(one) for one in decided])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        batch()
    assert indexed.rows(database, tables.arrival) == []
    assert indexed.rows(database, tables.patient) == []


def test_the_probe_writes_and_the_log_is_synced(database: db.Database) -> None:
    before = indexed.rows(database, tables.meta)
    database.probe()
    after = indexed.rows(database, tables.meta)
    assert after != before
    database.durable()


def test_a_probe_of_a_locked_database_says_so(tmp_path: pathlib.Path) -> None:
    database = indexed.sqlite(tmp_path)
    holder = sqlite3.connect(tmp_path / "index.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(errors.DatabaseUnavailable, match="locked"):
        database.probe(timeout=0.05)
    assert indexed.rows(database, tables.arrival) == [], "who only reads does not wait"
    holder.execute("ROLLBACK")
    holder.close()
    database.probe(timeout=0.05)
    database.close()


def test_a_full_disk_is_transient(tmp_path: pathlib.Path) -> None:
    database = indexed.sqlite(tmp_path)

    def fill() -> None:
        with database.write() as connection:
            # SQLite's own limit gives the very error that a full disk gives.
            connection.exec_driver_sql("PRAGMA max_page_count = 1")
            many = [{"name": f"n{n}", "value": "x" * 5000} for n in range(100)]
            connection.execute(sqlalchemy.insert(tables.meta), many)

    with pytest.raises(errors.DatabaseUnavailable, match="full"):
        fill()
    database.close()


def test_a_file_that_is_no_database_is_no_reason_to_wait(tmp_path: pathlib.Path) -> None:
    (tmp_path / "index.db").write_bytes(b"this is not a database, whatever its name" * 100)
    database = db.open(f"sqlite:///{tmp_path / 'index.db'}")
    with pytest.raises(sqlalchemy.exc.DatabaseError, match="not a database"):
        migrate.status(database)
    database.close()


def test_after_a_failed_sync_nothing_is_promised_again(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = indexed.sqlite(tmp_path)
    real = os.fsync

    def broken(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(errors.DatabaseUnavailable, match="Input/output error"):
        database.durable()
    monkeypatch.setattr(os, "fsync", real)
    with pytest.raises(errors.DatabaseUnavailable, match="restart"):
        database.durable()
    with pytest.raises(errors.DatabaseUnavailable):
        database.probe()
    database.close()


def test_a_server_that_is_gone_is_transient() -> None:
    database = db.open("postgresql+psycopg://nobody@/nowhere?host=/nonexistent")
    with pytest.raises(errors.DatabaseUnavailable), database.read():
        pass
    database.close()


@pytest.mark.parametrize(
    "url", ["mysql://a/b", "nonsense", "sqlite://", "sqlite:///:memory:", "sqlite:////no/such/x.db"]
)
def test_urls_that_cannot_be_are_refused(url: str) -> None:
    with pytest.raises(errors.ConfigError):
        db.open(url)


def test_what_was_committed_outlives_a_kill(tmp_path: pathlib.Path) -> None:
    program = (
        "import os, pathlib; from tests import indexed; "
        f"d = indexed.sqlite(pathlib.Path({str(tmp_path)!r})); "
        "indexed.take(d, [indexed.item(n) for n in range(5)]); d.durable(); "
        "scope = d.write(); c = scope.__enter__(); c.exec_driver_sql('DELETE FROM instance'); "
        "os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False)
    assert done.returncode == -9
    database = indexed.sqlite(tmp_path)
    assert len(indexed.rows(database, tables.instance)) == 5
    database.close()


def test_another_thread_ends_a_statement(database: db.Database) -> None:
    with pytest.raises(errors.DatabaseUnavailable):
        _interrupted(database)
    with database.read() as connection:
        assert connection.exec_driver_sql("SELECT 1").scalar_one() == 1


def _interrupted(database: db.Database) -> None:
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
    over = threading.Event()
    with database.read() as connection:
        interrupt = db.interrupter(connection)

        def insist() -> None:
            while not over.wait(0.05):  # the first may come before the statement
                interrupt()

        thread = threading.Thread(target=insist)
        thread.start()
        try:
            connection.exec_driver_sql(endless).fetchall()
        finally:
            over.set()
            thread.join()
