"""Time zones: what the clock on a wall shows, and when it does. None is the host's own zone."""

from __future__ import annotations

import datetime
import functools
import math
import zoneinfo

from node import errors


def zone(name: str | None) -> datetime.tzinfo | None:
    """The zone of this name; None stands for the host's wherever `datetime` takes a zone."""
    return None if name is None else _known(name)


@functools.lru_cache(maxsize=256)
def _known(name: str) -> datetime.tzinfo:
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise errors.ConfigError(
            f"there is no time zone {name!r}: give its IANA name, as in Europe/Berlin"
        ) from error


def wall(moment: datetime.datetime, name: str | None) -> datetime.datetime:
    """What the clock on a wall shows at this moment, without a zone."""
    return moment.astimezone(zone(name)).replace(tzinfo=None, fold=0)


def moments(shown: datetime.datetime, name: str | None) -> tuple[datetime.datetime, ...]:
    """When the clock shows this, UTC: once; twice when it is set back; never in what it leaves out."""
    found = [_read(shown, name, fold) for fold in (0, 1)]
    return tuple(dict.fromkeys(at for at in found if wall(at, name) == shown))


def moment(shown: datetime.datetime, name: str | None) -> datetime.datetime:
    """When the clock first shows this, or when it has just jumped over it; UTC."""
    found = moments(shown, name)
    if found:
        return found[0]
    # The two readings of a time that is left out lie on the two sides of the jump.
    before, after = sorted(_read(shown, name, fold) for fold in (0, 1))
    return jump(before, after, name) or after


def jump(before: datetime.datetime, after: datetime.datetime, name: str | None) -> datetime.datetime | None:
    """The first whole second in (before, after] with another offset than `before`, UTC, if there is one."""
    offset = _offset(before, name)
    if _offset(after, name) == offset:
        return None
    low, high = int(before.timestamp()), math.ceil(after.timestamp())
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(_at(middle), name) == offset:
            low = middle
        else:
            high = middle
    return _at(high)


def _at(seconds: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


def _offset(moment: datetime.datetime, name: str | None) -> datetime.timedelta | None:
    return moment.astimezone(zone(name)).utcoffset()


def _read(shown: datetime.datetime, name: str | None, fold: int) -> datetime.datetime:
    """One reading of what the clock shows, in UTC: within a zone Python compares walls, not moments."""
    there = zone(name)
    local = shown.replace(tzinfo=there, fold=fold)  # without a zone, `astimezone` takes the host's
    return local.astimezone(datetime.UTC)
