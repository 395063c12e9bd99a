"""Where voxels lie: the grid of a volume in the patient's coordinates."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]
Vector = tuple[float, float, float]

_TO_RAS = np.diag((-1.0, -1.0, 1.0, 1.0))


@dataclasses.dataclass(frozen=True, slots=True)
class Geometry:
    """A regular grid in millimetres of the patient's coordinates: to the left, the back, the head (LPS)."""

    origin: Vector  # centre of the voxel (slice 0, row 0, column 0)
    column: Vector  # step from one column to the next
    row: Vector  # step from one row to the next
    slice: Vector  # step from one slice to the next; with a gantry tilt it is not along the normal

    @property
    def patient(self) -> Array:
        """The matrix from (column, row, slice, 1) to the patient's coordinates (LPS), as DICOM has them."""
        made = np.eye(4)
        for at, vector in enumerate((self.column, self.row, self.slice, self.origin)):
            made[:3, at] = vector
        return made

    @property
    def scanner(self) -> Array:
        """The matrix from (column, row, slice, 1) to right-anterior-superior (RAS+), as NIfTI has them."""
        made: Array = _TO_RAS @ self.patient
        return made

    @property
    def spacing(self) -> Vector:
        """Millimetres between slices, rows, columns: in the order of an array's axes."""
        slices, rows, columns = (float(np.linalg.norm(v)) for v in (self.slice, self.row, self.column))
        return slices, rows, columns

    @property
    def normal(self) -> Vector:
        """The unit vector across a slice: along a row cross down a column."""
        made = np.cross(self.column, self.row)
        return _vector(made / np.linalg.norm(made))

    def at(self, slice_: float, row: float, column: float) -> Vector:
        """Where a voxel's centre lies in the patient's coordinates."""
        return _vector(self.patient[:3] @ (column, row, slice_, 1.0))

    @classmethod
    def of(cls, patient: Array) -> Geometry:
        """From a matrix as `patient` gives it."""
        return cls(*(_vector(patient[:3, at]) for at in (3, 0, 1, 2)))

    @classmethod
    def of_scanner(cls, scanner: Array) -> Geometry:
        """From a matrix as `scanner` gives it."""
        return cls.of(_TO_RAS @ scanner)


def _vector(found: Any) -> Vector:
    x, y, z = (float(value) for value in found)
    return x, y, z
