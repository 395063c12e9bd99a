"""A data set in another transfer syntax: its encoding, its pixel data, and what speaks of them.

Whatever else stands in the data set stays as it is, byte for byte where the encoding of elements stays the
same. Compressed pixel data is decoded and compressed again frame by frame; nothing is compressed with loss.
What was compressed here is decoded again and compared before it is believed.
"""

from __future__ import annotations

import dataclasses
import struct
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from node import errors
from node.dicom import codestream, edit, pixels, reencode, scan
from node.dicom import syntax as syntaxes
from node.dicom import vr as vrs
from node.dicom import walk as walking
from node.dicom.syntax import Buffer

if TYPE_CHECKING:  # numpy and the codecs are loaded where they are used: a listener asks for targets only
    from node.dicom import codecs

NATIVE = (
    syntaxes.EXPLICIT_LITTLE,
    syntaxes.IMPLICIT_LITTLE,
    syntaxes.DEFLATED_LITTLE,
    syntaxes.EXPLICIT_BIG,
)
_JPEG = "1.2.840.10008.1.2.4."
RLE = "1.2.840.10008.1.2.5"
# What can be made without loss, best first; codecs.ENCODERS makes them.
COMPRESSED = (_JPEG + "80", _JPEG + "90", _JPEG + "70", RLE)
# What can be read beside these; codecs.DECODERS reads them.
_READ = frozenset(
    {
        *(_JPEG + number for number in ("50", "51", "53", "55", "57", "70", "80", "81", "90", "91")),
        *(_JPEG + number for number in ("201", "202", "203", "110", "111", "112")),
        RLE,
        "1.2.840.10008.1.2.1.98",
        syntaxes.DEFLATED_IMAGE_FRAME,
    }
)

INFLATE_CAP = 1 << 30  # bytes of a deflated data set
_OFFSETS_TO = 0xF0000000  # bytes of pixel data; beyond, a basic offset table could not point at all of it
_EXTENDED = (0x7FE00001, 0x7FE00002, 0x7FE00003)  # offsets, lengths, total length
_RUN = 64  # bytes that one byte of an RLE frame makes at most
_DEFLATED = 1040  # the same of a deflated frame


class Output(Protocol):
    """A file that can be written to and sought in."""

    def write(self, data: Buffer, /) -> object: ...

    def tell(self) -> int: ...

    def seek(self, place: int, /) -> int: ...


def targets(syntax: str) -> tuple[str, ...]:
    """The transfer syntaxes that a data set in this one can be made into without loss, best first."""
    if syntax not in NATIVE and syntax not in _READ:
        return ()
    return tuple(one for one in (*NATIVE, *COMPRESSED) if one != syntax)


def transcode(buffer: Buffer, syntax: str, target: str, out: Output) -> int:
    """Write the data set in the target's syntax; its length in bytes.

    Raises BadData when it is not what it says, and UsageError when there is no way from one to the other.
    """
    if target not in targets(syntax):
        raise errors.UsageError(f"nothing here makes {target} of {syntax}")
    begun = out.tell()
    enc = syntaxes.encoding(syntax)
    if enc.deflated:
        buffer = syntaxes.inflate(buffer, INFLATE_CAP)
        syntax, enc = syntaxes.EXPLICIT_LITTLE, syntaxes.encoding(syntaxes.EXPLICIT_LITTLE)
    if target == syntax:
        out.write(buffer)
    elif syntaxes.encoding(target).deflated:
        deflating = _Deflating(out)
        _Transcoding(buffer, syntax, syntaxes.EXPLICIT_LITTLE).write(deflating)
        deflating.finish(begun)
    else:
        _Transcoding(buffer, syntax, target).write(out)
    return out.tell() - begun


