"""What the router asks and writes: what is not settled yet, what settled it, and which routes it took."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy

from node import model, orders
from node.dicom import gaps
from node.files import ledger
from node.index import keys, lookup, progress, series, tables, witness, words

JOB = "router"  # under which its place is kept: the key of the last instance that it has seen
MOST_SLICES = 20_000  # instances of one series whose geometry is looked at
_CHUNK = 500  # values in one IN

_series, _study, _instance = tables.series.c, tables.study.c, tables.instance.c
_settlement, _decision = tables.settlement.c, tables.decision.c


# -- what came --------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Fresh:
    """A series that got new instances."""

    key: int  # its row
    instances: int  # how many are new
    last: int  # key of the newest


_LAST = sqlalchemy.select(sqlalchemy.func.coalesce(sqlalchemy.func.max(_instance.key), 0))
# The sum of it and nothing: by the bare column SQLite would group along an index of all instances there are.
_OF_FRESH = (_instance.series_key + sqlalchemy.literal_column("0")).label("series_key")
_FRESH = (
    sqlalchemy.select(_OF_FRESH, sqlalchemy.func.count(), sqlalchemy.func.max(_instance.key))
    .where(_instance.key > sqlalchemy.bindparam("after"))
    .group_by(_OF_FRESH)
    .order_by(sqlalchemy.func.max(_instance.key))
)


def fresh(connection: sqlalchemy.Connection, after: int) -> list[Fresh]:
    """The series that got instances with a key above `after`, the one that got the newest last."""
    if last(connection) <= after:
        return []
    return [Fresh(*row) for row in connection.execute(_FRESH, {"after": after})]


def last(connection: sqlalchemy.Connection) -> int:
    """The key of the newest instance."""
    found: int = connection.execute(_LAST).scalar_one()
    return found


def place(connection: sqlalchemy.Connection) -> int:
    """The key of the last instance that a router has seen."""
    saved = progress.load(connection, JOB)
    if saved is not None:
        return int(saved)
    # The index was made anew: what is not settled is looked at again, and what is owed or done stays so.
    oldest = sqlalchemy.select(sqlalchemy.func.min(_instance.key)).where(
        _instance.series_key.in_(sqlalchemy.select(_series.key).where(_series.revision == 0))
    )
    first = connection.execute(oldest).scalar_one()
    return last(connection) if first is None else int(first) - 1


def move(connection: sqlalchemy.Connection, to: int, now: datetime.datetime) -> None:
    """A router has seen everything up to there; it does not go back."""
    if to > place(connection) or progress.load(connection, JOB) is None:
        progress.save(connection, JOB, str(to), now)


def unsettled(connection: sqlalchemy.Connection) -> list[int]:
    """Keys of all series that were never settled, or that got instances since; looks at every series."""
    statement = (
        sqlalchemy.select(_series.key)
        .where(sqlalchemy.or_(_series.revision == 0, _series.settled_instances < _series.instances))
        .order_by(_series.key)
    )
    return list(connection.execute(statement).scalars())


_INSTANCES = (
    sqlalchemy.select(_instance.key, _instance.sop_instance)
    .where(_instance.series_key == sqlalchemy.bindparam("series_key"))
    .order_by(_instance.key)
)


def instances(connection: sqlalchemy.Connection, series_key: int) -> list[tuple[int, str]]:
    """Every instance of a series: its key and SOP Instance UID, in the order in which they came."""
    return [(key, uid) for key, uid in connection.execute(_INSTANCES, {"series_key": series_key})]


_FIRST = sqlalchemy.select(_instance.key).where(
    _instance.series_key == sqlalchemy.bindparam("series_key"), _instance.state == model.Held.HELD.value
)


def first(connection: sqlalchemy.Connection, series_key: int, most: int) -> list[model.Instance]:
    """The instances of a series that came first and are whole."""
    found = connection.execute(
        _FIRST.order_by(_instance.key).limit(most), {"series_key": series_key}
    ).scalars()
    held = [lookup.sample(connection, model.Level.IMAGE, key) for key in found]
    return [one for one in held if one is not None]


def owed_or_done(
    connection: sqlalchemy.Connection, instance_keys: Sequence[int], destinations: Sequence[str]
) -> set[int]:
    """Which of these instances one of the destinations has, or is owed."""
    found: set[int] = set()
    delivery = tables.delivery.c
    states = [orders.State.DUE, orders.State.HELD, orders.State.DONE]
    for start in range(0, len(instance_keys), _CHUNK):
        statement = sqlalchemy.select(delivery.instance_key).where(
            delivery.instance_key.in_(instance_keys[start : start + _CHUNK]),
            delivery.destination.in_(destinations),
            delivery.state.in_([state.value for state in states]),
        )
        found.update(connection.execute(statement).scalars())
    return found


_SLICES = (
    sqlalchemy.select(
        _instance.image_position,
        _instance.image_orientation,
        _instance.instance_number,
        _instance.echo_time,
        _instance.temporal_position,
        _instance.image_type,
        _instance.frames,
        _instance.acquisition_number,
    )
    .where(_instance.series_key == sqlalchemy.bindparam("series_key"))
    .limit(MOST_SLICES + 1)
)


def geometry(connection: sqlalchemy.Connection, series_key: int) -> tuple[gaps.Geometry, int]:
    """The gaps between a series' slices, and how many acquisitions it has."""
    rows = connection.execute(_SLICES, {"series_key": series_key}).all()
    acquisitions = len({row.acquisition_number for row in rows})
    if len(rows) > MOST_SLICES:
        return gaps.Geometry(), acquisitions
    slices = (
        gaps.Slice(
            words.floats(row.image_position),
            words.floats(row.image_orientation),
            row.instance_number,
            row.echo_time,
            row.temporal_position,
            words.split(row.image_type),
            row.frames,
        )
        for row in rows
    )
    return gaps.find(slices), acquisitions


