"""A volume as writers take it: what it is, where each frame came from, and a way to its voxels.

Both a stack that nobody has read yet and an array with a header become one, so that a format is written once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from node.volume import geometry, stack, table

Array = np.ndarray[Any, np.dtype[Any]]


@dataclasses.dataclass(frozen=True, slots=True)
class Spans:
    """Where the voxels of an image lie in files, so that they can be copied without being looked at.

    Only where the bytes in the files are the very bytes of `Image.voxels()`, little endian, each frame whole,
    or are so wherever values lie within `limits`.
    """

    paths: tuple[str, ...]  # the files
    file: Array  # which of `paths`, for each frame in the order of the image
    offset: Array  # where the frame begins in it
    length: int  # bytes of a frame, the same for all
    limits: tuple[int, int] | None = None
    # Bits Stored < Bits Allocated: values beyond these may hold an overlay; `loading.spans` takes it out
    sources: tuple[table.Source, ...] = ()  # the data sets of `paths`, where there are limits


@dataclasses.dataclass(frozen=True, slots=True)
class Image:
    """A volume, read or not."""

    shape: tuple[int, ...]  # (..., slice, row, column) or (..., slice, row, column, 3)
    dtype: np.dtype[Any]  # of the stored values, little endian
    axes: tuple[stack.Axis, ...]  # one for each dimension, the last of colour is "rgb"
    geometry: geometry.Geometry | None
    slope: float  # real value = stored * slope + intercept, the same for every voxel
    intercept: float
    unit: str  # of the real values: "HU", "BQML", "mm2/s"; "" unknown
    voxels: Callable[[], Array]  # the stored values, C order, in `shape` and `dtype`; read when asked for
    spans: Spans | None = None  # where they lie as they are; None: they must be made
    table: table.Table | None = None  # the frames it came from, or whose identity it carries
    rows: Array | None = None  # of the table, in the shape of the leading axes (..., slice); -1: none
    verdict: stack.Verdict | None = None
    notes: tuple[stack.Note, ...] = ()
    label: str = ""  # as `Stack.label`

    @property
    def colour(self) -> bool:
        """Whether each voxel is red, green, blue."""
        return bool(self.axes) and self.axes[-1].name == "rgb"

    @property
    def nbytes(self) -> int:
        """Bytes of the stored values."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize
