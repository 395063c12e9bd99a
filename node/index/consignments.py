"""Consignments as rows and as facts, and the counters and states that follow from their deliveries."""

from __future__ import annotations

import collections
import datetime
import json
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy

from node import orders
from node.index import bulk, tables, words

_consignment = tables.consignment.c

_encode = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), sort_keys=True).encode
_COUNTED = {
    orders.State.DONE: "done",
    orders.State.DEAD: "dead",
    orders.State.CANCELLED: "cancelled",
}


def steps(settings: Sequence[orders.StepSetting]) -> str:
    """Steps as the database and the file ledger hold them."""
    return _encode([[setting.step, dict(setting.options)] for setting in settings])


def steps_of(written: str) -> tuple[orders.StepSetting, ...]:
    """What `steps` wrote."""
    return tuple(orders.StepSetting(step, options) for step, options in json.loads(written))


def row(one: orders.Consignment) -> dict[str, Any]:
    """The row of a new consignment."""
    return {
        "key": one.key,
        "destination": words.clean(one.destination),
        "group": words.clean(one.group),
        "study": one.study,
        "series": one.series,
        "route": words.clean(one.route),
        "revision": one.revision,
        "priority": int(one.priority),
        "calendar": one.calendar,
        "steps": steps(one.steps),
        "state": one.state.value,
        "created": words.moment(one.created),
        "due": words.moment(one.due),
        "attempts": one.attempts,
        "crashes": one.crashes,
        "total": one.total,
        "done": one.done,
        "dead": one.dead,
        "cancelled": one.cancelled,
        "fence": one.fence,
        "error": words.clean(one.error),
        "changed": words.moment(one.created),
    }


def of(values: Mapping[Any, Any]) -> orders.Consignment:
    """A row of the table, all its columns selected."""
    return orders.Consignment(
        key=values["key"],
        destination=values["destination"],
        group=values["group"],
        study=values["study"],
        series=values["series"],
        route=values["route"],
        revision=values["revision"],
        priority=orders.Priority(values["priority"]),
        calendar=values["calendar"],
        steps=steps_of(values["steps"]),
        state=orders.State(values["state"]),
        created=words.when(values["created"]),
        due=words.when(values["due"]),
        attempts=values["attempts"],
        crashes=values["crashes"],
        total=values["total"],
        done=values["done"],
        dead=values["dead"],
        fence=values["fence"],
        error=values["error"],
        cancelled=values["cancelled"],
    )


def get(connection: sqlalchemy.Connection, key: int) -> orders.Consignment | None:
    """One consignment."""
    statement = sqlalchemy.select(tables.consignment).where(_consignment.key == key)
    found = connection.execute(statement).mappings().first()
    return None if found is None else of(found)


def name(one: orders.Consignment) -> dict[str, Any]:
    """What names it for ever: rows get other keys when an index is made anew."""
    return {
        "destination": one.destination,
        "study": one.study,
        "series": one.series,
        "route": one.route,
        "revision": one.revision,
        "created": words.moment(one.created),
    }


def fact(one: orders.Consignment) -> dict[str, Any]:
    """What the file ledger says of one that is new, or that grows."""
    return name(one) | {
        "group": one.group,
        "priority": int(one.priority),
        "calendar": one.calendar,
        "steps": json.loads(steps(one.steps)),
        "state": one.state.value if one.state is orders.State.HELD else orders.State.DUE.value,
        "due": words.moment(one.due),
        "error": one.error,
    }


class Moved:
    """Changes of counters that are collected, and written once for each consignment."""

    def __init__(self) -> None:
        self._changes: dict[int, collections.Counter[str]] = {}

    def left(self, key: int, state: orders.State) -> None:
        """A delivery that stood so is part of another consignment now."""
        self._of(key)["total"] -= 1
        self._count(key, state, -1)

    def changed(self, key: int, before: orders.State, after: orders.State) -> None:
        """A delivery of this consignment stands otherwise now."""
        if before is not after:
            self._count(key, before, -1)
            self._count(key, after, 1)

    @property
    def keys(self) -> list[int]:
        """The consignments that something changed in."""
        return sorted(self._changes)

    def write(self, connection: sqlalchemy.Connection) -> None:
        """Make the counters say it."""
        bulk.many(
            connection,
            "UPDATE consignment SET total = total + ?, done = done + ?, dead = dead + ?,"
            " cancelled = cancelled + ? WHERE key = ?",
            [
                (by["total"], by["done"], by["dead"], by["cancelled"], key)
                for key, by in sorted(self._changes.items())
                if any(by.values())
            ],
        )

    def _of(self, key: int) -> collections.Counter[str]:
        return self._changes.setdefault(key, collections.Counter())

    def _count(self, key: int, state: orders.State, by: int) -> None:
        self._of(key)
        if state in _COUNTED:
            self._changes[key][_COUNTED[state]] += by


def comes_to(state: orders.State, *, due: int, dead: int, done: int) -> orders.State:
    """The state of a consignment that stood so, given how many of its deliveries stand how."""
    if due:
        return state if state in (orders.State.HELD, orders.State.RUNNING) else orders.State.DUE
    if state is orders.State.RUNNING:
        return state  # its lane says when it is through with it
    if state is orders.State.VERIFYING and done:
        return state  # who makes sure says when that is over
    if dead:
        return orders.State.DEAD
    if state in (orders.State.CANCELLED, orders.State.VERIFYING):
        return state
    return orders.State.DONE if done else orders.State.CANCELLED


_HOW = "SELECT key, state, total, done, dead, cancelled FROM consignment WHERE key IN (?*)"
_PUT = "UPDATE consignment SET state = ?, changed = ? WHERE key = ?"


def settle(connection: sqlalchemy.Connection, which: int | Sequence[int], now: datetime.datetime) -> None:
    """Give consignments that no lane is at the state that their counters come to."""
    puts = []
    at = words.moment(now)
    for chunk in bulk.chunks([which] if isinstance(which, int) else which):
        for key, written, total, done, dead, cancelled in bulk.listed(connection, _HOW, chunk):
            state = orders.State(written)
            after = comes_to(state, due=total - done - dead - cancelled, dead=dead, done=done)
            if after is not state:
                puts.append((after.value, at, key))
    bulk.many(connection, _PUT, puts)


def drop_if_empty(connection: sqlalchemy.Connection, key: int) -> None:
    """Forget a consignment of which every delivery became part of another; the file ledger has it."""
    gone = connection.execute(
        sqlalchemy.delete(tables.consignment).where(_consignment.key == key, _consignment.total == 0)
    )
    if gone.rowcount:
        which = tables.verification.c.consignment_key == key
        connection.execute(sqlalchemy.delete(tables.verification).where(which))