# -- settling ---------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Settlement:
    """A series or study that was settled."""

    level: orders.When  # SERIES or STUDY
    study: str  # Study Instance UID
    series: str  # Series Instance UID; "" for a study
    revision: int  # 1 is the first time
    verdict: orders.Completeness  # what it was judged to be
    instances: int  # held then
    signals: Mapping[str, Any]  # what was known, and what it said


def settled(
    connection: sqlalchemy.Connection,
    seen: Settlement,
    now: datetime.datetime,
    ledgers: witness.Witness | None = None,
) -> None:
    """Write down what something was settled as; its revision is there once."""
    row = {
        "level": seen.level.value,
        "study": seen.study,
        "series": seen.series,
        "revision": seen.revision,
        "at": words.moment(now),
        "verdict": seen.verdict.value,
        "instances": seen.instances,
        "signals": _json(seen.signals),
    }
    if ledgers is not None:
        ledgers.noted(ledger.SETTLED, **row)
    key = keys.take(connection, "settlement")
    connection.execute(sqlalchemy.insert(tables.settlement).values(key=key, **row))


_SIGNALS = (
    sqlalchemy.select(_settlement.signals)
    .where(
        _settlement.study == sqlalchemy.bindparam("study_uid"),
        _settlement.series == sqlalchemy.bindparam("series_uid"),
    )
    .order_by(_settlement.revision.desc())
    .limit(1)
)


_NAMED = (
    sqlalchemy.select(_instance.key)
    .join(tables.series, _series.key == _instance.series_key)
    .join(tables.study, _study.key == _series.study_key)
    .where(
        _study.study == sqlalchemy.bindparam("study_uid"),
        _series.series == sqlalchemy.bindparam("series_uid"),
        _instance.sop_instance == sqlalchemy.bindparam("uid"),
    )
)


def last_settled(connection: sqlalchemy.Connection, study: str, series: str) -> tuple[int, int] | None:
    """What a series had when it was settled last; None: nobody wrote it down, it was there before routes.

    The key of its newest instance (0: that is gone), and how many of its oldest are sent nowhere for having
    been there before. It stands there by its UID: a rebuild gives other keys.
    """
    names = {"study_uid": study, "series_uid": series}
    text = connection.execute(_SIGNALS, names).scalar_one_or_none()
    if text is None:
        return None
    signals = json.loads(text)
    key = connection.execute(_NAMED, names | {"uid": signals.get("newest", "")}).scalar_one_or_none()
    return key or 0, int(signals.get("before", 0))


_LAST_OF_STUDY = (
    sqlalchemy.select(_settlement.revision, _settlement.instances)
    .where(
        _settlement.study == sqlalchemy.bindparam("study_uid"),
        _settlement.series == "",
    )
    .order_by(_settlement.revision.desc())
    .limit(1)
)


def of_study(connection: sqlalchemy.Connection, study: str) -> tuple[int, int]:
    """How often a study was settled, and how many instances it had the last time."""
    row = connection.execute(_LAST_OF_STUDY, {"study_uid": study}).first()
    return (0, 0) if row is None else (row.revision, row.instances)


_VERDICTS = (
    sqlalchemy.select(_settlement.series, _settlement.verdict)
    .where(_settlement.study == sqlalchemy.bindparam("study_uid"), _settlement.series != "")
    .order_by(_settlement.revision)
)


def verdicts(connection: sqlalchemy.Connection, study: str) -> dict[str, orders.Completeness]:
    """What each series of a study was judged to be the last time it was settled."""
    rows = connection.execute(_VERDICTS, {"study_uid": study})
    return {uid: orders.Completeness(verdict) for uid, verdict in rows}


