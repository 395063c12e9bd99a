"""The headers of single-frame objects: what is kept of a template's slice, and what is said anew."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from node.dicom import uids
from node.dicom import vr as vrs
from node.files import layout
from node.formats import building, derived, identity, stored
from node.volume import image, table

Array = np.ndarray[Any, np.dtype[Any]]

CT, MR, PET, SECONDARY = (
    "1.2.840.10008.5.1.4.1.1.2",
    "1.2.840.10008.5.1.4.1.1.4",
    "1.2.840.10008.5.1.4.1.1.128",
    "1.2.840.10008.5.1.4.1.1.7",
)
OWN = frozenset({CT, MR, PET})  # classes whose template a volume can be written in; others become captures

# What of a patient, study, series and machine goes into an object of any class.
_GENERAL = frozenset(
    {
        *(0x00080005, 0x00080020, 0x00080021, 0x00080022, 0x0008002A, 0x00080023, 0x00080030, 0x00080031),
        *(0x00080032, 0x00080033, 0x00080050, 0x00080051, 0x00080060, 0x00080070, 0x00080080, 0x00080081),
        *(0x00080082, 0x00080090, 0x00080096, 0x0008009C, 0x00080201, 0x00081010, 0x00081030, 0x00081032),
        *(0x0008103E, 0x0008103F, 0x00081040, 0x00081048, 0x00081050, 0x00081060, 0x00081070, 0x00081080),
        *(0x00081090, 0x00081110, 0x00081111, 0x00081120, 0x00081140, 0x00180015, 0x00181000, 0x00181020),
        *(0x00181030, 0x00185100, 0x0018A001, 0x0020000D, 0x0020000E, 0x00200010, 0x00200011, 0x00200012),
        *(0x00200052, 0x00200060, 0x00201040, 0x00204000, 0x00280301, 0x00282110, 0x00282112, 0x00282114),
        *(0x00321033, 0x00321034, 0x00321060, 0x00321064, 0x00400244, 0x00400245, 0x00400250, 0x00400251),
        *(0x00400253, 0x00400254, 0x00400255, 0x00400260, 0x00400275, 0x00400280, 0x00080068),
    }
)
_OF_A_SERIES = frozenset(
    {
        *(0x00080020, 0x00080021, 0x00080030, 0x00080031, 0x00080050, 0x00080051, 0x00080060, 0x00080090),
        *(0x00081030, 0x00081032, 0x0008103E, 0x0008103F, 0x00081048, 0x00081050, 0x00081060, 0x00081070),
        *(0x00081080, 0x00081110, 0x00081111, 0x00180015, 0x00181030, 0x00185100, 0x0020000D, 0x00200010),
        *(0x00200011, 0x00200052, 0x00200060, 0x00201040, 0x00400244, 0x00400245, 0x00400253, 0x00400254),
        *(0x00400275, 0x00080005),
    }
)
_WHOLE_GROUPS = frozenset({0x0010, 0x0012})  # patient; trial and de-identification

# What speaks of the pixels that were there before, or of the object that was.
_STALE = frozenset(
    {
        *(0x00080012, 0x00080013, 0x00080014, 0x00080016, 0x00080018, 0x00082112, 0x00082111, 0x00089215),
        *(0x00201002, 0x00189004, 0x00280002, 0x00280003, 0x00280004, 0x00280006, 0x00280008, 0x00280009),
        *(0x00280034, 0x0028005F, 0x00280100, 0x00280101, 0x00280102, 0x00280103, 0x00280106, 0x00280107),
        *(0x00280108, 0x00280109, 0x00280110, 0x00280111, 0x00280120, 0x00280121, 0x00281101, 0x00281102),
        *(0x00281103, 0x00281199, 0x00281201, 0x00281202, 0x00281203, 0x00281221, 0x00281222, 0x00281223),
        *(0x00282000, 0x00283000, 0x00283010, 0x00287FE0, 0x00409096, 0x00880200, 0x04000561, 0x52009229),
        *(0x52009230, 0x00281052, 0x00281053, 0x00281054),
    }
)
_STALE_GROUPS = frozenset({0x4FFE, 0xFFFA, *range(0x5000, 0x5020, 2), *range(0x6000, 0x6020, 2)})
_CODE = re.compile(r"[A-Z0-9_ ]{0,16}")
_WINDOW = (0x00281050, 0x00281051, 0x00281055, 0x00281056)
_LEADING: Mapping[str, tuple[int, str]] = {  # the element that says a place on an axis
    "b": (0x00189087, "FD"),
    "te": (0x00180081, "DS"),
    "ti": (0x00180082, "DS"),
    "tr": (0x00180080, "DS"),
    "fa": (0x00181314, "DS"),
    "trigger": (0x00181060, "DS"),
    "echo": (0x00180086, "IS"),
    "acquisition": (0x00200012, "IS"),
}


def kept(found: building.Elements, sop_class: str) -> building.Elements:
    """What of a template's slice goes into a new object of a class."""
    made = found.copy()
    if sop_class in OWN and found.text(0x00080016).strip("\0 ") == sop_class:
        gone = [tag for tag in made.held if tag in _STALE or tag >> 16 in _STALE_GROUPS]
    else:
        gone = [tag for tag in made.held if tag not in _GENERAL and tag >> 16 not in _WHOLE_GROUPS]
    made.drop(gone)
    return made


