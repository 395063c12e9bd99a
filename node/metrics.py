"""Prometheus metrics over all processes of the node: each process writes files, `render` adds them up.

The supervisor `begin`s in a directory before it forks (a process that is not forked `start`s in it), and
tells when a child died. Parts of the node under supervisors of their own have directories side by side.
Label values that come from outside are bounded: a peer that is not configured is "unknown". In the hot
path nothing touches the files: an association has a `Tally` that hands its sums over now and then.
"""

from __future__ import annotations

import bisect
import contextlib
import fcntl
import os
import pathlib
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from node import orders

if TYPE_CHECKING:
    # Imported where it is used: it reads the environment when it is imported, and costs 30 ms.
    import prometheus_client

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"  # of what `render` returns
UNKNOWN = "unknown"  # label of a peer or destination that is not configured

INGEST = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
COMMIT = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0)
ADOPT = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0)
WORK = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0, 300.0, 1800.0)

_TALLY_INSTANCES = 64  # a tally hands over after so many instances,
_TALLY_SECONDS = 1.0  # or when the last time is longer ago
_OPERATIONS = frozenset(
    {
        "echo",
        "store",
        "find",
        "move",
        "get",
        "commit",
        "report",
        "create",
        "set",
        "cancel",
        "qido",
        "wado",
        "stow",
    }
)


def prepare(directory: pathlib.Path) -> None:
    """Make the directory and empty it of what an earlier run left."""
    directory.mkdir(parents=True, exist_ok=True)
    for path in directory.glob("*.db"):
        path.unlink(missing_ok=True)


def begin(
    directory: pathlib.Path,
    *,
    peers: Collection[str] = (),
    destinations: Collection[str] = (),
    version: str = "",
) -> Metrics:
    """Return the metrics of a supervisor and of all that it forks from now on."""
    prepare(directory)
    return start(directory, peers=peers, destinations=destinations, version=version)


def start(
    directory: pathlib.Path | None = None,
    *,
    peers: Collection[str] = (),
    destinations: Collection[str] = (),
    version: str = "",
) -> Metrics:
    """Return this process's metrics; without a directory they are its own and nobody else's."""
    return Metrics(directory, peers=peers, destinations=destinations, version=version)


def fold(directory: pathlib.Path, pid: int) -> None:
    """Take a dead process's gauges away and add its counts to those of the dead.

    Without this a process that dies every half minute leaves thousands of files to be read at each scrape.
    """
    from prometheus_client import mmap_dict, multiprocess

    with _locked(directory, fcntl.LOCK_EX):
        multiprocess.mark_process_dead(pid, str(directory))  # type: ignore[no-untyped-call]
        for kind in ("counter", "histogram"):
            left = directory / f"{kind}_{pid}.db"
            if not left.exists():
                continue
            dead = mmap_dict.MmapedDict(str(directory / f"{kind}_dead.db"))  # type: ignore[no-untyped-call]
            for key, value, _, _ in mmap_dict.MmapedDict.read_all_values_from_file(str(left)):  # type: ignore[no-untyped-call]
                dead.write_value(key, dead.read_value(key)[0] + value, 0.0)  # type: ignore[no-untyped-call]
            dead.close()  # type: ignore[no-untyped-call]
            left.unlink()


