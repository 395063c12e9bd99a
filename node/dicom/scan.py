"""A table of a data set's elements, read from its bytes without building a data set.

Iterative, bounded, and never trusting a length: whatever does not fit its surroundings is a `BadData`
that names offset and tag. `check` is the shorter walk that every received instance goes through,
`part10` finds the data set in a file, `inflate` unpacks a deflated one.
"""

from __future__ import annotations

import bisect
import struct
from collections.abc import Iterator
from typing import NamedTuple

from node.dicom import inflating, layouts, values
from node.dicom import vr as vrs
from node.dicom import walk as walking
from node.dicom.check import check
from node.dicom.part10 import Part10, part10
from node.dicom.syntax import Buffer, Encoding, encoding, inflate

__all__ = [
    "Buffer",
    "Element",
    "Encoding",
    "Part10",
    "Table",
    "check",
    "encoding",
    "inflate",
    "part10",
    "scan",
]


class Element(NamedTuple):
    """One row of a table, for those who prefer names to positions."""

    tag: int  # group << 16 | element
    vr: str  # as written, or by the dictionary in implicit VR; "" for an item
    start: int  # where its header begins
    offset: int  # where its value begins
    end: int  # where the next element begins; a delimiter is included
    parent: int  # row of the item (of an element) or sequence (of an item) around it; -1: none


