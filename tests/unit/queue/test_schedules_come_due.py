"""When a schedule is due, over missed runs, clock jumps and changes of summer time."""

from __future__ import annotations

import datetime
import zoneinfo

import pytest

from node import model, orders
from node.queue import windows

BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")


def at(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text).replace(tzinfo=BERLIN)


NIGHTLY = model.Schedule("nightly", model.Job.SCRUB, at="02:30", zone="Europe/Berlin")
HOURLY = model.Schedule("hourly", model.Job.RETENTION, every=3600.0)


@pytest.mark.parametrize(
    ("schedule", "last", "now", "due"),
    [
        # A new daily schedule waits for its hour: a restart at noon starts no scrub.
        (NIGHTLY, None, "2026-05-10T12:00", "2026-05-11T02:30"),
        (NIGHTLY, None, "2026-05-10T01:00", "2026-05-10T02:30"),
        (NIGHTLY, "2026-05-10T02:30", "2026-05-10T12:00", "2026-05-11T02:30"),
        # Down for three nights: caught up once, at once.
        (NIGHTLY, "2026-05-07T02:30", "2026-05-10T12:00", "2026-05-08T02:30"),
        # The wall clock counts, also over the change to summer time, which leaves 02:30 out.
        (NIGHTLY, "2026-03-28T02:30", "2026-03-28T23:00", "2026-03-29T03:00"),
        (HOURLY, None, "2026-05-10T12:00", "2026-05-10T12:00"),
        (HOURLY, "2026-05-10T11:30", "2026-05-10T12:00", "2026-05-10T12:30"),
        (HOURLY, "2026-05-10T02:00", "2026-05-10T12:00", "2026-05-10T03:00"),
        # The clock was ten years ahead at the last run: not stuck for ten years.
        (HOURLY, "2036-05-10T12:00", "2026-05-10T12:00", "2026-05-10T13:00"),
    ],
)
def test_next_run(schedule: model.Schedule, last: str | None, now: str, due: str) -> None:
    assert windows.next_run(schedule, at(last) if last else None, at(now)) == at(due)


SKIPPING = model.Schedule(
    "s", model.Job.RETENTION, at="02:30", zone="Europe/Berlin", missed=model.Missed.SKIP
)
HOURS = model.Schedule("h", model.Job.RETENTION, every=3600.0, missed=model.Missed.SKIP)
CRON = model.Schedule("c", model.Job.RETENTION, cron="0 8-17/3 * * mon-fri", zone="Europe/Berlin")
NIGHTS = orders.Calendar("nights", hours=((datetime.time(22), datetime.time(6)),), zone="Europe/Berlin")


@pytest.mark.parametrize(
    ("schedule", "calendar", "last", "now", "due"),
    [
        # Skipped where it is more than minutes late, and not where it is less.
        (SKIPPING, None, "2026-05-07T02:30", "2026-05-10T12:00", "2026-05-11T02:30"),
        (SKIPPING, None, "2026-05-09T02:30", "2026-05-10T02:33", "2026-05-10T02:30"),
        (HOURS, None, "2026-05-10T02:10", "2026-05-10T12:00", "2026-05-10T12:10"),
        (HOURS, None, "2026-05-10T11:50", "2026-05-10T12:51", "2026-05-10T12:50"),
        # Friday's last one, seen on Monday.
        (CRON, None, "2026-05-08T14:00", "2026-05-11T07:00", "2026-05-08T17:00"),
        (CRON, None, "2026-05-08T17:00", "2026-05-11T07:00", "2026-05-11T08:00"),
        # What comes due while the calendar is closed waits until it opens, or is none.
        (HOURLY, NIGHTS, "2026-05-10T05:30", "2026-05-10T12:00", "2026-05-10T22:00"),
        (HOURLY, NIGHTS, "2026-05-10T22:10", "2026-05-10T22:20", "2026-05-10T23:10"),
        (HOURLY, NIGHTS, None, "2026-05-10T12:00", "2026-05-10T22:00"),
        (HOURS, NIGHTS, "2026-05-10T05:30", "2026-05-10T12:00", "2026-05-10T22:30"),
        (HOURS, NIGHTS, "2026-05-10T05:30", "2026-05-10T05:40", "2026-05-10T22:30"),
        (CRON, NIGHTS, "2026-05-08T14:00", "2026-05-11T12:00", "2026-05-11T22:00"),
    ],
)
def test_what_was_missed_and_what_is_closed(
    schedule: model.Schedule, calendar: orders.Calendar | None, last: str | None, now: str, due: str
) -> None:
    assert windows.next_run(schedule, at(last) if last else None, at(now), calendar) == at(due)


def test_what_never_falls_into_its_calendar_ends_the_search() -> None:
    noon = model.Schedule(
        "n", model.Job.RETENTION, at="12:00", zone="Europe/Berlin", missed=model.Missed.SKIP
    )
    assert windows.next_run(noon, at("2026-05-10T12:00"), at("2026-05-10T13:00"), NIGHTS) > at(
        "2026-08-01T00:00"
    )
