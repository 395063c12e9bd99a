"""The database: opening it, scopes to read and write in, and what makes a commit survive power loss."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterator

import sqlalchemy


class Database:
    """One database, SQLite or PostgreSQL; safe to share between threads, not over a fork."""

    url: str
    path: pathlib.Path | None  # the SQLite file; None: PostgreSQL or in memory

    @contextlib.contextmanager
    def read(self) -> Iterator[sqlalchemy.Connection]:
        """A consistent view for as long as the scope is open; raises DatabaseUnavailable."""
        raise NotImplementedError
        yield

    @contextlib.contextmanager
    def write(self) -> Iterator[sqlalchemy.Connection]:
        """One transaction: committed at the end, rolled back when the scope raises.

        On SQLite it holds the write lock from its start (BEGIN IMMEDIATE).
        """
        raise NotImplementedError
        yield

    def durable(self) -> None:
        """Return when every transaction committed before the call survives power loss."""

    def probe(self, timeout: float = 2.0) -> None:
        """Write a row, commit it, make it durable; raises DatabaseUnavailable with the reason."""

    def close(self) -> None:
        """Close every connection of the pool."""


def open(url: str) -> Database:  # noqa: A001 - index.db.open reads as it should
    """Connect to `sqlite:///PATH` or `postgresql+psycopg://...`; the tables must be there (see `migrate`)."""
    raise NotImplementedError
