"""What a volume's array does not say by itself: its axes, where it lies, which frames it came from.

Every operation on an array has its counterpart here, which makes the header of what came of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from node.volume import geometry, image, stack, table

Array = np.ndarray[Any, np.dtype[Any]]

SLICE, ROW, COLUMN, RGB = "slice", "row", "column", "rgb"
SPATIAL = (SLICE, ROW, COLUMN)
PLANE = (ROW, COLUMN, RGB)  # what lies within one frame


@dataclasses.dataclass(frozen=True, slots=True)
class Identity:
    """Whose volume it is; what identifies a person is not shown when it is printed."""

    patient_name: str = dataclasses.field(default="", repr=False)  # with ^ as in DICOM
    patient_id: str = dataclasses.field(default="", repr=False)
    patient_birth_date: str = dataclasses.field(default="", repr=False)  # YYYYMMDD; "" unknown
    patient_sex: str = dataclasses.field(default="", repr=False)
    accession_number: str = dataclasses.field(default="", repr=False)
    study: str = ""  # Study Instance UID
    study_id: str = dataclasses.field(default="", repr=False)
    study_date: str = dataclasses.field(default="", repr=False)
    study_description: str = ""
    series: str = ""  # Series Instance UID
    series_number: int | None = None
    series_description: str = ""
    modality: str = ""
    frame_of_reference: str = ""  # UID of the coordinates that positions are in

    @property
    def known(self) -> bool:
        """Whether it says anything at all."""
        return self != Identity()


class Lookup(Protocol):
    """A way back to the headers that a volume came from; whoever read the files gives it."""

    def identity(self, found: table.Table, row: int) -> Identity:
        """Whose the data set of a row is."""

    def values(self, found: table.Table, rows: Array, name: str) -> Array:
        """The values of an element, one for each row; "" or NaN where a frame has none.

        Raises errors.UsageError when there is no such element.
        """


@dataclasses.dataclass(frozen=True, slots=True)
class Header:
    """What is known of an array; all of it may be unknown."""

    axes: tuple[stack.Axis, ...] = ()  # one for each dimension, "" as the name of one that means nothing
    geometry: geometry.Geometry | None = None  # of the axes slice, row, column, in whatever order they stand
    slope: float = 1.0  # real value = value * slope + intercept; 1 and 0 unless stored values were asked for
    intercept: float = 0.0
    unit: str = ""  # of real values
    table: table.Table | None = None  # the frames it came from
    rows: Array | None = None  # of the table, in the shape of the axes that are not within a frame; -1: none
    verdict: stack.Verdict | None = None
    notes: tuple[stack.Note, ...] = ()
    label: str = ""
    lookup: Lookup | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the axes."""
        return tuple(axis.name for axis in self.axes)

    def find(self, name: str) -> int | None:
        """Which dimension has that name."""
        return self.names.index(name) if name in self.names else None


def of(made: image.Image) -> Header:
    """The header of an image that was read."""
    return Header(
        made.axes,
        made.geometry,
        made.slope,
        made.intercept,
        made.unit,
        made.table,
        made.rows,
        made.verdict,
        made.notes,
        made.label,
    )


def anonymous(shape: Sequence[int]) -> Header:
    """Of an array of which nothing is known."""
    return Header(tuple(unnamed(length) for length in shape))


def unnamed(length: int) -> stack.Axis:
    """An axis that means nothing but its indices."""
    return stack.Axis("", np.arange(length, dtype=np.float64))


def frames(axes: Sequence[stack.Axis]) -> list[int]:
    """The dimensions that are not within a frame: those that `rows` has."""
    return [at for at, axis in enumerate(axes) if axis.name not in PLANE]


def strided(header: Header, at: int, start: int, step: int, length: int) -> Header:
    """Of every `step`-th index from `start` of one dimension."""
    axis = header.axes[at]
    chosen = start + step * np.arange(length)
    axes = _replaced(header.axes, at, _taken(axis, chosen))
    rows = _rows(header, at, chosen)
    verdict = header.verdict
    if axis.name == SLICE and length == 1:
        verdict = stack.Verdict.SINGLE
    elif verdict is stack.Verdict.GAPS and rows is not None and (rows >= 0).all():
        verdict = stack.Verdict.COMPLETE
    first, stride = _steps(header, at, start, step, length)
    return dataclasses.replace(
        header,
        axes=axes,
        rows=rows,
        verdict=verdict,
        geometry=moved(header.geometry, axis.name, first, stride),
    )


