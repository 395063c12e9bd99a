"""What destinations said that they have and may not keep: consignments that are being verified.

Each has one row. Its Transaction UID is there before a request for commitment goes out, and stays there when
the report does not come in time: one that comes late still finds what it is about.
"""

from __future__ import annotations

import datetime
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy

from node import orders
from node.index import keys, ledger, outcomes, tables, words
from node.index import witness as witnesses

_row = tables.verification.c
_consignment = tables.consignment.c
_delivery = tables.delivery.c
_VERIFYING = _consignment.state == orders.State.VERIFYING.value
_OPEN = sqlalchemy.text(tables.OPEN)  # said verbatim, or SQLite does not use the index of what is open
_PAGE = 500  # consignments that are begun in one transaction


class Open(NamedTuple):
    """A consignment that is being verified."""

    key: int  # its row here
    consignment: int  # its row
    destination: str  # where it went
    transaction: str | None  # Transaction UID of the request for commitment; None: none is out
    asked: datetime.datetime | None  # when that went out; None: its time is over, or none is out
    due: datetime.datetime  # when something is to be done next
    attempts: int  # looks, or requests, that came to nothing


class Unsure(NamedTuple):
    """A delivery that was answered with success and is not verified."""

    key: int  # its row
    instance: int  # row of the instance
    sop_class: str | None  # SOP Class UID; None: the instance is gone here
    sop_instance: str  # SOP Instance UID
    at: datetime.datetime  # when it was answered
    attempts: int  # C-STOREs since it was last asked for
    syntax: str = ""  # transfer syntax UID that it went in


class Missing(NamedTuple):
    """A delivery that the destination does not keep."""

    delivery: int  # its row
    why: str  # in words
    dead: bool  # given up; False: it goes out once more


def unbegun(connection: sqlalchemy.Connection, destinations: Collection[str]) -> list[tuple[int, str]]:
    """Consignments that have come to be verified and have no row, with their destinations."""
    over = sqlalchemy.and_(_row.transaction_uid.is_not(None), _row.asked.is_(None))
    found = connection.execute(
        sqlalchemy.select(_consignment.key, _consignment.destination)
        .outerjoin(tables.verification, _row.consignment_key == _consignment.key)
        .where(
            _consignment.destination.in_(sorted(destinations)),
            _VERIFYING,
            _OPEN,
            sqlalchemy.or_(_row.key.is_(None), over),
        )
        .order_by(_consignment.key)
        .limit(_PAGE)
    )
    return [(row.key, row.destination) for row in found]


def begin(connection: sqlalchemy.Connection, after: Mapping[str, float], now: datetime.datetime) -> int:
    """Give what has come to it a row, due so many seconds from now by destination; how many there are."""
    found = unbegun(connection, after)
    if not found:
        return 0
    named = [key for key, _ in found]
    connection.execute(sqlalchemy.delete(tables.verification).where(_row.consignment_key.in_(named)))
    first = keys.take(connection, "verification", len(found))
    rows = [
        {
            "key": first + at,
            "consignment_key": key,
            "destination": destination,
            "due": words.later(now, after[destination]),
        }
        for at, (key, destination) in enumerate(found)
    ]
    connection.execute(sqlalchemy.insert(tables.verification), rows)
    return len(found)


def believe(connection: sqlalchemy.Connection, destinations: Collection[str], now: datetime.datetime) -> int:
    """Take what these destinations answered for true: they are not asked any more; how many consignments."""
    statement = (
        sqlalchemy.update(tables.consignment)
        .where(_consignment.destination.in_(sorted(destinations)), _VERIFYING, _OPEN)
        .values(state=orders.State.DONE.value, error="", changed=words.moment(now))
    )
    return connection.execute(statement).rowcount


def verifying(connection: sqlalchemy.Connection, destinations: Collection[str]) -> bool:
    """Whether anything of these destinations is being verified."""
    statement = sqlalchemy.select(_consignment.key).where(
        _consignment.destination.in_(sorted(destinations)), _VERIFYING, _OPEN
    )
    return connection.execute(statement.limit(1)).first() is not None


