"""What is owed to destinations, and what became of it: one row for each instance and destination, for ever.

A consignment is in one state, and its counters say what its rows say. A row is due, done, dead or cancelled:
it is due only while its consignment is open. Who changes something here holds the ledger's lock to the end of
the transaction, so that writers take turns on PostgreSQL too; claims alone (`lanes`) go without it.
What only this database would know is told to the witness before the commit, so that a rebuild knows it too.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy
from sqlalchemy import func

from node import model, orders
from node.index import bulk, retrieval, tables, words
from node.index.consignments import get
from node.index.outcomes import finish, give_up, record, verified
from node.index.owing import Order, called_off, enqueue, redirect, removed, replayed
from node.index.recovery import recover

__all__ = [
    "Due",
    "Member",
    "Order",
    "Owed",
    "called_off",
    "due",
    "enqueue",
    "finish",
    "get",
    "give_up",
    "kinds",
    "members",
    "owed",
    "owed_of",
    "record",
    "recover",
    "redirect",
    "removed",
    "replayed",
    "undelivered",
    "verified",
    "wanted",
]

_consignment = tables.consignment.c
_delivery = tables.delivery.c
_instance = tables.instance.c

DUE, DEAD, HELD, RUNNING = orders.State.DUE, orders.State.DEAD, orders.State.HELD, orders.State.RUNNING
VERIFYING = orders.State.VERIFYING


class Due(NamedTuple):
    """One delivery that is due."""

    key: int  # its row
    instance: int  # row of the instance
    sop_instance: str  # SOP Instance UID
    attempts: int  # tries since it was last asked for
    row: retrieval.Row | None  # what it takes to send it; None: it cannot be
    why: str  # why it cannot; "" when it can


class Member(NamedTuple):
    """One delivery of a consignment, whatever became of it."""

    key: int  # its row
    instance: int  # row of the instance
    sop_instance: str  # SOP Instance UID
    sop_class: str | None  # SOP Class UID; None: the instance is gone
    state: orders.State  # how it stands
    attempts: int  # tries since it was last asked for
    at: datetime.datetime | None  # when the last answer came
    status: int | None  # what the destination said last
    syntax: str  # transfer syntax UID that it went in
    size: int  # bytes that were sent
    error: str  # in words; a warning's too
    verified: datetime.datetime | None  # when the destination was found to keep it


@dataclasses.dataclass(frozen=True, slots=True)
class Owed:
    """How much a destination is owed, in deliveries."""

    destination: str  # its name
    due: int  # that go out when their turn comes
    held: int  # that a person holds
    running: int  # that a lane is at
    verifying: int  # that it took, and that are being made sure
    dead: int  # that were given up
    consignments: int  # that are open
    oldest: datetime.datetime | None  # when the oldest that is open was decided


# -- what a lane asks --------------------------------------------------------------------------------


def wanted(connection: sqlalchemy.Connection, key: int, fence: int) -> bool:
    """Whether who claimed it may go on: it was not held, cancelled, moved or taken over meanwhile."""
    statement = sqlalchemy.select(_consignment.state, _consignment.fence).where(_consignment.key == key)
    found = connection.execute(statement).first()
    return found is not None and tuple(found) == (RUNNING.value, fence)


_KINDS = (
    sqlalchemy.select(_instance.sop_class, _instance.syntax)
    .join(tables.delivery, _delivery.instance_key == _instance.key)
    .where(_delivery.consignment_key == sqlalchemy.bindparam("which"), _delivery.state == DUE.value)
    .distinct()
    .order_by(_instance.sop_class, _instance.syntax)
)


def kinds(connection: sqlalchemy.Connection, key: int) -> list[tuple[str, str]]:
    """SOP class and stored transfer syntax of what is due, one of each."""
    return [(row[0], row[1]) for row in connection.execute(_KINDS, {"which": key})]


_DUE = (
    sqlalchemy.select(_delivery.key, _delivery.instance_key, _delivery.sop_instance, _delivery.attempts)
    .where(
        _delivery.consignment_key == sqlalchemy.bindparam("which"),
        _delivery.instance_key > sqlalchemy.bindparam("after"),
        _delivery.state == DUE.value,
    )
    .order_by(_delivery.instance_key)
    .limit(sqlalchemy.bindparam("most"))
)
_STATES = sqlalchemy.select(_instance.key, _instance.state).where(
    _instance.key.in_(sqlalchemy.bindparam("keys", expanding=True)),
    _instance.state != model.Held.HELD.value,
)


def due(connection: sqlalchemy.Connection, key: int, after: int, limit: int) -> list[Due]:
    """What is due of a consignment, in the order of the instances' rows, of which `after` was the last."""
    rows = connection.execute(_DUE, {"which": key, "after": after, "most": limit}).all()
    named = [row.instance_key for row in rows]
    found, lost = retrieval.page(connection, named)
    held = {row.key: row for row in found}
    broken = {row[0]: row[1] for row in connection.execute(_STATES, {"keys": named})} if named else {}
    dues = []
    for delivery, instance, uid, attempts in rows:
        why = f"its file is {broken[instance]}" if instance in broken else ""
        if instance not in held:
            why = lost[instance].why if instance in lost else "it is not held any more"
        dues.append(Due(delivery, instance, uid, attempts, None if why else held[instance], why))
    return dues