class Metrics:
    """Everything that is counted; one method per thing that happens."""

    def __init__(
        self,
        directory: pathlib.Path | None,
        *,
        peers: Collection[str] = (),
        destinations: Collection[str] = (),
        version: str = "",
    ) -> None:
        self._directory = directory
        _choose_values(directory)
        import prometheus_client

        self._registry = prometheus_client.CollectorRegistry()
        self._tallies: set[Tally] = set()
        self._lock = threading.Lock()
        self.configure(peers, destinations)
        self._declare()
        if version:
            self._build.labels(version).set(1)

    def configure(self, peers: Collection[str], destinations: Collection[str] = ()) -> None:
        """Say which names may appear as labels: those of the configuration, now and after a reload."""
        self._peers = frozenset(peers)
        self._destinations = frozenset(destinations)

    def _declare(self) -> None:
        counter, gauge, histogram = self._counter, self._gauge, self._histogram
        self._associations = counter(
            "associations", "Associations that ended, or never began", "peer", "direction", "outcome"
        )
        self._open = gauge("associations_open", "Associations now", "livesum", "direction")
        self._operations = counter("operations", "DIMSE operations answered", "operation", "outcome")
        self._operation_seconds = histogram(
            "operation_seconds", "Duration of an operation", WORK, "operation"
        )
        self._received = counter("instances_received", "Instances that peers sent", "peer", "outcome")
        self._received_bytes = counter("received_bytes", "Bytes of acknowledged instances", "peer")
        self._ingest = histogram("ingest_seconds", "First byte of an instance to its acknowledgement", INGEST)
        self._commit = histogram("commit_seconds", "One group commit of the journal", COMMIT)
        self._committed = counter("committed_instances", "Instances made durable by group commits")
        self._sent = counter("instances_sent", "Instances sent", "destination", "outcome")
        self._sent_bytes = counter("sent_bytes", "Bytes of instances that destinations have", "destination")
        self._send_seconds = histogram("send_seconds", "One instance to a destination", INGEST, "destination")

        self._adopted = counter("instances_adopted", "Acknowledged instances taken into the index", "verdict")
        self._adopt = histogram("adopt_seconds", "Acknowledgement of an instance until it is found", ADOPT)
        self._lag = gauge(
            "adoption_lag_seconds", "Age of the oldest instance that waits to be filed", "livemax"
        )
        self._waiting = gauge(
            "adoption_waiting_bytes", "Acknowledged bytes that wait to be filed", "livemostrecent"
        )
        self._journal_used = gauge(
            "journal_used_bytes", "Journal that waits to be filed", "livemostrecent", "slot"
        )
        self._journal_size = gauge("journal_size_bytes", "Size of the journal", "livemostrecent", "slot")
        self._degraded = counter("journal_segments_abandoned", "Journal segments whose sync failed")

        self._disk_free = gauge("disk_free_bytes", "Free room where the data is", "livemostrecent")
        self._disk_low = gauge(
            "disk_min_free_bytes", "Below this, associations are refused", "livemostrecent"
        )
        self._database_errors = counter("database_errors", "Failures of the database", "operation")
        self._storage_errors = counter("storage_errors", "Failed writes, syncs and renames", "operation")
        self._held = gauge("held", "What is held", "livemostrecent", "what")
        self._held_bytes = gauge("held_bytes", "Bytes of data sets that are held", "livemostrecent")

        self._commitments = counter("commitments", "Storage commitment requests", "outcome")
        self._scrubbed = counter("scrubbed_instances", "Digests verified at rest", "outcome")
        self._removed = counter("removed_instances", "Instances removed", "why")
        self._removed_bytes = counter("removed_bytes", "Bytes of removed instances", "why")
        self._imported = counter("imported_files", "Files looked at by imports", "outcome")

        self._queue_depth = gauge("queue_depth", "Deliveries that wait", "livemostrecent", "destination")
        self._queue_oldest = gauge(
            "queue_oldest_seconds", "Age of the oldest", "livemostrecent", "destination"
        )
        self._dead_letters = gauge("dead_letters", "Deliveries given up", "livemostrecent", "destination")
        self._lanes = gauge(
            "lane",
            "1: the lane of this destination is in this state",
            "livemostrecent",
            "destination",
            "state",
        )
        self._owed = gauge(
            "owed", "Deliveries that are owed, by state", "livemostrecent", "destination", "state"
        )
        self._verified = counter("verified_instances", "Looks after what was sent", "destination", "outcome")
        self._settled = counter("settled", "Series and studies that were settled", "level", "verdict")
        self._step_seconds = histogram("step_seconds", "Duration of a step or job", WORK, "step")
        self._jobs = counter("jobs", "Scheduled jobs that ended", "job", "outcome")

        self._ready = gauge("ready", "1: every process is up and recovery is done", "livemostrecent")
        self._build = gauge("build_info", "Version of the program", "livemax", "version")
        self._started = gauge("start_time_seconds", "When the node started", "livemax")
        self._up = gauge("process_up", "1: this process of the node runs", "livemostrecent", "process")
        self._restarts = counter("process_restarts", "Processes that died and were started again", "process")
        self._memory = gauge("process_resident_bytes", "Resident memory", "livesum", "process")
        self._cpu = gauge("process_cpu_seconds", "CPU time since its start", "livesum", "process")
        self._reloads = counter("config_reloads", "Reloads of the configuration", "outcome")
        self._http = counter("http_requests", "HTTP requests answered", "status")
        self._checks = gauge("check", "1: this health check passes", "livemostrecent", "check")

    # -- associations and operations ------------------------------------------------------------

    def association_opened(self, direction: str = "in") -> None:
        """Count one more that is open."""
        self._open.labels(direction).inc()

    def association_closed(self, peer: str, outcome: str = "released", direction: str = "in") -> None:
        """Count one less that is open; `outcome` is "released" or "aborted"."""
        self._open.labels(direction).dec()
        self._associations.labels(self.peer(peer), direction, outcome).inc()

    def association_refused(self, peer: str, outcome: str = "rejected", direction: str = "in") -> None:
        """Count one that never began: "rejected", "dropped", or "unreachable" outwards."""
        self._associations.labels(self.peer(peer), direction, outcome).inc()

    def operation(self, name: str, seconds: float, outcome: str = "success") -> None:
        """Count an operation other than C-STORE: "success", "warning", "failure" or "cancel"."""
        name = name if name in _OPERATIONS else "other"
        self._operations.labels(name, outcome).inc()
        self._operation_seconds.labels(name).observe(seconds)

    # -- instances ------------------------------------------------------------------------------

    def tally(self, peer: str) -> Tally:
        """Return what an association counts its instances with; close it at the end."""
        tally = Tally(self, self.peer(peer))
        with self._lock:
            self._tallies.add(tally)
        return tally

    def flush(self) -> None:
        """Hand over what open associations have counted; call it every second or so."""
        with self._lock:
            tallies = list(self._tallies)
        for tally in tallies:
            tally.flush()

    def group_commit(self, seconds: float, instances: int = 1) -> None:
        """Count one sync of the journal, and the instances that it covered."""
        self._commit.observe(seconds)
        self._committed.inc(instances)

    def adopted(self, verdict: str, instances: int = 1) -> None:
        """Count instances of a batch that became known to the index with this verdict."""
        self._adopted.labels(verdict).inc(instances)

    def adoption(self, seconds: float) -> None:
        """Observe how long the oldest instance of a batch waited; once a batch is enough."""
        self._adopt.observe(seconds)

    def adoption_backlog(self, waiting: int, oldest_seconds: float) -> None:
        """Say how far the adopter is behind."""
        self._waiting.set(waiting)
        self._lag.set(oldest_seconds)

    def journal(self, slot: str, used: int, size: int) -> None:
        """Say how full a journal is."""
        self._journal_used.labels(slot).set(used)
        self._journal_size.labels(slot).set(size)

    def journal_segment_abandoned(self) -> None:
        """Count a segment whose sync failed."""
        self._degraded.inc()

    def sent(
        self,
        destination: str,
        outcome: str,
        size: int = 0,
        seconds: float | None = None,
        *,
        instances: int = 1,
    ) -> None:
        """Count what a destination has ("success", "warning"), or has not ("retry", "failed")."""
        destination = self.destination(destination)
        self._sent.labels(destination, outcome).inc(instances)
        if size and outcome in ("success", "warning"):
            self._sent_bytes.labels(destination).inc(size)
        if seconds is not None:
            self._send_seconds.labels(destination).observe(seconds)

    # -- storage --------------------------------------------------------------------------------

    def disk(self, free: int, min_free: int) -> None:
        """Say how much room there is and how much must stay."""
        self._disk_free.set(free)
        self._disk_low.set(min_free)

    def database_error(self, operation: str) -> None:
        """Count a failure of the database; `operation` is one of our own words."""
        self._database_errors.labels(operation).inc()

    def storage_error(self, operation: str) -> None:
        """Count a failed write, sync, rename or read; `operation` is one of our own words."""
        self._storage_errors.labels(operation).inc()

    def held(self, *, patients: int, studies: int, series: int, instances: int, size: int) -> None:
        """Say how much is held."""
        for what, count in zip(
            ("patients", "studies", "series", "instances"),
            (patients, studies, series, instances),
            strict=True,
        ):
            self._held.labels(what).set(count)
        self._held_bytes.set(size)

    def commitment(self, outcome: str) -> None:
        """Count "requested", "refused", "reported", "retried" or "abandoned"."""
        self._commitments.labels(outcome).inc()

    def scrubbed(self, *, sound: int = 0, corrupt: int = 0, missing: int = 0) -> None:
        """Count digests that were verified."""
        for outcome, count in (("sound", sound), ("corrupt", corrupt), ("missing", missing)):
            if count:
                self._scrubbed.labels(outcome).inc(count)

    def removed(self, why: str, instances: int, size: int) -> None:
        """Count what "retention" or a "person" removed."""
        self._removed.labels(why).inc(instances)
        self._removed_bytes.labels(why).inc(size)

    def imported(self, outcome: str, files: int = 1) -> None:
        """Count files of an import: "stored", "duplicate" or "refused"."""
        self._imported.labels(outcome).inc(files)

    # -- queue, steps, jobs ---------------------------------------------------------------------

    def queue(self, destination: str, depth: int, oldest_seconds: float, dead_letters: int = 0) -> None:
        """Say what waits for a destination."""
        destination = self.destination(destination)
        self._queue_depth.labels(destination).set(depth)
        self._queue_oldest.labels(destination).set(oldest_seconds)
        self._dead_letters.labels(destination).set(dead_letters)

    def lane(self, destination: str, state: orders.LaneState) -> None:
        """Say how it stands with a destination as a whole."""
        destination = self.destination(destination)
        for one in orders.LaneState:
            self._lanes.labels(destination, one.value).set(1 if one is state else 0)

    def owed(self, destination: str, *, due: int, held: int, running: int, verifying: int) -> None:
        """Say how it stands with what is owed to a destination."""
        destination = self.destination(destination)
        for state, count in zip(orders.OPEN, (due, held, running, verifying), strict=True):
            self._owed.labels(destination, state.value).set(count)

    def verified(self, destination: str, outcome: str, instances: int = 1) -> None:
        """Count what a destination was found to "keep", or what was "missing" there."""
        self._verified.labels(self.destination(destination), outcome).inc(instances)

    def settled(self, level: orders.When, verdict: orders.Completeness) -> None:
        """Count a series or study that was settled."""
        self._settled.labels(level.value, verdict.value).inc()

    def step(self, name: str, seconds: float) -> None:
        """Observe a step; `name` is its name in the program."""
        self._step_seconds.labels(name).observe(seconds)

    def job(self, name: str, outcome: str, seconds: float) -> None:
        """Count a scheduled job that "finished" or "failed"."""
        self._jobs.labels(name, outcome).inc()
        self._step_seconds.labels(name).observe(seconds)

    # -- the node -------------------------------------------------------------------------------

    def ready(self, is_ready: bool, started: float | None = None) -> None:
        """Say whether the node is ready, and when it was started."""
        self._ready.set(1 if is_ready else 0)
        if started is not None:
            self._started.set(started)

    def process(self, name: str, up: bool) -> None:
        """Say whether a process of the node runs."""
        self._up.labels(name).set(1 if up else 0)

    def child_died(self, role: str, pid: int) -> None:
        """Count a process that will be started again, and keep what it had counted."""
        self._restarts.labels(role).inc()
        self.process(role, up=False)
        if self._directory is not None:
            fold(self._directory, pid)

    def process_usage(self, name: str) -> None:
        """Say what memory and CPU time this very process takes."""
        pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
        self._memory.labels(name).set(pages * os.sysconf("SC_PAGE_SIZE"))
        self._cpu.labels(name).set(time.process_time())

    def reload(self, outcome: str) -> None:
        """Count a reload that was "applied" or "refused"."""
        self._reloads.labels(outcome).inc()

    def check(self, name: str, ok: bool) -> None:
        """Say whether a health check passes."""
        self._checks.labels(name).set(1 if ok else 0)

    def http(self, status: int) -> None:
        """Count an HTTP answer by its status."""
        self._http.labels(str(status)).inc()

    # -- out ------------------------------------------------------------------------------------

    def render(self) -> bytes:
        """Return the text that Prometheus scrapes, over all processes."""
        import prometheus_client

        self.flush()
        if self._directory is None:
            return prometheus_client.generate_latest(self._registry)
        with contextlib.ExitStack() as locks:
            files: list[str] = []
            for directory in sorted(self._directory.parent.iterdir()):
                if directory.is_dir():
                    locks.enter_context(_locked(directory, fcntl.LOCK_SH))
                    # A process that is just making its file has not given it a size yet.
                    files += [str(path) for path in directory.glob("*.db") if path.stat().st_size]
            registry = prometheus_client.CollectorRegistry()
            registry.register(_Files(files))
            return prometheus_client.generate_latest(registry)

    def families(self) -> dict[str, str]:
        """Return the name and type of every metric, as declared."""
        return {family.name: family.type for family in self._registry.collect()}

    def peer(self, name: str) -> str:
        """Return the name if it is configured, so that nobody outside can make labels."""
        return name if name in self._peers else UNKNOWN

    def destination(self, name: str) -> str:
        """Return the name if it is configured."""
        return name if name in self._destinations or name in self._peers else UNKNOWN

    def take(self, peer: str, sums: _Sums) -> None:
        """Count what a tally hands over; for tallies only."""
        for outcome, count in sums.outcomes.items():
            self._received.labels(peer, outcome).inc(count)
        if sums.size:
            self._received_bytes.labels(peer).inc(sums.size)
        _observe_many(self._ingest, sums.buckets, sums.seconds)

    def forget(self, tally: Tally) -> None:
        """Let go of a tally that was closed; for tallies only."""
        with self._lock:
            self._tallies.discard(tally)

    def _counter(self, name: str, text: str, *labels: str) -> prometheus_client.Counter:
        import prometheus_client

        return prometheus_client.Counter(f"dicom_node_{name}", text, labels, registry=self._registry)

    def _gauge(self, name: str, text: str, mode: Any, *labels: str) -> prometheus_client.Gauge:
        import prometheus_client

        return prometheus_client.Gauge(
            f"dicom_node_{name}", text, labels, registry=self._registry, multiprocess_mode=mode
        )

    def _histogram(
        self, name: str, text: str, buckets: tuple[float, ...], *labels: str
    ) -> prometheus_client.Histogram:
        import prometheus_client

        return prometheus_client.Histogram(
            f"dicom_node_{name}", text, labels, registry=self._registry, buckets=buckets
        )


