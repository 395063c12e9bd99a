"""Small data sets by hand, byte by byte, for the tests of one situation each."""

from __future__ import annotations

import struct

EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
BIG = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
JPEG = "1.2.840.10008.1.2.4.70"

LONG = {"OB", "OW", "OF", "OD", "OL", "OV", "SQ", "UC", "UN", "UR", "UT", "SV", "UV"}
UNDEFINED = 0xFFFFFFFF


def el(tag: int, vr: str, value: bytes = b"", length: int | None = None, order: str = "<") -> bytes:
    """One explicit element; `length` is what it claims."""
    size = len(value) if length is None else length
    if vr in LONG:
        head = struct.pack(order + "HH2sHI", tag >> 16, tag & 0xFFFF, vr.encode(), 0, size)
    else:
        head = struct.pack(order + "HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), size)
    return head + value


def im(tag: int, value: bytes = b"", length: int | None = None) -> bytes:
    """One implicit element."""
    size = len(value) if length is None else length
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, size) + value


def item(content: bytes = b"", length: int | None = None) -> bytes:
    """An item of defined length, or of the length that is claimed."""
    return im(0xFFFEE000, content, length)


def open_item(content: bytes = b"") -> bytes:
    """An item of undefined length."""
    return item(content, UNDEFINED) + im(0xFFFEE00D)


def open_sequence(tag: int, *items: bytes, vr: str = "SQ") -> bytes:
    """A sequence of undefined length."""
    return el(tag, vr, b"".join(items), UNDEFINED) + im(0xFFFEE0DD)


def ui(tag: int, uid: str) -> bytes:
    """A UID element."""
    return el(tag, "UI", uid.encode() + b"\0" * (len(uid) & 1))


IDENTITY = (
    ui(0x00080016, "1.2.840.10008.5.1.4.1.1.2") + ui(0x00080018, "1.2.3.4"),
    ui(0x0020000D, "1.2.3") + ui(0x0020000E, "1.2.3.5"),
)


def ct(*between: bytes) -> bytes:
    """A minimal CT with elements of groups 0009 to 001F in the middle."""
    return IDENTITY[0] + b"".join(between) + IDENTITY[1]
