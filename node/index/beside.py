"""An index that is made beside the one in use and then takes its place, in one step.

Nobody else may use the index meanwhile: the caller holds the data directory.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import sqlite3
import time
from collections.abc import Iterator
from typing import Protocol

import sqlalchemy
import sqlalchemy.exc

from node import errors
from node.files import disk as disks
from node.index import db, tables

_BUILT = "dicom_node_rebuild"  # the schema that a new index is made in
_PATIENCE = 10  # seconds that a swap waits for whoever still reads the old tables


class Beside(Protocol):
    """Where the new index is made, and how it comes to be the one."""

    def old(self) -> db.Database | None:
        """The index in use, None when there is none; it may be unreadable."""

    def fresh(self) -> db.Database:
        """A place for the new one, without tables; what an earlier try left there is gone."""

    def swap(self) -> str | None:
        """Put the new one in the old one's place, both closed; where the old one is now."""


def of(url: str) -> Beside:
    """The way to replace the index at a URL."""
    path = db.path_of(url)
    return _Schema(url) if path is None else _File(path)


@contextlib.contextmanager
def unreadable() -> Iterator[None]:
    """Say in one way that an old index cannot be read, which may be why a new one is made."""
    try:
        yield
    except (sqlalchemy.exc.SQLAlchemyError, sqlite3.Error) as fault:
        lines = str(fault).splitlines() or [type(fault).__name__]
        raise errors.DatabaseUnavailable(f"the old index cannot be read: {lines[0]}") from fault


class _File:
    """SQLite: another file in the same directory, then renamed."""

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self._fresh = path.with_name(path.name + ".rebuild")

    def old(self) -> db.Database | None:
        return db.open(f"sqlite:///{self._path}") if self._path.exists() else None

    def fresh(self) -> db.Database:
        for suffix in ("", "-wal", "-shm"):
            self._fresh.with_name(self._fresh.name + suffix).unlink(missing_ok=True)
        return db.open(f"sqlite:///{self._fresh}")

    def swap(self) -> str | None:
        self._settle()
        kept: pathlib.Path | None = None
        if self._path.exists():
            kept = self._path.with_name(f"{self._path.name}.before-{time.time_ns()}")
            # The old one whole, with what was not checkpointed yet, then the new one under its name.
            for suffix in ("-wal", "-shm", ""):
                old = self._path.with_name(self._path.name + suffix)
                if old.exists():
                    os.rename(old, kept.with_name(kept.name + suffix))
        os.rename(self._fresh, self._path)
        disks.sync_directory(disks.Disk(), self._path.parent)
        return None if kept is None else str(kept)

    def _settle(self) -> None:
        """Closed, a SQLite database is one file; anything else must not be swapped in."""
        for suffix in ("-wal", "-shm"):
            left = self._fresh.with_name(self._fresh.name + suffix)
            if left.exists() and left.stat().st_size and suffix == "-wal":
                raise errors.DatabaseUnavailable(f"{left} is still in use; try again")
            left.unlink(missing_ok=True)
        fd = os.open(self._fresh, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


class _Schema:
    """PostgreSQL: the same tables in another schema, then moved in one transaction."""

    def __init__(self, url: str) -> None:
        self._url = url

    def old(self) -> db.Database | None:
        database = db.open(self._url)
        with database.read() as connection:
            there = sqlalchemy.inspect(connection).has_table(tables.instance.name)
        if there:
            return database
        database.close()
        return None

    def fresh(self) -> db.Database:
        with self._server() as connection:
            connection.exec_driver_sql(f"DROP SCHEMA IF EXISTS {_BUILT} CASCADE")
            connection.exec_driver_sql(f"CREATE SCHEMA {_BUILT}")
        return db.open(self._url, schema=_BUILT)

    def swap(self) -> str | None:
        kept = f"dicom_node_before_{time.time_ns()}"
        with self._server() as connection:
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_PATIENCE}s'")
            # Of this server's names only: what stands in a configured one is quoted.
            quote = connection.dialect.identifier_preparer.quote
            here = str(connection.exec_driver_sql("SELECT current_schema()").scalar_one())
            names = [*tables.metadata.tables, "alembic_version"]
            known = sqlalchemy.inspect(connection).get_table_names(schema=here)
            old = [name for name in names if name in known]
            if old:
                connection.exec_driver_sql(f"CREATE SCHEMA {kept}")
            for name in old:
                connection.exec_driver_sql(f"ALTER TABLE {quote(here)}.{quote(name)} SET SCHEMA {kept}")
            for name in names:
                connection.exec_driver_sql(f"ALTER TABLE {_BUILT}.{quote(name)} SET SCHEMA {quote(here)}")
            connection.exec_driver_sql(f"DROP SCHEMA {_BUILT}")
        return f"schema {kept} of the database" if old else None

    @contextlib.contextmanager
    def _server(self) -> Iterator[sqlalchemy.Connection]:
        database = db.open(self._url)
        try:
            with database.write() as connection:
                yield connection
        finally:
            database.close()
