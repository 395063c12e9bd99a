"""Row keys, given out in order and never twice; and the lock that makes writers of the index take turns."""

from __future__ import annotations

import sqlalchemy

from node.index import tables

_TAKE = (
    sqlalchemy.update(tables.counter)
    .where(tables.counter.c.name == sqlalchemy.bindparam("which"))
    .values(value=tables.counter.c.value + sqlalchemy.bindparam("many"))
    .returning(tables.counter.c.value)
)
_BEGIN = sqlalchemy.insert(tables.counter)
_LOCK = (
    sqlalchemy.select(tables.counter.c.value)
    .where(tables.counter.c.name == sqlalchemy.bindparam("which"))
    .with_for_update()
)

COUNTED = (
    "lock",
    "patient",
    "study",
    "series",
    "instance",
    "conflict",
    "quarantine",
    "deletion",
    "commitment",
    "worklist_entry",
    "performed_step",
    "settlement",
    "decision",
    "consignment",
    "delivery",
    "attempt",
    "verification",
)


def begin(connection: sqlalchemy.Connection) -> None:
    """Give a new database its counters."""
    connection.execute(_BEGIN, [{"name": name, "value": 0} for name in COUNTED])


def take(connection: sqlalchemy.Connection, which: str, many: int = 1) -> int:
    """The first of `many` keys in a row for the table `which`."""
    last: int = connection.execute(_TAKE, {"which": which, "many": many}).scalar_one()
    return last - many + 1


def reach(connection: sqlalchemy.Connection, which: str, last: int) -> None:
    """Give out no key up to `last` any more."""
    counter = tables.counter.c
    connection.execute(
        sqlalchemy.update(tables.counter)
        .where(counter.name == which, counter.value < last)
        .values(value=last)
    )


def lock(connection: sqlalchemy.Connection) -> None:
    """Wait until no other transaction changes what is held, and keep it so until this one ends.

    SQLite's write scope does that already. On PostgreSQL two adopters could otherwise both find a UID free.
    """
    connection.execute(_LOCK, {"which": "lock"})


def lock_owed(connection: sqlalchemy.Connection) -> None:
    """The same for what is owed; take it after `lock` where both are needed."""
    connection.execute(_LOCK, {"which": "consignment"})
