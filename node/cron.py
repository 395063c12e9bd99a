"""Cron expressions of five fields: what they mean, and when they come next by the clock on a wall.

Our own reading and no package: the packages at hand (croniter, cronsim, APScheduler's) answer neither what
is wrong in a sentence nor what becomes of an hour that summer time leaves out, and the rest is one page.
"""

from __future__ import annotations

import calendar
import dataclasses
import datetime
import re
from collections.abc import Iterator, Mapping

from node import zones

_MINUTE = datetime.timedelta(minutes=1)
_DAY = datetime.timedelta(days=1)
_SLACK = datetime.timedelta(hours=3)  # more than any change of the clock moves it, in places with hospitals
_YEARS = 9  # the 29th of February comes after eight years at most
_ENTRY = re.compile(r"(\*|[0-9a-z]+(?:-[0-9a-z]+)?)(?:/([0-9]{1,4}))?")

_MONTHS = {name.lower(): number for number, name in enumerate(calendar.month_abbr) if number}
_WEEKDAYS = {name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))}


class Wrong(ValueError):
    """The expression is none; the text says what is wrong with it, as half a sentence."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Field:
    name: str  # in a mistake
    low: int  # the smallest number
    high: int  # the largest
    names: Mapping[str, int] = dataclasses.field(default_factory=dict)  # words for numbers


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of the month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of the week", 0, 7, _WEEKDAYS),  # 0 and 7 are Sunday
)


@dataclasses.dataclass(frozen=True, slots=True)
class Cron:
    """Minutes of some days, by the clock on the wall."""

    minutes: frozenset[int]  # 0-59
    hours: frozenset[int]  # 0-23
    days: frozenset[int] = frozenset(range(1, 32))  # of the month
    months: frozenset[int] = frozenset(range(1, 13))
    weekdays: frozenset[int] = frozenset(range(7))  # 0 is Monday, as Python counts
    either: bool = False  # both kinds of days are narrowed: one of the two is enough, as cron has it
    hourly: bool = False  # in every hour: it follows the time that passes, not the clock's jumps

    def on(self, day: datetime.date) -> bool:
        """Whether it comes on this day."""
        if day.month not in self.months:
            return False
        of_month, of_week = day.day in self.days, day.weekday() in self.weekdays
        return of_month or of_week if self.either else of_month and of_week

    def after(self, moment: datetime.datetime, zone: str | None) -> datetime.datetime:
        """The first time that it comes after this moment, UTC.

        A time of day that summer time leaves out comes when the clock has jumped over it, and one that the
        clock shows twice comes the first time. What comes in every hour just goes on.
        """
        return self._passing(moment, zone) if self.hourly else self._shown(moment, zone)

    def _shown(self, moment: datetime.datetime, zone: str | None) -> datetime.datetime:
        wall, now = zones.wall(moment, zone), moment.astimezone(datetime.UTC)
        for day in self._days(wall.date()):
            for hour in sorted(self.hours):
                if datetime.datetime.combine(day, datetime.time(hour, 59)) < wall - _SLACK:
                    continue
                for minute in sorted(self.minutes):
                    at = zones.moment(datetime.datetime.combine(day, datetime.time(hour, minute)), zone)
                    if at > now:
                        return at
        raise Wrong("never comes")

    def _passing(self, moment: datetime.datetime, zone: str | None) -> datetime.datetime:
        at = moment.astimezone(datetime.UTC)
        minutes = sorted(self.minutes)
        wall = zones.wall(at, zone)
        at += _MINUTE - datetime.timedelta(seconds=wall.second, microseconds=wall.microsecond)
        for _ in range(366 * _YEARS * 25):
            wall = zones.wall(at, zone)
            if not self.on(wall.date()):
                day = next(iter(self._days(wall.date() + _DAY)))
                at = zones.moment(datetime.datetime.combine(day, datetime.time()), zone)
                continue
            following = next((minute for minute in minutes if minute >= wall.minute), None)
            if following == wall.minute:
                return at
            # Not over the end of the hour in one step: the clock may jump there.
            at += _MINUTE * ((60 if following is None else following) - wall.minute)
        raise Wrong("never comes")

    def _days(self, first: datetime.date) -> Iterator[datetime.date]:
        for number in range(366 * _YEARS):
            day = first + _DAY * number
            if self.on(day):
                yield day
        raise Wrong("never comes")


def parse(text: str) -> Cron:
    """Read an expression such as `30 2 * * mon-fri`; Wrong when it is none."""
    words = text.lower().split()
    if len(words) != len(_FIELDS):
        raise Wrong(f"it has {len(words)} fields and needs five: minute, hour, day, month, day of the week")
    found = [_field(field, word) for field, word in zip(_FIELDS, words, strict=True)]
    minutes, hours, days, months, weekdays = found
    made = Cron(
        minutes,
        hours,
        days,
        months,
        frozenset((number - 1) % 7 for number in weekdays),
        # cron asks whether a star stands there, not whether all is meant
        either=not words[2].startswith("*") and not words[4].startswith("*"),
        hourly=len(hours) == 24,
    )
    if not made.either and not any(
        day <= calendar.monthrange(2024, month)[1] for day in days for month in months
    ):
        raise Wrong(f"it never comes: no month of {words[3]} has a day {words[2]}")
    return made


def daily(at: str) -> Cron:
    """Every day at HH:MM."""
    hour, minute = (int(part) for part in at.split(":"))
    return Cron(frozenset({minute}), frozenset({hour}))


def _field(field: _Field, text: str) -> frozenset[int]:
    found: set[int] = set()
    for entry in text.split(","):
        found |= _entry(field, entry)
    return frozenset(found)


def _entry(field: _Field, text: str) -> set[int]:
    read = _ENTRY.fullmatch(text)
    if read is None:
        raise Wrong(f"{text!r} is no {field.name}: write *, 5, 1-5, */10 or several with commas between")
    span, step = read[1], int(read[2]) if read[2] else 1
    if step < 1 or step > field.high:
        raise Wrong(f"a step of {step} in {text!r} leads nowhere: give 1 to {field.high}")
    if span == "*":
        low, high = field.low, min(field.high, 6) if field.names is _WEEKDAYS else field.high
    elif "-" in span:
        first, last = span.split("-")
        low, high = _number(field, first), _number(field, last)
        if field.names is _WEEKDAYS and high == 0 and low > 0:
            high = 7  # fri-sun
        if high < low:
            raise Wrong(f"{span!r} runs backwards: write {first}-{field.high},{field.low}-{last}")
    else:
        low = high = _number(field, span)
        if read[2]:
            raise Wrong(f"a step needs a range: write {span}-{field.high}/{step} for {text!r}")
    return set(range(low, high + 1, step))


def _number(field: _Field, word: str) -> int:
    if word in field.names:
        return field.names[word]
    if not word.isdecimal():
        known = f", or a name such as {next(iter(field.names))}" if field.names else ""
        raise Wrong(f"{word!r} is no {field.name}: give {field.low} to {field.high}{known}")
    number = int(word[:6])
    if not field.low <= number <= field.high:
        raise Wrong(f"{word} is no {field.name}: give {field.low} to {field.high}")
    return number
