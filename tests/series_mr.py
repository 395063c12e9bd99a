"""MR series, one frame a file: over time, echoes, diffusion as five makers write it, mosaics."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

import numpy as np
import pydicom

from tests import series_base as base

SLICES, TIMES = 4, 3
# b and direction in the patient's coordinates, one a volume.
DIFFUSION: tuple[tuple[float, base.Vector], ...] = (
    (0.0, (0.0, 0.0, 0.0)),
    (1000.0, (0.6, 0.8, 0.0)),
    (1000.0, (0.0, -0.6, 0.8)),
    (2000.0, (0.48, 0.6, -0.64)),
)
GRID = base.OBLIQUE
TILES_ACROSS = 3  # tiles in a row of a mosaic


def mr(
    name: str,
    volumes: int = TIMES,
    grid: base.Grid = GRID,
    change: Callable[[pydicom.Dataset, int, int], None] | None = None,
) -> list[pydicom.Dataset]:
    """So many volumes; `change` is given each frame's header, its volume and its slice."""
    made = []
    for volume in range(volumes):
        for slice_ in range(SLICES):
            number = volume * SLICES + slice_
            one = base.instance(name, base.MR, "MR", number + 1)
            base.placed(one, grid, slice_)
            base.pixels(one, base.voxels(number))
            one.ScanningSequence, one.SequenceVariant, one.ScanOptions = "GR", "SK", ""
            one.MRAcquisitionType = "2D"
            one.RepetitionTime, one.EchoTime, one.FlipAngle = "2000", "30", "77"
            one.EchoNumbers, one.MagneticFieldStrength = "1", "3"
            one.SpacingBetweenSlices = f"{grid.distance:.8g}"
            one.InPlanePhaseEncodingDirection = "COL"
            if change is not None:
                change(one, volume, slice_)
            made.append(one)
    return made


def over_time(name: str) -> list[pydicom.Dataset]:
    """Temporal positions, two seconds apart."""

    def change(one: pydicom.Dataset, volume: int, slice_: int) -> None:
        one.TemporalPositionIdentifier, one.NumberOfTemporalPositions = volume + 1, TIMES
        one.AcquisitionTime = f"1017{2 * volume:02}.{slice_ * 500:04}00"

    return mr(name, change=change)


def scaled(name: str) -> list[pydicom.Dataset]:
    """Over time, with both scalings of Philips: for display, and to what was measured; slices go slowest."""

    def change(one: pydicom.Dataset, volume: int, slice_: int) -> None:
        one.Manufacturer = "Philips Medical Systems"
        one.TemporalPositionIdentifier, one.NumberOfTemporalPositions = volume + 1, TIMES
        one.RescaleSlope, one.RescaleIntercept = "1.5", "-10"
        block = one.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
        block.add_new(0x0D, "FL", 0.0)
        block.add_new(0x0E, "FL", 0.25)
        one.InstanceNumber = slice_ * TIMES + volume + 1

    return mr(name, change=change)


def by_acquisition_time(name: str) -> list[pydicom.Dataset]:
    """Nothing but times tells the volumes apart, and they go on after midnight."""

    def change(one: pydicom.Dataset, volume: int, slice_: int) -> None:
        seconds = 86398 + 2 * volume
        day, rest = divmod(seconds, 86400)
        one.AcquisitionDate = one.ContentDate = f"202603{14 + day}"
        one.AcquisitionTime = f"{rest // 3600:02}{rest // 60 % 60:02}{rest % 60:02}.000000"
        one.ContentTime, one.AcquisitionNumber = one.AcquisitionTime, volume + 1

    return mr(name, change=change)


def echoes(name: str) -> list[pydicom.Dataset]:
    """Three echoes."""

    def change(one: pydicom.Dataset, volume: int, slice_: int) -> None:
        one.EchoTime, one.EchoNumbers = str(5 * (volume + 1)), volume + 1

    return mr(name, change=change)


def phase(name: str) -> list[pydicom.Dataset]:
    """Magnitude, then phase."""

    def change(one: pydicom.Dataset, volume: int, slice_: int) -> None:
        one.ImageType = ["ORIGINAL", "PRIMARY", "P" if volume else "M", "ND"]

    return mr(name, 2, change=change)


def flip_angles(name: str) -> list[pydicom.Dataset]:
    """Three flip angles."""

    def change(one: pydicom.Dataset, volume: int, slice_: int) -> None:
        one.FlipAngle = str(5 * (volume + 1))

    return mr(name, change=change)


