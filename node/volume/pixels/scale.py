"""What stored values mean: one slope and intercept for a volume, or values that must be made real."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from node import errors
from node.volume import table

Array = np.ndarray[Any, np.dtype[Any]]

STORED, REAL, PHILIPS, RWV = "stored", "real", "philips", "rwv"
CHOICES = (STORED, REAL, PHILIPS, RWV)
_LEAST, _MOST = 1e-30, 1e30  # what 4-byte floats still hold when a value is multiplied


@dataclasses.dataclass(frozen=True, slots=True)
class Scale:
    """From stored to real values."""

    slope: Array  # one for each frame asked about
    intercept: Array  # one for each frame asked about
    unit: str  # of the real values
    plain: bool  # no frame says a slope or an intercept

    @property
    def uniform(self) -> bool:
        """Whether every frame has the same."""
        return bool((self.slope == self.slope[0]).all() and (self.intercept == self.intercept[0]).all())


def of(found: table.Table, rows: Array, choice: str = STORED) -> Scale:
    """The scale of some rows; UsageError when they do not say what is asked for, BadData when none can be."""
    if choice not in CHOICES:
        raise errors.UsageError(f"{choice!r} is no scaling; there are {', '.join(CHOICES)}")
    slope, intercept = found["slope"][rows], found["intercept"][rows]
    said = np.isfinite(slope) & (slope != 0)  # a slope of 0 would leave nothing of an image
    plain = not bool(said.any() or (np.isfinite(intercept) & (intercept != 0)).any())
    slope = np.where(said, slope, 1.0)
    intercept = np.where(np.isfinite(intercept), intercept, 0.0)
    if choice == RWV:
        return _held(_real_world(found, rows))
    if choice == PHILIPS:
        return _held(_philips(found, rows, slope, intercept))
    return _held(Scale(slope, intercept, _unit(found, rows), plain))


def _held(made: Scale) -> Scale:
    """The scale, where the formats can hold it: others would write it as infinite, or leave it out."""
    size = np.abs(made.slope)
    wrong = (size < _LEAST) | (size > _MOST) | ~np.isfinite(size) | ~(np.abs(made.intercept) < _MOST)
    if wrong.any():
        at = int(np.argmax(wrong))
        raise errors.BadData(
            f"a slope of {made.slope[at]:g} and an intercept of {made.intercept[at]:g} cannot be"
        )
    return made


def _real_world(found: table.Table, rows: Array) -> Scale:
    slope, intercept = found["real_slope"][rows], found["real_intercept"][rows]
    if not bool((np.isfinite(slope) & (slope != 0)).all()):
        raise errors.UsageError("not every frame has a Real World Value Mapping; leave the scaling as stored")
    return Scale(
        slope, np.where(np.isfinite(intercept), intercept, 0.0), _first(found["real_unit"][rows]), False
    )


def _philips(found: table.Table, rows: Array, slope: Array, intercept: Array) -> Scale:
    """(stored * rescale slope + rescale intercept) / (rescale slope * scale slope): what Philips calls FP."""
    own = found["philips_slope"][rows]
    if not bool((np.isfinite(own) & (own != 0)).all()):
        raise errors.UsageError("not every frame has the Scale Slope of Philips; leave the scaling as stored")
    return Scale(1.0 / own, intercept / (slope * own), "", False)


def _unit(found: table.Table, rows: Array) -> str:
    unit = _first(found["rescale_type"][rows])
    if unit and unit != "US":  # unspecified
        return unit
    ct = _first(found["modality"][rows]) == "CT"
    return "HU" if ct and not unit and bool(np.isfinite(found["intercept"][rows]).all()) else ""


def _first(texts: Array) -> str:
    """The value of a column where all rows agree, else nothing."""
    first = str(texts[0]).strip() if len(texts) else ""
    return first if all(str(text).strip() == first for text in texts) else ""


def real(found: Array, slope: float, intercept: float, dtype: np.dtype[Any]) -> Array:
    """Real values of a frame, computed in double precision and then rounded once."""
    made = found * np.float64(slope)
    made += np.float64(intercept)
    return made.astype(dtype)
