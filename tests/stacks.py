"""Stacks of files in the order given, with nothing but what the tests of voxels need."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
import pydicom
import pydicom.dataset
import pydicom.uid

from node.dicom import scan
from node.volume import stack, table

_OVERLAY = {  # pydicom sets these by their tags only
    "OverlayRows": (0x60000010, "US"),
    "OverlayColumns": (0x60000011, "US"),
    "OverlayType": (0x60000040, "CS"),
    "OverlayOrigin": (0x60000050, "SS"),
    "OverlayBitsAllocated": (0x60000100, "US"),
    "OverlayBitPosition": (0x60000102, "US"),
    "OverlayData": (0x60003000, "OW"),
}


def source(path: pathlib.Path | str, mosaic: table.Mosaic | None = None) -> table.Source:
    """A data set of which nobody has read more than where it begins."""
    with open(path, "rb") as file:
        head = scan.part10(file.read(4096), bare=True)
    size = os.path.getsize(path) - head.offset
    return table.Source(str(path), head.offset, size, head.syntax, "1.2", "1.2.3", mosaic=mosaic)


def of(
    sources: Sequence[table.Source],
    frames: Sequence[tuple[int, int, int]] | None = None,
    columns: Mapping[str, Sequence[object]] | None = None,
) -> stack.Stack:
    """A stack of (source, frame, tile), or of the first frame of each."""
    rows = frames or [(at, 0, 0) for at in range(len(sources))]
    made = {name: np.array([row[at] for row in rows]) for at, name in enumerate(("source", "frame", "tile"))}
    for name, values in (columns or {}).items():
        text = any(isinstance(value, str) for value in values)
        made[name] = np.array(values, dtype=object if text else float)
    count = len(rows)
    axes = (stack.Axis("slice", np.arange(float(count))),)
    return stack.Stack(
        table.Table(sources, made, count), np.arange(count), axes, None, stack.Verdict.COMPLETE
    )


def written(
    path: pathlib.Path,
    pixels: bytes | None,
    *,
    syntax: str = pydicom.uid.ExplicitVRLittleEndian,
    **elements: object,
) -> table.Source:
    """A file of 4 rows and 6 columns of 16 bits, unless the elements say otherwise, and its source."""
    ds = pydicom.dataset.Dataset()
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = "1.2.3"
    plain = {
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": 4,
        "Columns": 6,
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
    }
    for name, value in {**plain, **elements}.items():
        if name in _OVERLAY:
            ds.add_new(_OVERLAY[name][0], _OVERLAY[name][1], value)
        else:
            setattr(ds, name, value)
    if pixels is not None:
        ds.PixelData = pixels
        ds["PixelData"].VR = "OB" if ds.file_meta.TransferSyntaxUID.is_compressed else "OW"
    ds.save_as(path, enforce_file_format=True)
    return source(path)
