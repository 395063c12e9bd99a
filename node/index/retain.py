"""What retention may remove: by age, by size, by a rule's word; never what is still to be delivered."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy
from sqlalchemy import func

from node.index import ledger, remove, tables, words
from node.index import witness as witnesses

# Which of these series hold something that a destination has not got yet.
Undelivered = Callable[[sqlalchemy.Connection, Sequence[int]], set[int]]

_series = tables.series.c
_study = tables.study.c


@dataclasses.dataclass(frozen=True, slots=True)
class Candidate:
    """A series that may go."""

    key: int  # its row
    study: str  # Study Instance UID
    series: str  # Series Instance UID
    instances: int  # how many it has
    bytes: int  # of their data sets
    last_arrival: str  # when the last of them came
    why: str  # in words, for the audit row


_COLUMNS = (
    _series.key,
    _study.study.label("study"),
    _series.series.label("series"),
    _series.instances,
    _series.bytes,
    _series.last_arrival,
)


def by_age(
    connection: sqlalchemy.Connection,
    now: datetime.datetime,
    max_age: float | None,
    *,
    undelivered: Undelivered = ledger.undelivered,
    limit: int = 1000,
) -> list[Candidate]:
    """Series that a rule kept until now, and, oldest first, those that the default policy keeps no longer."""
    base = sqlalchemy.select(*_COLUMNS).join(tables.study, _study.key == _series.study_key)
    ruled = base.where(_series.expires < words.moment(now)).order_by(_series.expires).limit(limit)
    found = [_candidate(row, "the time that a rule keeps it is over") for row in connection.execute(ruled)]
    if max_age is not None:
        before = words.later(now, -max_age)
        aged = (
            base.where(_series.last_arrival < before, _series.expires.is_(None))
            .order_by(_series.last_arrival)
            .limit(limit)
        )
        why = f"nothing came for longer than {max_age:g} s, which the policy keeps"
        found += [_candidate(row, why) for row in connection.execute(aged)]
    return _deliverable(connection, found[:limit], undelivered)


def by_size(
    connection: sqlalchemy.Connection,
    now: datetime.datetime,
    max_size: int,
    *,
    undelivered: Undelivered = ledger.undelivered,
) -> list[Candidate]:
    """The series of the oldest studies, as many as bring the store below `max_size` bytes.

    A study goes whole or not at all; one with a series that a rule keeps for longer, or that is not
    delivered, is passed over.
    """
    excess = stored_bytes(connection) - max_size
    chosen: list[Candidate] = []
    oldest = sqlalchemy.select(_study.key, _study.bytes).order_by(_study.last_arrival)
    result = connection.execution_options(stream_results=True).execute(oldest)
    for key, size in result:
        if excess <= 0:
            break
        below = _whole_study(connection, key, now, max_size, undelivered)
        if below:
            chosen += below
            excess -= size
    result.close()
    return chosen


def _whole_study(
    connection: sqlalchemy.Connection,
    key: int,
    now: datetime.datetime,
    max_size: int,
    undelivered: Undelivered,
) -> list[Candidate]:
    statement = (
        sqlalchemy.select(*_COLUMNS, _series.expires)
        .join(tables.study, _study.key == _series.study_key)
        .where(_series.study_key == key)
    )
    rows = connection.execute(statement).all()
    if any(row.expires is not None and row.expires >= words.moment(now) for row in rows):
        return []
    why = f"the oldest study of a store that is over {max_size} bytes"
    found = [_candidate(row[:6], why) for row in rows]
    kept = _deliverable(connection, found, undelivered)
    return kept if len(kept) == len(found) else []


def _candidate(row: Any, why: str) -> Candidate:
    return Candidate(*[*row, why])


def _deliverable(
    connection: sqlalchemy.Connection, found: list[Candidate], undelivered: Undelivered
) -> list[Candidate]:
    owed = undelivered(connection, [one.key for one in found]) if found else set()
    return [one for one in found if one.key not in owed]


def stored_bytes(connection: sqlalchemy.Connection) -> int:
    """Bytes of all data sets in the store, from the patients' counters."""
    return int(connection.execute(sqlalchemy.select(func.sum(tables.patient.c.bytes))).scalar() or 0)


def drop(
    connection: sqlalchemy.Connection,
    candidate: Candidate,
    *,
    who: str,
    now: datetime.datetime,
    undelivered: Undelivered = ledger.undelivered,
    witness: witnesses.Witness | None = None,
) -> list[remove.Removed]:
    """Remove a candidate, in a write scope; nothing when it is not as it was chosen any more."""
    row = connection.execute(
        sqlalchemy.select(_series.instances, _series.last_arrival).where(_series.key == candidate.key)
    ).one_or_none()
    if row is None or tuple(row) != (candidate.instances, candidate.last_arrival):
        return []
    if undelivered(connection, [candidate.key]):
        return []
    chosen = connection.execute(
        sqlalchemy.select(tables.instance.c.key).where(tables.instance.c.series_key == candidate.key)
    ).scalars()
    return remove.instances(connection, list(chosen), who=who, why=candidate.why, now=now, witness=witness)
