"""Lanes and claims: how it stands with each destination, and which worker sends which consignment.

A claim is one UPDATE of a row that is due, so that two workers cannot both have it; its fence grows with
each. Nobody reads another's clock: a worker is dead when its counter of heartbeats stood still for long
enough on the watch of whoever looks at it.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy

from node import orders
from node.index import ledger, tables, words

_lane, _consignment, _worker = tables.lane.c, tables.consignment.c, tables.worker.c
_OPEN = sqlalchemy.text(tables.OPEN)  # said verbatim, or SQLite does not use the index of what is open
_EVERY = 1 << 30  # crashes: however many
# Of so many claims in a row one may be of what has waited longest, though something urgent is there.
TURNS = 4
_CHUNK = 500  # rows that one pass changes at most


# -- lanes ------------------------------------------------------------------------------------------


def lanes(connection: sqlalchemy.Connection) -> dict[str, orders.Lane]:
    """Every destination that something is known of; any other is up, as far as is known."""
    return {row.destination: _made(row) for row in connection.execute(sqlalchemy.select(tables.lane))}


def lane(connection: sqlalchemy.Connection, destination: str) -> orders.Lane:
    """One destination."""
    found = connection.execute(sqlalchemy.select(tables.lane).where(_lane.destination == destination)).first()
    return orders.Lane(destination) if found is None else _made(found)


def _made(row: sqlalchemy.Row[Any]) -> orders.Lane:
    return orders.Lane(
        row.destination,
        orders.LaneState(row.state),
        words.when(row.since),
        row.failures,
        words.when(row.probe) if row.probe else None,
        row.reason,
    )


def set_lane(
    connection: sqlalchemy.Connection,
    destination: str,
    state: orders.LaneState,
    now: datetime.datetime,
    *,
    failures: int = 0,
    probe: datetime.datetime | None = None,
    reason: str = "",
) -> None:
    """Say how it stands with a destination; what is remembered of the peer stays."""
    before = _kept(connection, destination, now)
    connection.execute(
        sqlalchemy.update(tables.lane)
        .where(_lane.destination == destination)
        .values(
            state=state.value,
            since=words.moment(now) if before.state != state.value else before.since,
            failures=failures,
            probe=words.moment(probe) if probe is not None else None,
            reason=words.clean(reason) or "",
        )
    )


def _kept(connection: sqlalchemy.Connection, destination: str, now: datetime.datetime) -> sqlalchemy.Row[Any]:
    """The lane's row, locked where that is more than the write scope does; made when there is none."""
    wanted = sqlalchemy.select(tables.lane).where(_lane.destination == destination).with_for_update()
    found = connection.execute(wanted).first()
    if found is None:
        ensure(connection, [destination], now)
        found = connection.execute(wanted).one()
    return found


def ensure(connection: sqlalchemy.Connection, destinations: Collection[str], now: datetime.datetime) -> None:
    """Have a row for each of them."""
    known = lanes(connection)
    for name in destinations:
        if name not in known:
            values = {"destination": name, "state": orders.LaneState.UP.value, "since": words.moment(now)}
            connection.execute(_INSERT, values)


_INSERT = sqlalchemy.text(  # both databases know it, and another worker may be faster
    "INSERT INTO lane (destination, state, since) VALUES (:destination, :state, :since) "
    "ON CONFLICT DO NOTHING"
)


def failed(
    connection: sqlalchemy.Connection,
    destination: str,
    reason: str,
    breaker: int,
    probe: datetime.datetime,
    now: datetime.datetime,
) -> orders.Lane:
    """One more connection failed: nothing is sent before `probe`, and after so many the lane is down."""
    before = _made(_kept(connection, destination, now))
    failures = before.failures + 1
    state = before.state
    if state is orders.LaneState.UP and failures >= breaker:
        state = orders.LaneState.DOWN
    set_lane(connection, destination, state, now, failures=failures, probe=probe, reason=reason)
    return lane(connection, destination)


def well(connection: sqlalchemy.Connection, destination: str, now: datetime.datetime) -> orders.Lane:
    """The destination answered: it is up, unless a person holds it; what it was before."""
    before = _made(_kept(connection, destination, now))
    held = before.state is orders.LaneState.HELD
    state = orders.LaneState.HELD if held else orders.LaneState.UP
    set_lane(connection, destination, state, now, reason=before.reason if held else "")
    return before


def take_probe(
    connection: sqlalchemy.Connection,
    destination: str,
    seen: datetime.datetime | None,
    until: datetime.datetime,
) -> bool:
    """Put off a probe that was due at `seen`, so that nobody else makes it; False: somebody does."""
    same = _lane.probe.is_(None) if seen is None else _lane.probe == words.moment(seen)
    statement = (
        sqlalchemy.update(tables.lane)
        .where(_lane.destination == destination, _lane.state == orders.LaneState.DOWN.value, same)
        .values(probe=words.moment(until))
    )
    return connection.execute(statement).rowcount == 1


