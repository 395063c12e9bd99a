"""What sorting makes of frames: stacks, each a regular array of rows of a table, and what is said of it."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

import numpy as np

from node.volume import geometry, table

Array = np.ndarray[Any, np.dtype[Any]]


class Verdict(enum.Enum):
    """Whether a stack is a whole volume; rules and routes can ask for it."""

    COMPLETE = "complete"  # every place in it is filled, at equal distances
    GAPS = "gaps"  # slices are missing between others, or some volumes of a series in time lack some
    UNEQUAL = "unequal"  # every slice is there, at distances that differ
    SINGLE = "single"  # one slice
    UNPLACED = "unplaced"  # no geometry: ordered by number


class Kind(enum.Enum):
    """What is to be said of a stack."""

    GAP = "gap"
    DUPLICATE = "duplicate"
    UNEQUAL = "unequal spacing"
    TILT = "gantry tilt"
    SPLIT = "split"  # what of the series is in other stacks, and what it differs in
    ORDER = "order"  # how it was ordered, where that was not plain: guessed axes, numbers used
    PIXELS = "pixels"  # what was done to the voxels, or must be known of them
    HEADER = "header"  # headers that contradict each other: spacing that says other than positions do


@dataclasses.dataclass(frozen=True, slots=True)
class Note:
    """Something to be said of a stack, in a sentence."""

    kind: Kind
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class Axis:
    """An axis of a volume: time, b, te, ti, tr, fa, trigger, echo, slice, row, column, rgb, or a keyword."""

    name: str
    values: Array  # one for each index: seconds, s/mm2, ms, degrees, mm along the axis from its first
    unit: str = ""  # "s", "s/mm2", "ms", "deg", "mm", ""


@dataclasses.dataclass(frozen=True, slots=True)
class Stack:
    """Frames that make one volume of 2 (single), 3, 4 or 5 dimensions."""

    table: table.Table  # where the frames are
    order: Array  # rows of the table, int64, in the shape of the leading axes (..., slice); -1: missing
    axes: tuple[Axis, ...]  # the leading ones: whatever was sorted by, slowest first, then "slice"
    geometry: geometry.Geometry | None  # None: nothing says where the slices lie
    verdict: Verdict
    notes: tuple[Note, ...] = ()
    label: str = ""  # what it is among the stacks of its series: "echo 2", "phase"; "" for an only one

    @property
    def first(self) -> int:
        """The row of the first frame that is there."""
        return int(self.order.ravel()[int(np.argmax(self.order.ravel() >= 0))])


@dataclasses.dataclass(frozen=True, slots=True)
class Sorted:
    """Everything that sorting made of a table."""

    stacks: tuple[Stack, ...]
    left: tuple[table.Skipped, ...] = ()  # frames and files that are in no stack
