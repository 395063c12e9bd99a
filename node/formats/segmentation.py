"""DICOM segmentation objects from label maps, made by highdicom."""

from __future__ import annotations

import io
import pathlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from node import errors
from node.dicom import uids
from node.files import layout
from node.formats import base, building, derived, identity, instances, segments, stored
from node.volume import image, table

Array = np.ndarray[Any, np.dtype[Any]]

_MOST = 1000  # segments: each takes a frame for every slice it is in


class Segmentation:
    """Writes one object of a label map; reads nothing."""

    name = "seg"
    suffixes: tuple[str, ...] = ()
    about = "DICOM segmentation of a label map, one file"

    def check(self, options: Mapping[str, str]) -> str | None:
        """What is wrong with options, in a sentence."""
        if why := derived.check(options, self.name):
            return why
        try:
            segments.parse(options.get("segments", ""))
        except errors.UsageError as fault:
            return str(fault)
        return None

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
            return _write(placed, target, chosen, progress)

    def read(self, paths: Sequence[pathlib.Path]) -> image.Image:
        """A segmentation is not read as a volume."""
        raise errors.UsageError(f"{paths[0]}: segmentation objects are written and not read")


_CLASS = "1.2.840.10008.5.1.4.1.1.66.4"


def _write(
    placed: identity.Placed,
    target: pathlib.Path,
    options: derived.Options,
    progress: base.Progress | None,
) -> base.Written:
    _refuse(placed)
    voxels = placed.image.voxels()
    turned = placed.fit.view(voxels)
    maps = np.stack([placed.frame_of(turned, frame) for frame in placed.frames])
    numbered, found, notes = _numbered(maps, segments.parse(options.segments))
    uid = instances.series_uid(placed, options, voxels, f"seg {options.segments} {found!r}")
    try:
        content = _object(placed, options, numbered, found, uid)
    except errors.NodeError:
        raise
    except Exception as error:  # pydicom and highdicom raise anything at a template with damaged values
        raise errors.BadData(
            f"no segmentation can be made on the template: its header is damaged ({type(error).__name__})"
        ) from error
    with instances.folder(target) as new:
        building.write(new / "00001.dcm", _CLASS, uids.derived("", uid, "0"), (content,))
    if progress is not None:
        progress(len(placed.frames), len(placed.frames), "slices")
    return base.Written((target,), (*placed.notes, *notes))


def _refuse(placed: identity.Placed) -> None:
    if placed.template is None or placed.grid is None:
        raise errors.UsageError("a segmentation belongs to a series: give it as the template")
    if placed.leading:
        names = ", ".join(axis.name for axis in placed.leading)
        raise errors.UsageError(f"a label map has slices, rows and columns; this one has {names} too")
    if placed.image.colour:
        raise errors.UsageError("a label map has one number for each voxel, not colours")


def _numbered(
    maps: Array, named: tuple[segments.Segment, ...]
) -> tuple[Array, tuple[segments.Segment, ...], tuple[str, ...]]:
    """The map with labels counted from 1 without gaps, as the object must have them; what each is; notes."""
    limits = stored.limits([maps])
    if not limits.whole or limits.broken or limits.low < 0 or limits.high > 65535:
        raise errors.UsageError(
            f"voxels from {limits.low:g} to {limits.high:g} are no labels: they are whole, from 0 to 65535"
        )
    labels = maps.astype(np.uint16)
    there = [int(label) for label in np.flatnonzero(np.bincount(labels.ravel(), minlength=1)) if label]
    by_label = {segment.label: segment for segment in named}
    every = sorted({*there, *by_label})
    if not every:
        raise errors.UsageError("the label map is empty, and no segments are named")
    if len(every) > _MOST:
        raise errors.UsageError(f"{len(every)} labels are more than the {_MOST} that an object takes")
    found = tuple(by_label.get(label) or segments.named(label, f"Segment {label}") for label in every)
    notes = []
    if unnamed := [str(label) for label in there if label not in by_label]:
        notes.append(f"no name was given for the labels {', '.join(unnamed[:10])}")
    if absent := [segment.name for segment in named if segment.label not in there]:
        notes.append(f"the map has no voxel of {', '.join(absent[:10])}")
    if every != list(range(1, len(every) + 1)):
        notes.append(f"labels were counted anew from 1 to {len(every)}")
    table_of = np.zeros(max(every) + 1, np.uint16)
    table_of[every] = np.arange(1, len(every) + 1)
    return table_of[labels], found, tuple(notes)


