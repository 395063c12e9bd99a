"""Volumes laid on one another: identity from a template, several put together."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from node import errors
from node.library import volumes
from node.volume import onto as grids
from node.volume import stack as stacks
from node.volume.arrays import combining, volume
from node.volume.arrays import header as headers

Array = np.ndarray[Any, np.dtype[Any]]

# Columns that an axis of that name gets its values from when volumes are put side by side.
_COLUMNS = {"te": "echo_time", "ti": "inversion_time", "tr": "repetition_time", "fa": "flip_angle"}
_COLUMNS |= {"b": "b_value", "time": "time", "trigger": "trigger_time", "echo": "echo_number"}
_UNITS = {"te": "ms", "ti": "ms", "tr": "ms", "trigger": "ms", "fa": "deg", "b": "s/mm2", "time": "s"}


def onto(made: volume.Volume, like: volume.Volume) -> volumes.Volume:
    """The volume with the identity, axes and frames of a template, turned to lie as that does.

    Raises errors.UsageError when it does not lie on the template's grid.
    """
    if made.geometry is None:
        found = _by_shape(made, like)
    elif like.geometry is None:
        raise errors.UsageError("the template does not say where it lies, so that nothing can be laid on it")
    else:
        found = _by_place(made, like)
    return volumes.Volume(found.view(np.ndarray), found.header)


def stack(
    parts: Sequence[volume.Volume], axis: str = "", values: Sequence[float] | None = None
) -> volumes.Volume:
    """Volumes put together along an axis that they have, or side by side along a new one of that name.

    A new axis takes its `values` from what the volumes' headers say for such an axis (te, b, time ...), or
    counts. Along slices the volumes must go on where the one before ended.
    """
    if not parts:
        raise errors.UsageError("nothing was given to put together")
    first = parts[0]
    shapes = [(one.header, one.shape) for one in parts]
    at = first.header.find(axis) if axis else None
    if at is not None:
        header = combining.along(shapes, at)
        voxels = _joined(np.concatenate, parts, at)
    else:
        told = _values(parts, axis) if values is None else np.asarray(values, np.float64)
        if len(told) != len(parts):
            raise errors.UsageError(f"{len(told)} values were given for {len(parts)} volumes")
        new = stacks.Axis(axis, told, _UNITS.get(axis, ""))
        header = combining.together(shapes, 0, new)
        voxels = _joined(np.stack, parts, 0)
    if header is None:
        raise errors.UsageError(f"the volumes cannot be put together: {_why(parts, axis)}")
    return volumes.Volume(voxels, header)


def _joined(how: Any, parts: Sequence[volume.Volume], at: int) -> Array:
    try:
        made: Array = how([one.view(np.ndarray) for one in parts], axis=at)
    except ValueError:
        sizes = ", ".join(" x ".join(map(str, one.shape)) for one in parts)
        raise errors.UsageError(f"the volumes cannot be put together: they are of {sizes}") from None
    return made


def _why(parts: Sequence[volume.Volume], axis: str) -> str:
    first = parts[0]
    for number, one in enumerate(parts[1:], 2):
        if one.names != first.names:
            return (
                f"axes of number {number} are {', '.join(one.names)}, of the first {', '.join(first.names)}"
            )
        if (one.slope, one.intercept) != (first.slope, first.intercept):
            return f"the stored values of number {number} are scaled otherwise"
    return "they do not go on where the last one ended" if axis in headers.SPATIAL else "they lie elsewhere"


def _values(parts: Sequence[volume.Volume], axis: str) -> Array:
    found = []
    for one in parts:
        column = _COLUMNS.get(axis, axis)
        table = one.table
        rows = None if one.rows is None else one.rows[one.rows >= 0]
        if table is None or rows is None or not len(rows) or column not in table:
            return np.arange(len(parts), dtype=np.float64)
        values = table[column][rows]
        if values.dtype == object or values.ndim > 1 or not np.isfinite(values).any():
            return np.arange(len(parts), dtype=np.float64)
        found.append(float(np.nanmedian(values)))
    return np.array(found)


def _by_shape(made: volume.Volume, like: volume.Volume) -> Any:
    """Of an array that says nothing: its dimensions are those of the template, as many as it has."""
    shape = made.shape
    if shape == like.shape:
        return volume.Volume(made.view(np.ndarray), _of_values(like.header, made, like))
    like = like.in_order()
    colour = len(shape) > 3 and shape[-1] == 3 and like.shape[-1] != 3
    axes = [axis for axis in like.axes if axis.name != headers.RGB]
    sizes = tuple(len(axis.values) for axis in axes)
    mine = shape[:-1] if colour else shape
    if mine[len(mine) - 3 :] != sizes[len(sizes) - 3 :] or len(mine) < min(3, len(sizes)):
        expected, given = " x ".join(map(str, sizes)), " x ".join(map(str, mine))
        raise errors.UsageError(f"an array of {given} does not fit a template of {expected}")
    spatial = tuple(axes[len(sizes) - 3 :])
    leading = _leading(made.axes[: len(mine) - 3], mine[: len(mine) - 3], like)
    last = (stacks.Axis(headers.RGB, np.arange(3)),) if colour else ()
    header = dataclasses.replace(
        like.header, axes=(*leading, *spatial, *last), rows=_rows(like, mine[: len(mine) - 3], sizes[-3], 0)
    )
    return volume.Volume(made.view(np.ndarray), _of_values(header, made, like))


def _by_place(made: volume.Volume, like: volume.Volume) -> Any:
    """Of a volume that says where it lies: turned onto the template's grid."""
    ordered = made.in_order()
    there = like.in_order()
    assert ordered.geometry is not None
    assert there.geometry is not None
    colour = ordered.colour
    lead = ordered.ndim - 3 - colour
    slices, rows, columns = (int(size) for size in ordered.shape[lead : lead + 3])
    fit = grids.onto(ordered.geometry, (slices, rows, columns), there.geometry, "the template")
    order = [*range(lead), *(lead + at for at in fit.order), *([lead + 3] if colour else [])]
    turned: Any = np.transpose(ordered, order)
    flips = [lead + at for at, flip in enumerate(fit.flips) if flip]
    turned = np.flip(turned, tuple(flips)) if flips else turned
    spatial = (
        stacks.Axis(name, np.arange(size) * step, "mm")
        for name, size, step in zip(
            headers.SPATIAL, turned.shape[lead:], there.geometry.spacing, strict=False
        )
    )
    leading = _leading(turned.axes[:lead], turned.shape[:lead], there)
    grid = there.geometry
    origin = grid.at(*(float(step) for step in fit.shift))
    header = dataclasses.replace(
        like.header,
        axes=(*leading, *spatial, *turned.axes[lead + 3 :]),
        geometry=dataclasses.replace(grid, origin=origin),
        rows=_rows(there, turned.shape[:lead], turned.shape[lead], fit.shift[0]),
    )
    return volume.Volume(turned.view(np.ndarray), _of_values(header, made, like))


