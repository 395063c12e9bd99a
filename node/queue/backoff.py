"""When something that failed is tried again: pure functions of how often it did.

The jitter is there so that everything that a dead host had under way does not come back at the same moment.
"""

from __future__ import annotations

import datetime

JITTER = 0.2  # of a pause, at most, that is added to it


def pause(failures: int, first: float, most: float, chance: float) -> float:
    """Seconds until the next try: doubled with each failure up to `most`, and by `chance` (0 to 1) longer."""
    if failures <= 0:
        return 0.0
    # Shifted no further than it matters: two to the power of a year of failures is no float.
    grown = min(most, first * 2.0 ** min(failures - 1, 63))
    return grown * (1.0 + JITTER * min(max(chance, 0.0), 1.0))


def longest(most: float) -> float:
    """Seconds that no pause exceeds; a moment further off was written by a clock that was wrong."""
    return most * (1.0 + JITTER)


def come(moment: datetime.datetime | None, now: datetime.datetime, most: float) -> bool:
    """Whether a moment has come; one that is further off than the longest pause counts as come."""
    if moment is None or moment <= now:
        return True
    return (moment - now).total_seconds() > longest(most)


def later(now: datetime.datetime, seconds: float) -> datetime.datetime:
    """So many seconds on, at the end of the calendar at most."""
    try:
        return now + datetime.timedelta(seconds=seconds)
    except OverflowError:
        return datetime.datetime.max.replace(tzinfo=now.tzinfo)
