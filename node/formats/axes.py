"""Axes of an image as files have them: a first value and a step, or a list where the steps differ."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from node import errors
from node.volume import geometry, image, stack
from node.volume.pixels import cells

Array = np.ndarray[Any, np.dtype[Any]]

MOST = 1 << 46  # bytes of one image; what claims more has a header that lies
MOST_READ = 1 << 32  # bytes of a file, or of a part of it unpacked, that is read as a whole
_UNITS = {"time": "s", "b": "s/mm2", "te": "ms", "ti": "ms", "tr": "ms", "trigger": "ms", "fa": "deg"}


def leading(made: image.Image) -> tuple[stack.Axis, ...]:
    """The axes before slice, row and column: time and its like, slowest first."""
    return made.axes[: len(made.shape) - 3 - made.colour]


def grid(made: image.Image) -> geometry.Geometry:
    """Where it lies; of an image that does not say, a grid of its axes' steps at the origin."""
    if made.geometry is not None:
        return made.geometry
    columns, rows, slices = (step(axis) for axis in reversed(made.axes[len(leading(made)) :][:3]))
    return geometry.Geometry((0, 0, 0), (columns, 0, 0), (0, rows, 0), (0, 0, slices))


def step(axis: stack.Axis) -> float:
    """The (mean) distance between its values; 1 where there is none."""
    values = np.asarray(axis.values, dtype=float)
    if len(values) < 2:
        return 1.0
    found = float(values[-1] - values[0]) / (len(values) - 1)
    return found if math.isfinite(found) and found else 1.0


def first(axis: stack.Axis) -> float:
    """Its first value; 0 where there is none."""
    found = float(axis.values[0]) if len(axis.values) else 0.0
    return found if math.isfinite(found) else 0.0


def regular(axis: stack.Axis) -> bool:
    """Whether first value and step say all of it."""
    values = np.asarray(axis.values, dtype=float)
    told = first(axis) + step(axis) * np.arange(len(values))
    return bool(np.allclose(values, told, rtol=0, atol=1e-6 * max(1.0, abs(step(axis)))))


def of(
    shape: Sequence[int], where: geometry.Geometry | None, extra: Sequence[stack.Axis], *, colour: bool
) -> tuple[stack.Axis, ...]:
    """All axes of an image that was read from a file: what leads, then slice, row, column and rgb."""
    spacing = (1.0, 1.0, 1.0) if where is None else where.spacing
    unit = "" if where is None else "mm"
    spatial = tuple(
        stack.Axis(name, np.arange(count) * distance, unit)
        for name, count, distance in zip(
            ("slice", "row", "column"), shape[len(extra) : len(extra) + 3], spacing, strict=True
        )
    )
    last = (stack.Axis("rgb", np.arange(3)),) if colour else ()
    return (*extra, *spatial, *last)


def unit(name: str) -> str:
    """The unit that an axis of this name has here."""
    return _UNITS.get(name, "")


def checked(
    where: str, shape: Sequence[int], dtype: np.dtype[Any], there: int | None, *, what: str = "voxels"
) -> int:
    """The bytes of an array that a header describes; BadData when it cannot be or is not `there`."""
    if not shape or any(count < 1 for count in shape) or len(shape) > 8:
        raise errors.BadData(f"{where}: an image of {' x '.join(map(str, shape)) or 'no'} {what} cannot be")
    need = math.prod(shape) * dtype.itemsize
    if need > MOST or (there is not None and need > there):
        has = "more than anything holds" if there is None else f"it has {max(there, 0)}"
        raise errors.BadData(f"{where}: its header says {need} bytes of {what}, {has}")
    return need


def finite(where: str, what: str, values: Sequence[float]) -> None:
    """BadData when a number of a header is none."""
    if not all(math.isfinite(value) and abs(value) < 1e9 for value in values):
        raise errors.BadData(f"{where}: {what} has a value that cannot be")