def _of_values(header: headers.Header, made: volume.Volume, like: volume.Volume) -> headers.Header:
    """What is said of the values is the volume's own."""
    own = made.header
    unit = own.unit or like.unit
    return dataclasses.replace(
        header, slope=own.slope, intercept=own.intercept, unit=unit, notes=own.notes, label=own.label
    )


def _leading(
    axes: Sequence[stacks.Axis], shape: Sequence[int], like: volume.Volume
) -> tuple[stacks.Axis, ...]:
    """The axes before the slices: those of the template where it has as many, else the volume's own."""
    theirs = [axis for axis in like.axes if axis.name not in (*headers.SPATIAL, headers.RGB)]
    if [len(axis.values) for axis in theirs] == list(shape):
        return tuple(theirs)
    return tuple(axes)


def _rows(like: volume.Volume, leading: Sequence[int], slices: int, shift: int) -> Array | None:
    """The template's frames of each slice; of another number of volumes those of its first."""
    if like.rows is None or headers.SLICE not in like.names:
        return None
    names = [like.names[at] for at in headers.frames(like.axes)]
    rows = np.moveaxis(like.rows, names.index(headers.SLICE), -1)
    if rows.shape[:-1] != tuple(leading):
        rows = np.broadcast_to(rows.reshape(-1, rows.shape[-1])[0], (*leading, rows.shape[-1]))
    at = np.arange(slices) + shift
    inside = (at >= 0) & (at < rows.shape[-1])
    return np.where(inside, rows[..., np.clip(at, 0, rows.shape[-1] - 1)], -1)