def class_of(placed: identity.Placed, *, capture: bool) -> str:
    """The SOP Class that a volume is written in: its template's own, or secondary capture."""
    if capture or placed.image.colour or placed.template is None or placed.grid is None:
        return SECONDARY  # the other classes must say where a slice lies
    row = next((frame.row for frame in placed.frames if frame.row >= 0), -1)
    found = placed.template.table.source(row).sop_class if row >= 0 else SECONDARY
    return found if found in OWN else SECONDARY


def one_series(made: building.Elements, first: building.Elements) -> None:
    """Give a slice the patient, study and series of the first, for a volume made of several series."""
    gone = [tag for tag in made.held if tag in _OF_A_SERIES or tag >> 16 in _WHOLE_GROUPS]
    made.drop(gone)
    same = {tag: raw for tag, raw in first.held.items() if tag in _OF_A_SERIES or tag >> 16 in _WHOLE_GROUPS}
    if made.sets != first.sets and 0x00080005 in made:
        made.recode(first.sets)
    made.held.update(same)


def series(
    made: building.Elements, placed: identity.Placed, options: derived.Options, sop_class: str, uid: str
) -> None:
    """What the new objects have in common."""
    made.set(0x0020000E, uid)
    made.default(0x0020000D, uids.derived("", "study", uid))
    for tag in (0x00080020, 0x00080030, 0x00080050, 0x00080090, 0x00100010, 0x00100020, 0x00100030):
        made.default(tag, None)  # type 2: there, and empty where nobody knows
    made.default(0x00100040, None)
    made.default(0x00200010, None)
    made.default(0x00080070, None if placed.template is not None else "dicom-node")
    made.default(0x00080060, "OT")
    number = made.number(0x00200011)
    if options.series_number is not None or not options.keep_uids:
        given = options.series_number
        made.set(0x00200011, int(number or 0) + 1000 if given is None else given)
    text = options.description
    if text is None and not options.keep_uids:
        before = made.text(0x0008103E)
        text = f"{before[:55]} derived" if before else placed.image.label[:56] or "derived"
        text = "".join(one for one in text if one.isprintable())
        made.drop((0x0008103F,))
    if text is not None:
        made.set(0x0008103E, text)
    was = made.text(0x00080008).split("\\")[2:]
    said = [part.strip() for part in was if _CODE.fullmatch(part.strip()) and part.strip() != "MOSAIC"] or (
        ["AXIAL"] if sop_class == CT else ["OTHER"]
    )
    second = "PRIMARY" if sop_class == PET else "SECONDARY"  # PET has no other (PS3.3 C.8.9.4)
    made.set(0x00080008, ("DERIVED", second, *(options.image_type or said)))
    if sop_class == SECONDARY:
        made.default(0x00080064, "WSD")
        made.default(0x00200020, None)
        made.default(0x00200060, None)
    made.set(
        0x00082111, options.derivation or "Voxels were computed from, or aligned with, the source images"
    )
    if options.date:
        made.set(0x00080023, options.date[:8])
        made.set(0x00080033, options.date[8:])
    for tag, other in ((0x00080023, 0x00080020), (0x00080033, 0x00080030)):
        if tag not in made:
            made.set(tag, None)
            made.offer(tag, made.get(other))
    made.append(0x0018A001, made.item(_equipment()))
    made.default(0x00200052, uids.derived("", "frame of reference", uid))
    if sop_class in (MR, CT, PET):
        made.default(0x00201040, None)


