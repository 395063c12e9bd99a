"""The sidecar of a NIfTI file: JSON in the names of BIDS, the timing, the phase encoding."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import numpy as np

from node import errors
from node.formats import bids_fields, diffusion, nifti_layout
from node.loading import headers
from node.volume import image, table
from node.volume.reading import timing, vendors

Array = np.ndarray[Any, np.dtype[Any]]

AXES = "ArrayAxes"  # a field of our own: names, values and units of the axes that lead
_LETTERS = "ijk"
_CLOSE = 0.05  # of a repetition time: clocks of scanners round, and what repeats is exact
_PPM = 3.4  # between water and fat
_VOLUMES = 1000  # of a PET series whose headers are read one by one


@dataclasses.dataclass(frozen=True, slots=True)
class Told:
    """What stands beside the voxels, and what of it their header repeats."""

    json: str
    bval: str = ""  # "" for no file
    bvec: str = ""
    notes: tuple[str, ...] = ()
    frequency: int = 0  # axis of the readout, 1 to 3, 0 unknown
    phase: int = 0  # axis of the phase encoding
    slice_code: int = 0  # of NIfTI
    slice_duration: float = 0.0  # seconds
    step: float = 0.0  # seconds from volume to volume, 0 unknown


def told(made: image.Image, layout: nifti_layout.Layout) -> Told:
    """Everything that stands beside the voxels of an image."""
    first = _first(made)
    header = None
    if first >= 0 and made.table is not None and made.table.sources:
        source = made.table.source(first)
        header = bids_fields.opened(source) if source.size else None
    fields = bids_fields.of(header, made, first) if header is not None else {}
    scanned = vendors.Acquisition()
    if header is not None and fields.get("Modality") == "MR":
        try:
            scanned = header.acquisition()
        except errors.BadData:
            scanned = vendors.Acquisition()  # the sidecar has less; the voxels do not hang on it
    fields.update(_acquired(scanned, made, layout, fields))
    times, code, duration = _slices(made, layout, fields)
    fields.update(times)
    fields.update(_volumes(made, fields))
    spread = diffusion.of(made)
    bval, bvec = diffusion.files(spread, made, layout) if spread is not None else ("", "")
    if made.unit and "Units" not in fields and fields.get("Modality") != "MR":
        fields["Units"] = made.unit
    fields.update(_axes(made))
    fields["ConversionSoftware"] = "dicom-node"
    phase = _phase(scanned, layout)
    return Told(
        json=json.dumps(fields, indent=2, ensure_ascii=False, allow_nan=False) + "\n",
        bval=bval,
        bvec=bvec,
        notes=() if spread is None else spread.notes,
        frequency=0 if phase is None else 1 + layout.axis(1 - _of(scanned))[0],
        phase=0 if phase is None else 1 + phase[0],
        slice_code=code,
        slice_duration=duration,
        step=_step(made, fields),
    )


def _first(made: image.Image) -> int:
    if made.table is None or made.rows is None:
        return -1
    there = made.rows.ravel()[made.rows.ravel() >= 0]
    return int(there[0]) if len(there) else -1


def _of(scanned: vendors.Acquisition) -> int:
    """The axis of the image along which phase is encoded; "COL": down a column, from row to row."""
    return nifti_layout.ROW if scanned.phase_axis == "COL" else nifti_layout.COLUMN


def _phase(scanned: vendors.Acquisition, layout: nifti_layout.Layout) -> tuple[int, bool] | None:
    return layout.axis(_of(scanned)) if scanned.phase_axis in ("ROW", "COL") else None


def _acquired(
    scanned: vendors.Acquisition, made: image.Image, layout: nifti_layout.Layout, fields: dict[str, Any]
) -> dict[str, Any]:
    """Phase encoding and its timing."""
    more: dict[str, Any] = {
        "MagneticFieldStrength": scanned.field_strength,
        "ReceiveCoilName": scanned.coil or None,
        "ReceiveCoilActiveElements": scanned.coil_elements or None,
        "CoilString": scanned.coil_elements or None,
        "PulseSequenceDetails": scanned.pulse_sequence or None,
        "RefLinesPE": scanned.reference_lines,
        "PartialFourier": scanned.partial_fourier,
        "PercentSampling": scanned.percent_sampling,
        "BaseResolution": scanned.base_resolution,
        "EchoTrainLength": scanned.echo_train,
        "PhaseEncodingSteps": scanned.phase_steps,
        "ParallelReductionFactorInPlane": _above_one(scanned.parallel_factor),
        "ParallelReductionFactorOutOfPlane": _above_one(scanned.parallel_factor_out),
        "ParallelAcquisitionTechnique": scanned.parallel_technique or None,
        "MultibandAccelerationFactor": _above_one(scanned.multiband_factor),
        "PixelBandwidth": scanned.pixel_bandwidth,
        "DwellTime": scanned.dwell_time,
    }
    found = {name: _plain(value) for name, value in more.items() if value is not None and name not in fields}
    phase = _phase(scanned, layout)
    if phase is None:
        return found
    axis, flipped = phase
    if scanned.acquisition_matrix is not None and any(scanned.acquisition_matrix[2:]):
        found["AcquisitionMatrixPE"] = int(max(scanned.acquisition_matrix[2:]))
    lines = made.shape[len(made.shape) - 1 - made.colour - (_of(scanned) == nifti_layout.ROW)]
    found["ReconMatrixPE"] = int(lines)
    found.update(_readout(scanned, lines, fields))
    if scanned.phase_positive is None:
        found["PhaseEncodingAxis"] = _LETTERS[axis]
    else:
        found["PhaseEncodingDirection"] = _LETTERS[axis] + ("" if scanned.phase_positive != flipped else "-")
    found["InPlanePhaseEncodingDirectionDICOM"] = scanned.phase_axis
    return found


def _readout(scanned: vendors.Acquisition, lines: int, fields: dict[str, Any]) -> dict[str, Any]:
    """Spacing of echoes and total readout as FSL defines them: of the lines that the image has."""
    found: dict[str, Any] = {}
    width = scanned.bandwidth_per_pixel_phase
    if width:
        found["BandwidthPerPixelPhaseEncode"] = width
    if lines < 2:
        return found
    spacing = scanned.effective_echo_spacing
    if width and width > 0 and not spacing:
        spacing = 1.0 / (width * lines)
    total = scanned.total_readout_time or (spacing * (lines - 1) if spacing else None)
    if total:
        found["EffectiveEchoSpacing"] = _round(spacing or total / (lines - 1))
        if width and spacing:  # of the lines that were acquired
            found["DerivedVendorReportedEchoSpacing"] = _round(spacing * (scanned.parallel_factor or 1.0))
        found["TotalReadoutTime"] = _round(total)
        return found
    frequency = fields.get("ImagingFrequency")
    if scanned.water_fat_shift and scanned.epi_factor and scanned.epi_factor > 1 and frequency:
        # Philips says neither; the shift of fat in pixels tells the bandwidth along the phase encoding.
        echo = scanned.water_fat_shift / (frequency * _PPM * (scanned.epi_factor + 1))
        found["WaterFatShift"] = scanned.water_fat_shift
        found["EstimatedTotalReadoutTime"] = _round(echo * scanned.epi_factor)
        found["EstimatedEffectiveEchoSpacing"] = _round(echo * scanned.epi_factor / (lines - 1))
    return found


def _slices(
    made: image.Image, layout: nifti_layout.Layout, fields: dict[str, Any]
) -> tuple[dict[str, Any], int, float]:
    """SliceTiming in the order of the file's slices, NIfTI's code of that order, and the seconds of one."""
    if made.table is None or made.rows is None or fields.get("Modality") != "MR":
        return {}, 0, 0.0
    if fields.get("MRAcquisitionType") == "3D" or made.rows.shape[-1] < 2:
        return {}, 0, 0.0
    frames, rows = made.table, made.rows.reshape(-1, made.rows.shape[-1])[0]
    if "repetition_time" not in frames and (rows >= 0).all():
        frames, rows = _read_again(frames, rows)
    times = timing.slice_times(frames, rows)
    if times is None:
        return {}, 0, 0.0
    axis, flipped = layout.axis(nifti_layout.SLICE)
    seconds = np.asarray(times, float) / 1000.0
    ordered = seconds[::-1] if flipped else seconds
    found: dict[str, Any] = {"SliceTiming": [_round(value) for value in ordered.tolist()]}
    if axis != nifti_layout.SLICE:
        found["SliceEncodingDirection"] = _LETTERS[axis]
    # Siemens counts slices along its own axis, which programs that read timing alone want to know.
    together = len(ordered) // max(len(np.unique(np.round(ordered, 4))), 1)
    if together > 1 and "MultibandAccelerationFactor" not in fields:
        found["MultibandAccelerationFactor"] = together
    code = slice_code(ordered)
    distinct = np.unique(np.round(ordered, 4))
    duration = float(np.median(np.diff(distinct))) if code and len(distinct) > 1 else 0.0
    return found, code, duration


def _read_again(frames: table.Table, rows: Array) -> tuple[table.Table, Array]:
    """The frames of one volume from their headers: an index places slices, and does not time them."""
    sources = [frames.source(row) for row in rows.tolist()]
    read = headers.read([source.path for source in sources])
    same = [source.sop_instance for source in read.sources] == [source.sop_instance for source in sources]
    return (read, np.arange(len(rows))) if same and len(read) == len(rows) else (frames, rows)


def slice_code(times: Array) -> int:
    """NIfTI's number of the order in which slices were acquired; 0 for any other, and for several at once."""
    count = len(times)
    if count < 3 or len(np.unique(np.round(times, 4))) != count:
        return 0
    ranks = np.argsort(np.argsort(times)).tolist()
    up = list(range(count))
    down = up[::-1]
    orders = (
        up,
        down,
        [*up[::2], *up[1::2]],
        [*down[::2], *down[1::2]],
        [*up[1::2], *up[::2]],
        [*down[1::2], *down[::2]],
    )
    for code, order in enumerate(orders, 1):
        if [ranks[at] for at in order] == up:
            return code
    return 0


