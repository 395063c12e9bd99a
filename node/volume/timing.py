"""When frames were acquired: one clock for a series, and the times of the slices within a volume."""

from __future__ import annotations

from typing import Any

import numpy as np

from node.volume import table

Array = np.ndarray[Any, np.dtype[Any]]


def slice_times(frames: table.Table, rows: Array) -> Array | None:
    """Milliseconds after the beginning of their volume at which the slices of one volume were acquired.

    `rows` are the rows of the volume's slices in order; None when nothing says when.
    """
    found: Array = frames["slice_time"][rows]
    return found if len(rows) and bool(np.isfinite(found).all()) else None
