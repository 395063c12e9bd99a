"""Slices that lie side by side in one frame: mosaics of Siemens and grids of United Imaging."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from node import errors
from node.dicom import pixels as pixel_words
from node.volume import table
from node.volume.reading import csa, elements, makers, timing

Array = np.ndarray[Any, np.dtype[Any]]

_MOST_TILES = 10_000


def find(
    head: elements.Elements, vendor: str, fixed: dict[str, Any], shown: pixel_words.Pixels
) -> table.Mosaic | None:
    """How a frame is divided, None where it is not; BadData where what it says of that cannot be."""
    kind = fixed.get("image_type", "").upper().split("\\")
    tiles = math.nan
    if vendor == makers.SIEMENS and "MOSAIC" in kind:
        block = head.block(0x0019, "SIEMENS MR HEADER")
        tiles = math.nan if block is None else head.number(block | 0x0A, "US")
        if not tiles > 0:
            tiles = csa.number(makers.image_csa(head), "NumberOfImagesInMosaic")
        if not tiles > 0:
            raise elements.Left(table.Why.UNSUPPORTED, "it is a mosaic, and nothing says of how many slices")
        across = math.ceil(math.sqrt(tiles) - 1e-9)
        down = across
    elif vendor == makers.UIH and "VFRAME" in kind:
        tiles = head.number(0x00651050, "DS")
        if not tiles > 0:
            return None
        across = math.ceil(math.sqrt(tiles) - 1e-9)
        down = math.ceil(tiles / across)
    else:
        return None
    count = int(tiles)
    if count > _MOST_TILES or shown.frames != 1 or shown.rows % down or shown.columns % across:
        raise errors.BadData(
            f"{count} slices cannot lie in a mosaic of {shown.rows} rows and {shown.columns} columns"
        )
    return table.Mosaic(count, across, shown.rows // down, shown.columns // across)


def rows(
    head: elements.Elements,
    vendor: str,
    fixed: dict[str, Any],
    tiles: table.Mosaic,
    shown: pixel_words.Pixels,
) -> dict[str, Array]:
    """The columns that differ between the tiles, and (in `fixed`) the size of one.

    The position of a mosaic is where the corner of one slice as large as the whole mosaic would be, so that
    its centre is that of the first slice.
    """
    fixed["rows"], fixed["columns"] = float(tiles.rows), float(tiles.columns)
    position, orientation = fixed.pop("position", None), fixed.get("orientation")
    spacing = fixed.get("spacing")
    number = np.arange(tiles.tiles)
    varying: dict[str, Array] = {
        "tile": number,
        "frame": np.zeros(tiles.tiles, dtype=np.int64),
        "in_stack": number + 1.0,
    }
    if vendor == makers.UIH:
        varying.update(_grid(head, tiles.tiles))
        return varying
    found = makers.image_csa(head)
    step = fixed.get("spacing_between", fixed.get("slice_thickness", math.nan))
    if position is not None and orientation is not None and spacing is not None and step > 0:
        row, column = np.array(orientation[:3]), np.array(orientation[3:])
        corner = (
            np.array(position)
            + row * spacing[1] * (shown.columns - tiles.columns) / 2
            + column * spacing[0] * (shown.rows - tiles.rows) / 2
        )
        normal = np.cross(row, column)
        along = csa.numbers(found, "SliceNormalVector")
        if len(along) == 3 and float(np.dot(along, normal)) < 0:
            normal = -normal
        varying["position"] = corner + number[:, None] * normal * step
    fixed.pop("slice_location", None)
    times = csa.numbers(found, "MosaicRefAcqTimes")
    if len(times) < tiles.tiles:
        block = head.block(0x0019, "SIEMENS MR HEADER")
        times = () if block is None else tuple(head.numbers(block | 0x29, "FD"))
    if len(times) >= tiles.tiles:
        varying["slice_time"] = np.array(times[: tiles.tiles])
    return varying


def _grid(head: elements.Elements, count: int) -> dict[str, Array]:
    """United Imaging has an item for each slice, with its position and time."""
    items = head.items(0x00651051)
    if len(items) != count:
        return {}
    positions = [item.vector(0x00200032, 3) for item in items]
    times = [_moment(item) for item in items]
    out: dict[str, Array] = {}
    if all(position is not None for position in positions):
        out["position"] = np.array(positions, dtype=np.float64)
    if all(map(math.isfinite, times)):
        out["slice_time"] = (np.array(times) - min(times)) * 1000.0
    return out


def _moment(item: elements.Elements) -> float:
    at = timing.datetime_(item.text(0x0008002A))
    return at if not math.isnan(at) else timing.moment(item.text(0x00080022), item.text(0x00080032))
