"""Frames as columns: one row for each frame of each file, and what its header says where sorting asks for it.

Columns and not objects: ten thousand slices are sorted in a few array operations. A column that nobody filled
reads as absent everywhere, so what the index holds and what a file's header says are the same kind of table.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from node.dicom import pixels as pixel_words

Array = np.ndarray[Any, np.dtype[Any]]


class Why(enum.Enum):
    """Why a file, or a frame, is in no volume."""

    NOT_DICOM = "not DICOM"
    DAMAGED = "damaged"  # it breaks off, or its lengths lie
    NO_PIXELS = "no pixels"  # a report, a presentation state
    NO_GEOMETRY = "no geometry"  # it does not say where it lies
    UNSUPPORTED = "unsupported"  # a transfer syntax or a kind of pixels that nothing here decodes
    DUPLICATE = "duplicate"  # the same slice is there already
    UNREADABLE = "unreadable"  # the system said no
    NOT_ASKED = "not asked for"  # a choice of series or of stacks left it out
    APART = "apart"  # it fits in no regular stack


@dataclasses.dataclass(frozen=True, slots=True)
class Skipped:
    """A file or frame that is in no volume, and why."""

    name: str  # path, or path#frame (frames count from 1), or a SOP Instance UID
    why: Why  # the kind of reason
    detail: str = ""  # in a sentence, without anything that identifies a patient


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Where the pixel data of a data set lies in its file."""

    offset: int  # of native pixel data; of the first fragment's value where it is encapsulated
    length: int  # bytes of native pixel data; of all fragments
    fragments: tuple[tuple[tuple[int, int], ...], ...] = ()
    # encapsulated: (offset, end) in the file of the fragments of each frame; () for native
    kind: str = "int"  # "int": Pixel Data; "float": Float Pixel Data; "double": Double Float Pixel Data


@dataclasses.dataclass(frozen=True, slots=True)
class Mosaic:
    """Slices that lie side by side in one frame (Siemens)."""

    tiles: int  # that hold a slice
    across: int  # tiles in a row of tiles
    rows: int  # of one tile
    columns: int  # of one tile


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """One data set at rest."""

    path: str  # the file
    offset: int  # where the data set begins in it
    size: int  # bytes of the data set
    syntax: str  # transfer syntax UID
    sop_class: str  # SOP Class UID
    sop_instance: str  # SOP Instance UID
    pixels: pixel_words.Pixels | None = None  # the image pixel module; None: not read yet
    place: Place | None = None  # where the pixels are; None: not read yet, or deflated
    mosaic: Mosaic | None = None  # each row of the table is a tile then


@dataclasses.dataclass(frozen=True, slots=True)
class Column:
    """What a column holds."""

    kind: str  # "number": float64, NaN where absent; "text": str objects, "" where absent; "whole": int64
    width: int  # values in a row: 1 is a vector, more a matrix
    about: str  # the element, and what it means


