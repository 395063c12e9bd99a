"""Data sets made of another's elements: read as bytes, kept, dropped or set, and written as Part 10 files."""

from __future__ import annotations

import contextlib
import io
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from node import errors
from node.dicom import charset as charsets
from node.dicom import edit, encode, reencode, scan, syntax, transcode, values
from node.dicom import vr as vrs
from node.files import layout
from node.formats import whole
from node.volume import table

EXPLICIT = syntax.EXPLICIT_LITTLE
_PIXELS = 0x7FE00000  # the group of pixel data in all its kinds; nothing behind it belongs to a header
_FIRST = 64 << 10  # bytes in which most headers are whole
_MOST = 1 << 28  # bytes of a header
_CHARSET = 0x00080005
UTF8 = "ISO_IR 192"


class Elements:
    """The top-level elements of a data set in explicit little endian, each as its bytes."""

    __slots__ = ("held", "sets")

    def __init__(self, held: Mapping[int, bytes], sets: tuple[str, ...] = ()) -> None:
        self.held = dict(held)  # whole elements by tag, sequences with all that is in them
        self.sets = sets  # the character sets that govern its texts

    def __contains__(self, tag: int) -> bool:
        return tag in self.held

    def copy(self) -> Elements:
        """Another one that can be changed alone."""
        return Elements(self.held, self.sets)

    def get(self, tag: int) -> values.Value:
        """A value, None when it is absent or empty; of a sequence the bytes of its items."""
        raw = self.held.get(tag)
        if raw is None:
            return None
        vr = raw[4:6].decode("latin-1")
        long = vr in vrs.LONG_VRS
        value = raw[12:] if long else raw[8:]
        if vr == "SQ":
            undefined = raw[8:12] == b"\xff\xff\xff\xff"
            return value[:-8] if undefined else value
        return values.decode(value, vr, "<", self.sets)

    def text(self, tag: int) -> str:
        """A value as text, several joined by backslashes; "" when it is absent or empty."""
        value = self.get(tag)
        several = value if isinstance(value, tuple) else (value,)
        return "\\".join("" if one is None else str(one) for one in several)

    def number(self, tag: int) -> float | None:
        """The first of its values as a number; None where it is none."""
        value = self.get(tag)
        first = value[0] if isinstance(value, tuple) and value else value
        return float(first) if isinstance(first, (int, float)) else None

    def set(self, tag: int, value: values.Value, vr: str = "") -> None:
        """Give an element a value; a text that the character sets do not hold makes all of it UTF-8."""
        kind = vr or vrs.of(tag)
        try:
            self.held[tag] = encode.whole(tag, kind, value, self._form)
        except charsets.Unencodable:
            again = _split(_recoded(self.bytes()), EXPLICIT)
            self.held, self.sets = again.held, again.sets
            self.held[tag] = encode.whole(tag, kind, value, self._form)

    def recode(self, sets: tuple[str, ...]) -> None:
        """Write every text in other character sets; in UTF-8 where they do not hold it."""
        data = self.bytes()
        try:
            data = edit.edit(data, EXPLICIT, [edit.Set("SpecificCharacterSet", list(sets))]).tobytes()
        except errors.UsageError:
            data = _recoded(data)
        again = _split(data, EXPLICIT)
        self.held, self.sets = again.held, again.sets

    def offer(self, tag: int, value: values.Value) -> None:
        """Give an element a value that comes from outside; one that its VR cannot hold leaves it as it is."""
        with contextlib.suppress(values.BadValue):
            self.set(tag, value)

    def default(self, tag: int, value: values.Value, vr: str = "") -> None:
        """Give an element a value where it has none."""
        if tag not in self.held:
            self.set(tag, value, vr)

    def sequence(self, tag: int, items: Iterable[bytes]) -> None:
        """Make a sequence of items' contents."""
        self.held[tag] = encode.sequence(tag, list(items), self._form)

    def append(self, tag: int, content: bytes) -> None:
        """Add an item to a sequence, which is made if it is not there."""
        before = self.get(tag)
        held = before if isinstance(before, bytes) else b""
        self.held[tag] = encode.element(tag, "SQ", held + encode.item(content, self._form), self._form)

    def item(self, content: Mapping[Any, values.Value]) -> bytes:
        """An item's content from values."""
        return encode.dataset(content, self._form)

    def drop(self, tags: Iterable[int]) -> None:
        """Take elements out."""
        for tag in tags:
            self.held.pop(tag, None)

    def bytes(self) -> bytes:
        """All elements in the order of their tags."""
        return b"".join(self.held[tag] for tag in sorted(self.held))

    @property
    def _form(self) -> encode.Form:
        return encode.Form(explicit=True, order="<", sets=self.sets)


