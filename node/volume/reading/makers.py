"""What vendors say of one frame in elements of their own: diffusion, scaling, parts of a complex image."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

from node.volume.reading import csa, elements

NAN = math.nan
SIEMENS, GE, PHILIPS, UIH, CANON = "SIEMENS", "GE", "PHILIPS", "UIH", "CANON"
Fixed = dict[str, Any]
Vector = tuple[float, float, float]


def maker(text: str) -> str:
    """The vendor whose private elements a header has, by its manufacturer."""
    text = text.upper()
    for word, name in _MAKERS:
        if word in text:
            return name
    return ""


_MAKERS = (
    ("SIEMENS", SIEMENS),
    ("GE MED", GE),
    ("GE HEALTH", GE),
    ("PHILIPS", PHILIPS),
    ("UIH", UIH),
    ("UNITED IMAGING", UIH),
    ("TOSHIBA", CANON),
    ("CANON", CANON),
)


def frame(head: elements.Elements, vendor: str, fixed: Fixed) -> None:
    """Fill in what a vendor says of a classic object where the standard's elements are silent."""
    if vendor == SIEMENS:
        _siemens(head, fixed)
    elif vendor == GE:
        _ge(head, fixed)
    elif vendor == PHILIPS:
        _philips(head, fixed)
    elif vendor == UIH:
        _uih(head, fixed)
    elif vendor == CANON:
        _canon(head, fixed)
    settle_diffusion(fixed)


def settle_diffusion(fixed: Fixed) -> None:
    """No direction where there is no diffusion weighting, or where the direction is none."""
    gradient = fixed.get("gradient")
    if gradient is None:
        return
    if not fixed.get("b_value", 0.0) > 0 or not any(abs(part) > 1e-6 for part in gradient):
        del fixed["gradient"]


def _siemens(head: elements.Elements, fixed: Fixed) -> None:
    block = head.block(0x0019, "SIEMENS MR HEADER")
    if block is not None:
        if "b_value" not in fixed:
            _number(fixed, "b_value", head.number(block | 0x0C, "IS"))
        if "gradient" not in fixed:
            _vector(fixed, "gradient", head.vector(block | 0x0E, 3, "FD"))
    if "b_value" not in fixed and _may_be_diffusion(fixed):
        found = image_csa(head)
        _number(fixed, "b_value", csa.number(found, "B_value"))
        direction = csa.numbers(found, "DiffusionGradientDirection")
        if len(direction) == 3 and "gradient" not in fixed:
            fixed["gradient"] = direction


def _may_be_diffusion(fixed: Fixed) -> bool:
    """Whether it pays to read the header in the header, which takes longer than all the rest."""
    kind = fixed.get("image_type", "").upper()
    return "DIFFUSION" in kind or "MOSAIC" in kind or "_B" in fixed.get("sequence_name", "").upper()


def image_csa(head: elements.Elements) -> csa.Csa:
    """The CSA Image Header of a Siemens object; nothing where it has none."""
    block = head.block(0x0029, "SIEMENS CSA HEADER")
    return {} if block is None else csa.read(head.long(block | 0x10), _WANTED)


_WANTED = frozenset(
    {
        "B_value",
        "DiffusionGradientDirection",
        "NumberOfImagesInMosaic",
        "SliceNormalVector",
        "MosaicRefAcqTimes",
        "PhaseEncodingDirectionPositive",
        "BandwidthPerPixelPhaseEncode",
        "RealDwellTime",
        "MultistepIdx",
        "ProtocolSliceNumber",
    }
)


def _ge(head: elements.Elements, fixed: Fixed) -> None:
    parameters = head.block(0x0043, "GEMS_PARM_01")
    if parameters is not None:
        if "b_value" not in fixed:
            _number(fixed, "b_value", ge_b_value(head.number(parameters | 0x39, "IS")))
        part = head.number(parameters | 0x2F, "SS")
        if part in _GE_PARTS:
            fixed["component"] = _GE_PARTS[part]
    acquired = head.block(0x0019, "GEMS_ACQU_01")
    if acquired is not None and fixed.get("b_value", 0.0) > 0:
        logical = tuple(head.number(acquired | element, "DS") for element in (0xBB, 0xBC, 0xBD))
        orientation = fixed.get("orientation")
        if orientation is not None and all(map(math.isfinite, logical)):
            fixed["gradient"] = ge_gradient(logical, orientation, head.text(0x00181312))
    relative = head.block(0x0021, "GEMS_RELA_01")
    timer = NAN if relative is None else head.number(relative | 0x5E, "DS")
    if math.isfinite(timer):
        fixed["slice_time"] = timer * 1000.0
    elif "EPI_GEMS" in head.text(0x00180022) and "trigger_time" in fixed:
        fixed["slice_time"] = fixed["trigger_time"]


_GE_PARTS = {0.0: "M", 1.0: "P", 2.0: "R", 3.0: "I"}


def ge_b_value(written: float) -> float:
    """A b value as GE writes it: with 1e9 added where several are in one series."""
    if written >= 1e9:
        written -= 1e9
    return math.fmod(written, 1e5) if written >= 1e5 else written


