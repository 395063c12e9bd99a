"""What a header says under the names that BIDS and dcm2niix give it, in seconds, tesla and hertz."""

from __future__ import annotations

import dataclasses
import math
import mmap
from collections.abc import Iterator
from typing import Any, NamedTuple

from node import errors
from node.dicom import scan, vr, walk
from node.volume import image, table
from node.volume.reading import vendors

Fields = dict[str, Any]

_EXPLICIT = "1.2.840.10008.1.2.1"
_SHARED, _PER_FRAME, _PHARMACEUTICAL = 0x52009229, 0x52009230, 0x00540016
_WITHIN = frozenset({_SHARED, _PHARMACEUTICAL})  # sequences in which an element says what one at the top does
# Groups of a frame: timing, echo, modifier, averages, pixel measures, X-ray and positron details.
_GROUPS = frozenset(
    {0x00189112, 0x00189114, 0x00189115, 0x00189006, 0x00189119, 0x00189125, 0x00289110}
    | {0x00189301, 0x00189314, 0x00189321, 0x00189325, 0x00189329, 0x00189732}
)
_ELSEWHERE = frozenset({0x00081140, 0x00082112, 0x00089124, 0x00081111, 0x00089092})  # of other images
_MOST_TEXT = 1024  # characters of a value that is told on


class Field(NamedTuple):
    """One line of a sidecar."""

    name: str  # in the sidecar
    tag: int  # the element
    kind: str = "text"  # text, number, whole, texts, numbers, time
    scale: float = 1.0  # to the unit of BIDS
    also: int = 0  # the element of objects of many frames, where it is another


FIELDS = (
    Field("Modality", 0x00080060),
    Field("MagneticFieldStrength", 0x00180087, "number"),
    Field("ImagingFrequency", 0x00180084, "number", also=0x00189098),
    Field("Manufacturer", 0x00080070),
    Field("ManufacturersModelName", 0x00081090),
    Field("InstitutionName", 0x00080080),
    Field("InstitutionalDepartmentName", 0x00081040),
    Field("DeviceSerialNumber", 0x00181000),
    Field("StationName", 0x00081010),
    Field("BodyPartExamined", 0x00180015),
    Field("PatientPosition", 0x00185100),
    Field("ProcedureStepDescription", 0x00400254),
    Field("SoftwareVersions", 0x00181020),
    Field("MRAcquisitionType", 0x00180023),
    Field("SeriesDescription", 0x0008103E),
    Field("ProtocolName", 0x00181030),
    Field("ScanningSequence", 0x00180020),
    Field("SequenceVariant", 0x00180021),
    Field("ScanOptions", 0x00180022),
    Field("SequenceName", 0x00180024),
    Field("PulseSequenceName", 0x00189005),
    Field("ImageType", 0x00080008, "texts"),
    Field("SeriesNumber", 0x00200011, "whole"),
    Field("AcquisitionTime", 0x00080032, "time"),
    Field("AcquisitionNumber", 0x00200012, "whole"),
    Field("SliceThickness", 0x00180050, "number"),
    Field("SpacingBetweenSlices", 0x00180088, "number"),
    Field("SAR", 0x00181316, "number"),
    Field("AcquisitionDuration", 0x00189073, "number"),
    Field("NumberOfAverages", 0x00180083, "number"),
    Field("EchoNumber", 0x00180086, "whole"),
    Field("EchoTime", 0x00180081, "number", 1e-3),
    Field("RepetitionTime", 0x00180080, "number", 1e-3),
    Field("InversionTime", 0x00180082, "number", 1e-3),
    Field("FlipAngle", 0x00181314, "number"),
    Field("ReceiveCoilName", 0x00181250),
    Field("PercentPhaseFOV", 0x00180094, "number"),
    Field("PercentSampling", 0x00180093, "number"),
    Field("EchoTrainLength", 0x00180091, "whole", also=0x00189240),
    Field("PhaseEncodingSteps", 0x00180089, "whole"),
    Field("PixelBandwidth", 0x00180095, "number"),
    Field("ImageOrientationPatientDICOM", 0x00200037, "numbers"),
)
CT = (
    Field("KVP", 0x00180060, "number"),
    Field("XRayTubeCurrent", 0x00181151, "number"),
    Field("XRayExposure", 0x00181152, "number"),
    Field("ExposureTime", 0x00181150, "number", 1e-3),
    Field("ConvolutionKernel", 0x00181210),
    Field("ReconstructionDiameter", 0x00181100, "number"),
    Field("GantryDetectorTilt", 0x00181120, "number"),
)
PET = (
    Field("Radiopharmaceutical", 0x00180031),
    Field("RadionuclidePositronFraction", 0x00181076, "number"),
    Field("RadionuclideTotalDose", 0x00181074, "number"),
    Field("RadionuclideHalfLife", 0x00181075, "number"),
    Field("InjectionStart", 0x00181072, "time"),
    Field("DoseCalibrationFactor", 0x00541322, "number"),
    Field("ScatterFraction", 0x00541323, "number"),
    Field("ConvolutionKernel", 0x00181210),
    Field("Units", 0x00541001),
    Field("DecayCorrection", 0x00541102),
    Field("AttenuationCorrectionMethod", 0x00541101),
    Field("ScatterCorrectionMethod", 0x00541105),
    Field("RandomsCorrectionMethod", 0x00541100),
    Field("ReconMethodName", 0x00541103),
    Field("ReconstructionDiameter", 0x00181100, "number"),
)
FRAME_DURATION = Field("FrameDuration", 0x00181242, "number", 1e-3)
DECAY_FACTOR = Field("DecayCorrectionFactor", 0x00541321, "number")
_RADIONUCLIDE, _MEANING = 0x00540300, 0x00080104
_ALL = (*FIELDS, *CT, *PET, FRAME_DURATION, DECAY_FACTOR)
_WANTED = frozenset(tag for field in _ALL for tag in (field.tag, field.also) if tag)
_BIDS_UNITS = {"BQML": "Bq/mL", "GML": "g/mL"}


@dataclasses.dataclass(frozen=True, slots=True)
class Header:
    """The header of one file, and what an object of many frames says of the first of them."""

    found: scan.Table
    places: dict[int, tuple[scan.Table, int]]  # table and row by tag of what is wanted

    def value(self, field: Field) -> Any:
        """The value under the conventions of the field; None when it is absent or no such thing."""
        place = self.places.get(field.tag) or self.places.get(field.also)
        if place is None:
            return None
        try:
            value = place[0].value(place[1])
        except (errors.BadData, ValueError):
            return None
        return _converted(value, field)

    def acquisition(self) -> vendors.Acquisition:
        """What the vendor says of the acquisition."""
        return vendors.acquisition(bytes(memoryview(self.found.buffer)[: self.found.end]), self.syntax)

    @property
    def syntax(self) -> str:
        """A transfer syntax of the same encoding."""
        enc = self.found.encoding
        if enc.order == ">":
            return "1.2.840.10008.1.2.2"
        return _EXPLICIT if enc.explicit else "1.2.840.10008.1.2"

    def radionuclide(self) -> str:
        """The meaning of the code of the radionuclide."""
        for row, this in enumerate(self.found.rows):
            if this[0] == _RADIONUCLIDE:
                for item in self.found.children(row):
                    value = self.found.get(_MEANING, item)
                    if isinstance(value, str):
                        return value[:_MOST_TEXT]
        return ""


def opened(source: table.Source) -> Header | None:
    """The header of a data set at rest; None when it cannot be read any more."""
    try:
        with open(source.path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole:
            # The walk ends before the pixels and before what is said for each frame.
            found = scan.scan(
                whole, source.syntax, offset=source.offset, end=source.offset + source.size, stop=_PER_FRAME
            )
            frame = None
            if found.buffer is whole:  # once more over the few bytes that stay when the file is closed
                frame = _first_frame(whole, found, source)
                found = scan.scan(whole[source.offset : found.end], source.syntax)
    except (OSError, ValueError, errors.BadData):
        return None
    return Header(found, {**({} if frame is None else _places(frame, _GROUPS)), **_places(found, _WITHIN)})


def _first_frame(whole: mmap.mmap, found: scan.Table, source: table.Source) -> scan.Table | None:
    """The groups of the first frame; None where there are none, or none that can be read."""
    enc, end = found.encoding, min(source.offset + source.size, len(whole))
    try:
        tag, _, begin, _ = walk.element_header(whole, found.end, end, enc.explicit, enc.order)
        item, _, begin, length = walk.element_header(whole, begin, end, enc.explicit, enc.order)
        if tag != _PER_FRAME or item != vr.ITEM:
            return None
        if length == vr.UNDEFINED:
            length = _until_delimiter(whole, source.syntax, begin, end)
        return scan.scan(whole[begin : min(begin + length, end)], source.syntax)
    except errors.BadData:
        return None


def _until_delimiter(whole: mmap.mmap, syntax: str, begin: int, end: int) -> int:
    """How long an item is that does not say so: the walk is stopped by its delimiter, and says where."""
    try:
        return scan.scan(whole, syntax, offset=begin, end=end).end - begin
    except errors.BadData as error:
        if error.tag != vr.ITEM_END or error.offset is None:
            raise
        return error.offset - begin


def _places(found: scan.Table, within: frozenset[int]) -> dict[int, tuple[scan.Table, int]]:
    places: dict[int, int] = {}
    nested: dict[int, int] = {}
    for at, row in enumerate(found.rows):
        if row[0] not in _WANTED:
            continue
        if row[5] < 0:
            places.setdefault(row[0], at)
        elif row[0] not in nested and _applies(found, row[5], within):
            nested[row[0]] = at
    return {tag: (found, at) for tag, at in {**nested, **places}.items()}


def _applies(found: scan.Table, item: int, within: frozenset[int]) -> bool:
    tags = []
    while item >= 0:
        tags.append(found.rows[item][0])
        item = found.rows[item][5]
    return tags[-1] in within and not _ELSEWHERE.intersection(tags)


def of(header: Header, made: image.Image, first: int) -> Fields:
    """The fields of a header in the order of a sidecar; what the table says of the frame goes before."""
    frames = made.table
    told: Fields = {}
    modality = header.value(FIELDS[0])
    more = {"CT": CT, "PT": PET}.get(modality, ())
    for field in (*FIELDS, *more):
        value = header.value(field)
        column = _COLUMNS.get(field.name)
        if column is not None and frames is not None:
            said = float(frames[column][first])
            if math.isfinite(said):
                value = _tidy(said * field.scale)
        if value not in (None, "", []):
            told[field.name] = value
    if "Manufacturer" in told:
        maker = told["Manufacturer"]
        known = "Toshiba" if "TOSHIBA" in maker.upper() else _MAKERS.get(vendors.maker(maker), maker)
        told["Manufacturer"] = known
    if frames is not None:
        told.update(_more(frames, first, told))
    if modality == "PT":
        told.update(_pet(header, told))
    return told


_COLUMNS = {
    "EchoTime": "echo_time",
    "RepetitionTime": "repetition_time",
    "InversionTime": "inversion_time",
    "FlipAngle": "flip_angle",
    "SliceThickness": "slice_thickness",
    "SpacingBetweenSlices": "spacing_between",
}


_MAKERS = {
    "SIEMENS": "Siemens",
    "GE": "GE",
    "PHILIPS": "Philips",
    "UIH": "UIH",
    "CANON": "Canon",
}  # as dcm2niix writes them
_PHILIPS = {
    "PhilipsRescaleSlope": "slope",
    "PhilipsRescaleIntercept": "intercept",
    "PhilipsScaleSlope": "philips_slope",
    "PhilipsScaleIntercept": "philips_intercept",
}


def _more(frames: table.Table, first: int, told: Fields) -> Fields:
    """What stands in no one element, or elsewhere in objects of many frames."""
    more: Fields = {}
    orientation = frames["orientation"][first]
    if "ImageOrientationPatientDICOM" not in told and all(map(math.isfinite, orientation)):
        more["ImageOrientationPatientDICOM"] = [_tidy(float(value)) for value in orientation]
    words = set(told.get("ImageType", ()))
    if told.get("Modality") == "MR" and words & {"DIS2D", "DIS3D", "ND"}:
        more["NonlinearGradientCorrection"] = bool(words & {"DIS2D", "DIS3D"})
    if math.isfinite(float(frames["philips_slope"][first])):
        values = {name: float(frames[column][first]) for name, column in _PHILIPS.items()}
        more.update({name: value for name, value in values.items() if math.isfinite(value)})
    return more


def _pet(header: Header, told: Fields) -> Fields:
    more: Fields = {}
    if nuclide := header.radionuclide():
        more["TracerRadionuclide"] = nuclide
    if "Radiopharmaceutical" in told:
        more["TracerName"] = told["Radiopharmaceutical"]
    if "RadionuclideTotalDose" in told:
        dose = told[
            "RadionuclideTotalDose"
        ]  # Bq; older devices wrote MBq, which no dose in Bq is as small as
        more["InjectedRadioactivity"] = dose / 1e6 if dose > 1e4 else dose
        more["InjectedRadioactivityUnits"] = "MBq"
    if "Units" in told:
        more["Units"] = _BIDS_UNITS.get(told["Units"], told["Units"])
    if "DecayCorrection" in told:
        more["ImageDecayCorrected"] = told["DecayCorrection"] in ("START", "ADMIN")
    return more


def _converted(value: Any, field: Field) -> Any:
    values = list(value) if isinstance(value, tuple | list) else [value]
    if field.kind == "texts":
        return [str(one)[:_MOST_TEXT] for one in values[:64] if one not in (None, "")]
    if field.kind == "numbers":
        return [one for one in map(_number, values[:64]) if one is not None]
    if field.kind == "text":
        return "\\".join(str(one) for one in values if one is not None)[:_MOST_TEXT].strip()
    if field.kind == "time":
        return _time(str(values[0])) if values else None
    number = _number(values[0]) if values else None
    if number is None:
        return None
    return int(number) if field.kind == "whole" and number == int(number) else _tidy(number * field.scale)


def _number(value: Any) -> float | int | None:
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    if not math.isfinite(found):
        return None
    return int(found) if found == int(found) and abs(found) < 1 << 53 else found


def _tidy(value: float) -> float:
    """Without the last digits, in which a product of decimal numbers differs from what was meant."""
    return float(f"{value:.12g}")


def _time(text: str) -> str | None:
    digits = text.replace(":", "").strip()
    try:
        hours, minutes, seconds = int(digits[:2]), int(digits[2:4] or 0), float(digits[4:] or 0)
    except ValueError:
        return None
    if not (0 <= hours < 24 and 0 <= minutes < 60 and 0 <= seconds < 61):
        return None
    return f"{hours:02d}:{minutes:02d}:{seconds:09.6f}"


def sources(made: image.Image) -> Iterator[table.Source]:
    """The data set of the first frame of each volume, in the order of the volumes."""
    if made.table is None or made.rows is None:
        return
    for rows in made.rows.reshape(-1, made.rows.shape[-1]) if made.rows.size else ():
        there = rows[rows >= 0]
        if len(there):
            yield made.table.source(int(there[0]))
