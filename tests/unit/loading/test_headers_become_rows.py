"""Headers of files as rows of a table: every column against pydicom's reading of the same files."""

import gzip
import math
import os
import pathlib
import warnings
import zipfile

import nibabel
import numpy as np
import pydicom
import pytest

from node import errors
from node.loading import headers
from node.volume import table
from tests import series

with warnings.catch_warnings(action="ignore"):  # it says of itself that it is experimental
    from nibabel.nicom import dicomwrappers

_FILES = pathlib.Path(pydicom.__file__).parent / "data" / "test_files"  # those that need no network
_NICOM = pathlib.Path(nibabel.__file__).parent / "nicom" / "tests" / "data"
_NUMBERS = {
    "series_number": "SeriesNumber",
    "instance_number": "InstanceNumber",
    "acquisition_number": "AcquisitionNumber",
    "slice_thickness": "SliceThickness",
    "spacing_between": "SpacingBetweenSlices",
    "slice_location": "SliceLocation",
    "gantry_tilt": "GantryDetectorTilt",
    "rows": "Rows",
    "columns": "Columns",
    "samples": "SamplesPerPixel",
    "bits_allocated": "BitsAllocated",
    "bits_stored": "BitsStored",
    "signed": "PixelRepresentation",
    "trigger_time": "TriggerTime",
    "echo_time": "EchoTime",
    "echo_number": "EchoNumbers",
    "repetition_time": "RepetitionTime",
    "inversion_time": "InversionTime",
    "flip_angle": "FlipAngle",
    "slope": "RescaleSlope",
    "intercept": "RescaleIntercept",
}
_TEXTS = {
    "study": "StudyInstanceUID",
    "series": "SeriesInstanceUID",
    "frame_of_reference": "FrameOfReferenceUID",
    "modality": "Modality",
    "series_description": "SeriesDescription",
    "patient_position": "PatientPosition",
    "photometric": "PhotometricInterpretation",
}


def _test_files() -> list[str]:
    wanted = (
        "CT_small",
        "MR_small*",
        "JPEG*",
        "SC_rgb_small_odd*",
        "examples_*",
        "693_*",
        "rtdose*",
        "image_dfl",
    )
    return sorted({str(path) for name in wanted for path in _FILES.glob(f"{name}.dcm")})


def _differs(found: table.Table, row: int, read: pydicom.Dataset) -> list[str]:
    """The columns that say something else than the data set."""
    wrong = []
    for name, keyword in _NUMBERS.items():
        said = read.get(keyword)
        value = math.nan if said in (None, "") else float(said)
        if name in ("slope", "intercept") and (
            "ModalityLUTSequence" in read or read.get("Modality") == "RTDOSE"
        ):
            continue
        if not np.array_equal(found[name][row], value, equal_nan=True):
            wrong.append(f"{name} {found[name][row]} {value}")
    for name, keyword in _TEXTS.items():
        if found[name][row] != str(read.get(keyword) or "").strip():
            wrong.append(f"{name} {found[name][row]!r}")
    kind = read.get("ImageType") or ""
    if found["image_type"][row] != (kind if isinstance(kind, str) else "\\".join(map(str.strip, kind))):
        wrong.append("image_type")
    for name, keyword in (("orientation", "ImageOrientationPatient"), ("spacing", "PixelSpacing")):
        said = read.get(keyword)
        if said and not np.array_equal(found[name][row], np.array(said, dtype=float)):
            wrong.append(name)
    return wrong


def test_every_column_is_what_pydicom_reads() -> None:
    paths = _test_files()
    found = headers.read(paths)
    assert not [one for one in found.skipped if one.why is not table.Why.DAMAGED]
    assert len(found.sources) >= 30
    for row in np.unique(found["source"], return_index=True)[1]:
        source = found.source(row)
        read = pydicom.dcmread(source.path, force=True, stop_before_pixels=True)
        assert _differs(found, row, read) == [], source.path
        assert source.sop_instance == str(read.SOPInstanceUID)
        assert int((found["source"] == found["source"][row]).sum()) == int(read.get("NumberOfFrames") or 1)


def test_native_pixels_lie_where_they_are_said_to() -> None:
    for path in (*_FILES.glob("*_small.dcm"), _FILES / "rtdose.dcm"):
        source = headers.read([str(path)]).sources[0]
        read = pydicom.dcmread(path)
        assert source.place is not None
        content = path.read_bytes()
        assert content[source.place.offset :][: source.place.length] == read.PixelData
        assert source.pixels is not None
        assert (source.pixels.rows, source.pixels.columns) == (read.Rows, read.Columns)


def test_fragments_of_each_frame_are_those_that_pydicom_finds() -> None:
    from pydicom import encaps

    for name in ("JPEG2000.dcm", "SC_rgb_rle_2frame.dcm", "rtdose_rle.dcm"):
        path = _FILES / name
        source = headers.read([str(path)]).sources[0]
        read = pydicom.dcmread(path)
        content = path.read_bytes()
        assert source.place is not None
        frames = [b"".join(content[a:b] for a, b in parts) for parts in source.place.fragments]
        count = int(read.get("NumberOfFrames") or 1)
        assert frames == list(encaps.generate_frames(read.PixelData, number_of_frames=count)), name


