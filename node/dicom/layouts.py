"""Whole data sets whose every header was seen before, at the same places: their rows need not be made again.

The next file of a series often has elements of the very same lengths. If all its headers and delimiters equal
those that a table was made from, the table is the same: nothing else of a data set decides where an element
begins. Where something else did (a sequence written as UN that had to be tried, a stray delimiter, padding),
nothing is kept.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from node.dicom import vr as vrs
from node.dicom.shapes import Row
from node.dicom.syntax import Buffer

_MOST_ROWS = 2000  # of one layout; longer tables are rarely met twice
_MOST_KEYS = 256  # some 20 MB at most; then everything is forgotten
_MOST_SEEN = 8192
_CANDIDATES = 8  # layouts kept for one length of the data set, the last that served first

_Key = tuple[int, int, int | None, int]  # where it begins and ends, where the walk stops, how deep it goes
_Layout = tuple[Callable[..., tuple[Any, ...]], tuple[Any, ...], "KnownRows", int]


class KnownRows(list[Row]):
    """The rows of a layout, shared by all tables of that layout and never changed."""

    __slots__ = ("once", "top")

    def __init__(self, rows: Sequence[Row]) -> None:
        super().__init__(rows)
        self.top: dict[int, int] | None = None  # row by tag at the top, when somebody has asked
        self.once: bool | None = None  # whether each tag stands there once, when somebody has asked


class Layouts:
    """Layouts of one way of writing elements. Threads may share it: entries are replaced, never changed."""

    def __init__(self, *, explicit: bool) -> None:
        self.explicit = explicit
        self._known: dict[_Key, tuple[_Layout, ...]] = {}
        self._seen: set[tuple[_Key, int, int]] = set()

    def recall(self, buffer: Buffer, key: _Key) -> tuple[KnownRows, int] | None:
        """The rows and the end of the walk, when every header stands as it stood before."""
        known = self._known.get(key)
        if known is None:
            return None
        for number, layout in enumerate(known):
            if layout[0](buffer, key[0]) == layout[1]:
                if number:
                    self._known[key] = (layout, *(other for other in known if other is not layout))
                return layout[2], layout[3]
        return None

    def learn(self, buffer: Buffer, key: _Key, rows: Sequence[Row], stopped: int) -> None:
        """Keep what a walk found, which ended at `stop` or at the end, if it is met a second time."""
        if not 0 < len(rows) <= _MOST_ROWS:
            return
        # Some rows are enough to tell that it was met before: what is kept is compared as a whole.
        signature = (key, len(rows), hash(tuple(map(_START, rows[::4]))))
        if signature not in self._seen:
            if len(self._seen) >= _MOST_SEEN:
                self._seen.clear()
            self._seen.add(signature)
            return
        self._seen.discard(signature)
        form = _form(buffer, rows, key[0], stopped, key[1], explicit=self.explicit)
        if form is None:
            return
        read = struct.Struct(form).unpack_from
        layout = (read, read(buffer, key[0]), KnownRows(rows), stopped)
        if len(self._known) >= _MOST_KEYS:
            self._known.clear()
        self._known[key] = (layout, *self._known.get(key, ())[: _CANDIDATES - 1])

    def forget(self) -> None:
        """Everything is new again; for measurements."""
        self._known.clear()
        self._seen.clear()


def tops(rows: list[Row]) -> dict[int, int]:
    """Row by tag of the elements that lie in no sequence; of a tag that stands twice, the first."""
    if isinstance(rows, KnownRows):
        if rows.top is None:
            rows.top = _tops(rows)
        return rows.top
    return _tops(rows)


def _tops(rows: list[Row]) -> dict[int, int]:
    found = [at for at, row in enumerate(rows) if row[5] < 0]
    top = {rows[at][0]: at for at in found}
    if len(top) == len(found):
        return top
    first = {rows[at][0]: at for at in reversed(found)}
    return {rows[at][0]: at for at in found if first[rows[at][0]] == at}


def _form(
    buffer: Buffer, rows: Sequence[Row], start: int, stopped: int, end: int, *, explicit: bool
) -> str | None:
    """How to read every header and delimiter in one go; None when other bytes had a say."""
    places: list[tuple[int, int]] = []  # where something stands that decides, and its length
    parents = {row[5] for row in rows}
    values = 0
    for at, (tag, vr, begin, offset, after, parent) in enumerate(rows):
        if tag == 0 or begin == offset:
            return None
        places.append((begin, offset - begin))
        content = after - offset
        if vr in _MAY_BE_OPEN and bytes(buffer[offset - 4 : offset]) == b"\xff\xff\xff\xff":
            places.append((after - 8, 8))
            content -= 8
        if at in parents or content == 0:
            continue
        if vr == "SQ" or (not vr and rows[parent][1] in ("SQ", "UN")):
            return None  # delimiters that need not be there
        if explicit and vr == "UN" and vrs.IMPLICIT[tag] == "SQ":
            return None  # it was tried whether a sequence stands in it
        values += content
    if values + sum(length for _, length in places) != stopped - start:
        return None
    if stopped != end:
        if end - stopped < 12:
            return None
        places.append((stopped, 12))
    text = ["<"]
    pos = start
    for begin, length in sorted(places):
        text.append(f"{begin - pos}x" + ("Q" if length == 8 else "QI"))
        pos = begin + length
    return "".join(text)


_START = itemgetter(2)
_MAY_BE_OPEN = frozenset({"SQ", "UN", "OB", "OW", ""})
LAYOUTS = {(order, explicit): Layouts(explicit=explicit) for order in "<>" for explicit in (True, False)}
