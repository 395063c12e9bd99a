"""Series of one frame a file: CT as it lies and as it goes wrong, PET, colour, compressed, broken ones."""

from __future__ import annotations

import dataclasses

import imagecodecs
import numpy as np
import pydicom
from pydicom import encaps, uid

from tests import series_base as base
from tests.series_base import Grid

SLICES = 5
J2K, JPEG_LOSSLESS, JPEG_LS, RLE = (
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.5",
)


def ct(
    name: str,
    grid: Grid = base.AXIAL,
    slices: tuple[float, ...] = tuple(range(SLICES)),
    *,
    stored: int = 16,
    series: int = 1,
) -> list[pydicom.Dataset]:
    """A CT, its instance numbers against the direction of its slices."""
    return [_ct(name, grid, at, place, len(slices) - at, stored, series) for at, place in enumerate(slices)]


def _ct(
    name: str, grid: Grid, at: int, place: float, number: int, stored: int, series: int
) -> pydicom.Dataset:
    made = base.instance(name, base.CT, "CT", number, series=series)
    base.placed(made, grid, place)
    base.pixels(made, base.voxels(at), stored=stored)
    made.RescaleSlope, made.RescaleIntercept, made.RescaleType = "1", "-1024", "HU"
    made.KVP, made.AcquisitionNumber = "120", "1"
    return made


def tilted(name: str) -> list[pydicom.Dataset]:
    """A CT whose gantry leans by 15 degrees: the table moves along z, the slices lean."""
    angle = np.radians(15.0)
    down = (0.0, float(np.cos(angle)), float(np.sin(angle)))
    made = ct(name, Grid(down=down))
    for one in made:
        one.GantryDetectorTilt = "15"
    return made


def rounded(name: str) -> list[pydicom.Dataset]:
    """Slices 12/7 mm apart whose header has three decimals of that."""
    made = ct(name, Grid(step=(0.0, 0.0, 12 / 7)))
    for one in made:
        one.ImagePositionPatient = [f"{float(value):.3f}" for value in one.ImagePositionPatient]
    return made


def duplicates(name: str) -> list[pydicom.Dataset]:
    """A CT of which one slice came twice, under two UIDs."""
    made = ct(name)
    again = _ct(name, base.AXIAL, 2, 2, 99, 16, 1)
    return [*made, again]


def localizer(name: str) -> list[pydicom.Dataset]:
    """One series of three planes, each with a few slices."""
    made = []
    for at, grid in enumerate((base.AXIAL, base.SAGITTAL, base.CORONAL)):
        for slice_ in range(3):
            one = _ct(name, grid, at * 3 + slice_, slice_, at * 3 + slice_ + 1, 16, 1)
            one.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
            made.append(one)
    return made


def mixed(name: str) -> list[pydicom.Dataset]:
    """A study of two series, and a report beside them."""
    report = base.instance(name, "1.2.840.10008.5.1.4.1.1.88.11", "SR", 1, series=3)
    return [*ct(name), *ct(name, base.CORONAL, series=2), report]


def signed(name: str) -> list[pydicom.Dataset]:
    """Values below and above zero."""
    made = ct(name)
    for at, one in enumerate(made):
        base.pixels(one, (base.voxels(at).astype("<i2") - 200), stored=16, signed=True)
        one.RescaleIntercept = "0"
    return made


def overlay(name: str) -> list[pydicom.Dataset]:
    """12 bits stored of 16, an overlay plane in bit 15 and rubbish in bits 12 to 14."""
    made = ct(name, stored=12)
    for at, one in enumerate(made):
        values = base.voxels(at) | 0x5000 | (0x8000 * (np.indices((base.ROWS, base.COLUMNS)).sum(0) % 2))
        base.pixels(one, values.astype("<u2"), stored=12)
        one.add_new(0x60000010, "US", base.ROWS)
        one.add_new(0x60000011, "US", base.COLUMNS)
        one.add_new(0x60000040, "CS", "G")
        one.add_new(0x60000050, "SS", [1, 1])
        one.add_new(0x60000100, "US", 16)
        one.add_new(0x60000102, "US", 15)
    return made


