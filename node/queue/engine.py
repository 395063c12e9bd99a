"""The queue of a worker process: what is due is claimed, carried by a lane, and comes to what it comes to.

The only package that knows how work is claimed and who wakes whom. A loop sleeps until a bell rings or the
next moment comes, and starts a thread for each lane that has something to do; the thread carries one
consignment after the other (`hauling`) and ends when nothing is left. Nothing is kept here that a restart
would miss: the ledger holds the facts, and what stands in memory only saves a look at it.
"""

from __future__ import annotations

import datetime
import random
import time
from collections.abc import Callable, Sequence

import sqlalchemy

from node import errors, log, log_forwarding, model, orders
from node.files import layout
from node.index import db, lanes, ledger, witness
from node.queue import backoff, bell, floor, hauling, trouble, watch

LOOK_EVERY = 5.0  # seconds between looks when nobody rings: other machines' work, calendars, clocks that jump
AMEND_EVERY = 60.0  # seconds between looks for what waits for a moment that will not come
_JUMP = 2.0  # seconds that a clock does not drift between two looks
_LEAST = 0.02  # seconds between looks for a moment that is there already
_PAUSE = 1.0  # seconds between tries while the database does not answer
_UNPROVEN = 1  # lanes at once to a destination that has just failed
_UP = orders.Lane("")  # what nothing is known of
_LEFT = 3.0  # seconds before the end of a drain in which associations are broken off