def picked(header: Header, at: int, chosen: Array) -> Header:
    """Of these indices of one dimension, in their order."""
    length = len(chosen)
    if length and (length == 1 or _even(chosen)):
        step = int(chosen[1] - chosen[0]) if length > 1 else 1
        if step or length == 1:
            return strided(header, at, int(chosen[0]), step, length)
    axis = header.axes[at]
    made = dataclasses.replace(
        header, axes=_replaced(header.axes, at, _taken(axis, chosen)), rows=_rows(header, at, chosen)
    )
    if axis.name not in SPATIAL:
        return made
    # Indices at unequal distances lie on no regular grid: better no geometry than a wrong one.
    said = stack.Note(stack.Kind.UNEQUAL, f"indices along {axis.name} were taken at unequal distances")
    verdict = stack.Verdict.UNEQUAL if axis.name == SLICE else made.verdict
    return dataclasses.replace(made, geometry=None, verdict=verdict, notes=(*made.notes, said))


def dropped(header: Header, at: int, index: int) -> Header:
    """Of one index of a dimension, which is gone then; where that index lay is kept."""
    axis = header.axes[at]
    made = dataclasses.replace(
        header,
        axes=header.axes[:at] + header.axes[at + 1 :],
        geometry=moved(header.geometry, axis.name, *_steps(header, at, index, 1, 1)),
    )
    if header.rows is not None and axis.name not in PLANE:
        made = dataclasses.replace(made, rows=header.rows.take(index, frames(header.axes).index(at)))
    if axis.name == SLICE:
        made = dataclasses.replace(made, verdict=stack.Verdict.SINGLE)
    return made


def inserted(header: Header, at: int, axis: stack.Axis) -> Header:
    """Of a new dimension in front of dimension `at`."""
    made = dataclasses.replace(header, axes=(*header.axes[:at], axis, *header.axes[at:]))
    if header.rows is not None and axis.name not in PLANE:
        before = sum(1 for one in frames(header.axes) if one < at)
        rows = np.repeat(np.expand_dims(header.rows, before), len(axis.values), before)
        made = dataclasses.replace(made, rows=rows)
    return made


def padded(header: Header, at: int, before: int, after: int) -> Header | None:
    """Of so many indices more on both sides of a dimension; None: nobody can say what they would mean."""
    axis = header.axes[at]
    if axis.name not in SPATIAL:
        return None
    length = before + len(axis.values) + after
    step = 1.0 if header.geometry is None else float(np.linalg.norm(getattr(header.geometry, axis.name)))
    made = dataclasses.replace(
        header,
        axes=_replaced(header.axes, at, dataclasses.replace(axis, values=np.arange(length) * step)),
        geometry=moved(header.geometry, axis.name, -before, 1),
    )
    if header.rows is None or axis.name in PLANE:
        return made
    width = [(0, 0)] * header.rows.ndim
    width[frames(header.axes).index(at)] = (before, after)
    return dataclasses.replace(made, rows=np.pad(header.rows, width, constant_values=-1))


def ordered(header: Header, order: Sequence[int]) -> Header:
    """Of the dimensions in another order; their names go with them."""
    made = dataclasses.replace(header, axes=tuple(header.axes[at] for at in order))
    if header.rows is not None:
        old = frames(header.axes)
        made = dataclasses.replace(
            made, rows=header.rows.transpose([old.index(at) for at in order if at in old])
        )
    return made


def reduced(header: Header, gone: Sequence[int], *, keep: bool) -> Header:
    """Of a mean, sum or the like over dimensions; with `keep` they stay, of length 1.

    What was put together lies in the middle of what it was made of, and is as thick.
    """
    made = header
    for at in sorted(gone, reverse=True):
        axis = made.axes[at]
        length = len(axis.values)
        if not length:
            made = dataclasses.replace(made, geometry=None)
        made = dataclasses.replace(
            made, geometry=moved(made.geometry, axis.name, (length - 1) / 2, max(length, 1))
        )
        rows = made.rows
        if rows is not None and axis.name not in PLANE:
            along = frames(made.axes).index(at)
            rows = rows.take([0] if keep else 0, along) if length else None
        middle = np.asarray(axis.values, np.float64).mean(keepdims=True) if length else np.zeros(1)
        kept = (dataclasses.replace(axis, values=np.zeros(1) if axis.name in SPATIAL else middle),)
        verdict = stack.Verdict.SINGLE if axis.name == SLICE else made.verdict
        axes = (*made.axes[:at], *(kept if keep else ()), *made.axes[at + 1 :])
        made = dataclasses.replace(made, axes=axes, rows=rows, verdict=verdict)
    return made