def memory(connection: sqlalchemy.Connection, destination: str) -> dict[str, Any]:
    """What is remembered of the peer; empty when nothing is, or it cannot be read."""
    text = connection.execute(
        sqlalchemy.select(_lane.memory).where(_lane.destination == destination)
    ).scalar_one_or_none()
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def remember(
    connection: sqlalchemy.Connection,
    destination: str,
    known: Mapping[str, Any],
    now: datetime.datetime,
) -> None:
    """Remember this of the peer, and nothing else."""
    _kept(connection, destination, now)
    text = json.dumps(known, separators=(",", ":"), sort_keys=True) if known else ""
    connection.execute(
        sqlalchemy.update(tables.lane).where(_lane.destination == destination).values(memory=text)
    )


# -- what is due ------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Want:
    """What a worker would send to one destination now."""

    destination: str  # its name
    at_once: int  # consignments that all workers together may send to it
    calendars: tuple[str, ...] = ()  # those that are open now
    shut: tuple[str, ...] = ()  # those that are not: what is urgent heeds none
    urgent: bool = False  # nothing but what is urgent: the destination's own calendar is closed
    suspects: bool = True  # also what a worker died over once


class Candidate(NamedTuple):
    """A consignment that could be claimed."""

    rank: tuple[int, str]  # the lowest comes first
    key: int  # its row
    want: Want  # where it goes


def candidates(
    connection: sqlalchemy.Connection,
    wants: Sequence[Want],
    now: datetime.datetime,
    age_up: float,
    turn: int = 0,
) -> list[Candidate]:
    """The first of each destination, priority and calendar, best first: what waits long has risen."""
    found = []
    for want in wants:
        for key, priority, due in connection.execute(_firsts(want), _given(want, now)):
            waited = (now - words.when(due)).total_seconds()
            found.append(Candidate((rank(priority, waited, age_up, turn), due), key, want))
    found.sort(key=lambda one: one.rank)
    return found


def rank(priority: int, waited: float, age_up: float, turn: int) -> int:
    """What a priority has risen to. Only urgent things go first, but for one turn of a few."""
    if priority == orders.Priority.URGENT:
        return priority
    top = orders.Priority.URGENT if turn % TURNS == TURNS - 1 else orders.Priority.HIGH
    return max(top, priority - int(max(waited, 0.0) / age_up)) if age_up > 0 else priority


def soonest(
    connection: sqlalchemy.Connection, wants: Sequence[Want], now: datetime.datetime
) -> datetime.datetime | None:
    """When the next thing comes due that is not yet; None: nothing will by itself."""
    found = [
        due
        for want in wants
        for _, _, due in connection.execute(_firsts(want, later=True), _given(want, now))
    ]
    return words.when(min(found)) if found else None


def _given(want: Want, now: datetime.datetime) -> dict[str, object]:
    return {
        "destination": want.destination,
        "now": words.moment(now),
        "most": _EVERY if want.suspects else 0,
        **{f"calendar{n}": name for n, name in enumerate((*want.calendars, *want.shut))},
    }


def _firsts(want: Want, *, later: bool = False) -> sqlalchemy.TextClause:
    return _statement(len(want.calendars), len(want.shut), urgent=want.urgent, later=later)


@functools.cache
def _statement(opened: int, shut: int, *, urgent: bool, later: bool) -> sqlalchemy.TextClause:
    """One short walk of an index for each priority and calendar, however much lies behind its first row."""
    heads: list[str] = []
    for priority in (orders.Priority.URGENT,) if urgent else orders.Priority:
        allowed = opened + (shut if priority is orders.Priority.URGENT else 0)
        for within in ("calendar IS NULL", *(f"calendar = :calendar{n}" for n in range(allowed))):
            head = (
                "SELECT key, priority, due FROM consignment "  # noqa: S608 - nothing in it comes from outside
                f"WHERE destination = :destination AND state = 'due' AND {tables.OPEN} "
                f"AND priority = {int(priority)} AND {within} AND due {'>' if later else '<='} :now "
                "AND crashes <= :most ORDER BY due LIMIT 1"
            )
            heads.append(f"SELECT * FROM ({head}) AS h{len(heads)}")  # noqa: S608 - nor here
    return sqlalchemy.text(" UNION ALL ".join(heads))


# -- claims -----------------------------------------------------------------------------------------


def claim(
    connection: sqlalchemy.Connection,
    worker: str,
    wants: Sequence[Want],
    now: datetime.datetime,
    age_up: float,
    turn: int = 0,
) -> orders.Consignment | None:
    """Take what is first; nothing when all is taken, or all destinations have as much as they may."""
    full: set[str] = set()
    for _, key, want in candidates(connection, wants, now, age_up, turn):
        if want.destination in full:
            continue
        if _busy(connection, want.destination) >= want.at_once:
            full.add(want.destination)
            continue
        if connection.execute(_CLAIM, {"which": key, "worker": worker, "at": words.moment(now)}).rowcount:
            return ledger.get(connection, key)
    return None


