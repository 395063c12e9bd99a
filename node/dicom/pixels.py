"""What a data set says of its pixels, checked before anything is allocated, and where its frames lie."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

from node import errors
from node.dicom import scan
from node.dicom import vr as vrs

SAMPLES, PHOTOMETRIC, PLANAR, FRAMES = 0x00280002, 0x00280004, 0x00280006, 0x00280008
ROWS, COLUMNS = 0x00280010, 0x00280011
ALLOCATED, STORED, HIGH, SIGNED = 0x00280100, 0x00280101, 0x00280102, 0x00280103
LOSSY, RATIO, METHOD = 0x00282110, 0x00282112, 0x00282114

MOST = 0xFFFFFFFE  # bytes of native pixel data: its length has four bytes and is even
_MOST_SAMPLES = 4


@dataclasses.dataclass(frozen=True, slots=True)
class Pixels:
    """The image pixel module."""

    rows: int  # of a frame
    columns: int  # of a frame
    samples: int  # per pixel
    photometric: str  # Photometric Interpretation
    planar: bool  # Planar Configuration 1: one plane of a sample behind the other
    frames: int  # number of frames
    allocated: int  # bits
    stored: int  # bits
    signed: bool  # Pixel Representation 1

    @property
    def width(self) -> int:
        """Bytes of one sample."""
        return self.allocated // 8

    @property
    def frame_bits(self) -> int:
        """Bits of one uncompressed frame; frames of single bits follow each other without padding."""
        if self.photometric == "YBR_FULL_422":
            return self.rows * self.columns * 2 * self.allocated
        return self.rows * self.columns * self.samples * self.allocated

    @property
    def frame_size(self) -> int:
        """Bytes of one decoded frame."""
        return self.rows * self.columns * self.samples * self.width

    @property
    def size(self) -> int:
        """Bytes of all frames, decoded."""
        return self.frame_size * self.frames


def describe(table: scan.Table, scope: int = -1) -> Pixels:
    """The description in a data set or in an item; BadData when it cannot be."""
    samples = _number(table, SAMPLES, scope, 1)
    stored = _number(table, STORED, scope)
    found = Pixels(
        rows=_number(table, ROWS, scope),
        columns=_number(table, COLUMNS, scope),
        samples=samples,
        photometric=_text(table, PHOTOMETRIC, scope),
        planar=samples > 1 and _number(table, PLANAR, scope, 0) == 1,
        frames=_number(table, FRAMES, scope, 1),
        allocated=_number(table, ALLOCATED, scope),
        stored=stored,
        signed=_number(table, SIGNED, scope, 0) == 1,
    )
    if not found.rows or not found.columns or not 1 <= samples <= _MOST_SAMPLES or found.frames < 1:
        raise errors.BadData(
            f"{found.frames} frames of {found.rows} rows, {found.columns} columns and {samples} samples"
            " cannot be"
        )
    if found.allocated not in (1, 8, 16, 32, 64) or not 1 <= stored <= found.allocated:
        raise errors.BadData(f"{stored} bits stored of {found.allocated} allocated cannot be")
    return found


def _number(table: scan.Table, tag: int, scope: int, default: int | None = None) -> int:
    value: Any = table.get(tag, scope)
    if isinstance(value, (tuple, list)):
        value = value[0] if value else None
    if value is None and default is not None:
        return default
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        name = vrs.keyword(tag)
        raise errors.BadData(f"{name} is {value!r}, so the pixels cannot be understood", tag=tag) from None


def _text(table: scan.Table, tag: int, scope: int) -> str:
    value = table.get(tag, scope)
    if isinstance(value, (tuple, list)):
        value = value[0] if value else None
    return str(value or "").strip().upper()


Fragments = Sequence[tuple[int, int]]  # from where to where in the buffer


def frames(table: scan.Table, row: int, count: int) -> list[Fragments]:
    """The fragments of each frame of encapsulated pixel data; BadData when they cannot be told apart."""
    parts = table.fragments(row)
    if not parts:
        raise errors.BadData("the pixel data has no fragments", tag=vrs.PIXEL_DATA)
    if count == 1:
        return [parts]
    if len(parts) < count:
        raise errors.BadData(
            f"{count} frames are said to be in {len(parts)} fragments of pixel data", tag=vrs.PIXEL_DATA
        )
    if len(parts) == count:
        return [[part] for part in parts]
    starts = _starts(table, row, parts, count)
    if starts is None:
        starts = _beginnings(table, parts, count)
    if starts is None:
        raise errors.BadData(
            f"nothing says which of {len(parts)} fragments belong to which of {count} frames",
            tag=vrs.PIXEL_DATA,
        )
    return [parts[a:b] for a, b in zip(starts, [*starts[1:], len(parts)], strict=True)]


def _starts(table: scan.Table, row: int, parts: Fragments, count: int) -> list[int] | None:
    """The first fragment of each frame by the offset tables."""
    offsets = table.extended_offsets()[0] or table.offset_table(row)
    if len(offsets) != count:
        return None
    origin = parts[0][0] - 8
    by_place = {start - 8 - origin: at for at, (start, _) in enumerate(parts)}
    found = [by_place.get(offset, -1) for offset in offsets]
    return found if found[0] == 0 and all(a < b for a, b in itertools.pairwise(found)) else None


def _beginnings(table: scan.Table, parts: Fragments, count: int) -> list[int] | None:
    """The first fragment of each frame by how images begin."""
    view = memoryview(table.buffer)
    found = [at for at, (start, _) in enumerate(parts) if bytes(view[start : start + 2]) in _BEGINS]
    return found if len(found) == count and found[0] == 0 else None


_BEGINS = frozenset({b"\xff\xd8", b"\xff\x4f", b"\xff\x0a"})
