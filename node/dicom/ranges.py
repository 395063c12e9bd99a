"""What dates, times and date-times mean in a key: ranges, precision, and time zones (PS3.4 C.2.2.2.5)."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable

from node import errors

Test = Callable[[str], bool]
Range = tuple[str | None, str | None]  # the first and the last text that match; None: open

LAST = "\U0010ffff"  # sorts behind whatever follows a prefix
# Which time of day belongs to which date.
PAIRS = {
    "StudyDate": "StudyTime",
    "SeriesDate": "SeriesTime",
    "AcquisitionDate": "AcquisitionTime",
    "ContentDate": "ContentTime",
    "PatientBirthDate": "PatientBirthTime",
    "PerformedProcedureStepStartDate": "PerformedProcedureStepStartTime",
    "PerformedProcedureStepEndDate": "PerformedProcedureStepEndTime",
    "ScheduledProcedureStepStartDate": "ScheduledProcedureStepStartTime",
    "ScheduledProcedureStepEndDate": "ScheduledProcedureStepEndTime",
    "IssueDateOfImagingServiceRequest": "IssueTimeOfImagingServiceRequest",
}

_DATE = re.compile(r"\d{8}", re.ASCII)
_TIME = re.compile(r"(?:[01]\d|2[0-3])(?:[0-5]\d(?:(?:[0-5]\d|60)(?:\.\d{1,6})?)?)?", re.ASCII)


def _ends(key: str) -> tuple[str, str, bool]:
    low, mark, high = key.strip(" ").partition("-")
    return low.strip(" "), high.strip(" "), bool(mark)


def dates(key: str, keyword: str = "a date") -> Range:
    """The first and last day that a key of VR DA matches; the two are equal when it names one day."""
    low, high, ranged = _ends(key.replace(".", ""))
    if not (low or high) or not all(_DATE.fullmatch(end) for end in (low, high) if end):
        raise errors.UsageError(
            f"{keyword} = {key[:64]!r} is no date or range of dates, as in 20260101-20261231"
        )
    return low or None, (high if ranged else low) or None


def times(key: str, keyword: str = "a time") -> Range:
    """Between which texts a time lies that a key of VR TM matches; they sort as the times do."""
    low, high, ranged = _ends(key.replace(":", ""))
    if not (low or high) or not all(_TIME.fullmatch(end) for end in (low, high) if end):
        raise errors.UsageError(f"{keyword} = {key[:64]!r} is no time or range of times, as in 0800-1200")
    latest = high if ranged else low
    return _earliest(low) or None, (latest and latest + LAST) or None


def _earliest(written: str) -> str:
    """The shortest way to write a time, which sorts before every longer way to write the same."""
    if "." in written:
        written = written.rstrip("0").rstrip(".")
    while len(written) in (4, 6) and written.endswith("00"):
        written = written[:-2]
    return written


def day(key: str) -> Test:
    """The test of a key of VR DA."""
    low, high = dates(key)
    return lambda held: (
        _DATE.fullmatch(held := held.replace(".", "")) is not None and _within(low, held, high)
    )


def time(key: str) -> Test:
    """The test of a key of VR TM."""
    low, high = times(key)
    return lambda held: (
        _TIME.fullmatch(held := held.replace(":", "")) is not None and _within(low, held, high)
    )


def _within(low: str | None, held: str, high: str | None) -> bool:
    return (low is None or held >= low) and (high is None or held <= high)


_DATE_TIME = (
    r"(\d{4})(?:(0[1-9]|1[0-2])(?:([0-2]\d|3[01])(?:([01]\d|2[0-3])(?:([0-5]\d)(?:([0-5]\d|60)"
    r"(?:\.(\d{1,6}))?)?)?)?)?)?([+-](?:0\d|1[0-4])[0-5]\d)?"
)
_MOMENT = re.compile(_DATE_TIME, re.ASCII)
_MOMENTS = re.compile(f"(?P<low>{_DATE_TIME})?(?P<to>-)?(?P<high>{_DATE_TIME})?", re.ASCII)
_Moment = datetime.datetime


def moment(key: str) -> Test:
    """The test of a key of VR DT. Without a zone, moments are compared as if they were of the same one."""
    found = _MOMENTS.fullmatch(key.replace(" ", ""))
    ends = (found["low"], found["high"] or (None if found["to"] else found["low"])) if found else ()
    spans = [_span(end) for end in ends if end]
    if not spans or None in spans:
        raise errors.UsageError(
            f"{key[:64]!r} is no date and time or range of these, as in 20260101-20260131235959"
        )
    low, high = (_span(end) for end in ends)
    first, last = low and low[0], high and high[1]

    def test(held: str) -> bool:
        span = _span(held)
        return span is not None and (first is None or span[0] >= first) and (last is None or span[0] <= last)

    return test


def _span(text: str | None) -> tuple[_Moment, _Moment] | None:
    """The first and the last microsecond of a DT value, in UTC; nothing for what is none."""
    found = _MOMENT.fullmatch(text or "")
    if found is None:
        return None
    year, month, day, hour, minute, second, fraction, zone = found.groups()
    try:
        first = datetime.datetime(  # noqa: DTZ001 - moments of one zone are compared
            int(year), int(month or 1), int(day or 1), int(hour or 0), int(minute or 0),
            min(int(second or 0), 59), int((fraction or "").ljust(6, "0")),
        )  # fmt: skip
        if month is None:
            after = first.replace(year=first.year + 1)
        elif day is None:
            after = (first + datetime.timedelta(days=31)).replace(day=1)
        else:
            length = (
                datetime.timedelta(days=1) if hour is None
                else datetime.timedelta(hours=1) if minute is None
                else datetime.timedelta(minutes=1) if second is None
                else datetime.timedelta(microseconds=10 ** (6 - len(fraction or "")))
            )  # fmt: skip
            after = first + length
        shift = offset(zone) or datetime.timedelta()
        return first - shift, after - shift - datetime.timedelta(microseconds=1)
    except (ValueError, OverflowError):
        return None


_OFFSET = re.compile(r"([+-])(0\d|1[0-4])([0-5]\d)")


def offset(zone: str | None) -> datetime.timedelta | None:
    """What a Timezone Offset From UTC such as `+0900` adds to UTC; nothing for what is none."""
    found = _OFFSET.fullmatch((zone or "").strip(" "))
    if found is None:
        return None
    length = datetime.timedelta(hours=int(found[2]), minutes=int(found[3]))
    return -length if found[1] == "-" else length


def moved(day: str, time: str, by: datetime.timedelta) -> tuple[str, str]:
    """A date and time of day as they are in a zone that is so much ahead; the time keeps its precision.

    A date without a time stays as it is: nobody knows on which side of midnight it was.
    """
    if not by or not _DATE.fullmatch(day) or not _TIME.fullmatch(time):
        return day, time
    whole, dot, fraction = time.partition(".")
    padded = whole.ljust(6, "0")
    second = padded[4:]
    try:
        then = datetime.datetime.strptime(day + padded[:4], "%Y%m%d%H%M") + by  # noqa: DTZ007
    except (ValueError, OverflowError):
        return day, time
    kept = (then.strftime("%H%M") + second)[: max(len(whole), 4)]
    return then.strftime("%Y%m%d").rjust(8, "0"), kept + dot + fraction


def combined(day_key: str, time_key: str) -> Callable[[str | None, str | None], bool]:
    """A range of days and a range of times as one range of moments (combined date and time matching)."""
    first, last = dates(day_key)
    earliest, latest = times(time_key)

    def test(day: str | None, time: str | None) -> bool:
        if not day:
            return False
        time = time or ""
        return not (
            (first is not None and (day < first or (day == first and earliest and time < earliest)))
            or (last is not None and (day > last or (day == last and latest and time > latest)))
        )

    return test
