"""Multi-frame objects of the older kind: vectors say what each frame is, or nothing does."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np

from node.volume.reading import elements

Array = np.ndarray[Any, np.dtype[Any]]

_GRID_OFFSETS = 0x3004000C
_POINTER = 0x00280009  # Frame Increment Pointer
_FRAME_TIME, _FRAME_TIMES = 0x00181063, 0x00181065
_SLICE_LOCATIONS = 0x00182005
_ENERGY, _DETECTOR, _PHASE, _ROTATION = 0x00540010, 0x00540020, 0x00540030, 0x00540050
_RR, _TIME_SLOT, _SLICE, _ANGULAR, _TIME_SLICE = 0x00540060, 0x00540070, 0x00540080, 0x00540090, 0x00540100
_DETECTORS = 0x00540022


def fill(head: elements.Elements, fixed: dict[str, Any], varying: dict[str, Array], count: int) -> None:
    """Say where and when each frame of a multi-frame object is.

    A position that stands there once is that of the first frame. Where nothing says how the others follow,
    no frame has a position, so that nobody makes a volume of them.
    """
    if fixed.get("modality") == "NM":
        _nuclear(head, fixed)
    pointed = _pointers(head)
    offsets = _along(head, fixed, pointed, count)
    position, orientation = fixed.pop("position", None), fixed.get("orientation")
    if position is not None and orientation is not None and offsets is not None:
        normal = np.cross(orientation[:3], orientation[3:])
        varying["position"] = np.array(position) + offsets[:, None] * normal
    times = _times(head, count)
    if times is not None:
        varying["time"] = fixed.get("time", fixed.get("content_time", 0.0)) + times
        if position is not None and orientation is not None and offsets is None:
            varying["position"] = np.tile(np.array(position), (count, 1))  # one place, seen again and again
    _vectors(head, varying, count)


def _pointers(head: elements.Elements) -> tuple[int, ...]:
    """The elements that Frame Increment Pointer names."""
    raw = head.raw(_POINTER)
    halves = struct.unpack_from(f"{head.order}{len(raw) // 4 * 2}H", raw)
    return tuple(halves[at] << 16 | halves[at + 1] for at in range(0, len(halves), 2))


def _along(
    head: elements.Elements, fixed: dict[str, Any], pointed: tuple[int, ...], count: int
) -> Array | None:
    """Millimetres of each frame along the normal from the first, None where nothing says so.

    Grid Frame Offset Vector is relative to the first frame, or has the coordinates of axial planes
    (PS3.3 C.8.8.3.2): the differences are the same.
    """
    for tag in (_GRID_OFFSETS, _SLICE_LOCATIONS):
        found = head.numbers(tag, "DS")
        if len(found) == count and all(map(math.isfinite, found)):
            offsets: Array = np.array(found) - found[0]
            return offsets
    slices = _vector(head, _SLICE, count)
    step = fixed.get("spacing_between", fixed.get("slice_thickness"))
    if slices is not None and step and _SLICE in pointed:
        along: Array = (slices - slices[0]) * step
        return along
    return None


def _vector(head: elements.Elements, tag: int, count: int) -> Array | None:
    """The numbers from 1 that a vector of NM gives to each frame."""
    found = head.numbers(tag, "US")
    return np.array(found) if len(found) == count and all(map(math.isfinite, found)) else None


def _times(head: elements.Elements, count: int) -> Array | None:
    """Seconds of each frame after the first, None where nothing says so."""
    steps = head.numbers(_FRAME_TIMES, "DS")
    if len(steps) == count and all(map(math.isfinite, steps)):
        found: Array = np.cumsum(np.array([0.0, *steps[1:]])) / 1000.0
        return found
    step = head.number(_FRAME_TIME, "DS")
    if math.isfinite(step) and step > 0:
        return np.arange(count) * step / 1000.0
    return None


def _nuclear(head: elements.Elements, fixed: dict[str, Any]) -> None:
    """Nuclear medicine says with its detectors where the first slice lies."""
    detectors = head.items(_DETECTORS)
    if detectors:
        for name, tag, width in (("position", 0x00200032, 3), ("orientation", 0x00200037, 6)):
            value = detectors[0].vector(tag, width)
            if value is not None and name not in fixed:
                fixed[name] = value


def _vectors(head: elements.Elements, varying: dict[str, Array], count: int) -> None:
    """Energy windows and detectors keep frames apart; phases, time slots and time slices are moments."""
    apart: list[Array] = []
    for tag in (_ENERGY, _DETECTOR, _ROTATION):
        found = _vector(head, tag, count)
        if found is not None and np.ptp(found) > 0:
            apart.append(found)
    if apart:
        names = np.empty(count, dtype=object)
        names[:] = [".".join(f"{value:g}" for value in one) for one in zip(*apart, strict=True)]
        varying["stack"] = names
    for tag in (_TIME_SLOT, _RR, _PHASE, _TIME_SLICE):
        found = _vector(head, tag, count)
        if found is not None and np.ptp(found) > 0:
            varying["temporal_position"] = found
            break
    slices = _vector(head, _SLICE, count)
    if slices is not None:
        varying["in_stack"] = slices
