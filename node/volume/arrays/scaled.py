"""Real values of stored ones, in the smallest type that one can compute with."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from node import errors

Array = np.ndarray[Any, np.dtype[Any]]


def real(stored: Array, slope: float, intercept: float, *, ours: bool = False) -> Array:
    """Stored values rescaled: int16 or int32 where they are whole and fit, else float32 or float64.

    Never unsigned: the difference of two volumes would not be what it looks like. What is `ours` may be
    written over, so that a volume is not held twice.
    """
    if not (math.isfinite(slope) and math.isfinite(intercept)):
        raise errors.BadData(f"values of slope {slope:g} and intercept {intercept:g} are none")
    if stored.dtype.kind == "f":
        if (slope, intercept) == (1, 0):
            return stored
        return (stored * slope + intercept).astype(stored.dtype)
    if not stored.size:
        return stored.astype(np.int16)
    if slope != int(slope) or intercept != int(intercept):
        # 24 bits hold what 16 bits held; what was larger needs more.
        kind = np.float32 if stored.dtype.itemsize <= 2 else np.float64
        made: Array = stored.astype(kind)
        np.multiply(made, kind(slope), out=made)
        np.add(made, kind(intercept), out=made)
        return made
    whole, offset = int(slope), int(intercept)
    ends = [int(end) * whole + offset for end in (stored.min(), stored.max())]
    least, most = min(ends), max(ends)
    for kind_ in (np.int16, np.int32, np.int64):
        limits = np.iinfo(kind_)
        if limits.min <= least and most <= limits.max and limits.bits >= stored.dtype.itemsize * 8:
            break
    else:
        return stored * float(slope) + float(intercept)
    target = np.dtype(kind_)
    if stored.dtype.itemsize == target.itemsize:
        made = stored.view(target) if stored.dtype.byteorder in "<=|" else stored.astype(target)
    else:
        made = stored.astype(target)
    if (whole, offset) == (1, 0):
        return made
    if np.may_share_memory(made, stored) and not (ours and stored.flags.writeable):
        made = made.copy()
    # Modulo two to the bits: right in the end, since the ends fit.
    mask = (1 << target.itemsize * 8) - 1
    with np.errstate(over="ignore"):
        np.multiply(made, np.asarray(whole & mask).astype(target), out=made)
        np.add(made, np.asarray(offset & mask).astype(target), out=made)
    return made
