"""Finished work of which nothing is held any more leaves the queue; the files keep all of it."""

from __future__ import annotations

import datetime
from collections.abc import Callable

import sqlalchemy

from node import orders
from node.index import db, keys, tables, words

_PAGE = 200  # consignments in one transaction

_consignment, _delivery = tables.consignment.c, tables.delivery.c
_FINISHED = [state.value for state in orders.State if state not in orders.OPEN]


def finished(
    database: db.Database, before: datetime.datetime, *, stop: Callable[[], bool] = lambda: False
) -> int:
    """Forget consignments that ended before that moment and whose instances are all gone; how many."""
    many = after = 0
    while not stop():
        with database.read() as connection:
            seen = connection.execute(_NEXT, {"after": after, "before": words.moment(before)}).all()
        if not seen:
            return many
        after = seen[-1].key
        gone = [row.key for row in seen if not row.held]
        if gone:
            with database.write() as connection:
                many += _forget(connection, gone)
    return many


# What is left of a series is what tells: one look at the first delivery mostly does.
_STILL = (
    sqlalchemy.select(tables.instance.c.key)
    .join(tables.delivery, _delivery.instance_key == tables.instance.c.key)
    .where(_delivery.consignment_key == _consignment.key)
    .correlate(tables.consignment)
    .exists()
)
_NEXT = (
    sqlalchemy.select(_consignment.key, _STILL.label("held"))
    .where(
        _consignment.key > sqlalchemy.bindparam("after"),
        _consignment.state.in_(_FINISHED),
        _consignment.changed < sqlalchemy.bindparam("before"),
    )
    .order_by(_consignment.key)
    .limit(_PAGE)
)


def _forget(connection: sqlalchemy.Connection, gone: list[int]) -> int:
    keys.lock_owed(connection)
    # A late answer may have come between the look and this.
    still = sqlalchemy.select(_consignment.key).where(
        _consignment.key.in_(gone), _consignment.state.in_(_FINISHED), ~_STILL
    )
    which = list(connection.execute(still).scalars())
    deliveries = sqlalchemy.select(_delivery.key).where(_delivery.consignment_key.in_(which))
    for table, mine in (
        (tables.attempt, tables.attempt.c.delivery_key.in_(deliveries)),
        (tables.delivery, _delivery.consignment_key.in_(which)),
        (tables.verification, tables.verification.c.consignment_key.in_(which)),
        (tables.consignment, _consignment.key.in_(which)),
    ):
        connection.execute(sqlalchemy.delete(table).where(mine))
    return len(which)
