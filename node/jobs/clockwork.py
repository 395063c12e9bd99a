"""Work that the clock starts: each schedule runs once when it is due, whichever worker sees it first.

A run has a thread of its own, so that a long one keeps no other from its time. Who runs it holds a lock file:
it goes with the process, needs no clock, and keeps every other worker from the same work.
"""

from __future__ import annotations

import dataclasses
import datetime
import pathlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from node import errors, log, metrics, model, orders
from node.files import layout
from node.index import db, runs
from node.queue import windows

LOOK_EVERY = 5.0  # seconds between looks at the calendar, at most
SWEEP_EVERY = 30.0  # seconds between looks for files of what was removed from the index
TELL_EVERY = 2.0  # seconds between the words about how far a run is, at least
LONGEST = 3600.0  # seconds between two tries of a run that fails, at most
_AT_ONCE = 8  # runs in one worker; what is due beyond that waits

Tell = Callable[[str], None]
Runner = Callable[[model.Schedule, Tell], str]  # does the work, says how far it is, and what came of it


@dataclasses.dataclass(frozen=True, slots=True)
class _Taken:
    """A run that is ours."""

    run: runs.Run  # as it was written down
    late: bool  # its time was missed


class Clockwork:
    """Watches the schedules and runs what is due."""

    def __init__(
        self,
        data: layout.Data,
        database: db.Database,
        schedules: Sequence[model.Schedule],
        runners: Mapping[model.Job, Runner],
        counts: metrics.Metrics,
        *,
        calendars: Sequence[orders.Calendar] = (),
        sweep: Callable[[], object] = lambda: None,
    ) -> None:
        self._data = data
        self._database = database
        self._runners = runners
        self._counts = counts
        self._sweep = sweep  # done by every worker now and then, whatever the schedules say
        self._swept = 0.0
        self._running: dict[str, threading.Thread] = {}  # by schedule
        self._fault: list[BaseException] = []  # of a run: ends the process, as any fault of ours
        self._woken = threading.Event()  # a run ended, or it is time to stop
        self.apply(schedules, calendars)

    def apply(self, schedules: Sequence[model.Schedule], calendars: Sequence[orders.Calendar] = ()) -> None:
        """Go by these from now on; what runs is not cut off."""
        by_name = {calendar.name: calendar for calendar in calendars}
        # Replaced as a whole, for the thread that goes through them.
        self._schedules = tuple((one, by_name.get(one.calendar or "")) for one in schedules)

    def wake(self) -> None:
        """Look now."""
        self._woken.set()

    def run(self, stop: threading.Event) -> None:
        """Run what is due until told to stop; what runs then is waited for: it looks at the same event."""
        try:
            while not stop.is_set() and not self._fault:
                self._sweep_sometimes()
                self._woken.clear()
                wait = self._look(stop)
                if not stop.is_set() and not self._fault:
                    self._woken.wait(wait)
        finally:
            if self._fault:
                stop.set()
            for thread in self._running.values():
                thread.join()
        if self._fault:
            raise self._fault[0]

    def _look(self, stop: threading.Event) -> float:
        """Begin what is due; the seconds until the next look."""
        wait = LOOK_EVERY
        for name in [name for name, thread in self._running.items() if not thread.is_alive()]:
            del self._running[name]
        for schedule, calendar in self._schedules:
            if schedule.name in self._running:
                continue
            if stop.is_set() or len(self._running) >= _AT_ONCE:
                break
            try:
                ahead = self._begin(schedule, calendar, stop)
            except errors.NodeError as error:
                log.job_failed(
                    schedule=schedule.name, job=schedule.job.value, error=error, retry_in=LOOK_EVERY
                )
                break
            wait = min(wait, ahead)
        return max(0.05, wait)

    def _sweep_sometimes(self) -> None:
        now = time.monotonic()
        if now - self._swept < SWEEP_EVERY:
            return
        self._swept = now
        try:
            self._sweep()
        except errors.NodeError as error:
            log.job_failed(schedule="sweep", job="sweep", error=error, retry_in=SWEEP_EVERY)

    # -- beginning --------------------------------------------------------------------------------

    def _begin(
        self, schedule: model.Schedule, calendar: orders.Calendar | None, stop: threading.Event
    ) -> float:
        """Run it in a thread if it is due and nobody else does; the seconds until it is worth a look."""
        with self._database.read() as connection:
            said = runs.load(connection, schedule.name)
        now = clock()
        if said is not None or schedule.every is not None:
            ahead = (due(schedule, said, now, calendar) - now).total_seconds()
            if ahead > 0:
                return ahead  # what most looks find, without the write lock
        lock = hold(self._data, schedule.name)
        if lock is None:
            return LOOK_EVERY  # another worker is at it
        try:
            mine = self._take(schedule, calendar)
        except BaseException:
            lock.release()
            raise
        if mine is None:
            lock.release()
            return LOOK_EVERY
        thread = threading.Thread(
            target=self._thread, args=(schedule, mine, lock, stop), name=f"job {schedule.name}"
        )
        self._running[schedule.name] = thread
        thread.start()
        return LOOK_EVERY

    def _take(self, schedule: model.Schedule, calendar: orders.Calendar | None) -> _Taken | None:
        """Take the run that is due, so that no other worker does; None: it is none of ours."""
        now = clock()
        late = False
        with self._database.write() as connection:
            said = runs.load(connection, schedule.name)
            if said is None and schedule.every is None:
                # One that is new is written down now, so that a time missed later is caught up.
                runs.save(connection, schedule.name, runs.Run(now, runs.State.WAITING), now)
                return None
            if said is not None:
                since = due(schedule, said, now, calendar)
                if since > now:
                    return None
                late = (now - since).total_seconds() > windows.GRACE
            begun = taken(schedule, said, now)
            runs.save(connection, schedule.name, begun, now)
        if begun.state is runs.State.FAILED:
            log.job_failed(schedule=schedule.name, job=schedule.job.value, error=begun.says)
            return None
        return _Taken(begun, late)

    # -- running ----------------------------------------------------------------------------------

    def _thread(
        self, schedule: model.Schedule, mine: _Taken, lock: layout.Lock, stop: threading.Event
    ) -> None:
        try:
            self._work(schedule, mine, stop)
        except BaseException as error:  # noqa: BLE001 - raised again by `run`, in the clockwork's thread
            self._fault.append(error)
        finally:
            lock.release()
            self._woken.set()

    def _work(self, schedule: model.Schedule, mine: _Taken, stop: threading.Event) -> None:
        log.job_started(schedule=schedule.name, job=schedule.job.value, missed=mine.late)
        begun = time.monotonic()
        told = begun

        def tell(words: str) -> None:
            nonlocal told
            if time.monotonic() - told >= TELL_EVERY:
                told = time.monotonic()
                self._note(schedule, dataclasses.replace(mine.run, says=words))

        try:
            outcome = self._runners[schedule.job](schedule, tell)
        except errors.NodeError as error:
            self._ended(
                schedule, begun, failed(schedule, mine.run, clock(), str(error), stopped=stop.is_set())
            )
            return
        now = clock()
        if stop.is_set():
            done = failed(schedule, mine.run, now, outcome, stopped=True)
        else:
            done = dataclasses.replace(
                mine.run, state=runs.State.FINISHED, again=None, ended=now, says=outcome
            )
        self._ended(schedule, begun, done)

    def _ended(self, schedule: model.Schedule, begun: float, run: runs.Run) -> None:
        seconds = time.monotonic() - begun
        name, job = schedule.name, schedule.job.value
        self._counts.job(job, "failed" if run.state is runs.State.FAILED else run.state.value, seconds)
        if run.state is runs.State.FAILED:
            wait = None if run.again is None or run.ended is None else (run.again - run.ended).total_seconds()
            log.job_failed(schedule=name, job=job, error=run.says, retry_in=wait)
        else:
            outcome = f"stopped before its end: {run.says}" if run.state is runs.State.STOPPED else run.says
            log.job_finished(schedule=name, job=job, seconds=round(seconds, 3), outcome=outcome)
        self._note(schedule, run)

    def _note(self, schedule: model.Schedule, run: runs.Run) -> None:
        """Write down how it stands; where the database is away, the next look finds a run that broke off."""
        try:
            with self._database.write() as connection:
                runs.save(connection, schedule.name, run, clock())
        except errors.DatabaseUnavailable as error:
            log.database_error(what=f"schedule {schedule.name}", error=error, retry_in=LOOK_EVERY)