_COLUMNS = (
    _row.key,
    _row.consignment_key,
    _row.destination,
    _row.transaction_uid,
    _row.asked,
    _row.due,
    _row.attempts,
)


def _opened(row: Any) -> Open:
    return Open(
        row.key,
        row.consignment_key,
        row.destination,
        row.transaction_uid,
        None if row.asked is None else words.when(row.asked),
        words.when(row.due),
        row.attempts,
    )


def due(
    connection: sqlalchemy.Connection,
    destination: str,
    now: datetime.datetime,
    longest: float,
    limit: int,
) -> list[Open]:
    """What is to be done for a destination now, longest due first.

    What is due further off than the longest wait was written by a clock that was wrong, and is due too.
    """
    statement = (
        sqlalchemy.select(*_COLUMNS)
        .join(tables.consignment, _consignment.key == _row.consignment_key)
        .where(
            _consignment.destination == destination,
            _VERIFYING,
            _OPEN,
            sqlalchemy.or_(_row.due <= words.moment(now), _row.due > words.later(now, longest)),
        )
        .order_by(_row.due)
        .limit(limit)
    )
    return [_opened(row) for row in connection.execute(statement)]


def soonest(connection: sqlalchemy.Connection, destinations: Collection[str]) -> datetime.datetime | None:
    """When something is to be done for one of these destinations; None: nothing is being verified."""
    statement = (
        sqlalchemy.select(sqlalchemy.func.min(_row.due))
        .select_from(tables.consignment)
        .join(tables.verification, _row.consignment_key == _consignment.key)
        .where(_consignment.destination.in_(sorted(destinations)), _VERIFYING, _OPEN)
    )
    found = connection.execute(statement).scalar()
    return None if found is None else words.when(found)


def claim(connection: sqlalchemy.Connection, one: Open, until: datetime.datetime) -> bool:
    """Put off what was due, so that nobody else does it; False: somebody does."""
    statement = (
        sqlalchemy.update(tables.verification)
        .where(_row.key == one.key, _row.due == words.moment(one.due))
        .values(due=words.moment(until))
    )
    return connection.execute(statement).rowcount == 1


def asking(
    connection: sqlalchemy.Connection,
    one: Open,
    transaction: str,
    now: datetime.datetime,
    until: datetime.datetime,
) -> None:
    """A request for commitment goes out now, and its report may take until then."""
    _set(connection, one.key, transaction_uid=transaction, asked=words.moment(now), due=words.moment(until))


def postpone(connection: sqlalchemy.Connection, one: Open, until: datetime.datetime, error: str) -> None:
    """The destination could not be asked; it is asked again at `until`."""
    _set(
        connection,
        one.key,
        transaction_uid=None,
        asked=None,
        due=words.moment(until),
        attempts=_row.attempts + 1,
        error=words.clean(error),
    )


def hand_back(connection: sqlalchemy.Connection, one: Open, now: datetime.datetime) -> None:
    """Let somebody else do what was claimed, at once."""
    _set(connection, one.key, due=words.moment(now))


def over(connection: sqlalchemy.Connection, consignment: int) -> None:
    """What was asked has its answer, or its time is over; a report that comes late is still known."""
    connection.execute(
        sqlalchemy.delete(tables.verification).where(
            _row.consignment_key == consignment, _row.transaction_uid.is_(None)
        )
    )
    connection.execute(
        sqlalchemy.update(tables.verification).where(_row.consignment_key == consignment).values(asked=None)
    )


def by_transaction(connection: sqlalchemy.Connection, transaction: str) -> Open | None:
    """What a report is about."""
    statement = sqlalchemy.select(*_COLUMNS).where(_row.transaction_uid == transaction)
    found = connection.execute(statement).first()
    return None if found is None else _opened(found)


def waits_for(connection: sqlalchemy.Connection, transaction: str) -> bool:
    """Whether the report on this request is still awaited."""
    statement = sqlalchemy.select(_row.key).where(
        _row.transaction_uid == transaction, _row.asked.is_not(None)
    )
    return connection.execute(statement).first() is not None


