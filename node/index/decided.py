"""What was decided since a moment, for who asks what other routes would have made of it; reads only."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterator

import sqlalchemy

from node import orders
from node.index import db, tables, words

_PAGE = 200  # rows read at once; between two pages nothing is held open
_decision, _settlement = tables.decision.c, tables.settlement.c


@dataclasses.dataclass(frozen=True, slots=True)
class Taken:
    """A route that was taken."""

    route: str  # "default" when none matched; "" when nothing was to happen
    destinations: tuple[str, ...]  # of groups the member that was chosen
    discard: str  # the reason for which nothing was sent


@dataclasses.dataclass(frozen=True, slots=True)
class Decided:
    """Everything that was decided of one revision of a series."""

    study: str  # Study Instance UID
    series: str  # Series Instance UID
    revision: int  # of the series; 0: what was sent on as it came
    at: datetime.datetime  # when the first of it was decided
    taken: tuple[Taken, ...]  # in the order in which it was decided
    verdict: orders.Completeness | None  # as which it had settled; None: it had not
    instances: int | None  # how many there were then
    first: bool  # whether nothing was decided of the series before
    whole: bool  # whether its study has settled


_SINCE = (
    sqlalchemy.select(_decision.key, _decision.study, _decision.series, _decision.revision)
    .where(_decision.key > sqlalchemy.bindparam("after"), _decision.at >= sqlalchemy.bindparam("since"))
    .order_by(_decision.key)
    .limit(_PAGE)
)
_COUNT = (
    sqlalchemy.select(sqlalchemy.func.count())
    .select_from(tables.decision)
    .where(_decision.at >= sqlalchemy.bindparam("since"))
)
_TOGETHER = (
    sqlalchemy.select(
        _decision.key,
        _decision.revision,
        _decision.at,
        _decision.route,
        _decision.destinations,
        _decision.discard,
    )
    .where(
        _decision.study == sqlalchemy.bindparam("study_uid"),
        _decision.series == sqlalchemy.bindparam("series_uid"),
    )
    .order_by(_decision.key)
)
_SETTLED = sqlalchemy.select(_settlement.series, _settlement.verdict, _settlement.instances).where(
    _settlement.study == sqlalchemy.bindparam("study_uid"),
    sqlalchemy.or_(
        sqlalchemy.and_(
            _settlement.series == sqlalchemy.bindparam("series_uid"),
            _settlement.revision == sqlalchemy.bindparam("which"),
        ),
        _settlement.series == "",
    ),
)


def count(database: db.Database, since: datetime.datetime) -> int:
    """How many decisions were taken since then."""
    with database.read() as connection:
        return int(connection.execute(_COUNT, {"since": words.moment(since)}).scalar_one())


def each(database: db.Database, since: datetime.datetime) -> Iterator[tuple[int, Decided]]:
    """(decisions looked at, what was decided) for each revision of a series, in the order of time."""
    after, moment = 0, words.moment(since)
    while True:
        with database.read() as connection:
            rows = connection.execute(_SINCE, {"after": after, "since": moment}).all()
            found = [(1, _decided(connection, *row, moment)) for row in rows]
        advanced = 0
        for number, one in found:
            advanced += number
            if one is not None:
                yield advanced, one
                advanced = 0
        if len(rows) < _PAGE:
            return
        after = rows[-1].key


def _decided(
    connection: sqlalchemy.Connection, key: int, study: str, series: str, revision: int, since: str
) -> Decided | None:
    """What was decided of a revision, when this is the first row of it."""
    named = {"study_uid": study, "series_uid": series}
    of_series = connection.execute(_TOGETHER, named).all()
    rows = [row for row in of_series if row.revision == revision]
    if min(row.key for row in rows if row.at >= since) != key:
        return None
    settled = connection.execute(_SETTLED, {**named, "which": revision}).all()
    own = next((row for row in settled if row.series == series), None)
    return Decided(
        study,
        series,
        revision,
        words.when(rows[0].at),
        tuple(
            Taken(row.route, tuple(row.destinations.split("\\")) if row.destinations else (), row.discard)
            for row in rows
        ),
        None if own is None else orders.Completeness(own.verdict),
        None if own is None else own.instances,
        rows[0].key == of_series[0].key,
        any(row.series == "" for row in settled),
    )
