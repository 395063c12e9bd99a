"""The walk over a deflated data set while it is inflated: any size, in the memory of its header.

What `check` and `walk` tolerate is tolerated here too. Nothing can be looked at twice, and where the data set
ends is known only there.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Container

from node import errors
from node.dicom import vr as vrs
from node.dicom import walk as walking
from node.dicom.syntax import Buffer, Encoding, inflated

SMALL = 4 << 20  # bytes, inflated; what has no more is inflated as a whole, which is faster
MOST = 8 << 30  # bytes, inflated, when nobody says otherwise

_CHUNK = 256 << 10  # bytes, inflated at a time
_FEED = 64 << 10  # deflated bytes given to the engine at a time: it copies what it leaves over
_VALUE = 1 << 20  # bytes of a value that is kept; larger ones at the top are no header
_SEQUENCE = 16 << 20  # bytes of a sequence that is kept
_HEADER = 64 << 20  # bytes kept in all
_NOWHERE = 1 << 62  # the end of a scope that ends with the data set
_UNDEFINED = vrs.UNDEFINED
_ODD = (b"??", b"  ", b"--")


class Stream:
    """The inflated bytes, forwards only."""

    def __init__(self, buffer: Buffer, cap: int = MOST) -> None:
        self.at = 0  # offset, in the inflated data set, of the next byte
        self._source = memoryview(buffer)
        self._fed = 0
        self._cap = cap
        self._engine = zlib.decompressobj(-zlib.MAX_WBITS)
        self._ahead = bytearray()
        self._used = 0  # of `_ahead`
        self._ended = False

    def close(self) -> None:
        """Let go of the buffer."""
        self._source.release()

    def peek(self, count: int) -> bytes:
        """The next bytes, fewer at the end."""
        while len(self._ahead) - self._used < count and not self._ended:
            self._inflate()
        return bytes(self._ahead[self._used : self._used + count])

    def take(self, count: int, keep: bytearray | None = None) -> None:
        """Go on by so many bytes, and keep them if asked; BadData when there are not so many."""
        left = count
        while left:
            have = len(self._ahead) - self._used
            if not have:
                if self._ended:
                    raise errors.BadData("the data set breaks off", offset=self.at)
                self._inflate()
                continue
            step = min(have, left)
            if keep is not None:
                keep += memoryview(self._ahead)[self._used : self._used + step]
            self._used += step
            self.at += step
            left -= step

    def only_zeros(self) -> bool:
        """Whether nothing but zero bytes is left; what was looked at is gone then."""
        while piece := self.peek(_CHUNK):
            if piece.count(0) != len(piece):
                return False
            self.take(len(piece))
        return True

    def _inflate(self) -> None:
        del self._ahead[: self._used]
        self._used = 0
        feed: Buffer = self._engine.unconsumed_tail
        if not feed:
            feed = self._source[self._fed : self._fed + _FEED]
            self._fed += len(feed)
        try:
            piece = self._engine.decompress(feed, _CHUNK)
        except zlib.error as fault:
            raise errors.BadData(f"the deflated data set cannot be inflated ({fault})") from None
        self._ahead += piece
        if self.at + len(self._ahead) > self._cap:
            raise errors.BadData(f"the deflated data set inflates to more than {self._cap} bytes")
        if self._engine.eof:
            self._ended = True
        elif not piece and not self._engine.unconsumed_tail and self._fed >= len(self._source):
            raise errors.BadData("the deflated data set breaks off", offset=len(self._source))


def check(buffer: Buffer, wanted: Container[int], *, cap: int, depth: int) -> dict[int, bytes]:
    """Hold every length against what encloses it; the values of these elements at the top.

    Raises BadData when the framing is not sound.
    """
    stream = Stream(buffer, cap)
    try:
        found: dict[int, bytes] = {}
        _Walk(stream, depth).run(wanted, found, None, _NOWHERE)
        return found
    finally:
        stream.close()


def header(buffer: Buffer, stop: int) -> bytes:
    """The inflated data set, of a large one the elements at the top before the tag `stop`.

    They are as they stand there; those whose values are too large for a header are left out.
    """
    small = inflated(buffer, SMALL)
    if small is not None:
        return small
    stream = Stream(buffer)
    try:
        kept = bytearray()
        _Walk(stream, walking.DEPTH).run((), {}, kept, stop)
        return bytes(kept)
    finally:
        stream.close()


class _Walk:
    """One walk; the scopes are as in `check`."""

    def __init__(self, stream: Stream, depth: int) -> None:
        self._stream = stream
        self._depth = depth
        self._stack: list[tuple[int, bool, bool, bool, bool]] = []
        # the scope: its end, whether a delimiter ends it, whether it holds items, whether these are fragments
        self._limit, self._undefined, self._sequence, self._fragments = _NOWHERE, False, False, False
        self._explicit = True
        self._kept: bytearray | None = None
        self._mark = 0  # where the element at the top begins in what is kept
        self._whole = True  # all of it is kept so far

    def run(self, wanted: Container[int], found: dict[int, bytes], kept: bytearray | None, stop: int) -> None:
        """Walk to the end, or before the top-level tag `stop`."""
        stream, stack = self._stream, self._stack
        self._kept = kept
        start = stream.peek(132)
        if start:
            walking.refuse_other_things(start, 0, len(start), _EXPLICIT)
        while True:
            if stream.at == self._limit and not self._undefined:
                self._pop()
                continue
            first = stream.peek(12)
            if not stack:
                self._settle()
                if not first or (first.count(0) == len(first) and stream.only_zeros()):
                    return
            if len(first) < 8 or stream.at + 8 > self._limit:
                if not stack and first.count(0) == len(first):
                    return
                walking.lie("an element's header breaks off", stream.at)
            if self._sequence:
                self._item(first)
                continue
            tag, name, header, length = self._header(first)
            if not stack and tag >= stop:
                return
            if tag in wanted and not stack and tag not in found and length != _UNDEFINED:
                found[tag] = stream.peek(header + min(length, _VALUE))[header:]
            self._element(tag, name, header, length)

    def _header(self, first: bytes) -> tuple[int, str, int, int]:
        """(tag, VR, length of the header, length of the value) of the element that comes."""
        left = self._limit - self._stream.at
        if self._explicit and first[4:6] in _ODD:
            # Read as implicit, its length would have the letters in it; the end is not known here.
            left = min(left, 8 + int.from_bytes(first[6:8], "little"))
        try:
            return walking.element_header(first, 0, min(left, _NOWHERE), self._explicit, "<")
        except struct.error:  # a header of twelve bytes, of which fewer are left
            walking.lie("an element's header breaks off", self._stream.at)
        except errors.BadData as fault:
            walking.lie(fault.why, self._stream.at, fault.tag)

    def _item(self, first: bytes) -> None:
        stream = self._stream
        group, element, length = _ITEM_HEADER(first)
        tag = group << 16 | element
        end = stream.at + 8 + length
        if tag == vrs.ITEM and self._fragments:
            if end > self._limit:
                walking.lie(
                    f"a fragment's length of {length} reaches beyond what encloses it", stream.at, tag
                )
            self._pass(8 + length)
        elif tag == vrs.ITEM:
            if length != _UNDEFINED and end > self._limit:
                walking.lie(f"an item's length of {length} reaches beyond what encloses it", stream.at, tag)
            self._push()
            self._undefined, self._sequence = length == _UNDEFINED, False
            if length != _UNDEFINED:
                self._limit = end
            self._pass(8)
        elif tag == vrs.SEQUENCE_END and length == 0:
            self._pass(8)
            if self._undefined:
                self._pop()
        else:
            walking.lie("something else than an item stands in a sequence", stream.at, tag)

    def _element(self, tag: int, name: str, header: int, length: int) -> None:
        stream = self._stream
        if tag >> 16 == 0xFFFE:
            if tag != vrs.ITEM_END or length or not self._stack:
                walking.lie("an item or delimiter stands where an element must", stream.at, tag)
            self._pass(header)
            if self._undefined:
                self._pop()
            return
        end = stream.at + header + length
        if length != _UNDEFINED:
            if end > self._limit:
                walking.lie(f"a length of {length} reaches beyond what encloses it", stream.at, tag)
            if name != "SQ":
                self._pass(header + length, at_most=_VALUE)
                return
        elif name not in walking.MAY_BE_UNDEFINED:
            walking.lie(f"a {name} of undefined length cannot be", stream.at, tag)
        self._push()
        if length != _UNDEFINED:
            self._limit = end
        self._undefined = length == _UNDEFINED
        self._fragments = tag == vrs.PIXEL_DATA or name in ("OB", "OW")
        if name == "UN":
            self._explicit = False
        self._sequence = True
        if len(self._stack) > self._depth:
            walking.lie(f"more than {self._depth} sequences and items lie within each other", stream.at, tag)
        self._pass(header)

    def _push(self) -> None:
        self._stack.append((self._limit, self._undefined, self._sequence, self._fragments, self._explicit))

    def _pop(self) -> None:
        self._limit, self._undefined, self._sequence, self._fragments, self._explicit = self._stack.pop()

    # -- what is kept -----------------------------------------------------------------------------

    def _pass(self, count: int, at_most: int = _SEQUENCE) -> None:
        """Go on, and keep what is passed while the element at the top is small enough for a header."""
        kept = self._kept
        if kept is not None and (count > at_most or len(kept) - self._mark + count > _SEQUENCE):
            self._whole = False
        if kept is None or not self._whole:
            self._stream.take(count)
        else:
            self._stream.take(count, kept)

    def _settle(self) -> None:
        """Between two elements at the top: forget the last one if it was not kept as a whole."""
        if self._kept is None:
            return
        if not self._whole:
            del self._kept[self._mark :]
        if len(self._kept) > _HEADER:
            raise errors.BadData(f"a header of more than {_HEADER} bytes", offset=self._stream.at)
        self._mark, self._whole = len(self._kept), True


_EXPLICIT = Encoding(explicit=True, order="<", deflated=True)
_ITEM_HEADER = struct.Struct("<HHI").unpack_from