class _Deflating:
    """An output that deflates what is written to it."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._engine = zlib.compressobj(zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, -zlib.MAX_WBITS)

    def write(self, data: Buffer, /) -> object:
        return self._out.write(self._engine.compress(data))

    def tell(self) -> int:
        return 0

    def seek(self, place: int, /) -> int:
        raise NotImplementedError

    def finish(self, begun: int) -> None:
        self._out.write(self._engine.flush())
        if (self._out.tell() - begun) & 1:
            self._out.write(b"\0")


class _Icon(edit.Set):
    """The pixel data of an image in a sequence, that was compressed."""


class _Transcoding:
    """One data set on its way from one transfer syntax to another that is not deflated."""

    def __init__(self, buffer: Buffer, syntax: str, target: str) -> None:
        self._syntax, self._target = syntax, target
        self._from, self._to = syntaxes.encoding(syntax), syntaxes.encoding(target)
        self._view = memoryview(buffer)
        self._table = scan.Table(buffer, self._from, *walking.walk(buffer, 0, len(buffer), self._from))
        self._row = self._table.find(vrs.PIXEL_DATA)

    def write(self, out: Output) -> None:
        """The whole data set."""
        if self._row is None:
            if self._to.encapsulated:
                raise errors.UsageError(f"there is no pixel data that {self._target} could compress")
            self._write_elements(out, 0, len(self._view), self._icons())
            return
        _, _, start, offset, end, _ = self._table.rows[self._row]
        encapsulated = self._table.undefined(self._row)
        if encapsulated and not self._from.encapsulated:
            raise errors.BadData("compressed pixel data in an uncompressed transfer syntax", offset=start)
        if not encapsulated and not self._to.encapsulated:
            self._write_elements(out, 0, start, self._icons())
            self._write_native(out, offset, end)
        else:
            shown = pixels.describe(self._table)
            if shown.size + (shown.size & 1) > pixels.MOST:
                raise errors.BadData(
                    f"{shown.frames} frames of {shown.rows} rows and {shown.columns} columns are more than a"
                    " data set holds"
                )
            source = self._fragments(shown) if encapsulated else self._plain(shown)
            self._write_frames(out, start, shown, source)
        self._write_elements(out, end, len(self._view), ())

    # -- elements -------------------------------------------------------------------------------

    def _write_elements(self, out: Output, start: int, end: int, changes: tuple[edit.Change, ...]) -> None:
        """A range of elements, changed, in the target's encoding."""
        part: Buffer = self._view[start:end]
        compressed = [edit.Remove(one.path) for one in changes if isinstance(one, _Icon)]
        if compressed:  # the editor sets nothing in the place of fragments: they go first
            part = edit.edit(part, self._plain_syntax(), compressed).tobytes()
        pieces = [part] if not changes else edit.edit(part, self._plain_syntax(), changes).buffers()
        if (self._from.explicit, self._from.order) == (self._to.explicit, self._to.order):
            for piece in pieces:
                out.write(piece)
            return
        whole = part if not changes else b"".join(pieces)
        rows, stopped = walking.walk(whole, 0, len(whole), self._from)
        table = scan.Table(whole, self._from, rows, stopped)
        signed = self._table.get(pixels.SIGNED) in (1, (1,))
        out.write(reencode.reencode(table, self._to, signed=signed))

    def _plain_syntax(self) -> str:
        """A transfer syntax of the same encoding, for the editor."""
        return syntaxes.EXPLICIT_LITTLE if self._from.encapsulated else self._syntax

    def _icons(self) -> tuple[edit.Change, ...]:
        """Changes that undo the compression of pixel data in sequences, which goes by the old syntax."""
        from node.dicom import codecs

        found: list[edit.Change] = []
        for at, (tag, _, _, _, _, parent) in enumerate(self._table.rows):
            if tag != vrs.PIXEL_DATA or parent < 0 or not self._table.undefined(at):
                continue
            shown = pixels.describe(self._table, parent)
            parts = self._table.fragments(at)
            data = b"".join(self._view[a:b] for a, b in parts)
            self._possible(len(data), shown.frame_size)
            array, photometric = codecs.decode(self._syntax, data, shown)
            where = self._path(parent)
            raw = array.tobytes()
            found.append(_Icon(f"{where}.PixelData", raw + b"\0" * (len(raw) & 1), vr=_vr(shown)))
            if photometric != shown.photometric:
                found.append(edit.Set(f"{where}.PhotometricInterpretation", photometric))
            if shown.planar:
                found.append(edit.Set(f"{where}.PlanarConfiguration", 0))
        return tuple(found)

    def _path(self, item: int) -> str:
        """The path of an item, as the editor takes it."""
        steps: list[str] = []
        while item >= 0:
            sequence = self._table.rows[item][5]
            tag, _, _, _, _, parent = self._table.rows[sequence]
            number = self._table.children(sequence).index(item)
            steps.append(f"{tag >> 16:04X},{tag & 0xFFFF:04X}[{number}]")
            item = parent
        return ".".join(reversed(steps))

    # -- pixel data -----------------------------------------------------------------------------

    def _write_native(self, out: Output, offset: int, end: int) -> None:
        """Uncompressed pixel data as it is, or with its bytes swapped."""
        assert self._row is not None
        vr = self._table.rows[self._row][1]
        if not self._from.explicit:  # which writes all of it as words, little endian
            vr = "OB" if self._table.get(pixels.ALLOCATED) in (1, 8, (1,), (8,)) else "OW"
        length = end - offset
        out.write(reencode.head(vrs.PIXEL_DATA, vr, length + (length & 1), self._to))
        swap = vr == "OW" and self._from.order != self._to.order
        for at in range(offset, end, _CHUNK):
            part = self._view[at : min(at + _CHUNK, end)]
            out.write(reencode.swapped(part, 2) if swap else part)
        if length & 1:
            out.write(b"\0")

    def _fragments(self, shown: pixels.Pixels) -> list[pixels.Fragments]:
        assert self._row is not None
        return pixels.frames(self._table, self._row, shown.frames)

    def _plain(self, shown: pixels.Pixels) -> list[pixels.Fragments]:
        """The frames of uncompressed pixel data."""
        assert self._row is not None
        _, _, _, offset, end, _ = self._table.rows[self._row]
        size = shown.frame_size
        if shown.frame_bits != size * 8:
            raise errors.UsageError(
                f"{shown.photometric} with {shown.allocated} bits allocated is not compressed here"
            )
        if end - offset < size * shown.frames:
            raise errors.BadData(
                f"{end - offset} bytes of pixel data where {size * shown.frames} belong", tag=vrs.PIXEL_DATA
            )
        return [[(offset + at * size, offset + (at + 1) * size)] for at in range(shown.frames)]

    def _codec(self) -> codecs.Codec:
        from node.dicom import codecs

        return codecs.DECODERS[self._syntax]

    def _decoded(
        self, parts: pixels.Fragments, shown: pixels.Pixels
    ) -> tuple[codecs.Array, str, codestream.Image | None]:
        """A frame and its Photometric Interpretation."""
        from node.dicom import codecs

        assert self._row is not None
        if not self._table.undefined(self._row):
            return codecs.native(self._words(*parts[0]), shown), shown.photometric, None
        joined = b"".join(self._view[a:b] for a, b in parts)
        self._possible(len(joined), shown.frame_size)
        array, photometric = codecs.decode(self._syntax, joined, shown)
        image = codestream.jpeg2000(joined) if self._codec().maybe and _is_2000(joined) else None
        return array, photometric, image

    def _words(self, start: int, end: int) -> memoryview:
        """A range of uncompressed pixel data, little endian.

        In big endian, pixels of 32 bits are two words turned round, the lower one first: so says their VR,
        and so does DCMTK. Some turn all four bytes round, and nothing in the data set tells.
        """
        assert self._row is not None
        _, vr, _, offset, limit, _ = self._table.rows[self._row]
        if self._from.order == "<" or vr != "OW":
            return self._view[start:end]
        # A frame of odd length begins or ends in the middle of a word.
        begin = start - ((start - offset) & 1)
        whole = self._view[begin : min(end + ((end - offset) & 1), limit)]
        return memoryview(reencode.swapped(whole, 2))[start - begin : end - begin]

    def _possible(self, have: int, size: int) -> None:
        """Refuse a frame that its bytes cannot make, before room is made for it."""
        most = {RLE: _RUN, syntaxes.DEFLATED_IMAGE_FRAME: _DEFLATED}.get(self._syntax)
        if most is not None and have * most < size:
            raise errors.BadData(f"{have} bytes cannot hold a frame of {size}", tag=vrs.PIXEL_DATA)

    def _write_frames(
        self, out: Output, start: int, shown: pixels.Pixels, source: list[pixels.Fragments]
    ) -> None:
        """What stands before the pixel data, changed as its first frame says, and every frame."""
        first, photometric, image = self._decoded(source[0], shown)
        encoder = _encoder(self._target, shown, photometric) if self._to.encapsulated else None
        changes = (*self._icons(), *self._about(shown, photometric, image, encoder, source))
        self._write_elements(out, 0, start, changes)
        rest = (self._decoded(parts, shown)[0] for parts in source[1:])
        decoded = dataclasses.replace(shown, photometric=photometric, planar=False)
        if encoder is None:
            _write_decoded(out, decoded, self._to, _chain(first, rest))
        else:
            _write_encoded(out, decoded, self._target, encoder, _chain(first, rest))

    def _about(
        self,
        shown: pixels.Pixels,
        photometric: str,
        image: codestream.Image | None,
        encoder: codecs.Encoder | None,
        source: list[pixels.Fragments],
    ) -> Iterator[edit.Change]:
        """What the elements before the pixel data must say of it."""
        top = self._table.top
        for tag in (*_EXTENDED, 0x7FE00000):
            if tag in top:
                yield edit.Remove(f"{tag >> 16:04X},{tag & 0xFFFF:04X}")
        becomes = encoder.photometric.get(photometric, photometric) if encoder else photometric
        if becomes != shown.photometric:
            yield edit.Set("PhotometricInterpretation", becomes)
        if shown.samples > 1:
            # PS3.5 annex G puts one plane behind the other.
            yield edit.Set("PlanarConfiguration", 1 if self._target == RLE else 0)
        assert self._row is not None
        if self._table.undefined(self._row):
            yield from self._losses(shown, image, source)

    def _losses(
        self, shown: pixels.Pixels, image: codestream.Image | None, source: list[pixels.Fragments]
    ) -> Iterator[edit.Change]:
        """That something was lost by the compression that is undone here, where that was not said."""
        codec = self._codec()
        if not codec.method:
            return
        said = str(self._table.get(pixels.LOSSY) or "").strip()
        if codec.maybe and (said or (image is not None and image.reversible)):
            return
        if said != "01":
            yield edit.Set("LossyImageCompression", "01")
        if self._table.get(pixels.RATIO) is None:
            have = sum(end - start for parts in source for start, end in parts)
            yield edit.Set(
                "LossyImageCompressionRatio", f"{shown.frame_size * shown.frames / max(have, 1):.2f}"
            )
        if self._table.get(pixels.METHOD) is None:
            yield edit.Set("LossyImageCompressionMethod", codec.method)


