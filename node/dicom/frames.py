"""Frames as the pixel data of a data set: one behind the other, or compressed in fragments."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from node import errors
from node.dicom import pixels, reencode
from node.dicom import syntax as syntaxes
from node.dicom import vr as vrs

if TYPE_CHECKING:  # numpy and the codecs are loaded where they are used
    from node.dicom import codecs

_OFFSETS_TO = 0xF0000000  # bytes of pixel data; beyond, a basic offset table could not point at all of it


class Output(Protocol):
    """A file that can be written to and sought in."""

    def write(self, data: syntaxes.Buffer, /) -> object: ...

    def tell(self) -> int: ...

    def seek(self, place: int, /) -> int: ...


def vr(shown: pixels.Pixels) -> str:
    """The VR of uncompressed pixel data in explicit VR."""
    return "OB" if shown.allocated <= 8 else "OW"


def write_decoded(
    out: Output, shown: pixels.Pixels, enc: syntaxes.Encoding, arrays: Iterable[codecs.Array]
) -> None:
    """The frames as uncompressed pixel data."""
    odd = shown.size & 1
    written = vr(shown)
    out.write(reencode.head(vrs.PIXEL_DATA, written, shown.size + odd, enc))
    swap = enc.order == ">" and written == "OW"
    for array in arrays:
        raw = array.tobytes()
        out.write(reencode.swapped(raw, 2) if swap else raw)
    if odd:
        out.write(b"\0")


def write_encoded(out: Output, shown: pixels.Pixels, enc: syntaxes.Encoding, coded: Iterable[bytes]) -> None:
    """Compressed frames as fragments, one each, behind their offset table."""
    out.write(reencode.head(vrs.PIXEL_DATA, "OB", vrs.UNDEFINED, enc))
    with_table = shown.size < _OFFSETS_TO
    length = 4 * shown.frames if with_table else 0
    out.write(reencode.head(vrs.ITEM, "", length, enc))
    table = out.tell()
    out.write(bytes(length))
    offsets: list[int] = []
    place = 0
    for one in coded:
        offsets.append(place)
        odd = len(one) & 1
        out.write(reencode.head(vrs.ITEM, "", len(one) + odd, enc))
        out.write(one)
        out.write(b"\0" * odd)
        place += 8 + len(one) + odd
    out.write(reencode.head(vrs.SEQUENCE_END, "", 0, enc))
    if with_table:
        end = out.tell()
        out.seek(table)
        out.write(struct.pack(f"<{len(offsets)}I", *offsets))
        out.seek(end)


def encoder(target: str, shown: pixels.Pixels, quality: float | None = None) -> codecs.Encoder:
    """What compresses these pixels in a transfer syntax; UsageError when nothing does."""
    from node.dicom import codecs, lossy

    found = codecs.ENCODERS.get(target) or lossy.encoder(target, quality)
    fits = shown.photometric in found.takes and shown.allocated <= found.most and shown.samples in (1, 3)
    if not fits or (found.stored and shown.stored > found.stored) or (shown.signed and not found.signs):
        kind = f"{shown.photometric} with {shown.samples} {'signed ' if shown.signed else ''}samples"
        raise errors.UsageError(
            f"{kind} of {shown.stored} of {shown.allocated} bits cannot be compressed in {target}"
        )
    return found


def compressed(array: codecs.Array, shown: pixels.Pixels, target: str, found: codecs.Encoder) -> bytes:
    """A frame compressed; what should lose nothing and does not come back as it was is refused."""
    from node.dicom import codecs

    try:
        made = found.encode(array, shown)
    except (RuntimeError, ValueError) as error:  # what the libraries raise
        raise errors.UsageError(f"a frame cannot be compressed in {target} ({error})") from error
    if found.method:
        return made
    becomes = found.photometric.get(shown.photometric, shown.photometric)
    again, _ = codecs.decode(target, made, dataclasses.replace(shown, photometric=becomes))
    if again.shape != array.shape or not bool((again == array).all()):
        raise errors.UsageError(
            f"the pixels do not survive compression in {target}: they hold more than the {shown.stored} bits"
            " that they say"
        )
    return made
