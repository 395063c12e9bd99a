"""What of a header goes into a sidecar: from the top, from groups of all frames, from those of the first."""

from __future__ import annotations

import pathlib

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from node.formats import bids_fields
from node.volume import table


def framed(frequency: float) -> Dataset:
    """The groups of one frame."""
    modifier, averages, measures, of_another = Dataset(), Dataset(), Dataset(), Dataset()
    modifier.TransmitterFrequency = frequency
    averages.NumberOfAverages = 2
    measures.SliceThickness = 1.5
    of_another.PatientPosition = "FFP"
    frame = Dataset()
    frame.MRImagingModifierSequence = [modifier]
    frame.MRAveragesSequence = [averages]
    frame.ReferencedImageSequence = [of_another]
    return frame


def opened(made: Dataset, folder: pathlib.Path, syntax: str, *, before: bytes = b"") -> bids_fields.Header:
    raw = pydicom.filebase.DicomBytesIO()
    raw.is_little_endian, raw.is_implicit_VR = True, syntax == ImplicitVRLittleEndian
    pydicom.filewriter.write_dataset(raw, made)
    content = raw.getvalue()
    if syntax == DeflatedExplicitVRLittleEndian:
        import zlib

        packer = zlib.compressobj(wbits=-15)
        content = packer.compress(content) + packer.flush()
    path = folder / "made.dcm"
    path.write_bytes(before + content)
    source = table.Source(str(path), len(before), len(content), syntax, "", "")
    found = bids_fields.opened(source)
    assert found is not None
    return found


def value(found: bids_fields.Header, name: str) -> object:
    (field,) = (one for one in (*bids_fields.FIELDS, *bids_fields.CT) if one.name == name)
    return found.value(field)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("undefined", [True, False])
@pytest.mark.parametrize("before", [b"", b"another data set"])
def test_groups_of_the_first_frame(
    syntax: str, undefined: bool, before: bytes, tmp_path: pathlib.Path
) -> None:
    made, shared, timing = Dataset(), Dataset(), Dataset()
    made.Modality = "MR"
    timing.RepetitionTime = 2500
    shared.MRTimingAndRelatedParametersSequence = [timing]
    made.SharedFunctionalGroupsSequence = [shared]
    made.PerFrameFunctionalGroupsSequence = [framed(123.25), framed(1.0)]
    for sequence in (made["PerFrameFunctionalGroupsSequence"], made["SharedFunctionalGroupsSequence"]):
        sequence.is_undefined_length = undefined
        for item in sequence.value:
            item.is_undefined_length_sequence_item = undefined

    found = opened(made, tmp_path, syntax, before=before)

    assert value(found, "Modality") == "MR"
    assert value(found, "RepetitionTime") == 2.5
    assert value(found, "ImagingFrequency") == 123.25
    assert value(found, "NumberOfAverages") == 2
    assert value(found, "PatientPosition") is None  # that of an image it refers to


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_values_are_told_in_the_units_of_bids(syntax: str, tmp_path: pathlib.Path) -> None:
    made = Dataset()
    made.Modality = "CT"
    made.AcquisitionTime = "091502.5"
    made.ExposureTime = "1601"
    made.EchoTime = "2.46"
    made.ImageType = ["ORIGINAL", "PRIMARY"]
    made.SeriesNumber = "7"
    made.SoftwareVersions = ["one", "two"]
    made.PixelData = b"\0" * 64
    made["PixelData"].VR = "OW"

    found = opened(made, tmp_path, syntax)

    told = {
        name: value(found, name) for name in ("AcquisitionTime", "ExposureTime", "EchoTime", "SeriesNumber")
    }
    assert told == {
        "AcquisitionTime": "09:15:02.500000",
        "ExposureTime": 1.601,
        "EchoTime": 0.00246,
        "SeriesNumber": 7,
    }
    assert value(found, "ImageType") == ["ORIGINAL", "PRIMARY"]
    assert value(found, "SoftwareVersions") == "one\\two"
    assert value(found, "KVP") is None


@pytest.mark.parametrize("time", ["", "25", "1x", "096100", "1015-2"])
def test_times_that_are_none_are_left_out(time: str, tmp_path: pathlib.Path) -> None:
    made = Dataset()
    made.Modality = "MR"
    made.add_new(0x00080032, "SH", time)  # as a device may write it

    assert value(opened(made, tmp_path, ImplicitVRLittleEndian), "AcquisitionTime") is None


def test_a_file_that_cannot_be_read_says_nothing(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "made"
    assert bids_fields.opened(table.Source(str(path), 0, 10, ExplicitVRLittleEndian, "", "")) is None
    path.write_bytes(b"")
    assert bids_fields.opened(table.Source(str(path), 0, 10, ExplicitVRLittleEndian, "", "")) is None
    path.write_bytes(b"\x08\x00\x05\x00CS\xff\xff")
    assert bids_fields.opened(table.Source(str(path), 0, 8, ExplicitVRLittleEndian, "", "")) is None