class _Files:
    """The values in files of processes, added up."""

    def __init__(self, files: list[str]) -> None:
        self._files = files

    def collect(self) -> Iterable[prometheus_client.Metric]:
        from prometheus_client import multiprocess

        merged: Iterable[prometheus_client.Metric] = multiprocess.MultiProcessCollector.merge(self._files)  # type: ignore[no-untyped-call]
        return merged


class _Sums:
    __slots__ = ("buckets", "count", "outcomes", "seconds", "size")

    def __init__(self) -> None:
        self.count = 0
        self.size = 0
        self.seconds = 0.0
        self.outcomes: dict[str, int] = {}
        self.buckets = [0] * (len(INGEST) + 1)


class Tally:
    """What one association has received since it last handed it over."""

    def __init__(self, metrics: Metrics, peer: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.peer = peer  # the label: a configured name, or "unknown"
        self._metrics = metrics
        self._clock = clock
        self._lock = threading.Lock()
        self._sums = _Sums()
        self._due = 0.0  # the first instance is handed over at once

    def stored(self, size: int, seconds: float) -> None:
        """Count an instance that was acknowledged, `seconds` after its first byte."""
        self.add("stored", size, seconds)

    def refused(self, outcome: str = "refused") -> None:
        """Count an instance that was not acknowledged; `outcome` is one of our own words."""
        self.add(outcome, 0, None)

    def add(self, outcome: str, size: int, seconds: float | None) -> None:
        """Count one instance."""
        with self._lock:
            sums = self._sums
            sums.count += 1
            sums.size += size
            sums.outcomes[outcome] = sums.outcomes.get(outcome, 0) + 1
            if seconds is not None:
                sums.seconds += seconds
                sums.buckets[bisect.bisect_left(INGEST, seconds)] += 1
            if sums.count < _TALLY_INSTANCES and self._clock() < self._due:
                return
        self.flush()

    def flush(self) -> None:
        """Hand over what was counted."""
        with self._lock:
            sums, self._sums = self._sums, _Sums()
            self._due = self._clock() + _TALLY_SECONDS
        if sums.count:
            self._metrics.take(self.peer, sums)

    def close(self) -> None:
        """Hand over the rest; the association has ended."""
        self.flush()
        self._metrics.forget(self)


def _observe_many(histogram: prometheus_client.Histogram, counts: list[int], seconds: float) -> None:
    # The library observes one value at a time, which is 4 us each across processes; a tally knows the
    # buckets already. These two attributes have been there since its first release; a test holds them.
    inner: Any = histogram
    for bucket, count in zip(inner._buckets, counts, strict=True):  # noqa: SLF001
        if count:
            bucket.inc(count)
    if seconds:
        inner._sum.inc(seconds)  # noqa: SLF001


def _choose_values(directory: pathlib.Path | None) -> None:
    """Make the library keep its values in files of the directory, or in memory.

    It decides that once, from the environment, when it is imported; here it may have been imported before.
    """
    if directory is not None:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory)
    from prometheus_client import values

    if directory is None:
        values.ValueClass = values.MutexValue
    elif values.ValueClass is values.MutexValue:
        values.ValueClass = values.MultiProcessValue()  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def _locked(directory: pathlib.Path, how: int) -> Iterator[None]:
    """A scrape sees a dead process's counts once: never twice, never not at all."""
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)