def placed(where: str, scanner: Array) -> geometry.Geometry:
    """The geometry of a matrix to right-anterior-superior that a file has; BadData when it can be none."""
    finite(where, "the affine", scanner.ravel().tolist())
    if abs(np.linalg.det(scanner[:3, :3])) < 1e-9:
        raise errors.BadData(f"{where}: its affine spans no volume")
    return geometry.Geometry.of_scanner(scanner)


def whole_type(made: image.Image, limits: tuple[int, int] | None = None) -> np.dtype[Any]:
    """The type of real values: whole numbers where slope and intercept are whole, else 4-byte floats.

    `limits` are those of the stored values where more is known than the header says.
    """
    if made.dtype.kind == "f":
        return made.dtype
    slope, intercept = int(made.slope), int(made.intercept)
    if (slope, intercept) == (made.slope, made.intercept):
        ends = [value * slope + intercept for value in limits or _limits(made)]
        for kind in (made.dtype, np.dtype("<i2"), np.dtype("<i4")):
            if np.iinfo(kind).min <= min(ends) and max(ends) <= np.iinfo(kind).max:
                return kind
    return np.dtype("<f4")


def _limits(made: image.Image) -> tuple[int, int]:
    """The least and the greatest value that the stored bits can hold."""
    kind = np.iinfo(made.dtype)
    if made.table is None or made.rows is None or not (made.rows >= 0).any():
        return _widest(made.dtype)
    bits = made.table["bits_stored"][made.rows[made.rows >= 0]].max()
    if not 1 <= bits <= kind.bits:
        return _widest(made.dtype)
    return (0, 2 ** int(bits) - 1) if kind.min == 0 else (-(2 ** int(bits - 1)), 2 ** int(bits - 1) - 1)


def _widest(dtype: np.dtype[Any]) -> tuple[int, int]:
    kind = np.iinfo(dtype)
    return int(kind.min), int(kind.max)


def real(made: image.Image) -> image.Image:
    """The image with real values stored, for formats that have no field for a slope."""
    if (made.slope, made.intercept) == (1, 0) or made.colour:
        return made
    kind = whole_type(made)
    get = made.voxels
    if kind.kind in "iu" and made.dtype.kind in "iu" and (limits := _limits(made)) != _widest(made.dtype):
        # A header may say too few bits, and what is beyond them must not come out as something else.
        read = made.voxels()
        get = functools.partial(np.asarray, read)
        if cells.beyond(read, limits):
            kind = whole_type(made, _widest(made.dtype))

    def voxels() -> Array:
        stored = get()
        out = np.empty(stored.shape, kind)
        for at in np.ndindex(stored.shape[:-2]):  # frame by frame: no second volume in double precision
            if kind.kind == "f":
                try:
                    with np.errstate(over="raise", invalid="ignore"):
                        out[at] = stored[at] * made.slope + made.intercept
                except FloatingPointError:
                    raise errors.BadData(
                        f"values of slope {made.slope:g} are more than {kind.name} holds"
                    ) from None
            else:
                out[at] = stored[at].astype(np.int64) * int(made.slope) + int(made.intercept)
        return out

    return dataclasses.replace(made, dtype=kind, slope=1.0, intercept=0.0, voxels=voxels, spans=None)


def lost(made: image.Image, *, kept: Callable[[stack.Axis], bool]) -> tuple[str, ...]:
    """What a format that holds a grid and no more does not say of an image, in sentences."""
    notes = [
        f"the values of the axis {axis.name} are not regular, and the format has no place for them"
        for axis in leading(made)
        if not kept(axis)
    ]
    if made.verdict is stack.Verdict.UNEQUAL:
        notes.append("the slices lie at unequal distances; the file has their mean")
    if made.geometry is None:
        notes.append("nothing says where the slices lie; the file has them at the origin")
    return tuple(notes)


def wrong(options: Mapping[str, str], name: str, known: Mapping[str, Sequence[str]]) -> str | None:
    """What is wrong with options of which each takes one of a few words, in a sentence."""
    for option, value in options.items():
        if option not in known:
            takes = ", ".join(sorted(known)) or "none"
            return f"{name} has no option {option!r}; it takes {takes}"
        if value not in known[option]:
            return f"{option} = {value!r}: {name} takes {' or '.join(known[option])}"
    return None
