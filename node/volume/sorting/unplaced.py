"""Frames of which nothing says where they lie: in the order of their frames and numbers, clips by time."""

from __future__ import annotations

from typing import Any

import numpy as np

from node.volume import stack, table
from node.volume.sorting import codes

Array = np.ndarray[Any, np.dtype[Any]]


def clips(source: Array, placed: Array) -> Array:
    """A number for each data set of several frames without a place, each of which is a stack; 0: none."""
    frames = np.bincount(source, minlength=1)
    found: Array = np.where(~placed & (frames[source] > 1), source + 1, 0).astype(np.float64)
    return found


def of(
    frames: table.Table, columns: codes.Columns, rows: Array, notes: tuple[stack.Note, ...] = ()
) -> stack.Stack:
    """One stack of them: of a clip in time, else one slice after the other."""
    order = np.lexsort(
        [
            _or_zero(columns[name][rows])
            for name in ("tile", "frame", "slice_location", "acquisition_number", "instance_number")
        ]
    )
    rows = rows[order]
    if broken := int(np.isfinite(columns["position"][rows]).all(axis=1).sum()):
        text = (
            f"position, orientation or pixel spacing of {broken} frames make no sense: they are not believed"
        )
        notes = (*notes, stack.Note(stack.Kind.HEADER, text))
    said = notes
    if len(rows) > 1:
        text = "nothing says where the slices lie: they are in the order of their numbers"
        said = (*notes, stack.Note(stack.Kind.ORDER, text))
    time = columns["time"][rows]
    axis = stack.Axis("slice", np.arange(len(rows), dtype=np.float64))
    if len(rows) > 1 and columns["#clip"][rows[0]] and bool((np.diff(time) > 0).all()):
        first = stack.Axis("slice", np.zeros(1))
        axes = (stack.Axis("time", time - time[0], "s"), first)
        return stack.Stack(frames, rows[:, None], axes, None, stack.Verdict.UNPLACED, notes)
    return stack.Stack(frames, rows, (axis,), None, stack.Verdict.UNPLACED, said)


def _or_zero(values: Array) -> Array:
    return np.nan_to_num(values.astype(np.float64))
