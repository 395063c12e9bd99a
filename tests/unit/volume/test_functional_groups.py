"""Multi-frame headers: the same rows however their sequences are written, and whatever frames leave out."""

import copy
import io
import pathlib

import numpy as np
import pydicom
import pytest
from pydicom.sequence import Sequence

from node import errors
from node.dicom import part10
from node.loading import headers
from node.volume.reading import read as reading
from tests import series


def _read(made: pydicom.Dataset) -> reading.Rows:
    out = io.BytesIO()
    made.save_as(out, enforce_file_format=True)
    content = out.getvalue()
    head = part10.part10(content)
    return reading.rows(content, head.offset, head.syntax, "made.dcm")


def _open(made: pydicom.Dataset) -> pydicom.Dataset:
    """The same with undefined lengths at every depth."""
    for element in made:
        if element.VR == "SQ":
            element.is_undefined_length = True
            for item in element.value:
                item.is_undefined_length_sequence_item = True
                _open(item)
    return made


def _made(name: str, folder: pathlib.Path) -> pydicom.Dataset:
    (path,) = series.write(name, folder)
    return pydicom.dcmread(path)


def _equal(one: reading.Rows, other: reading.Rows) -> None:
    assert one.fixed == other.fixed
    assert one.varying.keys() == other.varying.keys()
    for name, column in one.varying.items():
        np.testing.assert_array_equal(column, other.varying[name])


@pytest.mark.parametrize("name", ["enhanced_mr_dwi", "enhanced_pet", "enhanced_mr_stacks"])
def test_lengths_may_be_written_or_not(tmp_path: pathlib.Path, name: str) -> None:
    made = _made(name, tmp_path)
    _equal(_read(made), _read(_open(made)))


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"])
def test_the_transfer_syntax_makes_no_difference(tmp_path: pathlib.Path, syntax: str) -> None:
    made = _made("enhanced_mr_dwi", tmp_path)
    again = copy.deepcopy(made)
    if syntax == "1.2.840.10008.1.2.2":
        again["PixelData"].value = np.frombuffer(made.PixelData, "<u2").byteswap().tobytes()
    again.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    out = io.BytesIO()
    implicit, little = syntax == "1.2.840.10008.1.2", syntax != "1.2.840.10008.1.2.2"
    pydicom.dcmwrite(out, again, implicit_vr=implicit, little_endian=little, force_encoding=True)
    head = part10.part10(out.getvalue())
    _equal(_read(made), reading.rows(out.getvalue(), head.offset, head.syntax, "made.dcm"))


def test_what_one_frame_leaves_out_comes_from_the_shared_groups(tmp_path: pathlib.Path) -> None:
    made = _made("enhanced_mr_time", tmp_path)
    shared = made.SharedFunctionalGroupsSequence[0]
    frames = made.PerFrameFunctionalGroupsSequence
    frames[2].PixelMeasuresSequence = Sequence([copy.deepcopy(shared.PixelMeasuresSequence[0])])
    frames[2].PixelMeasuresSequence[0].SliceThickness = 77
    del frames[1].PlanePositionSequence
    found = _read(made)
    thickness = found.varying["slice_thickness"]
    assert thickness[2] == 77
    assert set(np.delete(thickness, 2)) == {float(shared.PixelMeasuresSequence[0].SliceThickness)}
    assert np.isnan(found.varying["position"][1]).all()  # nobody says where it lies: it has no place
    assert np.isfinite(np.delete(found.varying["position"], 1, axis=0)).all()


def test_frames_of_other_lengths_do_not_get_each_others_values(tmp_path: pathlib.Path) -> None:
    made = _made("enhanced_mr_time", tmp_path)
    frames = made.PerFrameFunctionalGroupsSequence
    for number, frame in enumerate(frames):
        position = [f"{number * 7}.{'1' * (number % 5)}", str(-number), "1" * (1 + number % 3)]
        frame.PlanePositionSequence[0].ImagePositionPatient = position
    for _ in range(3):  # layouts are learnt when they are met again
        found = _read(made)
        wanted = [frame.PlanePositionSequence[0].ImagePositionPatient for frame in frames]
        assert found.varying["position"].tolist() == wanted
        _equal(found, _read(_open(copy.deepcopy(made))))


def test_an_average_over_directions_has_none(tmp_path: pathlib.Path) -> None:
    made = _made("enhanced_mr_dwi", tmp_path)
    last = made.PerFrameFunctionalGroupsSequence[-1].MRDiffusionSequence[0]
    last.DiffusionDirectionality = "ISOTROPIC"
    found = _read(made)
    assert np.isnan(found.varying["gradient"][-1]).all()
    assert found.varying["b_value"][-1] == last.DiffusionBValue


