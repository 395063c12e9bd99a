"""What becomes of a header when its array is indexed."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from node.volume.arrays import header as headers

Array = np.ndarray[Any, np.dtype[Any]]


def indexed(header: headers.Header, shape: tuple[int, ...], key: Any) -> headers.Header | None:
    """The header of `array[key]`; None: there is none, the result is a plain array.

    Call it for a key that numpy took: what numpy refuses is not looked for here.
    """
    parts = key if isinstance(key, tuple) else (key,)
    if any(_plain(part) for part in parts):
        return None
    entries = _spread(parts, len(shape))
    picks = [at for at, entry in enumerate(entries) if isinstance(entry, np.ndarray)]
    if len(picks) > 1 or (picks and not _together(entries, picks[0])):
        return None
    made = header
    at = 0  # of the dimensions as they are made
    old = 0  # of the dimensions of the array
    for entry in entries:
        if entry is None:
            made = headers.inserted(made, at, headers.unnamed(1))
            at += 1
            continue
        length = shape[old]
        old += 1
        if isinstance(entry, slice):
            start, stop, step = entry.indices(length)
            count = len(range(start, stop, step))
            if (start, count, step) != (0, length, 1):
                made = headers.strided(made, at, start, step, count)
            at += 1
        elif isinstance(entry, np.ndarray):
            chosen = np.flatnonzero(entry) if entry.dtype == bool else entry
            made = headers.picked(made, at, np.where(chosen < 0, chosen + length, chosen))
            at += 1
        else:
            made = headers.dropped(made, at, entry + length if entry < 0 else entry)
    return made


def _plain(part: Any) -> bool:
    """Whether such an index gives voxels in no grid: masks and arrays of several dimensions."""
    if part is None or part is Ellipsis or isinstance(part, slice):
        return False
    if isinstance(part, bool | np.bool_):
        return True
    if _integer(part) is not None:
        return False
    array = np.asarray(part)
    return array.ndim != 1 or not (
        array.dtype == bool or np.issubdtype(array.dtype, np.integer) or not array.size
    )


def _spread(parts: tuple[Any, ...], dimensions: int) -> list[Any]:
    """The index with an entry for each dimension: int, slice or array; None for a new one."""
    given = sum(1 for part in parts if part is not None and part is not Ellipsis)
    entries: list[Any] = []
    for part in parts if any(part is Ellipsis for part in parts) else (*parts, Ellipsis):
        if part is Ellipsis:
            entries.extend([slice(None)] * (dimensions - given))
        elif part is None or isinstance(part, slice):
            entries.append(part)
        else:
            index = _integer(part)
            array = np.asarray(part)
            entries.append(index if index is not None else array if array.size else array.astype(np.int64))
    return entries


def _together(entries: list[Any], pick: int) -> bool:
    """Whether numpy leaves the dimension of an array of indices in its place.

    An integer beside it counts as an array too; what stands between them moves the dimension to the front.
    """
    advanced = [at for at, entry in enumerate(entries) if isinstance(entry, int | np.ndarray)]
    if len(advanced) == 1:
        return True
    return advanced[-1] - advanced[0] + 1 == len(advanced)


def _integer(part: Any) -> int | None:
    if isinstance(part, np.ndarray) and part.ndim:
        return None
    try:
        return operator.index(part)
    except TypeError:
        return None