def _object(
    placed: identity.Placed,
    options: derived.Options,
    maps: Array,
    found: tuple[segments.Segment, ...],
    uid: str,
) -> memoryview:
    """The data set of the segmentation, in explicit little endian."""
    import highdicom  # loads half of pydicom and more: only where a segmentation is made
    from pydicom import filebase, filewriter

    template = placed.template
    assert template is not None and placed.grid is not None  # noqa: PT018  # refused before
    sources = _sources(template.table, [frame.row for frame in placed.frames])
    first = sources[0]
    _share(sources, placed)
    slices, rows, columns = placed.grid.spacing
    across = abs(float(np.dot(placed.grid.normal, placed.grid.slice)))
    cosines = [*(np.array(placed.grid.column) / columns), *(np.array(placed.grid.row) / rows)]
    number = options.series_number
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what pydicom thinks of the template's values was not asked
        made = highdicom.seg.Segmentation(
            source_images=sources,
            pixel_array=maps,
            segmentation_type="BINARY",
            segment_descriptions=[_description(at + 1, one, uid) for at, one in enumerate(found)],
            series_instance_uid=uid,
            series_number=int(first.get("SeriesNumber") or 0) + 1000 if number is None else number,
            sop_instance_uid=uids.derived("", uid, "0"),
            instance_number=1,
            manufacturer="dicom-node",
            manufacturer_model_name="dicom-node",
            software_versions=layout.IMPLEMENTATION_VERSION,
            device_serial_number="1",
            content_label="SEGMENTATION",
            content_description=None,
            omit_empty_frames=bool(maps.any()),
            series_description=options.description or "Segmentation",
            plane_positions=[
                highdicom.PlanePositionSequence("PATIENT", list(placed.position(frame) or ()))
                for frame in placed.frames
            ],
            plane_orientation=highdicom.PlaneOrientationSequence("PATIENT", cosines),
            pixel_measures=highdicom.PixelMeasuresSequence(
                (rows, columns), first.get("SliceThickness") or across or slices, across or None
            ),
        )
        _dated(made, first, options)
        out = io.BytesIO()
        target = filebase.DicomFileLike(out)
        target.is_little_endian, target.is_implicit_VR = True, False
        filewriter.write_dataset(target, made)
    return out.getbuffer()


def _sources(found: table.Table, rows: Sequence[int]) -> list[Any]:
    """The data sets of the template's frames, without their pixels, each once and in order."""
    import pydicom

    held: dict[str, Any] = {}
    for row in rows:
        source = found.source(row)
        if source.sop_instance not in held:
            header = building.read(source).bytes()
            held[source.sop_instance] = pydicom.dcmread(
                io.BytesIO(_head(source) + header), stop_before_pixels=True
            )
    return list(held.values())


def _share(sources: Sequence[Any], placed: identity.Placed) -> None:
    """Say orientation and spacing for all frames of a source at once, where highdicom looks for them."""
    import highdicom

    assert placed.grid is not None  # refused before
    slices, rows, columns = placed.grid.spacing
    cosines = [*(np.array(placed.grid.column) / columns), *(np.array(placed.grid.row) / rows)]
    for one in sources:
        for item in one.get("SharedFunctionalGroupsSequence", ()):
            if "PlaneOrientationSequence" not in item:
                item.PlaneOrientationSequence = highdicom.PlaneOrientationSequence("PATIENT", cosines)
            if "PixelMeasuresSequence" not in item:
                item.PixelMeasuresSequence = highdicom.PixelMeasuresSequence((rows, columns), slices)


def _head(source: table.Source) -> bytes:
    return layout.plain_head(source.sop_class, source.sop_instance, building.EXPLICIT)


def _description(number: int, one: segments.Segment, uid: str) -> Any:
    import highdicom
    from pydicom.sr import coding

    algorithm = None
    if one.algorithm != "MANUAL":
        family = coding.Code("123109", "DCM", "Manual Processing")
        if one.algorithm == "AUTOMATIC":
            family = coding.Code("123110", "DCM", "Artificial Intelligence")
        algorithm = highdicom.AlgorithmIdentificationSequence(one.algorithm_name, family, "unknown")
    colour = None
    if one.colour is not None:
        colour = highdicom.color.CIELabColor.from_rgb(*one.colour)
    return highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=one.name,
        segmented_property_category=coding.Code(*one.category),
        segmented_property_type=coding.Code(*one.type),
        algorithm_type=one.algorithm,
        algorithm_identification=algorithm,
        tracking_uid=uids.derived("", uid, "segment", str(one.label)),
        tracking_id=f"{one.label}",
        display_color=colour,
    )


def _dated(made: Any, first: Any, options: derived.Options) -> None:
    """Dates of the template or as asked for, and no UID by chance: the same input gives the same object."""
    day = options.date[:8] or first.get("ContentDate") or first.get("StudyDate") or "19000101"
    clock = options.date[8:] or first.get("ContentTime") or first.get("StudyTime") or "000000"
    made.ContentDate, made.ContentTime = day, clock
    for name in ("InstanceCreationDate", "InstanceCreationTime"):
        if name in made:
            delattr(made, name)
    for name in ("SeriesDate", "SeriesTime"):
        if name in made:
            setattr(made, name, day if name == "SeriesDate" else clock)
    for item in made.get("ContributingEquipmentSequence", ()):
        if "ContributionDateTime" in item:
            del item.ContributionDateTime
    organisation = uids.derived("", str(made.SeriesInstanceUID), "dimensions")
    for sequence in ("DimensionOrganizationSequence", "DimensionIndexSequence"):
        for item in made.get(sequence, ()):
            if "DimensionOrganizationUID" in item:
                item.DimensionOrganizationUID = organisation


FORMAT: base.Format = Segmentation()
