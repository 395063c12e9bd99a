"""What the series of `tests.series` are made of: a grid, a header, and voxels that say where they are."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import numpy as np
import pydicom
from pydicom import dataset, sequence, uid

from tests import make

ROWS, COLUMNS = 8, 10  # not square, so that a transposed image is seen
CT, MR, PT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.128"
CAPTURE = "1.2.840.10008.5.1.4.1.1.7"

Array = np.ndarray[Any, np.dtype[Any]]
Vector = tuple[float, float, float]


def voxels(frame: int, rows: int = ROWS, columns: int = COLUMNS) -> Array:
    """The frame that stands at `frame` in a volume whose voxels count 0, 1, 2 ... when all is in order."""
    return (np.arange(rows * columns).reshape(rows, columns) + frame * rows * columns).astype("<u2")


def expected(*leading: int, rows: int = ROWS, columns: int = COLUMNS) -> Array:
    """The volume that frames of `voxels` make when they are sorted rightly: (..., slice, row, column)."""
    return np.arange(int(np.prod(leading)) * rows * columns).reshape(*leading, rows, columns)


@dataclasses.dataclass(frozen=True, slots=True)
class Grid:
    """Where slices lie, in the patient's coordinates (LPS)."""

    along: Vector = (1.0, 0.0, 0.0)  # unit, from one column to the next
    down: Vector = (0.0, 1.0, 0.0)  # unit, from one row to the next
    step: Vector = (0.0, 0.0, 3.0)  # mm, from one slice to the next
    origin: Vector = (-40.0, -60.0, 20.0)  # centre of the first voxel of the first slice
    spacing: tuple[float, float] = (1.25, 0.75)  # between rows, between columns
    position: str = "HFS"

    def at(self, slice_: float) -> list[float]:
        """Image Position (Patient) of a slice."""
        return [o + slice_ * s for o, s in zip(self.origin, self.step, strict=True)]

    @property
    def orientation(self) -> list[float]:
        """Image Orientation (Patient)."""
        return [*self.along, *self.down]

    @property
    def distance(self) -> float:
        """Millimetres between slices, along the normal."""
        return abs(float(np.dot(np.cross(self.along, self.down), self.step)))

    @property
    def affine(self) -> Array:
        """From (column, row, slice, 1) to the patient's coordinates (LPS)."""
        made = np.eye(4)
        made[:3, 0] = np.multiply(self.along, self.spacing[1])
        made[:3, 1] = np.multiply(self.down, self.spacing[0])
        made[:3, 2], made[:3, 3] = self.step, self.origin
        return made


def turned(degrees: tuple[float, float, float], step: float = 2.5, **more: Any) -> Grid:
    """An oblique grid: an axial one turned about x, y and z."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        one, two = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[one, one] = turn[two, two] = np.cos(angle)
        turn[one, two], turn[two, one] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    matrix = np.round(matrix, 10)
    along, down, normal = (matrix[:, at] for at in range(3))
    return Grid(_vector(along), _vector(down), _vector(normal * step), **more)


def _vector(found: Array) -> Vector:
    x, y, z = (float(value) for value in found)
    return x, y, z


AXIAL = Grid()
SAGITTAL = Grid((0.0, 1.0, 0.0), (0.0, 0.0, -1.0), (-3.0, 0.0, 0.0))
CORONAL = Grid((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 3.0, 0.0))
OBLIQUE = turned((20.0, -15.0, 10.0))


def instance(name: str, sop_class: str, modality: str, number: int, *, series: int = 1) -> pydicom.Dataset:
    """A header with identity and nothing else; `name` makes the study, `series` the series in it."""
    made = pydicom.Dataset()
    made.SpecificCharacterSet = "ISO_IR 100"
    made.SOPClassUID = sop_class
    made.SOPInstanceUID = make.uid(name, series, number)
    made.StudyDate = made.SeriesDate = made.AcquisitionDate = made.ContentDate = "20260314"
    made.StudyTime, made.SeriesTime = "101500", "101600"
    made.AcquisitionTime = made.ContentTime = "101700.000000"
    made.AccessionNumber = ""
    made.Modality = modality
    made.Manufacturer = "Test"
    made.SeriesDescription = made.ProtocolName = name.replace("_", " ")
    made.PatientName, made.PatientID = "Phantom^Grid", "GRID"
    made.PatientBirthDate, made.PatientSex = "", "O"
    made.StudyInstanceUID = make.uid(name, "study")
    made.SeriesInstanceUID = make.uid(name, "series", series)
    made.FrameOfReferenceUID = make.uid(name, "frame of reference")
    made.PositionReferenceIndicator = ""
    made.StudyID = "1"
    # dcm2niix tells series apart by these; a number of its own for each of ours.
    made.SeriesNumber = 1 + int(make.uid(name)[-3:]) * 10 + series
    made.InstanceNumber = number
    made.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL" if modality == "CT" else "M"]
    return made


def pixels(made: pydicom.Dataset, array: Array, *, stored: int = 16, signed: bool = False) -> None:
    """The image pixel module for grey values, 8, 16 or 32 bits; leading axis of three: frames."""
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.Rows, made.Columns = array.shape[-2:]
    if array.ndim == 3:
        made.NumberOfFrames = len(array)
    made.BitsAllocated = array.dtype.itemsize * 8
    made.BitsStored = min(stored, made.BitsAllocated)
    made.HighBit, made.PixelRepresentation = made.BitsStored - 1, int(signed)
    raw = array.astype(array.dtype.newbyteorder("<")).tobytes()
    made.PixelData = raw + b"\0" * (len(raw) % 2)
    made["PixelData"].VR = "OW" if made.BitsAllocated > 8 else "OB"


def placed(made: pydicom.Dataset, grid: Grid, slice_: float) -> None:
    """The image plane module."""
    made.ImagePositionPatient = [f"{value:.8g}" for value in grid.at(slice_)]
    made.ImageOrientationPatient = [f"{value:.10f}" for value in grid.orientation]
    made.PixelSpacing = [str(value) for value in grid.spacing]
    made.SliceThickness = f"{grid.distance:.8g}"
    made.PatientPosition = grid.position


def content(made: pydicom.Dataset, syntax: str = uid.ExplicitVRLittleEndian) -> bytes:
    """A Part 10 file of it."""
    meta = dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = made.SOPClassUID
    meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    meta.TransferSyntaxUID = uid.UID(syntax)
    made.file_meta = meta
    out = io.BytesIO()
    pydicom.dcmwrite(out, made, enforce_file_format=True)
    return out.getvalue()


def item(**elements: Any) -> sequence.Sequence:
    """A sequence of one item with these elements."""
    return sequence.Sequence([fields(**elements)])


def fields(**elements: Any) -> pydicom.Dataset:
    """A data set with these elements."""
    made = pydicom.Dataset()
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made
