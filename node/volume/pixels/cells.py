"""Bytes of an uncompressed frame as an array of its samples: any width, sign, byte order and interleaving."""

from __future__ import annotations

from typing import Any

import numpy as np

from node import errors
from node.dicom import pixels

Array = np.ndarray[Any, np.dtype[Any]]

_HALVED = ("YBR_FULL_422", "YBR_PARTIAL_422")  # two pixels share their chrominances
_FLOATS = {"float": "f4", "double": "f8"}


def frame_bits(shown: pixels.Pixels) -> int:
    """Bits of one uncompressed frame as it lies in native pixel data."""
    if shown.photometric in _HALVED:
        return shown.rows * shown.columns * 2 * shown.allocated
    return shown.frame_bits


def dtype(shown: pixels.Pixels, kind: str = "int") -> np.dtype[Any]:
    """The type of a sample, little endian; a single bit becomes a byte."""
    if kind in _FLOATS:
        return np.dtype(f"<{_FLOATS[kind]}")
    return np.dtype(f"<{'i' if shown.signed and shown.allocated > 1 else 'u'}{max(shown.allocated // 8, 1)}")


def place(shown: pixels.Pixels, frame: int) -> tuple[int, int]:
    """(offset, length) of a frame in native pixel data; frames of single bits may begin within a byte."""
    bits = frame_bits(shown)
    begin, end = frame * bits, (frame + 1) * bits
    return begin // 8, -(-end // 8) - begin // 8


def array(
    raw: bytes | memoryview, shown: pixels.Pixels, frame: int = 0, *, kind: str = "int", order: str = "<"
) -> Array:
    """A frame of (rows, columns, samples) from the bytes at `place`; BadData when they are too few.

    `order` is that of the samples: ">" in big endian, and in no other.
    """
    length = place(shown, frame)[1]
    if len(raw) < length:
        raise errors.BadData(f"a frame of {len(raw)} bytes where {length} belong")
    cells = shown.rows * shown.columns
    if shown.allocated == 1:
        first = frame * frame_bits(shown) % 8
        bits = np.unpackbits(np.frombuffer(raw, np.uint8, length), bitorder="little")
        return bits[first : first + cells * shown.samples].reshape(shown.rows, shown.columns, shown.samples)
    read = dtype(shown, kind).newbyteorder(">" if order == ">" else "<")
    if shown.photometric in _HALVED:
        return _doubled(np.frombuffer(raw, read, cells * 2), shown)
    found = np.frombuffer(raw, read, cells * shown.samples)
    if shown.planar and shown.samples > 1:
        return np.moveaxis(found.reshape(shown.samples, shown.rows, shown.columns), 0, 2)
    return found.reshape(shown.rows, shown.columns, shown.samples)


def _doubled(found: Array, shown: pixels.Pixels) -> Array:
    """Y1 Y2 Cb Cr for each two pixels (PS3.3 C.7.6.3.1.2) as three samples for each pixel."""
    if shown.columns % 2 or shown.samples != 3:
        raise errors.BadData(
            f"{shown.photometric} with {shown.columns} columns and {shown.samples} samples cannot be"
        )
    fours = found.reshape(shown.rows, shown.columns // 2, 4)
    made = np.empty((shown.rows, shown.columns // 2, 2, 3), found.dtype)
    made[..., 0] = fours[..., :2]
    made[..., 1:] = fours[..., None, 2:]
    return made.reshape(shown.rows, shown.columns, 3)


def bytes_swapped(raw: bytes | memoryview) -> bytes:
    """Samples of one byte in words of two whose bytes were exchanged (OW in big endian)."""
    even = len(raw) & ~1
    return np.frombuffer(raw, "<u2", even // 2).byteswap().tobytes() + bytes(raw[even:])


def limits(shown: pixels.Pixels) -> tuple[int, int] | None:
    """The lowest and the highest value that the stored bits can hold; None when all bits are stored."""
    if shown.stored >= shown.allocated:
        return None
    if shown.signed:
        return -(1 << shown.stored - 1), (1 << shown.stored - 1) - 1
    return 0, (1 << shown.stored) - 1


def beyond(found: Array, bounds: tuple[int, int]) -> bool:
    """Whether a value lies beyond what the stored bits can hold."""
    low, high = bounds
    if not found.size:
        return False
    return bool(found.max() > high) or (found.dtype.kind == "i" and bool(found.min() < low))


def extended(found: Array, shown: pixels.Pixels) -> Array:
    """Values whose sign was not carried into the bits above those stored (PS3.5 8.1.1), carried there."""
    low, high = -(1 << shown.stored - 1), (1 << shown.stored) - 1
    bare = (found > -low - 1) & (found <= high)
    return np.where(bare, masked(found, shown), found) if bare.any() else found


def masked(found: Array, shown: pixels.Pixels) -> Array:
    """Only the bits that are stored, their sign extended: what else lies in a cell is an overlay's."""
    shift = shown.allocated - shown.stored
    made: Array = np.right_shift(np.left_shift(found, shift), shift)
    return made.astype(found.dtype, copy=False)
