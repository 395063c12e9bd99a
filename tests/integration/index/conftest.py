"""An empty index on each database that the node can keep it in."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest
import sqlalchemy

from node.index import db, migrate, tables
from tests import indexed


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The URL of a PostgreSQL server."""
    with indexed.postgresql() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Iterator[db.Database]:
    """An empty index."""
    if request.param == "sqlite":
        opened = indexed.sqlite(tmp_path)
        yield opened
        opened.close()
        return
    opened = db.open(request.getfixturevalue("server"))
    migrate.upgrade(opened)
    yield opened
    with opened.write() as connection:
        tables.metadata.drop_all(connection)
        connection.execute(sqlalchemy.text("DROP TABLE alembic_version"))
    opened.close()