def inversions(name: str) -> list[pydicom.Dataset]:
    """Three inversion times."""

    def change(one: pydicom.Dataset, volume: int, slice_: int) -> None:
        one.InversionTime = str(100 * 2**volume)

    return mr(name, change=change)


def cardiac(name: str) -> list[pydicom.Dataset]:
    """Three phases of the heart, by trigger time."""

    def change(one: pydicom.Dataset, volume: int, slice_: int) -> None:
        one.TriggerTime, one.CardiacNumberOfImages = str(50 * volume), TIMES

    return mr(name, change=change)


def _diffusion(
    name: str,
    write: Callable[[pydicom.Dataset, float, base.Vector], None],
    grid: base.Grid = GRID,
) -> list[pydicom.Dataset]:
    def change(one: pydicom.Dataset, volume: int, slice_: int) -> None:
        write(one, *DIFFUSION[volume])
        one.AcquisitionTime = f"1017{2 * volume:02}.000000"
        one.AcquisitionNumber = volume + 1
        one.ScanningSequence = "EP"

    return mr(name, len(DIFFUSION), grid, change)


def _standard(one: pydicom.Dataset, b: float, direction: base.Vector) -> None:
    one.DiffusionBValue = b
    one.DiffusionDirectionality = "DIRECTIONAL" if b else "NONE"
    if b:
        one.DiffusionGradientOrientation = list(direction)


def _siemens(one: pydicom.Dataset, b: float, direction: base.Vector) -> None:
    one.Manufacturer = "SIEMENS"
    block = one.private_block(0x0019, "SIEMENS MR HEADER", create=True)
    block.add_new(0x0C, "IS", str(int(b)))
    block.add_new(0x0D, "CS", "DIRECTIONAL" if b else "NONE")
    values: dict[str, Sequence[str]] = {"B_value": [str(int(b))]}
    if b:
        block.add_new(0x0E, "FD", list(direction))
        values["DiffusionGradientDirection"] = [f"{value:.8f}" for value in direction]
    _csa(one, values)


def _ge(one: pydicom.Dataset, b: float, direction: base.Vector) -> None:
    """Along frequency, phase and slice."""
    one.Manufacturer = "GE MEDICAL SYSTEMS"
    one.SoftwareVersions = ["27", "LX", "MR Software release:RX27.0"]
    one.private_block(0x0043, "GEMS_PARM_01", create=True).add_new(0x39, "IS", [int(b) + 10**9, 8, 0, 0])
    block = one.private_block(0x0019, "GEMS_ACQU_01", create=True)
    for at, value in enumerate(direction):
        block.add_new(0xBB + at, "DS", f"{value:.6f}")


def _ge_row(one: pydicom.Dataset, b: float, direction: base.Vector) -> None:
    _ge(one, b, direction)
    one.InPlanePhaseEncodingDirection = "ROW"


def _philips(one: pydicom.Dataset, b: float, direction: base.Vector) -> None:
    one.Manufacturer = "Philips Medical Systems"
    one.private_block(0x2001, "Philips Imaging DD 001", create=True).add_new(0x03, "FL", b)
    block = one.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
    for at, value in enumerate(direction):
        block.add_new(0xB0 + at, "FL", value)
    scale = 0.5
    block.add_new(0x0D, "FL", 0.0)
    block.add_new(0x0E, "FL", scale)
    one.RescaleSlope, one.RescaleIntercept, one.RescaleType = "2", "0", "normalized"


def _uih(one: pydicom.Dataset, b: float, direction: base.Vector) -> None:
    one.Manufacturer = "UIH"
    block = one.private_block(0x0065, "Image Private Header", create=True)
    block.add_new(0x09, "FD", b)
    if b:
        block.add_new(0x37, "FD", list(direction))


MAKERS = {
    "standard": _standard,
    "siemens": _siemens,
    "ge": _ge,
    "ge_row": _ge_row,
    "philips": _philips,
    "uih": _uih,
}


def diffusion(name: str, maker: str, grid: base.Grid = GRID) -> list[pydicom.Dataset]:
    """Four volumes of `DIFFUSION` as a maker writes them."""
    return _diffusion(name, MAKERS[maker], grid)


# Times of Siemens' slices in ms: interleaved, the even ones first.
SLICE_TIMES = (0.0, 1000.0, 500.0, 1500.0)


