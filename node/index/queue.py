"""The queue as a person sees it: lanes, what waits in them, what was given up; `desk` acts on it."""

from __future__ import annotations

import dataclasses
import datetime
from typing import NamedTuple

import sqlalchemy

from node import orders
from node.index import consignments, lanes, ledger, tables, words

_State = orders.State
_consignment = tables.consignment.c
_delivery = tables.delivery.c
_instance = tables.instance.c
_OPEN = sqlalchemy.text(tables.OPEN)


@dataclasses.dataclass(frozen=True, slots=True)
class Chosen:
    """What is meant: everything that is given must fit."""

    destination: str | None = None  # its name
    consignment: int | None = None  # its row
    uid: str | None = None  # Study, Series or SOP Instance UID
    states: tuple[orders.State, ...] = ()  # of the consignment; empty: any


class Standing(NamedTuple):
    """How it stands with one destination."""

    lane: orders.Lane  # as a whole
    owed: ledger.Owed  # how much waits in it
    soonest: datetime.datetime | None  # when the first of what is due may go; None: nothing is due
    error: str  # why the first of what is due waits; "" when it does not


class Listed(NamedTuple):
    """A consignment in a list."""

    consignment: orders.Consignment
    claim: str  # the worker that has it; ""
    changed: datetime.datetime  # when something last happened to it


class Letter(NamedTuple):
    """A dead letter."""

    key: int  # its row
    consignment: int  # row of its consignment
    destination: str  # where it should have gone
    study: str  # Study Instance UID
    series: str  # Series Instance UID
    sop_instance: str  # SOP Instance UID
    attempts: int  # tries until it was given up
    at: datetime.datetime | None  # when the last answer came
    status: int | None  # what the destination said
    error: str  # in words


# -- looking ------------------------------------------------------------------------------------------


def standings(connection: sqlalchemy.Connection) -> list[Standing]:
    """Every destination that is owed something, or of which something is known."""
    owed = {one.destination: one for one in ledger.owed(connection)}
    known = lanes.lanes(connection)
    found = []
    for name in sorted({*owed, *known}):
        first = connection.execute(_SOONEST, {"to": name}).first() if name in owed else None
        found.append(
            Standing(
                known.get(name, orders.Lane(name)),
                owed.get(name) or nothing(name).owed,
                None if first is None else words.when(first.due),
                "" if first is None else first.error,
            )
        )
    return found


def nothing(destination: str) -> Standing:
    """How it stands with a destination of which nothing is known."""
    return Standing(orders.Lane(destination), ledger.Owed(destination, 0, 0, 0, 0, 0, 0, None), None, "")


_SOONEST = (
    sqlalchemy.select(_consignment.due, _consignment.error)
    .where(
        _consignment.destination == sqlalchemy.bindparam("to"),
        _consignment.state == _State.DUE.value,
        _OPEN,
    )
    .order_by(_consignment.due)
    .limit(1)
)


def consignments_of(
    connection: sqlalchemy.Connection, chosen: Chosen, *, before: int | None = None, limit: int = 100
) -> list[Listed]:
    """Consignments, the newest first, of which `before` was the last that was seen."""
    statement = sqlalchemy.select(tables.consignment).where(*conditions(connection, chosen))
    if before is not None:
        statement = statement.where(_consignment.key < before)
    rows = connection.execute(statement.order_by(_consignment.key.desc()).limit(limit)).mappings()
    return [Listed(consignments.of(row), row["claim"], words.when(row["changed"])) for row in rows]


def dead(
    connection: sqlalchemy.Connection, chosen: Chosen, *, after: int = 0, limit: int = 100
) -> list[Letter]:
    """Dead letters, the oldest first, of which `after` was the last that was seen."""
    statement = (
        sqlalchemy.select(
            _delivery.key,
            _delivery.consignment_key,
            _delivery.destination,
            _consignment.study,
            _consignment.series,
            _delivery.sop_instance,
            _delivery.attempts,
            _delivery.at,
            _delivery.status,
            _delivery.error,
        )
        .join(tables.consignment, _consignment.key == _delivery.consignment_key)
        .where(
            sqlalchemy.text("dead > 0"),
            *conditions(connection, chosen),
            _delivery.state == _State.DEAD.value,
            _delivery.key > after,
            *of_instance(connection, chosen.uid),
        )
        .order_by(_delivery.key)
        .limit(limit)
    )
    return [
        Letter(*row[:7], None if row.at is None else words.when(row.at), row.status, row.error)
        for row in connection.execute(statement)
    ]


def conditions(
    connection: sqlalchemy.Connection, chosen: Chosen
) -> list[sqlalchemy.ColumnElement[bool] | sqlalchemy.TextClause]:
    """What a consignment must fulfil to be one of those that are meant."""
    found: list[sqlalchemy.ColumnElement[bool] | sqlalchemy.TextClause] = []
    if chosen.consignment is not None:
        found.append(_consignment.key == chosen.consignment)
    if chosen.destination is not None:
        found.append(_consignment.destination == chosen.destination)
    if chosen.states:
        found.append(_consignment.state.in_([state.value for state in chosen.states]))
        if set(chosen.states) <= set(orders.OPEN):
            found.append(_OPEN)
        elif set(chosen.states) == {_State.DEAD}:
            found.append(sqlalchemy.text("dead > 0"))
    if chosen.uid is not None:
        rows = instances(connection, chosen.uid)
        named = sqlalchemy.or_(_consignment.study == chosen.uid, _consignment.series == chosen.uid)
        if rows:
            within = sqlalchemy.select(_delivery.consignment_key).where(_delivery.instance_key.in_(rows))
            named = sqlalchemy.or_(named, _consignment.key.in_(within))
        found.append(named)
    return found


def instances(connection: sqlalchemy.Connection, uid: str) -> list[int]:
    """Rows of the instances of a SOP Instance UID, those that were removed too; none for other UIDs."""
    gone = tables.deletion.c
    held = sqlalchemy.select(_instance.key).where(
        _instance.sop_hash == words.uid_hash(uid), _instance.sop_instance == uid
    )
    removed = sqlalchemy.select(gone.target).where(gone.sop_instance == uid, gone.kind == "instance")
    return sorted({*connection.execute(held).scalars(), *connection.execute(removed).scalars()})


def of_instance(connection: sqlalchemy.Connection, uid: str | None) -> list[sqlalchemy.ColumnElement[bool]]:
    """What a delivery must fulfil when one instance is meant; nothing else where more is."""
    rows = instances(connection, uid) if uid is not None else []
    return [_delivery.instance_key.in_(rows)] if rows else []
