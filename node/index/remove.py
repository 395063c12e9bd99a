"""Taking things out of the index, always with a row that says who, when and why.

With a witness, the ledger says so before the rows are committed, and a rebuild does not bring them back.
Rows go first, files after: what a crash leaves behind is on the list of `doomed` until `files_removed`
crosses it off.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy
from sqlalchemy import bindparam, func

from node.files import ledger
from node.index import keys, tables, words
from node.index import ledger as owed
from node.index import witness as witnesses

_CHUNK = 500  # keys in one statement

_instance = tables.instance.c
_series = tables.series.c
_study = tables.study.c
_patient = tables.patient.c


@dataclasses.dataclass(frozen=True, slots=True)
class Removed:
    """What was taken out; its file is still there."""

    deletion: int  # key of the audit row
    kind: str  # "instance", "conflict" or "quarantine"
    study: str  # Study Instance UID
    series: str  # Series Instance UID
    sop_instance: str  # SOP Instance UID
    digest: str  # of the data set
    size: int  # of the data set
    path: str  # its file, below the store's root
    at: str  # when, as `words.moment` writes it
    who: str  # a person, or the job that did it
    why: str  # in words


@dataclasses.dataclass(frozen=True, slots=True)
class Doomed:
    """A file that nothing refers to any more, or that something refers to again."""

    deletion: int  # key of the audit row
    kind: str  # the table it was in
    path: str  # below the store's root
    reused: bool  # the same instance came again since and has this very place: do not unlink


_SELECT_INSTANCES = (
    sqlalchemy.select(
        _instance.key,
        _instance.series_key,
        _study.study.label("study"),
        _series.series.label("series"),
        _instance.sop_instance,
        _instance.digest,
        _instance.size,
        _instance.path,
    )
    .join(tables.series, _series.key == _instance.series_key)
    .join(tables.study, _study.key == _series.study_key)
    .where(_instance.key.in_(bindparam("keys", expanding=True)))
    .order_by(_instance.key)
)


def instances(
    connection: sqlalchemy.Connection,
    chosen: Sequence[int],
    *,
    who: str,
    why: str,
    now: datetime.datetime,
    witness: witnesses.Witness | None = None,
) -> list[Removed]:
    """Take instances out by their keys, with the series, studies and patients that become empty."""
    keys.lock(connection)
    removed: list[Removed] = []
    touched: set[int] = set()
    for chunk in _chunks(chosen):
        rows = connection.execute(_SELECT_INSTANCES, {"keys": chunk}).mappings().all()
        removed += _audited(connection, "instance", rows, who, why, now)
        touched.update(row["series_key"] for row in rows)
        for table, column in (
            (tables.reference, tables.reference.c.instance_key),
            (tables.image_override, tables.image_override.c.instance_key),
            (tables.instance, _instance.key),
        ):
            connection.execute(sqlalchemy.delete(table).where(column.in_(chunk)))
    given = _given(connection, touched) if witness is not None else {}
    recount(connection, sorted(touched))
    if witness is not None:
        for study, series in _emptied(connection, given):
            witness.given(ledger.RESET, study=study, series=series, at=words.moment(now))
    # What a destination has not got by now it cannot get any more.
    owed.removed(connection, chosen, f"removed by {who}: {why}", now, witness=witness)
    if witness is not None:
        witness.removing(removed)
    return removed


def _given(connection: sqlalchemy.Connection, series_keys: set[int]) -> dict[int, tuple[str, str]]:
    """Study and series UID of those series that have a name or an order of their own, or an image has."""
    found: dict[int, tuple[str, str]] = {}
    for chunk in _chunks(sorted(series_keys)):
        for table in (tables.series_override, tables.image_override):
            statement = (
                sqlalchemy.select(_series.key, _study.study, _series.series)
                .join(tables.study, _study.key == _series.study_key)
                .where(
                    _series.key.in_(chunk),
                    _series.key.in_(
                        sqlalchemy.select(table.c.series_key).where(table.c.series_key.in_(chunk))
                    ),
                )
            )
            found |= {key: (study, series) for key, study, series in connection.execute(statement)}
    return found


def _emptied(connection: sqlalchemy.Connection, given: dict[int, tuple[str, str]]) -> list[tuple[str, str]]:
    left: set[int] = set()
    for chunk in _chunks(sorted(given)):
        left |= set(
            connection.execute(sqlalchemy.select(_series.key).where(_series.key.in_(chunk))).scalars()
        )
    return [names for key, names in given.items() if key not in left]


def aside(
    connection: sqlalchemy.Connection,
    kind: str,
    chosen: Sequence[int],
    *,
    who: str,
    why: str,
    now: datetime.datetime,
    witness: witnesses.Witness | None = None,
) -> list[Removed]:
    """Take rows out of "conflict" or "quarantine" by their keys."""
    keys.lock(connection)
    table = {"conflict": tables.conflict, "quarantine": tables.quarantine}[kind]
    removed: list[Removed] = []
    for chunk in _chunks(chosen):
        rows = connection.execute(sqlalchemy.select(table).where(table.c.key.in_(chunk))).mappings().all()
        removed += _audited(connection, kind, rows, who, why, now)
        connection.execute(sqlalchemy.delete(table).where(table.c.key.in_(chunk)))
    if witness is not None:
        witness.removing(removed)
    return removed


def _audited(
    connection: sqlalchemy.Connection,
    kind: str,
    rows: Sequence[sqlalchemy.RowMapping],
    who: str,
    why: str,
    now: datetime.datetime,
) -> list[Removed]:
    if not rows:
        return []
    first = keys.take(connection, "deletion", len(rows))
    at = words.moment(now)
    removed = [
        Removed(
            deletion=first + number,
            kind=kind,
            study=row["study"],
            series=row["series"],
            sop_instance=row["sop_instance"],
            digest=row["digest"],
            size=row["size"],
            path=row["path"],
            at=at,
            who=who,
            why=why,
        )
        for number, row in enumerate(rows)
    ]
    connection.execute(
        sqlalchemy.insert(tables.deletion),
        [
            {
                "key": one.deletion,
                "at": at,
                "who": who,
                "why": why,
                "kind": kind,
                "target": row["key"],
                "study": one.study,
                "series": one.series,
                "sop_instance": one.sop_instance,
                "digest": one.digest,
                "size": one.size,
                "path": one.path,
                "file_removed": False,
            }
            for one, row in zip(removed, rows, strict=True)
        ],
    )
    return removed


def doomed(connection: sqlalchemy.Connection, limit: int = 1000) -> list[Doomed]:
    """Files to unlink, oldest first; unlink them inside the same `database.write()` scope.

    Only there nobody can put a file in the same place at the same time.
    """
    keys.lock(connection)
    gone = tables.deletion.c
    statement = (
        sqlalchemy.select(gone.key, gone.kind, gone.path, gone.sop_instance)
        .where(sqlalchemy.text("NOT file_removed"))  # in the words of the index that holds just these
        .order_by(gone.key)
        .limit(limit)
    )
    found: list[Doomed] = []
    for row in connection.execute(statement).all():
        table = tables.metadata.tables[row.kind]
        same = [table.c.sop_instance == row.sop_instance, table.c.path == row.path]
        if table is tables.instance:
            same.append(_instance.sop_hash == words.uid_hash(row.sop_instance))
        again = connection.execute(sqlalchemy.select(table.c.key).where(*same)).first()
        found.append(Doomed(row.key, row.kind, row.path, again is not None))
    return found


def awaited(connection: sqlalchemy.Connection, path: str) -> bool:
    """Whether a file is on the list of `doomed`."""
    gone = tables.deletion.c
    statement = sqlalchemy.select(gone.key).where(sqlalchemy.text("NOT file_removed"), gone.path == path)
    return connection.execute(statement).first() is not None


def files_removed(connection: sqlalchemy.Connection, deletions: Sequence[int]) -> None:
    """Cross files off the list of `doomed`."""
    for chunk in _chunks(deletions):
        connection.execute(
            sqlalchemy.update(tables.deletion)
            .where(tables.deletion.c.key.in_(chunk))
            .values(file_removed=True)
        )


def recount(
    connection: sqlalchemy.Connection, series_keys: Sequence[int], patient_keys: Sequence[int] = ()
) -> None:
    """Make the counters of these series and what is above them say what is there; drop what is empty."""
    studies: set[int] = set()
    patients: set[int] = set(patient_keys)
    for key in series_keys:
        studies |= _recount_series(connection, key)
    for key in sorted(studies):
        patients |= _recount_study(connection, key)
    for key in sorted(patients):
        _recount_patient(connection, key)


def _recount_series(connection: sqlalchemy.Connection, key: int) -> set[int]:
    above = connection.execute(sqlalchemy.select(_series.study_key).where(_series.key == key)).scalar()
    if above is None:
        return set()
    totals = (
        connection.execute(
            sqlalchemy.select(
                func.count().label("instances"),
                func.sum(_instance.frames).label("frames"),
                func.sum(_instance.size).label("bytes"),
                func.min(_instance.received).label("first_arrival"),
                func.max(_instance.received).label("last_arrival"),
            ).where(_instance.series_key == key)
        )
        .mappings()
        .one()
    )
    if totals["instances"] == 0:
        for table in (tables.series_request, tables.series_override, tables.image_override):
            connection.execute(sqlalchemy.delete(table).where(table.c.series_key == key))
        connection.execute(sqlalchemy.delete(tables.series).where(_series.key == key))
        return {above}
    classes = connection.execute(
        sqlalchemy.select(_instance.sop_class).where(_instance.series_key == key).distinct()
    ).scalars()
    values = _whole(totals) | {"sop_classes": "\\".join(sorted(classes))}
    connection.execute(sqlalchemy.update(tables.series).where(_series.key == key).values(values))
    return {above}


def _recount_study(connection: sqlalchemy.Connection, key: int) -> set[int]:
    above = connection.execute(sqlalchemy.select(_study.patient_key).where(_study.key == key)).scalar_one()
    below = (
        connection.execute(
            sqlalchemy.select(
                _series.modality,
                _series.sop_classes,
                _series.instances,
                _series.bytes,
                _series.first_arrival,
                _series.last_arrival,
            ).where(_series.study_key == key)
        )
        .mappings()
        .all()
    )
    if not below:
        connection.execute(sqlalchemy.delete(tables.study).where(_study.key == key))
        return {above}
    classes = {uid for row in below for uid in words.split(row["sop_classes"])}
    values: dict[str, Any] = {
        "series": len(below),
        "instances": sum(row["instances"] for row in below),
        "bytes": sum(row["bytes"] for row in below),
        "first_arrival": min(row["first_arrival"] for row in below),
        "last_arrival": max(row["last_arrival"] for row in below),
        "modalities": "\\".join(sorted({row["modality"] for row in below if row["modality"]})),
        "sop_classes": "\\".join(sorted(classes)),
    }
    connection.execute(sqlalchemy.update(tables.study).where(_study.key == key).values(values))
    return {above}


def _recount_patient(connection: sqlalchemy.Connection, key: int) -> None:
    totals = (
        connection.execute(
            sqlalchemy.select(
                func.count().label("studies"),
                func.sum(_study.series).label("series"),
                func.sum(_study.instances).label("instances"),
                func.sum(_study.bytes).label("bytes"),
                func.min(_study.first_arrival).label("first_arrival"),
                func.max(_study.last_arrival).label("last_arrival"),
            ).where(_study.patient_key == key)
        )
        .mappings()
        .one()
    )
    if totals["studies"] == 0:
        connection.execute(sqlalchemy.delete(tables.patient).where(_patient.key == key))
        return
    connection.execute(sqlalchemy.update(tables.patient).where(_patient.key == key).values(_whole(totals)))


def _whole(totals: sqlalchemy.RowMapping) -> dict[str, Any]:
    # PostgreSQL sums into NUMERIC, which comes back as Decimal.
    return {name: value if isinstance(value, str) else int(value) for name, value in totals.items()}


def _chunks(chosen: Sequence[int]) -> Iterator[list[int]]:
    for start in range(0, len(chosen), _CHUNK):
        yield list(chosen[start : start + _CHUNK])
