"""The header of an image as JSON, for formats whose own header has no room for one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from node import errors
from node.formats import axes
from node.volume import image, stack

VERSION = 1


def told(made: image.Image) -> dict[str, Any]:
    """What `read` needs besides the voxels; nothing of it identifies a patient."""
    where = made.geometry
    return {
        "dicom_node_volume": VERSION,
        "axes": [
            {"name": axis.name, "unit": axis.unit, "values": [_number(value) for value in axis.values]}
            for axis in made.axes
        ],
        # from (column, row, slice, 1), counted from 0, to millimetres right-anterior-superior
        "affine": None if where is None else where.scanner.tolist(),
        "slope": made.slope,
        "intercept": made.intercept,
        "unit": made.unit,
        "label": made.label,
    }


def _number(value: Any) -> float | None:
    found = float(value)
    return found if np.isfinite(found) else None


def image_of(
    where: str,
    header: object,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    voxels: Callable[[], np.ndarray[Any, np.dtype[Any]]],
) -> image.Image:
    """The image of voxels with such a header; without one, of an array of (..., slice, row, column)."""
    if not isinstance(header, Mapping):
        header = {}
    told_axes = header.get("axes")
    try:
        given = [
            stack.Axis(
                str(axis["name"])[:64],
                np.asarray([np.nan if value is None else float(value) for value in axis["values"]]),
                str(axis.get("unit", ""))[:16],
            )
            for axis in told_axes or ()
        ]
        affine = None if header.get("affine") is None else np.asarray(header["affine"], dtype=float)
        slope, intercept = float(header.get("slope", 1)), float(header.get("intercept", 0))
    except (TypeError, ValueError, KeyError) as error:
        raise errors.BadData(f"{where}: its header cannot be understood ({error})") from error
    axes.finite(where, "slope and intercept", (slope, intercept))
    if tuple(len(axis.values) for axis in given) != shape:
        given = []
    colour = bool(given) and given[-1].name == "rgb"
    if not given and len(shape) < 3:
        raise errors.BadData(f"{where}: an array of {len(shape)} dimensions is no volume of slices")
    placed = None
    if affine is not None:
        if affine.shape != (4, 4):
            raise errors.BadData(f"{where}: its affine is no matrix of 4 x 4")
        placed = axes.placed(where, affine)
    extra = [
        stack.Axis("time" if at == len(shape) - 4 else f"axis{at}", np.arange(float(shape[at])))
        for at in range(len(shape) - 3)
    ]
    return image.Image(
        shape=shape,
        dtype=dtype,
        axes=tuple(given) or axes.of(shape, placed, extra, colour=colour),
        geometry=placed,
        slope=slope,
        intercept=intercept,
        unit=str(header.get("unit", ""))[:16],
        voxels=voxels,
        label=str(header.get("label", ""))[:64],
    )


def parsed(where: str, raw: bytes) -> object:
    """JSON, or BadData."""
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise errors.BadData(f"{where}: its header is no JSON") from error