NUMBER, TEXT, WHOLE = "number", "text", "whole"
COLUMNS: Mapping[str, Column] = {
    "source": Column(WHOLE, 1, "which of `sources`"),
    "frame": Column(WHOLE, 1, "frame in its data set, from 0"),
    "tile": Column(WHOLE, 1, "tile in its frame, from 0; 0 where there is no mosaic"),
    # what belongs together
    "study": Column(TEXT, 1, "Study Instance UID"),
    "series": Column(TEXT, 1, "Series Instance UID"),
    "frame_of_reference": Column(TEXT, 1, "Frame of Reference UID"),
    "modality": Column(TEXT, 1, "Modality"),
    "series_number": Column(NUMBER, 1, "Series Number"),
    "series_description": Column(TEXT, 1, "Series Description"),
    "sequence_name": Column(TEXT, 1, "Sequence Name, or Pulse Sequence Name"),
    "patient_position": Column(TEXT, 1, "Patient Position (HFS, FFP, HFDR ...)"),
    "image_type": Column(TEXT, 1, "Image Type (Frame Type of enhanced objects), parts joined by a backslash"),
    "component": Column(TEXT, 1, "M, P, R, I: magnitude, phase, real, imaginary; B: phase contrast velocity"),
    "instance_number": Column(NUMBER, 1, "Instance Number"),
    "acquisition_number": Column(NUMBER, 1, "Acquisition Number"),
    "stack": Column(TEXT, 1, "Stack ID"),
    "in_stack": Column(NUMBER, 1, "In-Stack Position Number"),
    # geometry, in millimetres of the patient's coordinates (LPS)
    "position": Column(NUMBER, 3, "Image Position (Patient): centre of the first voxel"),
    "orientation": Column(NUMBER, 6, "Image Orientation (Patient): along a row, then down a column"),
    "spacing": Column(NUMBER, 2, "Pixel Spacing: between rows, between columns"),
    "slice_thickness": Column(NUMBER, 1, "Slice Thickness"),
    "spacing_between": Column(NUMBER, 1, "Spacing Between Slices"),
    "slice_location": Column(NUMBER, 1, "Slice Location"),
    "gantry_tilt": Column(NUMBER, 1, "Gantry/Detector Tilt in degrees"),
    # pixels
    "rows": Column(NUMBER, 1, "Rows (of a tile where there is a mosaic)"),
    "columns": Column(NUMBER, 1, "Columns (of a tile where there is a mosaic)"),
    "samples": Column(NUMBER, 1, "Samples per Pixel"),
    "photometric": Column(TEXT, 1, "Photometric Interpretation"),
    "bits_allocated": Column(NUMBER, 1, "Bits Allocated"),
    "bits_stored": Column(NUMBER, 1, "Bits Stored"),
    "signed": Column(NUMBER, 1, "Pixel Representation"),
    "slope": Column(NUMBER, 1, "Rescale Slope; NaN: there is none, or a table stands in its place"),
    "intercept": Column(NUMBER, 1, "Rescale Intercept"),
    "rescale_type": Column(TEXT, 1, "Rescale Type, or Units of PET"),
    "real_slope": Column(NUMBER, 1, "Real World Value Slope of the first linear mapping"),
    "real_intercept": Column(NUMBER, 1, "Real World Value Intercept"),
    "real_unit": Column(TEXT, 1, "code value of its unit (UCUM)"),
    "philips_slope": Column(NUMBER, 1, "(2005,xx0E) Scale Slope of Philips"),
    "philips_intercept": Column(NUMBER, 1, "(2005,xx0D) Scale Intercept of Philips"),
    # what a fourth and a fifth axis may be
    "time": Column(NUMBER, 1, "seconds after midnight of the first day of the series: when it was acquired"),
    "content_time": Column(NUMBER, 1, "Content Time, in the same way"),
    "temporal_position": Column(NUMBER, 1, "Temporal Position Identifier, or Index"),
    "trigger_time": Column(NUMBER, 1, "Trigger Time, or Nominal Cardiac Trigger Delay Time, in ms"),
    "reference_time": Column(NUMBER, 1, "Frame Reference Time (PET), in ms"),
    "echo_time": Column(NUMBER, 1, "Echo Time, or Effective Echo Time, in ms"),
    "echo_number": Column(NUMBER, 1, "Echo Number"),
    "repetition_time": Column(NUMBER, 1, "Repetition Time, in ms"),
    "inversion_time": Column(NUMBER, 1, "Inversion Time, in ms"),
    "flip_angle": Column(NUMBER, 1, "Flip Angle, in degrees"),
    "b_value": Column(NUMBER, 1, "Diffusion b-value, standard or private, in s/mm2"),
    "gradient": Column(NUMBER, 3, "its direction in the patient's coordinates; NaN: none, or b is 0"),
    "slice_time": Column(NUMBER, 1, "ms after the beginning of its volume, where a mosaic or vendor says so"),
}


class Table:
    """So many frames, by column; a column that is missing is absent in every row."""

    __slots__ = ("columns", "length", "skipped", "sources")

    def __init__(
        self,
        sources: Sequence[Source],
        columns: Mapping[str, Array],
        length: int,
        skipped: Sequence[Skipped] = (),
    ) -> None:
        self.sources = tuple(sources)
        self.columns = dict(columns)
        # By name as in COLUMNS; a keyword or tag that an order asked for is a column too, number or text.
        self.length = length
        self.skipped = tuple(skipped)  # what was found and is in no row

    def __len__(self) -> int:
        return self.length

    def __contains__(self, name: str) -> bool:
        return name in self.columns

    def __getitem__(self, name: str) -> Array:
        """A column; all absent when nobody filled it."""
        found = self.columns.get(name)
        return absent(name, self.length) if found is None else found

    def take(self, rows: Array) -> Table:
        """The table of these rows, in their order; all sources stay, so that `source` means the same."""
        return Table(self.sources, {name: column[rows] for name, column in self.columns.items()}, len(rows))

    def source(self, row: int) -> Source:
        """The data set that a row is of."""
        return self.sources[int(self["source"][row])]


def absent(name: str, length: int) -> Array:
    """A column in which nothing stands; of a name that is not in COLUMNS, one of numbers."""
    column = COLUMNS.get(name, Column(NUMBER, 1, ""))
    if column.kind == TEXT:
        return np.full(length, "", dtype=object)
    if column.kind == WHOLE:
        return np.zeros(length, dtype=np.int64)
    return np.full(length if column.width == 1 else (length, column.width), np.nan)
