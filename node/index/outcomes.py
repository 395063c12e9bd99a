"""What became of deliveries: results, ends of claims, verification. Others call it as `ledger.record` etc.

That a destination said that it has an instance is a fact whoever heard it; only the state of the consignment
is guarded by the fence of the claim.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

import sqlalchemy

from node import orders
from node.files import ledger
from node.index import bulk, consignments, keys, tables, words
from node.index import witness as witnesses

_consignment = tables.consignment.c
_State = orders.State

_KNOWN = (
    "SELECT key, consignment_key, state, attempts, at, status, syntax, size, seconds, error FROM delivery"
    " WHERE key IN (?*)"
)
_BEFORE = "SELECT delivery_key, at FROM attempt WHERE delivery_key IN (?*)"
_LAST = (
    "UPDATE delivery SET state = ?, attempts = ?, at = ?, status = ?, syntax = ?, size = ?, seconds = ?,"
    " error = ? WHERE key = ?"
)


def record(
    connection: sqlalchemy.Connection,
    key: int,
    attempts: Sequence[orders.Attempt],
    now: datetime.datetime,
    *,
    witness: witnesses.Witness | None = None,
) -> None:
    """Write down what became of deliveries; an attempt that is known already changes nothing.

    The witness is told of what stands in no book.
    """
    keys.lock_owed(connection)
    if witness is not None:
        _witnessed(connection, key, attempts, now, witness)
    moved = consignments.Moved()
    for chunk in bulk.chunks(attempts):
        _record(connection, chunk, moved)
    moved.write(connection)
    consignments.settle(connection, sorted({key, *moved.keys}), now)


def _witnessed(
    connection: sqlalchemy.Connection,
    key: int,
    attempts: Sequence[orders.Attempt],
    now: datetime.datetime,
    witness: witnesses.Witness,
) -> None:
    row = _row(connection, key)
    if row is None:
        return
    named = consignments.name(consignments.of(row))
    for chunk in bulk.chunks(attempts):
        uids = {found[0]: found[1] for found in bulk.listed(connection, _NAMES, [a.delivery for a in chunk])}
        said = [
            [
                uids[one.delivery],
                words.moment(one.at),
                one.outcome.value,
                one.status,
                one.syntax,
                one.size,
                one.seconds,
                one.error,
            ]
            for one in chunk
            if one.delivery in uids
        ]
        witness.noted(ledger.ATTEMPTED, **named, at=words.moment(now), attempts=said)


def _record(
    connection: sqlalchemy.Connection, attempts: Sequence[orders.Attempt], moved: consignments.Moved
) -> None:
    which = list({one.delivery: None for one in attempts})
    known: dict[int, list[Any]] = {row[0]: list(row) for row in bulk.listed(connection, _KNOWN, which)}
    tried = [key for key, row in known.items() if row[4] is not None]
    before = {tuple(row) for row in bulk.listed(connection, _BEFORE, tried)} if tried else set()
    history: list[dict[str, Any]] = []
    changed: dict[int, None] = {}
    for one in attempts:
        row = known.get(one.delivery)
        at = words.moment(one.at)
        if row is None or row[4] == at or (one.delivery, at) in before:
            continue  # nothing is owed under that row any more, or it was recorded before
        if row[4] is not None:
            before.add((one.delivery, row[4]))
            history.append(_history(one.delivery, row))
        state = _State(row[2])
        after = _after(state, one.outcome)
        moved.changed(row[1], state, after)
        error = words.clean(one.error) or ""
        row[2:] = (
            after.value, row[3] + 1, at, one.status, one.syntax, one.size, one.seconds, error
        )  # fmt: skip
        changed[one.delivery] = None
    if history:
        first = keys.take(connection, "attempt", len(history))
        for number, entry in enumerate(history):
            entry["key"] = first + number
        bulk.insert(connection, tables.attempt, history)
    bulk.many(connection, _LAST, [(*known[key][2:], key) for key in changed])


def _history(delivery: int, row: Sequence[Any]) -> dict[str, Any]:
    """The last attempt of a delivery, before another one takes its place."""
    _, _, _, _, at, status, syntax, size, seconds, error = row
    return {
        "key": 0,
        "delivery_key": delivery,
        "at": at,
        "outcome": _outcome(row).value,
        "status": status,
        "syntax": syntax,
        "size": size,
        "seconds": seconds,
        "error": error,
    }


def _outcome(row: Sequence[Any]) -> orders.State:
    """What the last attempt said; the row may have been asked for again since."""
    state = _State(row[2])
    return state if state in (_State.DONE, _State.DEAD) else _State.DUE


def _after(before: orders.State, outcome: orders.State) -> orders.State:
    """How a delivery that stood so stands after an attempt."""
    if outcome is _State.DONE or before is _State.DUE:
        return outcome
    return before  # it was done, given up or cancelled meanwhile


REASON = (
    "SELECT error FROM delivery WHERE consignment_key = ? AND state = 'dead' ORDER BY instance_key LIMIT 1"
)
_FINISH = (
    "UPDATE consignment SET state = ?, claim = '', due = ?, error = ?, crashes = crashes + ?, changed = ?,"
    # What was broken off without a fault, or grew meanwhile, has nothing against it.
    " attempts = CASE WHEN ? = 1 THEN 0 ELSE attempts END WHERE key = ?"
)


def finish(
    connection: sqlalchemy.Connection,
    key: int,
    fence: int,
    now: datetime.datetime,
    *,
    due: datetime.datetime | None = None,
    error: str = "",
    crashed: bool = False,
    verify: bool = False,
    witness: witnesses.Witness | None = None,
) -> orders.State:
    """End a claim: what the consignment comes to now. Whoever holds an older fence changes nothing.

    Due again at `due` (None: at once) while some of its deliveries are, for the reason in `error`. With
    `verify`, what would be done is to be made sure first. What was held or cancelled meanwhile stays so.
    """
    keys.lock_owed(connection)
    row = _row(connection, key)
    if row is None:
        return _State.CANCELLED
    state = _State(row["state"])
    if row["fence"] != fence or state not in (_State.RUNNING, _State.HELD, _State.CANCELLED):
        return state
    left = row["total"] - row["done"] - row["dead"] - row["cancelled"]
    before = _State.DUE if state is _State.RUNNING else state
    after = consignments.comes_to(before, due=left, dead=row["dead"], done=row["done"])
    # What arrived is made sure of, whatever became of the rest.
    arrived = after is _State.DONE or (after is _State.DEAD and _unsure(connection, key))
    if verify and arrived:
        after = _State.VERIFYING
        if witness is not None:
            named = consignments.name(consignments.of(row))
            witness.noted(ledger.VERIFYING, **named, at=words.moment(now))
    if after is _State.DEAD and not error:
        error = _given_up(connection, row)
    if after in (_State.HELD, _State.CANCELLED):
        error = row["error"]
    moment = words.moment(due or now) if after is _State.DUE else row["due"]
    well = int(after is _State.DUE and not error and not crashed)
    values = (after.value, moment, words.clean(error), int(crashed), words.moment(now), well, key)
    bulk.many(connection, _FINISH, [values])
    return after


def _given_up(connection: sqlalchemy.Connection, row: Any) -> str:
    reason = bulk.run(connection, REASON, row["key"]).scalar()
    return f"{row['dead']} of {row['total']} were given up: {reason}"


_GIVE_UP = "UPDATE delivery SET state = 'dead', error = ? WHERE consignment_key = ? AND state = 'due'"


def give_up(
    connection: sqlalchemy.Connection,
    key: int,
    now: datetime.datetime,
    error: str,
    *,
    witness: witnesses.Witness | None = None,
) -> orders.State:
    """Make what is due of a consignment dead letters, whoever is at it: the work is poison."""
    keys.lock_owed(connection)
    row = _row(connection, key)
    if row is None:
        return _State.CANCELLED
    if witness is not None:
        named = consignments.name(consignments.of(row))
        witness.noted(ledger.GIVEN_UP, **named, at=words.moment(now), error=error, fence=row["fence"])
    many = bulk.run(connection, _GIVE_UP, words.clean(error), key).rowcount
    statement = (
        sqlalchemy.update(tables.consignment)
        .where(_consignment.key == key)
        .values(
            dead=_consignment.dead + many,
            # Who was at it may be alive after all, and must not think that it is still its own.
            fence=_consignment.fence + 1,
            state=_State.DUE.value,
            claim="",
            error=words.clean(error),
            changed=words.moment(now),
        )
    )
    connection.execute(statement)
    consignments.settle(connection, key, now)
    after = _row(connection, key)
    return _State.CANCELLED if after is None else _State(after["state"])


def verified(
    connection: sqlalchemy.Connection,
    key: int,
    present: Sequence[int],
    missing: Sequence[int],
    now: datetime.datetime,
    *,
    due: datetime.datetime | None = None,
    error: str = "",
    witness: witnesses.Witness | None = None,
) -> orders.State:
    """Write down which deliveries (rows) the destination was found to keep, and which it has not after all.

    What is missing is due again. What is verified whole is done; else it stays as it was.
    """
    keys.lock_owed(connection)
    row = _row(connection, key)
    if row is None:
        return _State.CANCELLED
    at = words.moment(now)
    if witness is not None:
        named = consignments.name(consignments.of(row))
        for kind, which in ((ledger.VERIFIED, present), (ledger.MISSING, missing)):
            for chunk in bulk.chunks(list(which)):
                uids = [found[1] for found in bulk.listed(connection, _NAMES, chunk)]
                witness.noted(kind, **named, at=at, fence=row["fence"], error=error, instances=uids)
    bulk.many(
        connection,
        "UPDATE delivery SET verified = ? WHERE key = ? AND state = 'done'",
        [(at, one) for one in present],
    )
    moved = consignments.Moved()
    for chunk in bulk.chunks(list(missing)):
        for one, owner, state in bulk.listed(connection, _DONE, chunk):
            moved.changed(owner, _State(state), _State.DUE)
            values = (words.clean(error), one)
            bulk.many(connection, "UPDATE delivery SET state = 'due', error = ? WHERE key = ?", [values])
    moved.write(connection)
    consignments.settle(connection, [one for one in moved.keys if one != key], now)
    return _verified(connection, key, now, due, error)


_NAMES = "SELECT key, sop_instance FROM delivery WHERE key IN (?*)"
_DONE = "SELECT key, consignment_key, state FROM delivery WHERE key IN (?*) AND state = 'done'"
_UNSURE = "SELECT 1 FROM delivery WHERE consignment_key = ? AND state = 'done' AND verified IS NULL LIMIT 1"


def _unsure(connection: sqlalchemy.Connection, key: int) -> bool:
    """Whether something arrived of which nobody made sure yet."""
    return bulk.run(connection, _UNSURE, key).first() is not None


def _verified(
    connection: sqlalchemy.Connection,
    key: int,
    now: datetime.datetime,
    due: datetime.datetime | None,
    error: str,
) -> orders.State:
    row = _row(connection, key)
    if row is None:
        return _State.CANCELLED
    state = _State(row["state"])
    if state is not _State.VERIFYING:
        return state
    left = row["total"] - row["done"] - row["dead"] - row["cancelled"]
    if not left and _unsure(connection, key):
        return state
    after = consignments.comes_to(_State.DUE, due=left, dead=row["dead"], done=row["done"])
    if after is _State.DEAD and not error:
        error = _given_up(connection, row)
    moment = words.moment(due or now) if left else row["due"]
    values = (after.value, moment, words.clean(error), 0, words.moment(now), 0, key)
    bulk.many(connection, _FINISH, [values])
    return after


def _row(connection: sqlalchemy.Connection, key: int) -> sqlalchemy.RowMapping | None:
    statement = sqlalchemy.select(tables.consignment).where(_consignment.key == key).with_for_update()
    return connection.execute(statement).mappings().first()