class Table:
    """The elements of a data set in the order of their bytes; `rows` are plain tuples as in `walk.Row`."""

    __slots__ = (
        "_children",
        "_primed",
        "_primed_tags",
        "_sets",
        "_top",
        "_tops",
        "_unknown",
        "buffer",
        "encoding",
        "end",
        "rows",
    )

    def __init__(self, buffer: Buffer, enc: Encoding, rows: list[walking.Row], end: int) -> None:
        self.buffer = buffer  # the bytes that offsets point into; the inflated ones of a deflated data set
        self.encoding = enc
        self.rows = rows
        self.end = end  # where the walk ended: before `stop`, or behind the last element
        self._top: dict[int, int] | None = None
        self._primed: dict[int, int] = {}
        self._primed_tags: frozenset[int] = frozenset()
        self._tops: tuple[list[int], list[int]] | None = None
        self._children: dict[int, list[int]] | None = None
        self._sets: dict[int, tuple[str, ...]] = {}
        self._unknown: dict[int, bool] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Element]:
        return map(Element._make, self.rows)

    def __getitem__(self, row: int) -> Element:
        return Element._make(self.rows[row])

    @property
    def top(self) -> dict[int, int]:
        """Row by tag of the elements that lie in no sequence; of a tag that stands twice, the first."""
        if self._top is None:
            self._top = layouts.tops(self.rows)
        return self._top

    def repeated_among(self, tags: frozenset[int]) -> list[int]:
        """Rows at the top with one of these tags that stood there before, which no data set should have."""
        if self._top is None and self._primed_tags == tags:  # then each was met once
            return []
        rows, top = self.rows, self.top
        if isinstance(rows, layouts.KnownRows) and rows.once is None:
            rows.once = len(top) == sum(row[5] < 0 for row in rows)
        if isinstance(rows, layouts.KnownRows) and rows.once:
            return []
        return [at for at, row in enumerate(rows) if row[0] in tags and row[5] < 0 and top[row[0]] != at]

    def prime(self, tags: frozenset[int]) -> dict[int, int]:
        """Row by tag of these top-level elements, for who needs few of them; `find` then answers from it."""
        if self._top is not None or isinstance(self.rows, layouts.KnownRows):
            return self.top
        pairs = [(row[0], at) for at, row in enumerate(self.rows) if row[0] in tags and row[5] < 0]
        primed = dict(pairs)
        if len(primed) != len(pairs):  # of a tag that stands twice, the first
            return self.top
        self._primed, self._primed_tags = primed, tags
        return primed

    def place(self, tag: int) -> int:
        """Where an element belongs at the top: before the first with a higher tag, or at the end."""
        if self._tops is None:
            tags = list(self.top)
            self._tops = (tags, list(self.top.values())) if tags == sorted(tags) else ([], [])
        tags, at = self._tops
        if tags:
            place = bisect.bisect_left(tags, tag)
            return self.rows[at[place]][2] if place < len(tags) else self.end
        for row in self.rows:
            if row[5] < 0 and row[0] > tag:
                return row[2]
        return self.end

    def children(self, row: int) -> list[int]:
        """Rows directly within a sequence, an item, encapsulated pixel data, or the top (-1)."""
        if self._children is None:
            found: dict[int, list[int]] = {}
            for at, this in enumerate(self.rows):
                found.setdefault(this[5], []).append(at)
            self._children = found
        return self._children.get(row, [])

    def find(self, tag: int, within: int = -1) -> int | None:
        """The row of an element, at the top or in the item of a row."""
        if within < 0:
            if self._top is None and tag in self._primed_tags:
                return self._primed.get(tag)
            return self.top.get(tag)
        return next((at for at in self.children(within) if self.rows[at][0] == tag), None)

    def undefined(self, row: int) -> bool:
        """Whether the row's length is written as undefined."""
        this = self.rows[row]
        if this[1] not in _MAYBE_UNDEFINED:
            return False
        return bytes(self.buffer[this[3] - 4 : this[3]]) == b"\xff\xff\xff\xff"

    def raw(self, row: int) -> bytes:
        """The value's bytes; of a sequence or of encapsulated pixel data everything up to its delimiter."""
        this = self.rows[row]
        end = this[4] - 8 if self.undefined(row) else this[4]
        return bytes(self.buffer[this[3] : end])

    def charsets(self, row: int) -> tuple[str, ...]:
        """The character sets that govern an element: its item's own, or those of the data set around it."""
        return self.charsets_in(self.rows[row][5])

    def charsets_in(self, item: int) -> tuple[str, ...]:
        """The character sets that govern an item, or the top (-1)."""
        chain: list[int] = []
        while item not in self._sets:
            at = self.find(_CHARSET, item)
            if at is not None:
                text = self.raw(at).decode("latin-1").strip(" \0")
                self._sets[item] = tuple(part.strip() for part in text.split("\\")) if text else ()
                break
            if item < 0:
                self._sets[item] = ()
                break
            chain.append(item)
            item = self.rows[self.rows[item][5]][5]
        found = self._sets[item]
        for link in chain:
            self._sets[link] = found
        return found

    def within_unknown(self, row: int) -> bool:
        """Whether a sequence that is written as UN lies around a row, or is the row: implicit VR within."""
        chain: list[int] = []
        found = False
        while row >= 0:
            if row in self._unknown:
                found = self._unknown[row]
                break
            chain.append(row)
            if self.rows[row][1] == "UN":
                found = True
                break
            row = self.rows[row][5]
        self._unknown.update(dict.fromkeys(chain, found))
        return found

    def value(self, row: int) -> values.Value:
        """The decoded value; of a sequence or encapsulated pixel data the rows of its items."""
        this = self.rows[row]
        if this[1] == "SQ" or (this[1] in _MAYBE_UNDEFINED and self.undefined(row)):
            return self.children(row)
        sets = self.charsets(row) if this[1] in values.TEXT_VRS else ()
        vr, order = this[1], self.encoding.order
        if vr == "UN":  # what is known although it was written as unknown, little endian then (PS3.5 6.2.2)
            if self.children(row):
                return self.children(row)
            vr, order = vrs.IMPLICIT[this[0]], "<"
            if vr == "UN" and this[0] & 0x10000 and (creator := self.creator(row)):
                vr = vrs.private(creator, this[0])
            if vr == "SQ":
                vr = "UN"
            sets = self.charsets(row) if vr in values.TEXT_VRS else ()
        return values.decode(bytes(self.buffer[this[3] : this[4]]), vr, order, sets)

    def get(self, tag: int, within: int = -1) -> values.Value:
        """The decoded value of an element, None when it is absent or empty."""
        row = self.find(tag, within)
        return None if row is None else self.value(row)

    def creator(self, row: int) -> str:
        """The private creator that reserves a private element's block, "" when there is none."""
        tag, parent = self.rows[row][0], self.rows[row][5]
        if not tag >> 16 & 1 or tag & 0xFFFF < 0x1000:
            return ""
        owner = self.find(tag & 0xFFFF0000 | (tag & 0xFFFF) >> 8, parent)
        return "" if owner is None else self.raw(owner).decode("latin-1").strip(" \0")

    def fragments(self, row: int) -> list[tuple[int, int]]:
        """(offset, end) of the fragments of encapsulated pixel data, without the basic offset table."""
        return [(self.rows[at][3], self.rows[at][4]) for at in self.children(row)[1:]]

    def offset_table(self, row: int) -> tuple[int, ...]:
        """The basic offset table of encapsulated pixel data, () when it is empty."""
        items = self.children(row)
        if not items:
            return ()
        raw = self.raw(items[0])
        return struct.unpack_from(f"<{len(raw) // 4}I", raw)

    def extended_offsets(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Extended Offset Table and its lengths, () where absent."""
        return tuple(_as_tuple(self.get(tag)) for tag in (0x7FE00001, 0x7FE00002))  # type: ignore[return-value]


_CHARSET = 0x00080005
_MAYBE_UNDEFINED = frozenset({"SQ", "UN", "OB", "OW", ""})


def _as_tuple(value: values.Value) -> tuple[int, ...]:
    if isinstance(value, bytes):  # OV
        return struct.unpack_from(f"<{len(value) // 8}Q", value)
    return () if value is None else value if isinstance(value, tuple) else (value,)


def scan(
    buffer: Buffer,
    syntax: str,
    *,
    offset: int = 0,
    end: int | None = None,
    stop: int | None = None,
    depth: int = walking.DEPTH,
) -> Table:
    """The table of the data set at `offset`, up to `end` and before the top-level tag `stop`.

    Of a deflated data set, the table's buffer is the inflated one; with `stop`, of a large one, no more of it
    than a header needs. What is tolerated stands in `walk`.
    """
    enc = encoding(syntax)
    finish = len(buffer) if end is None else end
    if enc.deflated:
        deflated = memoryview(buffer)[offset:finish]
        buffer, offset = inflate(deflated) if stop is None else inflating.header(deflated, stop), 0
        finish = len(buffer)
    rows, stopped = walking.walk(buffer, offset, finish, enc, stop=stop, depth=depth)
    return Table(buffer, enc, rows, stopped)