def _equipment() -> dict[int, Any]:
    return {
        0x0040A170: [code("109103", "DCM", "Modifying Equipment")],
        0x00080070: "dicom-node",
        0x00081090: "dicom-node",
        0x00181020: layout.IMPLEMENTATION_VERSION,
    }


def code(value: str, scheme: str, meaning: str) -> dict[int, str]:
    """An item of a code sequence."""
    return {0x00080100: value, 0x00080102: scheme, 0x00080104: meaning}


def pixels(
    made: building.Elements, how: stored.Stored, shape: Sequence[int], before: building.Elements
) -> None:
    """The image pixel module, and what makes real values of stored ones."""
    colour = len(shape) == 3
    bits, high = _bits(how, before)
    made.set(0x00280002, 3 if colour else 1)
    mono = before.text(0x00280004).strip()
    made.set(0x00280004, "RGB" if colour else mono if mono == "MONOCHROME1" else "MONOCHROME2")
    if colour:
        made.set(0x00280006, 0)
    made.set(0x00280010, shape[0])
    made.set(0x00280011, shape[1])
    made.set(0x00280100, how.bits)
    made.set(0x00280101, bits)
    made.set(0x00280102, high)
    made.set(0x00280103, int(how.signed))
    _padding(made, how, before)


def _bits(how: stored.Stored, before: building.Elements) -> tuple[int, int]:
    """Bits stored and the high bit: the template's where the values fit into them."""
    said = before.number(0x00280101)
    low, high = how.written()
    if said is not None and 1 <= said < how.bits and (before.number(0x00280103) == 1) == how.signed:
        bits = int(said)
        least, most = (-(1 << bits - 1), (1 << bits - 1) - 1) if how.signed else (0, (1 << bits) - 1)
        if bits > 8 and least <= low and high <= most:
            return bits, bits - 1
    return how.bits, how.bits - 1


def _padding(made: building.Elements, how: stored.Stored, before: building.Elements) -> None:
    """Pixel Padding Value stays where the same value still means the same."""
    value = before.number(0x00280120)
    same = (before.number(0x00281053) or 1.0, before.number(0x00281052) or 0.0) == (how.slope, how.intercept)
    signed = before.number(0x00280103) == 1
    if value is None or not same or signed != how.signed or how.note or how.bits < 16:
        return
    for tag in (0x00280120, 0x00280121):
        if (held := before.number(tag)) is not None:
            made.set(tag, int(held), "SS" if signed else "US")


def rescale(
    made: building.Elements, how: stored.Stored, sop_class: str, unit: str, before: building.Elements
) -> None:
    """Slope and intercept, where the class has them or they say something."""
    if (how.slope, how.intercept) == (1, 0) and sop_class not in (CT, PET) and 0x00281053 not in before:
        return
    made.set(0x00281052, float(how.intercept))
    made.set(0x00281053, float(how.slope))
    if sop_class != PET:
        made.set(0x00281054, unit if unit in ("HU", "US") else "US")
        made.offer(0x00281054, before.get(0x00281054) or made.get(0x00281054))


