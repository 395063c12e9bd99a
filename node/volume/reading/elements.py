"""Values of a header as sorting wants them: numbers that are finite or NaN, texts that are clean.

Nothing here raises over a value: what cannot be read is absent, as if it were not there.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

from node import errors
from node.dicom import charset, scan, values
from node.dicom import syntax as syntaxes
from node.dicom import vr as vrs
from node.dicom import walk as walking
from node.volume import table

NAN = math.nan
FARTHEST = 1e7  # millimetres: no scanner is that large
_CHARSET = 0x00080005
_MOST_BYTES = 65_536  # of one value: what is longer is no number and no name
_WIDTH = {vr: struct.calcsize("=" + code) for vr, code in values.NUMBERS.items()}
_BYTES = frozenset({"UN", "OB", "OW"})


class More(Exception):
    """The header goes on behind what was given of it."""


class Left(errors.BadData):
    """A data set that gives no rows, and the kind of reason."""

    def __init__(self, kind: table.Why, why: str) -> None:
        super().__init__(why)
        self.kind = kind


def numbers(raw: bytes, vr: str, order: str) -> list[float]:
    """The numbers of a value; NaN in the place of one that cannot be read or is not finite."""
    code = values.NUMBERS.get(vr)
    if code is not None:
        count = len(raw) // _WIDTH[vr]
        found: Sequence[float] = struct.unpack_from(f"{order}{count}{code}", raw)
        return [float(one) if math.isfinite(one) else NAN for one in found]
    return [_decimal(part) for part in raw.split(b"\\")] if raw else []


def number(raw: bytes, vr: str, order: str) -> float:
    """The first number of a value, NaN when there is none."""
    if vr in ("DS", "IS"):
        return _decimal(raw if b"\\" not in raw else raw.split(b"\\", 1)[0])
    found = numbers(raw, vr, order)
    return found[0] if found else NAN


def _decimal(raw: bytes) -> float:
    try:
        found = float(raw)
    except ValueError:
        try:
            found = float(raw.strip(b"\0 "))
        except ValueError:
            return NAN
    return found if math.isfinite(found) else NAN


def vector(raw: bytes, vr: str, order: str, width: int) -> tuple[float, ...] | None:
    """So many numbers, all of them finite; None otherwise."""
    found = numbers(raw, vr, order)
    if len(found) != width or any(map(math.isnan, found)):
        return None
    return tuple(found)


def text(raw: bytes) -> str:
    """A value of a VR that knows only ASCII, its parts trimmed."""
    found = str(raw, "latin-1").strip("\0 ")
    if "\\" in found:
        return "\\".join([part.strip("\0 ") for part in found.split("\\")])
    return found


def clear(written: str, expected: str) -> str:
    """The VR to read by: the one that is written, or the expected one where bytes are all that is known."""
    return expected if written in _BYTES or not written else written


class Elements:
    """The elements of a header, or of one item in it, by tag."""

    __slots__ = ("item", "order", "table")

    def __init__(self, made: scan.Table, item: int = -1) -> None:
        self.table = made
        self.item = item  # row of the item; -1: the top
        self.order = made.encoding.order

    def raw(self, tag: int) -> bytes:
        """The bytes of a value; b"" where it is absent, or too long to be one."""
        row = self.table.top.get(tag) if self.item < 0 else self.table.find(tag, self.item)
        if row is None:
            return b""
        this = self.table.rows[row]
        if not 0 < this[4] - this[3] <= _MOST_BYTES:
            return b""
        return bytes(self.table.buffer[this[3] : this[4]])

    def long(self, tag: int) -> bytes:
        """The bytes of a value of any length."""
        row = self.table.find(tag, self.item)
        return b"" if row is None else self.table.raw(row)

    def vr(self, tag: int, expected: str) -> str:
        """The VR to read an element by."""
        row = self.table.find(tag, self.item)
        return expected if row is None else clear(self.table.rows[row][1], expected)

    def number(self, tag: int, vr: str = "DS") -> float:
        """The first number of an element, NaN where it is absent."""
        raw = self.raw(tag)
        return number(raw, self.vr(tag, vr), self.order) if raw else NAN

    def numbers(self, tag: int, vr: str = "DS") -> list[float]:
        """All numbers of an element."""
        raw = self.raw(tag)
        return numbers(raw, self.vr(tag, vr), self.order) if raw else []

    def vector(self, tag: int, width: int, vr: str = "DS") -> tuple[float, ...] | None:
        """So many finite numbers, None otherwise."""
        raw = self.raw(tag)
        return vector(raw, self.vr(tag, vr), self.order, width) if raw else None

    def text(self, tag: int) -> str:
        """The text of a code, a UID, a time; "" where it is absent."""
        return text(self.raw(tag))

    def words(self, tag: int) -> str:
        """The text of an element that Specific Character Set governs."""
        raw = self.raw(tag)
        if not raw:
            return ""
        if raw.isascii() and b"\x1b" not in raw:
            return text(raw)
        row = self.table.find(tag, self.item)
        sets = () if row is None else self.table.charsets(row)
        return charset.decode(raw, sets).strip("\0 ")

    def items(self, tag: int) -> list[Elements]:
        """The items of a sequence."""
        row = self.table.find(tag, self.item)
        if row is None:
            return []
        rows = self.table.rows
        return [Elements(self.table, at) for at in self.table.children(row) if rows[at][0] == vrs.ITEM]

    def block(self, group: int, creator: str) -> int | None:
        """The first tag, without its last byte, of the block that a private creator reserves; None: none.

        The creator is compared by its beginning and without regard to case, since releases differ in both.
        """
        wanted = creator.upper()
        for element in range(0x10, 0x20):
            found = self.text(group << 16 | element).upper()
            if found and found.startswith(wanted):
                return group << 16 | element << 8
        return None


class Flat:
    """The elements of a data set at any depth, the first of each; of many frames those of the first.

    For what is asked once of a series and stands at the top in one object and in a sequence in another.
    """

    def __init__(self, buffer: syntaxes.Buffer, syntax: str) -> None:
        made = scan.scan(buffer, syntax, stop=_FRAMES)
        self._found: dict[int, tuple[str, bytes]] = {}
        self._private: dict[tuple[int, str, int], bytes] = {}
        self._sets = made.charsets_in(-1)
        self.order = made.encoding.order
        self._take(made.buffer, made.rows)
        if made.end + 12 <= len(made.buffer):
            head = walking.element_header(
                made.buffer, made.end, len(made.buffer), made.encoding.explicit, self.order
            )
            if head[0] == _FRAMES:
                self._first_frame(made.buffer, head[2], made.encoding)

    def _first_frame(self, buffer: syntaxes.Buffer, offset: int, enc: syntaxes.Encoding) -> None:
        if offset + 8 > len(buffer):
            return
        group, element, length = struct.unpack_from(self.order + "HHI", buffer, offset)
        if group << 16 | element != vrs.ITEM:
            return
        begin, end = offset + 8, offset + 8 + length
        if length == vrs.UNDEFINED:
            end = item_end(buffer, begin, len(buffer), enc) - 8
        if begin < end <= len(buffer):
            self._take(buffer, walking.walk(buffer, begin, end, enc, most=_MOST_ROWS)[0])

    def _take(self, buffer: syntaxes.Buffer, rows: Sequence[walking.Row]) -> None:
        owners: dict[tuple[int, int], str] = {}
        for tag, vr, _, offset, end, parent in rows:
            if vr in ("SQ", "") or end - offset > _MOST_LONG:
                continue
            if not tag & 0x10000:
                if tag not in self._found:
                    self._found[tag] = (vr, bytes(buffer[offset : min(end, offset + _MOST_BYTES)]))
                continue
            element = tag & 0xFFFF
            if 0x10 <= element <= 0xFF:
                owners[parent, tag] = text(bytes(buffer[offset : min(end, offset + 64)])).upper()
            elif owner := owners.get((parent, tag & 0xFFFF0000 | element >> 8)):
                self._private.setdefault((tag >> 16, owner, element & 0xFF), bytes(buffer[offset:end]))

    def text(self, tag: int) -> str:
        """The text of an element, "" where it is absent."""
        return text(self._found.get(tag, ("", b""))[1])

    def words(self, tag: int) -> str:
        """The text of an element that Specific Character Set governs."""
        return charset.decode(self._found.get(tag, ("", b""))[1], self._sets).strip("\0 ")

    def numbers(self, tag: int, vr: str = "DS") -> list[float]:
        """The numbers of an element."""
        written, raw = self._found.get(tag, ("", b""))
        return numbers(raw, clear(written, vr), self.order)

    def number(self, tag: int, vr: str = "DS") -> float:
        """The first number of an element, NaN where it is absent."""
        found = self.numbers(tag, vr)
        return found[0] if found else NAN

    def private(self, group: int, creator: str, element: int) -> bytes:
        """The bytes of a private element in the block of a creator; b"" where it is absent."""
        return self._private.get((group, creator, element), b"")

    def private_number(self, creator: str, group: int, element: int, vr: str) -> float:
        """The first number of a private element, NaN where it is absent."""
        found = self.numbers_of(self.private(group, creator, element), vr)
        return found[0] if found else NAN

    def numbers_of(self, raw: bytes, vr: str) -> list[float]:
        """Bytes as numbers of a VR; what does not look like it is none."""
        if vr in values.NUMBERS and len(raw) % _WIDTH[vr]:
            return []
        return numbers(raw, vr, self.order)


def item_end(buffer: syntaxes.Buffer, pos: int, end: int, enc: syntaxes.Encoding) -> int:
    """Where an item of undefined length ends, its delimiter included; `pos` is its first element.

    Raises BadData where it does not end, or something stands in it that is no element.
    """
    scopes = [(True, enc.explicit)]  # whether it is an item, and whether VRs are written in it
    while scopes:
        within, explicit = scopes[-1]
        if not within:
            if pos + 8 > end:
                walking.lie("a sequence breaks off", pos)
            group, element, length = struct.unpack_from(enc.order + "HHI", buffer, pos)
            tag, pos = group << 16 | element, pos + 8
            if tag == vrs.SEQUENCE_END:
                scopes.pop()
            elif tag != vrs.ITEM:
                walking.lie("something else than an item stands in a sequence", pos - 8, tag)
            elif length == vrs.UNDEFINED:
                scopes.append((True, explicit))
            else:
                pos += length
        else:
            tag, name, pos, length = walking.element_header(buffer, pos, end, explicit, enc.order)
            if tag == vrs.ITEM_END:
                scopes.pop()
            elif length == vrs.UNDEFINED:
                scopes.append((False, explicit and name != "UN"))
            else:
                pos += length
        if pos > end or len(scopes) > walking.DEPTH:
            walking.lie("a length reaches beyond what encloses it", pos)
    return pos


_FRAMES = 0x52009230
_MOST_LONG = 16 << 20
_MOST_ROWS = 20_000
