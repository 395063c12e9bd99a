"""Frames become stacks: parted by what they are, laid out by where they lie, and by what else they vary in.

Geometry comes first: the place along the normal orders slices, and instance numbers only what has no place.
What does not belong together is parted, and each stack says in what it differs from the others of its series.
Of the frames that go into no stack, each is named with the reason.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from node.volume import stack, table
from node.volume.sorting import apart, axes, codes, grid, remarks, repeats, unplaced

AXES = tuple(axes.AXES)
needs = axes.needs

Array = np.ndarray[Any, np.dtype[Any]]

_DEEPEST = 6  # times that frames are parted again
_SPARSE = 0.5  # part of the places of a stack that may be empty before its pieces are parted
_INTERLEAVED = {
    "acquisition_number": "acquisition",
    "slice_thickness": "thickness",
    "temporal_position": "dynamic",
    "time": "time",
}
_MOST_EMPTY = 3  # times as many cells as frames; a grid emptier than that is parted along its first axis


@dataclasses.dataclass(slots=True)
class _Piece:
    """Rows that may be one stack."""

    rows: Array  # of the table
    label: str = ""  # what it is called among those that it was parted from
    depth: int = 0  # how often it was parted
    notes: tuple[stack.Note, ...] = ()  # what parting it said


class _Sorting:
    """One table on its way."""

    def __init__(
        self, frames: table.Table, order: Sequence[str], split: Sequence[str], functions: axes.Functions
    ) -> None:
        self.table = frames
        self.columns = codes.Columns(frames)
        self.asked = axes.asked(frames, self.columns, order, functions)
        for name in split:
            # The same refusals as for an axis of that name.
            axes.asked(frames, self.columns, (name,), {})
        self.keys = apart.keys(self.asked, split)
        # Parted by it, it cannot be an axis as well; that it does not vary then keeps it from being found.
        self.left: list[table.Skipped] = []
        self._turn = np.arange(len(frames))  # of each row in `_in_order`

    def run(self) -> stack.Sorted:
        rows = self._once(self._in_order())
        found: list[stack.Stack] = []
        for series in self._series(rows):
            found += self._of_series(series)
        return stack.Sorted(tuple(found), (*self.table.skipped, *self.left))

    # -- before it is sorted -------------------------------------------------------------------------

    def _in_order(self) -> Array:
        """All rows in an order that does not depend on the one in which they were found."""
        columns = self.columns
        keys = [columns[name] for name in ("tile", "frame", "instance_number")]
        alike = keys[2]
        for key in (*keys[:2], codes.of(columns["series"])[0]):
            alike, many = codes.join(codes.of(alike)[0], codes.of(key)[0])
        if len(self.table) and many < len(self.table):
            names = codes.of(np.array([one.sop_instance for one in self.table.sources], dtype=object))[0]
            keys.insert(2, names[columns["source"]])
        rows = np.lexsort(keys)
        self._turn = np.argsort(rows)
        return rows

    def _once(self, rows: Array) -> Array:
        """The rows without those of an instance that came before."""
        seen: dict[str, int] = {}
        firsts = np.fromiter(
            (seen.setdefault(one.sop_instance or f"#{at}", at) for at, one in enumerate(self.table.sources)),
            np.int64,
            len(self.table.sources),
        )
        if len(seen) < len(firsts):
            source = self.columns["source"][rows]
            again = firsts[source] != source
            for at in np.unique(source[again]).tolist():
                self._leave_source(at, table.Why.DUPLICATE, "an instance of the same UID is there already")
            rows = rows[~again]
        if "rows" in self.table and "columns" in self.table:
            with np.errstate(invalid="ignore"):
                sized = (self.columns["rows"][rows] > 0) & (self.columns["columns"][rows] > 0)
            self._leave(rows[~sized], table.Why.NO_PIXELS, "it has no rows and columns")
            rows = rows[sized]
        return rows

    def _series(self, rows: Array) -> list[Array]:
        """The rows of each series, in the order of their numbers."""
        if not len(rows):
            return []
        study, _ = codes.of(self.columns["study"][rows])
        series, _ = codes.of(self.columns["series"][rows])
        code, many = codes.join(study, series)
        found = [rows[own] for own in codes.groups(code, many)]
        number = self.columns["series_number"]
        return sorted(found, key=lambda own: (_last(number[own[0]]), int(code[0])))

    def _of_series(self, rows: Array) -> list[stack.Stack]:
        """The stacks of one series."""
        total = np.zeros(len(rows), np.int64)
        many = 1
        used = []
        for key in (*self._hidden(), *self.keys):
            code, kinds = apart.code(self.columns, key, rows)
            if kinds > 1:
                used.append(key)
                total, many = codes.join(total, code)
        waiting = [_Piece(rows[own]) for own in codes.groups(total, many)]
        made: list[tuple[stack.Stack, str]] = []
        while waiting:
            piece = waiting.pop()
            done = self._one(piece)
            if isinstance(done, stack.Stack):
                made.append((done, piece.label))
            else:
                waiting += done
        return self._labelled(made, used)

    def _hidden(self) -> tuple[apart.Key, ...]:
        """What parts the rows of this series beside what their headers say of themselves."""
        columns = self.columns
        if "#placed" not in columns:
            placed = grid.sound(columns["position"], columns["orientation"], columns["spacing"])
            columns["#placed"] = placed.astype(np.float64)
            columns["#clip"] = unplaced.clips(columns["source"], placed)
            for name in ("orientation", "spacing"):  # what is not believed parts nothing
                columns[f"#{name}"] = np.where(placed[:, None], columns[name], np.nan)
        return (
            apart.Key("geometry", ("#placed",), lambda value: "" if value[0] else "without geometry"),
            apart.Key("instance", ("#clip",), lambda value: f"clip {value[0]:g}" if value[0] else ""),
        )

    def _labelled(self, made: list[tuple[stack.Stack, str]], used: Sequence[apart.Key]) -> list[stack.Stack]:
        """The stacks of a series in order, each with a label and a word about the others."""
        if len(made) < 2:
            return [one for one, _ in made]
        number = self.columns["instance_number"]
        first = {id(one): float(np.nan_to_num(np.nanmin(_or_nan(number[_present(one)])))) for one, _ in made}
        made.sort(key=lambda pair: (first[id(pair[0])], pair[1], self._turn[pair[0].first]))
        firsts = np.array([one.first for one, _ in made], np.int64)
        names, differing = apart.labels(self.columns, used, firsts, [label for _, label in made])
        found = []
        for (one, _), name in zip(made, names, strict=True):
            note = remarks.apart(name, names, differing)
            found.append(dataclasses.replace(one, label=name, notes=(*one.notes, note)))
        return found

    # -- one stack -----------------------------------------------------------------------------------

    def _one(self, piece: _Piece) -> stack.Stack | list[_Piece]:
        """The stack that rows are, or what they must be parted into."""
        rows = piece.rows
        if not self.columns["#placed"][rows[0]]:
            return unplaced.of(self.table, self.columns, rows, piece.notes)
        spacing = self.columns["spacing"][rows[0]]
        frame = grid.frame(self.columns["orientation"][rows[0]])
        assert frame is not None  # `grid.sound` said so
        within = self.columns["position"][rows] @ frame.T
        place, places = grid.places(within[:, 2], spacing)
        inplane = within[:, :2]
        line, lines = grid.lines(inplane, spacing)
        if lines > 1 and codes.join(place, line)[1] > places:
            if (regular := self._regular(rows, within[:, 2])) is not None:
                return self._pieces(piece, regular)
            # Slices at one depth that lie beside each other: what lies in line belongs together.
            return self._parted(piece, line, lines, "beside")
        found = repeats.Search(self.columns, rows, place, self.asked).run()
        if found.twice is not None:
            self._leave(
                rows[found.twice],
                table.Why.DUPLICATE,
                "a slice lies there already whose header says the same",
            )
            gone = int(found.twice.sum())
            note = remarks.twice(gone)
            return [_Piece(rows[~found.twice], piece.label, piece.depth, (*piece.notes, note))]
        if found.parts:
            return self._pieces(piece, found.parts)
        firsts = np.unique(place, return_index=True)[1]
        depths, shifted = within[firsts, 2], inplane[firsts]
        tilt = grid.shifts(shifted, depths, spacing)
        if tilt is None:
            if (regular := self._regular(rows, within[:, 2])) is not None:
                return self._pieces(piece, regular)
            return self._parted(piece, line, lines, "line")
        along = grid.along(depths, float(self.columns["spacing_between"][rows[0]]))
        odd = along.verdict is stack.Verdict.UNEQUAL or along.missing > places
        if odd and (regular := self._regular(rows, within[:, 2])) is not None:
            return self._pieces(piece, regular)
        if along.missing > max(1, _SPARSE * places):
            jumps = np.cumsum(np.concatenate(([0], np.diff(along.index) > 1 + _MOST_EMPTY)))
            if jumps[-1]:
                return self._parted(
                    piece, jumps[place], int(jumps[-1]) + 1, "part", remarks.gaps(along, depths)
                )
            along = dataclasses.replace(along, index=np.arange(places), verdict=stack.Verdict.UNEQUAL)
        return self._laid_out(piece, found, place, firsts, along, depths, frame, tilt)

    def _regular(self, rows: Array, depths: Array) -> list[tuple[str, Array]] | None:
        """Parts of slices in no regular grid that are regular each: acquisitions that interleave, volumes
        of a series in time that follow a patient who moves."""
        for name, word in _INTERLEAVED.items():
            values = self.columns[name][rows]
            code, many = codes.of(values, 1e-3)
            if not 1 < many <= len(rows) // 2:
                continue
            parts = codes.groups(code, many)
            if all(grid.along(np.sort(depths[own])).verdict is stack.Verdict.COMPLETE for own in parts):
                return [(f"{word} {values[own[0]]:g}", own) for own in parts]
        return None

    def _pieces(self, piece: _Piece, parts: Sequence[tuple[str, Array]]) -> list[_Piece]:
        if piece.depth >= _DEEPEST:
            self._leave(piece.rows, table.Why.APART, "nothing says in what order these slices are")
            return []
        return [
            _Piece(
                piece.rows[own], " ".join(filter(None, (piece.label, label))), piece.depth + 1, piece.notes
            )
            for label, own in parts
        ]

    def _parted(
        self, piece: _Piece, code: Array, many: int, word: str, notes: tuple[stack.Note, ...] = ()
    ) -> list[_Piece]:
        if many == 1:  # off the line by more than is allowed, and still all at one place in the plane
            self._leave(piece.rows, table.Why.APART, "these slices lie in no line")
            return []
        piece = dataclasses.replace(piece, notes=(*piece.notes, *notes))
        return self._pieces(
            piece, [(f"{word} {at + 1}", own) for at, own in enumerate(codes.groups(code, many))]
        )

    def _laid_out(
        self,
        piece: _Piece,
        found: repeats.Found,
        place: Array,
        firsts: Array,
        along: grid.Along,
        depths: Array,
        frame: Array,
        tilt: float,
    ) -> stack.Stack | list[_Piece]:
        """Rows in their cells."""
        rows, columns = piece.rows, self.columns
        shape = (*(axis.many for axis in found.axes), int(along.index[-1]) + 1)
        if math.prod(shape) > _MOST_EMPTY * len(rows) + 64 and found.axes:
            axis = found.axes[0]
            return self._parted(piece, axis.code, axis.many, axis.name)
        order = np.full(shape, -1, np.int64)
        order[(*(axis.code for axis in found.axes), along.index[place])] = rows
        notes = [*piece.notes, *found.notes]
        order, kept, incomplete = self._whole_volumes(order, found.axes, along.index, notes)
        spacing = columns["spacing"][rows[0]]
        lone = [columns[name][rows[0]] for name in ("spacing_between", "slice_thickness")]
        alone = next((float(one) for one in lone if 0 < one < 1e4), 1.0)
        position = columns["position"][rows]
        made = grid.place(
            frame, spacing, position[firsts[0]], position[firsts[-1]], int(along.index[-1]), alone
        )
        verdict = along.verdict
        empty = int((order[..., along.index] < 0).sum())
        if empty:
            notes.append(remarks.empty(empty))
        if (empty or incomplete) and verdict is not stack.Verdict.UNEQUAL:
            verdict = stack.Verdict.GAPS
        notes += remarks.gaps(along, depths) + remarks.headers(columns, int(rows[0]), along, tilt)
        # Along the axis, and not along the normal: a tilted stack is longer.
        slices = np.arange(shape[-1]) * made.spacing[0]
        if verdict is stack.Verdict.UNEQUAL:
            slices = (depths - depths[0]) / (depths[-1] - depths[0]) * slices[-1]
        leading = [
            stack.Axis(axis.name, axis.values[:many], axis.unit)
            for axis, many in zip(found.axes, kept, strict=True)
        ]
        return stack.Stack(
            self.table, order, (*leading, stack.Axis("slice", slices, "mm")), made, verdict, tuple(notes)
        )

    def _whole_volumes(
        self, order: Array, found: Sequence[repeats.Axis], index: Array, notes: list[stack.Note]
    ) -> tuple[Array, list[int], bool]:
        """Leave out the last volumes of a series in time that were begun and not finished."""
        kept = [axis.many for axis in found]
        if not found or found[0].name not in repeats.SEQUENTIAL:
            return order, kept, False
        full = (order[..., index] >= 0).reshape(len(order), -1).all(axis=1)
        last = int(np.flatnonzero(full)[-1]) + 1 if full.any() else len(order)
        if last == len(order):
            return order, kept, False
        rest = order[last:]
        self._leave(rest[rest >= 0], table.Why.APART, "it is of a volume that was not finished")
        cells = rest[..., index].size
        notes.append(remarks.unfinished(len(rest), int((rest >= 0).sum()), cells))
        kept[0] = last
        return order[:last], kept, True

    # -- what is in no stack -------------------------------------------------------------------------

    def _leave(self, rows: Array, why: table.Why, detail: str) -> None:
        self.left += [table.Skipped(self._name(row), why, detail) for row in rows.tolist()]

    def _leave_source(self, source: int, why: table.Why, detail: str) -> None:
        one = self.table.sources[source]
        self.left.append(table.Skipped(one.path or one.sop_instance, why, detail))

    def _name(self, row: int) -> str:
        source = self.table.sources[int(self.columns["source"][row])]
        name = source.path or source.sop_instance
        frame = int(self.columns["frame"][row])
        return f"{name}#{frame + 1}" if frame else name


def sort(
    frames: table.Table,
    *,
    order: Sequence[str] = (),
    split: Sequence[str] = (),
    functions: axes.Functions | None = None,
) -> stack.Sorted:
    """Sort frames into stacks.

    `order` names the axes beside slice, row and column, slowest first; what it leaves untold is found as if
    nothing had been asked for. `split` parts by more than what is always told apart. A function gives a value
    for each row of the table it is handed. Raises UsageError for what is no axis.
    """
    with np.errstate(all="ignore"):  # headers hold any numbers, and what makes no sense of them is looked for
        return _Sorting(frames, order, split, functions or {}).run()


def _present(one: stack.Stack) -> Array:
    found = one.order.ravel()
    return found[found >= 0]


def _or_nan(values: Array) -> Array:
    """Values of which at least one can be the smallest."""
    return values if not bool(np.isnan(values).all()) else np.zeros(1)


def _last(value: float) -> float:
    return math.inf if math.isnan(value) else float(value)
