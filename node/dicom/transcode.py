"""A data set in another transfer syntax: its encoding, its pixel data, and what speaks of them.

Whatever else stands in the data set stays as it is, byte for byte where the encoding of elements stays the
same. Compressed pixel data is decoded and compressed again frame by frame; nothing is compressed with loss.
What was compressed here is decoded again and compared before it is believed.
"""

from __future__ import annotations

import dataclasses
import itertools
import zlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from node import errors
from node.dicom import codestream, edit, frames, pixels, reencode, scan
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
# What can be made with loss, where somebody says so; lossy.encoder makes them.
LOSSY = (_JPEG + "50", _JPEG + "51", _JPEG + "81", _JPEG + "91")
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
_IMAGE_TYPE, _SOP_CLASS, _SOP_INSTANCE, _DERIVATION = 0x00080008, 0x00080016, 0x00080018, 0x00082111
_EXTENDED = (0x7FE00001, 0x7FE00002, 0x7FE00003)  # offsets, lengths, total length
_RUN = 64  # bytes that one byte of an RLE frame makes at most
_DEFLATED = 1040  # the same of a deflated frame


@dataclasses.dataclass(frozen=True, slots=True)
class Loss:
    """That somebody wants compression with loss, which nothing here does by itself."""

    instance: str  # SOP Instance UID of what comes out: it is another instance (PS3.3 C.7.6.1.1.5)
    quality: float | None = None  # in the words of the compression, see `lossy`; None: its default


def targets(syntax: str) -> tuple[str, ...]:
    """The transfer syntaxes that a data set in this one can be made into without loss, best first."""
    if syntax not in NATIVE and syntax not in _READ:
        return ()
    return tuple(one for one in (*NATIVE, *COMPRESSED) if one != syntax)


def transcode(
    buffer: Buffer, syntax: str, target: str, out: frames.Output, *, loss: Loss | None = None
) -> int:
    """Write the data set in the target's syntax; its length in bytes.

    Raises BadData when it is not what it says, and UsageError when there is no way from one to the other.
    With `loss`, and only with it, the syntaxes of LOSSY are targets too, and the only ones.
    """
    possible = targets(syntax) if loss is None else LOSSY if targets(syntax) else ()
    if target not in possible:
        raise errors.UsageError(f"nothing here makes {target} of {syntax}")
    begun = out.tell()
    enc = syntaxes.encoding(syntax)
    if enc.deflated:
        buffer = syntaxes.inflate(buffer, INFLATE_CAP)
        syntax, enc = syntaxes.EXPLICIT_LITTLE, syntaxes.encoding(syntaxes.EXPLICIT_LITTLE)
    if target == syntax and loss is None:
        out.write(buffer)
    elif syntaxes.encoding(target).deflated:
        deflating = _Deflating(out)
        _Transcoding(buffer, syntax, syntaxes.EXPLICIT_LITTLE).write(deflating)
        deflating.finish(begun)
    else:
        _Transcoding(buffer, syntax, target, loss).write(out)
    return out.tell() - begun


class _Deflating:
    """An output that deflates what is written to it."""

    def __init__(self, out: frames.Output) -> None:
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

    def __init__(self, buffer: Buffer, syntax: str, target: str, loss: Loss | None = None) -> None:
        self._syntax, self._target, self._loss = syntax, target, loss
        self._from, self._to = syntaxes.encoding(syntax), syntaxes.encoding(target)
        self._view = memoryview(buffer)
        self._table = scan.Table(buffer, self._from, *walking.walk(buffer, 0, len(buffer), self._from))
        self._row = self._table.find(vrs.PIXEL_DATA)

    def write(self, out: frames.Output) -> None:
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

    def _write_elements(
        self, out: frames.Output, start: int, end: int, changes: Sequence[edit.Change]
    ) -> None:
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
            found.append(_Icon(f"{where}.PixelData", raw + b"\0" * (len(raw) & 1), vr=frames.vr(shown)))
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

    def _write_native(self, out: frames.Output, offset: int, end: int) -> None:
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
        self, out: frames.Output, start: int, shown: pixels.Pixels, source: list[pixels.Fragments]
    ) -> None:
        """What stands before the pixel data, changed as its first frame says, and every frame."""
        first, photometric, image = self._decoded(source[0], shown)
        decoded = dataclasses.replace(shown, photometric=photometric, planar=False)
        arrays = itertools.chain([first], (self._decoded(parts, shown)[0] for parts in source[1:]))
        changes = [*self._icons(), *self._about(shown, photometric, image, source)]
        if not self._to.encapsulated:
            self._write_elements(out, 0, start, changes)
            frames.write_decoded(out, decoded, self._to, arrays)
            return
        encoder = frames.encoder(self._target, decoded, self._loss.quality if self._loss else None)
        becomes = encoder.photometric.get(photometric, photometric)
        if becomes != photometric:
            changes.append(edit.Set("PhotometricInterpretation", becomes))
        coded = (frames.compressed(array, decoded, self._target, encoder) for array in arrays)
        if self._loss is not None:  # what it came to is said before it
            kept = list(coded)
            changes += self._lost(self._loss, decoded, encoder, sum(map(len, kept)))
            coded = (one for one in kept)
        self._write_elements(out, 0, start, changes)
        frames.write_encoded(out, decoded, self._to, coded)

    def _lost(
        self, loss: Loss, shown: pixels.Pixels, encoder: codecs.Encoder, size: int
    ) -> Iterator[edit.Change]:
        """What must be said of an image of which something is lost now."""
        said = {tag: self._text(tag) for tag in (pixels.RATIO, pixels.METHOD, _DERIVATION)}
        ratio = f"{shown.size / max(size, 1):.2f}"
        yield edit.Set("LossyImageCompression", "01")
        yield edit.Set("LossyImageCompressionRatio", _more(said[pixels.RATIO], ratio))
        yield edit.Set("LossyImageCompressionMethod", _more(said[pixels.METHOD], encoder.method))
        kind = self._text(_IMAGE_TYPE).split("\\")
        yield edit.Set("ImageType", "\\".join(["DERIVED", *(kind[1:] or ["PRIMARY"])]))
        words = f"Lossy compression ({encoder.method}) {ratio}:1"
        yield edit.Set(
            "DerivationDescription", f"{said[_DERIVATION]}; {words}" if said[_DERIVATION] else words
        )
        source = {
            "ReferencedSOPClassUID": self._text(_SOP_CLASS),
            "ReferencedSOPInstanceUID": self._text(_SOP_INSTANCE),
        }
        yield edit.Set("SourceImageSequence", [source])
        yield edit.Set("SOPInstanceUID", loss.instance)

    def _text(self, tag: int) -> str:
        row = self._table.find(tag)
        return "" if row is None else self._table.raw(row).decode("latin-1").strip(" \0")

    def _about(
        self,
        shown: pixels.Pixels,
        photometric: str,
        image: codestream.Image | None,
        source: list[pixels.Fragments],
    ) -> Iterator[edit.Change]:
        """What the elements before the pixel data must say of it."""
        top = self._table.top
        for tag in (*_EXTENDED, 0x7FE00000):
            if tag in top:
                yield edit.Remove(f"{tag >> 16:04X},{tag & 0xFFFF:04X}")
        if photometric != shown.photometric:
            yield edit.Set("PhotometricInterpretation", photometric)
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


def _is_2000(data: bytes) -> bool:
    return b"\xff\x4f\xff\x51" in data[:4096]


def _more(said: str, value: str) -> str:
    """One value behind those that are there."""
    return f"{said}\\{value}" if said else value
