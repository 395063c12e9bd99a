"""Clockworks on one data directory: each run once, none in another's way, nothing left behind at a stop."""

from __future__ import annotations

import pathlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import pytest

from node import errors, metrics, model, orders
from node.files import layout
from node.index import db, runs
from node.jobs import clockwork as jobs
from tests import indexed

WAIT = 60.0  # seconds; nothing here takes one


class Bench:
    """What the clockworks of a test share."""

    def __init__(self, root: pathlib.Path) -> None:
        self.data = layout.Data(root / "data")
        self.data.make()
        self.database: db.Database = indexed.sqlite(root)
        self._running: list[tuple[threading.Thread, jobs.Clockwork, threading.Event]] = []
        self.faults: list[BaseException] = []
        self._counts = metrics.Metrics(None)

    def start(
        self,
        *schedules: model.Schedule,
        runners: Mapping[model.Job, Callable[[threading.Event], str]],
        calendars: Sequence[orders.Calendar] = (),
    ) -> None:
        """Another worker's clockwork."""
        stop = threading.Event()
        works: dict[model.Job, jobs.Runner] = {
            job: lambda _schedule, _tell, one=one: one(stop)  # type: ignore[misc]
            for job, one in runners.items()
        }
        clockwork = jobs.Clockwork(
            self.data, self.database, schedules, works, self._counts, calendars=calendars
        )

        def run() -> None:
            try:
                clockwork.run(stop)
            except BaseException as error:  # noqa: BLE001 - looked at by the test
                self.faults.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        self._running.append((thread, clockwork, stop))

    def stop(self) -> None:
        for thread, clockwork, stop in self._running:
            stop.set()
            clockwork.wake()
            thread.join(WAIT)
            assert not thread.is_alive()
        self._running.clear()

    def last(self, name: str) -> runs.Run | None:
        with self.database.read() as connection:
            return runs.load(connection, name)

    def until(self, name: str, state: runs.State) -> runs.Run:
        end = time.monotonic() + WAIT
        while (found := self.last(name)) is None or found.state is not state:
            assert time.monotonic() < end, found
            time.sleep(0.01)
        return found


@pytest.fixture
def bench(tmp_path: pathlib.Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    try:
        yield made
    finally:
        made.stop()
        made.database.close()


LONG = model.Schedule("long", model.Job.PULL, every=0.05)
SHORT = model.Schedule("short", model.Job.SCRUB, every=0.05)


def test_a_long_run_keeps_no_other_from_its_time_and_is_nobody_elses(bench: Bench) -> None:
    at_once, most, begun = [0], [0], threading.Event()
    lock, shorts = threading.Lock(), threading.Semaphore(0)
    go = threading.Event()

    def pull(_stop: threading.Event) -> str:
        with lock:
            at_once[0] += 1
            most[0] = max(most[0], at_once[0])
        begun.set()
        assert go.wait(WAIT)
        with lock:
            at_once[0] -= 1
        return "pulled"

    def scrub(_stop: threading.Event) -> str:
        shorts.release()
        return "scrubbed"

    for _ in range(2):
        bench.start(LONG, SHORT, runners={model.Job.PULL: pull, model.Job.SCRUB: scrub})
    assert begun.wait(WAIT)
    for _ in range(5):  # while the long one goes on, and its next time has come
        assert shorts.acquire(timeout=WAIT)
    assert jobs.ahead(bench.data, LONG, bench.last("long"), jobs.clock()) is None
    with pytest.raises(errors.UsageError, match="long runs already"):
        jobs.ask(bench.data, bench.database, "long")
    go.set()
    assert bench.until("long", runs.State.FINISHED).says == "pulled"
    bench.stop()
    assert most == [1]


def test_a_failure_says_why_and_is_tried_again(bench: Bench) -> None:
    tries: list[int] = []

    def pull(_stop: threading.Event) -> str:
        tries.append(1)
        if len(tries) < 3:
            raise errors.PeerUnreachable("nobody there")
        return "third time lucky"

    schedule = model.Schedule("s", model.Job.PULL, every=3600.0, retry=0.05)
    bench.start(schedule, runners={model.Job.PULL: pull})
    done = bench.until("s", runs.State.FINISHED)
    assert (done.says, done.tries, len(tries)) == ("third time lucky", 3, 3)


def test_a_stop_ends_a_run_and_the_next_start_goes_on_with_it(bench: Bench) -> None:
    begun = threading.Semaphore(0)

    def pull(stop: threading.Event) -> str:
        begun.release()
        assert stop.wait(WAIT)
        return "half of it"

    schedule = model.Schedule("s", model.Job.PULL, every=3600.0)
    for _ in range(2):
        bench.start(schedule, runners={model.Job.PULL: pull})
        assert begun.acquire(timeout=WAIT)
        bench.stop()
        found = bench.last("s")
        assert found is not None
        assert (found.state, found.says) == (runs.State.STOPPED, "half of it")


def test_a_fault_of_ours_ends_the_clockwork_and_leaves_the_run_to_the_next_worker(bench: Bench) -> None:
    def pull(_stop: threading.Event) -> str:
        raise ZeroDivisionError

    schedule = model.Schedule("s", model.Job.PULL, every=3600.0)
    bench.start(schedule, runners={model.Job.PULL: pull})
    end = time.monotonic() + WAIT
    while not bench.faults:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert isinstance(bench.faults[0], ZeroDivisionError)
    bench.start(schedule, runners={model.Job.PULL: lambda _stop: "well again"})
    assert bench.until("s", runs.State.FINISHED).tries == 2


def test_a_person_asks_for_a_run_before_its_time(bench: Bench) -> None:
    schedule = model.Schedule("s", model.Job.PULL, at="00:00", zone="UTC")
    asked = jobs.ask(bench.data, bench.database, "s")
    bench.start(schedule, runners={model.Job.PULL: lambda _stop: "done"})
    done = bench.until("s", runs.State.FINISHED)
    assert done.begun is not None
    assert done.begun >= asked


def test_a_new_daily_schedule_waits_for_its_time(bench: Bench) -> None:
    schedule = model.Schedule("s", model.Job.PULL, at="00:00", zone="UTC")
    bench.start(schedule, runners={})
    found = bench.until("s", runs.State.WAITING)
    assert jobs.due(schedule, found, jobs.clock()) > jobs.clock()


def test_nothing_runs_while_its_calendar_is_closed(bench: Bench) -> None:
    shorts = threading.Semaphore(0)

    def scrub(_stop: threading.Event) -> str:
        shorts.release()
        return "scrubbed"

    never = orders.Calendar("never", days=frozenset())
    closed = model.Schedule("s", model.Job.PULL, every=0.05, calendar="never")
    bench.start(closed, SHORT, runners={model.Job.SCRUB: scrub}, calendars=[never])
    for _ in range(3):
        assert shorts.acquire(timeout=WAIT)
    assert bench.last("s") is None
