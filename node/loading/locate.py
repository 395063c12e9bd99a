"""Where the pixels of data sets lie in their files: looked up when they are to be read."""

from __future__ import annotations

import dataclasses
import math
import mmap
import os
from typing import Any

from node import errors
from node.dicom import inflating, pixels, scan
from node.dicom import syntax as syntaxes
from node.dicom import vr as vrs
from node.volume import table

KINDS = {vrs.PIXEL_DATA: "int", 0x7FE00008: "float", 0x7FE00009: "double"}
_INTERCEPT, _SLOPE, _KIND, _UNITS = 0x00281052, 0x00281053, 0x00281054, 0x00541001
_WIDTHS = {"float": 32, "double": 64}


@dataclasses.dataclass(frozen=True, slots=True)
class Rescale:
    """What a header says of its stored values."""

    slope: float  # NaN: nothing
    intercept: float  # NaN: nothing
    kind: str  # Rescale Type, or Units of PET


def located(source: table.Source) -> table.Source:
    """The source with its pixel module and the place of its pixels; BadData, naming the file."""
    if _known(source):
        return source
    try:
        return _placed(source, whole(source))
    except errors.BadData as error:
        raise named(error, source.path) from error


def rescaled(source: table.Source) -> tuple[table.Source, Rescale]:
    """The same, and what the header says of stored values: the index does not know it."""
    try:
        header = whole(source)
        kind = header.get(_KIND) or header.get(_UNITS)
        found = Rescale(_decimal(header, _SLOPE), _decimal(header, _INTERCEPT), str(kind or "").strip())
        return (source if _known(source) else _placed(source, header)), found
    except errors.BadData as error:
        raise named(error, source.path) from error


def _known(source: table.Source) -> bool:
    deflated = syntaxes.encoding(source.syntax).deflated
    return source.pixels is not None and (source.place is not None or deflated)


def _placed(source: table.Source, header: scan.Table) -> table.Source:
    found, at = pixel_data(header)
    shown = describe(header, found)
    if syntaxes.encoding(source.syntax).deflated:
        return dataclasses.replace(source, pixels=shown)
    return dataclasses.replace(source, pixels=shown, place=place(header, at, shown, found))


def _decimal(header: scan.Table, tag: int) -> float:
    value: Any = header.get(tag)
    value = value[0] if isinstance(value, (tuple, list)) and value else value
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def named(error: errors.BadData, path: str) -> errors.BadData:
    """The error with the name of the file before it."""
    said = str(error)
    return error if said.startswith(path) else errors.BadData(f"{path}: {said}")


def whole(source: table.Source) -> scan.Table:
    """The elements of a data set, its pixels left where they are."""
    encoding = syntaxes.encoding(source.syntax)
    buffer = mapped(source)
    end = source.offset + source.size
    if encoding.deflated:
        inflated = inflate(memoryview(buffer)[source.offset : end], source)
        return scan.scan(inflated, syntaxes.EXPLICIT_LITTLE)
    return scan.scan(buffer, source.syntax, offset=source.offset, end=end)


def inflate(deflated: memoryview, source: table.Source) -> bytes:
    """A deflated data set; BadData when it has more than its own header can need."""
    with deflated:
        if source.pixels is not None:
            shown = source.pixels
            return syntaxes.inflate(
                deflated, max(shown.size, -(-shown.frame_bits * shown.frames // 8)) + _ROOM
            )
        buffer, _ = inflating.header(deflated, 0x7FE00000), 0
        shown = describe(scan.scan(buffer, syntaxes.EXPLICIT_LITTLE), "int")
        return syntaxes.inflate(deflated, shown.size + _ROOM)


_ROOM = 64 << 20  # bytes of a deflated data set beside its pixels


def mapped(source: table.Source) -> mmap.mmap:
    """The file in memory as far as it is read; BadData when it ends before the data set does."""
    try:
        fd = os.open(source.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = os.fstat(fd).st_size
            if source.offset < 0 or source.size <= 0 or source.offset + source.size > size:
                raise errors.BadData(
                    f"{source.path}: the file ends after {size} bytes, before its data set does"
                )
            return mmap.mmap(fd, source.offset + source.size, access=mmap.ACCESS_READ)
        finally:
            os.close(fd)
    except OSError as error:
        raise errors.BadData(f"{source.path}: it cannot be read ({error.strerror or error})") from error


def pixel_data(header: scan.Table) -> tuple[str, int]:
    """(kind, row) of the pixels; BadData when there are none."""
    for tag, kind in KINDS.items():
        row = header.find(tag)
        if row is not None:
            return kind, row
    raise errors.BadData("there is no pixel data")


def describe(header: scan.Table, kind: str) -> pixels.Pixels:
    """The pixel module; of pixels in floating point, which say less of their bits, too."""
    if kind == "int":
        return pixels.describe(header)
    width = _WIDTHS[kind]
    numbers = [_number(header, tag) for tag in (pixels.ROWS, pixels.COLUMNS, pixels.SAMPLES, pixels.FRAMES)]
    rows, columns, samples, frames = numbers
    if min(numbers) < 1 or samples > 1:
        raise errors.BadData(
            f"{frames} frames of {rows} rows, {columns} columns and {samples} samples cannot be"
        )
    return pixels.Pixels(rows, columns, 1, "MONOCHROME2", False, frames, width, width, True)


def _number(header: scan.Table, tag: int) -> int:
    value: Any = header.get(tag)
    value = value[0] if isinstance(value, (tuple, list)) and value else value
    if value is None:
        return 1 if tag in (pixels.SAMPLES, pixels.FRAMES) else 0
    try:
        return int(value)
    except (TypeError, ValueError):
        raise errors.BadData(f"{vrs.keyword(tag)} is {str(value)[:40]!r}", tag=tag) from None


def place(header: scan.Table, row: int, shown: pixels.Pixels, kind: str) -> table.Place:
    """Where the pixels lie; offsets are those of the buffer that was scanned."""
    element = header[row]
    if header.undefined(row):
        frames = tuple(tuple(parts) for parts in pixels.frames(header, row, shown.frames))
        begin, end = frames[0][0][0], frames[-1][-1][1]
        return table.Place(begin, end - begin, frames, kind)
    return table.Place(element.offset, element.end - element.offset, (), kind)