_NEWEST = {
    True: sqlalchemy.select(sqlalchemy.func.coalesce(sqlalchemy.func.max(_settlement.key), 0)).where(
        _settlement.study == sqlalchemy.bindparam("study_uid"), _settlement.series != ""
    ),
    False: sqlalchemy.select(sqlalchemy.func.coalesce(sqlalchemy.func.max(_settlement.key), 0)).where(
        _settlement.study == sqlalchemy.bindparam("study_uid"), _settlement.series == ""
    ),
}


def behind(connection: sqlalchemy.Connection, study: str) -> bool:
    """Whether a series of the study was settled after the study was."""
    of_series, of_study = (
        connection.execute(_NEWEST[which], {"study_uid": study}).scalar_one() for which in (True, False)
    )
    return bool(of_series > of_study)


def studies_behind(connection: sqlalchemy.Connection) -> list[str]:
    """Studies of which a series was settled after the study was; looks at every settlement."""
    of_series = sqlalchemy.func.max(sqlalchemy.case((_settlement.series != "", _settlement.key), else_=0))
    of_study = sqlalchemy.func.max(sqlalchemy.case((_settlement.series == "", _settlement.key), else_=0))
    statement = sqlalchemy.select(_settlement.study).group_by(_settlement.study).having(of_series > of_study)
    return list(connection.execute(statement).scalars())


_OF_STUDY = (
    sqlalchemy.select(_series.key)
    .join(tables.study, _study.key == _series.study_key)
    .where(_study.study == sqlalchemy.bindparam("study_uid"))
    .order_by(_series.key)
)


def series_of(connection: sqlalchemy.Connection, study: str) -> list[series.Facts]:
    """Every series of a study, as it stands."""
    return series.each(connection, list(connection.execute(_OF_STUDY, {"study_uid": study}).scalars()))


# -- decisions --------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Decision:
    """What one route made of a series, or of the instances of it that were sent on as they came."""

    study: str  # Study Instance UID
    series: str  # Series Instance UID
    revision: int  # of the series; 0: sent on as it came
    route: str  # "default" when none matched; "" when nothing is to happen
    matched: Mapping[str, Sequence[str]]  # the values on which it matched
    destinations: tuple[str, ...] = ()  # names, groups by the member that was chosen
    discard: str = ""  # the reason for which nothing is sent


HELD_FOR = "the route wants "  # how the reason begins for which a route, and no person, holds something


def held_by_route(connection: sqlalchemy.Connection, series: str, route: str) -> list[int]:
    """Keys of a series' consignments that a route holds until all of it is there."""
    consignment = tables.consignment.c
    statement = sqlalchemy.select(consignment.key).where(
        consignment.series == series,
        consignment.route == route,
        consignment.state == orders.State.HELD.value,
        consignment.error.startswith(HELD_FOR, autoescape=True),
    )
    return list(connection.execute(statement).scalars())


_KNOWN = sqlalchemy.select(_decision.key).where(
    _decision.study == sqlalchemy.bindparam("study_uid"),
    _decision.series == sqlalchemy.bindparam("series_uid"),
    _decision.revision == sqlalchemy.bindparam("which"),
    _decision.route == sqlalchemy.bindparam("route_name"),
)


def decide(
    connection: sqlalchemy.Connection,
    made: Sequence[Decision],
    now: datetime.datetime,
    ledgers: witness.Witness | None = None,
) -> list[Decision]:
    """Write decisions down, those that are not there yet; return which those are."""
    new = [one for one in made if connection.execute(_KNOWN, _names(one)).first() is None]
    if not new:
        return []
    rows = [
        {
            "study": one.study,
            "series": one.series,
            "revision": one.revision,
            "route": one.route,
            "at": words.moment(now),
            "matched": _json(one.matched),
            "destinations": "\\".join(one.destinations),
            "discard": words.clean(one.discard) or "",
        }
        for one in new
    ]
    if ledgers is not None:
        for row in rows:
            ledgers.noted(ledger.DECIDED, **row)
    first = keys.take(connection, "decision", len(rows))
    connection.execute(
        sqlalchemy.insert(tables.decision), [{"key": first + at, **row} for at, row in enumerate(rows)]
    )
    return new


def _names(one: Decision) -> dict[str, object]:
    return {
        "study_uid": one.study,
        "series_uid": one.series,
        "which": one.revision,
        "route_name": one.route,
    }


def _json(value: Any) -> str:
    # Not ASCII alone: a person reads it, and neither database takes a NUL in text.
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=list)
    return words.clean(text.replace("\\u0000", "")) or ""