def _volumes(made: image.Image, fields: dict[str, Any]) -> dict[str, Any]:
    """What differs from volume to volume."""
    found: dict[str, Any] = {}
    for axis in made.axes[: len(made.shape) - 3 - made.colour]:
        name = {"te": "EchoTime", "fa": "FlipAngle", "ti": "InversionTime"}.get(axis.name)
        if name is not None:
            scale = 1e-3 if axis.unit == "ms" else 1.0
            values = np.asarray(axis.values, float)
            if np.isfinite(values).all():
                found[name] = [_round(float(value) * scale) for value in values]
    if fields.get("Modality") != "PT" or made.table is None or made.rows is None:
        return found
    rows = made.rows.reshape(-1, made.rows.shape[-1])
    if (rows < 0).any() or len(rows) > _VOLUMES:
        return found
    middle = made.table["reference_time"][rows[:, 0]] / 1000.0
    if np.isfinite(middle).all():
        found["FrameReferenceTime"] = [_round(value) for value in middle.tolist()]
    headers = [bids_fields.opened(source) for source in bids_fields.sources(made)]
    for field in (bids_fields.FRAME_DURATION, bids_fields.DECAY_FACTOR):
        values_ = [None if header is None else header.value(field) for header in headers]
        if values_ and None not in values_:
            found[field.name] = values_
    times = made.table["time"][rows]
    if np.isfinite(times).all():
        starts = times.min(axis=1) - times.min()
        lasting = np.asarray(found.get("FrameDuration", np.zeros(len(starts))), float)
        # Times that leave a frame less than half its duration are those of something else.
        if (np.diff(starts) >= 0.5 * lasting[:-1]).all():
            found["FrameTimesStart"] = [_round(value) for value in starts.tolist()]
    return found


