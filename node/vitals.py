"""The gauges that nobody sets in passing: what is held, how full the disk is, how old is what waits."""

from __future__ import annotations

import collections
import contextlib
import datetime
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from node import errors, metrics, model, orders
from node.files import journal, layout
from node.index import commitment, db, lanes, ledger, lookup

EVERY = 1.0  # seconds between the moments when a process hands its counts over
USAGE_EVERY = 10  # of these moments, for what costs a look into /proc


class Vitals:
    """Looks at the whole node, for one process of it."""

    def __init__(
        self,
        data: layout.Data,
        database: db.Database,
        counts: metrics.Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._data = data
        self._database = database
        self._counts = counts
        self._lag = Lag(clock)

    def sample(self, settings: model.Settings) -> None:
        """Set the gauges; what cannot be seen keeps its last value."""
        self._counts.disk(shutil.disk_usage(settings.node.data).free, settings.storage.min_free)
        waiting = 0
        for slot in self._data.slots():
            behind = journal.lag(self._data, slot)
            self._counts.journal(slot, behind, settings.storage.journal)
            waiting += behind
        # The checks of readiness tell of a database that does not answer; here it is only not counted.
        with contextlib.suppress(errors.DatabaseUnavailable), self._database.read() as connection:
            held = lookup.totals(connection)
            self._counts.held(
                patients=held.patients,
                studies=held.studies,
                series=held.series,
                instances=held.instances,
                size=held.bytes,
            )
            self._owed(
                settings, commitment.waiting(connection), ledger.owed(connection), lanes.lanes(connection)
            )
        self._counts.adoption_backlog(waiting, self._lag.seconds(journal.places(self._data)))

    def _owed(
        self,
        settings: model.Settings,
        reports: Sequence[tuple[str, int, datetime.datetime]],
        owed: Sequence[ledger.Owed],
        known: Mapping[str, orders.Lane],
    ) -> None:
        """What waits for each configured destination, and commitment reports for each configured peer."""
        now = datetime.datetime.now(datetime.UTC)
        waiting = {aet: (count, oldest) for aet, count, oldest in reports}
        reporting = {peer.name: waiting.get(peer.aet, (0, None)) for peer in settings.peers}
        by_name = {one.destination: one for one in owed}
        for destination in settings.destinations:
            one = by_name.get(destination.name) or ledger.Owed(destination.name, 0, 0, 0, 0, 0, 0, None)
            depth = one.due + one.held + one.running
            # A destination may have the name of its peer: what waits for either waits for both.
            count, since = reporting.pop(one.destination, (0, None))
            oldest = max(_age(one.oldest if depth else None, now), _age(since, now))
            self._counts.queue(one.destination, depth + count, oldest, one.dead)
            self._counts.owed(
                one.destination, due=one.due, held=one.held, running=one.running, verifying=one.verifying
            )
            lane = known.get(one.destination) or orders.Lane(one.destination)
            self._counts.lane(one.destination, lane.state)
        for name, (count, since) in reporting.items():
            self._counts.queue(name, count, _age(since, now))


def _age(since: datetime.datetime | None, now: datetime.datetime) -> float:
    return 0.0 if since is None else max(0.0, (now - since).total_seconds())


class Lag:
    """How long the oldest byte waits to be filed, as near as the times of looking tell."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seen: dict[str, collections.deque[tuple[float, int]]] = {}

    def seconds(self, places: dict[str, tuple[int, int]]) -> float:
        """Take in by slot how far it was written and adopted; return the age of the oldest that waits."""
        now = self._clock()
        oldest = now
        for slot, (written, adopted) in places.items():
            seen = self._seen.setdefault(slot, collections.deque(maxlen=10_000))
            if not seen or written > seen[-1][1]:
                seen.append((now, written))
            while seen and seen[0][1] <= adopted:
                seen.popleft()
            if seen:
                oldest = min(oldest, seen[0][0])
        return now - oldest


@contextlib.contextmanager
def ticking(counts: metrics.Metrics, process: str, every: float = EVERY) -> Iterator[None]:
    """Hand over what this process counts, and say what it uses, while the block runs."""
    stop = threading.Event()

    def tick() -> None:
        moments = 0
        while True:
            counts.flush()
            if moments % USAGE_EVERY == 0:
                counts.process_usage(process)
            moments += 1
            if stop.wait(every):
                return

    thread = threading.Thread(target=tick, name="vitals", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        counts.flush()
