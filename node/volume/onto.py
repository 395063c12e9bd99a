"""A volume's grid laid over another's: which axis is which, which way round, and how far apart they lie."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np

from node import errors
from node.volume import geometry

Array = np.ndarray[Any, np.dtype[Any]]
Three = tuple[int, int, int]  # of slice, row, column

_FARTHEST = 1e7  # mm: no patient is longer than ten kilometres
_DRIFT = 0.02  # of the smallest voxel edge: what single precision and quaternions of other formats leave


@dataclasses.dataclass(frozen=True, slots=True)
class Fit:
    """How an array must be turned so that its axes run as those of another grid do."""

    order: Three  # which spatial axis of the array each of slice, row, column is
    flips: tuple[bool, bool, bool]  # which of them run the other way, after they were ordered
    shift: Three  # where its first voxel lies in the other grid, then

    def view(self, voxels: Array, *, colour: bool = False) -> Array:
        """The array so turned; nothing is copied."""
        lead = voxels.ndim - 3 - colour
        axes = [*range(lead), *(lead + at for at in self.order), *range(lead + 3, voxels.ndim)]
        turns = tuple(slice(None, None, -1) if flip else slice(None) for flip in self.flips)
        return voxels.transpose(axes)[(slice(None),) * lead + turns]

    def shape(self, shape: Three) -> Three:
        """Slices, rows and columns of the array so turned."""
        slices, rows, columns = (shape[at] for at in self.order)
        return slices, rows, columns

    def grid(self, found: geometry.Geometry, shape: Three) -> geometry.Geometry:
        """The grid of the array so turned."""
        vectors = np.array([found.slice, found.row, found.column])[list(self.order)]
        counts = np.array(self.shape(shape)) - 1
        flips = np.array(self.flips)
        origin = np.array(found.origin) + (vectors * (counts * flips)[:, None]).sum(axis=0)
        vectors = np.where(flips[:, None], -vectors, vectors)
        return geometry.Geometry(*(_vector(one) for one in (origin, vectors[2], vectors[1], vectors[0])))


AS_IT_IS = Fit((0, 1, 2), (False, False, False), (0, 0, 0))


def turned(found: geometry.Geometry, other: geometry.Geometry) -> Fit:
    """The turn that brings each axis to that of the other grid which it is nearest to."""
    mine, theirs = _units(found), _units(other)
    along = theirs @ mine.T  # how far axis j of the array runs along axis i of the other grid
    order = max(
        itertools.permutations(range(3)), key=lambda o: sum(abs(along[i, j]) for i, j in enumerate(o))
    )
    flips = tuple(bool(along[i, j] < 0) for i, j in enumerate(order))
    return Fit((order[0], order[1], order[2]), (flips[0], flips[1], flips[2]), (0, 0, 0))


def onto(found: geometry.Geometry, shape: Three, other: geometry.Geometry, name: str) -> Fit:
    """How the grid lies on the other one, whose voxels it must share; UsageError by how much it does not.

    It may begin and end elsewhere: what was cropped or extended by whole voxels is still on the grid.
    """
    fit = turned(found, other)
    mine = fit.grid(found, shape)
    size = fit.shape(shape)
    away = np.array(mine.origin) - np.array(other.origin)
    try:
        steps = np.linalg.solve(np.array([other.slice, other.row, other.column]).T, away)
    except np.linalg.LinAlgError:
        raise errors.UsageError(f"the grid of {name} has an axis without length") from None
    if not np.abs(steps).max() < 1e6:
        raise errors.UsageError(f"the volume lies {np.linalg.norm(away):.0f} mm from {name}")
    shift = np.rint(steps).astype(int)
    worst = _apart(mine, other, shift, size)
    smallest = min(length for length in (*other.spacing, *mine.spacing) if length > 0)
    if not worst <= max(_DRIFT * smallest, 1e-4):
        raise errors.UsageError(
            f"the volume's grid is not that of {name}: voxels lie up to {worst:.3g} mm apart"
            f" (spacing {_show(mine.spacing)} against {_show(other.spacing)} mm);"
            " resample it, or take its own positions with geometry=own"
        )
    return dataclasses.replace(fit, shift=(int(shift[0]), int(shift[1]), int(shift[2])))


def _apart(one: geometry.Geometry, other: geometry.Geometry, shift: Array, size: Three) -> float:
    """The greatest distance in mm between the same voxels of two grids; it is at a corner."""
    worst = 0.0
    for corner in itertools.product(*({0, count - 1} for count in size)):
        there = np.array(other.at(*(float(v) for v in shift + corner)))
        worst = max(worst, float(np.linalg.norm(np.array(one.at(*map(float, corner))) - there)))
    return worst


def _units(found: geometry.Geometry) -> Array:
    vectors = np.array([found.slice, found.row, found.column])
    if not (np.abs([*vectors, found.origin]) < _FARTHEST).all():  # false for what is no number, too
        raise errors.UsageError("the volume's grid has a position or a step that cannot be")
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not (lengths > 0).all():
        raise errors.UsageError("the volume's grid has an axis without length")
    made: Array = vectors / lengths
    return made


def _show(spacing: tuple[float, ...]) -> str:
    return " x ".join(f"{one:.4g}" for one in spacing)


def _vector(found: Any) -> geometry.Vector:
    x, y, z = (float(value) for value in found)
    return x, y, z
