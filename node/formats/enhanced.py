"""Enhanced multi-frame CT, MR and PET: a whole volume in one object, by functional groups."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from node import errors
from node.dicom import uids
from node.formats import base, building, classic, derived, enhanced_pet, identity, instances, stored
from node.volume import image

Array = np.ndarray[Any, np.dtype[Any]]
Item = dict[int, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Class:
    """What is particular to an enhanced class."""

    uid: str  # SOP Class UID
    frame_type: int  # the functional group that says the type of a frame
    rescale: str  # Rescale Type where nothing else is known


CLASSES: Mapping[str, Class] = {
    "CT": Class("1.2.840.10008.5.1.4.1.1.2.1", 0x00189329, "HU"),
    "MR": Class("1.2.840.10008.5.1.4.1.1.4.1", 0x00189226, "US"),
    "PT": Class("1.2.840.10008.5.1.4.1.1.130", 0x00189751, "US"),
}
_FRAME_CONTENT, _PLACE, _PLANE, _MEASURES = 0x00209111, 0x00209113, 0x00209116, 0x00289110
_STACK, _IN_STACK, _TEMPORAL = 0x00209056, 0x00209057, 0x00209128
_MOST_FRAMES = 1 << 20  # what per-frame groups of more would take is more than the pixels


def is_own(placed: identity.Placed) -> bool:
    """Whether the template of a volume is of an enhanced class itself."""
    if placed.template is None or placed.image.colour:
        return False
    row = next(frame.row for frame in placed.frames if frame.row >= 0)
    return placed.template.table.source(row).sop_class in {one.uid for one in CLASSES.values()}


class Enhanced:
    """Writes one file for a volume."""

    name = "enhanced"
    suffixes: tuple[str, ...] = ()
    about = "DICOM enhanced multi-frame CT, MR or PET, one file"

    def check(self, options: Mapping[str, str]) -> str | None:
        """What is wrong with options, in a sentence."""
        return derived.check(options, self.name)

    def write(
        self,
        made: image.Image,
        target: pathlib.Path,
        options: Mapping[str, str],
        progress: base.Progress | None = None,
    ) -> base.Written:
        """Write a folder with one file."""
        chosen = derived.parse(options, self.name)
        with identity.placed(made, chosen) as placed:
            return write(placed, target, chosen, progress)

    def read(self, paths: Sequence[pathlib.Path]) -> image.Image:
        """Read the one volume that files or folders hold."""
        return instances.read(paths)


def write(
    placed: identity.Placed,
    target: pathlib.Path,
    options: derived.Options,
    progress: base.Progress | None = None,
) -> base.Written:
    """Write a volume as one multi-frame object in a folder."""
    writing = _Writing(placed, options)
    with instances.folder(target) as new:
        writing.write(new / "00001.dcm", progress)
    return base.Written((target,), writing.notes)


class _Writing:
    """One volume on its way into a file."""

    def __init__(self, placed: identity.Placed, options: derived.Options) -> None:
        template = placed.template
        if template is None or placed.image.colour:
            raise errors.UsageError(
                "enhanced multi-frame takes a CT, MR or PET series as its template; give one"
            )
        if placed.grid is None:
            raise errors.UsageError("enhanced multi-frame needs to know where the slices lie")
        if options.keep_uids:
            raise errors.UsageError(
                "keep_uids: an enhanced object is none of the instances that it was made of"
            )
        if len(placed.frames) > _MOST_FRAMES:
            raise errors.UsageError(f"{len(placed.frames)} frames are more than one object should hold")
        self._placed = placed
        self._template = template
        self._options = options
        row = next(frame.row for frame in placed.frames if frame.row >= 0)
        self._before = building.read(template.table.source(row))
        modality = self._before.text(0x00080060).strip()
        if modality not in CLASSES:
            raise errors.UsageError(
                f"no enhanced multi-frame class is written for the modality {modality[:16]!r}"
            )
        self._class = CLASSES[modality]
        self._voxels = placed.image.voxels()
        self._turned = placed.fit.view(self._voxels)
        self._former = identity.former(placed, self._turned, zero=False)
        found = stored.limits(placed.frame_of(self._turned, frame) for frame in placed.frames)
        made = placed.image
        self._how = stored.plan(made.dtype, found, made.slope, made.intercept, wide=True)
        if self._former is not None:
            self._how = self._former[0]
        self.notes = placed.notes + ((self._how.note,) if self._how.note else ())
        if holes := sum(placed.hole(self._turned, frame) for frame in placed.frames):
            self.notes += (f"{holes} frames are the empty places of missing slices",)

    def write(self, path: pathlib.Path, progress: base.Progress | None) -> None:
        """Write the object."""
        made = self._header()
        size = len(self._placed.frames) * math.prod(self._placed.shape[1:]) * self._how.dtype.itemsize
        head, pad = building.native(size, "OW")

        def parts() -> Iterator[bytes | memoryview]:
            yield made.bytes()
            yield head
            for number, frame in enumerate(self._placed.frames):
                how = self._former[number] if self._former else self._how
                yield how.cast(self._placed.frame_of(self._turned, frame)).data.cast("B")
                if progress is not None:
                    progress(number + 1, len(self._placed.frames), "slices")
            yield pad

        target = derived.COMPRESSIONS.get(self._options.compress, building.EXPLICIT)
        building.write(path, self._class.uid, made.text(0x00080018), parts(), target)

    def _header(self) -> building.Elements:
        placed, options = self._placed, self._options
        made = classic.kept(self._before, self._class.uid)
        uid = instances.series_uid(placed, options, self._voxels, self._class.uid)
        made.held[0x00080008] = self._before.held.get(0x00080008, b"")
        if not made.held[0x00080008]:
            made.drop((0x00080008,))
        classic.series(made, placed, options, self._class.uid, uid)
        made.set(0x00080016, self._class.uid)
        made.set(0x00080018, uids.derived("", uid, "0"))
        made.set(0x00200013, 1)
        third = (*options.image_type, *made.text(0x00080008).split("\\")[2:], "OTHER")[0]
        kind = ("DERIVED", "PRIMARY", third.strip() or "OTHER", "NONE")
        made.set(0x00080008, kind)
        self._equipment(made)
        self._describe(made, kind)
        shape = (placed.shape[1], placed.shape[2])
        classic.pixels(made, self._how, shape, self._before)
        made.drop((0x00280120, 0x00280121))
        made.set(0x00280004, "MONOCHROME2")
        made.set(0x00280008, len(placed.frames))
        self._dimensions(made, uid)
        self._evidence(made)
        made.sequence(0x52009229, [made.item(self._shared(kind))])
        made.sequence(0x52009230, (made.item(self._frame(number)) for number in range(len(placed.frames))))
        return made

    def _equipment(self, made: building.Elements) -> None:
        """What an enhanced object must say of its machine; a template need not."""
        for tag in (0x00080070, 0x00081090, 0x00181000, 0x00181020):
            if not made.text(tag).strip():
                made.set(tag, "UNKNOWN")

    def _describe(self, made: building.Elements, kind: Sequence[str]) -> None:
        """The image module of the class."""
        for tag, value in _pixels_of(kind, self._class, self._before).items():
            if tag != 0x00089007:
                made.set(tag, value)
        made.default(0x00280301, "NO")
        made.set(0x00189004, "RESEARCH")
        made.default(0x00282110, "00")
        made.set(0x20500020, "IDENTITY")
        made.set(0x00400555, None, "SQ")
        made.default(0x00201040, None)
        if self._class is CLASSES["CT"]:
            made.set(0x00189361, "NO")
        elif self._class is CLASSES["PT"]:
            self.notes += enhanced_pet.describe(made, self._before)
        else:
            made.set(0x00189174, "IEC")  # whose standard of safety is meant everywhere
        day, clock = made.text(0x00080022) or made.text(0x00080023), made.text(0x00080032)
        if len(day) == 8 and len(clock) >= 6:
            made.offer(0x0008002A, made.get(0x0008002A) or day + clock)

    def _dimensions(self, made: building.Elements, uid: str) -> None:
        organisation = uids.derived("", uid, "dimensions")
        made.sequence(0x00209221, [made.item({0x00209164: organisation})])
        pointers = [_STACK, _IN_STACK, *([_TEMPORAL] if self._leading else [])]
        made.sequence(
            0x00209222,
            [
                made.item({0x00209164: organisation, 0x00209165: tag, 0x00209167: _FRAME_CONTENT})
                for tag in pointers
            ],
        )
        made.set(0x00209311, "3D_TEMPORAL" if self._leading else "3D")

    def _evidence(self, made: building.Elements) -> None:
        """Every instance that the frames were made of, by study and series."""
        found = self._template.table
        by_series: dict[tuple[str, str], dict[str, str]] = {}
        for row in sorted({frame.row for frame in self._placed.frames}):
            source = found.source(row)
            study = str(found["study"][row]) or self._before.text(0x0020000D)
            series = str(found["series"][row]) or self._before.text(0x0020000E)
            if classic.referable(source) and uids.valid(study) and uids.valid(series):
                by_series.setdefault((study, series), {})[source.sop_instance] = source.sop_class
        studies: dict[str, list[Item]] = {}
        for (study, series), those in by_series.items():
            named: list[Item] = [{0x00081150: kind, 0x00081155: uid} for uid, kind in those.items()]
            studies.setdefault(study, []).append({0x0020000E: series, 0x00081199: named})
        made.sequence(
            0x00089154,
            [made.item({0x0020000D: study, 0x00081115: series}) for study, series in studies.items()],
        )

    @property
    def _leading(self) -> tuple[int, ...]:
        return tuple(len(axis.values) for axis in self._placed.leading)

    def _shared(self, kind: Sequence[str]) -> Item:
        """What all frames have in common."""
        grid = self._placed.grid
        assert grid is not None  # refused in the beginning
        slices, rows, columns = grid.spacing
        across = abs(float(np.dot(grid.normal, grid.slice)))
        thickness = self._before.number(0x00180050) or float(self._table("slice_thickness"))
        cosines = (*(np.array(grid.column) / columns), *(np.array(grid.row) / rows))
        region = {0x00080100: "T-D0010", 0x00080102: "SRT", 0x00080104: "Entire Body"}
        shared: Item = {
            _MEASURES: [
                {
                    0x00280030: (rows, columns),
                    0x00180050: thickness if thickness > 0 else across or slices,
                    0x00180088: across,
                }
            ],
            _PLANE: [{0x00200037: tuple(0.0 if abs(v) < 1e-12 else float(v) for v in cosines)}],
            0x00209071: [{0x00209072: "U", 0x00082218: [region]}],
            self._class.frame_type: [_pixels_of(kind, self._class, self._before)],
        }
        if self._former is None:
            shared[0x00289145] = [self._rescale(self._how)]
        if self._class is CLASSES["CT"]:
            event = self._before.text(0x00083010) or uids.derived("", "event", self._before.text(0x0020000E))
            shared[0x00189477] = [{0x00083010: event}]
        elif self._class is CLASSES["PT"]:
            shared[0x00189737] = [{0x00189729: 1}]
        span = classic.span(self._placed.image, self._options, self._voxels)
        if span is not None:
            shared[0x00289132] = [{0x00281050: span[0], 0x00281051: span[1]}]
        return shared

    def _rescale(self, how: stored.Stored) -> Item:
        unit = self._before.text(0x00281054).strip()
        unit = unit if unit.isprintable() and 0 < len(unit) <= 64 else self._class.rescale
        return {0x00281052: how.intercept, 0x00281053: how.slope, 0x00281054: unit}

    def _table(self, name: str, row: int | None = None) -> Any:
        at = next(frame.row for frame in self._placed.frames if frame.row >= 0) if row is None else row
        return self._template.table[name][at]

    def _frame(self, number: int) -> Item:
        """What one frame has for itself."""
        frame = self._placed.frames[number]
        volume = self._placed.volume(frame)
        position = self._placed.position(frame)
        content: Item = {_STACK: "1", _IN_STACK: frame.slice + 1}
        values = [1, frame.slice + 1]
        if self._leading or self._class is CLASSES["PT"]:
            content[_TEMPORAL] = volume + 1
        if self._leading:
            values.append(volume + 1)
        content[0x00209157] = tuple(values)
        if then := self._moment(frame):
            content[0x00189074] = then
            content[0x00189151] = then
        made: Item = {_FRAME_CONTENT: [content], _PLACE: [{0x00200032: position}]}
        source = self._template.table.source(frame.row)
        if classic.referable(source):
            made[0x00089124] = [self._derivation(frame.row)]
        if self._former is not None:
            made[0x00289145] = [self._rescale(self._former[number])]
        made.update(self._acquired(frame))
        return made

    def _derivation(self, row: int) -> Item:
        source = self._template.table.source(row)
        purpose = classic.code("121322", "DCM", "Source Image for Image Processing Operation")
        reference: Item = {
            0x00081150: source.sop_class,
            0x00081155: source.sop_instance,
            0x0040A170: [purpose],
        }
        if source.pixels is not None and source.pixels.frames > 1:
            reference[0x00081160] = int(self._table("frame", row)) + 1
        derivation = classic.code("DERIVED", "99DICOMNODE", "Computed from the source images")
        return {0x00089215: [derivation], 0x00082112: [reference]}

    def _value(self, frame: identity.Frame, name: str, column: str) -> float:
        """Where a frame stands on an axis: as the axis says, else as the template's frame does."""
        for axis, at in zip(self._placed.leading, frame.index, strict=True):
            if axis.name == name and np.asarray(axis.values).dtype.kind in "iuf":
                return float(axis.values[at])
        return float(self._table(column, frame.row))

    def _acquired(self, frame: identity.Frame) -> Item:
        """How a frame was acquired, where that may differ between frames."""
        if self._class is not CLASSES["MR"]:
            return {}
        made: Item = {}
        b = self._value(frame, "b", "b_value")
        if math.isfinite(b):
            along = self._table("gradient", frame.row)
            known = b > 0 and bool(np.isfinite(along).all()) and bool(np.any(along))
            made[0x00189117] = [
                {0x00189087: b, 0x00189075: "DIRECTIONAL" if known else "ISOTROPIC" if b else "NONE"}
            ]
            if known:
                made[0x00189117][0][0x00189076] = [{0x00189089: tuple(map(float, along))}]
        echo = self._value(frame, "te", "echo_time")
        if math.isfinite(echo):
            made[0x00189114] = [{0x00189082: echo}]
        # Said only where volumes differ in them: beside them the groups ask for what no classic object says.
        names = {axis.name for axis in self._placed.leading}
        timing = {0x00180080: ("tr", "repetition_time"), 0x00181314: ("fa", "flip_angle")}
        if names & {"tr", "fa"}:
            told = {tag: self._value(frame, *where) for tag, where in timing.items()}
            made[0x00189112] = [{tag: value for tag, value in told.items() if math.isfinite(value)}]
        if "ti" in names:
            inversion = self._value(frame, "ti", "inversion_time")
            made[0x00189115] = [{0x00189009: "YES", 0x00189079: inversion}]
        trigger = self._value(frame, "trigger", "trigger_time")
        if math.isfinite(trigger):
            made[0x00189118] = [{0x00209153: trigger}]
        return made

    def _moment(self, frame: identity.Frame) -> str:
        """When a frame was acquired, as DICOM writes it; "" when nobody knows."""
        seconds = float(self._table("time", frame.row))
        names = [axis.name for axis in self._placed.leading]
        if "time" in names and not frame.own:
            axis = self._placed.leading[names.index("time")]
            first = float(self._table("time"))
            later = float(axis.values[frame.index[names.index("time")]] - axis.values[0])
            seconds = (first if math.isfinite(first) else 0.0) + later
        day = self._before.text(0x00080022) or self._before.text(0x00080023) or self._before.text(0x00080020)
        if not math.isfinite(seconds) or not abs(seconds) < 1e7:
            return ""
        try:
            then = dt.datetime.strptime(f"{day[:8]} +0000", "%Y%m%d %z") + dt.timedelta(seconds=seconds)
        except (ValueError, OverflowError):
            return ""
        return f"{then.year:04d}{then:%m%d%H%M%S.%f}"


def _pixels_of(kind: Sequence[str], which: Class, before: building.Elements) -> Item:
    """The type of image and frames, and what is common to the enhanced classes' macros."""
    made: Item = {
        0x00089007: tuple(kind),
        0x00089205: "MONOCHROME",
        0x00089206: "VOLUME",
        0x00089207: "NONE",
    }
    if which is CLASSES["MR"]:
        letters = before.text(0x00080008).split("\\")
        named = {"P": "PHASE", "PHASE": "PHASE", "R": "REAL", "REAL": "REAL", "I": "IMAGINARY"}
        found = [named[letter] for letter in letters[2:] if letter in named]
        made[0x00089208] = found[0] if found else "MAGNITUDE"
        made[0x00089209] = "UNKNOWN"
    return made


FORMAT: base.Format = Enhanced()
