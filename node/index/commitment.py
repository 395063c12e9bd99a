"""Storage commitment transactions: what was asked, what was found, and when the report is tried next."""

from __future__ import annotations

import dataclasses
import datetime
import enum
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy
import sqlalchemy.exc

from node.files import ledger
from node.index import keys, tables, words

_commitment = tables.commitment.c
_item = tables.commitment_item.c


class State(enum.StrEnum):
    """How far a transaction is."""

    ASKED = "asked"  # the request is accepted; digests are still to be verified
    VERIFIED = "verified"  # every item has its answer; the report is still to be sent
    REPORTED = "reported"  # the requester has the report
    GIVEN_UP = "given-up"  # it could not be told; the last error says why


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """One instance that a requester wants to be sure of."""

    sop_class: str  # Referenced SOP Class UID
    sop_instance: str  # Referenced SOP Instance UID
    failure: int | None = None  # Failure Reason; 0: committed; None: not verified yet


@dataclasses.dataclass(frozen=True, slots=True)
class Transaction:
    """One storage commitment transaction."""

    key: int  # its row
    requester: str  # AE title that asked
    transaction_uid: str  # Transaction UID
    called: str  # AE title it called us by
    address: str  # where it asked from
    association: str  # the association it asked on
    requested: datetime.datetime  # when
    state: State  # how far it is
    attempts: int  # reports tried so far
    next_attempt: datetime.datetime | None  # when it is due; None: never again
    last_error: str  # why the last report failed
    items: tuple[Asked, ...]  # in the order of the request


def accept(
    connection: sqlalchemy.Connection,
    *,
    requester: str,
    transaction_uid: str,
    called: str,
    address: str,
    association: str,
    items: Sequence[Asked],
    now: datetime.datetime,
) -> int | None:
    """Write a request down, due at once; its key, or nothing when the requester used that UID before.

    Call `database.durable()` before the request is answered with success.
    """
    used = sqlalchemy.select(_commitment.key).where(
        _commitment.requester == requester, _commitment.transaction_uid == transaction_uid
    )
    if connection.execute(used).first() is not None:
        return None
    key = keys.take(connection, "commitment")
    at = words.moment(now)
    connection.execute(
        sqlalchemy.insert(tables.commitment).values(
            key=key,
            requester=words.clean(requester),
            transaction_uid=words.clean(transaction_uid),
            called=words.clean(called),
            address=address,
            association=association,
            requested=at,
            state=State.ASKED.value,
            next_attempt=at,
        )
    )
    rows = [
        {
            "commitment_key": key,
            "position": position,
            "sop_class": words.clean(item.sop_class),
            "sop_instance": words.clean(item.sop_instance),
            "failure": item.failure,
        }
        for position, item in enumerate(items)
    ]
    if rows:
        connection.execute(sqlalchemy.insert(tables.commitment_item), rows)
    return key


def get(connection: sqlalchemy.Connection, key: int) -> Transaction | None:
    """One transaction with its items."""
    row = connection.execute(sqlalchemy.select(tables.commitment).where(_commitment.key == key)).first()
    return None if row is None else _transaction(connection, row)


def due(connection: sqlalchemy.Connection, now: datetime.datetime, limit: int = 100) -> list[Transaction]:
    """Transactions to work on, those that wait longest first."""
    statement = (
        sqlalchemy.select(tables.commitment)
        .where(_commitment.next_attempt <= words.moment(now))
        .order_by(_commitment.next_attempt)
        .limit(limit)
    )
    return [_transaction(connection, row) for row in connection.execute(statement).all()]


def waiting(connection: sqlalchemy.Connection) -> list[tuple[str, int, datetime.datetime]]:
    """Who is owed reports: AE title, how many, since when the oldest was asked for."""
    columns = (_commitment.requester, sqlalchemy.func.count(), sqlalchemy.func.min(_commitment.requested))
    statement = (
        sqlalchemy.select(*columns)
        .where(_commitment.next_attempt.is_not(None))
        .group_by(_commitment.requester)
    )
    return [
        (requester, count, words.when(oldest)) for requester, count, oldest in connection.execute(statement)
    ]


def claim(
    connection: sqlalchemy.Connection, key: int, seen: datetime.datetime, until: datetime.datetime
) -> bool:
    """Put off a transaction that was due at `seen`, so that nobody else works on it; False: somebody does."""
    statement = (
        sqlalchemy.update(tables.commitment)
        .where(_commitment.key == key, _commitment.next_attempt == words.moment(seen))
        .values(next_attempt=words.moment(until))
    )
    return connection.execute(statement).rowcount == 1


def renew(connection: sqlalchemy.Connection, key: int, until: datetime.datetime) -> None:
    """Hold a claim longer."""
    _set(connection, key, next_attempt=words.moment(until))


