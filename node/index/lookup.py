"""Look-ups by name, for those who know what they want; matching is in `find`."""

from __future__ import annotations

import dataclasses
from typing import Any

import sqlalchemy

from node import model
from node.index import tables, words

_INSTANCE = (
    sqlalchemy.select(
        tables.study.c.study.label("study"),
        tables.series.c.series.label("series"),
        tables.instance.c.sop_class,
        tables.instance.c.sop_instance,
        tables.instance.c.syntax,
        tables.instance.c.digest,
        tables.instance.c.path,
        tables.instance.c.offset,
        tables.instance.c.size,
        tables.instance.c.frames,
        tables.instance.c.received,
        tables.instance.c.source,
        tables.instance.c.state,
        tables.instance.c.key,
        tables.instance.c.coercion,
    )
    .join(tables.series, tables.series.c.key == tables.instance.c.series_key)
    .join(tables.study, tables.study.c.key == tables.series.c.study_key)
)
_BY_UID = _INSTANCE.where(
    tables.instance.c.sop_hash == sqlalchemy.bindparam("hash"),
    tables.instance.c.sop_instance == sqlalchemy.bindparam("uid"),
).order_by(tables.instance.c.key)
_BY_IDENTITY = _INSTANCE.where(
    tables.instance.c.sop_instance == sqlalchemy.bindparam("uid"),
    tables.series.c.series == sqlalchemy.bindparam("series_uid"),
    tables.study.c.study == sqlalchemy.bindparam("study_uid"),
)


def held(connection: sqlalchemy.Connection, identity: model.Identity) -> model.Instance | None:
    """The instance of exactly these study, series and SOP Instance UIDs."""
    uids = {"uid": identity.sop_instance, "series_uid": identity.series, "study_uid": identity.study}
    row = connection.execute(_BY_IDENTITY, uids).first()
    return None if row is None else instance(row)


def by_uid(connection: sqlalchemy.Connection, sop_instance: str) -> list[tuple[model.Instance, model.Held]]:
    """Every instance of this SOP Instance UID, in whichever series, and how it stands with its bytes."""
    rows = connection.execute(_BY_UID, {"uid": sop_instance, "hash": words.uid_hash(sop_instance)})
    return [(instance(row), model.Held(row.state)) for row in rows]


_OF_LEVEL = {
    level: _INSTANCE.where(
        column == sqlalchemy.bindparam("row"), tables.instance.c.state == model.Held.HELD
    ).limit(1)
    for level, column in {
        model.Level.PATIENT: tables.study.c.patient_key,
        model.Level.STUDY: tables.series.c.study_key,
        model.Level.SERIES: tables.instance.c.series_key,
        model.Level.IMAGE: tables.instance.c.key,
    }.items()
}


def sample(connection: sqlalchemy.Connection, level: model.Level, key: int) -> model.Instance | None:
    """Some instance below a row of a level, whose header speaks for the rest; None when all are damaged."""
    row = connection.execute(_OF_LEVEL[level], {"row": key}).first()
    return None if row is None else instance(row)


def instance(row: Any) -> model.Instance:
    """The word for a row of `_INSTANCE`'s columns."""
    return model.Instance(
        identity=model.Identity(row.sop_class, row.sop_instance, row.study, row.series),
        syntax=row.syntax,
        digest=row.digest,
        path=row.path,
        offset=row.offset,
        size=row.size,
        frames=row.frames,
        received=words.when(row.received),
        source=row.source,
        coercion=row.coercion,
    )


def each(
    connection: sqlalchemy.Connection, after: int = 0, limit: int = 1000
) -> list[tuple[int, model.Instance, model.Held]]:
    """Instances by their keys, page by page: for the scrub and whoever must see all of them."""
    key = tables.instance.c.key
    rows = connection.execute(_INSTANCE.where(key > after).order_by(key).limit(limit))
    return [(row.key, instance(row), model.Held(row.state)) for row in rows]


def coercions(connection: sqlalchemy.Connection) -> list[str]:
    """Digests of all steps through which instances are presented; looks at every instance."""
    column = tables.instance.c.coercion
    return list(connection.execute(sqlalchemy.select(column).where(column != "").distinct()).scalars())


def mark(connection: sqlalchemy.Connection, key: int, state: model.Held) -> None:
    """Write down how it stands with the bytes of an instance."""
    connection.execute(
        sqlalchemy.update(tables.instance).where(tables.instance.c.key == key).values(state=state.value)
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Totals:
    """How much is held, from the counters of the patients."""

    patients: int
    studies: int
    series: int
    instances: int
    bytes: int


def totals(connection: sqlalchemy.Connection) -> Totals:
    """How much is held."""
    columns = tables.patient.c
    row = connection.execute(
        sqlalchemy.select(
            sqlalchemy.func.count(),
            *(
                sqlalchemy.func.coalesce(sqlalchemy.func.sum(column), 0)
                for column in (columns.studies, columns.series, columns.instances, columns.bytes)
            ),
        )
    ).one()
    return Totals(*map(int, row))
