"""The elements of a data set in another encoding: implicit or explicit VR, either byte order.

Values are copied as they are, or with their bytes swapped; sequences keep the form of their length. Group
lengths are left out, since they would be wrong and nobody needs them (PS3.5 7.2).
"""

from __future__ import annotations

import array
import struct

from node import errors
from node.dicom import encode, scan
from node.dicom import vr as vrs
from node.dicom.syntax import Encoding

_WORD = {
    **dict.fromkeys(("US", "SS", "OW", "AT"), 2),
    **dict.fromkeys(("UL", "SL", "FL", "OF", "OL"), 4),
    **dict.fromkeys(("FD", "OD", "OV", "SV", "UV"), 8),
}
_ITEM_END = struct.pack("<HHI", 0xFFFE, 0xE00D, 0), struct.pack(">HHI", 0xFFFE, 0xE00D, 0)
_SEQUENCE_END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0), struct.pack(">HHI", 0xFFFE, 0xE0DD, 0)
_PIXEL_REPRESENTATION = 0x00280103


def reencode(table: scan.Table, target: Encoding, *, signed: bool | None = None) -> bytearray:
    """The data set of a table in another encoding.

    `signed` tells whether its pixels are, for a table without Pixel Representation.
    """
    return _Writer(table, target, signed).write()


def swapped(value: bytes | memoryview, width: int) -> bytes:
    """The bytes with each word of this width turned round; what is left at the end stays."""
    whole = len(value) // width * width
    words = array.array(_CODE[width], bytes(value[:whole]))
    words.byteswap()
    return words.tobytes() + bytes(value[whole:])


_CODE = {2: "H", 4: "I", 8: "Q"}


class _Writer:
    """The output, and the scopes that are open in it."""

    def __init__(self, table: scan.Table, target: Encoding, signed: bool | None) -> None:
        self._table = table
        self._target = target
        self._swaps = table.encoding.order != target.order
        self._end = target.order == ">"
        self._out = bytearray()
        self._open: list[tuple[int, int, bool]] = []  # row, place of its content, length undefined
        self._signed = {-1: self._is_signed(-1) if signed is None else signed}
        self._view = memoryview(table.buffer)

    def write(self) -> bytearray:
        until = 0  # where what was copied whole ends
        for at, (tag, vr, start, offset, end, parent) in enumerate(self._table.rows):
            if start < until:
                continue
            self._close_to(parent)
            if tag == vrs.ITEM or vr == "SQ":
                self._begin(at, tag, vr)
            elif tag & 0xFFFF == 0:
                continue
            elif self._table.undefined(at):
                # A sequence as UN: its content is implicit little endian wherever it stands (PS3.5 6.2.2).
                if vr != "UN":
                    raise errors.UsageError(
                        f"{vrs.show(tag)} holds compressed data, which another transfer syntax cannot hold"
                    )
                self._unknown(tag, offset, end)
                until = end
            else:
                self._element(at)
                until = end
        self._close_to(-1)
        return self._out

    def _unknown(self, tag: int, offset: int, end: int) -> None:
        if self._table.encoding.order == ">":
            raise errors.UsageError(
                f"{vrs.show(tag)} is an unknown sequence in big endian, which nothing defines"
            )
        if self._end:  # most would read its items in big endian too: they go as bytes that nobody looks into
            end -= 8
            self._head(tag, "UN", end - offset)
        else:
            self._head(tag, "UN", vrs.UNDEFINED)
        self._out += self._view[offset:end]

    def _element(self, at: int) -> None:
        tag, vr, _, offset, end, _ = self._table.rows[at]
        if not self._table.encoding.explicit:
            vr = self._vr(at)
        value: memoryview | bytes = self._view[offset:end]
        width = _WORD.get(vr) if self._swaps else None
        if width:
            value = swapped(value, width)
        odd = len(value) & 1  # some write odd lengths; ours are even
        length = len(value) + odd
        if self._target.explicit and vr in _SHORT and length > 0xFFFF:
            if self._swaps and width:
                raise errors.UsageError(f"{vrs.show(tag)} is too long for its VR in {_words(self._target)}")
            vr = "UN"
        self._head(tag, vr, length)
        self._out += value
        if odd:
            self._out += b"\0" if vr in _BINARY else b" "

    def _vr(self, at: int) -> str:
        """The VR that implicit VR does not tell."""
        tag, vr, _, _, _, parent = self._table.rows[at]
        if vrs.signed_or_not(tag):
            return "SS" if self._signed_in(parent) else "US"
        if vr == "UN" and tag & 0x10000:
            creator = self._table.creator(at)
            known = vrs.private(creator, tag) if creator else "UN"
            # What a dictionary of vendors says to be a sequence was not read as one.
            return "UN" if known == "SQ" else known
        return vr

    def _signed_in(self, scope: int) -> bool:
        """Whether pixels are signed in an item: by its own word, or by that of what lies around it."""
        found = self._signed.get(scope)
        if found is None:
            if self._table.find(_PIXEL_REPRESENTATION, scope) is not None:
                found = self._is_signed(scope)
            else:
                found = self._signed[-1]
            self._signed[scope] = found
        return found

    def _is_signed(self, scope: int) -> bool:
        return self._table.get(_PIXEL_REPRESENTATION, scope) in (1, (1,))

    def _begin(self, at: int, tag: int, vr: str) -> None:
        """The head of a sequence or item; a defined length is written when it is known."""
        undefined = self._table.undefined(at)
        self._head(tag, vr, vrs.UNDEFINED if undefined else 0)
        self._open.append((at, len(self._out), undefined))

    def _close_to(self, parent: int) -> None:
        while self._open and self._open[-1][0] != parent:
            at, begun, undefined = self._open.pop()
            if not undefined:
                self._out[begun - 4 : begun] = encode.number(len(self._out) - begun, self._target.order)
            elif self._table.rows[at][0] == vrs.ITEM:
                self._out += _ITEM_END[self._end]
            else:
                self._out += _SEQUENCE_END[self._end]

    def _head(self, tag: int, vr: str, length: int) -> None:
        self._out += head(tag, vr, length, self._target)


def head(tag: int, vr: str, length: int, enc: Encoding) -> bytes:
    """The header of an element or, without a VR, of an item."""
    group, rest = tag >> 16, tag & 0xFFFF
    if not enc.explicit or not vr:
        return struct.pack(enc.order + "HHI", group, rest, length)
    if vr in _SHORT:
        return struct.pack(enc.order + "HH2sH", group, rest, vr.encode(), length)
    return struct.pack(enc.order + "HH2sHI", group, rest, vr.encode(), 0, length)


def _words(enc: Encoding) -> str:
    order = "little endian" if enc.order == "<" else "big endian"
    return f"{'explicit' if enc.explicit else 'implicit'} VR {order}"


_SHORT = frozenset(vrs.SHORT_VRS)
_BINARY = frozenset({"UI", "OB", "UN", *_WORD})
