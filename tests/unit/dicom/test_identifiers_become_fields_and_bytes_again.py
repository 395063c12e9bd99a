"""Identifiers: bytes to plain fields and back, in every encoding and character set, within bounds."""

import contextlib
import random
import struct

import pydicom
import pytest
from pydicom import filebase, filewriter

from node import errors
from node.dicom import identifier, scan
from tests.fuzz import datasets

EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
SYNTAXES = (EXPLICIT, IMPLICIT, "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99")

NAMES = {
    "\\ISO 2022 IR 87": "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "ISO_IR 13\\ISO 2022 IR 87": "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    "\\ISO 2022 IR 149": "Hong^Gildong=洪^吉洞=홍^길동",
    "\\ISO 2022 IR 58": "Zhang^XiaoDong=张^小东=",
    "GB18030": "Wang^XiaoDong=王^小东=",
    "ISO_IR 127": "قباني^لنزار",
    "ISO_IR 144": "Люкceмбypг",  # noqa: RUF001
    "ISO_IR 126": "Διονυσιος",
    "ISO_IR 100": "Buc^Jérôme",
    "ISO_IR 192": "Wang^XiaoDong=王^小東=",
}

ALL_SORTS: identifier.Fields = {
    "PatientID": "*",
    "StudyDate": "20200101-20211231",
    "StudyTime": None,
    "ModalitiesInStudy": "CT\\MR",
    "StudyInstanceUID": "1.2.3\\1.2.4",
    "Rows": "512",
    "SliceThickness": "0.10",
    "DiffusionBValue": "0.1",
    "RecommendedDisplayFrameRateInFloat": "0.1",
    "FrameIncrementPointer": "00181063",
    "RedPaletteColorLookupTableData": "0102",
    "00290010": "ACME 1",
    "00291010": "whatever",
    "RequestAttributesSequence": [
        {"AccessionNumber": "1", "ScheduledProtocolCodeSequence": [{}, {"CodeValue": None}]}
    ],
    "ReferencedStudySequence": [],
}


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_fields_come_back_as_they_were(syntax: str) -> None:
    assert identifier.decode(identifier.encode(ALL_SORTS, syntax), syntax) == ALL_SORTS


@pytest.mark.parametrize("syntax", SYNTAXES[:2])
def test_what_is_written_is_what_pydicom_reads(syntax: str) -> None:
    data = identifier.encode({**ALL_SORTS, "PatientName": "Doe^John"}, syntax)
    read = pydicom.filereader.dcmread(
        pydicom.filebase.DicomBytesIO(_file(data, syntax)), force=True, defer_size=None
    )
    assert read.PatientName == "Doe^John"
    assert read.StudyInstanceUID == ["1.2.3", "1.2.4"]
    assert read.Rows == 512
    assert read.RequestAttributesSequence[0].AccessionNumber == "1"
    assert len(read.ReferencedStudySequence) == 0
    assert [element.tag for element in read] == sorted(element.tag for element in read)
    buffer = filebase.DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, syntax == IMPLICIT
    filewriter.write_dataset(buffer, read)
    assert buffer.getvalue() == data


def _file(data: bytes, syntax: str) -> bytes:
    raw = syntax.encode() + b"\0" * (len(syntax) % 2)
    meta = b"\x02\x00\x10\x00UI" + struct.pack("<H", len(raw)) + raw
    return bytes(128) + b"DICM" + b"\x02\x00\x00\x00UL\x04\x00" + struct.pack("<I", len(meta)) + meta + data


@pytest.mark.parametrize("charset", NAMES)
def test_names_are_written_in_the_set_that_is_asked_for(charset: str) -> None:
    data = identifier.encode({"PatientName": NAMES[charset]}, EXPLICIT, charset)
    read = identifier.decode(data, EXPLICIT)
    assert read == {"SpecificCharacterSet": charset, "PatientName": NAMES[charset]}


@pytest.mark.parametrize("charset", ["", "ISO_IR 100", "\\ISO 2022 IR 87", "KLINGON"])
def test_a_name_that_the_set_does_not_hold_turns_the_data_set_into_utf_8(charset: str) -> None:
    asked: identifier.Fields = {
        "PatientName": "홍^길동",
        "RequestAttributesSequence": [
            {"RequestedProcedureDescription": "Schädel", "SpecificCharacterSet": "x"}
        ],
        "SpecificCharacterSet": charset,
    }
    data = identifier.encode(asked, EXPLICIT, charset)
    assert "홍^길동".encode() in data
    read = identifier.decode(data, EXPLICIT)
    assert read["SpecificCharacterSet"] == "ISO_IR 192"
    assert read["RequestAttributesSequence"] == [{"RequestedProcedureDescription": "Schädel"}]


