"""What a retrieval is about: which instances, in which order, and page by page where their bytes lie.

The choice is made in one short read and kept as row keys, eight bytes for each. A reader that stayed open for
as long as a slow destination takes would keep the write-ahead log from being emptied.
"""

from __future__ import annotations

import array
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import sqlalchemy

from node import model
from node.index import tables, words

_CHUNK = 500  # row keys, or listed values, in one statement
_MOST_STUDIES = 100  # that are named; more are only counted

_patient, _study = tables.patient.c, tables.study.c
_series, _instance = tables.series.c, tables.instance.c

_COLUMNS = {
    "PatientID": _patient.patient_id,
    "StudyInstanceUID": _study.study,
    "SeriesInstanceUID": _series.series,
    "SOPInstanceUID": _instance.sop_instance,
}
_LISTED = tuple(reversed(_COLUMNS))  # the innermost list is the longest: it is asked for in chunks


class Lost(NamedTuple):
    """An instance that was asked for and cannot be sent."""

    sop_instance: str  # SOP Instance UID
    why: str  # one sentence


class Row(NamedTuple):
    """What it takes to send one instance."""

    key: int  # row of the instance
    sop_class: str  # SOP Class UID
    sop_instance: str  # SOP Instance UID
    syntax: str  # transfer syntax UID on disk
    path: str  # below the data directory
    offset: int  # where the data set starts in the file
    size: int  # length of the data set
    coercion: str  # digest of the steps through which it is presented; "": as it came
    received: str  # when it came, as `words.moment` writes it


@dataclasses.dataclass(frozen=True, slots=True)
class Chosen:
    """The instances that a retrieval is about."""

    keys: array.array[int]  # rows of those that can be sent, in order
    lost: tuple[Lost, ...]  # those that are held no more as they came
    kinds: tuple[tuple[str, str], ...]  # every SOP class with the transfer syntaxes that it is held in
    studies: tuple[str, ...]  # Study Instance UIDs, the first hundred of them


def choose(connection: sqlalchemy.Connection, query: model.Query) -> Chosen:
    """Every instance below what the query's unique keys name: by study, series number and instance number."""
    keys = array.array("q")
    lost: list[Lost] = []
    kinds: dict[Any, None] = {}
    studies: dict[int, None] = {}
    for conditions in _conditions(query):
        for row in connection.execution_options(yield_per=2000).execute(_CHOICE.where(*conditions)):
            key, kind, state, sop_instance, study = row[0], row[1:3], row[3], row[4], row[5]
            studies[study] = None
            if state == model.Held.HELD:
                keys.append(key)
                kinds[kind] = None
            else:
                lost.append(Lost(sop_instance, f"its file is {state}"))
    return Chosen(keys, tuple(lost), tuple(kinds), _named(connection, list(studies)[:_MOST_STUDIES]))


_CHOICE = (
    sqlalchemy.select(
        _instance.key,
        _instance.sop_class,
        _instance.syntax,
        _instance.state,
        _instance.sop_instance,
        _series.study_key,
    )
    .join(tables.series, _series.key == _instance.series_key)
    .join(tables.study, _study.key == _series.study_key)
    .join(tables.patient, _patient.key == _study.patient_key)
    .order_by(
        _study.key,
        _series.series_number.is_(None),
        _series.series_number,
        _series.key,
        _instance.instance_number.is_(None),
        _instance.instance_number,
        _instance.key,
    )
)


def _conditions(query: model.Query) -> Iterator[list[sqlalchemy.ColumnElement[bool]]]:
    """The conditions of each statement: the longest list that a query has is shared out over several."""
    listed = {
        keyword: list(dict.fromkeys(query.keys[keyword].split("\\")))
        for keyword in _LISTED
        if query.keys.get(keyword)
    }
    longest = max(listed, key=lambda keyword: len(listed[keyword]))
    for start in range(0, len(listed[longest]), _CHUNK):
        share = listed | {longest: listed[longest][start : start + _CHUNK]}
        conditions: list[sqlalchemy.ColumnElement[bool]] = [
            _COLUMNS[keyword].in_(values) for keyword, values in share.items()
        ]
        if "SOPInstanceUID" in share:
            conditions.append(
                _instance.sop_hash.in_([words.uid_hash(uid) for uid in share["SOPInstanceUID"]])
            )
        yield conditions


def _named(connection: sqlalchemy.Connection, keys: Sequence[int]) -> tuple[str, ...]:
    rows = connection.execute(
        sqlalchemy.select(_study.study).where(_study.key.in_(keys)).order_by(_study.key)
    )
    return tuple(rows.scalars())


_ROWS = sqlalchemy.select(
    _instance.key,
    _instance.sop_class,
    _instance.sop_instance,
    _instance.syntax,
    _instance.path,
    _instance.offset,
    _instance.size,
    _instance.coercion,
    _instance.received,
).where(_instance.key.in_(sqlalchemy.bindparam("keys", expanding=True)))


def page(connection: sqlalchemy.Connection, keys: Sequence[int]) -> tuple[list[Row], dict[int, Lost]]:
    """The rows of some instances, in the order of their keys as given; by key, those that have gone since."""
    found = {row[0]: row for row in connection.execute(_ROWS, {"keys": list(keys)})}
    gone = [key for key in keys if key not in found]
    rows = [Row._make(found[key]) for key in keys if key in found]
    return rows, _removed(connection, gone) if gone else {}


def pages(keys: array.array[int]) -> Iterator[list[int]]:
    """The keys in shares of one page each."""
    for start in range(0, len(keys), _CHUNK):
        yield keys[start : start + _CHUNK].tolist()


def _removed(connection: sqlalchemy.Connection, keys: Sequence[int]) -> dict[int, Lost]:
    """What somebody removed between the choice and its turn; the audit trail knows its name."""
    columns = tables.deletion.c
    statement = sqlalchemy.select(columns.target, columns.sop_instance).where(
        columns.kind == "instance", columns.target.in_(keys)
    )
    names = {row.target: row.sop_instance for row in connection.execute(statement)}
    return {key: Lost(names.get(key, ""), "it was removed a moment ago") for key in keys}
