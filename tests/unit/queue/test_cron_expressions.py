"""What five fields mean, when they come next, and what is said of those that are none."""

from __future__ import annotations

import datetime

import hypothesis
import pytest
from hypothesis import strategies

from node import cron, zones

UTC = datetime.UTC
BERLIN = "Europe/Berlin"


def walls(text: str, after: str, count: int = 4, zone: str = BERLIN) -> list[str]:
    """What the clock shows at the next times, with the offset where it matters."""
    moment = zones.moment(datetime.datetime.fromisoformat(after), zone)
    found = []
    for _ in range(count):
        moment = cron.parse(text).after(moment, zone)
        found.append(f"{moment.astimezone(zones.zone(zone)):%Y-%m-%dT%H:%M%z}"[:-2])
    return found


@pytest.mark.parametrize(
    ("text", "after", "shown"),
    [
        ("30 2 * * *", "2026-11-20T02:30", ["2026-11-21T02:30+01", "2026-11-22T02:30+01"]),
        ("*/20 8-9 * * mon-fri", "2026-11-20T09:20", ["2026-11-20T09:40+01", "2026-11-23T08:00+01"]),
        ("0 0 29 feb *", "2026-11-20T00:00", ["2028-02-29T00:00+01", "2032-02-29T00:00+01"]),
        # Both kinds of days narrowed: either is enough.
        (
            "0 12 1 * sun",
            "2026-11-21T00:00",
            ["2026-11-22T12:00+01", "2026-11-29T12:00+01", "2026-12-01T12:00+01"],
        ),
        ("0 12 * * 7", "2026-11-21T00:00", ["2026-11-22T12:00+01", "2026-11-29T12:00+01"]),
        ("0 12 * * Fri-Sun", "2026-11-21T13:00", ["2026-11-22T12:00+01", "2026-11-27T12:00+01"]),
        (
            "5,10 0 1 JAN,jul *",
            "2026-11-20T00:00",
            ["2027-01-01T00:05+01", "2027-01-01T00:10+01", "2027-07-01T00:05+02"],
        ),
        # An hour that is left out: when the clock has jumped over it, and once.
        ("0,30 2 * * *", "2026-03-28T12:00", ["2026-03-29T03:00+02", "2026-03-30T02:00+02"]),
        # An hour that comes twice: the first time.
        ("30 2 * * *", "2026-10-24T12:00", ["2026-10-25T02:30+02", "2026-10-26T02:30+01"]),
        # Every hour goes on, whatever the clock does.
        (
            "30 * * * *",
            "2026-03-29T01:00",
            ["2026-03-29T01:30+01", "2026-03-29T03:30+02", "2026-03-29T04:30+02"],
        ),
        (
            "30 * * * *",
            "2026-10-25T02:00",
            ["2026-10-25T02:30+02", "2026-10-25T02:30+01", "2026-10-25T03:30+01"],
        ),
    ],
)
def test_what_comes_next(text: str, after: str, shown: list[str]) -> None:
    assert walls(text, after, len(shown)) == shown


def test_every_minute_of_the_hour_that_comes_twice() -> None:
    start = datetime.datetime(2026, 10, 24, 23, 59, tzinfo=UTC)
    moment, count = start, 0
    while (moment := cron.parse("* * * * *").after(moment, BERLIN)) <= start + datetime.timedelta(hours=3):
        count += 1
        assert moment == start + datetime.timedelta(minutes=count)
    assert count == 180


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it has 0 fields and needs five"),
        ("0 3 * *", "it has 4 fields and needs five"),
        ("@daily", "it has 1 fields and needs five"),
        ("60 3 * * *", "60 is no minute: give 0 to 59"),
        ("0 24 * * *", "24 is no hour: give 0 to 23"),
        ("0 3 0 * *", "0 is no day of the month: give 1 to 31"),
        ("0 3 * smarch *", "'smarch' is no month: give 1 to 12, or a name such as jan"),
        ("0 3 * * 8", "8 is no day of the week: give 0 to 7"),
        ("0 22-4 * * *", "'22-4' runs backwards: write 22-23,0-4"),
        ("0 5/10 * * *", "a step needs a range: write 5-23/10 for '5/10'"),
        ("*/0 * * * *", "a step of 0 in '*/0' leads nowhere"),
        ("0 3 30 2 *", "it never comes: no month of 2 has a day 30"),
        ("0 3 ? * *", "'?' is no day of the month"),
        ("0 3 1,,2 * *", "'' is no day of the month"),
        ("99999999999999999999 3 * * *", "is no minute"),
    ],
)
def test_what_is_wrong_is_said(text: str, said: str) -> None:
    with pytest.raises(cron.Wrong) as wrong:
        cron.parse(text)
    assert said in str(wrong.value)


_FIELD = {
    "minute": strategies.sampled_from(["*", "0", "7", "*/15", "10-20/5", "3,33"]),
    "hour": strategies.sampled_from(["*", "2", "0-3", "*/6", "1,2,3", "23"]),
    "day": strategies.sampled_from(["*", "1", "25-31", "*/3"]),
    "month": strategies.sampled_from(["*", "3", "oct", "3-10"]),
    "weekday": strategies.sampled_from(["*", "sun", "1-5", "6,0"]),
}


@hypothesis.given(
    strategies.builds("{minute} {hour} {day} {month} {weekday}".format, **_FIELD),
    strategies.sampled_from(["2026-03-27", "2026-10-23"]),
    strategies.integers(0, 3 * 1440),
    strategies.sampled_from([BERLIN, "America/New_York", "UTC", "Australia/Lord_Howe"]),
)
@hypothesis.settings(max_examples=60, deadline=None)
def test_no_time_is_left_out(text: str, day: str, minutes: int, zone: str) -> None:
    """Held against every minute of the days on which the clock changes."""
    made = cron.parse(text)
    minute = datetime.timedelta(minutes=1)
    start = datetime.datetime.fromisoformat(day).replace(tzinfo=UTC) + minute * minutes
    end = start + datetime.timedelta(days=2)

    def fits(shown: datetime.datetime) -> bool:
        return made.on(shown.date()) and shown.hour in made.hours and shown.minute in made.minutes

    if made.hourly:
        passing = (start + minute * number for number in range(1, 2 * 1440))
        expected = [moment for moment in passing if fits(zones.wall(moment, zone))]
    else:
        first = zones.wall(start, zone) - datetime.timedelta(hours=3)
        shown = (first + minute * number for number in range(2 * 1440 + 360))
        expected = [zones.moment(wall, zone) for wall in shown if fits(wall)]
    found = made.after(start, zone)
    coming = [moment for moment in expected if start < moment < end]
    assert found == min(coming) if coming else found >= end