def again(
    connection: sqlalchemy.Connection,
    requester: str,
    transaction_uid: str,
    items: Sequence[Asked],
    now: datetime.datetime,
) -> int | None:
    """The key of a transaction that is asked for once more with the same items: due, to be verified anew.

    None when it is about other items. A requester that lost our answer asks again like that.
    """
    row = connection.execute(
        sqlalchemy.select(tables.commitment).where(
            _commitment.requester == requester, _commitment.transaction_uid == transaction_uid
        )
    ).first()
    if row is None:
        return None
    before = _transaction(connection, row)
    if [(item.sop_class, item.sop_instance) for item in before.items] != [
        (item.sop_class, item.sop_instance) for item in items
    ]:
        return None
    at = words.moment(now)
    _set(connection, before.key, state=State.ASKED.value, requested=at, next_attempt=at, attempts=0)
    return before.key


def verified(connection: sqlalchemy.Connection, key: int, failures: Mapping[int, int]) -> None:
    """Write down each item's Failure Reason by its position, 0 for committed; the report may go."""
    if failures:
        connection.execute(
            sqlalchemy.update(tables.commitment_item)
            .where(
                _item.commitment_key == key,
                _item.position == sqlalchemy.bindparam("at"),
            )
            .values(failure=sqlalchemy.bindparam("reason")),
            [{"at": position, "reason": reason} for position, reason in failures.items()],
        )
    _set(connection, key, state=State.VERIFIED.value)


def reported(connection: sqlalchemy.Connection, key: int) -> None:
    """The requester has the report."""
    _set(connection, key, state=State.REPORTED.value, next_attempt=None, last_error="")


def postpone(connection: sqlalchemy.Connection, key: int, until: datetime.datetime, error: str) -> None:
    """The report failed; it is tried again at `until`."""
    _set(
        connection,
        key,
        attempts=_commitment.attempts + 1,
        next_attempt=words.moment(until),
        last_error=words.clean(error),
    )


def give_up(connection: sqlalchemy.Connection, key: int, error: str) -> None:
    """The report failed for the last time."""
    _set(
        connection,
        key,
        state=State.GIVEN_UP.value,
        attempts=_commitment.attempts + 1,
        next_attempt=None,
        last_error=words.clean(error),
    )


def accepted(transaction: Transaction) -> dict[str, object]:
    """The fact for the ledger that a request was accepted."""
    return {
        "kind": ledger.COMMITMENT,
        "requester": transaction.requester,
        "transaction": transaction.transaction_uid,
        "called": transaction.called,
        "address": transaction.address,
        "association": transaction.association,
        "requested": transaction.requested.isoformat(),
        "items": [(item.sop_class, item.sop_instance) for item in transaction.items],
    }


def closed(transaction: Transaction, state: State) -> dict[str, object]:
    """The fact for the ledger that a requester has its report, or never will."""
    return {
        "kind": ledger.COMMITMENT_CLOSED,
        "requester": transaction.requester,
        "transaction": transaction.transaction_uid,
        "state": state.value,
    }


def replay(connection: sqlalchemy.Connection, fact: dict[str, Any]) -> None:
    """Do again what the ledger says of a transaction; one that is still open is due at once."""
    if fact["kind"] == ledger.COMMITMENT:
        requested = datetime.datetime.fromisoformat(fact["requested"])
        items = [Asked(str(sop_class), str(sop_instance)) for sop_class, sop_instance in fact["items"]]
        requester, transaction_uid = str(fact["requester"]), str(fact["transaction"])
        key = accept(
            connection,
            requester=requester,
            transaction_uid=transaction_uid,
            called=fact["called"],
            address=fact["address"],
            association=fact["association"],
            items=items,
            now=requested,
        )
        if key is None:
            again(connection, requester, transaction_uid, items, requested)
        return
    which = sqlalchemy.select(_commitment.key).where(
        _commitment.requester == fact["requester"], _commitment.transaction_uid == fact["transaction"]
    )
    key = connection.execute(which).scalar()
    if key is not None:
        _set(connection, key, state=State(fact["state"]).value, next_attempt=None)


def _set(connection: sqlalchemy.Connection, key: int, **values: object) -> None:
    connection.execute(sqlalchemy.update(tables.commitment).where(_commitment.key == key).values(values))


def _transaction(connection: sqlalchemy.Connection, row: sqlalchemy.Row[*tuple[object, ...]]) -> Transaction:
    values = row._asdict()
    items = connection.execute(
        sqlalchemy.select(_item.sop_class, _item.sop_instance, _item.failure)
        .where(_item.commitment_key == values["key"])
        .order_by(_item.position)
    )
    values["items"] = tuple(Asked(*item) for item in items)
    values["state"] = State(values["state"])
    values["requested"] = words.when(values["requested"])
    due_at = values["next_attempt"]
    values["next_attempt"] = None if due_at is None else words.when(due_at)
    return Transaction(**values)
