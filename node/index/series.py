"""What completeness wants to know of a series, and what it found: counts, times, revisions."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence

import sqlalchemy
from sqlalchemy import bindparam

from node.index import tables, words

_series = tables.series.c


@dataclasses.dataclass(frozen=True, slots=True)
class Facts:
    """How a series stands; a value of the moment it was read."""

    key: int  # its row
    study: str  # Study Instance UID
    series: str  # Series Instance UID
    modality: str | None  # as its first instance says
    source: str  # AE title that sent its first instance
    peer: str  # configured name of that sender
    instances: int  # how many are held
    expected: int | None  # Images in Acquisition, where the modality says it
    first_arrival: datetime.datetime  # when the first instance came
    last_arrival: datetime.datetime  # when the last one came
    revision: int  # how often it was settled
    settled_instances: int  # how many it had then; fewer than `instances`: some came late

    @property
    def settled(self) -> bool:
        """Whether nothing changed since it was settled."""
        return self.revision > 0 and self.settled_instances == self.instances


_FACTS = sqlalchemy.select(
    _series.key,
    tables.study.c.study.label("study"),
    _series.series.label("series"),
    _series.modality,
    _series.source,
    _series.peer,
    _series.instances,
    _series.images_in_acquisition,
    _series.first_arrival,
    _series.last_arrival,
    _series.revision,
    _series.settled_instances,
).join(tables.study, tables.study.c.key == _series.study_key)
_ONE = _FACTS.where(_series.series == bindparam("series_uid"), tables.study.c.study == bindparam("study_uid"))
_EACH = _FACTS.where(_series.key.in_(bindparam("keys", expanding=True))).order_by(_series.key)
_CHUNK = 500  # keys in one statement


def each(connection: sqlalchemy.Connection, keys: Sequence[int]) -> list[Facts]:
    """How these series stand, in the order of their keys; without those that are held no more."""
    found: list[Facts] = []
    for start in range(0, len(keys), _CHUNK):
        found += map(_facts, connection.execute(_EACH, {"keys": list(keys[start : start + _CHUNK])}))
    return found


def facts(connection: sqlalchemy.Connection, study: str, series: str) -> Facts | None:
    """How one series stands; nothing when it is not held."""
    row = connection.execute(_ONE, {"series_uid": series, "study_uid": study}).one_or_none()
    return None if row is None else _facts(row)


def settle(connection: sqlalchemy.Connection, seen: Facts, now: datetime.datetime) -> int | None:
    """Make the next revision of a series as it was `seen`; nothing when more came meanwhile."""
    changed = connection.execute(
        sqlalchemy.update(tables.series)
        .where(
            _series.key == seen.key,
            _series.instances == seen.instances,
            _series.revision == seen.revision,
            _series.last_arrival == words.moment(seen.last_arrival),
        )
        .values(revision=seen.revision + 1, settled_instances=seen.instances, settled_at=words.moment(now))
    )
    return seen.revision + 1 if changed.rowcount else None


def _facts(row: sqlalchemy.Row[*tuple[object, ...]]) -> Facts:
    values = row._asdict()
    values["expected"] = values.pop("images_in_acquisition")
    values["first_arrival"] = words.when(values["first_arrival"])
    values["last_arrival"] = words.when(values["last_arrival"])
    return Facts(**values)
