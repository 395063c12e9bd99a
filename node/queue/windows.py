"""When something may be done, and when it is due: calendars and schedules, pure arithmetic.

Clocks on walls decide: of the zone that is named, else of the host. All moments are aware.
"""

from __future__ import annotations

import datetime
import functools
from collections.abc import Iterator

from node import cron, model, orders, zones

GRACE = 300.0  # seconds that a run may be late and is still no missed one
AHEAD = datetime.timedelta(days=400)  # so far is looked for a change of a calendar

_DAY = datetime.timedelta(days=1)
_MIDNIGHT = datetime.time()
_ROUNDS = 100  # windows of a calendar that are looked through for a run that falls into one

# -- calendars --------------------------------------------------------------------------------------


def open_at(calendar: orders.Calendar, moment: datetime.datetime) -> bool:
    """Whether the calendar is open.

    Hours over midnight belong to the day on which they begin. A holiday is open or closed all day, whatever
    began the evening before. An hour that the clock shows twice counts twice, one that it leaves out never.
    """
    shown = zones.wall(moment, calendar.zone)
    day, time = shown.date(), shown.time()
    if day in calendar.holidays:
        return calendar.on_holidays
    if _counts(calendar, day):
        if not calendar.hours:
            return True
        if any(_tonight(time, begin, end) for begin, end in calendar.hours):
            return True
    return _counts(calendar, day - _DAY) and any(end <= begin and time < end for begin, end in calendar.hours)


def _counts(calendar: orders.Calendar, day: datetime.date) -> bool:
    """Whether hours may begin on this day."""
    return calendar.on_holidays if day in calendar.holidays else day.weekday() in calendar.days


def _tonight(time: datetime.time, begin: datetime.time, end: datetime.time) -> bool:
    return begin <= time and (time < end or end <= begin)


def next_change(calendar: orders.Calendar, moment: datetime.datetime) -> datetime.datetime:
    """When the calendar opens if it is closed, or closes if it is open; in 400 days where it never does."""
    now = open_at(calendar, moment)
    start = moment.astimezone(datetime.UTC)
    first = zones.wall(start, calendar.zone).date()
    for number in range(-1, AHEAD.days):
        for at in _edges(calendar, first + _DAY * number):
            if at > start and open_at(calendar, at) is not now:
                return at.astimezone(zones.zone(calendar.zone))
    return moment + AHEAD


def _edges(calendar: orders.Calendar, day: datetime.date) -> list[datetime.datetime]:
    """The moments of a day at which a calendar can change, in their order."""
    found: set[datetime.datetime] = set()
    for time in {_MIDNIGHT, *(time for hours in calendar.hours for time in hours)}:
        shown = datetime.datetime.combine(day, time)
        found.update(zones.moments(shown, calendar.zone) or (zones.moment(shown, calendar.zone),))
    begin, end = (
        zones.moment(datetime.datetime.combine(day + _DAY * number, _MIDNIGHT), calendar.zone)
        for number in (0, 1)
    )
    jumped = zones.jump(begin, end, calendar.zone)  # set back into hours that were over, or forth into others
    if jumped is not None:
        found.add(jumped)
    return sorted(found)


# -- schedules --------------------------------------------------------------------------------------


def next_run(
    schedule: model.Schedule,
    last: datetime.datetime | None,
    now: datetime.datetime,
    calendar: orders.Calendar | None = None,
) -> datetime.datetime:
    """Return when the schedule is due next; a moment that is not after `now` means at once.

    What was missed while the node was down, or its calendar closed, is caught up once, or skipped.
    """
    if last is not None:
        last = min(last, now)  # a clock that was set back must not put the next run years away
    late = now - datetime.timedelta(seconds=GRACE)
    if schedule.missed is model.Missed.SKIP and last is not None:
        due = _after(schedule, last, max(last, late))
    else:
        due = now if last is None and schedule.every is not None else _after(schedule, last, last or now)
    if calendar is not None:
        due = _within(schedule, calendar, due, now, last)
    return due.astimezone(zones.zone(schedule.zone))


def _within(
    schedule: model.Schedule,
    calendar: orders.Calendar,
    due: datetime.datetime,
    now: datetime.datetime,
    last: datetime.datetime | None,
) -> datetime.datetime:
    """The first moment in the calendar's hours: of the run that is due, or of one that is not late."""
    if schedule.missed is model.Missed.ONCE:
        at = max(due, now)
        return due if open_at(calendar, at) else next_change(calendar, at)
    for _ in range(_ROUNDS):
        if open_at(calendar, due):
            break
        opening = next_change(calendar, due)
        due = _after(schedule, last or opening, opening - datetime.timedelta(microseconds=1))
    return due


def _after(
    schedule: model.Schedule, last: datetime.datetime | None, moment: datetime.datetime
) -> datetime.datetime:
    """The first run after this moment; those of `every` are counted from the last one."""
    if schedule.every is not None:
        if last is None:
            return moment
        whole = (moment - last).total_seconds() // schedule.every
        return last + datetime.timedelta(seconds=schedule.every) * (max(whole, 0) + 1)
    return _expression(schedule.cron, schedule.at).after(moment, schedule.zone)


@functools.lru_cache(maxsize=256)
def _expression(text: str | None, at: str | None) -> cron.Cron:
    if text is not None:
        return cron.parse(text)
    assert at is not None, "the configuration gives every schedule `at`, `every` or `cron`"
    return cron.daily(at)


def runs(
    schedule: model.Schedule, now: datetime.datetime, calendar: orders.Calendar | None = None
) -> Iterator[datetime.datetime]:
    """The runs that are ahead when none is missed, for people."""
    last = now
    while True:
        last = next_run(schedule, last, last, calendar)
        yield last
