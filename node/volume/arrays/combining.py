"""What becomes of headers when several arrays are put together: arithmetic, stacks, longer axes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from node import errors
from node.volume import geometry, stack, table
from node.volume.arrays import header as headers

Array = np.ndarray[Any, np.dtype[Any]]
Part = tuple[headers.Header, tuple[int, ...]]  # an array's header and shape

ALIKE = 0.01  # of the smallest voxel's edge: grids that differ less are the same grid

_AROUND = "; np.asarray() of one of them leaves its header away"


def broadcast(parts: Sequence[Part], shape: tuple[int, ...]) -> headers.Header:
    """The header of arrays computed with one another, element by element.

    Raises errors.UsageError when they do not lie at the same place, or their axes are others.
    """
    if len(parts) == 1 and parts[0][1] == shape:
        return parts[0][0]
    axes = [_axis(parts, shape, back) for back in range(len(shape), 0, -1)]
    base = max(parts, key=lambda part: (part[0].geometry is not None, _size(part[1])))
    for part in parts:
        _same_place(base, part)
    carrier = max(parts, key=lambda part: (part[0].table is not None, _size(part[1])))
    made = dataclasses.replace(
        carrier[0],
        axes=tuple(axes),
        geometry=base[0].geometry,
        rows=_broadcast_rows(carrier, tuple(axes), shape),
        unit=_unit(parts),
    )
    for header, _ in parts:
        made = dataclasses.replace(made, notes=_notes(made.notes, header.notes))
    return _strange(made, [header for header, _ in parts])


def distance(a: geometry.Geometry, b: geometry.Geometry, shape: Sequence[int]) -> float:
    """How far apart two grids of (slices, rows, columns) lie where they are farthest, in millimetres."""
    corners = np.array(
        [(k, j, i, 1.0) for k in _ends(shape[2]) for j in _ends(shape[1]) for i in _ends(shape[0])]
    )
    apart = corners @ (a.patient - b.patient)[:3].T
    return float(np.linalg.norm(apart, axis=1).max())


def finest(found: geometry.Geometry) -> float:
    """The smallest edge of a voxel."""
    return min(found.spacing)


def along(parts: Sequence[Part], at: int) -> headers.Header | None:
    """The header of arrays laid end to end along a dimension; None: together they are no volume.

    Along slices they must go on where the last ended, along anything else lie at the same place.
    """
    first, _ = parts[0]
    name = first.axes[at].name
    length = 0
    for header, its in parts:
        if header.names != first.names or not _same_scale(first, header):
            return None
        expected = headers.moved(first.geometry, name, length, 1)
        if not _fits(expected, header.geometry, its, header):
            return None
        length += its[at]
    values: Array = np.concatenate([np.asarray(header.axes[at].values) for header, _ in parts])
    if name in headers.SPATIAL:
        values = _ruler(first, name, length)
    elif not name:
        values = np.arange(length, dtype=np.float64)
    axis = dataclasses.replace(first.axes[at], values=values)
    merged = _merged([header for header, _ in parts])
    if name == headers.SLICE and length > 1 and merged.verdict is stack.Verdict.SINGLE:
        merged = dataclasses.replace(merged, verdict=stack.Verdict.COMPLETE)
    made = dataclasses.replace(
        merged, axes=(*first.axes[:at], axis, *first.axes[at + 1 :]), geometry=first.geometry
    )
    if name in headers.PLANE or merged.table is None:
        return made
    rows = _shifted([header for header, _ in parts])
    if rows is None:
        return dataclasses.replace(made, rows=None)
    return dataclasses.replace(made, rows=np.concatenate(rows, headers.frames(first.axes).index(at)))


def together(parts: Sequence[Part], at: int, axis: stack.Axis) -> headers.Header | None:
    """The header of arrays laid beside one another along a new dimension; None: they are no volume."""
    first, _ = parts[0]
    for header, its in parts:
        if header.names != first.names or not _same_scale(first, header):
            return None
        if not _fits(first.geometry, header.geometry, its, header):
            return None
    merged = _merged([header for header, _ in parts])
    made = dataclasses.replace(merged, axes=(*first.axes[:at], axis, *first.axes[at:]))
    rows = None if merged.table is None else _shifted([header for header, _ in parts])
    if rows is not None:
        rows_at = sum(1 for one in headers.frames(first.axes) if one < at)
        return dataclasses.replace(made, rows=np.stack(rows, rows_at))
    return dataclasses.replace(made, rows=None)


def _axis(parts: Sequence[Part], shape: tuple[int, ...], back: int) -> stack.Axis:
    """What the dimension that is `back` from the end is called, by all that have it."""
    length = shape[-back]
    found: stack.Axis | None = None
    for header, its in parts:
        if len(its) < back:
            continue
        axis = header.axes[-back]
        if its[-back] != length or (found is not None and (not axis.name or found.name == axis.name)):
            continue
        if found is None or not found.name:
            found = axis
            continue
        raise errors.UsageError(
            f"the axes do not match: {axis.name} of one lies along {found.name} of the other{_AROUND}"
        )
    return found if found is not None else headers.unnamed(length)


def _same_place(base: Part, other: Part) -> None:
    a, b = base[0].geometry, other[0].geometry
    if a is None or b is None or a is b:
        return
    lengths = []
    spread = []  # axes that one of them has not, or of which it has one index for all
    for name in headers.SPATIAL:
        mine, theirs = _length(base, name), _length(other, name)
        lengths.append(1 if mine is None or mine != theirs else mine)
        if mine != theirs:
            spread.append(name)
    difference = (b.patient - a.patient)[:3]
    for name in spread:
        vector = np.array(getattr(a, name))
        unit = vector / max(float(np.linalg.norm(vector)), 1e-12)
        difference[:, 3] -= unit * (unit @ difference[:, 3])
    far = 0.0
    for k in _ends(lengths[2]):
        for j in _ends(lengths[1]):
            for i in _ends(lengths[0]):
                far = max(far, float(np.linalg.norm(difference @ (k, j, i, 1.0))))
    if far > ALIKE * finest(a):
        raise errors.UsageError(f"the volumes lie {far:.3g} mm apart{_AROUND}")


def _fits(
    expected: geometry.Geometry | None,
    found: geometry.Geometry | None,
    shape: tuple[int, ...],
    header: headers.Header,
) -> bool:
    if expected is None or found is None:
        return expected is found
    lengths = [1 if (at := header.find(name)) is None else shape[at] for name in headers.SPATIAL]
    return distance(expected, found, lengths) <= ALIKE * finest(expected)


def _same_scale(a: headers.Header, b: headers.Header) -> bool:
    return (a.slope, a.intercept) == (b.slope, b.intercept)


def _broadcast_rows(part: Part, axes: tuple[stack.Axis, ...], shape: tuple[int, ...]) -> Array | None:
    header, its = part
    if header.rows is None:
        return None
    new = headers.frames(axes)
    lead = len(shape) - len(its)
    old = [at + lead for at in headers.frames(header.axes)]
    if any(at not in new for at in old):
        return None
    sizes = [its[at - lead] if at in old else 1 for at in new]
    return np.array(np.broadcast_to(header.rows.reshape(sizes), [shape[at] for at in new]))


def _merged(parts: Sequence[headers.Header]) -> headers.Header:
    """The first header with the tables and notes of all."""
    first = parts[0]
    tables = [header.table for header in parts if header.table is not None]
    made = first
    for header in parts[1:]:
        made = dataclasses.replace(made, notes=_notes(made.notes, header.notes))
        if header.unit != first.unit:
            made = dataclasses.replace(made, unit="")
    made = _strange(made, parts)
    if len(tables) != len(parts):
        return dataclasses.replace(made, table=None, rows=None)
    if any(one is not tables[0] for one in tables):
        return dataclasses.replace(made, table=headers.joined(tables))
    return made


def _strange(made: headers.Header, parts: Sequence[headers.Header]) -> headers.Header:
    """With a note where volumes of different studies were put together: whose it is now is not plain."""
    studies: list[table.Table] = []
    for header in parts:
        if header.table is not None and len(header.table) and all(header.table is not one for one in studies):
            studies.append(header.table)
    if len({one["study"][0] for one in studies}) < 2:
        return made
    said = stack.Note(
        stack.Kind.HEADER, "made of volumes of different studies; patient and study are those of one of them"
    )
    return dataclasses.replace(made, notes=_notes(made.notes, (said,)))


def _shifted(parts: Sequence[headers.Header]) -> list[Array] | None:
    """The rows of each, as they count in the table of all; None when one has none."""
    shared = all(header.table is parts[0].table for header in parts)
    made: list[Array] = []
    before = 0
    for header in parts:
        if header.rows is None or header.table is None:
            return None
        made.append(header.rows if shared else np.where(header.rows < 0, -1, header.rows + before))
        before += len(header.table)
    return made


def _unit(parts: Sequence[Part]) -> str:
    units = {header.unit for header, _ in parts if header.unit}
    return units.pop() if len(units) == 1 else ""


def _notes(a: tuple[stack.Note, ...], b: tuple[stack.Note, ...]) -> tuple[stack.Note, ...]:
    return tuple(dict.fromkeys((*a, *b)))


def _ruler(header: headers.Header, name: str, length: int) -> Array:
    step = 1.0 if header.geometry is None else float(np.linalg.norm(getattr(header.geometry, name)))
    return np.arange(length) * step


def _length(part: Part, name: str) -> int | None:
    at = part[0].find(name)
    return None if at is None else part[1][at]


def _ends(length: int) -> tuple[int, ...]:
    return (0, length - 1) if length > 1 else (0,)


def _size(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=np.int64))
