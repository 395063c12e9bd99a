"""The tables' revisions: is the database this program's, and how it becomes so."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import os
import pathlib
import sqlite3
from collections.abc import Callable, Iterator

import sqlalchemy

import node
from node import errors
from node.index import db, keys, tables

_VERSION = sqlalchemy.table("alembic_version", sqlalchemy.column("version_num"))


@dataclasses.dataclass(frozen=True, slots=True)
class Status:
    """Where a database stands."""

    current: str | None  # revision of the database; None: it has no tables yet
    head: str  # revision that this program works with
    pending: tuple[str, ...]  # revisions that an upgrade would apply, oldest first


def scripts() -> pathlib.Path:
    """Where the revisions' scripts are: inside the installed package, or beside it in a source tree."""
    package = pathlib.Path(node.__file__).parent
    installed = package / "_migrations"
    return installed if installed.is_dir() else package.parent / "migrations"


def revisions() -> tuple[str, ...]:
    """Every revision, oldest first: the leading number of its file's name."""
    return tuple(sorted(path.name[:4] for path in (scripts() / "versions").glob("[0-9]*.py")))


def status(database: db.Database) -> Status:
    """Compare without importing alembic; raises DatabaseNewer when the database is ahead."""
    with database.read() as connection:
        # The list of tables and not a failing query: on PostgreSQL that would end the transaction.
        if not sqlalchemy.inspect(connection).has_table("alembic_version"):
            return Status(None, tables.REVISION, (tables.REVISION,))
        current = connection.execute(sqlalchemy.select(_VERSION.c.version_num)).scalar_one_or_none()
    if current is None:
        return Status(None, tables.REVISION, (tables.REVISION,))
    if current == tables.REVISION:
        return Status(current, tables.REVISION, ())
    known = revisions()
    if current not in known:
        raise errors.DatabaseNewer(
            f"the database is at revision {current}, this program knows {tables.REVISION}: "
            "it was written by a newer program; install that one, or restore the copy from before its upgrade"
        )
    return Status(current, tables.REVISION, known[known.index(current) + 1 :])


def upgrade(database: db.Database, say: Callable[[str], None] | None = None) -> Status:
    """Bring the tables to this program's revision; an SQLite file is copied first, `say` gets what is done.

    Safe to run at every start: it is a single query when there is nothing to do. Each revision is one
    transaction, so an upgrade that was interrupted goes on where it stopped.
    """
    say = say or (lambda _: None)
    found = status(database)
    if not found.pending:
        return found
    with _alone(database):
        found = status(database)  # another process may have done it meanwhile
        if not found.pending:
            return found
        if found.current is None:
            _create(database)
            say(f"made the tables of the index, revision {tables.REVISION}")
        else:
            _copy(database, found.current, say)
            for revision in found.pending:
                say(f"upgrading the index to revision {revision}")
                run(database, revision)
            say(f"the index is at revision {tables.REVISION}")
    return status(database)


def run(database: db.Database, revision: str) -> None:
    """Apply the scripts up to `revision`, each in a transaction."""
    # Here and not above: importing alembic takes longer than everything else a start does.
    import alembic.command
    import alembic.config

    settings = alembic.config.Config()
    settings.set_main_option("script_location", str(scripts()).replace("%", "%%"))
    with database.write() as connection:
        settings.attributes["connection"] = connection
        alembic.command.upgrade(settings, revision)


def _create(database: db.Database) -> None:
    # The result is the same as that of running every script, which a test proves, without alembic's import.
    with database.write() as connection:
        tables.metadata.create_all(connection)
        connection.exec_driver_sql(
            "CREATE TABLE IF NOT EXISTS alembic_version (version_num VARCHAR(32) NOT NULL, "
            "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
        )
        begin(connection)
        connection.execute(sqlalchemy.insert(_VERSION).values(version_num=tables.REVISION))


def begin(connection: sqlalchemy.Connection) -> None:
    """Fill what the tables of a new database start with."""
    keys.begin(connection)
    connection.execute(sqlalchemy.insert(tables.meta).values(name="probe", value=""))


def _copy(database: db.Database, current: str, say: Callable[[str], None]) -> None:
    if database.path is None:
        say("PostgreSQL is not copied by this program: have a dump from before the upgrade")
        return
    stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
    target = database.path.with_name(f"{database.path.name}.{current}.{stamp}")
    partial = target.with_name(target.name + ".partial")
    for left in database.path.parent.glob(f"{database.path.name}.*.partial"):
        left.unlink(missing_ok=True)  # of an upgrade that was interrupted
    say(f"copying {database.path} to {target}")
    try:
        with (
            contextlib.closing(sqlite3.connect(f"file:{database.path}?mode=ro", uri=True)) as source,
            contextlib.closing(sqlite3.connect(partial)) as copy,
        ):
            source.backup(copy, pages=16384)
        descriptor = os.open(partial, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        partial.rename(target)  # only a whole copy has the name
    except (OSError, sqlite3.Error) as fault:
        partial.unlink(missing_ok=True)
        raise errors.DatabaseUnavailable(
            f"{database.path} could not be copied before its upgrade: {fault}; nothing was changed"
        ) from fault


@contextlib.contextmanager
def _alone(database: db.Database) -> Iterator[None]:
    """One process at a time upgrades; the others wait and then find it done."""
    if database.path is None:
        with database.write() as connection:
            # A session-wide advisory lock of its own connection: the upgrade commits on another one.
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(4240711112)")
            yield
        return
    import fcntl

    with database.path.with_name(database.path.name + ".upgrade").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