def members(
    connection: sqlalchemy.Connection, key: int, *, after: int = 0, limit: int | None = None
) -> list[Member]:
    """All deliveries of a consignment in the order of the instances' rows, or a page of them."""
    statement = (
        sqlalchemy.select(
            _delivery.key,
            _delivery.instance_key,
            _delivery.sop_instance,
            _instance.sop_class,
            _delivery.state,
            _delivery.attempts,
            _delivery.at,
            _delivery.status,
            _delivery.syntax,
            _delivery.size,
            _delivery.error,
            _delivery.verified,
        )
        .outerjoin(tables.instance, _instance.key == _delivery.instance_key)
        .where(_delivery.consignment_key == key, _delivery.instance_key > after)
        .order_by(_delivery.instance_key)
        .limit(limit)
    )
    return [
        Member(
            row.key,
            row.instance_key,
            row.sop_instance,
            row.sop_class,
            orders.State(row.state),
            row.attempts,
            None if row.at is None else words.when(row.at),
            row.status,
            row.syntax,
            row.size,
            row.error,
            None if row.verified is None else words.when(row.verified),
        )
        for row in connection.execute(statement)
    ]


_OPEN_SUMS = (
    sqlalchemy.select(
        _consignment.destination,
        _consignment.state,
        func.sum(_consignment.total - _consignment.done - _consignment.dead - _consignment.cancelled),
        func.sum(_consignment.done),
        func.count(),
        func.min(_consignment.created),
    )
    .where(sqlalchemy.text(tables.OPEN))
    .group_by(_consignment.destination, _consignment.state)
)
_DEAD_SUMS = sqlalchemy.text(
    "SELECT destination, SUM(dead) FROM consignment WHERE dead > 0 GROUP BY destination"
)


def owed(connection: sqlalchemy.Connection) -> list[Owed]:
    """What each destination is owed, and what was given up; finished work costs nothing here."""
    found: dict[str, dict[str, Any]] = {}
    for destination, state, left, done, many, oldest in connection.execute(_OPEN_SUMS):
        one = found.setdefault(destination, {"consignments": 0, "oldest": oldest})
        one[state] = int(done if state == VERIFYING.value else left)
        one["consignments"] += many
        one["oldest"] = min(one["oldest"], oldest)
    for destination, dead in connection.execute(_DEAD_SUMS):
        found.setdefault(destination, {"consignments": 0, "oldest": None})["dead"] = int(dead)
    return [
        Owed(
            destination,
            one.get(DUE.value, 0),
            one.get(HELD.value, 0),
            one.get(RUNNING.value, 0),
            one.get(VERIFYING.value, 0),
            one.get(DEAD.value, 0),
            one["consignments"],
            None if one["oldest"] is None else words.when(one["oldest"]),
        )
        for destination, one in sorted(found.items())
    ]


def owed_of(connection: sqlalchemy.Connection, instances: Sequence[int]) -> dict[str, int]:
    """By destination, how many of these instances (rows) it is still owed."""
    found: dict[str, int] = {}
    for chunk in bulk.chunks(list(instances)):
        rows = connection.execute(
            sqlalchemy.select(_delivery.destination, func.count())
            .where(_delivery.instance_key.in_(chunk), _delivery.state == DUE.value)
            .group_by(_delivery.destination)
        )
        for destination, many in rows:
            found[destination] = found.get(destination, 0) + many
    return dict(sorted(found.items()))


_series = tables.series.c
_UNDELIVERED = (
    sqlalchemy.select(_series.key)
    .join(tables.study, tables.study.c.key == _series.study_key)
    .join(
        tables.consignment,
        sqlalchemy.and_(_consignment.series == _series.series, _consignment.study == tables.study.c.study),
    )
    .where(
        _series.key.in_(sqlalchemy.bindparam("keys", expanding=True)),
        _consignment.state.in_([state.value for state in orders.OPEN]),
    )
    .distinct()
)


def undelivered(connection: sqlalchemy.Connection, series_keys: Sequence[int]) -> set[int]:
    """Which of these series (rows) hold something that a destination has not got yet."""
    found: set[int] = set()
    for chunk in bulk.chunks(list(series_keys)):
        found.update(connection.execute(_UNDELIVERED, {"keys": chunk}).scalars())
    return found
