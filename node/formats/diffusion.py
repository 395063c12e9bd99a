"""b values and directions as FSL has them: .bval and .bvec, along the axes of the file."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from node.formats import nifti_layout
from node.volume import geometry, image

Array = np.ndarray[Any, np.dtype[Any]]


@dataclasses.dataclass(frozen=True, slots=True)
class Diffusion:
    """What was measured, one for each volume of a file in its order."""

    values: Array  # s/mm2
    directions: Array  # (volume, 3) along column, row, slice normal; NaN: none
    notes: tuple[str, ...] = ()


def of(made: image.Image) -> Diffusion | None:
    """The b values of an image, None where none is above 0 or some are not known."""
    count = int(np.prod(made.shape[: len(made.shape) - 3 - made.colour]))
    values, world = _told(made, count)
    if values is None or not (values > 0).any():
        return None
    if not np.isfinite(values).all():
        missing = int((~np.isfinite(values)).sum())
        return Diffusion(
            np.empty(0),
            np.empty((0, 3)),
            (f"{missing} of {count} volumes do not say their b value: no .bval",),
        )
    notes = []
    directed = np.isfinite(world).all(axis=1) & (np.linalg.norm(np.nan_to_num(world), axis=1) > 0)
    if lacking := int(((values > 0) & ~directed).sum()):
        notes.append(
            f"{lacking} of {count} volumes have a b value above 0 and no direction"
            " (a trace, or a header that does not say): 0 0 0 stands for it in .bvec"
        )
    along = np.full((count, 3), np.nan)
    if made.geometry is not None:
        along[directed] = world[directed] @ _turn(made.geometry)
        lengths = np.linalg.norm(along[directed], axis=1, keepdims=True)
        along[directed] /= lengths
    return Diffusion(values, along, tuple(notes))


def _told(made: image.Image, count: int) -> tuple[Array | None, Array]:
    nothing = np.full((count, 3), np.nan)
    if made.table is not None and made.rows is not None and "b_value" in made.table:
        rows = made.rows.reshape(count, -1)
        first = rows[np.arange(count), np.argmax(rows >= 0, axis=1)]
        found = np.where(first >= 0, made.table["b_value"][first], np.nan)
        if np.isfinite(found).any():
            return found, np.where(first[:, None] >= 0, made.table["gradient"][first], np.nan)
    for at, axis in enumerate(made.axes):
        if axis.name == "b" and len(axis.values) == made.shape[at]:
            spread = [1] * (len(made.shape) - 3 - made.colour)
            spread[at] = len(axis.values)
            shape = made.shape[: len(spread)]
            return np.broadcast_to(np.asarray(axis.values, float).reshape(spread), shape).ravel(), nothing
    return None, nothing


def _turn(where: geometry.Geometry) -> Array:
    """The unit vectors of column, row and slice, in the columns of a matrix; the last is along the normal,
    on the side to which the slices go, so that a tilted gantry does not bend directions."""
    column, row = np.array(where.column), np.array(where.row)
    normal = np.array(where.normal)
    side = 1.0 if float(normal @ np.array(where.slice)) >= 0 else -1.0
    return np.stack((column / np.linalg.norm(column), row / np.linalg.norm(row), normal * side), axis=1)


def files(found: Diffusion, made: image.Image, layout: nifti_layout.Layout) -> tuple[str, str]:
    """What .bval and .bvec hold. FSL's x runs the other way where the axes of the file are right-handed."""
    if not len(found.values):
        return "", ""
    along = np.nan_to_num(layout.vectors(found.directions))
    if made.geometry is not None:
        shape = made.shape[: len(made.shape) - made.colour][::-1]
        affine = layout.affine(made.geometry, (shape[0], shape[1], shape[2]))
        if np.linalg.det(affine[:3, :3]) > 0:
            along = along * (-1.0, 1.0, 1.0)
    bval = " ".join(f"{value:.6g}" for value in found.values.tolist()) + "\n"
    rows = (" ".join(f"{value + 0.0:.8g}" for value in np.round(axis, 9).tolist()) for axis in along.T)
    return bval, "\n".join(rows) + "\n"


def read(text: str) -> Array | None:
    """The numbers of a .bval; None when they are none."""
    try:
        found = np.array([float(word) for word in text.split()])
    except ValueError:
        return None
    return found if len(found) and np.isfinite(found).all() and (found >= 0).all() else None


def directions(text: str, count: int, where: geometry.Geometry) -> Array | None:
    """The directions of a .bvec in the patient's coordinates, NaN for a volume without; None: it has none.

    A row for each axis, as FSL has it; a row for each volume is understood too.
    """
    try:
        found = np.array(
            [[float(word) for word in line.split()] for line in text.splitlines() if line.strip()]
        )
    except ValueError:
        return None
    if found.shape == (3, count):
        found = found.T
    if found.shape != (count, 3) or not np.isfinite(found).all() or (np.abs(found) > 2).any():
        return None
    turn = _turn(where)
    if np.linalg.det(np.stack((where.column, where.row, where.slice))) > 0:
        found = found * (-1.0, 1.0, 1.0)
    made: Array = found @ turn.T
    made[np.linalg.norm(found, axis=1) == 0] = np.nan
    return made
