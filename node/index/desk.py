"""What a person may do about the queue: hold, release, retry, replay, cancel, move, resend, priority.

Each is written to the file ledger with who and why before its commit, changes nothing when it is done twice,
and is safe beside running workers: what is taken from a worker has another state or fence, for which it asks
before each page. Ring the bell after the commit.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import sqlalchemy

from node import orders
from node.files import ledger as facts
from node.index import bulk, consignments, keys, lanes, ledger, queue, tables, words
from node.index import witness as witnesses

_State = orders.State
_consignment = tables.consignment.c
_delivery = tables.delivery.c
_instance = tables.instance.c


class Done(NamedTuple):
    """What an action did."""

    consignments: int  # how many it changed, or made
    deliveries: int  # how many instances that is about


class Desk:
    """Where a person acts on the queue: what is done is written down with who and why."""

    def __init__(
        self,
        connection: sqlalchemy.Connection,
        *,
        who: str,
        why: str,
        now: datetime.datetime,
        witness: witnesses.Witness | None = None,
    ) -> None:
        """Use it within one `database.write()` scope."""
        self._connection = connection
        self._who = who
        self._why = why
        self._now = now
        self._at = words.moment(now)
        self._witness = witness
        keys.lock_owed(connection)

    def stop(self, destination: str) -> None:
        """Send nothing to a destination until somebody lets it go on; what goes out now is broken off."""
        reason = self._words("held")
        lanes.set_lane(self._connection, destination, orders.LaneState.HELD, self._now, reason=reason)
        self._lane(destination, orders.LaneState.HELD, reason)

    def go_on(self, destination: str) -> None:
        """Let a destination go on, and try one that is down now."""
        lanes.set_lane(self._connection, destination, orders.LaneState.UP, self._now)
        self._lane(destination, orders.LaneState.UP, "")

    def hold(self, chosen: queue.Chosen) -> Done:
        """Let what is open wait until somebody releases it; a lane that is at it stops at its next page."""
        return self._put(chosen, (_State.DUE, _State.RUNNING), "hold", _State.HELD, self._words("held"))

    def release(self, chosen: queue.Chosen) -> Done:
        """Let what is held go out."""
        return self._put(chosen, (_State.HELD,), "release", _State.DUE, "")

    def retry(self, chosen: queue.Chosen) -> Done:
        """Let what waits for its next try go out now, and try a destination that is down."""
        if chosen.destination is not None:
            lane = lanes.lane(self._connection, chosen.destination)
            if lane.state is orders.LaneState.DOWN:
                lanes.set_lane(
                    self._connection,
                    lane.destination,
                    lane.state,
                    self._now,
                    failures=lane.failures,
                    probe=self._now,
                    reason=lane.reason,
                )
        return self._put(chosen, (_State.DUE,), "retry", _State.DUE, "")

    def prioritise(self, chosen: queue.Chosen, priority: orders.Priority) -> Done:
        """Let what is open go out sooner, or later."""
        found = self._found(chosen, orders.OPEN)
        self._note("priority", found, priority=int(priority))
        bulk.many(
            self._connection,
            "UPDATE consignment SET priority = ?, changed = ? WHERE key = ?",
            [(int(priority), self._at, one.key) for one in found],
        )
        return _counted(found)

    def replay(self, chosen: queue.Chosen) -> Done:
        """Let dead letters go out once more."""
        found = self._found(dataclasses.replace(chosen, states=()), (), dead=True)
        only = queue.of_instance(self._connection, chosen.uid)
        many = 0
        for one in found:
            rows = self._rows(one, (_State.DEAD,), only)
            if not rows:
                continue
            self._note("replay", [one], instances=[row.sop_instance for row in rows])
            ledger.replayed(self._connection, one.key, [row.key for row in rows], self._now)
            many += len(rows)
        return Done(len(found), many)

    def cancel(self, chosen: queue.Chosen) -> Done:
        """Send nothing more of it: what is owed and what is dead. What the destination has, it has."""
        only = queue.of_instance(self._connection, chosen.uid)
        found = [
            *self._found(chosen, orders.OPEN),
            *self._found(dataclasses.replace(chosen, states=()), (_State.DEAD,), dead=True),
        ]
        why = self._words("cancelled")
        done = many = 0
        for one in {one.key: one for one in found}.values():
            rows = self._rows(one, (_State.DUE, _State.DEAD), only)
            # What is being made sure has nothing due, and is not taken back.
            if not rows:
                continue
            self._note("cancel", [one])
            ledger.called_off(self._connection, rows, one.key, why, self._now, self._witness, whole=not only)
            done, many = done + 1, many + len(rows)
        return Done(done, many)

    def move(self, chosen: queue.Chosen, destination: str) -> Done:
        """Owe what is left of it, dead letters too, to another destination instead."""
        found = [
            *self._found(chosen, (_State.DUE, _State.HELD, _State.RUNNING)),
            *self._found(dataclasses.replace(chosen, states=()), (_State.DEAD,), dead=True),
        ]
        why = self._words(f"moved to {destination}")
        made = many = 0
        for one in {one.key: one for one in found}.values():
            key = ledger.redirect(
                self._connection, one.key, destination, self._now, why=why, witness=self._witness
            )
            if key is not None:
                self._note("move", [one], to=destination)
                made, many = made + 1, many + one.total - one.done - one.cancelled
        return Done(made, many)

    def resend(
        self,
        chosen: queue.Chosen,
        *,
        destinations: Sequence[str] = (),
        priority: orders.Priority = orders.Priority.NORMAL,
    ) -> Done:
        """Send what is held once more, and to `destinations` even if they never got it.

        Through the steps of the last consignment of each series there; where there was none, as it is held.
        Without `destinations`: to those that it was ever owed to.
        """
        made = many = 0
        for study, series, revision, rows in self._held(chosen):
            for destination in destinations or self._owed_to(chosen, study, series):
                order = self._order(destination, study, series, revision, priority)
                before = _total(self._connection, study, series, destination)
                key = ledger.enqueue(
                    self._connection, order, rows, self._now, again=True, witness=self._witness
                )
                if key is not None:
                    one = ledger.get(self._connection, key)
                    assert one is not None
                    self._note("resend", [one])
                    made, many = made + 1, many + one.total - before.get(key, 0)
        return Done(made, many)

    # -- parts of them --

    def _put(
        self,
        chosen: queue.Chosen,
        states: tuple[orders.State, ...],
        action: str,
        to: orders.State,
        error: str,
    ) -> Done:
        # Where nothing is left to send, its lane is about to say what it comes to.
        found = [
            one for one in self._found(chosen, states) if one.total > one.done + one.dead + one.cancelled
        ]
        self._note(action, found, error=error)
        values = {"state": to.value, "error": words.clean(error), "changed": self._at}
        if to is _State.DUE:
            values["due"] = self._at
        for chunk in bulk.chunks([one.key for one in found]):
            self._connection.execute(
                sqlalchemy.update(tables.consignment)
                .where(_consignment.key.in_(chunk), _consignment.state.in_(states))
                .values(values)
            )
        return _counted(found)

    def _found(
        self, chosen: queue.Chosen, states: Sequence[orders.State], *, dead: bool = False
    ) -> list[orders.Consignment]:
        wanted = tuple(state for state in states if not chosen.states or state in chosen.states)
        if states and not wanted:
            return []
        narrowed = dataclasses.replace(chosen, states=wanted)
        statement = sqlalchemy.select(tables.consignment).where(*queue.conditions(self._connection, narrowed))
        if dead:
            statement = statement.where(sqlalchemy.text("dead > 0"))
        rows = self._connection.execute(statement.order_by(_consignment.key)).mappings()
        return [consignments.of(row) for row in rows]

    def _rows(
        self,
        one: orders.Consignment,
        states: Sequence[orders.State],
        only: Sequence[sqlalchemy.ColumnElement[bool]],
    ) -> Sequence[sqlalchemy.Row[*tuple[Any, ...]]]:
        statement = (
            sqlalchemy.select(_delivery.key, _delivery.sop_instance, _delivery.state)
            .where(
                _delivery.consignment_key == one.key,
                _delivery.state.in_([state.value for state in states]),
                *only,
            )
            .order_by(_delivery.instance_key)
        )
        return self._connection.execute(statement).all()

    def _held(self, chosen: queue.Chosen) -> Iterator[tuple[str, str, int, list[tuple[int, str]]]]:
        """Study, series, revision, and the rows of what is held of it."""
        series, study = tables.series.c, tables.study.c
        statement = (
            sqlalchemy.select(
                study.study, series.series, series.revision, _instance.key, _instance.sop_instance
            )
            .join(tables.series, series.key == _instance.series_key)
            .join(tables.study, study.key == series.study_key)
            .order_by(series.key, _instance.key)
        )
        for where in self._places(chosen):
            found: dict[tuple[str, str, int], list[tuple[int, str]]] = {}
            for row in self._connection.execute(statement.where(where)):
                found.setdefault((row.study, row.series, row.revision), []).append(
                    (row.key, row.sop_instance)
                )
            for named, rows in found.items():
                yield (*named, rows)

    def _places(self, chosen: queue.Chosen) -> Iterator[sqlalchemy.ColumnElement[bool]]:
        series, study = tables.series.c, tables.study.c
        if chosen.uid is not None and chosen.consignment is None:
            rows = queue.instances(self._connection, chosen.uid)
            if rows:
                yield _instance.key.in_(rows)
            else:
                yield _instance.series_key.in_(
                    sqlalchemy.select(series.key)
                    .join(tables.study, study.key == series.study_key)
                    .where(sqlalchemy.or_(series.series == chosen.uid, study.study == chosen.uid))
                )
            return
        for one in self._found(chosen, ()):
            yield _instance.key.in_(
                sqlalchemy.select(_delivery.instance_key).where(_delivery.consignment_key == one.key)
            )

    def _owed_to(self, chosen: queue.Chosen, study: str, series: str) -> list[str]:
        if chosen.destination is not None:
            return [chosen.destination]
        statement = sqlalchemy.select(_consignment.destination).where(
            _consignment.series == series, _consignment.study == study
        )
        if chosen.consignment is not None:
            statement = statement.where(_consignment.key == chosen.consignment)
        return sorted(set(self._connection.execute(statement).scalars()))

    def _order(
        self, destination: str, study: str, series: str, revision: int, priority: orders.Priority
    ) -> ledger.Order:
        last = (
            self._connection.execute(
                sqlalchemy.select(tables.consignment)
                .where(
                    _consignment.series == series,
                    _consignment.study == study,
                    _consignment.destination == destination,
                )
                .order_by(_consignment.key.desc())
                .limit(1)
            )
            .mappings()
            .first()
        )
        steps = consignments.of(last).steps if last is not None else ()
        route = f"by {self._who}"
        return ledger.Order(destination, study, series, route, revision, priority, steps, error=self._why)

    def _words(self, what: str) -> str:
        return f"{what} by {self._who}: {self._why}" if self._why else f"{what} by {self._who}"

    def _note(self, action: str, found: Sequence[orders.Consignment], **more: object) -> None:
        if self._witness is None:
            return
        for chunk in bulk.chunks(found):
            self._witness.given(
                facts.OPERATED,
                action=action,
                of=[consignments.name(one) for one in chunk],
                who=self._who,
                why=self._why,
                at=self._at,
                **more,
            )

    def _lane(self, destination: str, state: orders.LaneState, reason: str) -> None:
        if self._witness is not None:
            self._witness.given(
                facts.LANE,
                destination=destination,
                state=state.value,
                reason=reason,
                who=self._who,
                why=self._why,
                at=self._at,
            )


def _counted(found: Sequence[orders.Consignment]) -> Done:
    return Done(len(found), sum(one.total - one.done - one.dead - one.cancelled for one in found))


def _total(connection: sqlalchemy.Connection, study: str, series: str, destination: str) -> dict[int, int]:
    rows = connection.execute(
        sqlalchemy.select(_consignment.key, _consignment.total).where(
            _consignment.series == series,
            _consignment.study == study,
            _consignment.destination == destination,
        )
    )
    return {row.key: row.total for row in rows}
