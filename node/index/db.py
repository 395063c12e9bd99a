"""The database: opening it, scopes to read and write in, and what makes a commit survive power loss."""

from __future__ import annotations

import contextlib
import datetime
import os
import pathlib
import sqlite3
import threading
from collections.abc import Callable, Iterator
from typing import Any

import sqlalchemy
import sqlalchemy.event
import sqlalchemy.exc
import sqlalchemy.pool

from node import errors
from node.index import tables, words

_BUSY = 5000  # milliseconds that a writer waits for another one before it says that it cannot
# WAL and NORMAL: a commit costs no sync; `durable` makes the sync, once for many commits.
_PRAGMAS = (
    f"PRAGMA busy_timeout={_BUSY}",  # first: the next one may meet a writer
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=NORMAL",
    "PRAGMA foreign_keys=OFF",  # the code deletes leaves first; checking each of a million inserts is waste
    "PRAGMA temp_store=MEMORY",
    "PRAGMA mmap_size=0",  # through a mapping, a bad sector ends the process instead of failing a read
    "PRAGMA wal_autocheckpoint=8000",  # pages: a hot page is written once and not ten times
    "PRAGMA journal_size_limit=67108864",
)
_READER = ("PRAGMA cache_size=-8192", "PRAGMA query_only=ON")  # KiB; what only reads cannot write by mistake
_WRITER = ("PRAGMA cache_size=-65536",)  # there is one at a time, and it comes back to the same pages
_UNAVAILABLE = frozenset({
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_INTERRUPT,
})  # fmt: skip
# Connection lost, server stopping, cancelled, too many clients, out of room, deadlock or lost race.
_UNAVAILABLE_STATES = ("08", "57P", "57014", "53", "40", "55P03", "58")
_PROBE = sqlalchemy.update(tables.meta).where(tables.meta.c.name == "probe")


class Database:
    """One database, SQLite or PostgreSQL; safe to share between threads, not over a fork."""

    def __init__(
        self, url: str, reading: sqlalchemy.Engine, writing: sqlalchemy.Engine, path: pathlib.Path | None
    ) -> None:
        self.url = url
        self.path = path  # the SQLite file; None: PostgreSQL
        self._reading = reading
        self._writing = writing
        self._sync = threading.Lock()
        self._torn: str | None = None  # why nothing more can be promised to be durable

    @contextlib.contextmanager
    def read(self) -> Iterator[sqlalchemy.Connection]:
        """A consistent view for as long as the scope is open; raises DatabaseUnavailable."""
        with _translated(), self._reading.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[sqlalchemy.Connection]:
        """One transaction: committed at the end, rolled back when the scope raises.

        On SQLite it holds the write lock from its start (BEGIN IMMEDIATE).
        """
        with _translated(), self._writing.begin() as connection:
            yield connection

    def durable(self) -> None:
        """Return when every transaction committed before the call survives power loss.

        Commits are in the write-ahead log; what left the log for the main file was synced by SQLite's
        checkpoint. PostgreSQL syncs every commit itself. After a sync has failed once the kernel may have
        dropped the pages, so that nothing is promised again until the program starts anew.
        """
        if self.path is None:
            return
        with self._sync:
            if self._torn is not None:
                raise errors.DatabaseUnavailable(self._torn)
            try:
                _sync_file(self.path.with_name(self.path.name + "-wal"))
            except FileNotFoundError:
                _sync_file(self.path.parent)  # checkpointed and removed: the main file has it all
            except OSError as fault:
                self._torn = (
                    f"a sync of {self.path} failed ({fault.strerror}): what it holds since then may not "
                    "survive a power loss; check the disk and restart"
                )
                raise errors.DatabaseUnavailable(self._torn) from fault

    def probe(self, timeout: float = 2.0) -> None:
        """Write a row, commit it, make it durable; raises DatabaseUnavailable with the reason."""
        now = words.moment(datetime.datetime.now(datetime.UTC))
        with _translated(), self._writing.connect() as connection:
            limit = int(timeout * 1000)
            if self.path is not None:
                connection.connection.execute(f"PRAGMA busy_timeout={limit}")
            try:
                with connection.begin():
                    if self.path is None:
                        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {limit}")
                    connection.execute(_PROBE.values(value=now))
            finally:
                if self.path is not None:
                    connection.connection.execute(f"PRAGMA busy_timeout={_BUSY}")
        self.durable()

    def close(self) -> None:
        """Close every connection of the pool."""
        self._reading.dispose()
        self._writing.dispose()


def open(url: str, *, schema: str | None = None) -> Database:  # noqa: A001 - it is read as `db.open`
    """Connect to `sqlite:///PATH` or `postgresql+psycopg://...`; the tables must be there (see `migrate`).

    On PostgreSQL they are those of `schema`, or of what the server's search path begins with.
    """
    try:
        parsed = sqlalchemy.make_url(url)
    except sqlalchemy.exc.ArgumentError as fault:
        raise errors.ConfigError(
            f"storage.database = {url!r} is no database URL; use sqlite:///PATH or postgresql+psycopg://..."
        ) from fault
    if parsed.get_backend_name() == "sqlite":
        return _open_sqlite(url, parsed)
    if parsed.get_backend_name() == "postgresql":
        return _open_postgresql(url, parsed, schema)
    raise errors.ConfigError(
        f"storage.database = {parsed.render_as_string()} names {parsed.get_backend_name()}; "
        "use sqlite:///PATH or postgresql+psycopg://..."
    )


