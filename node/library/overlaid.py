"""Overlays of a volume's frames, which are kept apart from its voxels."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from node import errors
from node.library import volumes
from node.loading import frames
from node.volume import table
from node.volume.pixels import overlays as planes

Array = np.ndarray[Any, np.dtype[Any]]
Volume = volumes.Volume


def overlays(volume: Volume) -> dict[int, Volume]:
    """What was drawn over the frames, by group (0x6000, 0x6002 ...): volumes of bools at the same place.

    Raises UsageError for a volume whose rows and columns are not those of its files any more.
    """
    header = volume.header
    if header.table is None or header.rows is None:
        raise errors.UsageError("this volume came from no DICOM file, so that it has no overlays")
    plain = volume[..., 0] if volume.colour else volume
    made: dict[int, Volume] = {}
    drawn: dict[int, Array] = {}  # the same without their header
    kept: dict[int, list[planes.Overlay]] = {}
    for at in np.ndindex(header.rows.shape):
        row = int(header.rows[at])
        if row < 0:
            continue
        source = int(header.table["source"][row])
        if source not in kept:
            kept[source] = frames.planes(header.table.sources[source])
        for one in kept[source]:
            if one.bits is None or header.table.sources[source].mosaic is not None:
                continue
            _whole(plain, header.table, row)
            if one.group not in made:
                made[one.group] = cast(Volume, np.zeros_like(plain, dtype=bool))
                drawn[one.group] = np.asarray(made[one.group])
            frame = int(header.table["frame"][row]) + 1 - one.first
            if 0 <= frame < len(one.bits):
                _draw(drawn[one.group][at], one.bits[frame], one.origin)
    return made


def _whole(plain: Volume, held: table.Table, row: int) -> None:
    """Refuse what was cut or turned: overlays would lie elsewhere."""
    size = (int(held["rows"][row]), int(held["columns"][row]))
    same = plain.names[-2:] == ("row", "column") and plain.shape[-2:] == size
    if same and plain.geometry is not None:
        along = held["orientation"][row].reshape(2, 3) * held["spacing"][row][::-1, None]
        same = bool(np.allclose((plain.geometry.column, plain.geometry.row), along, atol=1e-3))
    if not same:
        raise errors.UsageError("overlays lie on whole frames: ask for them before rows or columns change")


def _draw(onto: Array, bits: Array, origin: tuple[int, int]) -> None:
    """Put a plane where it begins, counted from 1; what lies beyond the frame is cut."""
    top, left = origin[0] - 1, origin[1] - 1
    cut = bits[max(-top, 0) :, max(-left, 0) :]
    room = onto[max(top, 0) :, max(left, 0) :]
    rows, columns = min(len(cut), len(room)), min(cut.shape[1], room.shape[1])
    room[:rows, :columns] |= cut[:rows, :columns].astype(bool)