def unsure(connection: sqlalchemy.Connection, consignment: int) -> list[Unsure]:
    """What of a consignment the destination has, and was not found to keep."""
    statement = (
        sqlalchemy.select(
            _delivery.key,
            _delivery.instance_key,
            tables.instance.c.sop_class,
            _delivery.sop_instance,
            _delivery.at,
            _delivery.attempts,
            _delivery.syntax,
        )
        .outerjoin(tables.instance, tables.instance.c.key == _delivery.instance_key)
        .where(
            _delivery.consignment_key == consignment,
            _delivery.state == orders.State.DONE.value,
            _delivery.verified.is_(None),
        )
        .order_by(_delivery.instance_key)
    )
    return [Unsure(*row[:4], words.when(row[4]), *row[5:]) for row in connection.execute(statement)]


def told(
    connection: sqlalchemy.Connection,
    consignment: int,
    kept: Sequence[int],
    missing: Sequence[Missing],
    now: datetime.datetime,
    again: datetime.datetime,
    witness: witnesses.Witness,
) -> orders.State:
    """Write down which deliveries (rows) are kept and which are missing; what the consignment comes to.

    What is missing goes out once more, not before `again`, or is given up.
    """
    keys.lock_owed(connection)
    whole = ledger.get(connection, consignment)
    if whole is None or whole.state is not orders.State.VERIFYING:
        missing = []  # it was cancelled, held or sent again meanwhile: that stands
    by_reason: dict[str, list[int]] = {}
    for one in missing:
        by_reason.setdefault(one.why, []).append(one.delivery)
    state = outcomes.verified(
        connection,
        consignment,
        kept,
        next(iter(by_reason.values()), []),
        now,
        due=again,
        error=next(iter(by_reason), ""),
        witness=witness,
    )
    for why, which in list(by_reason.items())[1:]:
        state = outcomes.verified(
            connection, consignment, [], which, now, due=again, error=why, witness=witness
        )
    dead = [_attempt(one.delivery, orders.State.DEAD, one.why, now) for one in missing if one.dead]
    if dead:
        outcomes.record(connection, consignment, dead, now, witness=witness)
    whole = ledger.get(connection, consignment)
    state = state if whole is None else whole.state
    if state is not orders.State.VERIFYING:
        over(connection, consignment)
    return state


def late(
    connection: sqlalchemy.Connection,
    consignment: int,
    committed: Collection[str],
    now: datetime.datetime,
    witness: witnesses.Witness,
) -> int:
    """Take back what was to go out once more, for the destination keeps it after all; how many that is."""
    waiting = connection.execute(
        sqlalchemy.select(_delivery.key, _delivery.sop_instance).where(
            _delivery.consignment_key == consignment, _delivery.state == orders.State.DUE.value
        )
    )
    found = [key for key, uid in waiting if uid in committed]
    if found:
        why = "it is committed, which was said late"
        outcomes.record(
            connection,
            consignment,
            [_attempt(key, orders.State.DONE, why, now) for key in found],
            now,
            witness=witness,
        )
        outcomes.verified(connection, consignment, found, [], now, witness=witness)
    return len(found)


def _attempt(delivery: int, outcome: orders.State, why: str, now: datetime.datetime) -> orders.Attempt:
    """What was found out about a delivery without sending it."""
    return orders.Attempt(delivery, now, outcome, None, "", 0, 0.0, why)


def forget(connection: sqlalchemy.Connection, before: datetime.datetime) -> None:
    """Drop the rows of what is not being verified any more, and was due before then."""
    verifying = sqlalchemy.select(_consignment.key).where(
        _consignment.key == _row.consignment_key, _VERIFYING
    )
    connection.execute(
        sqlalchemy.delete(tables.verification).where(
            _row.due < words.moment(before), ~sqlalchemy.exists(verifying)
        )
    )


def _set(connection: sqlalchemy.Connection, key: int, **values: object) -> None:
    connection.execute(sqlalchemy.update(tables.verification).where(_row.key == key).values(values))
