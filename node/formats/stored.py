"""Voxels as DICOM stores them: integers of 8 or 16 bits, floats scaled onto them by less than half a step."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from node import errors
from node.dicom import values

Array = np.ndarray[Any, np.dtype[Any]]


_DOUBT = 0.01
_COMPLEX = "complex voxels are none of DICOM's: write magnitude and phase apart"


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """What there is among voxels."""

    low: float  # the least value that is finite
    high: float  # the greatest
    whole: bool  # every value is an integer
    broken: int  # values that are not finite


@dataclasses.dataclass(frozen=True, slots=True)
class Stored:
    """How the voxels of a slice, or of all slices, are written."""

    dtype: np.dtype[Any]  # as written, little endian
    slope: float  # real value = written * slope + intercept, as exact as the text in the file is
    intercept: float
    cast: Callable[[Array], Array]  # from the values of the image to those written
    limits: Limits
    note: str = ""  # what was lost

    @property
    def bits(self) -> int:
        """Bits allocated."""
        return self.dtype.itemsize * 8

    @property
    def signed(self) -> bool:
        """Whether what is written has a sign."""
        return self.dtype.kind == "i"

    def written(self) -> tuple[int, int]:
        """The least and the greatest value written."""
        ends = self.cast(np.array([self.limits.low, self.limits.high], dtype=np.float64))
        return int(ends[0]), int(ends[1])


def limits(slices: Iterable[Array]) -> Limits:
    """The least and greatest value, slice by slice, so that nothing as large as the volume is made."""
    low, high, whole, broken = math.inf, -math.inf, True, 0
    for one in slices:
        if one.dtype.kind == "c":
            raise errors.UsageError(_COMPLEX)
        if one.dtype.kind == "f":
            finite = one[np.isfinite(one)]
            broken += one.size - finite.size
            whole = whole and bool((finite == np.rint(finite)).all())
            low, high = _wider_ends(low, high, finite)
        else:
            low, high = _wider_ends(low, high, one)
    return Limits(low, high, whole, broken) if low <= high else Limits(0.0, 0.0, whole=True, broken=broken)


def _wider_ends(low: float, high: float, one: Array) -> tuple[float, float]:
    return (min(low, float(one.min())), max(high, float(one.max()))) if one.size else (low, high)


def plan(
    dtype: np.dtype[Any],
    found: Limits,
    slope: float,
    intercept: float,
    *,
    wide: bool,
    zero: bool = False,
) -> Stored:
    """How voxels of a type and range are written.

    `wide`: in 16 bits, even where 8 are enough; `zero`: with no intercept, as PET must.
    """
    if dtype.kind == "c":
        raise errors.UsageError(_COMPLEX)
    if zero and intercept:
        return _scaled(found, slope, intercept, zero=True)
    if dtype.kind == "b":
        return _kept(np.dtype("<u2" if wide else "u1"), found, slope, intercept)
    if dtype.kind in "iu" and dtype.itemsize <= 2:
        return _kept(_wider(dtype, wide=wide), found, slope, intercept)
    if found.whole and not found.broken:
        for kind in (np.dtype("<i2"), np.dtype("<u2")):
            info = np.iinfo(kind)
            if info.min <= found.low and found.high <= info.max:
                return _kept(kind, found, slope, intercept)
    return _scaled(found, slope, intercept, zero=zero)


def _wider(dtype: np.dtype[Any], *, wide: bool) -> np.dtype[Any]:
    if dtype.itemsize == 1 and wide:
        return np.dtype("<i2" if dtype.kind == "i" else "<u2")
    return dtype.newbyteorder("<")


def _kept(kind: np.dtype[Any], found: Limits, slope: float, intercept: float) -> Stored:
    def cast(one: Array) -> Array:
        return np.ascontiguousarray(one, dtype=kind)

    return Stored(kind, said(slope), said(intercept), cast, found)


def _scaled(found: Limits, slope: float, intercept: float, *, zero: bool) -> Stored:
    """Spread over 65,536 steps of a size that a decimal string says exactly, rounded up, so that all fit."""
    low, high = sorted((found.low * slope + intercept, found.high * slope + intercept))
    if not all(map(math.isfinite, (low, high, high - low))):
        raise errors.UsageError(f"voxels from {low:g} to {high:g} cannot be scaled to 16 bits")
    kind: np.dtype[Any] = np.dtype("<u2")
    base = _down(low)
    step = _up((high - base) / 65535)
    if zero:
        kind, base = np.dtype("<i2" if low < 0 else "<u2"), 0.0
        step = _up(max(-low / 32768, high / 32767) if low < 0 else high / 65535)
    ends = np.iinfo(kind)

    def cast(one: Array) -> Array:
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is counted, and told
            steps = np.multiply(one, slope, dtype=np.float64)
            steps += intercept - base
            steps /= step
            np.rint(steps, out=steps)
        np.nan_to_num(steps, copy=False, nan=0.0, posinf=ends.max, neginf=ends.min)
        return np.clip(steps, ends.min, ends.max, out=steps).astype(kind)

    note = f"values were scaled to 16 bits, in steps of {step:.3g}"
    if found.broken:
        note += f"; {found.broken} that are not finite became the least or the greatest"
    return Stored(kind, step, base, cast, found, note)


def again(
    one: Array, slope: float, intercept: float, former: tuple[float, float], *, signed: bool
) -> Stored | None:
    """Floats as the integers that a former slope and intercept made them of; None: they were not.

    Single precision leaves less than a hundredth of a step of doubt about 16 bits.
    """
    step, base = (said(number) if math.isfinite(number) else math.nan for number in former)
    if not step or not math.isfinite(step) or not math.isfinite(base):
        return None
    kind = np.dtype("<i2" if signed else "<u2")
    ends = np.iinfo(kind)

    def steps_of(values_: Array) -> Array:
        steps = np.multiply(values_, slope, dtype=np.float64)
        steps += intercept - base
        steps /= step
        return steps

    exact = steps_of(one)
    whole = np.rint(exact)
    if not bool((np.abs(exact - whole) < _DOUBT).all()):  # false for what is not finite, too
        return None
    low, high = (float(whole.min()), float(whole.max())) if whole.size else (0.0, 0.0)
    if low < ends.min or high > ends.max:
        return None

    def cast(values_: Array) -> Array:
        return np.rint(steps_of(values_)).astype(kind)

    found = Limits(float(one.min()), float(one.max()), whole=False, broken=0)
    return Stored(kind, step, base, cast, found)


def said(number: float) -> float:
    """What a decimal string of 16 characters leaves of a number."""
    return float(values.decimal_string(float(number)))


def _up(number: float) -> float:
    """The least number above 0 that a decimal string says and that is not less."""
    close, digits = said(number), 10
    while close < number:
        close = said(number + abs(number) * 10.0**-digits)
        digits -= 1
    return close if close > 0 else 1.0


def _down(number: float) -> float:
    """The greatest number that a decimal string says and that is not more."""
    close, digits = said(number), 10
    while close > number:
        close = said(number - abs(number) * 10.0**-digits)
        digits -= 1
    return close
