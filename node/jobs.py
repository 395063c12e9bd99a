"""Work that the clock starts: each schedule runs once when it is due, whichever worker sees it first."""

from __future__ import annotations

import datetime
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from node import errors, log, metrics, model
from node.index import db, progress
from node.queue import windows

LOOK_EVERY = 5.0  # seconds between looks at the calendar
SWEEP_EVERY = 30.0  # seconds between looks for files of what was removed from the index
Runner = Callable[[model.Schedule], str]  # does the work and says what came of it


class Clockwork:
    """Watches the schedules and runs what is due."""

    def __init__(
        self,
        database: db.Database,
        schedules: Sequence[model.Schedule],
        runners: Mapping[model.Job, Runner],
        counts: metrics.Metrics,
        sweep: Callable[[], object] = lambda: None,
    ) -> None:
        self._database = database
        self._runners = runners
        self._counts = counts
        self._sweep = sweep  # done by every worker now and then, whatever the schedules say
        self._swept = 0.0
        self.schedules = tuple(schedules)  # replaced as a whole at a reload

    def run(self, stop: threading.Event) -> None:
        """Run what is due until told to stop; a running job is not cut off by a reload."""
        while not stop.is_set():
            self._sweep_sometimes()
            for schedule in self.schedules:
                if stop.is_set():
                    return
                try:
                    mine = self._claim(schedule, _now())
                except errors.DatabaseUnavailable as error:
                    log.database_error(what=f"schedule {schedule.name}", error=error, retry_in=LOOK_EVERY)
                    break
                if mine:
                    self._run(schedule)
            stop.wait(LOOK_EVERY)

    def _sweep_sometimes(self) -> None:
        now = time.monotonic()
        if now - self._swept < SWEEP_EVERY:
            return
        self._swept = now
        try:
            self._sweep()
        except errors.NodeError as error:
            log.job_failed(schedule="sweep", job="sweep", error=error, retry_in=SWEEP_EVERY)

    def _claim(self, schedule: model.Schedule, now: datetime.datetime) -> bool:
        """Take the run that is due, so that no other worker does."""
        job = f"schedule:{schedule.name}"
        with self._database.read() as connection:
            if _waits(schedule, progress.load(connection, job), now):
                return False  # what most looks find, without the write lock
        with self._database.write() as connection:
            said = progress.load(connection, job)
            if _waits(schedule, said, now):
                return False
            # A daily schedule that is new is written down now, so that a night missed later is caught up.
            progress.save(connection, job, now.isoformat(), now)
            return _due(schedule, said, now)

    def _run(self, schedule: model.Schedule) -> None:
        log.job_started(schedule=schedule.name, job=schedule.job.value)
        begun = time.monotonic()
        try:
            outcome = self._runners[schedule.job](schedule)
        except errors.NodeError as error:
            self._counts.job(schedule.job.value, "failed", time.monotonic() - begun)
            log.job_failed(schedule=schedule.name, job=schedule.job.value, error=error)
            return
        seconds = time.monotonic() - begun
        self._counts.job(schedule.job.value, "finished", seconds)
        log.job_finished(
            schedule=schedule.name, job=schedule.job.value, seconds=round(seconds, 3), outcome=outcome
        )


def _waits(schedule: model.Schedule, said: str | None, now: datetime.datetime) -> bool:
    return said is not None and not _due(schedule, said, now)


def _due(schedule: model.Schedule, said: str | None, now: datetime.datetime) -> bool:
    last = datetime.datetime.fromisoformat(said).astimezone(now.tzinfo) if said else None
    return windows.next_run(schedule, last, now) <= now


def _now() -> datetime.datetime:
    return datetime.datetime.now().astimezone()