def _csa(one: pydicom.Dataset, values: dict[str, Sequence[str]]) -> None:
    block = one.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
    block.add_new(0x08, "CS", "IMAGE NUM 4")
    block.add_new(0x10, "OB", csa(values))


def csa(values: dict[str, Sequence[str]]) -> bytes:
    """A header as Siemens writes them ("SV10"): named lists of text."""
    made = [b"SV10\4\3\2\1", struct.pack("<2I", len(values), 77)]
    for name, texts in values.items():
        items = [text.encode() + b"\0" for text in texts] + [b""] * max(6 - len(texts), 0)
        head = name.encode().ljust(64, b"\0"), len(texts), b"FD\0\0", 4, len(items), 77
        made.append(struct.pack("<64si4s3i", *head))
        for text in items:
            made.append(struct.pack("<4i", len(text), len(text), 77, len(text)))
            made.append(text.ljust(-(-len(text) // 4) * 4, b"\0"))
    return b"".join(made) + bytes(4)


def mosaic(name: str, *, diffusing: bool, reverse: bool = False) -> list[pydicom.Dataset]:
    """Volumes of five slices as Siemens lays them side by side: over time, or with diffusion.

    `reverse`: the slices go against the normal of the image.
    """
    slices, across, grid = 5, TILES_ACROSS, GRID
    normal = np.cross(grid.along, grid.down) * (-1 if reverse else 1)
    made = []
    for volume in range(len(DIFFUSION) if diffusing else TIMES):
        one = base.instance(name, base.MR, "MR", volume + 1)
        base.placed(one, grid, 0)
        whole = np.zeros((across * base.ROWS, across * base.COLUMNS), "<u2")
        for at in range(slices):
            row, column = at // across * base.ROWS, at % across * base.COLUMNS
            whole[row : row + base.ROWS, column : column + base.COLUMNS] = base.voxels(volume * slices + at)
        base.pixels(one, whole, stored=12)
        # The position is the corner of a single image as large as the mosaic, about the same centre.
        shift = np.multiply(grid.along, grid.spacing[1] * (across - 1) * base.COLUMNS / 2)
        shift = shift + np.multiply(grid.down, grid.spacing[0] * (across - 1) * base.ROWS / 2)
        one.ImagePositionPatient = [f"{value:.8f}" for value in np.array(grid.origin) - shift]
        one.Manufacturer, one.SoftwareVersions = "SIEMENS", "syngo MR E11"
        one.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
        one.ScanningSequence, one.SequenceVariant, one.ScanOptions = "EP", "SK", "FS"
        one.MRAcquisitionType, one.SequenceName = "2D", "*epfid2d1_8" if not diffusing else "*ep_b1000#1"
        one.RepetitionTime, one.EchoTime, one.FlipAngle, one.EchoNumbers = "2000", "30", "77", "1"
        one.SpacingBetweenSlices = f"{grid.distance:.8g}"
        one.InPlanePhaseEncodingDirection, one.MagneticFieldStrength = "COL", "3"
        one.AcquisitionMatrix, one.PixelBandwidth = [0, base.COLUMNS, base.ROWS, 0], "2000"
        one.AcquisitionTime = f"1017{2 * volume:02}.000000"
        one.AcquisitionNumber = volume + 1
        block = one.private_block(0x0019, "SIEMENS MR HEADER", create=True)
        block.add_new(0x0A, "US", slices)
        block.add_new(0x28, "FD", 25.0)
        block.add_new(0x29, "FD", [*SLICE_TIMES, 250.0])
        values: dict[str, Sequence[str]] = {
            "NumberOfImagesInMosaic": [str(slices)],
            "SliceNormalVector": [f"{value:.8f}" for value in normal],
            "PhaseEncodingDirectionPositive": ["1"],
            "BandwidthPerPixelPhaseEncode": ["25.0"],
            "MosaicRefAcqTimes": [f"{value:.8f}" for value in (*SLICE_TIMES, 250.0)],
        }
        if diffusing:
            b, direction = DIFFUSION[volume]
            values["B_value"] = [str(int(b))]
            block.add_new(0x0C, "IS", str(int(b)))
            if b:
                values["DiffusionGradientDirection"] = [f"{value:.8f}" for value in direction]
                block.add_new(0x0E, "FD", list(direction))
        _csa(one, values)
        made.append(one)
    return made
