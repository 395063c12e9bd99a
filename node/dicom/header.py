"""What the index wants to know of an instance: one pass over the header's bytes, decoded to Unicode."""

from __future__ import annotations

import functools
import typing
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, NamedTuple

from node.dicom import charset, inflating, layouts, patched, reach, readers, scan, walk
from node.dicom import path as paths
from node.dicom import vr as vrs
from node.dicom.readers import CODE, CODES, DATE, DECIMAL, DECIMALS, INTEGER, TEXT, TEXTS, TIME, UID
from node.dicom.syntax import Buffer, encoding

Str = str | None
Int = int | None
Float = float | None
Strs = tuple[str, ...]
Floats = tuple[float, ...] | None


class Note(NamedTuple):
    """An element whose value could not be read as what it should be."""

    field: str  # the Header's field, which is None or empty
    tag: int  # the element
    raw: str  # what stands there, decoded as well as can be, cut at 64 characters
    why: str  # in words


class Reference(NamedTuple):
    """An instance that this one refers to (Referenced Image Sequence and its like)."""

    sop_class: str  # Referenced SOP Class UID, "" when absent
    sop_instance: str  # Referenced SOP Instance UID
    series: str  # the Series Instance UID it is listed under, "" when not said
    frames: tuple[int, ...]  # Referenced Frame Number; empty: the whole instance


class Request(NamedTuple):
    """One item of the Request Attributes Sequence; "" where absent."""

    scheduled_step_id: str  # Scheduled Procedure Step ID
    scheduled_step_description: str  # Scheduled Procedure Step Description
    procedure_id: str  # Requested Procedure ID
    procedure_description: str  # Requested Procedure Description
    accession_number: str  # Accession Number
    study: str  # Study Instance UID


class Header(NamedTuple):
    """What is known of an instance; None or () where absent, empty or unreadable (then there is a note).

    A NamedTuple and not a dataclass: it is made for every instance, and a frozen dataclass of this size
    costs as much as reading the whole header. The first annotation is the kind, the second the tag.
    """

    # who it is
    sop_class: Annotated[Str, UID, 0x00080016]
    sop_instance: Annotated[Str, UID, 0x00080018]
    study: Annotated[Str, UID, 0x0020000D]
    series: Annotated[Str, UID, 0x0020000E]
    charset: Annotated[Strs, CODES, 0x00080005]
    timezone: Annotated[Str, CODE, 0x00080201]
    # patient
    patient_name: Annotated[Str, TEXT, 0x00100010]  # with ^ and = as sent
    patient_id: Annotated[Str, TEXT, 0x00100020]
    issuer_of_patient_id: Annotated[Str, TEXT, 0x00100021]
    patient_birth_date: Annotated[Str, DATE, 0x00100030]
    patient_birth_time: Annotated[Str, TIME, 0x00100032]
    patient_sex: Annotated[Str, CODE, 0x00100040]
    other_patient_ids: Annotated[Strs, TEXTS, 0x00101000]
    other_patient_names: Annotated[Strs, TEXTS, 0x00101001]
    ethnic_group: Annotated[Str, TEXT, 0x00102160]
    patient_comments: Annotated[Str, TEXT, 0x00104000]
    # study
    study_date: Annotated[Str, DATE, 0x00080020]
    study_time: Annotated[Str, TIME, 0x00080030]
    accession_number: Annotated[Str, TEXT, 0x00080050]
    study_id: Annotated[Str, TEXT, 0x00200010]
    study_description: Annotated[Str, TEXT, 0x00081030]
    referring_physician: Annotated[Str, TEXT, 0x00080090]
    reading_physicians: Annotated[Strs, TEXTS, 0x00081060]
    admitting_diagnoses: Annotated[Strs, TEXTS, 0x00081080]
    patient_age: Annotated[Str, CODE, 0x00101010]
    patient_size: Annotated[Float, DECIMAL, 0x00101020]
    patient_weight: Annotated[Float, DECIMAL, 0x00101030]
    occupation: Annotated[Str, TEXT, 0x00102180]
    additional_history: Annotated[Str, TEXT, 0x001021B0]
    # series
    modality: Annotated[Str, CODE, 0x00080060]
    series_number: Annotated[Int, INTEGER, 0x00200011]
    series_description: Annotated[Str, TEXT, 0x0008103E]
    series_date: Annotated[Str, DATE, 0x00080021]
    series_time: Annotated[Str, TIME, 0x00080031]
    body_part: Annotated[Str, CODE, 0x00180015]
    laterality: Annotated[Str, CODE, 0x00200060]
    patient_position: Annotated[Str, CODE, 0x00185100]
    protocol_name: Annotated[Str, TEXT, 0x00181030]
    sequence_name: Annotated[Str, TEXT, 0x00180024]
    operators: Annotated[Strs, TEXTS, 0x00081070]
    performing_physicians: Annotated[Strs, TEXTS, 0x00081050]
    manufacturer: Annotated[Str, TEXT, 0x00080070]
    manufacturer_model: Annotated[Str, TEXT, 0x00081090]
    station_name: Annotated[Str, TEXT, 0x00081010]
    device_serial_number: Annotated[Str, TEXT, 0x00181000]
    software_versions: Annotated[Strs, TEXTS, 0x00181020]
    institution_name: Annotated[Str, TEXT, 0x00080080]
    department: Annotated[Str, TEXT, 0x00081040]
    performed_step_start_date: Annotated[Str, DATE, 0x00400244]
    performed_step_start_time: Annotated[Str, TIME, 0x00400245]
    performed_step_id: Annotated[Str, TEXT, 0x00400253]
    performed_step_description: Annotated[Str, TEXT, 0x00400254]
    images_in_acquisition: Annotated[Int, INTEGER, 0x00201002]
    # instance
    instance_number: Annotated[Int, INTEGER, 0x00200013]
    acquisition_number: Annotated[Int, INTEGER, 0x00200012]
    content_date: Annotated[Str, DATE, 0x00080023]
    content_time: Annotated[Str, TIME, 0x00080033]
    acquisition_date: Annotated[Str, DATE, 0x00080022]
    acquisition_time: Annotated[Str, TIME, 0x00080032]
    acquisition_datetime: Annotated[Str, CODE, 0x0008002A]
    image_type: Annotated[Strs, CODES, 0x00080008]
    image_comments: Annotated[Str, TEXT, 0x00204000]
    rows: Annotated[Int, INTEGER, 0x00280010]
    columns: Annotated[Int, INTEGER, 0x00280011]
    samples_per_pixel: Annotated[Int, INTEGER, 0x00280002]
    photometric: Annotated[Str, CODE, 0x00280004]
    bits_allocated: Annotated[Int, INTEGER, 0x00280100]
    bits_stored: Annotated[Int, INTEGER, 0x00280101]
    pixel_representation: Annotated[Int, INTEGER, 0x00280103]
    frames: Annotated[Int, INTEGER, 0x00280008]  # None: no such notion; the index counts 1
    # geometry
    frame_of_reference: Annotated[Str, UID, 0x00200052]
    image_position: Annotated[Floats, DECIMALS, 0x00200032]
    image_orientation: Annotated[Floats, DECIMALS, 0x00200037]
    slice_location: Annotated[Float, DECIMAL, 0x00201041]
    slice_thickness: Annotated[Float, DECIMAL, 0x00180050]
    spacing_between_slices: Annotated[Float, DECIMAL, 0x00180088]
    pixel_spacing: Annotated[Floats, DECIMALS, 0x00280030]
    temporal_position: Annotated[Int, INTEGER, 0x00200100]
    trigger_time: Annotated[Float, DECIMAL, 0x00181060]
    echo_time: Annotated[Float, DECIMAL, 0x00180081]
    # objects that are no images
    content_label: Annotated[Str, CODE, 0x00700080]
    content_description: Annotated[Str, TEXT, 0x00700081]
    completion_flag: Annotated[Str, CODE, 0x0040A491]
    verification_flag: Annotated[Str, CODE, 0x0040A493]
    # what is read from sequences, and what went wrong
    requests: tuple[Request, ...]
    references: tuple[Reference, ...]  # of presentation states, key objects and other non-images
    notes: tuple[Note, ...]


