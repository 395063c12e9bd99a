"""What one header says of its frames: a row of values for each, for a table."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from node import errors
from node.dicom import path as paths
from node.dicom import reach, scan, values
from node.dicom import syntax as syntaxes
from node.dicom import vr as vrs
from node.dicom import walk as walking
from node.volume import table
from node.volume.reading import elements, enhanced, frames, makers, mosaic, places, timing

Array = np.ndarray[Any, np.dtype[Any]]

MOST_HEADER = 128 << 20  # bytes before the pixels; beyond, a file is a hole and not a header
MOST_FRAMES = 1_000_000  # rows of one data set; the largest real ones have a hundredth


More = elements.More
Left = elements.Left


@dataclasses.dataclass(frozen=True, slots=True)
class Rows:
    """The frames of one data set."""

    source: table.Source  # the data set
    count: int  # rows: frames, or tiles of a mosaic
    fixed: Mapping[str, Any]  # columns that are the same in every row: a float, a text, a tuple of floats
    varying: Mapping[str, Array]  # columns with a value for each row; "frame" and "tile" too


def rows(
    buffer: syntaxes.Buffer,
    base_offset: int,
    syntax: str,
    path: str,
    extra: Sequence[str] = (),
    *,
    size: int | None = None,
) -> Rows:
    """The rows of the data set that begins at an offset of `buffer`, which is the file from its beginning.

    `buffer` may be only the first part of the file: then `size` are the bytes of the whole file, and `More`
    is raised when the header goes on behind it. Raises BadData (`Left` with the kind of reason).
    """
    whole = len(buffer) if size is None else size
    table_, place = _walked(buffer, base_offset, syntax, whole)
    head = elements.Elements(table_)
    fixed = _fixed(head)
    shown = places.pixels(table_, fixed, syntax)
    where = None
    if not table_.encoding.deflated:
        where = places.place(buffer, place.pixels, table_.encoding, syntax, shown, whole)
    if shown.frames > MOST_FRAMES:
        raise Left(table.Why.UNSUPPORTED, f"it has {shown.frames} frames, {MOST_FRAMES} are taken")
    vendor = makers.maker(head.text(_MANUFACTURER)) if fixed.get("modality") == "MR" else ""
    wanted = _wanted(tuple(extra))
    fixed.update(_extra(table_, wanted))
    varying: dict[str, Array] = {}
    tiles: table.Mosaic | None = None
    if place.frames is not None:
        _enhanced(buffer, place.frames, table_, head, fixed, varying, shown.frames, wanted)
    else:
        makers.frame(head, vendor, fixed)
        tiles = mosaic.find(head, vendor, fixed, shown)
        if tiles is not None:
            varying.update(mosaic.rows(head, vendor, fixed, tiles, shown))
        elif shown.frames > 1:
            frames.fill(head, fixed, varying, shown.frames)
    if fixed.get("modality") == "MR" and "component" not in fixed and "component" not in varying:
        found = makers.component(fixed.get("image_type", ""), head.text(0x00089208))
        if found:
            fixed["component"] = found
    source = table.Source(
        path=path,
        offset=base_offset,
        size=whole - base_offset,
        syntax=syntax,
        sop_class=head.text(0x00080016),
        sop_instance=head.text(0x00080018),
        pixels=shown,
        place=where,
        mosaic=tiles,
    )
    count = shown.frames if tiles is None else tiles.tiles
    return Rows(source, count, fixed, varying)


# ---------------------------------------------------------------------------------------- the walk


@dataclasses.dataclass(frozen=True, slots=True)
class _Ends:
    """Where the large parts of a data set begin."""

    frames: int | None  # Per-frame Functional Groups Sequence: its header
    pixels: int  # what comes behind the header: group 7FE0 or the end


_FRAMES, _PIXELS = 0x52009230, 0x7FE00000
_MANUFACTURER = 0x00080070


def _walked(buffer: syntaxes.Buffer, start: int, syntax: str, whole: int) -> tuple[scan.Table, _Ends]:
    """The elements before those of each frame, and where the large parts begin."""
    enc = syntaxes.encoding(syntax)
    partial = len(buffer) < whole
    if enc.deflated:
        if partial:
            raise More
        made = scan.scan(buffer, syntax, offset=start, stop=_PIXELS)
        at = made.top.get(_FRAMES)
        return made, _Ends(None if at is None else made.rows[at][2], made.end)
    limit = min(len(buffer), start + MOST_HEADER)
    try:
        found, end = walking.walk(buffer, start, limit, enc, stop=_FRAMES)
        made = scan.Table(buffer, enc, found, end)
        tag = _tag(buffer, end, enc)
        if tag is None and partial:
            raise More
        if tag != _FRAMES:
            if tag is not None and 0 < tag < _PIXELS:
                end = walking.walk(buffer, end, limit, enc, stop=_PIXELS)[1]
                if partial and _tag(buffer, end, enc) is None:
                    raise More
            return made, _Ends(None, end)
        if partial:
            raise More
        begin = end
        behind = _behind(buffer, begin, enc)
        end = behind
        if behind < limit:
            end = walking.walk(buffer, behind, limit, enc, stop=_PIXELS)[1]
        return made, _Ends(begin, end)
    except errors.BadData:
        if partial:
            raise More from None
        raise


def _tag(buffer: syntaxes.Buffer, at: int, enc: syntaxes.Encoding) -> int | None:
    """The tag at a place, None at the end."""
    if at + 12 > len(buffer):
        return None
    order: Literal["little", "big"] = "little" if enc.order == "<" else "big"
    head = bytes(buffer[at : at + 4])
    return int.from_bytes(head[:2], order) << 16 | int.from_bytes(head[2:], order)


def _behind(buffer: syntaxes.Buffer, at: int, enc: syntaxes.Encoding) -> int:
    """Where the element behind a sequence begins."""
    tag, _, offset, length = walking.element_header(buffer, at, len(buffer), enc.explicit, enc.order)
    if length == vrs.UNDEFINED:
        return enhanced.items_of(buffer, offset, len(buffer), enc)[1]
    if offset + length > len(buffer):
        walking.lie(f"a length of {length} reaches beyond what encloses it", at, tag)
    return offset + length


# ---------------------------------------------------------------------------------------- the values

# Column, tag, VR where it is not written, width (0: a code, -1: a text in the data set's character set).
_FIELDS: tuple[tuple[str, int, str, int], ...] = (
    ("study", 0x0020000D, "UI", 0),
    ("series", 0x0020000E, "UI", 0),
    ("frame_of_reference", 0x00200052, "UI", 0),
    ("modality", 0x00080060, "CS", 0),
    ("series_number", 0x00200011, "IS", 1),
    ("series_description", 0x0008103E, "LO", -1),
    ("sequence_name", 0x00189005, "SH", -1),
    ("sequence_name", 0x00180024, "SH", -1),
    ("patient_position", 0x00185100, "CS", 0),
    ("image_type", 0x00080008, "CS", 0),
    ("instance_number", 0x00200013, "IS", 1),
    ("acquisition_number", 0x00200012, "IS", 1),
    ("stack", 0x00209056, "SH", 0),
    ("in_stack", 0x00209057, "UL", 1),
    ("position", 0x00200032, "DS", 3),
    ("orientation", 0x00200037, "DS", 6),
    ("spacing", 0x00181164, "DS", 2),
    ("spacing", 0x00280030, "DS", 2),
    ("slice_thickness", 0x00180050, "DS", 1),
    ("spacing_between", 0x00180088, "DS", 1),
    ("slice_location", 0x00201041, "DS", 1),
    ("gantry_tilt", 0x00181120, "DS", 1),
    ("rows", 0x00280010, "US", 1),
    ("columns", 0x00280011, "US", 1),
    ("samples", 0x00280002, "US", 1),
    ("photometric", 0x00280004, "CS", 0),
    ("bits_allocated", 0x00280100, "US", 1),
    ("bits_stored", 0x00280101, "US", 1),
    ("signed", 0x00280103, "US", 1),
    ("slope", 0x00281053, "DS", 1),
    ("intercept", 0x00281052, "DS", 1),
    ("rescale_type", 0x00281054, "LO", 0),
    ("rescale_type", 0x00541001, "CS", 0),
    ("temporal_position", 0x00200100, "IS", 1),
    ("trigger_time", 0x00181060, "DS", 1),
    ("reference_time", 0x00541300, "DS", 1),
    ("echo_time", 0x00189082, "FD", 1),
    ("echo_time", 0x00180081, "DS", 1),
    ("echo_number", 0x00180086, "IS", 1),
    ("repetition_time", 0x00180080, "DS", 1),
    ("inversion_time", 0x00180082, "DS", 1),
    ("flip_angle", 0x00181314, "DS", 1),
    ("b_value", 0x00189087, "FD", 1),
    ("gradient", 0x00189089, "FD", 3),
)
_TABLE_FOR_SLOPE = 0x00283000  # Modality LUT Sequence
_REAL_WORLD = 0x00409096
_DIFFUSION_DIRECTION = 0x00189076


def _fixed(head: elements.Elements) -> dict[str, Any]:
    """The columns of the elements at the top; of a column that stands twice above, the last that is there."""
    top, found_rows, buffer = head.table.top, head.table.rows, head.table.buffer
    order = head.order
    fixed: dict[str, Any] = {}
    isnan = math.isnan
    for name, tag, expected, width in _FIELDS:
        at = top.get(tag)
        if at is None:
            continue
        row = found_rows[at]
        begin, end = row[3], row[4]
        if not begin < end <= begin + _MOST_BYTES:
            continue
        if width == 1:
            value = elements.number(bytes(buffer[begin:end]), _vr(row[1], expected), order)
            if not isnan(value):
                fixed[name] = value
        elif width == 0:
            text = str(buffer[begin:end], "latin-1").strip("\0 ")
            if text:
                fixed[name] = text if "\\" not in text else elements.text(bytes(buffer[begin:end]))
        elif width < 0:
            fixed[name] = head.words(tag)
        else:
            found = elements.vector(bytes(buffer[begin:end]), _vr(row[1], expected), order, width)
            if found is not None:
                fixed[name] = found
    _refuse_nonsense(fixed)
    _times(head, fixed)
    if "spacing" not in fixed and _REGIONS in top:
        _of_regions(head, fixed)
    if _DOSE in top:
        _dose(head, fixed)
    if _TABLE_FOR_SLOPE in top:
        fixed.pop("slope", None)
        fixed.pop("intercept", None)
    if _REAL_WORLD in top:
        real_world(head, fixed)
    if _DIFFUSION_DIRECTION in top and "gradient" not in fixed:
        items = head.items(_DIFFUSION_DIRECTION)
        direction = items[0].vector(0x00189089, 3, "FD") if items else None
        if direction is not None:
            fixed["gradient"] = direction
    makers.settle_diffusion(fixed)
    return fixed


def _refuse_nonsense(fixed: dict[str, Any]) -> None:
    """Places beyond every scanner, and spacings of nothing, are as absent."""
    for name in ("position", "orientation"):
        if name in fixed and max(map(abs, fixed[name])) > elements.FARTHEST:
            del fixed[name]
    if "spacing" in fixed and not 0 < min(fixed["spacing"]) <= max(fixed["spacing"]) < elements.FARTHEST:
        del fixed["spacing"]


def _of_regions(head: elements.Elements, fixed: dict[str, Any]) -> None:
    """Ultrasound says its spacing with its regions: the one of the only one that has centimetres."""
    regions = head.items(_REGIONS)
    if len(regions) == 1 and regions[0].number(0x00186024, "US") == regions[0].number(0x00186026, "US") == 3:
        down, along = regions[0].number(0x0018602E, "FD") * 10, regions[0].number(0x0018602C, "FD") * 10
        if down > 0 and along > 0:
            fixed["spacing"] = (down, along)


def _dose(head: elements.Elements, fixed: dict[str, Any]) -> None:
    """RT Dose scales by an element of its own."""
    scaling = head.number(_DOSE)
    if scaling > 0 and "slope" not in fixed:
        fixed["slope"], fixed["intercept"] = scaling, 0.0
        fixed["rescale_type"] = head.text(0x30040002)


_REGIONS = 0x00186011
_DOSE = 0x3004000E  # Dose Grid Scaling
_vr = elements.clear
_MOST_BYTES = 4096  # of a value that is a number, a code or a name


def _times(head: elements.Elements, fixed: dict[str, Any]) -> None:
    """The moments of acquisition and of content."""
    at = timing.datetime_(head.text(0x0008002A))
    other = timing.moment(head.text(0x00080022), head.text(0x00080032))
    if math.isnan(at):
        at = other
    elif not math.isnan(other):
        fixed["_other_time"] = other  # one of the two may be that of the whole series
    if not math.isnan(at):
        fixed["time"] = at
    at = timing.moment(head.text(0x00080023), head.text(0x00080033))
    if not math.isnan(at):
        fixed["content_time"] = at


def real_world(head: elements.Elements, fixed: dict[str, Any]) -> None:
    """The first linear Real World Value Mapping."""
    for item in head.items(_REAL_WORLD):
        slope, intercept = item.number(0x00409225, "FD"), item.number(0x00409224, "FD")
        if not math.isnan(slope + intercept):
            fixed["real_slope"], fixed["real_intercept"] = slope, intercept
            units = item.items(0x004008EA)
            if units:
                fixed["real_unit"] = units[0].text(0x00080100)
            return


# ---------------------------------------------------------------------------------------- what orders ask for


@functools.lru_cache(64)
def _wanted(extra: tuple[str, ...]) -> tuple[tuple[str, paths.Path], ...]:
    """The elements that an order asked for; a column of every table is none of them."""
    return tuple((name, paths.parse(name)) for name in extra if name not in table.COLUMNS)


def _extra(made: scan.Table, wanted: tuple[tuple[str, paths.Path], ...]) -> dict[str, Any]:
    """Their values: a number where the element is one, else text; of several values all, with backslashes."""
    found: dict[str, Any] = {}
    for name, path in wanted:
        texts = reach.texts(made, path)
        if not texts:
            continue
        if len(texts) == 1:
            vr = _vr_of(made, path)
            if vr in values.NUMBERS or vr in ("DS", "IS"):
                number = elements.number(texts[0].encode("latin-1", "replace"), "DS", "<")
                if not math.isnan(number):
                    found[name] = number
                    continue
        found[name] = "\\".join(texts)
    return found


def _vr_of(made: scan.Table, path: paths.Path) -> str:
    leaf = path.leaf
    if not leaf.exact:
        return ""
    row = made.find(leaf.tag)
    written = "" if row is None else made.rows[row][1]
    return written or vrs.IMPLICIT[leaf.tag]


def _enhanced(
    buffer: syntaxes.Buffer,
    begin: int,
    made: scan.Table,
    head: elements.Elements,
    fixed: dict[str, Any],
    varying: dict[str, Array],
    count: int,
    wanted: tuple[tuple[str, paths.Path], ...],
) -> None:
    """The columns of a multi-frame object with functional groups."""
    tags = {path.leaf.tag: name for name, path in wanted if path.leaf.exact}
    shared = enhanced.shared(head, tags)
    each, described = enhanced.frames(made.buffer, begin, made.encoding, tags)
    if described != count:
        raise errors.BadData(f"it has {count} frames and describes {described}")
    fixed.update(shared)
    varying.update(each)
    enhanced.settle(head, fixed, varying, count)
