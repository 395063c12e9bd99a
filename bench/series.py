"""Series to convert, made once and kept in `bench/corpora`: CT, MR in four dimensions, compressed CT."""

from __future__ import annotations

import pathlib
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pydicom
import pydicom.dataset
import pydicom.encaps
import pydicom.uid

from bench import corpora
from node.commands import phantom
from node.dicom import codecs, pixels
from tests import make

COMPRESSED = {
    "JPEG 2000": pydicom.uid.JPEG2000Lossless,
    "JPEG lossless": pydicom.uid.JPEGLosslessSV1,
}
SLICES, TIMES, SMALL = 20, 100, 128  # of the MR


def ct(slices: int) -> pathlib.Path:
    """Return a folder of slices of 512x512."""
    return _made(f"ct-{slices}", lambda: _ct(slices, pydicom.uid.ExplicitVRLittleEndian))


def compressed(name: str, slices: int) -> pathlib.Path:
    """Return a folder of such slices, compressed."""
    syntax = COMPRESSED[name]
    return _made(f"ct-{slices}-{name.replace(' ', '-')}", lambda: _ct(slices, syntax))


def mr(times: int) -> pathlib.Path:
    """Return a folder of 20 slices of 128x128 at so many times."""
    return _made(f"mr-{SLICES * times}", lambda: _mr(times))


def _made(name: str, slices: Callable[[], Iterator[pydicom.dataset.Dataset]]) -> pathlib.Path:
    folder = corpora.HERE / name
    if folder.is_dir():
        return folder
    new = folder.with_suffix(".new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    for number, ds in enumerate(slices(), 1):
        ds.save_as(new / f"{number:05}.dcm", enforce_file_format=True)
    new.replace(folder)
    return folder


def _ct(slices: int, syntax: str) -> Iterator[pydicom.dataset.Dataset]:
    series = make.uid("bench", "ct", slices, syntax)
    for number in range(slices):
        found = phantom.slice_pixels(0.85 * (2 * number / max(slices - 1, 1) - 1), 512).astype("<i2")
        ds = _header(series, syntax, number, 512)
        ds.Modality, ds.SOPClassUID = "CT", pydicom.uid.CTImageStorage
        ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = 1, 0, "HU"
        ds.ImagePositionPatient = [-120.0, -120.0, -102.0 + 0.75 * number]
        yield _with(ds, found)


def _mr(times: int) -> Iterator[pydicom.dataset.Dataset]:
    series = make.uid("bench", "mr", times)
    for number in range(SLICES * times):
        at, time = number % SLICES, number // SLICES
        found = phantom.slice_pixels(0.8 * (2 * at / SLICES - 1), SMALL).astype("<i2") + 1100
        ds = _header(series, pydicom.uid.ExplicitVRLittleEndian, number, SMALL)
        ds.Modality, ds.SOPClassUID = "MR", pydicom.uid.MRImageStorage
        ds.ImagePositionPatient = [-120.0, -120.0, -40.0 + 4 * at]
        ds.TemporalPositionIdentifier, ds.NumberOfTemporalPositions = time + 1, times
        ds.AcquisitionNumber = time + 1
        ds.AcquisitionTime = f"10{time // 30:02}{time % 30 * 2:02}.00"
        ds.RepetitionTime, ds.EchoTime, ds.FlipAngle = 2000, 30, 90
        ds.ScanningSequence, ds.SequenceVariant, ds.MRAcquisitionType = "EP", "NONE", "2D"
        yield _with(ds, found.astype("<i2"))


def _header(series: str, syntax: str, number: int, size: int) -> pydicom.dataset.Dataset:
    ds: Any = pydicom.dataset.Dataset()
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.SOPInstanceUID = make.uid(series, number)
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = (
        series + ".0.1",
        series,
        series + ".0.2",
    )
    ds.PatientID, ds.PatientName = "BENCH-1", "Bench^Patient"
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20260102"
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "101112"
    ds.Manufacturer, ds.SeriesDescription, ds.SeriesNumber = "Synthetic", "Bench", 1
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.InstanceNumber = number + 1
    ds.PatientPosition, ds.ImageOrientationPatient = "HFS", [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing, ds.SliceThickness = [0.5, 0.5], 1
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows = ds.Columns = size
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation = 15, 1
    return ds  # type: ignore[no-any-return]


def _with(ds: Any, found: Any) -> pydicom.dataset.Dataset:
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    syntax = ds.file_meta.TransferSyntaxUID
    if syntax.is_compressed:
        shown = pixels.Pixels(*found.shape, 1, "MONOCHROME2", False, 1, 16, 16, True)
        coded = codecs.ENCODERS[str(syntax)].encode(np.ascontiguousarray(found[..., None]), shown)
        ds.PixelData = pydicom.encaps.encapsulate([coded])
        ds["PixelData"].VR = "OB"
    else:
        ds.PixelData = found.tobytes()
        ds["PixelData"].VR = "OW"
    return ds  # type: ignore[no-any-return]
