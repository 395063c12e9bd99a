"""Kinds of values that say when: days, hours, time zones, holidays."""

from __future__ import annotations

import datetime
import functools
import re

from node.config import values as kinds

_NAMES = {
    name[:length]: day
    for day, name in enumerate(("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"))
    for length in (3, len(name))
}
_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)\s*-\s*(?:([01]\d|2[0-3]):([0-5]\d)|(24):(00))")


def _span(value: object) -> object:
    """The days of `sat`, `mon-fri` or `fri-mon`."""
    if not isinstance(value, str):
        raise kinds.Wrong
    first, dash, last = value.strip().lower().partition("-")
    begin, end = _NAMES.get(first.strip()), _NAMES.get((last if dash else first).strip())
    if begin is None or end is None:
        near = kinds.nearest((last if begin is not None else first).strip(), _NAMES)
        raise kinds.Wrong(f"did you mean {near}?" if near else "")
    return frozenset((begin + number) % 7 for number in range((end - begin) % 7 + 1))


def _days(spans: list[object]) -> object:
    if not spans:
        raise kinds.Wrong("an empty list is never")
    return functools.reduce(frozenset.union, spans, frozenset())  # type: ignore[arg-type]


def _hours(value: object) -> object:
    found = _HOURS.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise kinds.Wrong
    begin = datetime.time(int(found[1]), int(found[2]))
    if found[5]:
        return begin, datetime.time()  # midnight, at which the next day begins
    end = datetime.time(int(found[3]), int(found[4]))
    if begin == end:
        raise kinds.Wrong("it ends when it begins; for all day leave hours away")
    return begin, end


def _zone(value: object) -> object:
    import zoneinfo  # for those who need it

    if not isinstance(value, str) or not value:
        raise kinds.Wrong
    try:
        zoneinfo.ZoneInfo(value)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        near = kinds.nearest(value, zoneinfo.available_timezones())
        raise kinds.Wrong(f"did you mean {near}?" if near else "") from None
    return value


def _date(value: object) -> object:
    if isinstance(value, datetime.datetime):
        raise kinds.Wrong("without a time")
    if isinstance(value, datetime.date):
        return value
    if not isinstance(value, str):
        raise kinds.Wrong
    try:
        return datetime.date.fromisoformat(value)
    except ValueError:
        raise kinds.Wrong from None


DAYS = kinds.list_of(kinds.Kind("", _span), 'days, as in ["mon-fri", "sun"]', _days)
HOURS = kinds.list_of(kinds.Kind("", _hours), 'hours, as in ["07:30-12:00", "19:00-06:00"]')
ZONE = kinds.Kind("the name of a time zone, as in Europe/Berlin", _zone)
HOLIDAYS = kinds.list_of(kinds.Kind("", _date), 'dates, as in ["2026-12-25", "2027-01-01"]', frozenset)
