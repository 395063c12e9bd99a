"""What was decided, owed and answered, made rows again from the file ledger and the books.

Facts come in the order in which they came about. What they name is found by UIDs, for the keys of an index
that is made anew are others. An instance that is gone is the row of its removal, as everywhere.
"""

from __future__ import annotations

import collections
import datetime
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy

from node import orders
from node.files import book
from node.files import ledger as facts
from node.index import bulk, consignments, keys, lanes, outcomes, owing, replaying, tables, words

_consignment, _delivery = tables.consignment.c, tables.delivery.c
_settlement = tables.settlement.c
_State = orders.State

KINDS = frozenset(
    {
        facts.FORWARDING,
        facts.SETTLED,
        facts.DECIDED,
        facts.ENQUEUED,
        facts.CALLED_OFF,
        facts.ATTEMPTED,
        facts.GIVEN_UP,
        facts.VERIFYING,
        facts.VERIFIED,
        facts.MISSING,
        facts.OPERATED,
        facts.LANE,
    }
)
BEGUN = "forwarding"  # row of `meta`: up to when what came was there before there was forwarding
_NAMES = ("destination", "study", "series", "route", "revision", "created")
_KEPT = 64  # consignments whose deliveries are kept in mind


class Replay:
    """One replay into an index that has its instances and deletions, and nothing of forwarding."""

    def __init__(self) -> None:
        self._began: str | None = None  # what came until then was there before there was forwarding
        self._settled = False  # something was settled, so that forwarding had begun
        self._deliveries: collections.OrderedDict[int, dict[str, int]] = collections.OrderedDict()
        self._does: Mapping[str, Callable[[sqlalchemy.Connection, dict[str, Any]], None]] = {
            facts.FORWARDING: self._begin,
            facts.SETTLED: self._settle,
            facts.DECIDED: self._decide,
            facts.ENQUEUED: self._enqueue,
            facts.CALLED_OFF: self._call_off,
            facts.ATTEMPTED: self._attempted,
            facts.GIVEN_UP: self._give_up,
            facts.VERIFYING: self._verifying,
            facts.VERIFIED: self._verified,
            facts.MISSING: self._missing,
            facts.OPERATED: self._operated,
            facts.LANE: self._lane,
        }

    def fact(self, connection: sqlalchemy.Connection, fact: dict[str, Any]) -> None:
        """Do again what a line of the file ledger says; raises KeyError, TypeError or ValueError."""
        self._does[str(fact["kind"])](connection, fact)

    def said(self, connection: sqlalchemy.Connection, lines: Sequence[book.Said]) -> list[book.Said]:
        """Take in what destinations said; what comes back nobody owed, as far as is known."""
        attempts: list[orders.Attempt] = []
        lost = []
        known: dict[tuple[Any, ...], int | None] = {}
        for said in lines:
            name = _named(said)
            if name not in known:
                known[name] = self._key(connection, name)
            key = known[name]
            delivery = None if key is None else self._delivery(connection, key, said.sop_instance)
            if delivery is None:
                lost.append(said)
            else:
                attempts.append(_with(said.attempt, delivery))
        if attempts:
            outcomes.record(connection, 0, attempts, attempts[-1].at)
        return lost

    def made_up(self, connection: sqlalchemy.Connection, said: book.Said) -> bool:
        """Make the consignment of which only a book tells: what was delivered is not sent again.

        False when the instance is not known, or is owed there by another decision.
        """
        fact = dict(zip(_NAMES, _named(said), strict=True)) | {
            "kind": facts.ENQUEUED,
            "group": said.group,
            "priority": said.priority,
            "calendar": None,
            "steps": [],
            "state": _State.DUE.value,
            "due": said.created,
            "error": "",
            "at": said.created,
            "instances": [said.sop_instance],
        }
        instances = replaying.resolved(connection, fact)
        if not instances:
            return False
        owed = bulk.run(
            connection,
            "SELECT key FROM delivery WHERE instance_key = ? AND destination = ?",
            instances[0][0],
            said.destination,
        ).first()
        if owed is None:
            self._enqueue(connection, fact)
            return not self.said(connection, [said])
        outcomes.record(connection, 0, [_with(said.attempt, owed[0])], said.attempt.at)
        return True

    def close(self, connection: sqlalchemy.Connection) -> None:
        """Say of series how often they were settled, and of consignments what they come to."""
        # Without a word of when it began, and nothing ever settled, there was no forwarding here at all.
        before = self._began if self._began is not None or self._settled else _EVER
        if before:
            replaying.count_as_settled(connection, before)
        replaying.tell_series(connection)
        replaying.give_reasons(connection)

    # -- facts --

    def _begin(self, connection: sqlalchemy.Connection, fact: dict[str, Any]) -> None:
        if self._began is None:
            self._began = str(fact["before"])
            connection.execute(sqlalchemy.insert(tables.meta).values(name=BEGUN, value=self._began))

    def _settle(self, connection: sqlalchemy.Connection, fact: dict[str, Any]) -> None:
        self._settled = True
        columns = ("level", "study", "series", "revision", "at", "verdict", "instances", "signals")
        row = {name: fact[name] for name in columns}
        same = [_settlement[name] == row[name] for name in ("study", "series", "revision")]
        # Written twice by a crash between the line and the commit: the last is what was committed.
        connection.execute(sqlalchemy.delete(tables.settlement).where(*same))
        key = keys.take(connection, "settlement")
        connection.execute(sqlalchemy.insert(tables.settlement).values(key=key, **row))

    def _decide(self, connection: sqlalchemy.Connection, fact: dict[str, Any]) -> None:
        columns = ("study", "series", "revision", "route", "at", "matched", "destinations", "discard")
        row = {name: fact[name] for name in columns}
        decision = tables.decision.c
        same = [decision[name] == row[name] for name in ("study", "series", "revision", "route")]
        connection.execute(sqlalchemy.delete(tables.decision).where(*same))
        key = keys.take(connection, "decision")
        connection.execute(sqlalchemy.insert(tables.decision).values(key=key, **row))

    def _enqueue(self, connection: sqlalchemy.Connection, fact: dict[str, Any]) -> None:
        instances = replaying.resolved(connection, fact)
        if not instances:
            return
        target = self._target(connection, fact)
        for chunk in bulk.chunks(instances):
            rows = bulk.listed(connection, owing.OWED_ALREADY, [one[0] for one in chunk], target.destination)
            known = {row[0]: row for row in rows}
            fresh = [one for one in chunk if one[0] not in known]
            owing.grow(connection, target, fresh, list(known.values()), words.when(fact["at"]))
            for row in known.values():
                self._deliveries.pop(row[3], None)
        self._deliveries.pop(target.key, None)

    def _call_off(self, connection: sqlalchemy.Connection, fact: dict[str, Any]) -> None:
        for key, chunk in self._chosen(connection, fact, (_State.DUE, _State.DEAD)):
            now = words.when(fact["at"])
            whole = bool(fact.get("whole"))
            owing.called_off(connection, chunk, key, str(fact["error"]), now, None, whole=whole)

    def _attempted(self, connection: sqlalchemy.Connection, fact: dict[str, Any]) -> None:
        key = self._key(connection, _named(fact))
        if key is None:
            return
        attempts = []
        for uid, at, outcome, *rest in fact["attempts"]:
            delivery = self._delivery(connection, key, uid)
            if delivery is not None:
                attempts.append(orders.Attempt(delivery, words.when(at), _State(outcome), *rest))
        outcomes.record(connection, key, attempts, words.when(fact["at"]))

    def _give_up(self, connection: sqlalchemy.Connection, fact: dict[str, Any]) -> None:
        key = self._key(connection, _named(fact))
        if key is not None:
            outcomes.give_up(connection, key, words.when(fact["at"]), str(fact["error"]))

    def _verifying(self, connection: sqlalchemy.Connection, fact: dict[str, Any]) -> None:
        key = self._key(connection, _named(fact))
        if key is not None:
            _put(connection, key, (_State.DONE,), _State.VERIFYING)

    def _verified(self, connection: sqlalchemy.Connection, fact: dict[str, Any]) -> None:
        for key, chunk in self._chosen(connection, fact, (_State.DONE,)):
            which = [row.key for row in chunk]
            outcomes.verified(connection, key, which, [], words.when(fact["at"]))

    def _missing(self, connection: sqlalchemy.Connection, fact: dict[str, Any]) -> None:
        for key, chunk in self._chosen(connection, fact, (_State.DONE,)):
            which = [row.key for row in chunk]
            now = words.when(fact["at"])
            outcomes.verified(connection, key, [], which, now, error=str(fact["error"]))

    def _operated(self, connection: sqlalchemy.Connection, fact: dict[str, Any]) -> None:
        for name in fact["of"]:
            key = self._key(connection, _named(name))
            if key is None:
                continue
            match fact["action"]:
                case "hold":
                    _put(connection, key, (_State.DUE,), _State.HELD, str(fact["error"]))
                case "release":
                    _put(connection, key, (_State.HELD,), _State.DUE)
                case "priority":
                    values = (int(fact["priority"]), key)
                    bulk.many(connection, "UPDATE consignment SET priority = ? WHERE key = ?", [values])
                case "replay":
                    for _, chunk in self._chosen(connection, fact | name, (_State.DEAD,)):
                        rows = [row.key for row in chunk]
                        owing.replayed(connection, key, rows, words.when(fact["at"]))
                # What a person cancelled, moved or sent again has lines of its own.

    def _lane(self, connection: sqlalchemy.Connection, fact: dict[str, Any]) -> None:
        state = orders.LaneState(fact["state"])
        at = words.when(fact["at"])
        lanes.set_lane(connection, fact["destination"], state, at, reason=str(fact["reason"]))

    # -- finding what they name --

    def _key(self, connection: sqlalchemy.Connection, name: tuple[Any, ...]) -> int | None:
        found: int | None = bulk.run(connection, _FIND, *name).scalar()
        return found

    def _target(self, connection: sqlalchemy.Connection, fact: dict[str, Any]) -> orders.Consignment:
        key = self._key(connection, _named(fact))
        if key is None:
            key = keys.take(connection, "consignment")
            made = orders.Consignment(
                key=key,
                destination=str(fact["destination"]),
                group=str(fact["group"]),
                study=str(fact["study"]),
                series=str(fact["series"]),
                route=str(fact["route"]),
                revision=int(fact["revision"]),
                priority=orders.Priority(fact["priority"]),
                calendar=fact["calendar"],
                steps=consignments.steps_of(json.dumps(fact["steps"])),
                state=_State(fact["state"]),
                created=words.when(fact["created"]),
                due=words.when(fact["due"]),
                attempts=0,
                crashes=0,
                total=0,
                done=0,
                dead=0,
                fence=0,
                error=str(fact["error"]),
            )
            connection.execute(sqlalchemy.insert(tables.consignment).values(consignments.row(made)))
        found = consignments.get(connection, key)
        assert found is not None
        return found

    def _delivery(self, connection: sqlalchemy.Connection, key: int, uid: str) -> int | None:
        known = self._deliveries.get(key)
        if known is None:
            rows = bulk.run(
                connection, "SELECT sop_instance, key FROM delivery WHERE consignment_key = ?", key
            )
            known = self._deliveries[key] = {row[0]: row[1] for row in rows}
            while len(self._deliveries) > _KEPT:
                self._deliveries.popitem(last=False)
        self._deliveries.move_to_end(key)
        return known.get(uid)

    def _chosen(
        self, connection: sqlalchemy.Connection, fact: Mapping[str, Any], states: Iterable[orders.State]
    ) -> Iterable[tuple[int, Sequence[Any]]]:
        """The deliveries that a fact names and that stand so, in shares."""
        key = self._key(connection, _named(fact))
        if key is None:
            return
        for chunk in bulk.chunks(list(fact["instances"])):
            statement = (
                sqlalchemy.select(_delivery.key, _delivery.sop_instance, _delivery.state)
                .where(
                    _delivery.consignment_key == key,
                    _delivery.sop_instance.in_(chunk),
                    _delivery.state.in_([state.value for state in states]),
                )
                .order_by(_delivery.instance_key)
            )
            rows = connection.execute(statement).all()
            if rows:
                yield key, rows


_FIND = (
    "SELECT key FROM consignment WHERE destination = ? AND study = ? AND series = ? AND route = ?"
    " AND revision = ? AND created = ? ORDER BY key DESC LIMIT 1"
)
_EVER = words.later(datetime.datetime.max.replace(tzinfo=words.UTC), 0)


def _named(of: Mapping[str, Any] | book.Said) -> tuple[Any, ...]:
    if isinstance(of, book.Said):
        created = words.moment(datetime.datetime.fromisoformat(of.created))
        return of.destination, of.study, of.series, of.route, of.revision, created
    return tuple(of[name] for name in _NAMES)


def _with(attempt: orders.Attempt, delivery: int) -> orders.Attempt:
    return orders.Attempt(
        delivery,
        attempt.at,
        attempt.outcome,
        attempt.status,
        attempt.syntax,
        attempt.size,
        attempt.seconds,
        attempt.error,
    )


def _put(
    connection: sqlalchemy.Connection,
    key: int,
    states: Sequence[orders.State],
    to: orders.State,
    error: str = "",
) -> None:
    connection.execute(
        sqlalchemy.update(tables.consignment)
        .where(_consignment.key == key, _consignment.state.in_([state.value for state in states]))
        .values(state=to.value, error=words.clean(error))
    )