class Engine:
    """One worker's queue; `run` is its loop, `end` ends it from another thread."""

    def __init__(
        self,
        database: db.Database,
        data: layout.Data,
        courier: floor.Courier,
        settings: model.Settings,
        *,
        worker: str,
        name: str = "work-1",
        version: str = "",
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._bell = bell.Bell(data, f"{name}.queue")
        self._floor = floor.Floor(
            database,
            courier,
            self._bell,
            witness.Witness(data),
            settings,
            worker=worker,
            version=version,
            chance=chance,
        )
        self._database = database
        self._courier = courier
        self._troubles = trouble.Troubles(self._floor)
        self._hauler = hauling.Hauler(self._floor, self._troubles)
        self._watch = watch.Watch()
        self._amended = float("-inf")  # when that was, on our own watch
        self._offset: float | None = None  # of the clock on the wall to our own watch

    # -- from other threads ---------------------------------------------------------------------

    def apply(self, settings: model.Settings) -> None:
        """Take over a changed configuration; what is under way goes on as it began."""
        self._floor.apply(settings)
        self._amended = float("-inf")
        self._bell.ring()

    def end(self) -> None:
        """Make `run` return soon."""
        self._floor.ending.set()
        self._bell.ring()

    def workers(self) -> int:
        """How many workers send at present, this one among them."""
        return 1 + self._watch.alive

    @property
    def clean(self) -> bool:
        """Whether the index knows all that was carried; else the book is still to be read."""
        return self._hauler.clean

    # -- the loop -------------------------------------------------------------------------------

    def run(self) -> None:
        """Send what is due until it is ended; then let lanes finish the item under way."""
        try:
            if self._begin():
                self._loop()
        finally:
            self._drain()
            self._bell.close()

    def _begin(self) -> bool:
        """Take up what this worker had when it was killed; whether it goes on."""
        shared = self._floor
        while not shared.ending.is_set():
            try:
                recovered = self._courier.recover()
                with self._database.read() as connection:
                    mine = [one for one in lanes.claims(connection) if one.worker == shared.worker]
                watch.take_over(shared, mine, "it ended while it had this under way")
            except errors.Transient as error:
                log.database_error(what="queue", error=error, retry_in=_PAUSE)
                shared.ending.wait(_PAUSE)
                continue
            log_forwarding.queue_started(
                worker=shared.worker,
                recovered=recovered,
                taken_back=len(mine),
                destinations=len(shared.destinations),
            )
            return True
        return False

    def _loop(self) -> None:
        since: float | None = None  # when the database stopped answering
        while not self._floor.ending.is_set():
            try:
                pause = self._look()
            except errors.Transient as error:
                if since is None:
                    since = time.monotonic()
                    log.database_error(what="queue", error=error, retry_in=_PAUSE)
                pause = _PAUSE
            else:
                if since is not None:
                    log.database_recovered(seconds=round(time.monotonic() - since, 3))
                    since = None
            self._bell.wait(pause)

    def _look(self) -> float:
        """Start what can be started, and let go of what must be; seconds until the next look is worth it."""
        shared, queue, now = self._floor, self._floor.queue, floor.utcnow()
        if shared.busy() and not shared.fresh():
            shared.beat(now)
            self._courier.keep()
        self._amend(now)
        with self._database.read() as connection:
            known = lanes.lanes(connection)
            claimed = lanes.claims(connection, shared.destinations)
            foreign = [one for one in claimed if one.worker != shared.worker]
            dead = self._watch.look(lanes.others(connection, shared.worker), foreign, queue)
            self._let_go(connection, known, now)
            wants = self._wants(known, claimed, now)
            found = lanes.candidates(connection, wants, now, queue.age_up)
            moments = [lanes.soonest(connection, wants, now)]
        self._troubles.seen(known)
        if dead:
            self._courier.recover()  # what they heard is not sent again, where their books can be seen
        for worker in dead:
            theirs = [one for one in foreign if one.worker == worker]
            watch.take_over(shared, theirs, f"{worker} gave no sign of life for {queue.dead_after:g} s")
            with self._database.write() as connection:
                lanes.leave(connection, worker)  # should it live after all, it comes back by itself
        moments += self._troubles.probe(known, now)
        self._troubles.regroup(known, now)
        self._start(found, now)
        resting = [one for one in known.values() if one.state is orders.LaneState.UP and one.failures]
        moments += [one.probe for one in resting]
        waits = [(one - now).total_seconds() for one in moments if one is not None]
        most = min(queue.heartbeat, LOOK_EVERY) if foreign or shared.busy() else LOOK_EVERY
        return max(_LEAST, min([most, *(one for one in waits if one > 0)]))

    def _amend(self, now: datetime.datetime) -> None:
        """Now and then: a clock that jumped, or a calendar that is gone, must not hold anything for ever."""
        offset = now.timestamp() - time.monotonic()
        jumped = self._offset is not None and abs(offset - self._offset) > _JUMP
        self._offset = offset
        if time.monotonic() - self._amended < AMEND_EVERY and not jumped:
            return
        shared = self._floor
        longest = max((one.retry_most for one in shared.destinations.values()), default=0.0)
        with self._database.write() as connection:
            lanes.ensure(connection, shared.destinations, now)
            changed = lanes.amend(connection, now, backoff.longest(longest), shared.calendars)
        shared.regroup = True
        if not changed:
            self._amended = time.monotonic()

    def _let_go(
        self, connection: sqlalchemy.Connection, known: dict[str, orders.Lane], now: datetime.datetime
    ) -> None:
        """Stop lanes whose work is not theirs any more, or may not go on now."""
        with self._floor.lock:
            hauls = list(self._floor.hauls.values())
        for haul in hauls:
            one = haul.consignment
            if not ledger.wanted(connection, one.key, one.fence):
                haul.stopped = haul.stopped or "it was taken back"
            elif known.get(one.destination, _UP).state is orders.LaneState.HELD:
                haul.stopped = f"{one.destination} is held"
            elif one.priority is not orders.Priority.URGENT:
                for calendar in (haul.destination.calendar, one.calendar):
                    if not self._floor.open(calendar, now):
                        haul.stopped = f"the calendar {calendar} has closed"

    def _wants(
        self, known: dict[str, orders.Lane], claimed: Sequence[lanes.Claim], now: datetime.datetime
    ) -> list[lanes.Want]:
        """What could be sent now: to each destination that is neither down nor busy enough."""
        shared = self._floor
        opened = tuple(name for name in shared.calendars if shared.open(name, now))
        shut = tuple(name for name in shared.calendars if name not in opened)
        suspects = not shared.suspected()
        wants = []
        for name, destination in shared.destinations.items():
            lane = known.get(name, orders.Lane(name))
            if lane.state is not orders.LaneState.UP:
                continue
            if lane.failures and not backoff.come(lane.probe, now, destination.retry_most):
                continue
            at_once = _UNPROVEN if lane.failures else self._courier.lanes(destination)
            if sum(one.destination == name for one in claimed) < at_once:
                urgent = not shared.open(destination.calendar, now)
                wants.append(lanes.Want(name, at_once, opened, shut, urgent, suspects))
        return wants

    def _start(self, found: Sequence[lanes.Candidate], now: datetime.datetime) -> None:
        """One more lane for each destination that has something to go, the most pressing first."""
        shared, crowded = self._floor, False
        for want in dict.fromkeys(one.want for one in found):
            with shared.lock:
                mine = sum(name == want.destination for name in shared.threads.values())
                full = sum(map(bool, shared.threads.values())) >= shared.queue.lanes
            if mine >= want.at_once:
                continue
            if full:
                crowded = crowded or not mine
                continue
            if not shared.fresh():
                shared.beat(now)  # before the first claim, so that whoever sees the claim sees a life too
            self._hauler.start(want)
        shared.crowded = crowded

    # -- the end --------------------------------------------------------------------------------

    def _drain(self) -> None:
        """Wait for lanes to finish the item under way; what hangs is broken off, and handed back."""
        shared = self._floor
        shared.ending.set()
        if not self._join(max(1.0, shared.settings.node.drain - _LEFT)):
            self._courier.cut("this node stops")
            self._join(2.0)
        with shared.lock:
            left = list(shared.hauls.values())
        try:
            with self._database.write() as connection:
                for haul in left:
                    one = haul.consignment
                    ledger.finish(
                        connection,
                        one.key,
                        one.fence,
                        floor.utcnow(),
                        error="the node was stopped",
                        verify=haul.destination.verify is not orders.Verify.NO,
                        witness=shared.witness,
                    )
                lanes.leave(connection, shared.worker)
        except errors.DatabaseUnavailable as error:
            log.database_error(what="queue", error=error)  # the next start takes it back
        log_forwarding.queue_stopped(worker=shared.worker, handed_back=len(left))

    def _join(self, seconds: float) -> bool:
        """Wait for lanes, not for probes; whether all have ended."""
        end = time.monotonic() + seconds
        with self._floor.lock:
            threads = [thread for thread, destination in self._floor.threads.items() if destination]
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
        return not any(thread.is_alive() for thread in threads)
