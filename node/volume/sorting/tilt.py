"""A gantry tilt taken out: slices are shifted back within their planes, so that they lie above each other."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from node.volume import geometry, image, stack
from node.volume.sorting import grid

Array = np.ndarray[Any, np.dtype[Any]]

_LARGEST = 3.0  # times as large as before that a volume may become


@dataclasses.dataclass(frozen=True, slots=True)
class _Shear:
    """How far slices lie from where they would without a tilt, in pixels from slice to slice."""

    rows: float  # down a column
    columns: float  # along a row
    slices: int  # how many there are

    def pixels(self, shift: float) -> tuple[int, int]:
        """Pixels that are put before the first and behind the last."""
        total = shift * (self.slices - 1)
        return max(0, math.ceil(-total - 1e-6)), max(0, math.ceil(total - 1e-6))


def degrees(found: geometry.Geometry) -> float:
    """The angle between the way from slice to slice and the normal."""
    step, normal = np.array(found.slice), np.array(found.normal)
    along = float(step @ normal)
    return math.degrees(math.atan2(float(np.linalg.norm(step - along * normal)), abs(along)))


def corrected(made: image.Image) -> image.Image:
    """The image without its tilt, resampled along rows and columns (linear); one without a tilt as it is.

    The planes grow so that nothing is cut off; what no slice covers has the smallest value of the volume.
    """
    found = made.geometry
    at = next((at for at, axis in enumerate(made.axes) if axis.name == "slice"), None)
    if found is None or at is None or made.shape[at] < 2 or not grid.tilted(degrees(found)):
        return made
    if made.verdict is stack.Verdict.UNEQUAL:
        return _noted(made, "the tilt is left as it is, since the slices are not at equal distances")
    step, normal = np.array(found.slice), np.array(found.normal)
    column, row = np.array(found.column), np.array(found.row)
    shear = _Shear(float(step @ row / (row @ row)), float(step @ column / (column @ column)), made.shape[at])
    before = (shear.pixels(shear.rows), shear.pixels(shear.columns))
    shape = list(made.shape)
    for dimension, (low, high) in zip((at + 1, at + 2), before, strict=True):
        shape[dimension] += low + high
    if math.prod(shape) > _LARGEST * math.prod(made.shape):
        return _noted(
            made, "the tilt is left as it is, since the volume would become more than three times as large"
        )
    origin = np.array(found.origin) - before[0][0] * row - before[1][0] * column
    axes = list(made.axes)
    axes[at] = _axis(axes[at], shape[at], abs(float(step @ normal)))
    axes[at + 1] = _axis(axes[at + 1], shape[at + 1], float(np.linalg.norm(row)))
    axes[at + 2] = _axis(axes[at + 2], shape[at + 2], float(np.linalg.norm(column)))

    def voxels() -> Array:
        stored = made.voxels()
        return _sheared(stored, at, tuple(shape), shear, (before[0][0], before[1][0]))

    upright = geometry.Geometry(
        origin=_vector(origin),
        column=found.column,
        row=found.row,
        slice=_vector(float(step @ normal) * normal),
    )
    text = f"the tilt of {degrees(found):.2f} degrees is taken out: the voxels are interpolated"
    return dataclasses.replace(
        _noted(made, text), shape=tuple(shape), axes=tuple(axes), geometry=upright, voxels=voxels, spans=None
    )


def _sheared(stored: Array, at: int, shape: tuple[int, ...], shear: _Shear, before: tuple[int, int]) -> Array:
    """Slice after slice: never more than one of them is there as numbers with a fraction."""
    fill = stored.min()
    made = np.full(shape, fill, dtype=stored.dtype)
    for where in np.ndindex(*stored.shape[: at + 1]):
        plane = stored[where]
        for axis, shift, low in ((0, shear.rows, before[0]), (1, shear.columns, before[1])):
            plane = _shifted(plane, axis, shift * where[at] + low, shape[at + 1 + axis], fill)
        if stored.dtype.kind in "iu":
            plane = np.rint(plane)
        made[where] = plane
    return made


def _shifted(plane: Array, axis: int, shift: float, length: int, fill: Any) -> Array:
    """A plane moved on by so many pixels, in one of that length; a voxel between two is of both."""
    whole = math.floor(shift + 1e-9)
    part = max(0.0, shift - whole)
    if part < 1e-6:
        part = 0.0
    swapped = np.moveaxis(plane, axis, 0)
    many = len(swapped)
    kind = plane.dtype if part == 0 or plane.dtype.kind == "f" else np.dtype(np.float64)
    made = np.full((length, *swapped.shape[1:]), fill, dtype=kind)
    if part == 0:
        made[whole : whole + many] = swapped
    else:
        # At the two edges there is a voxel on one side only: that one stands alone.
        inner = swapped[1:] * (1 - part) + swapped[:-1] * part
        made[whole + 1 : whole + many] = inner
        made[whole if part < 0.5 else whole + many] = swapped[0 if part < 0.5 else -1]
    return np.moveaxis(made, 0, axis)


def _axis(axis: stack.Axis, many: int, step: float) -> stack.Axis:
    return stack.Axis(axis.name, np.arange(many) * step, axis.unit)


def _noted(made: image.Image, text: str) -> image.Image:
    return dataclasses.replace(made, notes=(*made.notes, stack.Note(stack.Kind.TILT, text)))


def _vector(found: Array) -> geometry.Vector:
    x, y, z = (float(value) for value in found)
    return x, y, z