def extremes(made: building.Elements, one: Array) -> None:
    """Smallest and largest pixel value of a slice."""
    if one.ndim == 2 and one.size:
        vr = "SS" if one.dtype.kind == "i" else "US"
        made.set(0x00280106, int(one.min()), vr)
        made.set(0x00280107, int(one.max()), vr)


def span(made: image.Image, options: derived.Options, voxels: Array) -> tuple[float, float] | None:
    """Centre and width of the window, from what was asked for or from voxels all over the volume."""
    if options.window == "none" or made.colour or not voxels.size:
        return None
    given = derived.window(options.window)
    if given is None:
        with np.errstate(invalid="ignore"):  # numbers that are none, and are passed over
            sample = voxels.flat[:: max(1, voxels.size >> 16)].astype(np.float64)
        finite = sample[np.isfinite(sample)]
        ends = np.percentile(finite, (0.5, 99.5)) if finite.size else np.zeros(2)
        low, high = sorted(float(end) * made.slope + made.intercept for end in ends)
        least = 1.0 if made.dtype.kind in "iu" and abs(made.slope) >= 1 else max(abs(high), 1.0) * 1e-6
        given = ((low + high) / 2, max(high - low, least))
    return _short(given[0]), _short(given[1])


def window(
    made: building.Elements, found: tuple[float, float] | None, options: derived.Options, *, same: bool
) -> None:
    """The window that a viewer begins with; `same`: values mean what they mean in the template."""
    stays = options.window == "template" or (options.window == "auto" and same)
    if stays and 0x00281050 in made:
        return
    made.drop(_WINDOW)
    if found is not None:
        made.set(0x00281050, found[0])
        made.set(0x00281051, found[1])
        if found[1] < 1:
            made.set(0x00281056, "LINEAR_EXACT")  # the usual function has no such width (PS3.3 C.11.2.1.2)


def _short(number: float) -> float:
    return float(f"{number:.6g}")


def _keep_spacing(made: building.Elements, before: building.Elements, shape: Sequence[int]) -> None:
    """Pixel spacing without a place: still that of the template where the slice has its size."""
    if (before.number(0x00280010), before.number(0x00280011)) == (shape[1], shape[2]):
        made.held.update({tag: before.held[tag] for tag in (0x00280030, 0x00181164) if tag in before})


def place(
    made: building.Elements,
    placed: identity.Placed,
    frame: identity.Frame,
    sop_class: str,
    before: building.Elements,
) -> None:
    """Where the slice lies; what the header says as exactly as we know it stays as it is written there."""
    grid, position = placed.grid, placed.position(frame)
    if grid is None or position is None:
        _keep_spacing(made, before, placed.shape)
        return
    _, rows, columns = grid.spacing
    _close(made, 0x00200032, position, 1e-6)
    _close(made, 0x00200037, [*(np.array(grid.column) / columns), *(np.array(grid.row) / rows)], 1e-7)
    _close(made, 0x00280030, (rows, columns), 1e-7)
    across, several = abs(float(np.dot(grid.normal, grid.slice))), placed.shape[0] > 1
    if made.number(0x00180050) is None or (several and not frame.place):
        made.set(0x00180050, _short(across))
    said = made.number(0x00180088)
    if several and (said is not None or sop_class == MR) and abs((said or 0.0) - across) > 1e-3:
        made.set(0x00180088, _short(across))
    if not frame.place or made.number(0x00201041) is None:
        made.set(0x00201041, _short(float(np.dot(grid.normal, position))))


def _close(made: building.Elements, tag: int, wanted: Sequence[float], tolerance: float) -> None:
    """Set an element of numbers unless it says them already."""
    value = made.get(tag)
    said = value if isinstance(value, tuple) and len(value) == len(wanted) else ()
    if said and all(
        isinstance(one, (int, float)) and abs(one - other) <= tolerance
        for one, other in zip(said, wanted, strict=True)
    ):
        return
    made.set(tag, tuple(0.0 if abs(one) < 1e-12 else float(one) for one in wanted))