def pet(name: str, times: int = 1) -> list[pydicom.Dataset]:
    """A PET whose slices have each their own slope; over time when there is more than one."""
    made = []
    for time in range(times):
        for at in range(SLICES):
            number = time * SLICES + at
            one = base.instance(name, base.PT, "PT", number + 1)
            base.placed(one, base.AXIAL, at)
            base.pixels(one, base.voxels(number))
            one.RescaleSlope, one.RescaleIntercept = f"{0.5 + 0.125 * number}", "0"
            one.Units, one.CorrectedImage = "BQML", ["DECY", "ATTN"]
            one.SeriesType = ["DYNAMIC" if times > 1 else "STATIC", "IMAGE"]
            one.NumberOfSlices, one.ImageIndex = SLICES, number + 1
            one.FrameReferenceTime, one.ActualFrameDuration = f"{30000 + 60000 * time}", "60000"
            one.AcquisitionTime = f"1017{time:02}.000000"
            if times > 1:
                one.NumberOfTimeSlices = times
            made.append(one)
    return made


def nuclear(name: str) -> list[pydicom.Dataset]:
    """NM tomography: one file, slices as frames, geometry of the detector."""
    made = base.instance(name, "1.2.840.10008.5.1.4.1.1.20", "NM", 1)
    made.ImageType = ["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"]
    base.pixels(made, np.stack([base.voxels(at) for at in range(SLICES)]))
    grid = base.AXIAL
    made.DetectorInformationSequence = base.item(
        ImagePositionPatient=grid.at(0), ImageOrientationPatient=grid.orientation
    )
    made.PixelSpacing, made.SliceThickness = list(grid.spacing), grid.distance
    made.SpacingBetweenSlices = grid.distance
    made.FrameIncrementPointer = 0x00540080
    made.NumberOfSlices, made.SliceVector = SLICES, list(range(1, SLICES + 1))
    made.PatientPosition = "HFS"
    return [made]


def dose(name: str) -> list[pydicom.Dataset]:
    """RT dose: 32 bits, frames at offsets along z."""
    made = base.instance(name, "1.2.840.10008.5.1.4.1.1.481.2", "RTDOSE", 1)
    base.placed(made, base.AXIAL, 0)
    base.pixels(made, np.stack([base.voxels(at).astype("<u4") for at in range(SLICES)]), stored=32)
    made.DoseUnits, made.DoseType, made.DoseSummationType = "GY", "PHYSICAL", "PLAN"
    made.DoseGridScaling = "0.001"
    made.FrameIncrementPointer = 0x3004000C
    made.GridFrameOffsetVector = [base.AXIAL.distance * at for at in range(SLICES)]
    return [made]


def ultrasound(name: str) -> list[pydicom.Dataset]:
    """US, four frames of YBR_FULL, no geometry."""
    made = base.instance(name, "1.2.840.10008.5.1.4.1.1.3.1", "US", 1)
    frames = np.random.default_rng(7).integers(0, 256, (4, base.ROWS, base.COLUMNS, 3), dtype=np.uint8)
    base.pixels(made, frames[..., 0])
    made.SamplesPerPixel, made.PhotometricInterpretation, made.PlanarConfiguration = 3, "YBR_FULL", 0
    made.PixelData = frames.tobytes()
    made.FrameTime, made.FrameIncrementPointer = "40", 0x00181063
    return [made]


def rgb(name: str) -> list[pydicom.Dataset]:
    """Secondary captures in colour, each plane by itself, one file a frame."""
    made = []
    for at in range(3):
        one = base.instance(name, base.CAPTURE, "OT", at + 1)
        base.pixels(one, base.voxels(0).astype("u1"))
        planes = np.stack([(base.voxels(at) + 40 * plane).astype("u1") for plane in range(3)])
        one.SamplesPerPixel, one.PhotometricInterpretation, one.PlanarConfiguration = 3, "RGB", 1
        one.PixelData = planes.tobytes()
        made.append(one)
    return made


