"""Which way the axes of a NIfTI file run: as images are stored, as dcm2niix has them, or nearest to RAS+."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from node.volume import geometry, image, stack

Array = np.ndarray[Any, np.dtype[Any]]

NAMES = ("stored", "dcm2niix", "ras")
COLUMN, ROW, SLICE = 0, 1, 2
_FASTEST = ("time", "trigger", "dynamic", "b")  # what dim[4] is, where a volume has several such axes


@dataclasses.dataclass(frozen=True, slots=True)
class Layout:
    """How the axes i, j, k of a file come from those of an image."""

    order: tuple[int, int, int] = (COLUMN, ROW, SLICE)  # which axis of the image i, j, k are
    flipped: tuple[bool, bool, bool] = (False, False, False)  # whether i, j, k run the other way

    @property
    def plain(self) -> bool:
        """Whether the bytes stay as they are."""
        return self == Layout()

    def affine(self, where: geometry.Geometry, shape: tuple[int, int, int]) -> Array:
        """The matrix from (i, j, k, 1) to right-anterior-superior; `shape`: columns, rows, slices."""
        turn = np.zeros((4, 4))
        turn[3, 3] = 1
        for axis, (of, flip) in enumerate(zip(self.order, self.flipped, strict=True)):
            turn[of, axis] = -1 if flip else 1
            turn[of, 3] = shape[of] - 1 if flip else 0
        made: Array = where.scanner @ turn
        return made + 0.0  # no -0.0, which programs print

    def arranged(self, voxels: Array, *, colour: bool) -> Array:
        """The same voxels as a view whose last axes are k, j, i (and the colours)."""
        spatial = voxels.ndim - 3 - colour
        # Axes of an array run the other way: slice, row, column and k, j, i.
        order = [spatial + 2 - of for of in reversed(self.order)]
        view = voxels.transpose(*range(spatial), *order, *([voxels.ndim - 1] if colour else []))
        turn = [slice(None, None, -1 if flip else None) for flip in reversed(self.flipped)]
        return view[(..., *turn, slice(None)) if colour else (..., *turn)]

    def axis(self, of: int) -> tuple[int, bool]:
        """Which of i, j, k (0 to 2) an axis of the image is, and whether it runs the other way."""
        at = self.order.index(of)
        return at, self.flipped[at]

    def vectors(self, along: Array) -> Array:
        """Vectors along column, row, slice as vectors along i, j, k."""
        signs = np.where(self.flipped, -1.0, 1.0)
        return np.asarray(along)[..., list(self.order)] * signs


def of(name: str, where: geometry.Geometry | None) -> Layout:
    """The layout of a name; without a geometry nothing says which way the axes run."""
    if name == "stored":
        return Layout()
    if where is None:  # programs show the last row of a picture on top, so dcm2niix turns it about
        return Layout(flipped=(False, name == "dcm2niix", False))
    if name == "dcm2niix":  # rows from bottom to top, slices so that the axes are left-handed
        flipped = Layout(flipped=(False, True, False))
        handed = np.linalg.det(flipped.affine(where, (1, 1, 1))[:3, :3])
        return flipped if handed < 0 else Layout(flipped=(False, True, True))
    return _closest(where.scanner[:3, :3])


def _closest(turn: Array) -> Layout:
    """i, j, k so that each runs as nearly as can be to the right, the front and the head."""
    steps = turn / np.linalg.norm(turn, axis=0)
    left, order = [COLUMN, ROW, SLICE], [0, 0, 0]
    # The axis that is surest of its direction chooses first, so that oblique ones do not take each other's.
    for world in np.argsort(-np.abs(steps).max(axis=1)).tolist():
        order[world] = max(left, key=lambda of: abs(float(steps[world, of])))
        left.remove(order[world])
    flipped = tuple(bool(steps[world, order[world]] < 0) for world in range(3))
    return Layout((order[0], order[1], order[2]), (flipped[0], flipped[1], flipped[2]))


def fastest(made: image.Image) -> image.Image:
    """The image with its axis of time, or what is most like it, next to the slices: that is dim[4]."""
    count = len(made.shape) - 3 - made.colour
    names = [axis.name for axis in made.axes[:count]]
    wanted = next((name for name in _FASTEST if name in names), None)
    if count < 2 or wanted is None or names[-1] == wanted:
        return made
    at = names.index(wanted)
    order = [*(axis for axis in range(count) if axis != at), at]
    return permuted(made, (*order, *range(count, len(made.shape))))


def permuted(made: image.Image, order: tuple[int, ...]) -> image.Image:
    """The image with its leading axes in another order; frames stay whole, and can still be copied."""
    frames = len(made.shape) - 2 - made.colour
    leading = made.shape[:frames]
    places = np.arange(int(np.prod(leading))).reshape(leading).transpose(order[:frames]).ravel()
    spans = made.spans
    if spans is not None:
        same = len(spans.offset) == len(places)
        spans = (
            dataclasses.replace(spans, file=spans.file[places], offset=spans.offset[places]) if same else None
        )
    axes: tuple[stack.Axis, ...] = tuple(made.axes[axis] for axis in order)
    return dataclasses.replace(
        made,
        shape=tuple(made.shape[axis] for axis in order),
        axes=axes,
        voxels=lambda: made.voxels().transpose(order),
        spans=spans,
        rows=None if made.rows is None else made.rows.transpose(order[:frames]),
    )