def moved(found: geometry.Geometry | None, name: str, start: float, step: float) -> geometry.Geometry | None:
    """A grid that begins at another index of an axis and goes on in other steps."""
    if found is None or name not in SPATIAL:
        return found
    x, y, z = getattr(found, name)
    a, b, c = found.origin
    origin = (a + start * x, b + start * y, c + start * z)
    vector = (step * x, step * y, step * z)
    if name == SLICE:
        return dataclasses.replace(found, origin=origin, slice=vector)
    if name == ROW:
        return dataclasses.replace(found, origin=origin, row=vector)
    return dataclasses.replace(found, origin=origin, column=vector)


def joined(tables: Sequence[table.Table]) -> table.Table:
    """The rows of several tables, one behind the other."""
    names = dict.fromkeys(name for one in tables for name in one.columns)
    columns: dict[str, Array] = {}
    for name in names:
        parts = [_like(one, name, tables) for one in tables]
        columns[name] = np.concatenate(parts)
    before = 0
    offsets = []
    for one in tables:
        offsets.append(one["source"] + before)
        before += len(one.sources)
    columns["source"] = np.concatenate(offsets)
    sources = [source for one in tables for source in one.sources]
    return table.Table(sources, columns, sum(map(len, tables)), [s for one in tables for s in one.skipped])


def _like(one: table.Table, name: str, tables: Sequence[table.Table]) -> Array:
    """A column, absent in the way that it is in the tables that have it."""
    if name in one or name in table.COLUMNS:
        return one[name]
    like = next(other[name] for other in tables if name in other)
    if like.dtype == object:
        return np.full(len(one), "", dtype=object)
    return np.full((len(one), *like.shape[1:]), np.nan)


def _steps(header: Header, at: int, start: int, step: int, length: int) -> tuple[float, float]:
    """Where indices begin and how far apart they are, in steps of the grid.

    Slices at unequal distances lie where their axis says; the grid is only their mean.
    """
    axis = header.axes[at]
    stride = float(step) if length > 1 else 1.0
    if (
        axis.name != SLICE
        or header.verdict is not stack.Verdict.UNEQUAL
        or header.geometry is None
        or not length
    ):
        return float(start), stride
    pitch = float(np.linalg.norm(header.geometry.slice))
    if len(axis.values) <= max(start, start + step * (length - 1)) or not pitch:
        return float(start), stride
    first, last = (float(axis.values[index]) / pitch for index in (start, start + step * (length - 1)))
    return first, (last - first) / (length - 1) if length > 1 else 1.0


def _taken(axis: stack.Axis, chosen: Array) -> stack.Axis:
    values = np.asarray(axis.values)
    if len(values) <= (int(chosen.max()) if len(chosen) else -1):  # an axis that does not say its values
        return dataclasses.replace(axis, values=np.arange(len(chosen), dtype=np.float64))
    found = values[chosen]
    if axis.name in SPATIAL and len(found):
        along = found - found[0]
        found = -along if len(found) > 1 and along[-1] < 0 else along
    return dataclasses.replace(axis, values=found)


def _replaced(axes: tuple[stack.Axis, ...], at: int, axis: stack.Axis) -> tuple[stack.Axis, ...]:
    return (*axes[:at], axis, *axes[at + 1 :])


def _rows(header: Header, at: int, chosen: Array) -> Array | None:
    if header.rows is None or header.axes[at].name in PLANE:
        return header.rows
    taken: Array = header.rows.take(chosen, frames(header.axes).index(at))
    return taken


def _even(chosen: Array) -> bool:
    steps = np.diff(chosen)
    return bool((steps == steps[0]).all() and steps[0])