def palette(name: str) -> list[pydicom.Dataset]:
    """Eight bits that stand for colours."""
    made = base.instance(name, base.CAPTURE, "OT", 1)
    base.pixels(made, base.voxels(0).astype("u1"))
    made.PhotometricInterpretation = "PALETTE COLOR"
    for at, colour in enumerate(("Red", "Green", "Blue")):
        table = (np.arange(256) * (at + 1) % 256 * 257).astype("<u2")
        setattr(made, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(made, f"{colour}PaletteColorLookupTableData", table.tobytes())
    return [made]


def unplaced(name: str) -> list[pydicom.Dataset]:
    """Secondary captures: numbers, and nothing that says where they lie."""
    made = []
    for at in range(3):
        one = base.instance(name, base.CAPTURE, "OT", at + 1)
        base.pixels(one, base.voxels(at))
        made.append(one)
    return made


def compressed(name: str, syntax: str) -> list[bytes]:
    """A CT of 12 bits in a compressed transfer syntax without loss."""
    made = []
    for at, one in enumerate(ct(name, stored=12)):
        frame = base.voxels(at)
        if syntax == RLE:
            one.file_meta = pydicom.dataset.FileMetaDataset()
            one.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
            one.compress(uid.RLELossless, frame, generate_instance_uid=False)
        else:
            one.PixelData = encaps.encapsulate([_encoded(frame, syntax)])
            one["PixelData"].VR = "OB"
            one["PixelData"].is_undefined_length = True
        made.append(base.content(one, syntax))
    return made


def _encoded(frame: base.Array, syntax: str) -> bytes:
    if syntax == J2K:
        return bytes(imagecodecs.jpeg2k_encode(frame, codecformat="j2k", reversible=True, bitspersample=12))
    if syntax == JPEG_LS:
        return bytes(imagecodecs.jpegls_encode(frame))
    return bytes(imagecodecs.jpeg8_encode(frame, lossless=True, predictor=1, bitspersample=16))


def big_endian(name: str) -> list[bytes]:
    """A CT in the retired big endian syntax."""
    made = []
    for at, one in enumerate(ct(name)):
        one.PixelData = base.voxels(at).astype(">u2").tobytes()
        made.append(base.content(one, uid.ExplicitVRBigEndian))
    return made


def truncated(name: str) -> list[bytes]:
    """A CT, its middle file broken off in its pixels."""
    made = [base.content(one) for one in ct(name)]
    made[2] = made[2][:-40]
    return made


def not_dicom(name: str) -> list[bytes]:
    """Files that are something else."""
    return [b"", b"Some words about the scan.\n", b"\x89PNG\r\n\x1a\n" + bytes(300), bytes(132)]


def no_frames(name: str) -> list[pydicom.Dataset]:
    """Says it has no rows, no frames, no pixel data."""
    rows, frames, data = (ct(name)[0], ct(name)[1], ct(name)[2])
    rows.Rows = 0
    frames.NumberOfFrames = "0"
    del data.PixelData
    return [rows, frames, data]


def hostile(name: str) -> list[pydicom.Dataset]:
    """One lie a file."""
    huge, many, positions, skewed, flat, infinite = ct(name, slices=tuple(range(6)))
    huge.Rows = huge.Columns = 65535
    many.NumberOfFrames = "1000000000"
    positions.ImagePositionPatient = ["0", "0", "1e400"]
    skewed.ImageOrientationPatient = ["1", "0", "0", "1", "0", "0"]
    flat.PixelSpacing = ["0", "0"]
    infinite.add_new(0x00281053, "DS", "1e999")
    return [huge, many, positions, skewed, flat, infinite]


def grids() -> dict[str, Grid]:
    """Grids by the name of the series that is laid on them."""
    turn = dataclasses.replace
    return {
        "ct_axial": base.AXIAL,
        "ct_sagittal": base.SAGITTAL,
        "ct_coronal": base.CORONAL,
        "ct_oblique": base.OBLIQUE,
        # The frame of reference is the patient's: only the axes of the image say how he lay.
        "ct_feet_first": turn(base.AXIAL, step=(0.0, 0.0, -3.0), position="FFS"),
        "ct_prone": Grid((-1.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, 3.0), position="HFP"),
        "ct_decubitus": Grid((0.0, -1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 3.0), position="HFDR"),
    }