def test_the_default_repertoire_needs_no_word_about_it() -> None:
    assert identifier.decode(identifier.encode({"PatientID": "1"}, EXPLICIT), EXPLICIT) == {"PatientID": "1"}
    stale = identifier.encode({"PatientID": "1", "SpecificCharacterSet": "ISO_IR 100"}, EXPLICIT)
    assert identifier.decode(stale, EXPLICIT) == {"PatientID": "1"}
    empty = identifier.encode({"PatientID": "1", "SpecificCharacterSet": None}, EXPLICIT)
    assert identifier.decode(empty, EXPLICIT) == {"PatientID": "1", "SpecificCharacterSet": None}


def test_the_spare_set_is_written_where_the_first_does_not_do() -> None:
    asked: identifier.Fields = {"PatientName": "Buc^Jérôme"}
    data = identifier.encode(asked, EXPLICIT, "", "ISO_IR 100")
    assert identifier.decode(data, EXPLICIT)["SpecificCharacterSet"] == "ISO_IR 100"
    data = identifier.encode(asked, EXPLICIT, "ISO_IR 144", "\\ISO 2022 IR 87")
    assert identifier.decode(data, EXPLICIT) == {**asked, "SpecificCharacterSet": "ISO_IR 192"}


def test_elements_are_picked_out_of_a_data_set_of_another_kind() -> None:
    large = identifier.encode({"PatientComments": "x" * 70_000, "StudyID": "7", "PixelData": "00"}, IMPLICIT)
    table = scan.scan(large, IMPLICIT)
    assert identifier.pick(table, [0x00104000, 0x00200010, 0x00080050]) == {"StudyID": "7"}


def test_a_list_of_uids_too_long_for_its_vr_is_written_as_unknown_and_read_back() -> None:
    uids = "\\".join(f"1.2.826.0.1.3680043.2.1125.{number}" for number in range(3000))
    data = identifier.encode({"StudyInstanceUID": uids}, EXPLICIT)
    assert data[4:6] == b"UN"
    assert identifier.decode(data, EXPLICIT) == {"StudyInstanceUID": uids}


def test_a_sequence_written_as_unknown_is_read_as_one() -> None:
    inner = identifier.encode({"AccessionNumber": "7"}, IMPLICIT)
    item = struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner
    data = struct.pack("<HH2sHI", 0x0040, 0x0275, b"UN", 0, len(item)) + item
    assert identifier.decode(data, EXPLICIT) == {"RequestAttributesSequence": [{"AccessionNumber": "7"}]}


def test_group_lengths_are_left_out_and_private_keys_are_told_apart() -> None:
    data = struct.pack("<HHI", 0x0010, 0x0000, 4) + bytes(4) + identifier.encode({"00111010": "x"}, IMPLICIT)
    assert identifier.decode(data, IMPLICIT) == {"00111010": "x"}
    assert identifier.private("00111010")
    assert not identifier.private("00101010")
    assert not identifier.private("PatientID")


def _nested(levels: int) -> bytes:
    fields: identifier.Fields = {"CodeValue": "1"}
    for _ in range(levels):
        fields = {"ConceptNameCodeSequence": [fields]}
    return identifier.encode(fields, EXPLICIT)


def test_nesting_and_size_have_a_bound() -> None:
    assert identifier.decode(_nested(15), EXPLICIT)
    with pytest.raises(errors.BadData, match="within each other"):
        identifier.decode(_nested(17), EXPLICIT)
    one = identifier.encode({"PatientID": "1"}, EXPLICIT)
    with pytest.raises(errors.BadData, match="more than"):
        identifier.decode(one * (identifier.MOST + 1), EXPLICIT)
    with pytest.raises(errors.BadData, match="bytes"):
        identifier.decode(bytes(identifier.LARGEST + 1), EXPLICIT)


@pytest.mark.parametrize(
    "data", [b"\x08", b"\x10\x00\x20\x00LO\xff\xff1", bytes(128) + b"DICM", b"\x00\x10\x00\x20LO\x00\x02ab"]
)
def test_what_is_no_data_set_is_refused(data: bytes) -> None:
    with pytest.raises(errors.BadData):
        identifier.decode(data, EXPLICIT)


@pytest.mark.parametrize(
    "fields",
    [
        {"NoSuchKeyword": "1"},
        {"00000002": "1"},
        {"Rows": "many"},
        {"PatientID": "1", "00100020": "2"},
        {"RequestAttributesSequence": "text"},
        {"PatientID": [{}]},
        {"PixelData": "xyz"},
    ],
)
def test_what_cannot_be_written_is_refused(fields: identifier.Fields) -> None:
    with pytest.raises(errors.NodeError):
        identifier.encode(fields, EXPLICIT)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_what_is_changed_at_random_is_read_or_refused(syntax: str) -> None:
    whole = identifier.encode(
        {**ALL_SORTS, "PatientName": NAMES["\\ISO 2022 IR 149"]}, syntax, "\\ISO 2022 IR 149"
    )
    chance = random.Random(7)
    for _ in range(500):
        with contextlib.suppress(errors.NodeError):
            identifier.encode(identifier.decode(datasets.mutated(whole, chance), syntax), syntax)