# -- what is decided ----------------------------------------------------------------------------------


def hold(data: layout.Data, schedule: str) -> layout.Lock | None:
    """Keep everybody else from running it; None: somebody does."""
    path = _lock(data, schedule)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    try:
        return layout.Lock(path, f"schedule {schedule}")
    except errors.UsageError:
        return None


def _lock(data: layout.Data, schedule: str) -> pathlib.Path:
    return data.root / "run" / "schedules" / f"{schedule}.lock"


def ask(data: layout.Data, database: db.Database, schedule: str) -> datetime.datetime:
    """Want a run at once, whatever its time; raises UsageError while one runs."""
    if layout.held(_lock(data, schedule)):
        raise errors.UsageError(f"{schedule} runs already: see `dicom-node schedules`")
    now = clock()
    with database.write() as connection:
        said = runs.load(connection, schedule) or runs.Run(now, runs.State.WAITING)
        wanted = dataclasses.replace(said, state=runs.State.ASKED, again=None)
        runs.save(connection, schedule, wanted, now)
    return now


def ahead(
    data: layout.Data,
    schedule: model.Schedule,
    said: runs.Run | None,
    now: datetime.datetime,
    calendar: orders.Calendar | None = None,
) -> datetime.datetime | None:
    """When a schedule is begun next, for people; None: it runs."""
    if layout.held(_lock(data, schedule.name)):
        return None
    return due(schedule, said, now, calendar)


