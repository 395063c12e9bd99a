"""Two volumes beside each other: what differs, in words and numbers."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from node.volume.arrays import combining, volume
from node.volume.arrays import header as headers

Array = np.ndarray[Any, np.dtype[Any]]


@dataclasses.dataclass(frozen=True, slots=True)
class Comparison:
    """How two volumes differ."""

    shapes: tuple[tuple[int, ...], tuple[int, ...]]  # of both
    distance: float | None  # mm between voxels of the same index where it is largest; None: one lies nowhere
    same_place: bool  # they are on the same grid
    identity: tuple[str, ...]  # what of patient, study and series differs; without the values
    different: int | None  # voxels whose values differ; None: the shapes do, so that nothing was compared
    largest: float | None  # difference of two values
    mean: float | None  # of the absolute differences
    words: tuple[str, ...]  # all of it in sentences; () nothing differs

    @property
    def equal(self) -> bool:
        """Whether voxels and place are the same; identity may differ."""
        return self.same_place and self.different == 0

    def __bool__(self) -> bool:
        return self.equal

    def __str__(self) -> str:
        return "; ".join(self.words) or "the same"


def compare(a: volume.Volume, b: volume.Volume) -> Comparison:
    """What differs between two volumes: their place, whose they are, their real values."""
    words: list[str] = []
    shapes = (tuple(a.shape), tuple(b.shape))
    if a.names != b.names:
        words.append(f"axes: {', '.join(a.names)} against {', '.join(b.names)}")
    if a.shape != b.shape:
        words.append(f"shape: {_by(a.shape)} against {_by(b.shape)}")
    distance, same = _distance(a, b)
    if not same:
        words.append("place: " + ("one does not say it" if distance is None else f"{distance:.3g} mm apart"))
    whose = _identity(a, b)
    if whose:
        words.append(f"identity: another {', another '.join(whose)}")
    if a.unit != b.unit:
        words.append(f"unit: {a.unit or 'none'} against {b.unit or 'none'}")
    different, largest, mean = (None, None, None) if a.shape != b.shape else _values(a, b)
    if different:
        words.append(
            f"values: {different:,} of {a.size:,} differ, by up to {largest:.6g}, {mean:.6g} on average"
        )
    return Comparison(shapes, distance, same, whose, different, largest, mean, tuple(words))


def _distance(a: volume.Volume, b: volume.Volume) -> tuple[float | None, bool]:
    if a.geometry is None or b.geometry is None:
        return None, a.geometry is b.geometry
    sizes = []
    for name in headers.SPATIAL:
        lengths = [one.shape[at] for one in (a, b) if (at := one.header.find(name)) is not None]
        sizes.append(max(lengths, default=1))
    far = combining.distance(a.geometry, b.geometry, sizes)
    return far, far <= combining.ALIKE * combining.finest(a.geometry)


def _identity(a: volume.Volume, b: volume.Volume) -> tuple[str, ...]:
    """The kinds of identity that differ: who is who stays unsaid."""
    one, other = a.identity, b.identity
    if not one.known or not other.known:
        return ()
    found = []
    if (one.patient_id, one.patient_name) != (other.patient_id, other.patient_name):
        found.append("patient")
    found += [name for name in ("study", "series") if getattr(one, name) != getattr(other, name)]
    if one.frame_of_reference != other.frame_of_reference:
        found.append("frame of reference")
    return tuple(found)


def _values(a: volume.Volume, b: volume.Volume) -> tuple[int, float, float]:
    """Differing voxels, the largest difference and the mean one; plane by plane, to spare memory."""
    different, largest, total = 0, 0.0, 0.0
    first, second = (np.asarray(one.rescaled()) for one in (a, b))
    planes = np.ndindex(a.shape[: max(a.ndim - 2, 0)])
    for at in planes:
        one, other = (np.asarray(part[at], np.float64) for part in (first, second))
        nowhere = np.isnan(one) & np.isnan(other)
        apart = np.where(nowhere | (one == other), 0.0, np.abs(one - other))
        apart = np.nan_to_num(apart, nan=np.inf)
        different += int(np.count_nonzero(apart))
        largest = max(largest, float(apart.max(initial=0.0)))
        total += float(apart.sum())
    return different, largest, total / max(a.size, 1)


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
