"""From changed elements to patches: what sequences, items and groups say of their length follows."""

from __future__ import annotations

import heapq
from bisect import bisect_left

from node import errors
from node.dicom import encode, patched
from node.dicom import run as runs
from node.dicom import vr as vrs
from node.dicom import walk as walking


def patches(run: runs.Run) -> list[patched.Patch]:
    """Everything that changes, sorted and apart: elements, and the lengths around them."""
    rows = run.rows
    found: list[tuple[int, int, int, int, int, bytes]] = []  # start, kind, -depth, tag, end, bytes
    deltas: dict[int, int] = {}  # by row: how much longer the scope's content becomes
    groups: dict[tuple[int, int], int] = {}  # by scope and group
    covered: list[tuple[int, int]] = []  # spans that are gone, whatever else happens inside
    until = -1
    for row in sorted(run.outcomes):
        made = run.outcomes[row][1]
        if made is runs.SAME:
            continue
        tag, vr, start, _, end, parent = rows[row]
        if start < until:
            continue
        if vr in ("SQ", "UN"):
            covered.append((start, end))
        until = end
        data = made or b""
        if len(data) == end - start and bytes(run.table.buffer[start:end]) == data:
            continue
        found.append((start, 1, 0, tag, end, data))
        delta = len(data) - (end - start)
        if delta:
            deltas[parent] = deltas.get(parent, 0) + delta
            key = (parent, tag >> 16)
            groups[key] = groups.get(key, 0) + delta
    for insert in run.inserts:
        if insert.scope != runs.TOP and _is_covered(covered, rows[insert.scope][2]):
            continue
        found.append((insert.pos, 0, -insert.depth, insert.tag, insert.pos, insert.data))
        deltas[insert.scope] = deltas.get(insert.scope, 0) + len(insert.data)
        if insert.tag:
            key = (insert.scope, insert.tag >> 16)
            groups[key] = groups.get(key, 0) + len(insert.data)
    _lengths(run, found, deltas, groups)
    found.sort()
    return [(start, end, data) for start, _, _, _, end, data in found]


def _lengths(
    run: runs.Run,
    found: list[tuple[int, int, int, int, int, bytes]],
    deltas: dict[int, int],
    groups: dict[tuple[int, int], int],
) -> None:
    """Patches of enclosing lengths, innermost first, and of group lengths."""
    rows, order = run.rows, run.table.encoding.order
    heap = [-row for row in deltas if row != runs.TOP]
    heapq.heapify(heap)
    while heap:  # parents have lower rows than what they hold, so each is met once, with all that grew in it
        row = -heapq.heappop(heap)
        delta = deltas[row]
        if not delta:
            continue
        tag, _, _, offset, end, parent = rows[row]
        if not run.table.undefined(row):
            length = end - offset + delta
            if length > 0xFFFFFFFE:
                raise errors.UsageError(f"{vrs.show(tag)} would hold more than 4 GiB")
            found.append((offset - 4, 1, 0, 0, offset, encode.number(length, order)))
        if tag != vrs.ITEM:
            groups[parent, tag >> 16] = groups.get((parent, tag >> 16), 0) + delta
        if parent != runs.TOP:
            if parent not in deltas:
                deltas[parent] = 0
                heapq.heappush(heap, -parent)
            deltas[parent] += delta
    for (scope, group), delta in groups.items():
        at = run.table.find(group << 16, scope)
        if delta and at is not None and at not in run.outcomes and rows[at][4] - rows[at][3] == 4:
            offset = rows[at][3]
            old = walking.readers(order)[2](run.table.buffer, offset)[0]
            found.append((offset, 1, 0, 0, offset + 4, encode.number(max(0, old + delta), order)))


def _is_covered(spans: list[tuple[int, int]], start: int) -> bool:
    """Whether a place lies in one of the sorted spans."""
    at = bisect_left(spans, (start + 1, 0)) - 1
    return at >= 0 and spans[at][0] <= start < spans[at][1]