@pytest.mark.parametrize("name", ["enhanced_ct", "enhanced_mr_dwi", "enhanced_pet"])
def test_each_frame_of_an_enhanced_object_says_where_it_lies(tmp_path: pathlib.Path, name: str) -> None:
    (path,) = series.write(name, tmp_path)
    found = headers.read([str(path)])
    read = pydicom.dcmread(path, stop_before_pixels=True)
    shared = read.SharedFunctionalGroupsSequence[0]
    assert len(found) == read.NumberOfFrames
    for row, frame in enumerate(read.PerFrameFunctionalGroupsSequence):
        assert found["position"][row].tolist() == frame.PlanePositionSequence[0].ImagePositionPatient
        group = frame if "PlaneOrientationSequence" in frame else shared
        said = group.PlaneOrientationSequence[0].ImageOrientationPatient
        assert found["orientation"][row].tolist() == said
        group = frame if "PixelMeasuresSequence" in frame else shared
        assert found["spacing"][row].tolist() == group.PixelMeasuresSequence[0].PixelSpacing
        content = frame.FrameContentSequence[0]
        assert found["stack"][row] == content.get("StackID", "")
        assert found["in_stack"][row] == content.InStackPositionNumber
    assert found["frame"].tolist() == list(range(len(found)))


@pytest.mark.parametrize("b", [0, 1000])
def test_a_mosaic_lies_where_nibabel_finds_it(tmp_path: pathlib.Path, b: int) -> None:
    path = tmp_path / "mosaic.dcm"
    path.write_bytes(gzip.decompress((_NICOM / f"siemens_dwi_{b}.dcm.gz").read_bytes()))
    found = headers.read([str(path)])
    known = dicomwrappers.wrapper_from_file(str(path))
    assert found.sources[0].mosaic == table.Mosaic(48, 7, 128, 128)
    affine = known.affine  # (row, column, slice)
    tiles = np.arange(48)
    wanted = affine[:3, 3] + tiles[:, None] * affine[:3, 2]
    assert found["tile"].tolist() == tiles.tolist()
    np.testing.assert_allclose(found["position"], wanted, atol=1e-4)
    assert set(found["b_value"]) == {float(b)}
    assert np.isnan(found["gradient"]).all() == (b == 0)
    assert found["slice_time"][-1] == 0.0
    assert found["slice_time"][0] == pytest.approx(6490, abs=3)
    assert found["rows"][0] == found["columns"][0] == 128
    if b:
        # as it is written: nibabel takes it from the b matrix, which has what the images add
        np.testing.assert_allclose(found["gradient"][0], (0.99997449, 0.00505012, -0.00505012))


