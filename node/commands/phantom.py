"""A synthetic study: a CT series of a head that never was.

Nothing in it comes from a person. The pixels are ellipsoids (after Shepp and Logan), so that a viewer
shows something that can be recognised, and the slices differ.
"""

from __future__ import annotations

import dataclasses
import datetime
import pathlib
from typing import Any

import numpy as np
import numpy.typing as npt

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT_LE = "1.2.840.10008.1.2.1"

# Hounsfield units added inside; half axes x, y, z; centre x, y, z; rotation about z in degrees.
# Lengths are in units of half the field of view.
_ELLIPSOIDS = (
    (1900, (0.69, 0.92, 0.81), (0.0, 0.0, 0.0), 0),  # skull, on top of air
    (-860, (0.6624, 0.874, 0.78), (0.0, -0.0184, 0.0), 0),  # brain at 40
    (-30, (0.11, 0.31, 0.22), (0.22, 0.0, 0.0), -18),  # ventricles
    (-30, (0.16, 0.41, 0.28), (-0.22, 0.0, 0.0), 18),
    (30, (0.21, 0.25, 0.41), (0.0, 0.35, -0.15), 0),
    (40, (0.046, 0.046, 0.05), (0.0, 0.1, 0.25), 0),
    (40, (0.046, 0.046, 0.05), (0.0, -0.1, 0.25), 0),
    (60, (0.046, 0.023, 0.05), (-0.08, -0.605, 0.0), 0),
    (60, (0.023, 0.023, 0.02), (0.0, -0.606, 0.0), 0),
    (60, (0.023, 0.046, 0.02), (0.06, -0.605, 0.0), 0),
)
_AIR = -1000


@dataclasses.dataclass(frozen=True, slots=True)
class Study:
    """What was made."""

    uid: str  # Study Instance UID
    series: str  # Series Instance UID
    paths: tuple[pathlib.Path, ...]  # one file a slice, in order
    instances: tuple[str, ...]  # SOP Instance UIDs, in the same order


def slice_pixels(z: float, size: int) -> npt.NDArray[np.int16]:
    """Return the slice at height z (-1 to 1) as Hounsfield units."""
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    x, y = np.meshgrid(axis, -axis)
    image = np.full((size, size), _AIR, dtype=np.int16)
    for value, (a, b, c), (x0, y0, z0), degrees in _ELLIPSOIDS:
        height = 1 - ((z - z0) / c) ** 2
        if height <= 0:
            continue
        angle = np.deg2rad(degrees)
        u = (x - x0) * np.cos(angle) + (y - y0) * np.sin(angle)
        v = (y - y0) * np.cos(angle) - (x - x0) * np.sin(angle)
        image[(u / a) ** 2 + (v / b) ** 2 <= height] += value
    noise = np.random.default_rng(int((z + 2) * 10_000)).normal(0, 6, image.shape)
    return (image + noise.astype(np.int16)).astype(np.int16)


def study(folder: pathlib.Path, *, slices: int = 60, size: int = 256) -> Study:
    """Write the study into the folder as Part 10 files."""
    from pydicom.uid import generate_uid

    now = datetime.datetime.now().astimezone()
    study_uid, series_uid, frame_uid = str(generate_uid()), str(generate_uid()), str(generate_uid())
    paths: list[pathlib.Path] = []
    uids: list[str] = []
    for number in range(1, slices + 1):
        height = 0.85 * (2 * (number - 1) / max(slices - 1, 1) - 1)
        uid = str(generate_uid())
        data_set = _header(now, size)
        data_set.SOPInstanceUID = data_set.file_meta.MediaStorageSOPInstanceUID = uid
        data_set.StudyInstanceUID = study_uid
        data_set.SeriesInstanceUID = series_uid
        data_set.FrameOfReferenceUID = frame_uid
        data_set.InstanceNumber = number
        data_set.ImagePositionPatient = [-120.0, -120.0, round(height * 120, 3)]
        data_set.SliceLocation = round(height * 120, 3)
        data_set.PixelData = slice_pixels(height, size).astype("<i2").tobytes()
        path = folder / f"slice-{number:03}.dcm"
        data_set.save_as(path, enforce_file_format=True)
        paths.append(path)
        uids.append(uid)
    return Study(study_uid, series_uid, tuple(paths), tuple(uids))


def _header(now: datetime.datetime, size: int) -> Any:
    """Everything that the slices share."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(CT)
    meta.TransferSyntaxUID = UID(EXPLICIT_LE)
    data_set = Dataset()
    data_set.file_meta = meta
    data_set.SpecificCharacterSet = "ISO_IR 192"
    data_set.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    data_set.SOPClassUID = CT
    data_set.StudyDate = data_set.SeriesDate = data_set.ContentDate = now.strftime("%Y%m%d")
    data_set.StudyTime = data_set.SeriesTime = data_set.ContentTime = now.strftime("%H%M%S")
    data_set.AccessionNumber = "DEMO0001"
    data_set.Modality = "CT"
    data_set.Manufacturer = "Synthetic"
    data_set.StudyDescription = "Phantom head"
    data_set.SeriesDescription = "Ellipsoids 4 mm"
    data_set.ReferringPhysicianName = "Nobody^Nora"
    data_set.PatientName = "Phantom^Ellen Ipsoid"
    data_set.PatientID = "PHANTOM-1"
    data_set.PatientBirthDate = "19700101"
    data_set.PatientSex = "O"
    data_set.BodyPartExamined = "HEAD"
    data_set.SliceThickness = "4.0"
    data_set.KVP = "120"
    data_set.StudyID = "1"
    data_set.SeriesNumber = 1
    data_set.PatientPosition = "HFS"
    data_set.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    data_set.SamplesPerPixel = 1
    data_set.PhotometricInterpretation = "MONOCHROME2"
    data_set.Rows = data_set.Columns = size
    data_set.PixelSpacing = [round(240 / size, 5)] * 2
    data_set.BitsAllocated = data_set.BitsStored = 16
    data_set.HighBit = 15
    data_set.PixelRepresentation = 1
    data_set.WindowCenter, data_set.WindowWidth = 40, 200
    data_set.RescaleIntercept, data_set.RescaleSlope = 0, 1
    return data_set
