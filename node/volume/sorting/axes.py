"""What frames can be sorted by beside their place: the names of axes, and the columns behind them.

`time`         seconds from the first volume (median over its slices)
`b`            b value in s/mm2, one entry for each volume in the order in which they were acquired
`te` `ti` `tr` echo, inversion, repetition time in ms
`fa`           flip angle in degrees
`trigger`      ms after the trigger (R wave)
`phase`        the same, counted from 0
`dynamic`      Temporal Position Identifier
`acquisition`  Acquisition Number
`echo`         Echo Number
`instance`     blocks of instance numbers, counted from 0

Anything else is a column of a table, or an element by keyword, tag or path.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from node import errors
from node.volume import table
from node.volume.sorting import codes

Array = np.ndarray[Any, np.dtype[Any]]
Functions = Mapping[str, Callable[[table.Table], Array]]


@dataclasses.dataclass(frozen=True, slots=True)
class Known:
    """An axis with a name of its own."""

    column: str  # where its values stand
    unit: str  # of the values
    ranked: bool = False  # frames are counted within their place, for the values differ from slice to slice


AXES: Mapping[str, Known] = {
    "time": Known("time", "s", ranked=True),
    "b": Known("b_value", "s/mm2", ranked=True),
    "te": Known("echo_time", "ms"),
    "ti": Known("inversion_time", "ms"),
    "tr": Known("repetition_time", "ms"),
    "fa": Known("flip_angle", "deg"),
    "trigger": Known("trigger_time", "ms"),
    "phase": Known("trigger_time", "", ranked=True),
    "dynamic": Known("temporal_position", ""),
    "acquisition": Known("acquisition_number", ""),
    "echo": Known("echo_number", ""),
    "instance": Known("instance_number", "", ranked=True),
}
_SAME = {"te": 0.01, "ti": 0.01, "tr": 0.01, "fa": 0.01, "trigger": 0.01}
# Keywords whose column every table has.
_KEYWORDS = {
    "AcquisitionNumber": "acquisition_number",
    "EchoNumbers": "echo_number",
    "EchoTime": "echo_time",
    "FlipAngle": "flip_angle",
    "ImageType": "image_type",
    "InstanceNumber": "instance_number",
    "InversionTime": "inversion_time",
    "RepetitionTime": "repetition_time",
    "SequenceName": "sequence_name",
    "StackID": "stack",
    "TemporalPositionIdentifier": "temporal_position",
    "TriggerTime": "trigger_time",
}
_MOST = 5  # axes beside slice, row, column that an order may name


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """An axis that an order names."""

    name: str  # as it was asked for
    values: Array  # one for each row of the table
    unit: str  # of the values
    ranked: bool  # see `Known`
    column: str  # of the table; "": a function made it

    @property
    def same(self) -> float:
        """By how much two values may differ and be one."""
        return _SAME.get(self.name, 0.0)


def needs(order: Sequence[str]) -> tuple[str, ...]:
    """What `headers.read` must be asked to read beside what it always reads."""
    return tuple(
        name for name in order if name not in AXES and name not in table.COLUMNS and name not in _KEYWORDS
    )


def column(name: str) -> str:
    """The column that a name of an order stands for."""
    return AXES[name].column if name in AXES else _KEYWORDS.get(name, name)


def asked(
    frames: table.Table, columns: codes.Columns, order: Sequence[str], functions: Functions
) -> tuple[Asked, ...]:
    """What an order asks for; raises UsageError for what the table has no column of."""
    if len(order) > _MOST:
        raise errors.UsageError(f"{len(order)} axes are asked for, and a volume has room for {_MOST}")
    if len(set(order)) < len(order):
        raise errors.UsageError(f"the order {','.join(order)!r} names an axis twice")
    return tuple(_asked(name, frames, columns, functions) for name in order)


def _asked(name: str, frames: table.Table, columns: codes.Columns, functions: Functions) -> Asked:
    if name in functions:
        values = np.asarray(functions[name](frames))
        if values.shape != (len(frames),):
            raise errors.UsageError(
                f"the function {name!r} gave {values.shape} values: give one for each of {len(frames)} frames"
            )
        if values.dtype.kind not in "fiub":
            values = values.astype(object)
        return Asked(name, values, "", ranked=False, column="")
    if name in AXES:
        one = AXES[name]
        return Asked(name, columns[one.column], one.unit, one.ranked, one.column)
    found = _KEYWORDS.get(name, name)
    if found not in frames and found not in table.COLUMNS:
        raise errors.UsageError(
            f"{name!r} is no axis: use {', '.join(AXES)}, or the keyword, tag or path of an element"
        )
    values = columns[found]
    if values.ndim > 1:
        raise errors.UsageError(f"{name!r} has several values in each frame: sort by one that has one")
    return Asked(name, _numbers(values), "", ranked=False, column=found)


def _numbers(values: Array) -> Array:
    """Texts that are all numbers, as those: 20 comes before 100."""
    if values.dtype != object:
        return values
    try:
        return np.array([value or "nan" for value in values.tolist()], dtype=np.float64)
    except ValueError:
        return values