def test_philips_says_its_own_slope_for_each_frame(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "philips.dcm"
    path.write_bytes(gzip.decompress((_NICOM / "philips_mprage.dcm.gz").read_bytes()))
    found = headers.read([str(path)])
    read = pydicom.dcmread(path)
    frames = read.PerFrameFunctionalGroupsSequence
    assert len(found) == len(frames) == 176
    for row in (0, 100, 175):
        assert found["philips_slope"][row] == frames[row][0x2005140F][0][0x2005100E].value
        assert found["position"][row].tolist() == frames[row].PlanePositionSequence[0].ImagePositionPatient


# ---------------------------------------------------------------------------------------- what is no image


def test_a_file_that_gives_nothing_is_skipped_with_a_reason(tmp_path: pathlib.Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("these are no images\n" * 20)
    empty = tmp_path / "empty"
    empty.touch()
    report = str(_FILES / "test-SR.dcm")
    cut = str(_FILES / "MR_truncated.dcm")
    whole = str(_FILES / "CT_small.dcm")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    gone = str(tmp_path / "gone.dcm")
    found = headers.read([str(text), str(empty), report, cut, str(pipe), gone, whole])
    assert len(found) == 1
    assert {one.name: one.why for one in found.skipped} == {
        str(text): table.Why.NOT_DICOM,
        str(empty): table.Why.NO_PIXELS,
        report: table.Why.NO_PIXELS,
        cut: table.Why.DAMAGED,
        str(pipe): table.Why.NOT_DICOM,
        gone: table.Why.UNREADABLE,
    }
    assert all(one.detail for one in found.skipped)


def test_what_claims_more_than_its_file_holds_is_damaged(tmp_path: pathlib.Path) -> None:
    paths = [str(path) for path in series.write("hostile", tmp_path)]
    found = headers.read(paths)
    assert {one.why for one in found.skipped} == {table.Why.DAMAGED}
    assert np.isfinite(found["rows"]).all()
    position = found["position"]
    assert (np.isnan(position) | (np.abs(position) < 1e7)).all()


def test_a_header_longer_than_what_is_read_at_first_is_read_to_its_end(tmp_path: pathlib.Path) -> None:
    path = str(_FILES / "CT_small.dcm")
    read = pydicom.dcmread(path)
    for size in (20_000, 2_000_000):
        read.add_new(0x00091001, "OB", bytes(size))
        read.add_new(0x00090010, "LO", "TEST")
        target = tmp_path / f"{size}.dcm"
        read.save_as(target)
        found = headers.read([str(target)])
        assert found["position"][0].tolist() == read.ImagePositionPatient
        place = found.sources[0].place
        assert place is not None
        assert target.read_bytes()[place.offset :][: place.length] == read.PixelData


# ---------------------------------------------------------------------------------------- which files


def test_folders_are_walked_in_order_and_not_in_circles(tmp_path: pathlib.Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "a").mkdir()
    for name in ("b/2", "b/1", "a/3", "DICOMDIR", "x"):
        (tmp_path / name).touch()
    (tmp_path / "a" / "back").symlink_to(tmp_path)
    found = [os.path.relpath(path, tmp_path) for path in headers.walk([str(tmp_path)])]
    assert found == ["x", "a/3", "b/1", "b/2"]


def test_an_archive_is_read_as_a_folder_and_leaves_nothing(tmp_path: pathlib.Path) -> None:
    whole = str(_FILES / "CT_small.dcm")
    archive = tmp_path / "study.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
        out.write(whole, "../../CT.dcm")  # a name that would lead out of the folder
        out.writestr("DICOMDIR", b"nothing")
        out.writestr("__MACOSX/._CT.dcm", b"nothing")
    with headers.opened([str(archive)]) as paths:
        (path,) = paths
        assert headers.read(paths)["rows"].tolist() == [128.0]
        assert pathlib.Path(path).read_bytes() == pathlib.Path(whole).read_bytes()
    assert not os.path.exists(path)
    assert not (tmp_path.parent.parent / "CT.dcm").exists()


def test_an_archive_that_is_broken_off_is_refused_alone_and_left_out_among_others(
    tmp_path: pathlib.Path,
) -> None:
    whole = _FILES / "CT_small.dcm"
    archive = tmp_path / "study.zip"
    with zipfile.ZipFile(archive, "w") as out:
        out.write(whole, "CT.dcm")
    archive.write_bytes(archive.read_bytes()[:2000])
    with pytest.raises(errors.BadData, match="cannot be unpacked"), headers.opened([str(archive)]):
        pass
    with headers.opened([str(archive), str(whole)]) as paths:
        found = headers.read(paths)
    assert len(found) == 1
    assert [(one.name, one.why) for one in found.skipped] == [(str(archive), table.Why.DAMAGED)]


def test_a_member_whose_checksum_is_wrong_is_left_out_alone(tmp_path: pathlib.Path) -> None:
    whole = (_FILES / "CT_small.dcm").read_bytes()
    archive = tmp_path / "study.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as out:
        out.writestr("1.dcm", whole)
        out.writestr("2.dcm", whole)
    content = bytearray(archive.read_bytes())
    content[content.rindex(whole[-4000:]) + 3000] ^= 1  # a pixel of the second
    archive.write_bytes(content)
    with headers.opened([str(archive)]) as paths:
        found = headers.read(paths)
    assert len(found) == 1
    (skipped,) = found.skipped
    assert skipped.name.endswith("-2.dcm")
    assert skipped.why is table.Why.DAMAGED  # so that it counts for the exit code
    assert "cannot be unpacked" in skipped.detail


def test_elements_that_an_order_asks_for_are_columns(tmp_path: pathlib.Path) -> None:
    paths = [str(path) for path in series.write("mr_echoes", tmp_path)]
    asked = ("EchoTrainLength", "ProtocolName", "0018,0081", "RequestAttributesSequence[0].AccessionNumber")
    found = headers.read(paths, extra=asked)
    read = [pydicom.dcmread(path, stop_before_pixels=True) for path in paths]
    assert found["0018,0081"].tolist() == [float(one.EchoTime) for one in read]
    assert found["ProtocolName"].tolist() == [one.ProtocolName for one in read]
    with pytest.raises(errors.UsageError, match="EchoTim"):
        headers.read(paths, extra=("EchoTim",))


def test_an_element_of_each_frame_can_be_asked_for_too(tmp_path: pathlib.Path) -> None:
    (path,) = series.write("enhanced_mr_time", tmp_path)
    read = pydicom.dcmread(path, stop_before_pixels=True)
    found = headers.read([str(path)], extra=("InStackPositionNumber", "StackID", "Manufacturer"))
    contents = [one.FrameContentSequence[0] for one in read.PerFrameFunctionalGroupsSequence]
    assert found["InStackPositionNumber"].tolist() == [one.InStackPositionNumber for one in contents]
    assert found["StackID"].tolist() == [one.StackID for one in contents]
    assert set(found["Manufacturer"]) == {read.Manufacturer}
