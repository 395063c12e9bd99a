"""A lane: one consignment after the other is claimed, carried, and brought to what it came to."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import threading

import sqlalchemy

from node import errors, failpoints, log, log_forwarding, orders
from node.index import lanes, ledger
from node.queue import backoff, floor, trouble

_PAUSE = 1.0  # seconds between tries while the database does not answer


class Hauler:
    """Starts lanes; each is a thread that ends when there is nothing left for it."""

    def __init__(self, shared: floor.Floor, troubles: trouble.Troubles) -> None:
        self._floor = shared
        self._troubles = troubles
        self._turns = itertools.count()
        self._claiming = threading.Lock()  # what one lane claims, the next one sees
        self.clean = True  # the index was told of all that came of what was carried

    def start(self, want: lanes.Want) -> None:
        """Have one more lane to a destination."""
        self._floor.start(functools.partial(self._lane, want), f"lane {want.destination}", want.destination)

    def _lane(self, want: lanes.Want) -> None:
        try:
            with self._claiming:
                with self._floor.database.write() as connection:
                    found = self._take(connection, want)
                haul = self._taken(found)
            if haul is not None:
                self._floor.bell.ring()  # there may be work for another lane
            while haul is not None:
                haul = self._haul(haul, want)
        except errors.DatabaseUnavailable as error:
            log.database_error(what=f"lane {want.destination}", error=error)

    def _take(self, connection: sqlalchemy.Connection, want: lanes.Want) -> orders.Consignment | None:
        """Claim the next consignment for a destination, in the caller's transaction."""
        shared = self._floor
        if want.destination not in shared.destinations or shared.ending.is_set() or shared.overdue():
            return None
        wanted = dataclasses.replace(want, suspects=not shared.suspected())
        return lanes.claim(
            connection, shared.worker, [wanted], floor.utcnow(), shared.queue.age_up, next(self._turns)
        )

    def _taken(self, found: orders.Consignment | None) -> floor.Haul | None:
        """Know what was claimed, once it is committed."""
        if found is None:
            return None
        haul = floor.Haul(found, self._floor.destination(found.destination))
        with self._floor.lock:
            self._floor.hauls[found.key] = haul
        return haul

    def _haul(self, haul: floor.Haul, want: lanes.Want) -> floor.Haul | None:
        """Carry a consignment, say what it came to, and take the next one in the same transaction."""
        one, shared = haul.consignment, self._floor
        failpoints.hit("queue.after-claim")
        log_forwarding.consignment_begun(
            consignment=one.key,
            destination=one.destination,
            study=one.study,
            series=one.series,
            route=one.route,
            attempt=one.attempts,
        )

        def until() -> bool:
            return bool(haul.stopped) or shared.ending.is_set() or shared.overdue()

        answered = functools.partial(self._troubles.answered, one.destination)
        crashed = False
        try:
            trip = shared.courier.carry(one, haul.destination, until, answered)
        except Exception as error:  # noqa: BLE001 - the edge of a lane: the others go on
            log_forwarding.lane_crashed(destination=one.destination, error=error)
            crashed = True
            trip = floor.Trip(error=f"a fault of this program: {type(error).__name__}")
        failpoints.hit("queue.before-finish")
        try:
            while True:
                try:
                    with self._claiming:
                        return self._taken(self._finish(haul, trip, want, crashed=crashed))
                except errors.DatabaseUnavailable:
                    if shared.ending.wait(_PAUSE):
                        self.clean = False  # the next start reads it in the book
                        raise
        finally:
            with shared.lock:
                if shared.hauls.get(one.key) is haul:
                    del shared.hauls[one.key]

    def _finish(
        self, haul: floor.Haul, trip: floor.Trip, want: lanes.Want, *, crashed: bool
    ) -> orders.Consignment | None:
        """Write down what it came to, and claim the next one."""
        one, shared, now = haul.consignment, self._floor, floor.utcnow()
        broken = bool(trip.failed) and not trip.crowded
        poisoned = crashed and one.crashes + 1 >= shared.queue.poison
        lane: orders.Lane | None = None
        following: orders.Consignment | None = None
        with shared.database.write() as connection:
            ledger.record(connection, one.key, trip.attempts, now)
            if trip.hopeless or poisoned:
                state = ledger.give_up(connection, one.key, now, trip.error, witness=shared.witness)
            else:
                again = None if haul.stopped else self._again(one, trip, crashed=crashed)
                state = ledger.finish(
                    connection,
                    one.key,
                    one.fence,
                    now,
                    due=backoff.later(now, again) if again else None,
                    error=haul.stopped or trip.failed or trip.error,
                    crashed=crashed,
                    verify=haul.destination.verify is not orders.Verify.NO,
                    witness=shared.witness,
                )
            if broken:
                lane = self._troubles.failed(connection, haul.destination, trip.failed, now)
            if not (broken or haul.stopped or shared.crowded):
                following = self._take(connection, want)
        with shared.lock:
            shared.hauls.pop(one.key, None)
        failpoints.hit("queue.after-finish")
        if poisoned:
            log_forwarding.consignment_poisoned(
                consignment=one.key,
                destination=one.destination,
                study=one.study,
                series=one.series,
                crashes=one.crashes + 1,
            )
        if lane is not None:
            self._troubles.tell(lane, trip.failed, now)
        elif trip.answered:
            self._troubles.answered(one.destination)
        if state is orders.State.VERIFYING:
            shared.bell.ring_all()  # who verifies waits at another bell
        elif state is orders.State.DUE:
            shared.bell.ring()
        return following

    def _again(self, one: orders.Consignment, trip: floor.Trip, *, crashed: bool) -> float | None:
        """Seconds until what is left is tried again."""
        destination = self._floor.destination(one.destination)
        if crashed:
            return self._floor.pause(destination, one.crashes + 1)
        # Nothing came of it, for whatever reason: that must not go round as fast as it can.
        idle = trip.again is None and not (trip.answered or trip.attempts or trip.failed)
        return self._floor.pause(destination, 1) if trip.crowded or idle else trip.again
