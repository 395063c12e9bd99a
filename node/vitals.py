"""The gauges that nobody sets in passing: what is held, how full the disk is, how old is what waits."""

from __future__ import annotations

import collections
import contextlib
import datetime
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from node import errors, metrics, model
from node.files import journal, layout
from node.index import commitment, db, lookup

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
            self._owed(commitment.waiting(connection), settings.peers)
        self._counts.adoption_backlog(waiting, self._lag.seconds(journal.places(self._data)))

    def _owed(
        self, waiting: Sequence[tuple[str, int, datetime.datetime]], peers: Sequence[model.Peer]
    ) -> None:
        """Commitment reports that wait for each configured peer; nothing else is queued yet."""
        now = datetime.datetime.now(datetime.UTC)
        owed = {aet: (count, (now - oldest).total_seconds()) for aet, count, oldest in waiting}
        for peer in peers:
            count, age = owed.get(peer.aet, (0, 0.0))
            self._counts.queue(peer.name, count, max(0.0, age))


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