def moment(made: building.Elements, placed: identity.Placed, frame: identity.Frame) -> None:
    """Which volume of several the slice is of, by the elements that say so."""
    if not placed.leading:
        return
    number, total = placed.volume(frame), placed.volumes
    made.set(0x00200012, number + 1)
    plain = True
    for axis, at in zip(placed.leading, frame.index, strict=True):
        value = float(axis.values[at]) if np.asarray(axis.values).dtype.kind in "iuf" else math.nan
        if axis.name == "time":
            _time(made, float(axis.values[at] - axis.values[0]) - placed.elapsed(frame))
        elif axis.name in _LEADING and math.isfinite(value):
            tag, vr = _LEADING[axis.name]
            made.set(tag, round(value) if vr == "IS" else value, vr)
            plain = plain and axis.name == "acquisition"
        elif (tag := _by_keyword(axis.name)) and math.isfinite(value):
            made.set(tag, round(value) if vrs.of(tag) in ("IS", "US", "SS", "UL", "SL") else value)
            plain = False
    if plain:
        made.set(0x00200100, number + 1)
        made.set(0x00200105, total)


def _by_keyword(name: str) -> int:
    """The element of numbers that an axis is named after; 0: none."""
    tag = vrs.keywords().get(name, 0)
    return tag if vrs.of(tag) in ("DS", "IS", "FD", "FL", "US", "SS", "UL", "SL") else 0


def _time(made: building.Elements, later: float) -> None:
    """Acquisition date and time, so many seconds after those that the header has."""
    if not math.isfinite(later):
        return
    day = made.text(0x00080022) or made.text(0x00080023) or made.text(0x00080020)
    clock = made.text(0x00080032) or made.text(0x00080033) or made.text(0x00080030) or "000000"
    try:
        then = dt.datetime.strptime(f"{day[:8]} {clock.ljust(6, '0')[:6]} +0000", "%Y%m%d %H%M%S %z")
        fraction = float(f"0{clock[6:]}" if clock[6:7] == "." else 0)
        then += dt.timedelta(seconds=fraction + later)
    except (ValueError, OverflowError):
        return
    made.set(0x00080022, f"{then.year:04d}{then:%m%d}")
    made.set(0x00080032, then.strftime("%H%M%S.%f"))
    made.drop((0x0008002A,))
    if 0x00541300 in made:
        made.set(0x00541300, (made.number(0x00541300) or 0.0) + later * 1000)


def diffusion(made: building.Elements, placed: identity.Placed, row: int) -> None:
    """b value and direction in the standard's elements, since private ones do not stay."""
    if placed.template is None or row < 0 or 0x00189087 in made:
        return
    b = float(placed.template.table["b_value"][row])
    if not math.isfinite(b):
        return
    made.set(0x00189087, b, "FD")
    along = placed.template.table["gradient"][row]
    known = bool(np.isfinite(along).all()) and bool(np.any(along))
    made.set(0x00189075, "DIRECTIONAL" if known and b else "NONE" if not b else "ISOTROPIC")
    if known and b:
        made.set(0x00189089, tuple(float(v) for v in along), "FD")


def sources(made: building.Elements, placed: identity.Placed, rows: Sequence[int]) -> None:
    """The instances that the slice was made of, or aligned with."""
    if placed.template is None:
        return
    items = []
    for row in rows:
        source = placed.template.table.source(row)
        if referable(source):
            items.append(reference(made, source.sop_class, source.sop_instance))
    if items:
        made.sequence(0x00082112, items)


def referable(source: table.Source) -> bool:
    """Whether an instance has UIDs that another object may name."""
    return uids.valid(source.sop_instance) and uids.valid(source.sop_class)


def reference(made: building.Elements, sop_class: str, sop_instance: str) -> bytes:
    """An item of a source image sequence."""
    return made.item(
        {
            0x00081150: sop_class,
            0x00081155: sop_instance,
            0x0040A170: [code("121322", "DCM", "Source Image for Image Processing Operation")],
        }
    )
