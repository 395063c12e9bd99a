"""The Header of an instance: what is read, what is normal form, what becomes a note."""

from __future__ import annotations

import struct

import pydicom
import pytest

from node import errors
from node.dicom import header, scan
from tests.unit.dicom import datasets
from tests.unit.dicom.build import BIG, EXPLICIT, IMPLICIT, ct, el, im, item, open_item, open_sequence, ui


def read(*elements: bytes, syntax: str = EXPLICIT) -> header.Header:
    return header.attributes(b"".join(elements), syntax)


def test_a_ct_of_the_field() -> None:
    path = datasets.packaged("CT_small.dcm")
    raw = path.read_bytes()
    head = scan.part10(raw)
    found = header.attributes(memoryview(raw)[head.offset :], head.syntax)
    ds = pydicom.dcmread(path)
    assert found.sop_instance == ds.SOPInstanceUID
    assert found.patient_name == str(ds.PatientName)
    assert found.image_position == tuple(float(v) for v in ds.ImagePositionPatient)
    assert found.image_type == tuple(ds.ImageType)
    assert (found.rows, found.columns, found.bits_stored) == (128, 128, 16)
    assert found.instance_number == ds.InstanceNumber
    assert found.study_date == "20040119"
    assert found.notes == ()
    assert found.slice_thickness == 5.0


def test_nothing_is_none_or_an_empty_tuple() -> None:
    found = read()
    assert set(found) == {None, ()}
    assert header.TAGS["patient_name"] == 0x00100010


@pytest.mark.parametrize(
    ("tag", "vr", "raw", "field", "value"),
    [
        (0x00080020, "DA", b"1999.12.31", "study_date", "19991231"),
        (0x00080020, "DA", b"        ", "study_date", None),
        (0x00080030, "TM", b"10:20:30", "study_time", "102030"),
        (0x00080030, "TM", b"102030.5\0", "study_time", "102030.5"),
        (0x00080030, "TM", b"10", "study_time", "10"),
        (0x00200013, "IS", b" 7 ", "instance_number", 7),
        (0x00200013, "IS", b"7.0 ", "instance_number", 7),
        (0x00200013, "US", b"\7\0", "instance_number", 7),
        (0x00280010, "US", b"\0\2", "rows", 512),
        (0x00280010, "UL", b"\0\2\0\0", "rows", 512),
        (0x00280010, "UN", b"\0\2", "rows", 512),
        (0x00200032, "DS", b"1\\-2.5\\3e1", "image_position", (1.0, -2.5, 30.0)),
        (0x00201041, "FD", struct.pack("<d", 1.5), "slice_location", 1.5),
        (0x00100020, "LO", b" AB\0", "patient_id", "AB"),
        (0x00100020, "LO", b"A\0B ", "patient_id", "A\N{REPLACEMENT CHARACTER}B"),
        (0x00080060, "CS", b"MR", "modality", "MR"),
        (0x00181020, "LO", b"a\\b ", "software_versions", ("a", "b")),
        (0x00280008, "IS", b"3 ", "frames", 3),
        (0x00100010, "PN", b"<b>&\n\x1b[31m", "patient_name", "<b>&\n\x1b[31m"),
    ],
)
def test_values_take_their_normal_form(tag: int, vr: str, raw: bytes, field: str, value: object) -> None:
    found = read(el(tag, vr, raw))
    assert getattr(found, field) == value
    assert found.notes == ()


@pytest.mark.parametrize(
    ("tag", "vr", "raw", "field"),
    [
        (0x00080020, "DA", b"00000000", "study_date"),
        (0x00080020, "DA", b"20261301", "study_date"),
        (0x00080020, "DA", b"2026\xb2\xb2\xb2\xb2", "study_date"),
        (0x00080030, "TM", b"250000", "study_time"),
        (0x00080030, "TM", b"now ", "study_time"),
        (0x00200013, "IS", b"seven ", "instance_number"),
        (0x00200013, "IS", b"1e400 ", "instance_number"),
        (0x00200013, "IS", b"99999999999999", "instance_number"),
        (0x00200013, "IS", b"9" * 5000, "instance_number"),
        (0x00280010, "US", b"\1", "rows"),
        (0x00200032, "DS", b"1\\two\\3 ", "image_position"),
        (0x00200032, "DS", b"nan\\1\\2 ", "image_position"),
        (0x00201041, "FD", struct.pack("<d", float("inf")), "slice_location"),
    ],
)
def test_what_cannot_be_read_is_a_note_and_never_a_fault(tag: int, vr: str, raw: bytes, field: str) -> None:
    found = read(el(tag, vr, raw), ui(0x0020000D, "1.2"))
    assert getattr(found, field) is None
    assert found.study == "1.2"
    assert [(note.field, note.tag) for note in found.notes] == [(field, tag)]
    assert len(found.notes[0].raw) <= 64
    assert found.notes[0].why


