"""Changes of what is owed to destinations: enqueued, moved on, called off, asked for again. See `ledger`."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence
from typing import Any

import sqlalchemy

from node import orders
from node.files import ledger
from node.index import bulk, consignments, keys, tables, words
from node.index import witness as witnesses

_consignment = tables.consignment.c

DUE, HELD, RUNNING = orders.State.DUE, orders.State.HELD, orders.State.RUNNING
DONE, DEAD, CANCELLED = orders.State.DONE, orders.State.DEAD, orders.State.CANCELLED


@dataclasses.dataclass(frozen=True, slots=True)
class Order:
    """What is to be sent where, and how: a decision about some instances of one series."""

    destination: str  # where to
    study: str  # Study Instance UID
    series: str  # Series Instance UID
    route: str  # the route that decided it; "default", or "by NAME" when a person did
    revision: int  # of the series; 0: sent on as it came
    priority: orders.Priority = orders.Priority.NORMAL  # how soon
    steps: tuple[orders.StepSetting, ...] = ()  # done to what is sent
    calendar: str | None = None  # when it may go out
    group: str = ""  # the group that chose the destination
    state: orders.State = DUE  # DUE, or HELD for a person
    error: str = ""  # why it is held
    due: datetime.datetime | None = None  # not before; None: at once


OWED_ALREADY = (
    "SELECT instance_key, key, state, consignment_key FROM delivery"
    " WHERE destination = ? AND instance_key IN (?*)"
)
_TAKE_BACK = (
    "UPDATE delivery SET consignment_key = ?, state = 'due', attempts = 0, verified = NULL WHERE key = ?"
)


def enqueue(
    connection: sqlalchemy.Connection,
    order: Order,
    instances: Sequence[tuple[int, str]],
    now: datetime.datetime,
    *,
    again: bool = False,
    witness: witnesses.Witness | None = None,
) -> int | None:
    """Owe a destination those of the instances (row, SOP Instance UID) that it has not got and is not owed.

    With `again` also what it has, what is dead and what was cancelled. They grow the consignment of the same
    order that has not gone out yet, or become one; its key, or None when there is nothing new.
    """
    revived = frozenset({DONE, DEAD, CANCELLED}) if again else frozenset[orders.State]()
    return _enqueue(connection, order, instances, now, revived, witness)


def _enqueue(
    connection: sqlalchemy.Connection,
    order: Order,
    instances: Sequence[tuple[int, str]],
    now: datetime.datetime,
    revived: frozenset[orders.State],
    witness: witnesses.Witness | None,
) -> int | None:
    keys.lock_owed(connection)
    target: orders.Consignment | None = None
    for chunk in bulk.chunks(list(dict(instances).items())):
        rows = bulk.listed(connection, OWED_ALREADY, [key for key, _ in chunk], order.destination)
        known = {row[0]: row for row in rows}
        fresh = [one for one in chunk if one[0] not in known]
        back = [row for row in known.values() if orders.State(row[2]) in revived]
        if not fresh and not back:
            continue
        if target is None:
            target = _open(connection, order, now)
        if witness is not None:
            names = dict(chunk)
            uids = [uid for _, uid in fresh] + [names[row[0]] for row in back]
            witness.noted(ledger.ENQUEUED, **consignments.fact(target), at=words.moment(now), instances=uids)
        grow(connection, target, fresh, back, now)
    return None if target is None else target.key


def _open(connection: sqlalchemy.Connection, order: Order, now: datetime.datetime) -> orders.Consignment:
    """The consignment of the same order that can still grow, or a new one without a delivery."""
    due = order.due or now
    rows = connection.execute(
        sqlalchemy.select(tables.consignment)
        .where(
            _consignment.series == order.series,
            _consignment.study == order.study,
            _consignment.destination == order.destination,
            _consignment.route == order.route,
            _consignment.revision == order.revision,
            _consignment.steps == consignments.steps(order.steps),
        )
        .order_by(_consignment.key.desc())
        .limit(1)
    )
    last = rows.mappings().first()
    if last is not None:
        found = consignments.of(last)
        # What waits for another try keeps its wait, and what just came does not share it.
        ready = found.state in (HELD, RUNNING) or (found.state is DUE and found.due <= due)
        # What is sent on as it comes has one for each series, not one for each instance.
        through = found.state is DONE and found.revision == 0 and order.state is DUE
        if ready or through:
            return found
    return _new(connection, order, due, now)


def _new(
    connection: sqlalchemy.Connection, order: Order, due: datetime.datetime, now: datetime.datetime
) -> orders.Consignment:
    made = orders.Consignment(
        key=keys.take(connection, "consignment"),
        destination=order.destination,
        group=order.group,
        study=order.study,
        series=order.series,
        route=order.route,
        revision=order.revision,
        priority=order.priority,
        calendar=order.calendar,
        steps=order.steps,
        state=order.state,
        created=now,
        due=due,
        attempts=0,
        crashes=0,
        total=0,
        done=0,
        dead=0,
        fence=0,
        error=order.error,
    )
    connection.execute(sqlalchemy.insert(tables.consignment).values(consignments.row(made)))
    return made


def _insert(
    connection: sqlalchemy.Connection, target: orders.Consignment, fresh: Sequence[tuple[int, str]]
) -> None:
    if not fresh:
        return
    first = keys.take(connection, "delivery", len(fresh))
    rows = [
        {
            "key": first + number,
            "consignment_key": target.key,
            "instance_key": instance,
            "destination": target.destination,
            "sop_instance": uid,
            "state": DUE.value,
        }
        for number, (instance, uid) in enumerate(fresh)
    ]
    bulk.insert(connection, tables.delivery, rows)


def _take_back(connection: sqlalchemy.Connection, key: int, back: Sequence[Any]) -> set[int]:
    """Make rows that were through due in this consignment; the consignments that they were part of."""
    bulk.many(connection, _TAKE_BACK, [(key, row[1]) for row in back])
    moved = consignments.Moved()
    for _, _, state, before in back:
        moved.left(before, orders.State(state))
    moved.write(connection)
    return {row[3] for row in back}


_GROW = (
    "UPDATE consignment SET total = total + ?, changed = ?,"
    " attempts = CASE WHEN state = 'done' THEN 0 ELSE attempts END,"
    " state = CASE WHEN state IN ('held', 'running') THEN state ELSE 'due' END WHERE key = ?"
)


def grow(
    connection: sqlalchemy.Connection,
    target: orders.Consignment,
    fresh: Sequence[tuple[int, str]],
    back: Sequence[Any],
    now: datetime.datetime,
) -> None:
    """Owe instances that have no row, and once more rows (instance, key, state, consignment)."""
    taken = _take_back(connection, target.key, back)
    _insert(connection, target, fresh)
    bulk.many(connection, _GROW, [(len(fresh) + len(back), words.moment(now), target.key)])
    for key in sorted(taken - {target.key}):
        consignments.drop_if_empty(connection, key)
        consignments.settle(connection, key, now)


_LEFT = (
    "SELECT key, instance_key, sop_instance, state FROM delivery WHERE consignment_key = ?"
    " AND state IN ('due', 'dead') ORDER BY instance_key"
)
_CANCEL = "UPDATE delivery SET state = 'cancelled', error = ? WHERE key = ?"


_STOP = (
    "UPDATE consignment SET state = 'cancelled', claim = '', fence = fence + 1, error = ?, changed = ?"
    " WHERE key = ?"
)


def redirect(
    connection: sqlalchemy.Connection,
    key: int,
    destination: str,
    now: datetime.datetime,
    *,
    why: str = "",
    witness: witnesses.Witness | None = None,
) -> int | None:
    """Owe what is left of a consignment to another destination; the key of the consignment there.

    What that one has or is owed already is left out: None when nothing else was left. The one here is
    cancelled, whoever is at it.
    """
    keys.lock_owed(connection)
    one = consignments.get(connection, key)
    if one is None or one.destination == destination:
        return None
    left = bulk.run(connection, _LEFT, key).all()
    if not left:
        return None
    why = why or f"it goes to {destination} instead"
    order = Order(
        destination, one.study, one.series, one.route, one.revision, one.priority, one.steps, one.calendar,
        one.group, HELD if one.state is HELD else DUE, one.error if one.state is HELD else "",
    )  # fmt: skip
    called_off(connection, left, key, why, now, witness, whole=True)
    instances = [(row.instance_key, row.sop_instance) for row in left]
    return _enqueue(connection, order, instances, now, frozenset({DEAD, CANCELLED}), witness)


def called_off(
    connection: sqlalchemy.Connection,
    rows: Sequence[Any],
    key: int,
    why: str,
    now: datetime.datetime,
    witness: witnesses.Witness | None,
    *,
    whole: bool = False,
) -> None:
    """Cancel deliveries of one consignment, given as rows with key, sop_instance and state.

    `whole`: they are all that was left of it, and it is taken from whoever is at it.
    """
    if not rows:
        return
    if witness is not None:
        one = consignments.get(connection, key)
        assert one is not None
        for chunk in bulk.chunks(rows):
            uids = [row.sop_instance for row in chunk]
            named = consignments.name(one)
            said = {"at": words.moment(now), "error": why, "whole": whole, "instances": uids}
            witness.noted(ledger.CALLED_OFF, **named, **said)
    moved = consignments.Moved()
    for row in rows:
        moved.changed(key, orders.State(row.state), CANCELLED)
    bulk.many(connection, _CANCEL, [(words.clean(why), row.key) for row in rows])
    moved.write(connection)
    if whole:
        bulk.many(connection, _STOP, [(words.clean(why), words.moment(now), key)])
    consignments.settle(connection, key, now)


_REPLAY = "UPDATE delivery SET state = 'due', attempts = 0 WHERE key = ?"
_FRESH = (
    "UPDATE consignment SET attempts = 0, crashes = 0, error = '', changed = ?,"
    " due = CASE WHEN state = 'running' THEN due ELSE ? END WHERE key = ?"
)


def replayed(
    connection: sqlalchemy.Connection, key: int, deliveries: Sequence[int], now: datetime.datetime
) -> None:
    """Make dead letters (rows) of a consignment due once more, as if they had never been tried."""
    moved = consignments.Moved()
    for _ in deliveries:
        moved.changed(key, DEAD, DUE)
    bulk.many(connection, _REPLAY, [(one,) for one in deliveries])
    moved.write(connection)
    at = words.moment(now)
    bulk.many(connection, _FRESH, [(at, at, key)])
    consignments.settle(connection, key, now)


_OWED_OF = (
    "SELECT consignment_key, key, instance_key, sop_instance, state FROM delivery"
    " WHERE instance_key IN (?*) AND state IN ('due', 'dead')"
)


def removed(
    connection: sqlalchemy.Connection,
    instances: Sequence[int],
    why: str,
    now: datetime.datetime,
    *,
    witness: witnesses.Witness | None = None,
) -> int:
    """Call off what is owed of instances (rows) that are being removed; how many deliveries that were."""
    keys.lock_owed(connection)
    found: dict[int, list[Any]] = {}
    for chunk in bulk.chunks(list(instances)):
        for row in bulk.listed(connection, _OWED_OF, chunk):
            found.setdefault(row.consignment_key, []).append(row)
    for key, rows in sorted(found.items()):
        called_off(connection, rows, key, why, now, witness)
    return sum(map(len, found.values()))
