"""What vendors say in elements of their own of how a series was acquired: phase encoding, readout, coils."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

from node.dicom.syntax import Buffer
from node.volume.reading import csa, elements, makers

maker = makers.maker


@dataclasses.dataclass(frozen=True, slots=True)
class Acquisition:
    """How a magnetic resonance series was acquired, as far as a header says; None: it does not.

    Seconds and hertz throughout, as BIDS has them.
    """

    manufacturer: str = ""  # "SIEMENS", "GE", "PHILIPS", "UIH", "CANON", or "" for others
    phase_axis: str = ""  # In-plane Phase Encoding Direction: "ROW", "COL", or "" for unknown
    phase_positive: bool | None = None  # along the stored rows or columns towards higher indices
    bandwidth_per_pixel_phase: float | None = None  # Hz (Siemens)
    effective_echo_spacing: float | None = None  # s, of the reconstructed matrix, where the vendor says it
    total_readout_time: float | None = None  # s, where the vendor says it
    dwell_time: float | None = None  # s, of one sample of the readout (Siemens)
    pixel_bandwidth: float | None = None  # Hz
    echo_train: float | None = None  # Echo Train Length
    epi_factor: float | None = None  # echoes of an EPI train, where a vendor says it apart (Philips)
    water_fat_shift: float | None = None  # pixels (Philips)
    field_strength: float | None = None  # T
    phase_steps: float | None = None  # Number of Phase Encoding Steps
    acquisition_matrix: tuple[int, int, int, int] | None = (
        None  # frequency rows, columns, phase rows, columns
    )
    percent_sampling: float | None = None  # Percent Sampling
    partial_fourier: float | None = None  # part of k-space that was acquired: 0.75
    parallel_factor: float | None = None  # in plane
    parallel_factor_out: float | None = None  # out of plane (3D)
    parallel_technique: str = ""  # "GRAPPA", "mSENSE", "SENSE", "ASSET"
    multiband_factor: float | None = None  # slices excited together
    base_resolution: float | None = None  # samples along the readout (Siemens)
    coil: str = ""  # Receive Coil Name
    coil_elements: str = ""  # of it that received: "T:HEA;HEP" (Siemens)
    reference_lines: float | None = None  # that were acquired for the parallel reconstruction (Siemens)
    pulse_sequence: str = ""  # name of the sequence's program (Siemens)
    slice_direction: float | None = None  # Siemens: +1 ascending along the stack, -1 descending


def acquisition(buffer: Buffer, syntax: str) -> Acquisition:
    """What the header of one data set says of its acquisition; raises BadData where it cannot be walked.

    `buffer` is the data set, without the file's preamble and meta information.
    """
    head = elements.Flat(buffer, syntax)
    vendor = maker(head.text(0x00080070))
    axis = head.text(0x00181312)
    matrix = head.numbers(0x00181310, "US")
    found: dict[str, Any] = {
        "manufacturer": vendor,
        "phase_axis": _axis(axis),
        "pixel_bandwidth": _some(head.number(0x00180095)),
        "echo_train": _some(head.number(0x00180091, "IS")),
        "field_strength": _some(head.number(0x00180087)),
        "phase_steps": _some(head.number(0x00180089, "IS"), head.number(0x00189231, "US")),
        "acquisition_matrix": _matrix(matrix),
        "percent_sampling": _some(head.number(0x00180093)),
        "parallel_factor": _some(head.number(0x00189069, "FD")),
        "parallel_factor_out": _some(head.number(0x00189155, "FD")),
        "parallel_technique": head.text(0x00189078),
        "coil": head.words(0x00181250),
    }
    _BY_VENDOR.get(vendor, _nothing)(head, found)
    return Acquisition(**found)


def _some(*values: float) -> float | None:
    """The first that is a number."""
    return next((value for value in values if math.isfinite(value)), None)


def _axis(text: str) -> str:
    return {"ROW": "ROW", "COL": "COL", "COLUMN": "COL"}.get(text.upper(), "")


def _matrix(values: list[float]) -> tuple[int, int, int, int] | None:
    if len(values) != 4 or any(map(math.isnan, values)):
        return None
    a, b, c, d = (int(value) for value in values)
    return a, b, c, d


def _nothing(head: elements.Flat, found: dict[str, Any]) -> None:
    return


def _siemens_series(head: elements.Flat, found: dict[str, Any]) -> None:
    image = csa.read(head.private(0x0029, "SIEMENS CSA HEADER", 0x10))
    series = head.private(0x0029, "SIEMENS CSA HEADER", 0x20)
    positive = _some(
        csa.number(image, "PhaseEncodingDirectionPositive"),
        head.private_number("SIEMENS MR SDI 02", 0x0021, 0x1C, "IS"),
    )
    if positive is not None:
        found["phase_positive"] = positive == 1
    found["bandwidth_per_pixel_phase"] = _some(
        csa.number(image, "BandwidthPerPixelPhaseEncode"),
        head.private_number("SIEMENS MR HEADER", 0x0019, 0x28, "FD"),
        head.private_number("SIEMENS MR SDI 02", 0x0021, 0x53, "FD"),
    )
    dwell = _some(
        csa.number(image, "RealDwellTime"),
        head.private_number("SIEMENS MR HEADER", 0x0019, 0x18, "IS"),
        head.private_number("SIEMENS MR SDS 01", 0x0021, 0x42, "IS"),
    )
    if dwell is not None:
        found["dwell_time"] = dwell / 1e9
    told = csa.protocol(series, _PROTOCOL)
    found["base_resolution"] = csa.value(told, "sKSpace.lBaseResolution")
    factor = csa.value(told, "sPat.lAccelFactPE") or 1.0
    if factor > 1:
        found["parallel_factor"] = found["parallel_factor"] or factor
        way = _PAT.get(csa.value(told, "sPat.ucPATMode") or 0.0, "")
        found["parallel_technique"] = found["parallel_technique"] or way
        found["reference_lines"] = csa.value(told, "sPat.lRefLinesPE")
    found["partial_fourier"] = _PARTIAL.get(csa.value(told, "sKSpace.ucPhasePartialFourier") or 0.0)
    bands = csa.value(told, "sSliceAcceleration.lMultiBandFactor") or 1.0
    if bands > 1:
        found["multiband_factor"] = bands
    found["pulse_sequence"] = told.get("tSequenceFileName", "")
    found["coil"] = found["coil"] or next((told[name] for name in _COILS if name in told), "")
    text = head.private(0x0051, "SIEMENS MR HEADER", 0x11) or head.private(0x0021, "SIEMENS MR SDS 01", 0x56)
    factors = _PAT_TEXT.findall(text.decode("latin-1"))
    for letter, factor in factors:  # "p2", "p2s4", "p2 s2"
        if letter == "p" and not found["parallel_factor"] and int(factor) > 1:
            found["parallel_factor"] = float(factor)
        if letter == "s" and not found.get("multiband_factor") and int(factor) > 1:
            found["multiband_factor"] = float(factor)
    coil = head.private(0x0051, "SIEMENS MR HEADER", 0x0F) or head.private(0x0021, "SIEMENS MR SDS 01", 0x4F)
    found["coil_elements"] = elements.text(coil[:64])
    number = csa.number(image, "ProtocolSliceNumber")
    if math.isfinite(number):
        found["slice_direction"] = -1.0 if number > 1 else 1.0


_COILS = (
    "sCoilSelectMeas.aRxCoilSelectData[0].asList[0].sCoilElementID.tCoilID",
    "asCoilSelectMeas[0].asList[0].sCoilElementID.tCoilID",
)
_PROTOCOL = frozenset(
    {
        "sKSpace.lBaseResolution",
        "sPat.lAccelFactPE",
        "sPat.ucPATMode",
        "sKSpace.ucPhasePartialFourier",
        "sPat.lRefLinesPE",
        "sSliceAcceleration.lMultiBandFactor",
        "tSequenceFileName",
    }
) | frozenset(_COILS)
_PAT = {2.0: "GRAPPA", 4.0: "mSENSE"}
_PARTIAL = {1.0: 0.5, 2.0: 0.625, 4.0: 0.75, 8.0: 0.875, 16.0: 1.0}
_PAT_TEXT = re.compile(r"([ps])(\d{1,2})")


def _ge_series(head: elements.Flat, found: dict[str, Any]) -> None:
    """GE says the spacing of the echoes that were acquired; FSL wants that of the matrix that was made."""
    order = head.text(0x00189034)
    if order in ("LINEAR", "REVERSE_LINEAR"):
        found["phase_positive"] = order == "LINEAR"
    factors = head.numbers_of(head.private(0x0043, "GEMS_PARM_01", 0x83), "DS")
    if factors and 0 < factors[0] < 1:
        found["parallel_factor"] = found["parallel_factor"] or 1 / factors[0]
        found["parallel_technique"] = found["parallel_technique"] or "ASSET"
    bands = head.numbers_of(head.private(0x0043, "GEMS_PARM_01", 0xB6), "DS")
    if bands and bands[0] > 1:
        found["multiband_factor"] = bands[0]
    spacing = head.private_number("GEMS_PARM_01", 0x0043, 0x2C, "SS") * 1e-6
    matrix = found["acquisition_matrix"]
    size = head.number(0x00280010 if found["phase_axis"] == "COL" else 0x00280011, "US")
    lines = max(matrix[2:]) if matrix else 0
    if spacing > 0 and lines > 1 and size > 1:
        step = 4.0 if "PFF" in head.text(0x00180022).split("\\") else 2.0
        made = math.ceil(lines / (found["parallel_factor"] or 1.0) / step - 1e-6) * step
        found["total_readout_time"] = (made - 1) * spacing
        found["effective_echo_spacing"] = (made - 1) * spacing / (size - 1)


def _philips_series(head: elements.Flat, found: dict[str, Any]) -> None:
    """Philips says no polarity, and the shift between water and fat instead of the echo spacing."""
    found["water_fat_shift"] = _some(head.private_number("PHILIPS IMAGING DD 001", 0x2001, 0x22, "FL"))
    found["epi_factor"] = _some(head.private_number("PHILIPS IMAGING DD 001", 0x2001, 0x13, "SL"))


def _uih_series(head: elements.Flat, found: dict[str, Any]) -> None:
    """United Imaging writes the time of the readout as Acquisition Duration, in ms."""
    duration = head.number(0x00189073, "FD")
    if duration > 0:
        found["total_readout_time"] = duration / 1000.0
    shown = elements.text(head.private(0x0065, "IMAGE PRIVATE HEADER", 0x0D)[:64])
    factor = re.match(r"(\d{1,2}(?:\.\d{1,4})?)", shown)
    if factor and not found["parallel_factor"]:
        found["parallel_factor"] = float(factor[1])


_BY_VENDOR = {
    makers.SIEMENS: _siemens_series,
    makers.GE: _ge_series,
    makers.PHILIPS: _philips_series,
    makers.UIH: _uih_series,
}