def due(
    schedule: model.Schedule,
    said: runs.Run | None,
    now: datetime.datetime,
    calendar: orders.Calendar | None = None,
) -> datetime.datetime:
    """When it is to be begun next: its next time, or before that what a person or a failure wants again."""
    if said is None:
        return windows.next_run(schedule, None, now, calendar)
    if said.state is runs.State.ASKED:
        return now
    if said.state is runs.State.RUNNING:
        return now  # who had it holds its lock or died; the lock tells
    regular = windows.next_run(schedule, said.last, now, calendar)
    again = said.again
    if again is None:
        return regular
    if again > now + datetime.timedelta(seconds=LONGEST):
        again = now  # the clock was ahead when it was written down
    if calendar is not None and not windows.open_at(calendar, max(again, now)):
        again = windows.next_change(calendar, max(again, now))
    return min(regular, again)


def taken(schedule: model.Schedule, said: runs.Run | None, now: datetime.datetime) -> runs.Run:
    """The run that begins now: anew, or once more; FAILED where workers died over it too often."""
    once_more = said is not None and (
        said.state is runs.State.RUNNING or (said.again is not None and said.again <= now)
    )
    if said is None or not once_more:
        return runs.Run(now, runs.State.RUNNING, tries=1, begun=now)
    if said.state is runs.State.RUNNING and said.tries > schedule.retries:
        why = f"the worker died over it {said.tries} times: it is left alone until its next time"
        return dataclasses.replace(said, state=runs.State.FAILED, again=None, ended=now, says=why)
    return dataclasses.replace(
        said, state=runs.State.RUNNING, tries=said.tries + 1, again=None, begun=now, says=""
    )


def failed(
    schedule: model.Schedule, run: runs.Run, now: datetime.datetime, why: str, *, stopped: bool
) -> runs.Run:
    """What becomes of a run that did not come to its end."""
    if stopped:
        # Not counted as a try: a node that is restarted often must not give up what it was kept from doing.
        return dataclasses.replace(
            run, state=runs.State.STOPPED, again=now, ended=now, tries=run.tries - 1, says=why
        )
    again = None
    if run.tries <= schedule.retries:
        wait = min(schedule.retry * 2 ** min(run.tries - 1, 20), LONGEST)
        again = now + datetime.timedelta(seconds=wait)
    return dataclasses.replace(run, state=runs.State.FAILED, again=again, ended=now, says=why)


def clock() -> datetime.datetime:
    """The time, in the zone of the host."""
    return datetime.datetime.now().astimezone()