def interrupter(connection: sqlalchemy.Connection) -> Callable[[], None]:
    """What another thread calls to end a connection's statement: it raises DatabaseUnavailable."""
    driver: Any = connection.connection.driver_connection
    end: Callable[[], None] = driver.interrupt if hasattr(driver, "interrupt") else driver.cancel
    return end


def path_of(url: str) -> pathlib.Path | None:
    """The file that an SQLite URL names; None: the database is a server's."""
    try:
        parsed = sqlalchemy.make_url(url)
    except sqlalchemy.exc.ArgumentError:
        return None  # open() says what is wrong with it
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        return None
    return pathlib.Path(parsed.database)


def _open_sqlite(url: str, parsed: sqlalchemy.URL) -> Database:
    if not parsed.database or parsed.database == ":memory:":
        raise errors.ConfigError(f"storage.database = {url!r} names no file; use sqlite:///PATH")
    path = pathlib.Path(parsed.database)
    if not path.parent.is_dir():
        raise errors.ConfigError(f"{path.parent} is no directory; make it, or set storage.database")
    reading = _sqlite_engine(parsed, "DEFERRED", _READER)
    writing = _sqlite_engine(parsed, "IMMEDIATE", _WRITER)
    return Database(url, reading, writing, path)


def _sqlite_engine(parsed: sqlalchemy.URL, begin: str, pragmas: tuple[str, ...]) -> sqlalchemy.Engine:
    engine = sqlalchemy.create_engine(
        parsed,
        # A thread that reads never waits for one that writes, so connections are not what to save on.
        pool_size=8,
        max_overflow=64,
        pool_timeout=10,
        pool_use_lifo=True,  # few connections stay warm
        connect_args={"isolation_level": None, "check_same_thread": False, "cached_statements": 256},
    )

    @sqlalchemy.event.listens_for(engine, "connect")
    def _prepare(connection: Any, record: object) -> None:
        for pragma in (*_PRAGMAS, *pragmas):
            connection.execute(pragma)

    @sqlalchemy.event.listens_for(engine, "begin")
    def _begin(connection: sqlalchemy.Connection) -> None:
        connection.exec_driver_sql(f"BEGIN {begin}")

    return engine


def _open_postgresql(url: str, parsed: sqlalchemy.URL, schema: str | None) -> Database:
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    arguments: dict[str, Any] = {"connect_timeout": 5}
    if schema is not None:
        given = parsed.query.get("options", "")
        given = given if isinstance(given, str) else " ".join(given)
        arguments["options"] = f"{given} -c search_path={schema}".strip()
    try:
        engine = sqlalchemy.create_engine(
            parsed,
            pool_size=8,
            max_overflow=32,
            pool_timeout=10,
            pool_pre_ping=True,  # the server may have been restarted since
            isolation_level="READ COMMITTED",
            connect_args=arguments,
        )
    except ModuleNotFoundError as fault:
        raise errors.ConfigError(
            f"storage.database = {parsed.render_as_string()} needs the driver {fault.name}; "
            "install the extra: pip install 'dicom-node[postgres]'"
        ) from fault
    return Database(url, engine, engine, None)


def _sync_file(path: pathlib.Path) -> None:
    # The descriptor is of the log or the directory, never of the main file: closing one of those would
    # drop the locks that SQLite holds on it in this process.
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlalchemy.exc.TimeoutError as fault:
        raise errors.DatabaseUnavailable("every connection to the database is in use; try again") from fault
    except sqlalchemy.exc.DBAPIError as fault:
        if _unavailable(fault):
            raise errors.DatabaseUnavailable(f"the database did not answer: {_reason(fault)}") from fault
        raise
    except sqlite3.OperationalError as fault:
        # From a statement that went to the driver directly, as pragmas do.
        raise errors.DatabaseUnavailable(f"the database did not answer: {fault}") from fault


def _unavailable(fault: sqlalchemy.exc.DBAPIError) -> bool:
    original = fault.orig
    if isinstance(original, sqlite3.Error):
        code = getattr(original, "sqlite_errorcode", None)
        return code is not None and code & 0xFF in _UNAVAILABLE
    state = getattr(original, "sqlstate", None)
    if state is None:
        return fault.connection_invalidated or isinstance(fault, sqlalchemy.exc.OperationalError)
    return str(state).startswith(_UNAVAILABLE_STATES)


def _reason(fault: sqlalchemy.exc.DBAPIError) -> str:
    lines = str(fault.orig).strip().splitlines()
    return lines[0] if lines else type(fault.orig).__name__
