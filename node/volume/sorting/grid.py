"""Where the slices of a stack lie: places along the normal, distances, gaps, tilt, and the geometry.

Slices are stacked towards the normal (along a row cross down a column), so that every geometry is
right-handed: axial ones from feet to head, sagittal ones from right to left or left to right as their rows
run. How the patient lay is of no consequence, since the coordinates are the patient's.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from node.volume import geometry, stack
from node.volume.sorting import codes

Array = np.ndarray[Any, np.dtype[Any]]

_SAME = 0.01  # millimetres within which two slices lie at the same place
_UNIT = 0.01  # by how much a direction may differ from one of length 1, and two from a right angle
_LARGEST = 1e7  # millimetres; no scanner is that large
_REGULAR = 0.1  # part of the spacing by which a slice may lie off its place in a regular grid
_ROUNDED = 0.11  # millimetres, the most of it: positions are rounded to a tenth here and there
_LOOSE = 0.1  # part of the spacing by which one interval may differ and still count as so many of it
_MOSTLY = 0.75  # part of the intervals that must be regular before a hole among them is a gap
_HALF = 0.5  # the same where all of them are so many times the spacing ...
_EXACT = 0.01  # ... within this part of it
_SHIFT = 0.25  # part of a pixel by which a slice may lie off the line through the others
_TILTED = 0.1  # degrees from which a stack counts as tilted


@dataclasses.dataclass(frozen=True, slots=True)
class Along:
    """What the places of slices along their normal say."""

    index: Array  # the place of each in a regular grid, with holes where there are gaps
    spacing: float  # millimetres between neighbours; 0 for a single one
    verdict: stack.Verdict  # COMPLETE, GAPS, UNEQUAL, SINGLE
    worst: float = 0.0  # UNEQUAL: the largest deviation from the mean, in millimetres

    @property
    def missing(self) -> int:
        """How many places are empty between others."""
        return int(self.index[-1]) + 1 - len(self.index)


def frame(orientation: Array) -> Array | None:
    """Rows: the unit vectors along a row, down a column, across; None where the six numbers are none."""
    with np.errstate(all="ignore"):
        made = orientation.reshape(2, 3)
        lengths = np.linalg.norm(made, axis=1)
        if not bool((np.abs(lengths - 1) <= _UNIT).all()) or abs(float(made[0] @ made[1])) > _UNIT:
            return None
    made = made / lengths[:, None]
    return np.vstack((made, np.cross(made[0], made[1])))


def sound(position: Array, orientation: Array, spacing: Array) -> Array:
    """Which rows say where they lie in numbers that can be meant."""
    with np.errstate(all="ignore"):
        rows, columns = orientation[:, :3], orientation[:, 3:]
        lengths = np.sqrt(np.stack([(rows * rows).sum(axis=1), (columns * columns).sum(axis=1)]))
        square = (np.abs(lengths - 1) <= _UNIT).all(axis=0)
        square &= np.abs((rows * columns).sum(axis=1)) <= _UNIT
        placed = (np.abs(position) < _LARGEST).all(axis=1)
        sized = ((spacing > 0) & (spacing < _LARGEST)).all(axis=1)
    found: Array = square & placed & sized
    return found


def places(depths: Array, spacing: Array) -> tuple[Array, int]:
    """Numbers for places along the normal, in their order, and how many there are."""
    same = min(_SAME, 0.1 * float(spacing.min()))
    found, many = codes.clusters(depths, same)
    low, high = np.full(many, np.inf), np.full(many, -np.inf)
    np.minimum.at(low, found, depths)
    np.maximum.at(high, found, depths)
    # Slices so close that a chain of neighbours leads far are told apart by the numbers themselves.
    return codes.of(depths) if bool((high - low > 2 * same).any()) else (found, many)


def along(depths: Array, between: float = math.nan) -> Along:
    """Judge places in ascending order; `between` is the spacing that the headers state."""
    many = len(depths)
    if many == 1:
        return Along(np.zeros(1, np.int64), 0.0, stack.Verdict.SINGLE)
    spans = np.diff(depths)
    spacing = float(np.sort(spans)[(len(spans) - 1) // 2])
    even = float(depths[-1] - depths[0]) / (many - 1)
    line = depths[0] + even * np.arange(many)
    worst = float(np.abs(depths - line).max())
    if worst <= _allowed(even):
        return Along(np.arange(many), even, stack.Verdict.COMPLETE)
    steps = spans / spacing
    near = np.rint(steps)
    regular = int((np.abs(steps - 1) <= _LOOSE).sum())
    exact = bool((np.abs(steps - near) <= _EXACT * near).all())
    known = many >= 4 or abs(between - spacing) <= _LOOSE * spacing
    if (
        known
        and bool((near >= 1).all() and (near < 2**31).all())
        and bool((np.abs(steps - near) <= _LOOSE * near).all())
        and regular >= min((_HALF if exact else _MOSTLY) * len(spans), len(spans) - 1)
    ):
        index = np.concatenate(([0], np.cumsum(near))).astype(np.int64)
        if index[-1] == many - 1:
            return Along(np.arange(many), even, stack.Verdict.UNEQUAL, worst)
        even = float(depths[-1] - depths[0]) / float(index[-1])
        off = float(np.abs(depths - depths[0] - even * index).max())
        if off <= _allowed(even):
            return Along(index, even, stack.Verdict.GAPS)
    return Along(np.arange(many), even, stack.Verdict.UNEQUAL, worst)


def _allowed(spacing: float) -> float:
    """Millimetres by which a slice may lie off its place in a regular grid."""
    return max(_SAME, min(_REGULAR * spacing, _ROUNDED))


def shifts(inplane: Array, depths: Array, spacing: Array) -> float | None:
    """The tilt in degrees of slices whose first voxels lie at these places; None: on no one line."""
    if len(depths) < 2:
        return 0.0
    part = (depths - depths[0]) / (depths[-1] - depths[0])
    total = inplane[-1] - inplane[0]
    off = np.abs(inplane - inplane[0] - part[:, None] * total)
    if float(off.max()) > max(_SAME, min(_SHIFT * float(spacing.min()), _ROUNDED)):
        return None
    return math.degrees(math.atan2(float(np.linalg.norm(total)), float(depths[-1] - depths[0])))


def tilted(degrees: float) -> bool:
    """Whether a shift from slice to slice is one that must be told."""
    return degrees >= _TILTED


def lines(inplane: Array, spacing: Array) -> tuple[Array, int]:
    """Which slices have their first voxel at the same place within the plane."""
    near = max(_SAME, min(_SHIFT * float(spacing.min()), _ROUNDED))
    u, _ = codes.clusters(inplane[:, 0], near)
    v, _ = codes.clusters(inplane[:, 1], near)
    return codes.join(u, v)


def place(
    axes: Array, spacing: Array, first: Array, last: Array, intervals: int, alone: float
) -> geometry.Geometry:
    """The geometry of a stack from its first slice to its last; `alone` is the thickness of a single one."""
    across = (last - first) / intervals if intervals else axes[2] * alone
    return geometry.Geometry(
        origin=_vector(first),
        column=_vector(axes[0] * spacing[1]),
        row=_vector(axes[1] * spacing[0]),
        slice=_vector(across),
    )


def _vector(found: Array) -> geometry.Vector:
    x, y, z = (float(value) for value in found)
    return x, y, z
