"""The data sets of storage commitment, written by us and read by pydicom, and the other way round."""

from __future__ import annotations

import io

import pydicom
import pytest
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset

from node import errors
from node.dicom import commitment

IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
CT = "1.2.840.10008.5.1.4.1.1.2"
SYNTAXES = pytest.mark.parametrize(
    ("syntax", "implicit", "little"), [(IMPLICIT, True, True), (EXPLICIT, False, True), (BIG, False, False)]
)


@SYNTAXES
def test_a_report_reads_back_in_pydicom(syntax: str, implicit: bool, little: bool) -> None:
    references = [commitment.Reference(CT, "1.2.3"), commitment.Reference(CT, "1.2.34", 0x0112)]
    written = commitment.report("1.2.9", references, syntax)
    read = read_dataset(io.BytesIO(written), implicit, little)
    assert read.TransactionUID == "1.2.9"
    assert [item.ReferencedSOPInstanceUID for item in read.ReferencedSOPSequence] == ["1.2.3"]
    assert [item.FailureReason for item in read.FailedSOPSequence] == [0x0112]
    assert read.FailedSOPSequence[0].ReferencedSOPInstanceUID == "1.2.34"


def test_a_report_without_failures_has_no_sequence_of_failures() -> None:
    written = commitment.report("1.2.9", [commitment.Reference(CT, "1.2.3")], EXPLICIT)
    assert "FailedSOPSequence" not in read_dataset(io.BytesIO(written), False, True)


@SYNTAXES
@pytest.mark.parametrize("undefined", [True, False])
def test_a_request_of_pydicom_is_read(syntax: str, implicit: bool, little: bool, undefined: bool) -> None:
    request = pydicom.Dataset()
    request.TransactionUID = "1.2.9"
    request.ReferencedSOPSequence = []
    for uid in ("1.2.3", "1.2.34"):
        item = pydicom.Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CT, uid
        item.is_undefined_length_sequence_item = undefined
        request.ReferencedSOPSequence.append(item)
    request["ReferencedSOPSequence"].is_undefined_length = undefined
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = implicit, little
    write_dataset(buffer, request)
    assert commitment.read(buffer.getvalue(), syntax) == commitment.Transaction(
        "1.2.9", (commitment.Reference(CT, "1.2.3"), commitment.Reference(CT, "1.2.34"))
    )


def test_what_is_missing_is_told_from_what_is_empty() -> None:
    assert commitment.read(b"", EXPLICIT) == commitment.Transaction(None, None)
    empty = b"\x08\x00\x95\x11UI\x00\x00\x08\x00\x99\x11SQ\x00\x00\x00\x00\x00\x00"
    assert commitment.read(empty, EXPLICIT) == commitment.Transaction("", ())


def test_a_request_that_breaks_off_is_bad_data() -> None:
    whole = commitment.request("1.2.9", [commitment.Reference(CT, "1.2.3")], EXPLICIT)
    with pytest.raises(errors.BadData):
        commitment.read(whole[:-3], EXPLICIT)