def ge_gradient(logical: tuple[float, ...], orientation: tuple[float, ...], phase_axis: str) -> Vector:
    """A direction along frequency, phase and slice, as GE has it, in the patient's coordinates.

    Phase runs down the columns, or along the rows (then frequency runs up the columns); the third points
    against the normal of the image (row cross column). Which end of a direction is meant makes no difference
    to diffusion: of the two, this is the one that dcm2niix writes. In coronal images phase runs the other
    way; GE's engineers found dcm2niix right there, but wrong with phase along rows (its issue 970).
    """
    x, y, z = logical
    normal = np.abs(np.cross(orientation[:3], orientation[3:]))
    y = -y if int(np.argmax(normal)) == 1 else y
    along, down = (y, -x) if phase_axis.startswith("ROW") else (x, y)
    return _turned((-along, -down, z), orientation)


def _turned(direction: tuple[float, ...], orientation: tuple[float, ...]) -> Vector:
    """A direction along the row, the column and the normal of an image, in the patient's coordinates."""
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    found = direction[0] * row + direction[1] * column + direction[2] * np.cross(row, column)
    return float(found[0]), float(found[1]), float(found[2])


def _philips(head: elements.Elements, fixed: Fixed) -> None:
    images = head.block(0x2001, "PHILIPS IMAGING DD 001")
    if images is not None:
        if "b_value" not in fixed:
            _number(fixed, "b_value", head.number(images | 0x03, "FL"))
        if head.text(images | 0x04) == "I":  # an average over directions, made by the scanner
            fixed.pop("gradient", None)
            fixed["_isotropic"] = 1.0
    mr = head.block(0x2005, "PHILIPS MR IMAGING DD 001")
    if mr is not None:
        _number(fixed, "philips_slope", head.number(mr | 0x0E, "FL"))
        _number(fixed, "philips_intercept", head.number(mr | 0x0D, "FL"))
        _number(fixed, "_begin", head.number(mr | 0xA0, "FL"))
        part = _PHILIPS_PARTS.get(head.text(mr | 0x11).upper())
        if part:
            fixed["component"] = part
        direction = tuple(head.number(mr | element, "FL") for element in (0xB0, 0xB1, 0xB2))
        if "gradient" not in fixed and "_isotropic" not in fixed and all(map(math.isfinite, direction)):
            fixed["gradient"] = direction
    fixed.pop("_isotropic", None)


_PHILIPS_PARTS = {"M": "M", "P": "P", "R": "R", "I": "I"}


def _uih(head: elements.Elements, fixed: Fixed) -> None:
    """United Imaging gives directions along the axes of the image."""
    block = head.block(0x0065, "IMAGE PRIVATE HEADER")
    block = 0x00651000 if block is None else block
    if "b_value" not in fixed:
        _number(fixed, "b_value", head.number(block | 0x09, "FD"))
    direction = head.vector(block | 0x37, 3, "FD")
    if "gradient" not in fixed and direction is not None and "orientation" in fixed:
        fixed["gradient"] = _turned(direction, fixed["orientation"])


def _canon(head: elements.Elements, fixed: Fixed) -> None:
    """Older Toshiba scanners say the b value in the comments: `b=1000(0.445,0.000,0.895)`."""
    if "b_value" not in fixed:
        found = _CANON_COMMENT.match(head.text(0x00204000))
        if found:
            fixed["b_value"] = float(found[1])


_CANON_COMMENT = re.compile(r"b=(\d{1,6}(?:\.\d{1,4})?)\(")


def _number(fixed: Fixed, name: str, value: float) -> None:
    if math.isfinite(value):
        fixed[name] = value


def _vector(fixed: Fixed, name: str, value: tuple[float, ...] | None) -> None:
    if value is not None:
        fixed[name] = value


def component(image_type: str, said: str = "") -> str:
    """The part of a complex image that a frame is, by Complex Image Component or Image Type; "" unknown."""
    found = _COMPONENTS.get(said)
    if found:
        return found
    parts = image_type.upper().split("\\")
    for part in parts[2:]:
        if part in _TYPE_PARTS:
            return _TYPE_PARTS[part]
        begin = part.split("_", 1)[0]
        if begin in ("M", "P", "R", "I") and "_" in part and part.split("_")[1] in _PHILIPS_TECHNIQUES:
            return begin
    return ""


_COMPONENTS = {"MAGNITUDE": "M", "PHASE": "P", "REAL": "R", "IMAGINARY": "I"}
_TYPE_PARTS = {
    "M": "M",
    "P": "P",
    "R": "R",
    "I": "I",
    "MAGNITUDE": "M",
    "PHASE": "P",
    "PHASE MAP": "P",
    "REAL": "R",
    "IMAGINARY": "I",
    "VELOCITY": "B",
    "VELOCITY MAP": "B",
}
_PHILIPS_TECHNIQUES = frozenset({"FFE", "SE", "IR", "PCA", "TSE", "EPI", "GRASE", "TFE", "B0", "B1"})