_CLAIM = (
    sqlalchemy.update(tables.consignment)
    .where(_consignment.key == sqlalchemy.bindparam("which"), _consignment.state == orders.State.DUE.value)
    .values(
        state=orders.State.RUNNING.value,
        claim=sqlalchemy.bindparam("worker"),
        changed=sqlalchemy.bindparam("at"),
        fence=_consignment.fence + 1,
        attempts=_consignment.attempts + 1,
        error="",
    )
)
_RUNNING = _consignment.state == orders.State.RUNNING.value
_BUSY = sqlalchemy.select(sqlalchemy.func.count()).where(
    _consignment.destination == sqlalchemy.bindparam("to"), _RUNNING, _OPEN
)
_LOCK = (
    sqlalchemy.select(_lane.state).where(_lane.destination == sqlalchemy.bindparam("to")).with_for_update()
)


def _busy(connection: sqlalchemy.Connection, destination: str) -> int:
    """How many are sent to it by all workers; the lane's row makes those of PostgreSQL take turns."""
    connection.execute(_LOCK, {"to": destination})
    count: int = connection.execute(_BUSY, {"to": destination}).scalar_one()
    return count


class Claim(NamedTuple):
    """A consignment that a worker has."""

    key: int  # its row
    destination: str  # where it goes
    worker: str  # who has it
    fence: int  # of the claim


def claims(connection: sqlalchemy.Connection, destinations: Collection[str] | None = None) -> list[Claim]:
    """What workers have now, of these destinations, or of all, which takes longer."""
    statement = sqlalchemy.select(
        _consignment.key, _consignment.destination, _consignment.claim, _consignment.fence
    ).where(_RUNNING, _OPEN)
    if destinations is not None:
        statement = statement.where(_consignment.destination.in_(list(destinations)))
    return [Claim(*row) for row in connection.execute(statement)]


def take_over(
    connection: sqlalchemy.Connection, taken: Claim, now: datetime.datetime
) -> orders.Consignment | None:
    """Take a dead worker's claim away, so that it may change nothing any more; nothing when it is gone.

    The consignment is still running, under the fence that it has now: `ledger.finish` says what it comes to.
    """
    statement = (
        sqlalchemy.update(tables.consignment)
        .where(
            _consignment.key == taken.key,
            _consignment.fence == taken.fence,
            _consignment.claim == taken.worker,
            _RUNNING,
        )
        .values(fence=_consignment.fence + 1, changed=words.moment(now))
    )
    return ledger.get(connection, taken.key) if connection.execute(statement).rowcount else None


# -- workers ----------------------------------------------------------------------------------------


def beat(connection: sqlalchemy.Connection, worker: str, now: datetime.datetime, version: str = "") -> None:
    """Show that a worker lives."""
    changed = connection.execute(
        sqlalchemy.update(tables.worker).where(_worker.name == worker).values(beats=_worker.beats + 1)
    )
    if not changed.rowcount:
        connection.execute(
            sqlalchemy.insert(tables.worker).values(
                name=worker, beats=1, started=words.moment(now), version=version
            )
        )


def others(connection: sqlalchemy.Connection, worker: str) -> dict[str, int]:
    """The heartbeats of every worker but this one."""
    rows = connection.execute(sqlalchemy.select(_worker.name, _worker.beats).where(_worker.name != worker))
    return {row.name: row.beats for row in rows}


def leave(connection: sqlalchemy.Connection, worker: str) -> None:
    """A worker ends, and has handed back what it had."""
    connection.execute(sqlalchemy.delete(tables.worker).where(_worker.name == worker))


# -- clocks and configurations change ----------------------------------------------------------------


def amend(
    connection: sqlalchemy.Connection,
    now: datetime.datetime,
    longest: float,
    calendars: Collection[str],
) -> int:
    """Put right what would wait for ever; how many rows it was, at most 500 at a time.

    A moment further off than the longest pause was written by a clock that was wrong; a calendar that is not
    configured any more holds nothing.
    """
    due = _consignment.state == orders.State.DUE.value
    far = words.later(now, longest)
    unknown: sqlalchemy.ColumnElement[bool] = _consignment.calendar.is_not(None)
    if calendars:
        unknown = unknown & _consignment.calendar.not_in(sorted(calendars))
    changed = 0
    for wrong, right in (
        (_consignment.due > far, {"due": words.moment(now)}),
        (unknown, {"calendar": None}),
    ):
        which = sqlalchemy.select(_consignment.key).where(due, _OPEN, wrong).limit(_CHUNK)
        keys = connection.execute(which).scalars().all()
        if keys:
            connection.execute(
                sqlalchemy.update(tables.consignment).where(_consignment.key.in_(keys), due).values(right)
            )
            changed += len(keys)
    return (
        changed
        + connection.execute(
            sqlalchemy.update(tables.lane).where(_lane.probe > far).values(probe=words.moment(now))
        ).rowcount
    )


def grouped(
    connection: sqlalchemy.Connection, destination: str, limit: int = _CHUNK
) -> list[tuple[int, str]]:
    """What is due at a destination that a group chose: the key and the group."""
    statement = (
        sqlalchemy.select(_consignment.key, _consignment.group)
        .where(
            _consignment.destination == destination,
            _consignment.state == orders.State.DUE.value,
            _OPEN,
            _consignment.group != "",
        )
        .limit(limit)
    )
    return [(key, group) for key, group in connection.execute(statement)]
