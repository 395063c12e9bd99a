"""The fast walk over the elements at the top of a data set, helped by having seen such a header before.

The files of a series have the same elements at the same places, or nearly. So runs of element headers are
kept with the rows they made. Where a run is known to begin, all its headers are read by one call and
compared with those that made the rows: equal headers at equal places make equal rows, so nothing is taken on
trust. What does not match is walked element by element, and kept when it is met a second time.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable
from typing import Any

from node.dicom import vr as vrs
from node.dicom.syntax import Buffer

# tag, VR ("" of an item), start of the header, start of the value, end (a delimiter included), row of the
# sequence or item around it (-1: none). A plain tuple: one is made for every element.
Row = tuple[int, str, int, int, int, int]

_RUN = 16  # headers compared at once: many enough to pay, few enough that one other length spoils little
_WORTH = 4  # a shorter run is walked as fast as it is compared
_MOST_RUNS = 4096  # some 10 MB at most; then everything is forgotten, because old series do not come back
_MOST_SEEN = 16384

_Run = tuple[Callable[..., tuple[Any, ...]], tuple[Any, ...], list[Row], int, int]
_Key = tuple[int, bytes]


class Shapes:
    """Runs of headers for one way of writing elements. Threads may share it: entries are never changed."""

    def __init__(self, order: str, *, explicit: bool) -> None:
        self.order = order
        self.explicit = explicit
        self._runs: dict[_Key, _Run] = {}  # how to read the headers, the headers, rows, end, highest tag
        self._seen: set[_Key] = set()

    def advance(self, buffer: Buffer, pos: int, limit: int, barrier: int, rows: list[Row], most: int) -> int:
        """Append the rows of the plain elements from `pos` on; where the first that is not plain begins.

        Plain is what has no long form, no undefined length, is no sequence, and lies before `barrier`. The
        result lies beyond `limit` when the last row's length does. With more than `most` rows it stops early.
        """
        runs, seen = self._runs, self._seen
        walk = _walk_explicit if self.explicit else _walk_implicit
        last = limit - 8
        known = False  # whether something of this stretch was met before
        while pos <= last and (count := len(rows)) <= most:
            key = (pos, bytes(buffer[pos : pos + 8]))
            run = runs.get(key)
            if run is not None and run[3] <= limit and run[4] < barrier and run[0](buffer, pos) == run[1]:
                rows += run[2]
                pos = run[3]
                known = True
                continue
            again = key in seen
            known = known or again
            # What is new from its beginning is not cut into runs before it comes a second time.
            length = _RUN if known else most - count + 1
            pos, goes_on = walk(buffer, pos, last, barrier, rows, self.order, length)
            if pos > limit:
                return pos
            if again:
                if len(rows) - count >= _WORTH:
                    self._keep(key, buffer, rows[count:], pos)
            elif len(rows) - count >= _WORTH:
                if len(seen) >= _MOST_SEEN:
                    seen.clear()
                seen.add(key)
            if not goes_on:
                return pos
        return pos

    def forget(self) -> None:
        """Everything is new again; for measurements."""
        self._runs.clear()
        self._seen.clear()

    def _keep(self, key: _Key, buffer: Buffer, rows: list[Row], end: int) -> None:
        layout = "".join(f"Q{row[4] - row[3]}x" for row in rows)
        read = struct.Struct("<" + layout).unpack_from
        if len(self._runs) >= _MOST_RUNS:
            self._runs.clear()
        self._runs[key] = (read, read(buffer, key[0]), rows, end, max(row[0] for row in rows))


def _walk_explicit(
    buffer: Buffer, pos: int, last: int, barrier: int, rows: list[Row], order: str, most: int
) -> tuple[int, bool]:
    """Up to so many elements; where it ended, and whether the next one may be plain."""
    append = rows.append
    read, heads = EXPLICIT[order], HEADS[order]
    for _ in itertools.repeat(None, most):
        if pos > last:
            return pos, False
        head, length = read(buffer, pos)
        tag, name = heads[head]
        if tag >= barrier:  # what is not plain lies beyond every barrier
            return pos, False
        offset = pos + 8
        after = offset + length
        append((tag, name, pos, offset, after, -1))
        pos = after
    return pos, True


def _walk_implicit(
    buffer: Buffer, pos: int, last: int, barrier: int, rows: list[Row], order: str, most: int
) -> tuple[int, bool]:
    """The same for implicit VR, where only the dictionary tells a sequence."""
    append = rows.append
    read, known = _IMPLICIT[order], vrs.IMPLICIT
    for _ in itertools.repeat(None, most):
        if pos > last:
            return pos, False
        group, element, length = read(buffer, pos)
        tag = group << 16 | element
        if length == 0xFFFFFFFF or tag >= barrier:
            return pos, False
        name = known[tag]
        if name == "SQ":
            return pos, False
        offset = pos + 8
        after = offset + length
        append((tag, name, pos, offset, after, -1))
        pos = after
    return pos, True


class Heads(dict[bytes, tuple[int, str]]):
    """Tag and VR behind the first six bytes of an element with a short length; others lie beyond all tags.

    Looking them up is faster than putting them together, and there are few of them.
    """

    def __init__(self, order: str) -> None:
        self._read = struct.Struct(order + "HHH").unpack
        self._short = vrs.SHORT[order]

    def __missing__(self, head: bytes) -> tuple[int, str]:
        group, element, code = self._read(head)
        name = self._short[code]
        found = (_BEYOND, "") if name is None else (group << 16 | element, name)
        if len(self) >= _MOST_HEADS:
            self.clear()
        self[head] = found
        return found


_BEYOND = 1 << 32
_MOST_HEADS = 16384  # some 3 MB at most; the dictionary has a third as many, the rest comes from outside
HEADS = {order: Heads(order) for order in "<>"}
EXPLICIT = {order: struct.Struct(order + "6sH").unpack_from for order in "<>"}
_IMPLICIT = {order: struct.Struct(order + "HHI").unpack_from for order in "<>"}
SHAPES = {(order, explicit): Shapes(order, explicit=explicit) for order in "<>" for explicit in (True, False)}
