"""When frames were acquired: one clock for a series, and the times of the slices within a volume."""

from __future__ import annotations

import datetime
import functools
import math
from collections.abc import MutableMapping
from typing import Any

import numpy as np

from node.volume import table

Array = np.ndarray[Any, np.dtype[Any]]

DAY = 86400.0
_ORIGIN = datetime.date(1970, 1, 1).toordinal()
_EXACT = 6  # decimals of a second that DICOM has
_TENTHS = 1e-4  # some releases of GE write tenths of milliseconds where others write seconds


@functools.lru_cache(256)
def day(text: str) -> float:
    """Seconds from the first day of 1970 to midnight of a date, NaN when it is none."""
    text = text.replace(".", "").replace("-", "")
    try:
        return (datetime.date(int(text[:4]), int(text[4:6]), int(text[6:8])).toordinal() - _ORIGIN) * DAY
    except ValueError:
        return math.nan


def clock(text: str) -> float:
    """Seconds after midnight of a time (HHMMSS.FFFFFF as far as given), NaN when it is none."""
    text = text.replace(":", "") if ":" in text else text
    try:
        found = int(text[:2]) * 3600.0 + int(text[2:4] or 0) * 60.0 + float(text[4:] or 0)
    except ValueError:
        return math.nan
    return found if 0 <= found < DAY + 1 else math.nan


def moment(date: str, time: str) -> float:
    """Seconds from the first day of 1970; within the first day of it where the date is not known."""
    if not time:
        return math.nan
    at = clock(time)
    began = day(date) if date else 0.0
    return at if math.isnan(began) else began + at


def datetime_(text: str) -> float:
    """The moment of a DT, without regard to its zone: a series is acquired in one."""
    if len(text) < 10:
        return math.nan
    for sign in "+-":
        text = text.split(sign, 1)[0]
    return day(text[:8]) + clock(text[8:])


def settle(columns: MutableMapping[str, Array]) -> None:
    """Turn moments into seconds after midnight of the first day of each series, in place.

    A series without any acquisition time has that of its content. Acquisition DateTime may be that of the
    whole series where date and time (`_other_time`) are of each image. Philips writes one acquisition time
    into all dynamics of a series and says apart (`_begin`) when each began.
    """
    begin, other = columns.pop("_begin", None), columns.pop("_other_time", None)
    names = [name for name in ("time", "content_time") if name in columns]
    if not names:
        return
    columns.setdefault("time", np.full(len(columns[names[0]]), np.nan))
    length = len(columns["time"])
    series = columns.get("series")
    for rows in _groups(series, length):
        time = columns["time"][rows]
        if other is not None and _varies(other[rows]) and not _varies(time):
            time = other[rows].astype(np.float64)
        if begin is not None:
            time = _begun(time, begin[rows])
        content = columns["content_time"][rows] if "content_time" in columns else np.full(len(rows), np.nan)
        if not np.isfinite(time).any():
            time = content.copy()
        every = np.concatenate((time, content))
        every = every[np.isfinite(every)]
        if not len(every):
            continue
        first = math.floor(float(every.min()) / DAY)
        if (
            first == 0 and float(every.max()) >= 2 * DAY
        ):  # some dates are missing: only the time of day counts
            time, content, first = time % DAY, content % DAY, 0
        columns["time"][rows] = np.round(time - first * DAY, _EXACT)
        if "content_time" in columns:
            columns["content_time"][rows] = np.round(content - first * DAY, _EXACT)


def _varies(times: Array) -> bool:
    """Whether all are known and some differ."""
    return bool(np.isfinite(times).all()) and float(np.ptp(times)) > 0


def _begun(time: Array, begin: Array) -> Array:
    known = np.isfinite(begin)
    if not known.any() or np.ptp(begin[known]) <= 0:
        return time
    finite = time[np.isfinite(time)]
    if len(finite) and np.ptp(finite) > 0:
        return time
    found: Array = np.where(known, (finite[0] if len(finite) else 0.0) + begin, time)
    return found


def _groups(series: Array | None, length: int) -> list[Array]:
    """The rows of each series."""
    if series is None:
        return [np.arange(length)]
    rows: dict[str, list[int]] = {}
    for at, name in enumerate(series.tolist()):
        rows.setdefault(name, []).append(at)
    return [np.array(found, dtype=np.int64) for found in rows.values()]


def slice_times(frames: table.Table, rows: Array) -> Array | None:
    """Milliseconds after the beginning of their volume at which the slices of one volume were acquired.

    `rows` are the rows of the volume's slices in order; None when nothing says when. Where the vendor says
    nothing, acquisition times that differ between the slices of one volume tell.
    """
    rows = np.asarray(rows).ravel()
    if len(rows) < 2 or (rows < 0).any():
        return None
    repetition = frames["repetition_time"][rows]
    longest = float(np.nanmax(repetition)) if np.isfinite(repetition).any() else math.nan
    said: Array = frames["slice_time"][rows].astype(float)
    if np.isfinite(said).all() and np.ptp(said) > 0:
        found: Array = said - said.min()
        if found.max() > 2 * longest and found.max() * _TENTHS <= longest:
            found = found * _TENTHS
        return np.round(found, 4)
    time: Array = frames["time"][rows].astype(float)
    if not np.isfinite(time).all() or np.ptp(time) <= 0:
        return None
    found = (time - time.min()) * 1000.0
    # Slices of a volume that took longer than its repetition were not excited in one go: no slice timing.
    return np.round(found, 4) if not math.isnan(longest) and float(found.max()) < longest else None