def read(source: table.Source, *, private: bool = False) -> Elements:
    """The elements of a data set at rest up to its pixel data; without `private`, none that is private."""
    try:
        with open(source.path, "rb") as file:
            found = _scanned(file.fileno(), source)
    except OSError as error:
        raise errors.BadData(f"{source.path} cannot be read ({error.strerror})") from error
    except errors.BadData as fault:
        raise errors.BadData(f"{source.path}: {fault}") from fault
    if found.encoding != syntax.encoding(EXPLICIT):
        plain = bytes(reencode.reencode(found, syntax.encoding(EXPLICIT)))
        found = scan.scan(plain, EXPLICIT)
    if not private and any(row[0] >> 16 & 1 and row[5] >= 0 for row in found.rows):
        begin = found.rows[0][2] if found.rows else 0
        plain = bytes(found.buffer[begin : found.end])
        found = scan.scan(edit.edit(plain, EXPLICIT, [edit.Remove("**.@private")]).tobytes(), EXPLICIT)
    return _elements(found, private=private)


def _scanned(descriptor: int, source: table.Source) -> scan.Table:
    """The header's table, of no more of the file than it takes."""
    size = min(source.size, _MOST)
    room = size if syntax.encoding(source.syntax).deflated else min(_FIRST, size)
    if source.place is not None and not syntax.encoding(source.syntax).deflated:
        room = min(size, max(source.place.offset - source.offset, 0) + 64)
    while True:
        buffer = os.pread(descriptor, room, source.offset)
        try:
            found = scan.scan(buffer, source.syntax, stop=_PIXELS)
        except errors.BadData:
            if len(buffer) >= size or len(buffer) < room:
                raise
        else:
            if found.end < len(buffer) or len(buffer) >= size or len(buffer) < room:
                return found
        room = min(size, room * 8)


def _elements(found: scan.Table, *, private: bool) -> Elements:
    held = {
        tag: bytes(found.buffer[found.rows[row][2] : found.rows[row][4]])
        for tag, row in found.top.items()
        if tag & 0xFFFF and 0x00080000 <= tag < _PIXELS and (private or not tag >> 16 & 1)
    }
    return Elements(held, found.charsets_in(-1))


def first_item(items: bytes) -> Elements | None:
    """The elements of the first item of a sequence, from the bytes of its items; None: there is none."""
    if len(items) < 8:
        return None
    length = int.from_bytes(items[4:8], "little")
    if length == 0xFFFFFFFF:
        length = scan.scan(items, EXPLICIT, offset=8, stop=0xFFFEE00D).end - 8
    found = scan.scan(items, EXPLICIT, offset=8, end=min(8 + length, len(items)))
    return _elements(found, private=True)


def _split(data: bytes, encoding: str) -> Elements:
    return _elements(scan.scan(data, encoding), private=True)


def _recoded(data: bytes) -> bytes:
    return edit.edit(data, EXPLICIT, [edit.Set("SpecificCharacterSet", UTF8)]).tobytes()


def native(size: int, vr: str) -> tuple[bytes, bytes]:
    """What stands before and behind so many bytes of native pixel data: its header, and padding."""
    pad = b"\0" if size & 1 else b""
    length = size + len(pad)
    if length > 0xFFFFFFFE:
        raise errors.UsageError(f"{length} bytes of pixels are more than one DICOM object holds")
    head = b"\xe0\x7f\x10\x00" + vr.encode() + b"\0\0" + length.to_bytes(4, "little")
    return head, pad


def write(
    path: pathlib.Path,
    sop_class: str,
    sop_instance: str,
    parts: Iterable[bytes | memoryview],
    target: str = EXPLICIT,
) -> None:
    """Write a Part 10 file of a data set in parts; in another transfer syntax if one is named."""
    if target != EXPLICIT:
        out = io.BytesIO()
        transcode.transcode(b"".join(parts), EXPLICIT, target, out)
        parts = (out.getbuffer(),)
    head = layout.plain_head(sop_class, sop_instance, target)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o666)
        try:
            whole.write(descriptor, head, *parts)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise whole.failed(path, error) from error
