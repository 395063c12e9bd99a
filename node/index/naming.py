"""What a person means by a name: a UID, the beginning of one, or a name that was given here."""

from __future__ import annotations

import sqlalchemy

from node import errors
from node.index import tables, tracker, words

_series, _study = tables.series.c, tables.study.c
_MOST = 6  # of what begins alike, so many are named

_CUSTOM_SERIES = (
    sqlalchemy.select(_series.series)
    .join(tables.series_override, tables.series_override.c.series_key == _series.key)
    .where(tables.series_override.c.custom_id == sqlalchemy.bindparam("name"))
)
_CUSTOM_IMAGE = (
    sqlalchemy.select(tables.instance.c.sop_instance)
    .join(tables.image_override, tables.image_override.c.instance_key == tables.instance.c.key)
    .where(tables.image_override.c.custom_id == sqlalchemy.bindparam("name"))
)
_KNOWN = (
    sqlalchemy.select(_study.key).where(_study.study == sqlalchemy.bindparam("uid")),
    sqlalchemy.select(_series.key).where(_series.series == sqlalchemy.bindparam("uid")),
    sqlalchemy.select(tables.instance.c.key).where(
        tables.instance.c.sop_hash == sqlalchemy.bindparam("hash"),
        tables.instance.c.sop_instance == sqlalchemy.bindparam("uid"),
    ),
    # What is gone may still be asked for.
    sqlalchemy.select(tables.deletion.c.key).where(
        tables.deletion.c.sop_instance == sqlalchemy.bindparam("uid")
    ),
    sqlalchemy.select(tables.consignment.c.key).where(
        tables.consignment.c.series == sqlalchemy.bindparam("uid")
    ),
    sqlalchemy.select(tables.consignment.c.key).where(
        tables.consignment.c.study == sqlalchemy.bindparam("uid")
    ),
)


def uid(connection: sqlalchemy.Connection, name: str) -> str:
    """The Study, Series or SOP Instance UID that is meant; one that nobody knows is returned as it is.

    Raises UsageError where several begin so, and NotFound for a name that nobody was given.
    """
    if not tracker.is_uid(name):
        for statement in (_CUSTOM_SERIES, _CUSTOM_IMAGE):
            found = connection.execute(statement, {"name": name}).scalars().first()
            if found is not None:
                return str(found)
        raise errors.NotFound(f"nothing is called {name!r} here: give a UID, or a name that `images` shows")
    given = {"uid": name, "hash": words.uid_hash(name)}
    if any(connection.execute(statement.limit(1), given).first() for statement in _KNOWN):
        return name
    alike = _beginning(connection, name)
    if len(alike) > 1:
        more = ", ..." if len(alike) == _MOST else ""
        raise errors.UsageError(f"several begin with {name}: {', '.join(alike)}{more}; say more of it")
    return alike[0] if alike else name


def _beginning(connection: sqlalchemy.Connection, name: str) -> list[str]:
    """UIDs of studies and series that begin so; by the index of each column, for text sorts by its bytes."""
    found: set[str] = set()
    for column in (_study.study, _series.series):
        # The character after the dot and the digits.
        statement = sqlalchemy.select(column).where(column >= name, column < name + ":").limit(_MOST)
        found.update(connection.execute(statement).scalars())
    return sorted(found)[:_MOST]
