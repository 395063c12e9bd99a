"""The jobs that schedules name, bound to what they work on."""

from __future__ import annotations

import datetime
import threading
from typing import TYPE_CHECKING

from node import model, upkeep
from node.index import pruning
from node.jobs import clockwork as jobs
from node.jobs import expected, forward, pull

if TYPE_CHECKING:
    from node import roles
    from node.index import db


def runners(
    shared: roles.Shared, database: db.Database, stop: threading.Event
) -> dict[model.Job, jobs.Runner]:
    """Return what runs for each job; a run breaks off between two instances when told to stop."""

    def retention(_schedule: model.Schedule, _tell: jobs.Tell) -> str:
        policy = shared.settings.storage.retention
        done = upkeep.retention(shared.data, database, policy, stop=stop.is_set)
        if done.instances:
            shared.counts.removed("retention", done.instances, done.bytes)
        shown = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=shared.settings.queue.keep)
        pruning.finished(database, shown, stop=stop.is_set)
        return f"{done.instances} instances in {done.series} series removed"

    def scrub(schedule: model.Schedule, tell: jobs.Tell) -> str:
        seen = upkeep.scrub_store(
            shared.data,
            database,
            rate=schedule.rate,
            stop=stop.is_set,
            seen=lambda instances, _size: tell(f"{instances} instances verified"),
        )
        corrupt = sum(finding.state is model.Held.CORRUPT for finding in seen.findings)
        missing = len(seen.findings) - corrupt
        shared.counts.scrubbed(sound=seen.instances - len(seen.findings), corrupt=corrupt, missing=missing)
        return f"{seen.instances} instances verified, {corrupt} corrupt, {missing} missing"

    def asked(schedule: model.Schedule, tell: jobs.Tell) -> pull.Job:
        peer = expected.peer(shared.settings, schedule, schedule.peer)
        brake = pull.Brake(stop)
        return pull.Job(shared.data, database, shared.settings, peer, schedule.by, stop, brake, tell)

    def fetch(schedule: model.Schedule, tell: jobs.Tell) -> str:
        job = asked(schedule, tell)
        with job.brake.watching():
            return pull.pull(job, schedule)

    def prefetch(schedule: model.Schedule, tell: jobs.Tell) -> str:
        job = asked(schedule, tell)
        with job.brake.watching():
            return pull.prefetch(job, schedule, expected.today(shared.settings, database, schedule))

    def send(schedule: model.Schedule, tell: jobs.Tell) -> str:
        return forward.forward(shared.data, database, shared.settings, schedule, stop=stop, tell=tell)

    return {
        model.Job.RETENTION: retention,
        model.Job.SCRUB: scrub,
        model.Job.PULL: fetch,
        model.Job.PREFETCH: prefetch,
        model.Job.FORWARD: send,
    }