def _step(made: image.Image, fields: dict[str, Any]) -> float:
    """Seconds from volume to volume: the repetition time where the clock agrees or says nothing."""
    count = len(made.shape) - 3 - made.colour
    if not count:
        return 0.0
    axis = made.axes[count - 1]
    repetition = fields.get("RepetitionTime")
    repeated = float(repetition) if isinstance(repetition, int | float) else 0.0
    if axis.name not in ("time", "trigger", "reference_time"):
        return repeated
    values = np.asarray(axis.values, float) * (1e-3 if axis.unit == "ms" else 1.0)
    step = abs(float(values[-1] - values[0])) / max(len(values) - 1, 1) if len(values) else 0.0
    if not math.isfinite(step):
        return repeated
    return repeated if repeated and abs(step - repeated) <= _CLOSE * repeated else step


def _axes(made: image.Image) -> dict[str, Any]:
    """Our own field: what leads slice, row and column, slowest first, as it is read back."""
    leading = made.axes[: len(made.shape) - 3 - made.colour]
    if not leading:
        return {}
    told_ = []
    for axis in leading:
        values = np.asarray(axis.values)
        if values.dtype.kind in "fiu":
            numbers = [value if math.isfinite(value) else None for value in values.astype(float).tolist()]
            told_.append({"Name": axis.name, "Unit": axis.unit, "Values": numbers})
        else:
            told_.append(
                {"Name": axis.name, "Unit": axis.unit, "Values": [str(one) for one in values.tolist()]}
            )
    return {AXES: told_}


def _above_one(value: float | None) -> float | None:
    return value if value is not None and value > 1 else None


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value == int(value) else value


def _round(value: float) -> float:
    return float(f"{value:.9g}")
