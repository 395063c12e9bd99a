"""The tables' revisions: is the database this program's, and how it becomes so."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from node.index import db


@dataclasses.dataclass(frozen=True, slots=True)
class Status:
    """Where a database stands."""

    current: str | None  # revision of the database; None: it has no tables yet
    head: str  # revision that this program works with
    pending: tuple[str, ...]  # revisions that an upgrade would apply, oldest first


def status(database: db.Database) -> Status:
    """Compare without importing alembic; raises DatabaseNewer when the database is ahead."""
    raise NotImplementedError


def upgrade(database: db.Database, say: Callable[[str], None] = lambda line: None) -> Status:
    """Bring the tables to `head`; an SQLite file is copied first, `say` gets a line per thing done.

    Safe to run at every start: it is a single query when there is nothing to do.
    """
    raise NotImplementedError
