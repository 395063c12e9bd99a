"""What lies beside a NIfTI file that is read: a sidecar, b values, directions, as far as they make sense."""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from node.formats import bids, diffusion
from node.volume import geometry, stack, table

Array = np.ndarray[Any, np.dtype[Any]]

_MOST = 1 << 24  # bytes of a sidecar that is read


@dataclasses.dataclass(frozen=True, slots=True)
class Beside:
    """What was found beside a file that is read."""

    fields: dict[str, Any]
    bvalues: Array | None = None  # of a .bval
    bvectors: str = ""  # what a .bvec holds
    notes: tuple[str, ...] = ()

    @property
    def unit(self) -> str:
        """The unit of the values, as DICOM writes it; "" unknown."""
        known = {"Bq/mL": "BQML", "g/mL": "GML"}
        found = self.fields.get("Units", "")
        if not isinstance(found, str):
            return ""
        return known.get(found, found[:64]) or ("HU" if self.fields.get("Modality") == "CT" else "")


def beside(path: pathlib.Path) -> Beside:
    """The sidecar and the b values of a file, as far as they are there and make sense."""
    stem = path.name
    for suffix in (".gz", ".nii", ".hdr", ".img"):
        stem = stem.removesuffix(suffix)
    fields: dict[str, Any] = {}
    notes = []
    text = _text(path.with_name(f"{stem}.json"))
    if text:
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, dict):
            fields = found
        else:
            notes.append("the sidecar beside it is no JSON object, and was not read")
    bvalues = None
    if text := _text(path.with_name(f"{stem}.bval")):
        bvalues = diffusion.read(text)
        if bvalues is None:
            notes.append("the .bval beside it holds something else than b values, and was not read")
    vectors = _text(path.with_name(f"{stem}.bvec")) if bvalues is not None else ""
    return Beside(fields, bvalues, vectors, tuple(notes))


def diffusing(
    found: Beside, source: pathlib.Path, shape: Sequence[int], where: geometry.Geometry | None
) -> tuple[table.Table | None, Array | None, tuple[str, ...]]:
    """b values and directions as columns of frames, their rows in `shape` (..., slice), and notes."""
    count = math.prod(shape[:-1])
    if found.bvalues is None or not found.bvectors or where is None:
        return None, None, ()
    if len(found.bvalues) != count:
        return (
            None,
            None,
            (f"the .bval beside it is of {len(found.bvalues)} volumes, not of {count}: not read",),
        )
    vectors = diffusion.directions(found.bvectors, count, where)
    if vectors is None:
        return None, None, ("the .bvec beside it holds something else than directions, and was not read",)
    each = table.Source(str(source), 0, 0, "", "", "")
    columns = {"b_value": found.bvalues, "gradient": vectors}
    rows = np.repeat(np.arange(count), shape[-1]).reshape(shape)
    return table.Table((each,), columns, count), rows, ()


def _text(path: pathlib.Path) -> str:
    try:
        with path.open("rb") as file:
            found = file.read(_MOST + 1)
    except OSError:
        return ""
    return found.decode("utf-8", "replace") if len(found) <= _MOST else ""


def leading(
    found: Beside, counts: Sequence[int], steps: Sequence[float], start: float
) -> tuple[stack.Axis, ...]:
    """The axes before the slices, slowest first: as the sidecar names them, else b or time, or a number."""
    named = _named(found.fields.get(bids.AXES), counts)
    if named is not None:
        return named
    made = []
    for at, (count, step) in enumerate(zip(counts, steps, strict=True)):
        number = len(counts) - at + 3
        if number > 4:
            made.append(stack.Axis(f"dim{number}", np.arange(count, dtype=float)))
        elif found.bvalues is not None and len(found.bvalues) == count:
            made.append(stack.Axis("b", found.bvalues, "s/mm2"))
        else:
            every = step if math.isfinite(step) and step > 0 else 1.0
            made.append(stack.Axis("time", _starts(found, count, start + np.arange(count) * every), "s"))
    return tuple(made)


def _starts(found: Beside, count: int, regular: Array) -> Array:
    told_ = found.fields.get("FrameTimesStart")
    if not isinstance(told_, list) or len(told_) != count:
        return regular
    values = [one for one in told_ if isinstance(one, int | float) and math.isfinite(one)]
    return np.array(values, float) if len(values) == count else regular


def _named(found: Any, counts: Sequence[int]) -> tuple[stack.Axis, ...] | None:
    if not isinstance(found, list) or len(found) != len(counts):
        return None
    made = []
    for one, count in zip(found, counts, strict=True):
        if not isinstance(one, dict):
            return None
        name, unit, values = one.get("Name"), one.get("Unit", ""), one.get("Values")
        if not (isinstance(name, str) and 0 < len(name) <= 64 and isinstance(unit, str) and len(unit) <= 16):
            return None
        if name in ("slice", "row", "column", "rgb") or not isinstance(values, list) or len(values) != count:
            return None
        if all(isinstance(value, str) for value in values):
            made.append(stack.Axis(name, np.array(values, dtype=object), unit))
        elif all(value is None or isinstance(value, int | float) for value in values):
            made.append(
                stack.Axis(name, np.array([math.nan if v is None else v for v in values], float), unit)
            )
        else:
            return None
    return tuple(made)
