"""Many rows in one statement, past SQLAlchemy's parameters, which would cost half of all the time."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import sqlalchemy

CHUNK = 500  # values in one list

_T = TypeVar("_T")


def insert(
    connection: sqlalchemy.Connection, table: sqlalchemy.Table, rows: Sequence[dict[str, Any]]
) -> None:
    """Insert rows that all have the same columns."""
    if rows:
        statement = _insert(table, tuple(rows[0]), connection.dialect)
        connection.exec_driver_sql(statement, [tuple(row.values()) for row in rows])


def many(connection: sqlalchemy.Connection, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Run a statement with question marks once for each row of values."""
    if rows:
        connection.exec_driver_sql(_marked(statement, connection.dialect), list(rows))


def run(
    connection: sqlalchemy.Connection, statement: str, *values: Any
) -> sqlalchemy.CursorResult[*tuple[Any, ...]]:
    """Run a statement with question marks once."""
    return connection.exec_driver_sql(_marked(statement, connection.dialect), values)


def listed(
    connection: sqlalchemy.Connection, statement: str, values: Sequence[Any], *before: Any
) -> sqlalchemy.CursorResult[*tuple[Any, ...]]:
    """Run a statement whose `(?*)` stands for a list, with the values of marks that come before it."""
    written = statement.replace("?*", ", ".join("?" * len(values)))
    return connection.exec_driver_sql(_marked(written, connection.dialect), (*before, *values))


def chunks(values: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """The values in shares of one list each."""
    for start in range(0, len(values), CHUNK):
        yield values[start : start + CHUNK]


@functools.lru_cache(maxsize=64)
def _insert(table: sqlalchemy.Table, names: tuple[str, ...], dialect: sqlalchemy.Dialect) -> str:
    mark = "?" if dialect.paramstyle == "qmark" else "%s"
    columns = ", ".join(map(dialect.identifier_preparer.quote, names))
    return f"INSERT INTO {table.name} ({columns}) VALUES ({', '.join([mark] * len(names))})"  # noqa: S608 - our own names


@functools.lru_cache(maxsize=256)
def _marked(statement: str, dialect: sqlalchemy.Dialect) -> str:
    return statement if dialect.paramstyle == "qmark" else statement.replace("?", "%s")