_CHUNK = 1 << 20


def _vr(shown: pixels.Pixels) -> str:
    return "OB" if shown.allocated <= 8 else "OW"


def _is_2000(data: bytes) -> bool:
    return b"\xff\x4f\xff\x51" in data[:4096]


def _chain(first: codecs.Array, rest: Iterator[codecs.Array]) -> Iterator[codecs.Array]:
    yield first
    yield from rest


def _encoder(target: str, shown: pixels.Pixels, photometric: str) -> codecs.Encoder:
    from node.dicom import codecs

    found = codecs.ENCODERS[target]
    if photometric not in found.takes or shown.allocated > found.most or shown.samples not in (1, 3):
        kind = f"{photometric} with {shown.samples} samples of {shown.allocated} bits"
        raise errors.UsageError(f"{kind} cannot be compressed in {target}")
    return found


def _write_decoded(
    out: Output, shown: pixels.Pixels, enc: syntaxes.Encoding, frames: Iterator[codecs.Array]
) -> None:
    """The frames as uncompressed pixel data."""
    size = shown.frame_size * shown.frames
    odd = size & 1
    vr = _vr(shown)
    out.write(reencode.head(vrs.PIXEL_DATA, vr, size + odd, enc))
    swap = enc.order == ">" and vr == "OW"
    for frame in frames:
        raw = frame.tobytes()
        out.write(reencode.swapped(raw, 2) if swap else raw)
    if odd:
        out.write(b"\0")


