"""Multi-frame objects that describe each frame: shared and per-frame functional groups.

The item of one frame mostly has the same elements at the same places as that of the frame before. So what is
read of an item, and from where, is worked out once for each layout and not once for each frame.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from node import errors
from node.dicom import layouts, values
from node.dicom import syntax as syntaxes
from node.dicom import vr as vrs
from node.dicom import walk as walking
from node.volume import table
from node.volume.reading import elements, makers, timing

Array = np.ndarray[Any, np.dtype[Any]]
_Items = list[tuple[int, int]]  # from where to where the elements of each item lie
_Step = tuple[str, int, str, int, int]  # column, width (0: text), VR, where the value begins and ends

_SHARED = 0x52009229
_MOST_ITEMS = 1_000_000
_MOST_ROWS = 100_000  # elements of one item
_MOST_BYTES = 4096  # of a value

# (sequence around it, tag): column, VR where it is not written, width (0: text)
_FIELDS: Mapping[tuple[int, int], tuple[str, str, int]] = {
    (0x00209113, 0x00200032): ("position", "DS", 3),
    (0x00209116, 0x00200037): ("orientation", "DS", 6),
    (0x00289110, 0x00280030): ("spacing", "DS", 2),
    (0x00289110, 0x00180050): ("slice_thickness", "DS", 1),
    (0x00289110, 0x00180088): ("spacing_between", "DS", 1),
    (0x00209111, 0x00209056): ("stack", "SH", 0),
    (0x00209111, 0x00209057): ("in_stack", "UL", 1),
    (0x00209111, 0x00209128): ("temporal_position", "UL", 1),
    (0x00209111, 0x00209157): ("_index", "UL", -1),  # as many numbers as there are dimensions
    (0x00209111, 0x00209156): ("acquisition_number", "US", 1),
    (0x00209111, 0x00189074): ("_acquired", "DT", 0),
    (0x00209111, 0x00189151): ("_reference", "DT", 0),
    (0x00289145, 0x00281053): ("slope", "DS", 1),
    (0x00289145, 0x00281052): ("intercept", "DS", 1),
    (0x00289145, 0x00281054): ("rescale_type", "LO", 0),
    (0x00409096, 0x00409225): ("real_slope", "FD", 1),
    (0x00409096, 0x00409224): ("real_intercept", "FD", 1),
    (0x004008EA, 0x00080100): ("real_unit", "SH", 0),
    (0x00189112, 0x00180080): ("repetition_time", "DS", 1),
    (0x00189112, 0x00181314): ("flip_angle", "DS", 1),
    (0x00189114, 0x00189082): ("echo_time", "FD", 1),
    (0x00189115, 0x00189079): ("inversion_time", "FD", 1),
    (0x00189117, 0x00189087): ("b_value", "FD", 1),
    (0x00189117, 0x00189075): ("_directionality", "CS", 0),
    (0x00189076, 0x00189089): ("gradient", "FD", 3),
    (0x00189118, 0x00209153): ("trigger_time", "FD", 1),
    (0x0062000A, 0x0062000B): ("_segment", "US", 1),
    (0x00189304, 0x00181120): ("gantry_tilt", "DS", 1),  # CT Acquisition Details
    (0x2005140F, 0x2005100E): ("philips_slope", "FL", 1),
    (0x2005140F, 0x2005100D): ("philips_intercept", "FL", 1),
}
_FRAME_TYPE, _COMPONENT = 0x00089007, 0x00089208  # in the frame type sequence of each kind of object


def shared(head: elements.Elements, extra: Mapping[int, str]) -> dict[str, Any]:
    """The columns that the Shared Functional Groups give to all frames; `extra` are columns by tag."""
    made = head.table
    items = head.items(_SHARED)
    if not items:
        return {}
    row = made.rows[items[0].item]
    end = row[4] - 8 if made.undefined(items[0].item) else row[4]
    view = memoryview(made.buffer)[row[3] : end]
    rows, _ = walking.walk(view, 0, len(view), made.encoding, most=_MOST_ROWS)
    return _values(view, _plan(rows, extra), made.encoding.order)


def frames(
    buffer: syntaxes.Buffer, begin: int, enc: syntaxes.Encoding, extra: Mapping[int, str]
) -> tuple[dict[str, Array], int]:
    """The columns of the Per-frame Functional Groups Sequence whose header is at `begin`, and its items.

    Raises BadData where the sequence cannot be read.
    """
    tag, _, offset, length = walking.element_header(buffer, begin, len(buffer), enc.explicit, enc.order)
    end = len(buffer) if length == vrs.UNDEFINED else offset + length
    if end > len(buffer):
        walking.lie(f"a length of {length} reaches beyond what encloses it", begin, tag)
    items, _ = items_of(buffer, offset, end, enc, open_=length == vrs.UNDEFINED)
    view = memoryview(buffer)
    plans: dict[int, tuple[Sequence[walking.Row], list[_Step]]] = {}
    found: dict[str, list[Any]] = {}
    count = len(items)
    order = enc.order
    unpack = {vr: struct.Struct(order + code).unpack_from for vr, code in values.NUMBERS.items()}
    for number, (a, b) in enumerate(items):
        item = view[a:b]
        rows, _ = walking.walk(item, 0, b - a, enc, most=_MOST_ROWS)
        known = plans.get(id(rows))
        if known is None:
            steps = _plan(rows, extra)
            if isinstance(rows, layouts.KnownRows):  # kept, so that its identity stays its own
                plans[id(rows)] = rows, steps
            for step in steps:
                if step[0] not in found:
                    found[step[0]] = [None] * count
        else:
            steps = known[1]
        for name, width, vr, at, to in steps:
            if width == 1:
                read = unpack.get(vr)
                if read is not None:
                    if to - at >= _WIDTHS[vr]:
                        found[name][number] = read(item, at)[0]
                else:
                    found[name][number] = elements.number(bytes(item[at:to]), vr, order)
            elif width == 0:
                found[name][number] = elements.text(bytes(item[at:to]))
            elif width < 0:
                found[name][number] = elements.numbers(bytes(item[at:to]), vr, order)
            else:
                found[name][number] = elements.vector(bytes(item[at:to]), vr, order, width)
    indices = found.pop("_index", [])
    columns = {name: _column(name, column) for name, column in found.items()}
    if len({len(one or ()) for one in indices}) == 1 and indices[0]:
        columns["_index"] = np.array(indices, dtype=np.float64)
    return columns, count


_WIDTHS = {vr: struct.calcsize("=" + code) for vr, code in values.NUMBERS.items()}


def items_of(
    buffer: syntaxes.Buffer, offset: int, end: int, enc: syntaxes.Encoding, *, open_: bool = True
) -> tuple[_Items, int]:
    """Where the elements of each item of a sequence lie, and where the sequence ends.

    An item of undefined length is first taken to be as long as one before, which its headers must bear out.
    """
    items: _Items = []
    read = struct.Struct(enc.order + "HHI").unpack_from
    book = layouts.LAYOUTS[enc.order, enc.explicit]
    view = memoryview(buffer)
    ending = struct.pack(enc.order + "HHI", 0xFFFE, 0xE00D, 0)
    lengths: list[int] = []
    pos = offset
    while pos < end or open_:
        if pos + 8 > end:
            walking.lie("a sequence breaks off", pos)
        group, element, length = read(buffer, pos)
        tag, begin = group << 16 | element, pos + 8
        if tag == vrs.SEQUENCE_END and open_:
            return items, begin
        if tag != vrs.ITEM:
            walking.lie("something else than an item stands in a sequence", pos, tag)
        if length != vrs.UNDEFINED:
            pos = begin + length
            if pos > end:
                walking.lie(f"an item's length of {length} reaches beyond what encloses it", begin - 8, tag)
            items.append((begin, pos))
        else:
            for guess in lengths:
                to = begin + guess
                if bytes(view[to : to + 8]) == ending and book.recall(
                    view[begin:to], (0, guess, None, walking.DEPTH)
                ):
                    pos = to + 8
                    break
            else:
                pos = elements.item_end(buffer, begin, end, enc)
                # Met twice, its layout is known; a few lengths are as many as a series has.
                walking.walk(view[begin : pos - 8], 0, pos - 8 - begin, enc, most=_MOST_ROWS)
                lengths = [pos - 8 - begin, *(one for one in lengths if one != pos - 8 - begin)][:4]
            items.append((begin, pos - 8))
        if len(items) > _MOST_ITEMS:
            raise errors.BadData(f"more than {_MOST_ITEMS} frames are described", offset=offset)
    return items, pos


def _plan(rows: Sequence[walking.Row], extra: Mapping[int, str]) -> list[_Step]:
    """What to read of an item and from where; of what stands twice, the first."""
    found: dict[str, _Step] = {}
    for tag, vr, _, begin, end, parent in rows:
        if not begin < end <= begin + _MOST_BYTES:
            continue
        around = rows[rows[parent][5]][0] if parent >= 0 else 0
        field = _FIELDS.get((around, tag))
        if field is not None:
            name, expected, width = field
        elif tag == _FRAME_TYPE:
            name, expected, width = "image_type", "CS", 0
        elif tag == _COMPONENT:
            name, expected, width = "_component", "CS", 0
        else:
            name = ""
        if name and name not in found:
            found[name] = (name, width, elements.clear(vr, expected), begin, end)
        if tag in extra and extra[tag] not in found:
            number = vr in values.NUMBERS or vr in ("DS", "IS")
            found[extra[tag]] = (extra[tag], 1 if number else 0, vr, begin, end)
    return list(found.values())


def _values(item: syntaxes.Buffer, steps: list[_Step], order: str) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, width, vr, at, to in steps:
        raw = bytes(item[at:to])
        value: Any
        if width == 1:
            value = elements.number(raw, vr, order)
            value = None if math.isnan(value) else value
        elif width < 0:
            continue  # an index is of one frame
        else:
            value = elements.text(raw) if width == 0 else elements.vector(raw, vr, order, width)
        if value is not None:
            out[name] = value
    return out


def _column(name: str, found: list[Any]) -> Array:
    """A column of what was found, absent where nothing was."""
    width = table.COLUMNS[name].width if name in table.COLUMNS else 1
    if any(isinstance(one, str) for one in found):
        column = np.empty(len(found), dtype=object)
        column[:] = ["" if one is None else str(one) for one in found]
        return column
    if width == 1:
        made = np.array([np.nan if one is None else one for one in found], dtype=np.float64)
    else:
        none = (np.nan,) * width
        made = np.array([none if one is None else one for one in found], dtype=np.float64)
    made[~np.isfinite(made)] = np.nan
    if name in ("position", "orientation", "spacing"):
        made[(np.abs(made) > elements.FARTHEST).any(axis=1)] = np.nan
    if name == "spacing":
        made[(made <= 0).any(axis=1)] = np.nan
    return made


def settle(head: elements.Elements, fixed: dict[str, Any], varying: dict[str, Array], count: int) -> None:
    """Turn what functional groups say into what columns mean, and let shared values fill what frames lack."""
    indices = varying.pop("_index", None)
    if indices is not None:
        _dimensions(head, indices, fixed, varying)
    for name, column in varying.items():
        if name in fixed:
            _fill(column, fixed[name])
    acquired, said = _both("_acquired", fixed, varying), _both("_component", fixed, varying)
    if not acquired:
        acquired = _both("_reference", fixed, varying)
    _both("_reference", fixed, varying)
    if acquired:
        moments = [timing.datetime_(text) for text in acquired]
        if len(moments) == 1:
            if not math.isnan(moments[0]):
                fixed["time"] = moments[0]
        else:
            varying["time"] = np.array(moments)
            if "time" in fixed:
                _fill(varying["time"], fixed["time"])
    segments = varying.pop("_segment", None)
    if segments is not None and "stack" not in varying:  # frames of two segments lie at the same places
        varying["stack"] = np.array(
            ["" if np.isnan(one) else f"segment {one:g}" for one in segments], dtype=object
        )
    fixed.pop("_segment", None)
    _components(fixed, varying, said, count)
    _diffusion(fixed, varying, count)


def _dimensions(
    head: elements.Elements, indices: Array, fixed: dict[str, Any], varying: dict[str, Array]
) -> None:
    """What only the Dimension Index Values say: a place in time or in a stack, or an axis with no column."""
    pointers = [item.raw(_POINTER) for item in head.items(_DIMENSIONS)]
    if len(pointers) != indices.shape[1]:
        return
    unknown: list[Array] = []
    for at, raw in enumerate(pointers):
        index = indices[:, at]
        if len(raw) != 4 or np.ptp(index) <= 0:
            continue
        group, element = struct.unpack(head.order + "HH", raw)
        tag = group << 16 | element
        name = _INDEXED.get(tag)
        if name is not None and name not in varying and name not in fixed:
            varying[name] = index
        elif tag not in _TAGS and tag not in _OTHER_PLACES:
            unknown.append(index)
    if len(unknown) == 1 and "temporal_position" not in varying:
        varying["temporal_position"] = unknown[0]


_DIMENSIONS, _POINTER = 0x00209222, 0x00209165  # Dimension Index Sequence and Pointer
_INDEXED = {0x00209128: "temporal_position", 0x00209057: "in_stack"}
_TAGS = frozenset(tag for _, tag in _FIELDS) | {_FRAME_TYPE, _COMPONENT, 0x00209056}
_OTHER_PLACES = frozenset({0x00209301, 0x0020930C, 0x0048021E, 0x0048021F, 0x0040072A, 0x0040073A})


def _fill(column: Array, value: Any) -> None:
    if column.dtype == object:
        column[column == ""] = value if isinstance(value, str) else f"{value:g}"
    elif column.ndim == 2:
        if isinstance(value, tuple) and len(value) == column.shape[1]:
            column[np.isnan(column).any(axis=1)] = value
    elif isinstance(value, (int, float)):
        column[np.isnan(column)] = value


def _both(name: str, fixed: dict[str, Any], varying: dict[str, Array]) -> list[str]:
    """The texts of each frame, or the one of all; taken out, because no table has such a column."""
    one = fixed.pop(name, None)
    each = varying.pop(name, None)
    return [str(text) for text in each] if each is not None else [] if one is None else [str(one)]


def _components(fixed: dict[str, Any], varying: dict[str, Array], said: list[str], count: int) -> None:
    if fixed.get("modality") != "MR":
        return
    if "image_type" not in varying and len(said) <= 1:
        found = makers.component(fixed.get("image_type", ""), said[0] if said else "")
        if found:
            fixed["component"] = found
        return
    kinds = [str(kind) for kind in varying["image_type"]] if "image_type" in varying else []
    kinds = kinds or [fixed.get("image_type", "")] * count
    said = said if len(said) == count else (said or [""]) * count
    known: dict[tuple[str, str], str] = {}
    column = np.empty(count, dtype=object)
    for at, key in enumerate(zip(kinds, said, strict=True)):
        if key not in known:
            known[key] = makers.component(*key)
        column[at] = known[key]
    varying["component"] = column


def _diffusion(fixed: dict[str, Any], varying: dict[str, Array], count: int) -> None:
    """No direction without weighting, nor of an average of directions; b is 0 where words say so."""
    ways = _both("_directionality", fixed, varying)
    if ways:
        each = np.array(ways if len(ways) == count else ways[:1] * count, dtype=object)
        b = varying.get("b_value")
        if b is None:
            b = np.full(count, fixed.get("b_value", np.nan), dtype=np.float64)
        b[(each == "NONE") & np.isnan(b)] = 0.0
        varying["b_value"] = b
        if "gradient" in fixed and "gradient" not in varying:
            varying["gradient"] = np.tile(np.array(fixed["gradient"]), (count, 1))
        if "gradient" in varying:
            varying["gradient"][(each == "ISOTROPIC") | (each == "NONE")] = np.nan
    if "gradient" in varying:
        gradient = varying["gradient"]
        b = varying["b_value"] if "b_value" in varying else np.full(count, fixed.get("b_value", np.nan))
        gradient[~(b > 0) | (np.abs(gradient).max(axis=1) < 1e-6)] = np.nan
    else:
        makers.settle_diffusion(fixed)
