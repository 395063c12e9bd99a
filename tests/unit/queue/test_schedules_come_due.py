"""When a schedule is due, over missed runs, clock jumps and changes of summer time."""

from __future__ import annotations

import datetime
import zoneinfo

import pytest

from node import model
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