def _write_encoded(
    out: Output, shown: pixels.Pixels, target: str, encoder: codecs.Encoder, frames: Iterator[codecs.Array]
) -> None:
    """The frames as fragments, one each, behind their offset table."""
    enc = syntaxes.encoding(target)
    out.write(reencode.head(vrs.PIXEL_DATA, "OB", vrs.UNDEFINED, enc))
    with_table = shown.size < _OFFSETS_TO
    length = 4 * shown.frames if with_table else 0
    out.write(reencode.head(vrs.ITEM, "", length, enc))
    table = out.tell()
    out.write(bytes(length))
    offsets: list[int] = []
    place = 0
    for frame in frames:
        made = _verified(frame, shown, target, encoder)
        offsets.append(place)
        odd = len(made) & 1
        out.write(reencode.head(vrs.ITEM, "", len(made) + odd, enc))
        out.write(made)
        out.write(b"\0" * odd)
        place += 8 + len(made) + odd
    out.write(reencode.head(vrs.SEQUENCE_END, "", 0, enc))
    if with_table:
        end = out.tell()
        out.seek(table)
        out.write(struct.pack(f"<{len(offsets)}I", *offsets))
        out.seek(end)


def _verified(frame: codecs.Array, shown: pixels.Pixels, target: str, encoder: codecs.Encoder) -> bytes:
    """A frame compressed; what does not come back as it was is refused."""
    from node.dicom import codecs

    try:
        made = encoder.encode(frame, shown)
    except (RuntimeError, ValueError) as error:  # what the libraries raise
        raise errors.UsageError(f"a frame cannot be compressed in {target} ({error})") from error
    becomes = encoder.photometric.get(shown.photometric, shown.photometric)
    again, _ = codecs.decode(target, made, dataclasses.replace(shown, photometric=becomes))
    if again.shape != frame.shape or not bool((again == frame).all()):
        raise errors.UsageError(
            f"the pixels do not survive compression in {target}: they hold more than the {shown.stored} bits"
            " that they say"
        )
    return made
