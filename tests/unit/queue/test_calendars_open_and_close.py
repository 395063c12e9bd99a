"""When a calendar is open, and when that changes: nights, holidays, zones, the two nights of summer time."""

from __future__ import annotations

import datetime

import hypothesis
import pytest
from hypothesis import strategies

from node import errors, orders, zones
from node.queue import windows

UTC = datetime.UTC


def hours(*spans: str) -> tuple[tuple[datetime.time, datetime.time], ...]:
    made = (tuple(datetime.time.fromisoformat(end) for end in span.split("-")) for span in spans)
    return tuple((begin, end) for begin, end in made)


def at(text: str, zone: str = "Europe/Berlin") -> datetime.datetime:
    return zones.moment(datetime.datetime.fromisoformat(text), zone)


NIGHTS = orders.Calendar(
    "nights",
    days=frozenset(range(5)),
    hours=hours("22:00-06:00"),
    zone="Europe/Berlin",
    holidays=frozenset({datetime.date(2026, 11, 18)}),  # a Wednesday
)


@pytest.mark.parametrize(
    ("moment", "is_open"),
    [
        ("2026-11-16T21:59:59", False),
        ("2026-11-16T22:00", True),
        ("2026-11-17T05:59:59", True),
        ("2026-11-17T06:00", False),
        # The night from Tuesday reaches to the holiday's first minute; the holiday's own night is none.
        ("2026-11-17T23:59", True),
        ("2026-11-18T00:00", False),
        ("2026-11-18T23:00", False),
        ("2026-11-19T01:00", False),
        ("2026-11-19T22:30", True),
        # The night from Friday ends on Saturday, and none begins on Saturday or Sunday.
        ("2026-11-21T05:00", True),
        ("2026-11-21T23:00", False),
        ("2026-11-23T05:00", False),
    ],
)
def test_nights_belong_to_the_day_on_which_they_begin(moment: str, is_open: bool) -> None:
    assert windows.open_at(NIGHTS, at(moment)) is is_open


def test_an_open_holiday_is_open_all_day() -> None:
    sunday = datetime.date(2026, 11, 22)
    calendar = orders.Calendar(
        "office",
        days=frozenset(range(5)),
        hours=hours("08:00-17:00"),
        zone="UTC",
        holidays=frozenset({sunday}),
        on_holidays=True,
    )
    assert windows.open_at(calendar, at("2026-11-22T03:00", "UTC"))
    assert not windows.open_at(calendar, at("2026-11-21T12:00", "UTC"))
    assert windows.next_change(calendar, at("2026-11-21T12:00", "UTC")) == at("2026-11-22T00:00", "UTC")


def test_hours_of_a_zone_are_that_zones() -> None:
    calendar = orders.Calendar("tokyo", hours=hours("09:00-17:00"), zone="Asia/Tokyo")
    assert windows.open_at(calendar, datetime.datetime(2026, 11, 20, 0, 30, tzinfo=UTC))
    assert not windows.open_at(calendar, datetime.datetime(2026, 11, 20, 9, 0, tzinfo=UTC))


def test_an_hour_that_does_not_exist_is_never_open_and_one_that_comes_twice_opens_twice() -> None:
    calendar = orders.Calendar("two", hours=hours("02:15-02:45"), zone="Europe/Berlin")
    spring = at("2026-03-29T00:30")
    assert windows.next_change(calendar, spring) == at("2026-03-30T02:15")
    changes = [datetime.datetime(2026, 10, 24, 23, 30, tzinfo=UTC)]
    for _ in range(4):
        changes.append(windows.next_change(calendar, changes[-1]).astimezone(UTC))
    assert [f"{change:%H:%M}" for change in changes[1:]] == ["00:15", "00:45", "01:15", "01:45"]


def test_a_calendar_that_never_changes_is_looked_at_again_in_a_year() -> None:
    moment = datetime.datetime(2026, 11, 20, tzinfo=UTC)
    always, never = orders.Calendar("always"), orders.Calendar("never", days=frozenset())
    assert windows.open_at(always, moment)
    assert not windows.open_at(never, moment)
    assert windows.next_change(always, moment) == windows.next_change(never, moment) == moment + windows.AHEAD


def test_a_zone_that_there_is_not_is_told_in_a_sentence() -> None:
    with pytest.raises(errors.ConfigError, match="there is no time zone 'Mars/Olympus'"):
        windows.open_at(orders.Calendar("mars", zone="Mars/Olympus"), datetime.datetime.now(UTC))


_TIMES = strategies.builds(
    datetime.time, strategies.integers(0, 23), strategies.sampled_from([0, 15, 30, 45])
)
_CALENDARS = strategies.builds(
    orders.Calendar,
    name=strategies.just("any"),
    days=strategies.frozensets(strategies.integers(0, 6)),
    hours=strategies.lists(strategies.tuples(_TIMES, _TIMES), max_size=2).map(tuple),
    zone=strategies.sampled_from(
        ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC", "Africa/Cairo"]
    ),
    holidays=strategies.frozensets(
        strategies.dates(datetime.date(2026, 3, 27), datetime.date(2026, 4, 8)), max_size=2
    ),
    on_holidays=strategies.booleans(),
)


@hypothesis.given(_CALENDARS, strategies.integers(0, 9 * 96), strategies.booleans())
@hypothesis.settings(max_examples=60, deadline=None)
def test_the_next_change_is_the_first_one(calendar: orders.Calendar, quarters: int, autumn: bool) -> None:
    """Held against a look every fifteen minutes, over the days on which clocks change."""
    quarter = datetime.timedelta(minutes=15)
    start = (
        datetime.datetime(2026, 10, 23, tzinfo=UTC) if autumn else datetime.datetime(2026, 3, 27, tzinfo=UTC)
    )
    moment = start + quarter * quarters
    now = windows.open_at(calendar, moment)
    looks = (moment + quarter * number for number in range(1, 20 * 96))
    first = next((look for look in looks if windows.open_at(calendar, look) is not now), None)
    change = windows.next_change(calendar, moment)
    assert change == first if first is not None else change > moment + quarter * (20 * 96 - 1)
