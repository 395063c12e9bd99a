"""Slices that lie at one place several times: which axis tells them apart, asked for or found.

Found are, in this order of trust: echo, inversion time, flip angle and repetition time where each has every
place; b values with their directions; trigger times; Temporal Position; Acquisition Number; then the times of
acquisition, counted within each place; and last the instance numbers. What varies and makes no grid with the
places is no axis: then the frames are parted by it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from node.volume import stack
from node.volume.sorting import axes, codes

Array = np.ndarray[Any, np.dtype[Any]]

_MOSTLY = 0.75  # part of the cells of a grid that must be filled for it to be one
_HALF = 0.5  # the same for what was asked for, or counts volumes by itself
_BEAT = 3000.0  # ms; a trigger time beyond it counts from the beginning of the scan, not of a heartbeat
_REPEATS = 16  # stacks that are made of what merely lies at the same places again
_PARAMETERS = ("te", "ti", "fa", "tr")
SEQUENTIAL = frozenset({"time", "b", "dynamic", "acquisition", "instance"})  # acquired one after the other


@dataclasses.dataclass(frozen=True, slots=True)
class Axis:
    """An axis that was found."""

    name: str  # as in axes.AXES, or what was asked for
    code: Array  # the place along it, for each row
    values: Array  # of each place
    unit: str  # of the values

    @property
    def many(self) -> int:
        """Places along it."""
        return len(self.values)


@dataclasses.dataclass(slots=True)
class Found:
    """What was found; of `parts` and the rest only one counts."""

    axes: list[Axis] = dataclasses.field(default_factory=list)  # slowest first
    notes: list[stack.Note] = dataclasses.field(default_factory=list)
    twice: Array | None = None  # which rows are there already, and are to be left out; then look again
    parts: list[tuple[str, Array]] = dataclasses.field(default_factory=list)
    # labels and rows (as they are counted here) of what is to be sorted apart


class Search:
    """Looks for the axes of rows of a table that lie at so many places."""

    def __init__(
        self, columns: codes.Columns, rows: Array, place: Array, asked: Sequence[axes.Asked]
    ) -> None:
        self.columns = columns
        self.rows = rows
        self.cell, self.cells = codes.of(place)  # what is told apart so far
        self.asked = asked
        self.out = Found()
        self._slow: list[Axis] = []
        self._fast: list[Axis] = []
        self._named: dict[str, Axis] = {}

    def run(self) -> Found:
        """Look; everything is told apart in what is returned, or it says what stands in the way."""
        for step in (self._asked_for, self._parameters, self._diffusion, self._counted, self._ranked):
            step()
            if self.out.parts or self.out.twice is not None:
                return self.out
        named = [self._named[one.name] for one in self.asked if one.name in self._named]
        self.out.axes = [*named, *self._slow, *self._fast]
        return self.out

    # -- what is looked at ---------------------------------------------------------------------------

    def _asked_for(self) -> None:
        # What frames are counted by comes last, for it counts within everything else.
        for one in sorted(self.asked, key=lambda one: one.ranked):
            if self.out.parts:
                return
            values = one.values[self.rows]
            if one.ranked:
                self._rank_asked(one)
                continue
            code, many = codes.of(values, one.same)
            if many == 1:
                continue
            if self._filled(code, many) >= _HALF:
                self._named[one.name] = self._take(one.name, code, many, values, one.unit)
            elif one.name != "trigger" or not self._by_rank(
                "trigger", values, "ms", asked=one.name, whole=True
            ):
                self._part(f"{one.name} ", code, many, values)
                return

    def _rank_asked(self, one: axes.Asked) -> None:
        if one.name == "b":
            self._diffusion(asked=True)
        elif one.name == "time":
            for column, factor in (("time", 1.0), ("reference_time", 1e-3), ("content_time", 1.0)):
                values = self.columns[column][self.rows] * factor
                if self._by_rank("time", values, "s", asked="time") or self.out.parts:
                    return
        else:
            self._by_rank(one.name, one.values[self.rows], one.unit, asked=one.name)

    def _parameters(self) -> None:
        b = self._diffusing()
        for name in _PARAMETERS:
            if name in self._named:
                continue
            shown = name
            values = self._column(axes.AXES[name].column)
            code, many = codes.of(values, 0.01)
            if name == "te" and many == 1 and "echo" not in self._named:
                shown = "echo"
                values = self._column("echo_number")
                code, many = codes.of(values)
            if many == 1:
                continue
            crossing = b is None or self._crosses(code, many, *b)
            if crossing and self._splits(code) and self._filled(code, many) >= _MOSTLY:
                self._fast.append(self._take(shown, code, many, values, axes.AXES[shown].unit))
            elif name == "te" and b is None and many <= len(self.rows):
                self._part(f"{shown} ", code, many, values)
                return

    def _diffusing(self) -> tuple[Array, int] | None:
        """Numbers for what differs in b or in its direction; None where nothing does."""
        b = np.round(self._column("b_value"))
        if bool(np.isnan(b).all()):
            return None
        code, many = codes.of(b)
        gradient = np.where((b > 0)[:, None], self.columns["gradient"][self.rows], np.nan)
        for at in range(3):
            code, many = codes.join(code, codes.of(np.round(gradient[:, at], 4))[0])
        return None if many == 1 else (code, many)

    def _diffusion(self, *, asked: bool = False) -> None:
        found = self._diffusing()
        if found is None or self._done or "b" in self._named:
            return
        code, _ = found
        again, _ = codes.ranks(codes.join(self.cell, code)[0], *self._sequence())
        volume, many = codes.join(code, again)
        if self._filled(volume, many) < _MOSTLY:
            return
        turn, _ = codes.ranks(self.cell, *self._sequence())
        mean = np.bincount(volume, turn, many) / np.bincount(volume, minlength=many)
        order = np.lexsort((np.arange(many), mean))
        volume = np.argsort(order)[volume]
        axis = self._take("b", volume, many, np.round(self._column("b_value")), "s/mm2")
        if asked:
            self._named["b"] = axis
        else:
            self._slow.append(axis)

    def _counted(self) -> None:
        """What counts volumes by a number of their own."""
        for name, least in (("trigger", _MOSTLY), ("dynamic", _HALF), ("acquisition", _MOSTLY)):
            if self._done:
                return
            if name in self._named:
                continue
            values = self._column(axes.AXES[name].column)
            code, many = codes.of(values, 0.01)
            if many == 1 or not self._splits(code):
                continue
            if self._filled(code, many) >= least:
                self._slow.append(self._timed(name, code, many, values))
            elif name == "trigger" and float(np.nanmax(values)) <= _BEAT:
                self._by_rank("trigger", values, "ms", whole=True)

    def _ranked(self) -> None:
        """What differs only in when it was acquired, or in its number: counted within each place."""
        times = (("time", 1.0), ("reference_time", 1e-3), ("trigger_time", 1e-3), ("content_time", 1.0))
        for column, factor in times:
            if self._done:
                return
            if self._by_rank("time", self._column(column) * factor, "s"):
                continue
            if self.out.parts:
                return
        if self._done:
            return
        number = self._column("instance_number")
        again, _ = codes.ranks(codes.join(self.cell, codes.of(number)[0])[0], self._column("frame"))
        if again.any():
            self.out.twice = again > 0
            return
        turn, _ = codes.ranks(self.cell, number)
        many = int(turn.max()) + 1
        if self._filled(turn, many) < 1:
            self.out.twice = turn > 0
            return
        self._slow.append(self._take("instance", turn, many, turn.astype(np.float64), ""))
        self._say("nothing but their instance numbers tells the slices at each place apart")

    # -- what is made of it --------------------------------------------------------------------------

    @property
    def _done(self) -> bool:
        return self.cells == len(self.rows)

    def _column(self, name: str) -> Array:
        found: Array = self.columns[name][self.rows]
        return found

    def _sequence(self) -> tuple[Array, ...]:
        """What tells the order of acquisition, what counts most first."""
        time = self._column("time")
        if bool(np.isnan(time).any()):
            time = np.zeros(len(time))
        return time, *(
            np.nan_to_num(self._column(name)) for name in ("acquisition_number", "instance_number", "frame")
        )

    def _splits(self, code: Array) -> bool:
        return codes.join(self.cell, code)[1] > self.cells

    def _filled(self, code: Array, many: int) -> float:
        """Which part of the grid of all that is told apart and this is filled."""
        return codes.join(self.cell, code)[1] / (self.cells * many)

    @staticmethod
    def _crosses(code: Array, many: int, other: Array, others: int) -> bool:
        return codes.join(code, other)[1] >= _MOSTLY * many * others

    def _say(self, text: str) -> None:
        self.out.notes.append(stack.Note(stack.Kind.ORDER, text))

    def _take(self, name: str, code: Array, many: int, values: Array, unit: str) -> Axis:
        self.cell, self.cells = codes.join(self.cell, code)
        if values.dtype.kind in "fiub":
            shown = _medians(code, many, values.astype(np.float64))
        else:
            words = dict(zip(code.tolist(), values.tolist(), strict=True))
            shown = np.arange(many, dtype=np.float64)
            told = ", ".join(f"{at} is {str(words[at])[:40]}" for at in range(min(many, 8)))
            self._say(f"along {name}, {told}")
        return Axis(name, code, shown, unit)

    def _timed(self, name: str, code: Array, many: int, values: Array) -> Axis:
        """An axis of volumes that are counted: in seconds where the times say so."""
        time = self._column("time")
        if name != "trigger" and not bool(np.isnan(time).any()):
            seconds = _medians(code, many, time)
            if bool((np.diff(seconds) > 0).all()):
                self._take(name, code, many, values, "")
                return Axis("time", code, seconds - seconds[0], "s")
        return self._take(name, code, many, values, axes.AXES[name].unit)

    def _part(self, label: str, code: Array, many: int, values: Array) -> None:
        for rows in codes.groups(code, many):
            value = values[rows[0]]
            shown = f"{value:g}" if isinstance(value, float) else str(value)[:40]
            self.out.parts.append((label + (shown if shown != "nan" else "unknown"), rows))

    def _by_rank(self, name: str, values: Array, unit: str, *, asked: str = "", whole: bool = False) -> bool:
        """Take the order of values within each place as an axis, where they differ there.

        `whole`: only when every place has as many of them.
        """
        if self._done or values.dtype == object or bool(np.isnan(values).any()):
            return False
        kinds, _ = codes.of(values)
        apart = codes.join(self.cell, kinds)[1]
        if apart == self.cells:
            return False
        turn, _ = codes.ranks(self.cell, values, *self._sequence()[1:])
        many = int(turn.max()) + 1
        sizes = np.bincount(self.cell)
        if int(sizes.min()) < many:
            if whole:
                return False
            if len(self.rows) < _MOSTLY * self.cells * many or many < 3:
                self._repeated(turn, many)
                return False
            turn = self._nearest(turn, many, values, sizes)
        if apart < len(self.rows):
            self._say("some slices at one place have the same time: their instance numbers order them")
        relative = name == "time"
        axis = self._take(name, turn, many, values, unit)
        if relative:
            axis = dataclasses.replace(axis, values=axis.values - axis.values[0])
        if name in ("phase", "instance"):
            axis = dataclasses.replace(axis, values=np.arange(many, dtype=np.float64))
        if asked:
            self._named[asked] = axis
        else:
            self._slow.append(axis)
        return True

    def _nearest(self, turn: Array, many: int, values: Array, sizes: Array) -> Array:
        """Which volume the slices of a place belong to that has fewer than others: the nearest in time."""
        short = sizes[self.cell] < many
        middle = _medians(turn[~short], many, values[~short].astype(np.float64))
        if bool((np.diff(middle) > 0).all()):
            near = np.searchsorted((middle[1:] + middle[:-1]) / 2, values[short])
            made = turn.copy()
            made[short] = near
            if codes.join(self.cell, made)[1] == len(self.rows):
                return made
        self._say("slices are missing, and no time says in which volumes: they are taken to be the last ones")
        return turn

    def _repeated(self, turn: Array, many: int) -> None:
        """Some places have more slices than others, and no grid comes of it: each round for itself."""
        acquisition = self._column("acquisition_number")
        code, kinds = codes.of(acquisition)
        if kinds > 1 and codes.join(self.cell, code)[1] == len(self.rows):
            self._part("acquisition ", code, kinds, acquisition)
        else:
            turn = np.minimum(turn, _REPEATS)
            self.out.parts = [
                (f"repeat {at}" if at else "", rows)
                for at, rows in enumerate(codes.groups(turn, int(turn.max()) + 1))
            ]


def _medians(code: Array, many: int, values: Array) -> Array:
    """The median of the values of each number."""
    order = np.lexsort((values, code))
    sizes = np.bincount(code, minlength=many)
    starts = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    in_order = values[order]
    low, high = starts + (sizes - 1) // 2, starts + sizes // 2
    found: Array = in_order[low] + (in_order[high] - in_order[low]) / 2
    return found
