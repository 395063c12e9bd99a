"""How a transfer syntax writes elements, and the inflating of the one that deflates them."""

from __future__ import annotations

import dataclasses
import mmap
import zlib

from node import errors

Buffer = bytes | bytearray | memoryview | mmap.mmap

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
DEFLATED_LITTLE = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
DEFLATED_IMAGE_FRAME = "1.2.840.10008.1.2.8.1"  # frames are deflated, the data set is not
GE_PRIVATE = "1.2.840.113619.5.2"  # implicit VR, only its pixels are big endian
PAPYRUS_IMPLICIT = "1.2.840.10008.1.20"
JPIP_DEFLATED = ("1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205")

INFLATE_CAP = 64 << 20  # bytes a deflated data set may have when nobody says otherwise


@dataclasses.dataclass(frozen=True, slots=True)
class Encoding:
    """How elements are written."""

    explicit: bool  # VRs are written
    order: str  # "<" or ">", as struct says it
    deflated: bool = False  # the whole data set is deflated
    encapsulated: bool = False  # pixel data stands in fragments


_IMPLICIT = Encoding(explicit=False, order="<")
_EXPLICIT = Encoding(explicit=True, order="<")
_ENCODINGS = {
    IMPLICIT_LITTLE: _IMPLICIT,
    GE_PRIVATE: _IMPLICIT,
    PAPYRUS_IMPLICIT: _IMPLICIT,
    EXPLICIT_LITTLE: _EXPLICIT,
    EXPLICIT_BIG: Encoding(explicit=True, order=">"),
    DEFLATED_LITTLE: Encoding(explicit=True, order="<", deflated=True),
    **{uid: Encoding(explicit=True, order="<", deflated=True) for uid in JPIP_DEFLATED},
}
_ENCAPSULATED = Encoding(explicit=True, order="<", encapsulated=True)


def encoding(syntax: str) -> Encoding:
    """The encoding of a transfer syntax; one that is unknown is explicit little endian (PS3.5 10)."""
    return _ENCODINGS.get(syntax, _ENCAPSULATED)


def inflated(buffer: Buffer, small: int) -> bytes | None:
    """The data set of the deflated transfer syntax when it has at most `small` bytes, else None."""
    if len(buffer) > small:
        return None
    try:
        return inflate(buffer, small)
    except _TooLarge:
        return None


class _TooLarge(errors.BadData):
    """It inflates to more than the cap."""


def inflate(buffer: Buffer, cap: int = INFLATE_CAP) -> bytes:
    """The data set of the deflated transfer syntax; one larger than the cap, or broken off, is refused."""
    engine = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = engine.decompress(buffer, cap + 1)
    except zlib.error as fault:
        raise errors.BadData(f"the deflated data set cannot be inflated ({fault})") from None
    if len(data) > cap:
        raise _TooLarge(f"the deflated data set inflates to more than {cap} bytes")
    if not engine.eof:
        raise errors.BadData("the deflated data set breaks off", offset=len(buffer))
    return data


def deflate(data: Buffer) -> bytes:
    """The deflated form of a data set, padded to an even length."""
    engine = zlib.compressobj(zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = engine.compress(data) + engine.flush()
    return packed + b"\0" if len(packed) & 1 else packed
