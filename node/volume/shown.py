"""Volumes as pictures: values through a window into greys, slices side by side, planes through the middle."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from node import errors
from node.dicom import scan
from node.volume import geometry, image
from node.volume.pixels import lookup

Array = np.ndarray[Any, np.dtype[Any]]
Bytes = np.ndarray[Any, np.dtype[np.uint8]]

CENTER, WIDTH, FUNCTION, VOI_LUT, PHOTOMETRIC = 0x00281050, 0x00281051, 0x00281056, 0x00283010, 0x00280004
_SAMPLES = 200_000  # voxels from which a window is guessed
_MOST = 1e30  # a value beyond it is taken for this, so that the distance of two is a number
_GAP = 2  # pixels between the pictures of a sheet
_LETTERS = (("L", "R"), ("P", "A"), ("H", "F"))


@dataclasses.dataclass(frozen=True, slots=True)
class Window:
    """How values become greys (PS3.3 C.11.2.1.2)."""

    center: float
    width: float
    function: str = "LINEAR"  # or LINEAR_EXACT, SIGMOID
    inverted: bool = False  # MONOCHROME1: the least value is white
    table: lookup.Lookup | None = None  # a VOI LUT, which stands in the place of center and width

    def greys(self, values: Array) -> Bytes:
        """Values as 0 (black) to 255."""
        with np.errstate(over="ignore", invalid="ignore"):  # of floats: they are beyond the window then
            return self._greys(values)

    def _greys(self, values: Array) -> Bytes:
        found: Array = values.astype(np.float32)
        shade: Array
        if self.table is not None:
            shade = self.table.of(values) / np.float32(2**self.table.bits - 1)
        elif self.function == "SIGMOID":
            shade = 1 / (1 + np.exp(np.clip(-4 * (found - self.center) / self.width, -60, 60)))
        elif self.function == "LINEAR_EXACT":
            shade = (found - self.center) / self.width + 0.5
        else:
            shade = (found - (self.center - 0.5)) / max(self.width - 1, 1e-6) + 0.5
        shade = np.nan_to_num(shade, nan=0.0, posinf=1.0, neginf=0.0)
        if self.inverted:
            shade = 1 - shade
        made: Bytes = (np.clip(shade, 0, 1) * 255 + 0.5).astype(np.uint8)
        return made


def window(header: scan.Table | None, values: Array) -> Window:
    """The first window that the header names; else one from the values: all but the outermost hundredth."""
    inverted = header is not None and str(_first(header.get(PHOTOMETRIC))).strip() == "MONOCHROME1"
    if header is not None:
        center, width = _number(header.get(CENTER)), _number(header.get(WIDTH))
        function = str(_first(header.get(FUNCTION)) or "LINEAR").strip().upper()
        if center is not None and width is not None and (width >= 1 or (width > 0 and function != "LINEAR")):
            return Window(center, width, function, inverted)
        if (table := _table(header)) is not None:
            return Window(0, 1, "TABLE", inverted, table)
    return dataclasses.replace(guessed(values), inverted=inverted)


def guessed(values: Array) -> Window:
    """A window from the values themselves."""
    flat = values.reshape(-1)
    with np.errstate(invalid="ignore"):  # numbers that are none, and are passed over
        sample = flat[:: max(1, flat.size // _SAMPLES)].astype(np.float64)
    sample = np.clip(sample[np.isfinite(sample)], -_MOST, _MOST)
    if not sample.size:
        return Window(0.5, 1.0, "LINEAR_EXACT")
    # Air and padding fill most of many images: what is shown is what stands out of the commonest value.
    inner = sample[sample > sample.min()]
    low, high = np.percentile(inner if inner.size > sample.size // 100 else sample, (1, 99))
    if high <= low:
        low, high = float(sample.min()), float(sample.max())
    width = max(float(high - low), 1e-6)
    return Window(float(low) + width / 2, width, "LINEAR_EXACT")


def _table(header: scan.Table) -> lookup.Lookup | None:
    row = header.find(VOI_LUT)
    items = [] if row is None else header.children(row)
    if not items:
        return None
    try:
        return lookup.table(header, 0x00283002, 0x00283006, None, signed=False, within=items[0])
    except errors.BadData:
        return None  # a picture can be shown without it


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, (tuple, list)) and value else value


def _number(value: Any) -> float | None:
    try:
        found = float(_first(value))
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None


def plane(values: Array, seen: Window | None, height: float, width: float) -> Bytes:
    """One plane as a picture of square pixels; `height` and `width` are a voxel's, in millimetres."""
    made = values.astype(np.uint8) if seen is None else seen.greys(values)
    rows, columns = made.shape[:2]
    if not (height > 0 and width > 0 and math.isfinite(height / width)) or abs(height / width - 1) < 0.01:
        return made
    ratio = min(max(height / width, 1 / 32), 32)
    if ratio > 1:
        return made[_places(rows, round(rows * ratio))]
    return made[:, _places(columns, round(columns / ratio))]


