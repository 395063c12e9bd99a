"""The pixels of a data set: what its header says of them, and where they lie in its file."""

from __future__ import annotations

import math
from typing import Any

from node import errors
from node.dicom import pixels as pixel_words
from node.dicom import scan
from node.dicom import syntax as syntaxes
from node.dicom import vr as vrs
from node.dicom import walk as walking
from node.volume import table
from node.volume.reading import elements


def pixels(made: scan.Table, fixed: dict[str, Any], syntax: str) -> pixel_words.Pixels:
    """The image pixel module; what says no rows and columns has no pixels."""
    if syntax in _VIDEO:
        raise elements.Left(table.Why.UNSUPPORTED, f"a video ({vrs.uid_name(syntax) or syntax})")
    if made.find(pixel_words.ROWS) is None or made.find(pixel_words.COLUMNS) is None:
        raise elements.Left(table.Why.NO_PIXELS, vrs.uid_name(str(made.get(0x00080016))) or "no image")
    if made.find(pixel_words.STORED) is None and made.find(pixel_words.ALLOCATED) is not None:
        return _of_floats(made)
    plain = tuple(fixed.get(name, -1.0) for name in _PLAIN)
    if made.find(pixel_words.FRAMES) is None and plain[2:] in _USUAL and min(plain[:2]) >= 1:
        # What nearly every slice is, in a fraction of the time.
        return pixel_words.Pixels(
            int(plain[0]),
            int(plain[1]),
            1,
            fixed.get("photometric", "").upper(),
            False,
            1,
            int(plain[3]),
            int(plain[4]),
            plain[5] == 1,
        )
    return pixel_words.describe(made)


_PLAIN = ("rows", "columns", "samples", "bits_allocated", "bits_stored", "signed")
_USUAL = frozenset((1.0, 16.0, float(stored), sign) for stored in range(1, 17) for sign in (0.0, 1.0))
_VIDEO = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (100, 101, 102, 103, 104, 105, 106, 107, 108)) | {
    f"1.2.840.10008.1.2.4.{n}.1" for n in (100, 101, 102, 103, 104, 105, 106)
}


def _of_floats(made: scan.Table) -> pixel_words.Pixels:
    """Float and Double Float Pixel Data have no Bits Stored: all that are allocated count."""
    head = elements.Elements(made)
    said = [head.number(tag, "US") for tag in (pixel_words.ROWS, pixel_words.COLUMNS, pixel_words.ALLOCATED)]
    count = head.number(pixel_words.FRAMES, "IS")
    if any(not value >= 1 for value in said) or said[2] not in (8, 16, 32, 64):
        raise errors.BadData(f"rows, columns and bits of {said} cannot be")
    frames_ = 1 if math.isnan(count) else int(count)
    if frames_ < 1:
        raise errors.BadData(f"{frames_} frames cannot be")
    rows_, columns, bits = map(int, said)
    photometric = head.text(pixel_words.PHOTOMETRIC) or "MONOCHROME2"
    return pixel_words.Pixels(rows_, columns, 1, photometric, False, frames_, bits, bits, bits != 8)


_KINDS = {0x7FE00008: "float", 0x7FE00009: "double", vrs.PIXEL_DATA: "int"}


def place(
    buffer: syntaxes.Buffer,
    begin: int,
    enc: syntaxes.Encoding,
    syntax: str,
    shown: pixel_words.Pixels,
    whole: int,
) -> table.Place:
    """Where the pixels lie, looked for from a place on; BadData when there are fewer than the header says."""
    at = begin
    for _ in range(16):  # a group length, extended offset tables, pixel data
        if at + 12 > len(buffer):
            if len(buffer) < whole:
                raise elements.More
            break
        tag, _, offset, length = walking.element_header(buffer, at, len(buffer), enc.explicit, enc.order)
        if tag in _KINDS:
            if length == vrs.UNDEFINED:
                return _fragments(buffer, begin, syntax, shown, whole)
            return _native(offset, length, _KINDS[tag], shown, whole)
        if tag >> 16 != 0x7FE0 or length == vrs.UNDEFINED:
            break
        at = offset + length
    raise elements.Left(table.Why.NO_PIXELS, "it has no pixel data")


def _native(offset: int, length: int, kind: str, shown: pixel_words.Pixels, whole: int) -> table.Place:
    if offset + length > whole:
        raise errors.BadData(
            f"the pixel data of {length} bytes reaches beyond the end of the file", offset=offset
        )
    needed = (shown.frame_bits * shown.frames + 7) // 8
    if length < needed:
        raise errors.BadData(f"the pixel data has {length} bytes, {needed} are needed", offset=offset)
    return table.Place(offset, length, (), kind)


def _fragments(
    buffer: syntaxes.Buffer, at: int, syntax: str, shown: pixel_words.Pixels, whole: int
) -> table.Place:
    """Where the fragments of each frame lie."""
    if len(buffer) < whole:
        raise elements.More
    made = scan.scan(buffer, syntax, offset=at, end=whole, stop=vrs.PIXEL_DATA + 1)
    row = made.find(vrs.PIXEL_DATA)
    if row is None:
        raise elements.Left(table.Why.NO_PIXELS, "it has no pixel data")
    found = tuple(tuple(parts) for parts in pixel_words.frames(made, row, shown.frames))
    total = sum(end - begin for parts in found for begin, end in parts)
    return table.Place(found[0][0][0], total, found)
