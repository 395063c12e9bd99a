"""What the headers of compressed images say of them, read before anything is decoded or allocated."""

from __future__ import annotations

import dataclasses
import struct

from node import errors

_SOC = b"\xff\x4f\xff\x51"  # JPEG 2000: start of the codestream, and of its size
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # start-of-frame markers of JPEG
_JPEG_LS = 0xF7
_COD, _SOT = 0xFF52, 0xFF90
_MOST_TILES = 65535  # their number has two bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Image:
    """A compressed image by its own words."""

    rows: int  # height
    columns: int  # width
    samples: int  # components
    bits: int  # precision of the first component; the others have the same
    signed: bool = False  # JPEG 2000 only
    reversible: bool = True  # its transform loses nothing by itself
    transformed: bool | None = None  # luminance and chrominance by its own word; None: it does not say
    process: int = 0  # the start-of-frame marker of JPEG


def jpeg(data: bytes | memoryview) -> Image:
    """The frame header of JPEG or JPEG-LS; BadData when there is none."""
    at = 2
    end = len(data)
    transformed: bool | None = None
    if bytes(data[:2]) != b"\xff\xd8":
        raise errors.BadData("a JPEG image does not begin with its marker")
    while at + 4 <= end:
        if data[at] != 0xFF:
            raise errors.BadData("no marker stands where one must in a JPEG image", offset=at)
        marker = data[at + 1]
        if marker == 0xFF:  # fill
            at += 1
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        body = bytes(data[at + 4 : at + 2 + min(length, 32)])
        if marker in _FRAMES or marker == _JPEG_LS:
            if len(body) < 6:
                break
            bits, rows, columns, samples = struct.unpack_from(">BHHB", body)
            lossless = marker in (0xC3, 0xC7, 0xCB, 0xCF, _JPEG_LS)
            return Image(rows, columns, samples, bits, False, lossless, transformed, marker)
        if marker == 0xE0 and body[:4] == b"JFIF" and transformed is None:
            transformed = True
        if marker == 0xEE and body[:5] == b"Adobe" and len(body) >= 12:
            transformed = body[11] != 0
        if marker == 0xDA:
            break
        at += 2 + length
    raise errors.BadData("a JPEG image without a frame header", offset=min(at, end))


def jpeg2000(data: bytes | memoryview) -> Image:
    """The size and the coding style of JPEG 2000, in Part 1 or Part 15; BadData when there is none."""
    begun = bytes(data[:4096]).find(_SOC)  # some wrap it into the boxes of a file
    if begun < 0 or len(data) < begun + 43:
        raise errors.BadData("a JPEG 2000 image without the marker of its size")
    at = begun + 2
    length, _, right, bottom, left, top, *tiles, samples = struct.unpack_from(">HH8IH", data, at + 2)
    if not samples or length < 38 + 3 * samples or right <= left or bottom <= top:
        raise errors.BadData("a JPEG 2000 image of no size")
    if _tiles(tiles[0], tiles[2], left, right) * _tiles(tiles[1], tiles[3], top, bottom) > _MOST_TILES:
        raise errors.BadData("a JPEG 2000 image of more tiles than can be counted")
    depth = data[at + 40]
    reversible = True
    at += 2 + length
    while at + 4 <= len(data):
        marker, length = struct.unpack_from(">HH", data, at)
        if marker == _COD and at + 14 <= len(data):
            reversible = data[at + 13] == 1
        if marker == _SOT or marker < 0xFF00:
            break
        at += 2 + length
    return Image(bottom - top, right - left, samples, (depth & 0x7F) + 1, bool(depth & 0x80), reversible)


def _tiles(size: int, begin: int, low: int, high: int) -> int:
    """How many tiles lie side by side; decoders loop over what a grid that cannot be makes of it."""
    if not size or begin > low or begin + size <= low:
        raise errors.BadData(f"JPEG 2000 tiles of {size} from {begin} on do not begin where the image does")
    return -(-(high - begin) // size)