def _places(count: int, wanted: int) -> Array:
    """Which of so many lines stand in so many, evenly."""
    return np.minimum((np.arange(max(wanted, 1)) + 0.5) * count / max(wanted, 1), count - 1).astype(np.int64)


def fitted(made: Bytes, rows: int, columns: int) -> Bytes:
    """A picture made to fit into so many lines; a pixel of a smaller one is the mean of what it covers."""
    scale = min(rows / made.shape[0], columns / made.shape[1])
    high, wide = max(1, round(made.shape[0] * scale)), max(1, round(made.shape[1] * scale))
    if scale >= 1:
        return made[_places(made.shape[0], high)][:, _places(made.shape[1], wide)]
    return _averaged(_averaged(made, high, 0), wide, 1)


def _averaged(made: Bytes, count: int, axis: int) -> Bytes:
    edges = (np.arange(count) * made.shape[axis] / count).astype(np.int64)
    sums = np.add.reduceat(made, edges, axis=axis, dtype=np.uint32)
    shape = [1] * made.ndim
    shape[axis] = count
    widths = np.diff([*edges, made.shape[axis]]).reshape(shape)
    found: Bytes = (sums // widths).astype(np.uint8)
    return found


def spread(count: int, wanted: int) -> list[int]:
    """So many of `count` indices, evenly, without the outermost where there is a choice."""
    if wanted >= count:
        return list(range(count))
    return [int((at + 0.5) * count / wanted) for at in range(wanted)]


def sheet(pictures: Sequence[Bytes], across: int) -> Bytes:
    """Pictures side by side, so many in a row; smaller ones in the middle of their place."""
    high, wide = (max(one.shape[at] for one in pictures) for at in (0, 1))
    down = math.ceil(len(pictures) / across)
    across = min(across, len(pictures))
    rest = pictures[0].shape[2:]
    made = np.zeros((down * (high + _GAP) - _GAP, across * (wide + _GAP) - _GAP, *rest), np.uint8)
    for number, one in enumerate(pictures):
        top = (number // across) * (high + _GAP) + (high - one.shape[0]) // 2
        left = (number % across) * (wide + _GAP) + (wide - one.shape[1]) // 2
        made[top : top + one.shape[0], left : left + one.shape[1]] = one
    return made


def across(count: int, high: int, wide: int, *, shape: float = 1.5) -> int:
    """How many pictures in a row make a sheet that is about so many times wider than high."""
    return max(1, min(count, round(math.sqrt(count * shape * high / max(wide, 1)))))


def planes(voxels: Array, spacing: geometry.Vector, seen: Window | None) -> list[Bytes]:
    """The three planes through the middle of (slice, row, column[, rgb]): as the slices lie, and across them.

    Across them the last slice is at the top: along the normal of an axial series that is towards the head.
    """
    slices, rows, columns = spacing
    middle = [count // 2 for count in voxels.shape[:3]]
    return [
        plane(voxels[middle[0]], seen, rows, columns),
        plane(voxels[::-1, middle[1]], seen, slices, columns),
        plane(voxels[::-1, :, middle[2]], seen, slices, rows),
    ]


def letters(where: geometry.Geometry) -> tuple[str, str, str, str]:
    """What lies left, right, at the top and at the bottom of a slice: L, R, A, P, H, F."""
    found = []
    for vector in (where.column, where.row):
        at = int(np.argmax(np.abs(vector)))
        ahead, behind = _LETTERS[at] if vector[at] > 0 else _LETTERS[at][::-1]
        found += [behind, ahead]
    left, right, top, bottom = found
    return left, right, top, bottom


def scaled(made: image.Image, voxels: Array) -> Array:
    """Stored values as real ones, for a picture."""
    if made.colour or (made.slope, made.intercept) == (1, 0):
        return voxels
    with np.errstate(over="ignore", invalid="ignore"):  # white or black, whatever they are
        found: Array = voxels.astype(np.float32) * np.float32(made.slope) + np.float32(made.intercept)
    return found
