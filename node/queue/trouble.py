"""Destinations that fail as a whole: they rest, then are down, and are probed until they answer."""

from __future__ import annotations

import contextlib
import datetime
import functools
import itertools
from collections.abc import Mapping

import sqlalchemy

from node import errors, log, log_forwarding, orders
from node.index import lanes, ledger
from node.queue import backoff, floor, groups


class Troubles:
    """What is done about destinations that do not take anything."""

    def __init__(self, shared: floor.Floor) -> None:
        self._floor = shared
        self._failing: set[str] = set()  # destinations whose last connection failed
        self._probing: set[str] = set()
        self._turns = itertools.count()

    def seen(self, known: Mapping[str, orders.Lane]) -> None:
        """How it stands with all of them."""
        self._failing = {name for name, lane in known.items() if lane.failures}

    def answered(self, destination: str) -> None:
        """A destination took something: it is up, and more lanes may go to it."""
        if destination not in self._failing:
            return
        with contextlib.suppress(errors.DatabaseUnavailable):
            with self._floor.database.write() as connection:
                before = lanes.well(connection, destination, floor.utcnow())
            self._failing.discard(destination)
            self._up(before, "it takes instances again")

    def failed(
        self,
        connection: sqlalchemy.Connection,
        destination: orders.Destination,
        why: str,
        now: datetime.datetime,
    ) -> orders.Lane:
        """Count a failure, in the caller's transaction."""
        failures = lanes.lane(connection, destination.name).failures + 1
        probe = backoff.later(now, self._floor.pause(destination, failures))
        self._failing.add(destination.name)
        return lanes.failed(connection, destination.name, why, destination.breaker, probe, now)

    def tell(self, lane: orders.Lane, why: str | BaseException, now: datetime.datetime) -> None:
        """Say that a destination failed, once it is written down."""
        wait = round((lane.probe - now).total_seconds(), 1) if lane.probe else 0.0
        name, failures = lane.destination, lane.failures
        if lane.state is not orders.LaneState.DOWN:
            log_forwarding.lane_failed(destination=name, error=why, failures=failures, retry_in=wait)
        elif lane.since == now:
            self._floor.regroup = True
            log_forwarding.lane_down(destination=name, error=why, failures=failures, probe_in=wait)
        else:
            log_forwarding.lane_probed(destination=name, error=why, failures=failures, probe_in=wait)
        self._floor.bell.ring()

    def _up(self, before: orders.Lane, why: str) -> None:
        self._floor.regroup = True
        self._floor.bell.ring()
        if before.state is orders.LaneState.DOWN:
            seconds = (floor.utcnow() - before.since).total_seconds() if before.since else None
            log_forwarding.lane_up(destination=before.destination, seconds=seconds, why=why)

    # -- probes ---------------------------------------------------------------------------------

    def probe(
        self, known: Mapping[str, orders.Lane], now: datetime.datetime
    ) -> list[datetime.datetime | None]:
        """Try destinations that are down when their moment has come; the moments that have not."""
        moments: list[datetime.datetime | None] = []
        for name, lane in known.items():
            destination = self._floor.destinations.get(name)
            if destination is None or lane.state is not orders.LaneState.DOWN or name in self._probing:
                continue
            if not backoff.come(lane.probe, now, destination.retry_most):
                moments.append(lane.probe)
                continue
            until = backoff.later(now, self._floor.pause(destination, lane.failures + 1))
            with self._floor.database.write() as connection:
                mine = lanes.take_probe(connection, name, lane.probe, until)
            if mine:
                self._probing.add(name)
                self._floor.start(functools.partial(self._look_at, destination), f"probe {name}")
        return moments

    def _look_at(self, destination: orders.Destination) -> None:
        """Probe one destination; a thread of its own, because a dead host takes its time."""
        name = destination.name
        try:
            why: errors.NodeError | None = None
            try:
                self._floor.courier.probe(destination)
            except errors.NodeError as error:
                why = error
            now = floor.utcnow()
            with self._floor.database.write() as connection:
                if why is not None:
                    lane = self.failed(connection, destination, str(why), now)
                else:
                    before = lanes.well(connection, name, now)
            if why is not None:
                self.tell(lane, why, now)
            else:
                self._up(before, "it answers")
        except errors.DatabaseUnavailable as error:
            log.database_error(what=f"lane {name}", error=error)
        finally:
            self._probing.discard(name)

    # -- groups ---------------------------------------------------------------------------------

    def regroup(self, known: Mapping[str, orders.Lane], now: datetime.datetime) -> None:
        """What waits at a group's member that is not up goes to one that is."""
        shared = self._floor
        if not shared.regroup:
            return
        shared.regroup = False
        for name in sorted({member for group in shared.groups.values() for member in group.members}):
            if not groups.fit(name, known):
                for (group, to), many in self._redirect(name, known, now).items():
                    shared.regroup = True  # there may be more
                    log_forwarding.lane_redirected(destination=name, group=group, to=to, consignments=many)
                    shared.bell.ring()

    def _redirect(
        self, name: str, known: Mapping[str, orders.Lane], now: datetime.datetime
    ) -> dict[tuple[str, str], int]:
        """Move some of what waits at a destination; how many consignments of which group went where."""
        moved: dict[tuple[str, str], int] = {}
        turn = next(self._turns)
        with self._floor.database.read() as connection:
            waiting = lanes.grouped(connection, name)
        targets = {
            group.name: to
            for group in self._floor.groups.values()
            if (to := groups.instead(group, name, known, turn)) is not None
        }
        if not any(group in targets for _, group in waiting):
            return moved
        with self._floor.database.write() as connection:
            for key, group in waiting:
                to = targets.get(group)
                if to is not None:
                    why = f"{name} of the group {group} is not up: it goes to {to} instead"
                    ledger.redirect(connection, key, to, now, why=why, witness=self._floor.witness)
                    moved[group, to] = moved.get((group, to), 0) + 1
        return moved