_REQUESTS = 0x00400275
_REFERENCES = (
    0x00081115,
    0x0040A375,
)  # Referenced Series Sequence; Current Requested Procedure Evidence Sequence
_MOST_REFERENCES = 10_000  # more than a study has images; what lists more is cut, with a note
_MOST_ELEMENTS = 500_000  # before that; the largest structured reports have a fifth
_LAST = 0x00710000  # no field lies beyond, and large objects have most of their elements there
_CHARSET = 0x00080005


def attributes(buffer: Buffer, syntax: str) -> Header:
    """Everything the index keeps of an instance.

    Raises `errors.BadData` only where the framing itself breaks; a value that cannot be read is None
    and leaves a note.
    """
    enc = encoding(syntax)
    if enc.deflated:
        buffer = inflating.header(buffer, _LAST)
    rows, _ = walk.walk(buffer, 0, len(buffer), enc, stop=_LAST, most=_MOST_ELEMENTS)
    top = layouts.tops(rows)
    sets: tuple[str, ...] = ()
    if _CHARSET in top:
        row = rows[top[_CHARSET]]
        sets = readers.codes(bytes(buffer[row[3] : row[4]]))
    decode = charset.decoder(sets)
    order = enc.order
    found: list[Any] = []
    notes: list[Note] = []
    for name, tag, read, absent in _FIELDS:
        at = top.get(tag)
        if at is None:
            found.append(absent)
            continue
        row = rows[at]
        if row[3] == row[4]:
            found.append(absent)
            continue
        raw = bytes(buffer[row[3] : row[4]])
        vr = row[1] if row[1] != "UN" else vrs.IMPLICIT[tag]
        try:
            value = read(raw, vr, order, decode)
        except ValueError as fault:
            value = absent
            notes.append(Note(name, tag, str(raw[:64], "latin-1").rstrip("\0 "), str(fault)))
        found.append(value)
    if sets and not charset.known(sets):
        notes.append(Note("charset", _CHARSET, "\\".join(sets)[:64], "not a character set that is known"))
    requests = _requests(buffer, rows, rows[top[_REQUESTS]], decode) if _REQUESTS in top else ()
    references: tuple[Reference, ...] = ()
    for sequence in _REFERENCES:
        if sequence in top:
            references += _references(buffer, rows, rows[top[sequence]])
    if len(references) > _MOST_REFERENCES:
        notes.append(
            Note("references", _REFERENCES[0], str(len(references)), "more references than are kept")
        )
        references = references[:_MOST_REFERENCES]
    return Header._make((*found, requests, references, tuple(notes)))


