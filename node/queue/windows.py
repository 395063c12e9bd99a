"""When a schedule is due: pure calendar arithmetic, in the host's local time zone."""

from __future__ import annotations

import datetime

from node import model


def next_run(
    schedule: model.Schedule, last: datetime.datetime | None, now: datetime.datetime
) -> datetime.datetime:
    """Return when the schedule is due next; a moment that is not after `now` means at once.

    A daily run that was missed while the node was down is caught up once. All times are aware.
    """
    if schedule.every is not None:
        if last is None:
            return now
        # A clock that was set back must not put the next run years away.
        return min(last, now) + datetime.timedelta(seconds=schedule.every)
    assert schedule.at is not None, "the configuration gives every schedule `at` or `every`"
    before = _occurrence(schedule.at, now)
    if last is not None and last >= before:
        return _occurrence(schedule.at, now, days=1)
    return before if last is not None else _occurrence(schedule.at, now, days=1)


def _occurrence(at: str, now: datetime.datetime, days: int = 0) -> datetime.datetime:
    """Return the latest HH:MM that is not after `now`, moved by whole days on the wall clock."""
    hour, minute = (int(part) for part in at.split(":"))
    zone = now.tzinfo
    wall = datetime.datetime.combine(now.date(), datetime.time(hour, minute), zone)
    if wall > now:
        wall -= datetime.timedelta(days=1)
    moved = wall + datetime.timedelta(days=days)
    return moved
