"""What the loop and the lanes of a worker process share: settings, who is at what, and its signs of life."""

from __future__ import annotations

import dataclasses
import datetime
import threading
import time
from collections.abc import Callable
from typing import Protocol

from node import log_forwarding, model, orders
from node.index import db, lanes, witness
from node.queue import backoff, bell, windows


@dataclasses.dataclass(frozen=True, slots=True)
class Trip:
    """What came of carrying a consignment; of its instances, what is not on record yet."""

    attempts: tuple[orders.Attempt, ...] = ()  # the last ones, in the book already
    answered: bool = False  # the destination answered for something: it is there
    failed: str = ""  # why the destination as a whole failed; "": it did not
    crowded: bool = False  # it only has enough associations for now
    again: float | None = None  # seconds until what is left is tried again; None: at once
    error: str = ""  # why something is left
    hopeless: bool = False  # it is not worth another try: what is left is given up, for this reason


class Courier(Protocol):
    """Carries consignments; fit for many threads."""

    def carry(
        self,
        consignment: orders.Consignment,
        destination: orders.Destination,
        until: Callable[[], bool],
        answered: Callable[[], None],
    ) -> Trip:
        """Send what is due of it until that is true; `answered` is called with the first answer."""

    def probe(self, destination: orders.Destination) -> None:
        """Find out whether a destination is there; raises errors.NodeError."""

    def lanes(self, destination: orders.Destination) -> int:
        """How many lanes at once are worth having."""

    def recover(self) -> int:
        """Have the ledger know what workers wrote down that died before they could tell it."""

    def keep(self) -> None:
        """Make what was written down survive a power loss."""

    def cut(self, why: str) -> None:
        """Break off whatever is under way."""


class Haul:
    """A consignment that a lane of this process has."""

    def __init__(self, consignment: orders.Consignment, destination: orders.Destination) -> None:
        self.consignment = consignment
        self.destination = destination
        self.stopped = ""  # why its lane is to let go of it, set by the loop


class Floor:
    """The shared state of one worker; `lock` guards what is said to be guarded."""

    def __init__(
        self,
        database: db.Database,
        courier: Courier,
        bell_: bell.Bell,
        witness_: witness.Witness,
        settings: model.Settings,
        *,
        worker: str,
        version: str,
        chance: Callable[[], float],
    ) -> None:
        self.database = database
        self.courier = courier
        self.bell = bell_
        self.witness = witness_
        self.worker = worker  # in claims: the same after a restart, and nobody else's
        self.ending = threading.Event()
        self.lock = threading.Lock()
        self.hauls: dict[int, Haul] = {}  # guarded: by the consignment's key
        self.threads: dict[threading.Thread, str] = {}  # guarded: with the destination that each works for
        self.crowded = False  # there are not enough lanes for all destinations
        self.regroup = True  # a lane went down or up: groups have to choose again
        self._version = version
        self._chance = chance
        self._beaten = float("-inf")  # when the last heartbeat that was written began, on our own watch
        self.apply(settings)

    def apply(self, settings: model.Settings) -> None:
        """Take over a changed configuration."""
        self.settings = settings
        self.queue = settings.queue
        self.destinations = {one.name: one for one in settings.destinations}
        self.groups = {one.name: one for one in settings.groups}
        self.calendars = {one.name: one for one in settings.calendars}
        self.regroup = True

    def destination(self, name: str) -> orders.Destination:
        """A destination as it is configured; one that is not any more with what is usual."""
        return self.destinations.get(name) or orders.Destination(name)

    def open(self, calendar: str | None, now: datetime.datetime) -> bool:
        """Whether a calendar lets things out; one that is not configured does."""
        found = self.calendars.get(calendar or "")
        return found is None or windows.open_at(found, now)

    def pause(self, destination: orders.Destination, failures: int) -> float:
        """Seconds until the next try after so many failures."""
        return backoff.pause(failures, destination.retry, destination.retry_most, self._chance())

    # -- threads --------------------------------------------------------------------------------

    def start(self, work: Callable[[], None], name: str, destination: str = "") -> None:
        """Run beside the loop; the thread is known until it ends."""

        def run() -> None:
            try:
                work()
            finally:
                with self.lock:
                    del self.threads[thread]
                self.bell.ring()

        # A stop waits for lanes as long as it may, and then not even a hanging one is in its way.
        thread = threading.Thread(target=run, name=name, daemon=True)
        with self.lock:
            self.threads[thread] = destination
        thread.start()

    def busy(self) -> bool:
        """Whether a lane or a probe runs."""
        with self.lock:
            return bool(self.threads)

    def suspected(self) -> bool:
        """Whether something is under way over which a worker died: one at a time is enough.

        So when it happens again it is clear which it was, and what ran beside it is not blamed twice.
        """
        with self.lock:
            return any(haul.consignment.crashes for haul in self.hauls.values())

    # -- signs of life --------------------------------------------------------------------------

    def beat(self, now: datetime.datetime) -> None:
        """Give a sign of life."""
        begun = time.monotonic()
        silent = begun - self._beaten
        with self.database.write() as connection:
            lanes.beat(connection, self.worker, now, self._version)
        self._beaten = begun
        with self.lock:
            lost = silent >= self.queue.dead_after and bool(self.hauls)
        if lost:
            log_forwarding.heartbeat_lost(worker=self.worker, seconds=round(silent, 3))

    def fresh(self) -> bool:
        """Whether the last sign is young enough for a claim to be made under it."""
        return time.monotonic() - self._beaten < self.queue.heartbeat

    def overdue(self) -> bool:
        """Whether others may believe that this worker is dead: it was stopped, or the database was."""
        return time.monotonic() - self._beaten >= self.queue.dead_after


def utcnow() -> datetime.datetime:
    """The moment, as the index writes it."""
    return datetime.datetime.now(datetime.UTC)
