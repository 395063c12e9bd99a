"""Overlay planes: those with data of their own, and those in bits of the pixels that are not stored."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from node import errors
from node.dicom import scan

Array = np.ndarray[Any, np.dtype[Any]]

_ROWS, _COLUMNS, _FRAMES, _DESCRIPTION = 0x0010, 0x0011, 0x0015, 0x0022
_KIND, _ORIGIN, _FIRST, _BITS, _POSITION, _DATA = 0x0040, 0x0050, 0x0051, 0x0100, 0x0102, 0x3000
_GROUPS = range(0x6000, 0x6020, 2)


@dataclasses.dataclass(frozen=True, slots=True)
class Overlay:
    """One overlay plane."""

    group: int  # 0x6000, 0x6002 ...
    kind: str  # "G" graphics, "R" region of interest
    description: str  # as written
    origin: tuple[int, int]  # row and column of the image, from 1, where it begins
    rows: int
    columns: int
    frames: int
    first: int  # frame of the image, from 1, that its first frame belongs to
    bit: int  # of the pixels that it lies in; 0: it has data of its own
    bits: Array | None = None  # (frames, rows, columns) of 0 and 1; None where it lies in the pixels


def declared(header: scan.Table) -> list[int]:
    """Bits of the pixels that overlays lie in."""
    found = []
    for group in _GROUPS:
        at = group << 16
        if header.find(at | _POSITION) is not None and header.find(at | _DATA) is None:
            position = _number(header, at | _POSITION, 0)
            if position > 0:
                found.append(position)
    return found


def read(header: scan.Table) -> list[Overlay]:
    """The overlays of a data set; BadData when their data is shorter than they say."""
    found = []
    for group in _GROUPS:
        at = group << 16
        if header.find(at | _ROWS) is None:
            continue
        rows, columns = _number(header, at | _ROWS, 0), _number(header, at | _COLUMNS, 0)
        frames = max(_number(header, at | _FRAMES, 1), 1)
        origin = header.get(at | _ORIGIN)
        first = [int(part) for part in origin] if isinstance(origin, (tuple, list)) else []
        row = header.find(at | _DATA)
        bits = None
        if row is not None:
            count = rows * columns * frames
            raw = np.frombuffer(header.raw(row), np.uint8)
            if header.encoding.order == ">" and header[row].vr == "OW":
                raw = raw[: len(raw) & ~1].reshape(-1, 2)[:, ::-1].reshape(-1)
            if not count or count > 8 * len(raw):
                raise errors.BadData(
                    f"an overlay of {frames} frames, {rows} rows and {columns} columns in {len(raw)} bytes",
                    tag=at | _DATA,
                )
            bits = np.unpackbits(raw, count=count, bitorder="little").reshape(frames, rows, columns)
        found.append(
            Overlay(
                group,
                str(header.get(at | _KIND) or "").strip(),
                str(header.get(at | _DESCRIPTION) or "").strip(),
                (first[0], first[1]) if len(first) > 1 else (1, 1),
                rows,
                columns,
                frames,
                _number(header, at | _FIRST, 1),
                0 if row is not None else _number(header, at | _POSITION, 0),
                bits,
            )
        )
    return found


def _number(header: scan.Table, tag: int, default: int) -> int:
    value: Any = header.get(tag)
    value = value[0] if isinstance(value, (tuple, list)) and value else value
    try:
        return int(value)
    except (TypeError, ValueError):
        return default
