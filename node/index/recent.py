"""What happened lately, for the status page: a bounded look at the newest rows, however many there are."""

from __future__ import annotations

import collections
import datetime
from typing import NamedTuple

import sqlalchemy

from node import orders
from node.index import tables, words

_consignment, _settlement = tables.consignment.c, tables.settlement.c

_LOOK = 200  # of the newest consignments, those that ended last are shown
_SETTLED = 2000  # settlements that are counted at most


class Shown(NamedTuple):
    """A consignment in a line."""

    key: int  # its row
    destination: str  # where to
    series: str  # Series Instance UID
    route: str  # what decided it
    state: orders.State  # how it stands
    done: int  # instances that the destination has
    total: int  # instances in all
    changed: datetime.datetime  # when that was so
    error: str  # why it was given up or is held, in words


_COLUMNS = sqlalchemy.select(
    _consignment.key,
    _consignment.destination,
    _consignment.series,
    _consignment.route,
    _consignment.state,
    _consignment.done,
    _consignment.total,
    _consignment.changed,
    _consignment.error,
)
_ENDED = (
    _COLUMNS.where(_consignment.state.notin_([one.value for one in orders.OPEN]))
    .order_by(_consignment.key.desc())
    .limit(_LOOK)
)
# Said verbatim, or SQLite does not use the index of what is open.
_HELD = (
    _COLUMNS.where(sqlalchemy.text(tables.OPEN), _consignment.state == orders.State.HELD.value)
    # Not by key: the whole table would be gone through in its own order.
    .order_by(_consignment.created)
    .limit(sqlalchemy.bindparam("most"))
)
_SETTLEMENTS = (
    sqlalchemy.select(_settlement.level, _settlement.at, _settlement.verdict)
    .order_by(_settlement.key.desc())
    .limit(_SETTLED)
)


def ended(connection: sqlalchemy.Connection, most: int) -> list[Shown]:
    """What of the newest consignments ended last, newest first."""
    found = [_shown(row) for row in connection.execute(_ENDED)]
    return sorted(found, key=lambda one: one.changed, reverse=True)[:most]


def held(connection: sqlalchemy.Connection, most: int) -> list[Shown]:
    """What is held, oldest first."""
    return [_shown(row) for row in connection.execute(_HELD, {"most": most})]


def verdicts(
    connection: sqlalchemy.Connection, since: datetime.datetime
) -> tuple[collections.Counter[str], bool]:
    """How many series were settled since then, by verdict; whether there were more than were counted."""
    counts: collections.Counter[str] = collections.Counter()
    seen = 0
    for level, at, verdict in connection.execute(_SETTLEMENTS):
        if at < words.moment(since):
            return counts, False
        seen += 1
        if level == orders.When.SERIES.value:
            counts[verdict] += 1
    return counts, seen == _SETTLED


def _shown(row: sqlalchemy.Row[*tuple[object, ...]]) -> Shown:
    values = row._asdict()
    values["state"] = orders.State(values["state"])
    values["changed"] = words.when(values["changed"])
    return Shown(**values)