def test_an_unknown_character_set_is_a_note() -> None:
    found = read(el(0x00080005, "CS", b"KLINGON "), el(0x00100010, "PN", b"Q"))
    assert found.patient_name == "Q"
    assert [note.field for note in found.notes] == ["charset"]


def test_requests_are_listed() -> None:
    one = ui(0x0020000D, "1.9") + el(0x00321060, "LO", b"Knee") + el(0x00400007, "LO", b"Scan")
    one += el(0x00400009, "SH", b"S1") + el(0x00401001, "SH", b"P1")
    found = read(ct(), open_sequence(0x00400275, open_item(one), item(el(0x00080050, "SH", b"A1"))))
    assert found.requests == (
        header.Request("S1", "Scan", "P1", "Knee", "", "1.9"),
        header.Request("", "", "", "", "A1", ""),
    )
    assert found.study == "1.2.3"  # the item's is not the instance's


def image(uid: str, frames: bytes = b"") -> bytes:
    inside = ui(0x00081150, "1.2.840.10008.5.1.4.1.1.2") + ui(0x00081155, uid)
    return item(inside + (el(0x00081160, "IS", frames) if frames else b""))


def test_a_presentation_state_names_its_images() -> None:
    series = item(el(0x00081140, "SQ", image("1.1") + image("1.2", b"3\\4 ")) + ui(0x0020000E, "1.5"))
    found = read(el(0x00081115, "SQ", series), el(0x00700080, "CS", b"KEY "))
    assert [(r.sop_instance, r.series, r.frames) for r in found.references] == [
        ("1.1", "1.5", ()),
        ("1.2", "1.5", (3, 4)),
    ]
    assert found.content_label == "KEY"


def test_a_key_object_names_its_images() -> None:
    series = item(open_sequence(0x00081199, image("1.1")) + ui(0x0020000E, "1.5"))
    study = item(el(0x00081115, "SQ", series) + ui(0x0020000D, "1.6"))
    found = read(ui(0x0020000D, "1.7"), el(0x0040A375, "SQ", study))
    assert [(r.sop_instance, r.series) for r in found.references] == [("1.1", "1.5")]
    assert found.study == "1.7"


def test_every_encoding_says_the_same() -> None:
    values = ((0x00080016, "UI", b"1.2\0"), (0x00100010, "PN", b"Doe^Jane"), (0x00280010, "US", b"\2\1"))
    explicit = read(*(el(*value) for value in values))
    implicit = read(*(im(tag, raw) for tag, _, raw in values), syntax=IMPLICIT)
    big = read(
        *(el(tag, vr, raw[::-1] if vr == "US" else raw, order=">") for tag, vr, raw in values), syntax=BIG
    )
    assert explicit == implicit == big


def test_rules_read_any_element_as_text() -> None:
    raw = ct(el(0x00100010, "PN", b"Doe^Jane"), el(0x00180050, "DS", b"2.50\\3 "), el(0x0018009A, "SQ"))
    names = ["PatientName", "SliceThickness", "0010,0020", "(0020,000E)", "StudyID"]
    assert header.texts(raw, EXPLICIT, names) == {
        "PatientName": ("Doe^Jane",),
        "SliceThickness": ("2.50", "3"),
        "0010,0020": (),
        "(0020,000E)": ("1.2.3.5",),
        "StudyID": (),
    }
    with pytest.raises(errors.UsageError, match="PatientName"):
        header.texts(raw, EXPLICIT, ["PatientNam"])


def test_a_data_set_that_breaks_off_raises() -> None:
    with pytest.raises(errors.BadData):
        read(ct()[:-1])
