"""What is below entities that a query found, series by series: for scheduled forwards and pulls."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import sqlalchemy
from sqlalchemy import bindparam

from node import model
from node.index import holdings, tables

_CHUNK = 500  # row keys in one statement

_study, _series, _instance = tables.study.c, tables.series.c, tables.instance.c


class Series(NamedTuple):
    """A series, or what of it was found."""

    study: str  # Study Instance UID
    series: str  # Series Instance UID
    revision: int  # how often it was settled
    instances: tuple[tuple[int, str], ...]  # row and SOP Instance UID of each


_BELOW = (
    sqlalchemy.select(
        _study.study, _series.series, _series.revision, _instance.key, _instance.sop_instance, _series.key
    )
    .join(tables.series, _series.key == _instance.series_key)
    .join(tables.study, _study.key == _series.study_key)
    .where(_instance.state == model.Held.HELD.value)
)
_ROW = {
    model.Level.PATIENT: _study.patient_key,
    model.Level.STUDY: _study.key,
    model.Level.SERIES: _series.key,
    model.Level.IMAGE: _instance.key,
}


def below(connection: sqlalchemy.Connection, level: model.Level, rows: Sequence[int]) -> Iterator[Series]:
    """What can be sent below these rows of a level, a series at a time."""
    statement = _BELOW.where(_ROW[level].in_(bindparam("rows", expanding=True))).order_by(
        _series.key, _instance.key
    )
    for start in range(0, len(rows), _CHUNK):
        found = connection.execute(statement, {"rows": list(rows[start : start + _CHUNK])})
        for _, several in itertools.groupby(found, key=lambda row: row[5]):
            ones = list(several)
            first = ones[0]
            yield Series(first[0], first[1], first[2], tuple((row[3], row[4]) for row in ones))


_COUNTS = {
    model.Level.STUDY: sqlalchemy.select(_study.instances).where(_study.study == bindparam("uid")),
    model.Level.SERIES: sqlalchemy.select(sqlalchemy.func.sum(_series.instances)).where(
        _series.series == bindparam("uid")
    ),
}


def count(connection: sqlalchemy.Connection, level: model.Level, uid: str) -> int:
    """How many instances of a study or series are held."""
    return connection.execute(_COUNTS[level], {"uid": uid}).scalar() or 0


def missing(connection: sqlalchemy.Connection, uids: Iterable[str]) -> list[str]:
    """Those of the SOP Instance UIDs that are neither held nor in quarantine."""
    wanted = list(uids)
    known = holdings.find(connection, wanted)
    return [uid for uid in wanted if uid not in known]
