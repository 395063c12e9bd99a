"""Do two databases say the same? Their rows are compared by what they mean, without the keys between them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy

from node.index import db, tables

_MOST = 100  # differences of one table that are told; one more fault of the same kind helps nobody


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """A row that only one of two databases has."""

    table: str  # which table
    only_in: str  # "first" or "second"
    row: dict[str, Any]  # its columns, keys replaced by the UIDs behind them


# Columns that say where a row came to lie, or how far work got, and not what is held.
_LEFT_OUT = {
    "series": {"revision", "settled_instances", "settled_at"},
    "arrival": {"slot", "generation", "position", "target"},
    "deletion": {"target", "file_removed"},
    "consignment": {"due", "attempts", "crashes", "claim", "fence", "error", "changed"},
}


def compare(first: db.Database, second: db.Database, names: Sequence[str] | None = None) -> list[Difference]:
    """What differs between two databases in everything that a rebuild makes, or in the tables of `names`."""
    found: list[Difference] = []
    with first.read() as one, second.read() as two:
        for name in names if names is not None else REBUILT:
            found += _differences(name, one, two)
    return found


def _differences(name: str, one: sqlalchemy.Connection, two: sqlalchemy.Connection) -> list[Difference]:
    statement, columns = _rows(name)
    found: list[Difference] = []
    left, right = _ordered(one, statement), _ordered(two, statement)
    a, b = next(left, None), next(right, None)
    while (a is not None or b is not None) and len(found) < _MOST:
        if a == b:
            a, b = next(left, None), next(right, None)
        elif b is None or (a is not None and _sortable(a) < _sortable(b)):
            found.append(Difference(name, "first", dict(zip(columns, a or (), strict=True))))
            a = next(left, None)
        else:
            found.append(Difference(name, "second", dict(zip(columns, b, strict=True))))
            b = next(right, None)
    return found


def _sortable(row: tuple[Any, ...]) -> tuple[tuple[bool, Any], ...]:
    return tuple((value is not None, value if value is not None else 0) for value in row)


def _ordered(
    connection: sqlalchemy.Connection, statement: sqlalchemy.Executable
) -> Iterator[tuple[Any, ...]]:
    # Sorted by the database in byte order, nothing before something: the order of `_sortable`.
    for row in connection.execution_options(yield_per=1000).execute(statement):
        yield tuple(row)


def _rows(name: str) -> tuple[sqlalchemy.Select[*tuple[Any, ...]], list[str]]:
    table = tables.metadata.tables[name]
    left_out = _LEFT_OUT.get(name, set())
    own = [
        column
        for column in table.c
        if column.name not in left_out and not (column.name == "key" or column.name.endswith("_key"))
    ]
    meaning, joined = _meaning(table)
    chosen = [*meaning, *own]
    order = [sqlalchemy.nulls_first(column.asc()) for column in chosen]
    names = [*(f"of_{column.table.description}" for column in meaning), *(column.name for column in own)]
    return sqlalchemy.select(*chosen).select_from(joined).order_by(*order), names


def _meaning(table: sqlalchemy.Table) -> tuple[list[sqlalchemy.Column[Any]], sqlalchemy.FromClause]:
    """The names that stand for a row's keys, and the joins that lead to them."""
    patient, study, series, instance = tables.patient, tables.study, tables.series, tables.instance
    if table is study:
        return [patient.c.identity], study.outerjoin(patient, patient.c.key == study.c.patient_key)
    if table is series:
        return [study.c.study], series.outerjoin(study, study.c.key == series.c.study_key)
    above: list[sqlalchemy.Column[Any]] = [study.c.study, series.c.series]
    if table is instance:
        return above, instance.outerjoin(series, series.c.key == instance.c.series_key).outerjoin(
            study, study.c.key == series.c.study_key
        )
    if table in (tables.series_request, tables.series_override):
        return above, table.outerjoin(series, series.c.key == table.c.series_key).outerjoin(
            study, study.c.key == series.c.study_key
        )
    if table in (tables.reference, tables.image_override):
        joined = (
            table.outerjoin(instance, instance.c.key == table.c.instance_key)
            .outerjoin(series, series.c.key == instance.c.series_key)
            .outerjoin(study, study.c.key == series.c.study_key)
        )
        return [*above, instance.c.sop_instance], joined
    if table in (tables.delivery, tables.attempt):
        return _of_consignment(table)
    return [], table


def _of_consignment(table: sqlalchemy.Table) -> tuple[list[sqlalchemy.Column[Any]], sqlalchemy.FromClause]:
    delivery, consignment = tables.delivery, tables.consignment
    joined: sqlalchemy.FromClause = table
    above = [consignment.c[name] for name in ("study", "series", "route", "revision", "created")]
    if table is tables.attempt:
        joined = joined.outerjoin(delivery, delivery.c.key == table.c.delivery_key)
        above += [delivery.c.destination, delivery.c.sop_instance]
    return above, joined.outerjoin(consignment, consignment.c.key == delivery.c.consignment_key)


REBUILT = (
    "patient",
    "study",
    "series",
    "series_request",
    "instance",
    "conflict",
    "quarantine",
    "arrival",
    "deletion",
    "reference",
    "settlement",
    "decision",
    "consignment",
    "delivery",
    "attempt",
)
OVERRIDES = ("series_override", "image_override")  # made by people here; no file of the store carries them