def test_a_phase_image_beside_its_magnitude_is_told(tmp_path: pathlib.Path) -> None:
    made = _made("enhanced_mr_time", tmp_path)
    for number, frame in enumerate(made.PerFrameFunctionalGroupsSequence):
        kind = pydicom.Dataset()
        kind.FrameType = ["ORIGINAL", "PRIMARY", "M" if number % 2 else "P", "NONE"]
        kind.ComplexImageComponent = "MAGNITUDE" if number % 2 else "PHASE"
        frame.MRImageFrameTypeSequence = Sequence([kind])
    found = _read(made).varying["component"]
    assert set(found[::2]) == {"P"}
    assert set(found[1::2]) == {"M"}


def test_an_axis_that_has_only_an_index_is_told_by_it(tmp_path: pathlib.Path) -> None:
    made = _made("enhanced_mr_time", tmp_path)
    private = pydicom.tag.Tag(0x2005, 0x1011)
    pointers = []
    for tag in (0x00209056, 0x00209057, private):
        one = pydicom.Dataset()
        one.DimensionIndexPointer = tag
        pointers.append(one)
    made.DimensionIndexSequence = Sequence(pointers)
    wanted = []
    for number, frame in enumerate(made.PerFrameFunctionalGroupsSequence):
        content = frame.FrameContentSequence[0]
        wanted.append(1 + number % 3)
        content.DimensionIndexValues = [1, content.InStackPositionNumber, wanted[-1]]
        del content.TemporalPositionIndex
    assert _read(made).varying["temporal_position"].tolist() == wanted
    pointers[2].DimensionIndexPointer = 0x00209128
    assert _read(made).varying["temporal_position"].tolist() == wanted
    pointers[2].DimensionIndexPointer = 0x00189087  # what has a column of its own needs no index
    assert "temporal_position" not in _read(made).varying


def test_frames_of_two_segments_are_kept_apart(tmp_path: pathlib.Path) -> None:
    made = _made("enhanced_ct", tmp_path)
    made.Modality = "SEG"
    for number, frame in enumerate(made.PerFrameFunctionalGroupsSequence):
        one = pydicom.Dataset()
        one.ReferencedSegmentNumber = 1 + number % 2
        frame.SegmentIdentificationSequence = Sequence([one])
        del frame.FrameContentSequence[0].StackID
    found = _read(made).varying["stack"].tolist()
    assert found == ["segment 1", "segment 2"] * (made.NumberOfFrames // 2)


def test_more_or_fewer_frames_than_are_described_are_refused(tmp_path: pathlib.Path) -> None:
    made = _made("enhanced_mr_time", tmp_path)
    del made.PerFrameFunctionalGroupsSequence[-1]
    with pytest.raises(errors.BadData, match="12 frames and describes 11"):
        _read(made)


def test_a_dose_may_name_its_planes_by_distance_or_by_coordinate(tmp_path: pathlib.Path) -> None:
    made = _made("dose", tmp_path)
    relative = _read(made).varying["position"]
    origin = float(made.ImagePositionPatient[2])
    made.GridFrameOffsetVector = [origin + float(offset) for offset in made.GridFrameOffsetVector]
    np.testing.assert_allclose(_read(made).varying["position"], relative)
    made.GridFrameOffsetVector = [0, 3]  # fewer than frames: nothing says where the others lie
    assert "position" not in _read(made).varying
    assert "position" not in _read(made).fixed


def test_many_frames_of_several_files_are_one_table(tmp_path: pathlib.Path) -> None:
    made = _made("enhanced_mr_time", tmp_path)
    frames = list(made.PerFrameFunctionalGroupsSequence)
    made.PerFrameFunctionalGroupsSequence = Sequence([frames[number % 12] for number in range(600)])
    made.NumberOfFrames = 600
    made.PixelData = bytes(made.Rows * made.Columns * 2 * 600)
    path = tmp_path / "many.dcm"
    made.save_as(path, enforce_file_format=True)
    found = headers.read([str(path), str(path)])
    assert len(found) == 1200
    assert found["frame"].tolist() == [*range(600), *range(600)]
    assert found["source"].tolist() == [0] * 600 + [1] * 600
    np.testing.assert_array_equal(found["position"][:12], found["position"][1188:])