def changed(made: patched.Patched) -> Header:
    """Everything the index keeps of an instance after an edit; what is large and behind it is not copied."""
    enc = encoding(made.syntax)
    if enc.deflated:
        return attributes(made.tobytes(), made.syntax)
    _, last = walk.walk(made.source, 0, len(made.source), enc, stop=_LAST, most=_MOST_ELEMENTS)
    front: list[Buffer] = []
    for piece in made.pieces:
        if isinstance(piece, bytes):
            front.append(piece)
        elif piece[0] < last:
            front.append(memoryview(made.source)[piece[0] : min(piece[1], last)])
        if not isinstance(piece, bytes) and piece[1] > last:
            break
    return attributes(b"".join(front), made.syntax)


def texts(buffer: Buffer, syntax: str, keywords: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The values of elements as text, for rules and routes; an element that is absent or empty has ().

    Elements are named as in `dicom.path`; what names none raises `errors.UsageError`.
    """
    wanted = {name: _path(name) for name in keywords}
    table = scan.scan(buffer, syntax, stop=max(map(reach.stop, wanted.values()), default=0))
    return {name: reach.texts(table, path) for name, path in wanted.items()}


_path = functools.lru_cache(4096)(paths.parse)  # the same few are asked of every instance


def _fields() -> list[tuple[str, int, readers.Reader, Any]]:
    """(field, tag, reader, value when absent), from the annotations of `Header`."""
    out: list[tuple[str, int, readers.Reader, Any]] = []
    for name, hint in typing.get_type_hints(Header, include_extras=True).items():
        if typing.get_origin(hint) is Annotated:
            kind, tag = hint.__metadata__
            out.append((name, tag, readers.READERS[kind], () if kind in (TEXTS, CODES) else None))
    return out


_FIELDS = _fields()
TAGS = {name: tag for name, tag, _, _ in _FIELDS}  # the element behind each field


def _requests(
    buffer: Buffer, rows: Sequence[walk.Row], sequence: walk.Row, decode: readers.Decoder
) -> tuple[Request, ...]:
    """The items of the Request Attributes Sequence."""
    items: dict[int, dict[int, str]] = {}
    first = rows.index(sequence)
    for at in range(first + 1, len(rows)):
        row = rows[at]
        if row[2] >= sequence[4]:
            break
        if row[5] == first:
            items[at] = {}
        elif row[5] in items and row[0] in _REQUEST_TAGS:
            items[row[5]][row[0]] = readers.clean(decode(bytes(buffer[row[3] : row[4]])))
    return tuple(Request(*(item.get(tag, "") for tag in _REQUEST_TAGS)) for item in items.values())


_REQUEST_TAGS = (0x00400009, 0x00400007, 0x00401001, 0x00321060, 0x00080050, 0x0020000D)
_REFERENCED_CLASS, _REFERENCED_INSTANCE, _REFERENCED_FRAMES = 0x00081150, 0x00081155, 0x00081160


def _references(buffer: Buffer, rows: Sequence[walk.Row], sequence: walk.Row) -> tuple[Reference, ...]:
    """Every referenced instance below a sequence, with the series whose item it lies in."""
    found: dict[int, dict[int, str]] = {}  # by the row of the item that names the instance
    series: dict[int, str] = {}  # by the row of the item that names the series
    for row in rows[rows.index(sequence) + 1 :]:
        if row[2] >= sequence[4]:
            break
        tag = row[0]
        if tag in (_REFERENCED_CLASS, _REFERENCED_INSTANCE, _REFERENCED_FRAMES):
            found.setdefault(row[5], {})[tag] = readers.clean(str(buffer[row[3] : row[4]], "latin-1"))
        elif tag == 0x0020000E:
            series[row[5]] = readers.clean(str(buffer[row[3] : row[4]], "latin-1"))
    out: list[Reference] = []
    for item, values_ in found.items():
        if values_.get(_REFERENCED_INSTANCE):
            around = rows[rows[item][5]][5]
            frames = values_.get(_REFERENCED_FRAMES, "").split("\\")
            numbers = tuple(int(f) for f in frames if f.strip().isdecimal() and len(f) < 12)
            out.append(
                Reference(
                    values_.get(_REFERENCED_CLASS, ""),
                    values_[_REFERENCED_INSTANCE],
                    series.get(around, ""),
                    numbers,
                )
            )
    return tuple(out)
