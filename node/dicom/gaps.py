"""Slices that are missing between others: positions along the normal, stack by stack; pure arithmetic.

It must not cry wolf, since what has a gap is waited for. So a hole counts only where the spacing around it
is regular, and where the instance numbers have a hole at the same place: slabs that lie apart on purpose have
none.
"""

from __future__ import annotations

import dataclasses
import itertools
import statistics
from collections.abc import Iterable

FEWEST = 4  # positions that make a stack; fewer have no spacing that could be called regular
_SAME = 0.01  # millimetres within which two slices lie at the same place
_REGULAR = 0.1  # part of the spacing by which intervals may differ
_MOSTLY = 0.75  # part of the intervals that must be regular, or the stack is not judged
_NAMED = 8  # gaps that are told in words

_Stack = tuple[object, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Slice:
    """Where one image lies, as its header says."""

    position: tuple[float, ...] | None  # Image Position (Patient)
    orientation: tuple[float, ...] | None  # Image Orientation (Patient)
    number: int | None  # Instance Number
    echo: float | None = None  # Echo Time
    temporal: int | None = None  # Temporal Position Identifier
    kind: tuple[str, ...] = ()  # Image Type
    frames: int = 1  # an object of several frames says where each lies elsewhere


@dataclasses.dataclass(frozen=True, slots=True)
class Geometry:
    """What the positions of a series say."""

    stacks: int = 0  # that could be judged
    slices: int = 0  # positions in them
    missing: int = 0  # slices that are not there between others
    gaps: tuple[str, ...] = ()  # in words, the first of them


def find(slices: Iterable[Slice]) -> Geometry:
    """Return the gaps of every stack that can be judged; localizers and single images cannot."""
    stacks: dict[_Stack, list[Slice]] = {}
    for one in slices:
        if (key := _stack(one)) is not None:
            stacks.setdefault(key, []).append(one)
    judged, count, missing, told = 0, 0, 0, []
    for members in stacks.values():
        found = _gaps(members)
        if found is None:
            continue
        positions, gaps = found
        judged += 1
        count += positions
        missing += sum(absent for absent, _, _ in gaps)
        told += [
            f"{absent} missing between {_written(low)} and {_written(high)} mm along the normal"
            for absent, low, high in gaps
        ]
    return Geometry(judged, count, missing, tuple(told[:_NAMED]))


def _stack(one: Slice) -> _Stack | None:
    """What slices of one stack have in common; None for what has no place in one."""
    if one.position is None or one.orientation is None or one.frames > 1:
        return None
    if len(one.position) != 3 or len(one.orientation) != 6 or "LOCALIZER" in one.kind:
        return None
    if not all(abs(value) < 1e7 for value in (*one.position, *one.orientation)):
        return None  # no scanner is that large, and nan is not smaller than anything
    return (tuple(round(value, 2) + 0.0 for value in one.orientation), one.echo, one.temporal, one.kind)


def _gaps(members: list[Slice]) -> tuple[int, list[tuple[int, float, float]]] | None:
    """Number of positions, and (slices missing, from, to) of each gap; None: it cannot be judged."""
    places: dict[int, tuple[float, set[int | None]]] = {}
    for one in members:
        depth = _depth(one)
        places.setdefault(round(depth / _SAME), (depth, set()))[1].add(one.number)
    if len(places) < FEWEST:
        return None
    ordered = [places[key] for key in sorted(places)]
    spans = [after[0] - before[0] for before, after in itertools.pairwise(ordered)]
    spacing = statistics.median_low(spans)
    regular = sum(abs(span - spacing) <= _REGULAR * spacing for span in spans)
    # A single hole in a small stack is one interval of three: that is still mostly regular.
    if regular < min(_MOSTLY * len(spans), len(spans) - 1):
        return None
    gaps = []
    for span, before, after in zip(spans, ordered, ordered[1:], strict=False):
        absent = round(span / spacing) - 1
        if absent < 1 or abs(span - (absent + 1) * spacing) > _REGULAR * spacing * (absent + 1):
            continue
        absent = min(absent, _unnumbered(before[1], after[1]))
        if absent:
            gaps.append((absent, before[0], after[0]))
    return len(ordered), gaps


def _unnumbered(before: set[int | None], after: set[int | None]) -> int:
    """How many slices the instance numbers on both sides leave room for; where they say nothing, any."""
    if None in before or None in after:
        return 1 << 30
    steps = [abs(high - low) for low in before for high in after if low is not None and high is not None]
    return min(steps) - 1 if min(steps) else 1 << 30


def _depth(one: Slice) -> float:
    """The position along the normal."""
    assert one.position is not None
    assert one.orientation is not None
    rx, ry, rz, cx, cy, cz = one.orientation
    normal = (ry * cz - rz * cy, rz * cx - rx * cz, rx * cy - ry * cx)
    return sum(place * axis for place, axis in zip(one.position, normal, strict=True))


def _written(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
