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
    at: datetime.datetime  # when it was decided
    taken: tuple[Taken, ...]  # in the order in which it was decided; none: no route said anything then
    verdict: orders.Completeness | None  # as which it had settled; None: it had not
    instances: int | None  # how many there were then
    first: bool  # whether nothing was decided of the series before
    whole: bool  # whether its study has settled


# Two streams: what was sent on as it came, which no settlement tells of, and what settled, of which there
# may be no decision.
_AS_IT_CAME = sqlalchemy.and_(_decision.revision == 0, _decision.at >= sqlalchemy.bindparam("since"))
_SERIES = sqlalchemy.and_(_settlement.series != "", _settlement.at >= sqlalchemy.bindparam("since"))
_PAGES = tuple(
    sqlalchemy.select(table.c.key, table.c.study, table.c.series, table.c.revision)
    .where(table.c.key > sqlalchemy.bindparam("after"), which)
    .order_by(table.c.key)
    .limit(_PAGE)
    for table, which in ((tables.decision, _AS_IT_CAME), (tables.settlement, _SERIES))
)
_COUNTS = tuple(
    sqlalchemy.select(sqlalchemy.func.count()).select_from(table).where(which)
    for table, which in ((tables.decision, _AS_IT_CAME), (tables.settlement, _SERIES))
)
_DECISIONS = (
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
        _decision.revision.in_([0, sqlalchemy.bindparam("which")]),
    )
    .order_by(_decision.key)
)
_SETTLEMENTS = sqlalchemy.select(
    _settlement.series, _settlement.revision, _settlement.at, _settlement.verdict, _settlement.instances
).where(
    _settlement.study == sqlalchemy.bindparam("study_uid"),
    _settlement.series.in_(["", sqlalchemy.bindparam("series_uid")]),
)


def count(database: db.Database, since: datetime.datetime) -> int:
    """How much was decided since then, as `each` counts it."""
    with database.read() as connection:
        return sum(
            int(connection.execute(counted, {"since": words.moment(since)}).scalar_one())
            for counted in _COUNTS
        )


def each(database: db.Database, since: datetime.datetime) -> Iterator[Decided | None]:
    """What was decided for each revision of a series; None for a row that belongs to one told before."""
    for page in _PAGES:
        after = 0
        while True:
            with database.read() as connection:
                rows = connection.execute(page, {"after": after, "since": words.moment(since)}).all()
                found = [_decided(connection, *row) for row in rows]
            yield from found
            if len(rows) < _PAGE:
                break
            after = rows[-1].key


def _decided(
    connection: sqlalchemy.Connection, key: int, study: str, series: str, revision: int
) -> Decided | None:
    """What was decided of a revision; None for a further row of what was sent on as it came."""
    named = {"study_uid": study, "series_uid": series}
    taken = connection.execute(_DECISIONS, {**named, "which": revision}).all()
    own = [one for one in taken if one.revision == revision]
    if revision == 0 and own[0].key != key:
        return None
    settled = connection.execute(_SETTLEMENTS, named).all()
    how = next((one for one in settled if one.series and one.revision == revision), None)
    revisions = [one.revision for one in taken] + [one.revision for one in settled if one.series]
    return Decided(
        study,
        series,
        revision,
        words.when(own[0].at if how is None else how.at),
        tuple(
            Taken(one.route, tuple(one.destinations.split("\\")) if one.destinations else (), one.discard)
            for one in own
        ),
        None if how is None else orders.Completeness(how.verdict),
        None if how is None else how.instances,
        revision == min(revisions),
        any(not one.series for one in settled),
    )
