"""A series as a table of frames, from the rows of the index alone: no file is opened.

The index has what places slices; it has no b values, no flip angles, nothing of single frames of an object of
several. Where sorting would need more, `enough` says so, and whoever asks reads the headers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import sqlalchemy

from node import errors, model
from node.index import tables
from node.volume import table as framed
from node.volume.reading import timing
from node.volume.sorting import codes

Array = np.ndarray[Any, np.dtype[Any]]

MOST = 1_000_000  # instances of a series that are looked at
_instance, _series = tables.instance.c, tables.series.c

_NUMBERS = {
    "instance_number": _instance.instance_number,
    "acquisition_number": _instance.acquisition_number,
    "rows": _instance.rows,
    "columns": _instance.columns,
    "samples": _instance.samples_per_pixel,
    "bits_allocated": _instance.bits_allocated,
    "bits_stored": _instance.bits_stored,
    "signed": _instance.pixel_representation,
    "slice_location": _instance.slice_location,
    "slice_thickness": _instance.slice_thickness,
    "spacing_between": _instance.spacing_between_slices,
    "temporal_position": _instance.temporal_position,
    "trigger_time": _instance.trigger_time,
    "echo_time": _instance.echo_time,
}
_TEXTS = {
    "image_type": _instance.image_type,
    "photometric": _instance.photometric,
    "frame_of_reference": _instance.frame_of_reference,
}
_VECTORS = {
    "position": (_instance.image_position, 3),
    "orientation": (_instance.image_orientation, 6),
    "spacing": (_instance.pixel_spacing, 2),
}
_TIMES = {
    "time": (_instance.acquisition_date, _instance.acquisition_time),
    "content_time": (_instance.content_date, _instance.content_time),
}
_OF_SERIES = (
    sqlalchemy.select(
        tables.study.c.study,
        _series.series,
        _series.modality,
        _series.series_number,
        _series.series_description,
        _series.sequence_name,
        _series.patient_position,
    )
    .join(tables.study, tables.study.c.key == _series.study_key)
    .where(_series.key == sqlalchemy.bindparam("series_key"))
)
_SOURCE = (
    _instance.path,
    _instance.offset,
    _instance.size,
    _instance.syntax,
    _instance.sop_class,
    _instance.sop_instance,
    _instance.frames,
    _instance.state,
)
_ROWS = (
    sqlalchemy.select(
        *_SOURCE,
        *_NUMBERS.values(),
        *_TEXTS.values(),
        *(column for column, _ in _VECTORS.values()),
        *(column for pair in _TIMES.values() for column in pair),
    )
    .where(_instance.series_key == sqlalchemy.bindparam("series_key"))
    .order_by(_instance.key)
    .limit(MOST)
)


_KEYS = sqlalchemy.select(_series.key).where(_series.series == sqlalchemy.bindparam("series_uid"))


def key(connection: sqlalchemy.Connection, uid: str) -> int:
    """The row of a series; raises NotFound, and UsageError where two studies have one of this UID."""
    found = connection.execute(_KEYS, {"series_uid": uid}).scalars().all()
    if not found:
        raise errors.NotFound(f"no series {uid!r} is held here")
    if len(found) > 1:
        raise errors.UsageError(f"{len(found)} studies have a series {uid!r}: give the files of one of them")
    return int(found[0])


def table(
    connection: sqlalchemy.Connection, series_key: int, *, place: Callable[[str], object] = str
) -> framed.Table:
    """The frames of a series that can be one image each; `place` makes a path of what the index calls one.

    Sources say where a data set is and nothing of its pixels. An object of several frames is one row without
    a place: `enough` tells that its header must be read.
    """
    about = connection.execute(_OF_SERIES, {"series_key": series_key}).one_or_none()
    if about is None:
        return framed.Table((), {}, 0)
    rows = connection.execute(_ROWS, {"series_key": series_key}).all()
    skipped = []
    kept = []
    held = model.Held.HELD.value
    for row in rows:
        if row[7] != held:
            detail = "its bytes are not the ones it came with, or its file is gone"
            skipped.append(framed.Skipped(row[5], framed.Why.DAMAGED, detail))
        elif not row[8 + 2]:
            skipped.append(framed.Skipped(row[5], framed.Why.NO_PIXELS, "it has no rows and columns"))
        else:
            kept.append(row)
    many = len(kept)
    sources = tuple(framed.Source(str(place(row[0])), *row[1:6]) for row in kept)
    columns: dict[str, Array] = {"source": np.arange(many), "frame": np.zeros(many, np.int64)}
    for name in ("study", "series", "modality", "series_description", "sequence_name", "patient_position"):
        columns[name] = np.full(many, getattr(about, name) or "", dtype=object)
    number = about.series_number
    columns["series_number"] = np.full(many, math.nan if number is None else float(number))
    if many:
        by_name = zip((*_NUMBERS, *_TEXTS, *_VECTORS), list(zip(*kept, strict=True))[8:], strict=False)
        for name, values in by_name:
            columns[name] = _column(name, values)
        at = 8 + len(_NUMBERS) + len(_TEXTS) + len(_VECTORS)
        for name in _TIMES:
            columns[name] = _moments([row[at] for row in kept], [row[at + 1] for row in kept])
            at += 2
        columns["#frames"] = np.array([row[6] for row in kept], dtype=np.float64)
        timing.settle(columns)
    return framed.Table(sources, columns, many, skipped)


def enough(frames: framed.Table) -> str:
    """Why the rows of the index do not say all that sorting asks; "" when they do."""
    columns = codes.Columns(frames)
    if not len(frames):
        return ""
    if bool((columns["#frames"] > 1).any()):
        return "objects of several frames"
    if any("MOSAIC" in text or "VFRAME" in text for text in set(columns["image_type"].tolist())):
        return "slices side by side in one frame"
    if np.isnan(columns["position"]).any():
        # NM and RT dose say in their own way where slices lie.
        return "images without a place"
    cell, _ = codes.of(columns["image_type"])
    told = ["orientation", "position", "temporal_position", "echo_time"]
    if "MR" not in columns["modality"]:
        # Only of MR the index does not have everything that may vary at one place: b values, flip angles.
        told += ["acquisition_number", "trigger_time", "time"]
    for name in told:
        cell, many = codes.join(cell, _exact(columns[name]))
    return "" if many == len(frames) else "several images at one place"


def _exact(values: Array) -> Array:
    """Numbers for values that are the very same; many at once."""
    if values.ndim == 1:
        return codes.of(values)[0]
    code = codes.of(values[:, 0])[0]
    for at in range(1, values.shape[1]):
        code = codes.join(code, codes.of(values[:, at])[0])[0]
    return code


def _column(name: str, values: Sequence[Any]) -> Array:
    if name in _TEXTS:
        found = np.empty(len(values), dtype=object)
        found[:] = [value or "" for value in values]
        return found
    if name in _VECTORS:
        return _vectors(values, _VECTORS[name][1])
    return np.array(values, dtype=np.float64)  # None is not a number


def _vectors(texts: Sequence[str | None], width: int) -> Array:
    """Numbers from texts as `words.numbers` wrote them, all at once; a text of another length is absent."""
    absent = "\\".join(["nan"] * width)
    kinds: dict[str | None, str] = {
        text: text if text is not None and text.count("\\") == width - 1 else absent for text in set(texts)
    }
    joined = "\\".join([kinds[text] for text in texts])
    try:
        found = np.array(joined.split("\\"), dtype=np.float64)
    except ValueError:  # somebody else wrote it
        return np.full((len(texts), width), math.nan)
    return found.reshape(-1, width)


def _moments(dates: Sequence[str | None], times: Sequence[str | None]) -> Array:
    """Moments as `timing.settle` takes them."""
    known = {
        pair: timing.moment(pair[0] or "", pair[1] or "") for pair in set(zip(dates, times, strict=True))
    }
    return np.array([known[pair] for pair in zip(dates, times, strict=True)], dtype=np.float64)


def sorted_as(connection: sqlalchemy.Connection, series_key: int) -> tuple[str, ...]:
    """What sorting says of a series, for routes: the verdicts of its stacks, and "mixed" for several stacks.

    From the index alone: empty where that does not say enough, or there are no images.
    """
    from node.volume.sorting import sort  # a node whose routes do not ask this has no need of it

    frames = table(connection, series_key)
    if not len(frames) or enough(frames):
        return ()
    stacks = sort.sort(frames).stacks
    found = sorted({one.verdict.value for one in stacks})
    return (*found, "mixed") if len(stacks) > 1 else tuple(found)
