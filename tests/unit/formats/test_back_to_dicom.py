"""Volumes become DICOM series on a template: who, where, when and what is kept, and what is new."""

from __future__ import annotations

import dataclasses
import pathlib
import shutil

import numpy as np
import pydicom
import pytest

from node import errors
from node.formats import registry
from node.volume import geometry, onto, stack
from tests.unit.formats import back

# Every way that slices lie, and everything a fourth axis may be.
_ROUND = [
    "ct_axial",
    "ct_sagittal",
    "ct_coronal",
    "ct_oblique",
    "ct_tilted",
    "ct_unequal",
    "ct_gap",
    "ct_signed",
    "ct_big_endian",
    "ct_single",
    "mr_time",
    "mr_midnight",
    "mr_echoes",
    "mr_cardiac",
    "dwi_siemens",
    "dwi_ge",
    "mosaic_dwi",
    "pet",
    "enhanced_mr_time",
]


@pytest.mark.parametrize("name", _ROUND)
def test_through_nifti_and_back_is_the_identity(name: str, tmp_path: pathlib.Path) -> None:
    template = back.template(name, tmp_path)
    before = back.only(template)
    nifti = registry.get("nifti")
    written = nifti.write(before, tmp_path / "there", {})
    there = nifti.read([path for path in written.paths if ".nii" in path.name][:1])

    back.write("dicom", there, tmp_path / "back", template=str(template))
    after = back.only(tmp_path / "back")

    assert after.shape == before.shape
    assert np.array_equal(back.real(after), back.real(before))
    assert before.geometry is not None
    assert after.geometry is not None
    assert np.abs(after.geometry.scanner - before.geometry.scanner).max() < 1e-4
    assert [axis.name for axis in after.axes] == [axis.name for axis in before.axes]
    for one, other in zip(after.axes, before.axes, strict=True):
        assert np.allclose(one.values, other.values)
    if "b_value" in (before.table or {}):
        held, made = before.table, after.table
        assert held is not None
        assert made is not None
        assert before.rows is not None
        assert after.rows is not None
        for column in ("b_value", "gradient"):
            one, other = made[column][after.rows], held[column][before.rows]
            assert np.allclose(one, other, equal_nan=True)


def test_identity_is_kept_and_the_series_is_new(tmp_path: pathlib.Path) -> None:
    template = back.template("ct_oblique", tmp_path)
    was = {str(one.SOPInstanceUID): one for one in map(pydicom.dcmread, template.iterdir())}
    made = back.only(template)
    sets, notes = back.write("dicom", made, tmp_path / "out", description="mine", type="MPR")
    assert notes == ()
    assert [one.InstanceNumber for one in sets] == list(range(1, len(was) + 1))
    assert len({one.SOPInstanceUID for one in sets}) == len(was)
    (new,) = {one.SeriesInstanceUID for one in sets}
    for one in sets:
        source = was[one.SourceImageSequence[0].ReferencedSOPInstanceUID]
        for keyword in (
            *("PatientName", "PatientID", "StudyInstanceUID", "FrameOfReferenceUID", "StudyDate"),
            *("SOPClassUID", "Modality", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"),
            *("SliceThickness", "AcquisitionTime", "KVP", "BitsStored", "SpecificCharacterSet"),
        ):
            assert one.get(keyword) == source.get(keyword), keyword
        assert one.SOPInstanceUID not in was
        assert new != source.SeriesInstanceUID
        assert one.SeriesNumber == source.SeriesNumber + 1000
        assert one.SeriesDescription == "mine"
        assert list(one.ImageType) == ["DERIVED", "SECONDARY", "MPR"]
        assert one.ContributingEquipmentSequence[-1].Manufacturer == "dicom-node"
        assert one.file_meta.MediaStorageSOPInstanceUID == one.SOPInstanceUID
        assert not [element for element in one if element.tag.is_private]
        assert np.array_equal(one.pixel_array, source.pixel_array)


def test_the_same_input_makes_the_same_files_and_another_makes_others(tmp_path: pathlib.Path) -> None:
    made = back.only(back.template("ct_axial", tmp_path))
    first, _ = back.write("dicom", made, tmp_path / "one")
    again, _ = back.write("dicom", made, tmp_path / "two")
    for one, two in zip((tmp_path / "one").iterdir(), (tmp_path / "two").iterdir(), strict=True):
        assert one.read_bytes() == (tmp_path / "two" / one.name).read_bytes(), two
    voxels = made.voxels().copy()
    voxels[0, 0, 0] += 1
    other, _ = back.write("dicom", back.with_voxels(made, voxels), tmp_path / "three")
    named, _ = back.write("dicom", made, tmp_path / "four", description="other")
    assert first[0].SOPInstanceUID == again[0].SOPInstanceUID
    assert len({one[0].SeriesInstanceUID for one in (first, other, named)}) == 3


def test_floats_are_scaled_by_less_than_half_a_step(tmp_path: pathlib.Path) -> None:
    made = back.only(back.template("ct_axial", tmp_path))
    floats = (made.voxels() * 1.0371 - 3.3).astype(np.float32)
    sets, notes = back.write(
        "dicom", back.with_voxels(made, floats, slope=1.0, intercept=0.0), tmp_path / "out"
    )
    got = np.stack([one.pixel_array * float(one.RescaleSlope) + float(one.RescaleIntercept) for one in sets])
    assert np.abs(got - floats).max() <= float(sets[0].RescaleSlope) / 2
    assert any("scaled to 16 bits" in note for note in notes)
    each, _ = back.write(
        "dicom", back.with_voxels(made, floats, slope=1.0, intercept=0.0), tmp_path / "each", scale="slice"
    )
    for one, slice_ in zip(each, floats, strict=True):
        got = one.pixel_array * float(one.RescaleSlope) + float(one.RescaleIntercept)
        assert np.abs(got - slice_).max() <= float(one.RescaleSlope) / 2
    assert len({one.RescaleIntercept for one in each}) == len(each)


def test_pet_has_no_intercept_even_when_values_are_negative(tmp_path: pathlib.Path) -> None:
    made = back.only(back.template("pet", tmp_path))
    floats = (back.real(made) * -0.731).astype(np.float32)
    sets, _ = back.write("dicom", back.with_voxels(made, floats, slope=1.0, intercept=0.0), tmp_path / "out")
    assert {float(one.RescaleIntercept) for one in sets} == {0.0}
    got = np.stack([one.pixel_array * float(one.RescaleSlope) for one in sets])
    assert np.abs(got - floats).max() <= float(sets[0].RescaleSlope) / 2
    assert {one.ImageType[1] for one in sets} == {"PRIMARY"}


def test_a_cropped_volume_lies_where_it_was(tmp_path: pathlib.Path) -> None:
    template = back.template("ct_oblique", tmp_path)
    made = back.only(template)
    assert made.geometry is not None
    grid = dataclasses.replace(made.geometry, origin=made.geometry.at(1.0, 2.0, 3.0))
    cut = back.with_voxels(made, made.voxels()[1:, 2:6, 3:], geometry=grid)
    assert made.rows is not None
    for way, (one, options) in enumerate(
        (
            (dataclasses.replace(cut, rows=made.rows[1:]), {}),
            (back.stranger(cut), {"template": str(template)}),
        )
    ):
        sets, notes = back.write("dicom", one, tmp_path / f"out{way}", **options)
        after = back.only(tmp_path / f"out{way}")
        assert np.array_equal(after.voxels(), cut.voxels())
        assert after.geometry is not None
        assert np.allclose(after.geometry.patient, grid.patient, atol=1e-6)
        assert (sets[0].Rows, sets[0].Columns) == cut.shape[1:]
        assert [note for note in notes if "nearest" in note] == ([] if not options else list(notes))


def test_axes_that_run_another_way_are_turned_onto_the_template(tmp_path: pathlib.Path) -> None:
    template = back.template("mr_time", tmp_path)
    made = back.only(template)
    assert made.geometry is not None
    turn = onto.Fit((1, 2, 0), (True, False, True), (0, 0, 0))
    voxels = turn.view(made.voxels())
    turned = back.with_voxels(
        back.stranger(made), np.ascontiguousarray(voxels), geometry=turn.grid(made.geometry, made.shape[1:])
    )
    back.write("dicom", turned, tmp_path / "out", template=str(template))
    after = back.only(tmp_path / "out")
    assert np.array_equal(after.voxels(), made.voxels())


def test_a_volume_that_does_not_lie_on_the_template_is_refused_or_keeps_its_place(
    tmp_path: pathlib.Path,
) -> None:
    template = back.template("ct_axial", tmp_path)
    made = back.stranger(back.only(template))
    assert made.geometry is not None
    x, y, z = made.geometry.origin
    grid = geometry.Geometry((x + 0.3, y, z + 7.7), (0.9, 0, 0), (0, 0.9, 0), (0, 0, 4.0))
    moved = dataclasses.replace(made, geometry=grid)
    with pytest.raises(errors.UsageError, match="mm apart"):
        back.write("dicom", moved, tmp_path / "refused", template=str(template))
    assert not (tmp_path / "refused").exists()
    _, notes = back.write("dicom", moved, tmp_path / "out", template=str(template), geometry="own")
    after = back.only(tmp_path / "out")
    assert after.geometry is not None
    assert np.allclose(after.geometry.patient, grid.patient, atol=1e-6)
    assert any("own positions" in note for note in notes)


def test_more_volumes_than_the_template_say_when_they_are(tmp_path: pathlib.Path) -> None:
    template = back.template("ct_axial", tmp_path)
    made = back.stranger(back.only(template))
    four = np.stack([made.voxels()] * 3)
    time = stack.Axis("time", np.array([0.0, 2.5, 5.0]), "s")
    moved = back.with_voxels(made, four, axes=(time, *made.axes))
    sets, notes = back.write("dicom", moved, tmp_path / "out", template=str(template))
    assert any("3 volumes, the template 1" in note for note in notes)
    assert len({one.SOPInstanceUID for one in sets}) == len(sets) == 3 * made.shape[0]
    after = back.only(tmp_path / "out")
    assert after.axes[0].name == "time"
    assert np.allclose(np.diff(after.axes[0].values), 2.5)
    assert np.array_equal(after.voxels(), four)


@pytest.mark.parametrize("format_", ["dicom", "enhanced", "sc"])
def test_times_that_differ_from_the_template_are_those_of_the_volume(
    format_: str, tmp_path: pathlib.Path
) -> None:
    template = back.template("mr_time", tmp_path)
    made = back.stranger(back.only(template))
    seconds = np.arange(5) * 0.75
    five = back.with_voxels(
        made,
        np.stack([made.voxels()[0] + at for at in range(5)]),
        axes=(stack.Axis("time", seconds, "s"), *made.axes[1:]),
    )
    back.write(format_, five, tmp_path / "out", template=str(template))
    after = back.only(tmp_path / "out")
    assert np.array_equal(after.voxels(), five.voxels())
    assert after.axes[0].name == "time"
    assert np.allclose(after.axes[0].values, seconds)


def test_b_values_of_a_volume_without_a_series_of_its_own(tmp_path: pathlib.Path) -> None:
    template = back.template("mr_flip", tmp_path)
    made = back.stranger(back.only(template))
    b = stack.Axis("b", np.array([0.0, 1000.0]), "s/mm2")
    two = back.with_voxels(made, made.voxels()[:2], axes=(b, *made.axes[1:]))
    sets, _ = back.write("dicom", two, tmp_path / "out", template=str(template))
    assert sorted({one[0x00189087].value for one in sets}) == [0.0, 1000.0]


def test_several_series_become_one_with_one_identity(tmp_path: pathlib.Path) -> None:
    from node.volume.arrays import header as headers

    one, two = (back.only(back.template(name, tmp_path)) for name in ("ct_axial", "ct_signed"))
    assert one.table is not None
    assert two.table is not None
    assert one.rows is not None
    assert two.rows is not None
    table = headers.joined([one.table, two.table])
    rows = np.stack([one.rows, two.rows + len(one.table)])
    voxels = np.stack([one.voxels(), one.voxels()])
    phase = stack.Axis("time", np.array([0.0, 60.0]), "s")
    made = back.with_voxels(one, voxels, table=table, rows=rows, axes=(phase, *one.axes))
    sets, _ = back.write("dicom", made, tmp_path / "out")
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber", "FrameOfReferenceUID"):
        assert len({one.get(keyword) for one in sets}) == 1, keyword
    assert len({one.SOPInstanceUID for one in sets}) == len(sets)


def test_keeping_the_uids_replaces_the_series(tmp_path: pathlib.Path) -> None:
    template = back.template("ct_axial", tmp_path)
    was = {str(one.SOPInstanceUID): one for one in map(pydicom.dcmread, template.iterdir())}
    sets, _ = back.write("dicom", back.only(template), tmp_path / "out", keep_uids="yes")
    assert {one.SOPInstanceUID for one in sets} == set(was)
    assert {one.SeriesInstanceUID for one in sets} == {one.SeriesInstanceUID for one in was.values()}
    assert {one.SeriesNumber for one in sets} == {one.SeriesNumber for one in was.values()}
    mosaic = back.only(back.template("mosaic_time", tmp_path))
    with pytest.raises(errors.UsageError, match="keep_uids"):
        back.write("dicom", mosaic, tmp_path / "refused", keep_uids="yes")


def test_text_that_the_character_set_does_not_hold_makes_it_utf8(tmp_path: pathlib.Path) -> None:
    made = back.only(back.template("ct_axial", tmp_path))
    sets, _ = back.write("dicom", made, tmp_path / "out", description="肝臓")
    assert {one.SeriesDescription for one in sets} == {"肝臓"}
    assert {one.SpecificCharacterSet for one in sets} == {"ISO_IR 192"}


@pytest.mark.parametrize("name", ["rle", "jpeg-lossless", "jpeg-ls", "jpeg-2000", "deflate"])
def test_results_are_compressed_without_loss_when_asked(name: str, tmp_path: pathlib.Path) -> None:
    made = back.only(back.template("ct_axial", tmp_path))
    sets, _ = back.write("dicom", made, tmp_path / "out", compress=name)
    assert sets[0].file_meta.TransferSyntaxUID not in ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")
    assert np.array_equal(back.only(tmp_path / "out").voxels(), made.voxels())


def test_without_any_template_it_is_a_capture_of_nobody(tmp_path: pathlib.Path) -> None:
    made = back.stranger(back.only(back.template("ct_axial", tmp_path)))
    sets, notes = back.write("dicom", made, tmp_path / "out")
    assert {one.SOPClassUID for one in sets} == {"1.2.840.10008.5.1.4.1.1.7"}
    assert {str(one.PatientName) for one in sets} == {""}
    assert any("neither a patient nor a study" in note for note in notes)
    after = back.only(tmp_path / "out")
    assert np.array_equal(back.real(after), back.real(made))
    assert after.geometry is not None
    assert made.geometry is not None
    assert np.allclose(after.geometry.patient, made.geometry.patient, atol=1e-6)


def test_a_volume_that_lost_its_place_does_not_claim_the_old_one(tmp_path: pathlib.Path) -> None:
    made = back.only(back.template("ct_axial", tmp_path))
    lost = dataclasses.replace(made, geometry=None)
    sets, _ = back.write("dicom", lost, tmp_path / "out")
    for one in sets:
        assert one.SOPClassUID == "1.2.840.10008.5.1.4.1.1.7"
        assert "ImagePositionPatient" not in one
        assert "PixelSpacing" in one
    half = back.with_voxels(lost, made.voxels()[:, ::2, ::2].copy())
    sets, _ = back.write("dicom", half, tmp_path / "half")
    assert not [one for one in sets if "PixelSpacing" in one]


def test_colours_become_a_capture(tmp_path: pathlib.Path) -> None:
    template = back.template("ct_axial", tmp_path)
    made = back.only(template)
    colours = np.stack([made.voxels() % 256, made.voxels() % 7, made.voxels() * 0], axis=-1).astype(np.uint8)
    rgb = back.with_voxels(made, colours, axes=(*made.axes, stack.Axis("rgb", np.arange(3))))
    sets, _ = back.write("dicom", rgb, tmp_path / "out")
    assert {(one.SOPClassUID, one.PhotometricInterpretation) for one in sets} == {
        ("1.2.840.10008.5.1.4.1.1.7", "RGB")
    }
    assert np.array_equal(np.stack([one.pixel_array for one in sets]), colours)
    assert {one.PatientID for one in sets} == {pydicom.dcmread(next(template.iterdir())).PatientID}


@pytest.mark.parametrize(
    "options",
    [
        {"series_number": "x"},
        {"description": "a\\b"},
        {"description": "x" * 65},
        {"type": "mpr"},
        {"window": "40"},
        {"date": "2026"},
        {"geometry": "other"},
        {"compress": "zip"},
        {"segments": "1=liver"},
        {"colour": "red"},
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, str]) -> None:
    assert registry.get("dicom").check(options)


def test_a_template_without_images_or_with_too_many_is_refused(tmp_path: pathlib.Path) -> None:
    made = back.stranger(back.only(back.template("ct_axial", tmp_path)))
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(errors.UsageError, match="holds no images"):
        back.write("dicom", made, tmp_path / "out", template=str(empty))
    both = tmp_path / "both"
    both.mkdir()
    for name in ("ct_signed", "ct_rle"):
        back.template(name, both)
    with pytest.raises(errors.UsageError, match="2 series of the template equally"):
        back.write("dicom", made, tmp_path / "out", template=str(both))


def test_a_template_may_be_an_archive(tmp_path: pathlib.Path) -> None:
    template = back.template("ct_axial", tmp_path)
    made = back.stranger(back.only(template))
    archive = shutil.make_archive(str(tmp_path / "template"), "zip", template)
    sets, _ = back.write("dicom", made, tmp_path / "out", template=archive)
    assert len(sets) == made.shape[0]
    assert {one.PatientID for one in sets} == {"GRID"}


def test_slices_of_an_earlier_result_do_not_stay_among_new_ones(tmp_path: pathlib.Path) -> None:
    made = back.only(back.template("ct_axial", tmp_path))
    assert made.rows is not None
    back.write("dicom", made, tmp_path / "out")
    fewer = back.with_voxels(made, made.voxels()[:2], rows=made.rows[:2])
    sets, _ = back.write("dicom", fewer, tmp_path / "out")
    assert len(sets) == 2
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(errors.UsageError, match="other things than slices"):
        back.write("dicom", made, tmp_path / "out")
    assert len(list((tmp_path / "out").iterdir())) == 3
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["ct_axial", "out"]


def test_voxels_that_lie_scattered_in_memory_are_written_as_they_are(tmp_path: pathlib.Path) -> None:
    made = back.only(back.template("ct_axial", tmp_path))
    scattered = np.asfortranarray(made.voxels()) > 3
    sets, _ = back.write(
        "dicom", back.with_voxels(made, scattered, slope=1.0, intercept=0.0), tmp_path / "out"
    )
    assert np.array_equal(np.stack([one.pixel_array for one in sets]), scattered)


def test_values_of_the_template_that_cannot_be_do_not_stop_it(tmp_path: pathlib.Path) -> None:
    template = back.template("ct_axial", tmp_path)
    for path in template.iterdir():
        content = path.read_bytes()
        for was, now in ((b"DERIVED", b"dErived"), (b"AXIAL", b"Ax!al"), (b"20260314", b"2026.3.4")):
            content = content.replace(was, now)
        path.write_bytes(content)
    sets, _ = back.write("dicom", back.only(template), tmp_path / "out")
    assert {one.ImageType[:2] == ["DERIVED", "SECONDARY"] for one in sets} == {True}


def test_a_file_of_the_template_that_went_away_leaves_nothing_behind(tmp_path: pathlib.Path) -> None:
    template = back.template("ct_axial", tmp_path)
    made = back.only(template)
    held = made.voxels()
    max(template.iterdir()).unlink()
    with pytest.raises(errors.BadData, match="cannot be read"):
        back.write("dicom", back.with_voxels(made, held), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["ct_axial"]


def test_a_slice_that_is_missing_is_not_made_up(tmp_path: pathlib.Path) -> None:
    before = back.only(back.template("ct_gap", tmp_path))

    made = registry.get("dicom").write(before, tmp_path / "out", {})
    one = registry.get("enhanced").write(before, tmp_path / "one", {})

    positions = [pydicom.dcmread(path).ImagePositionPatient[2] for path in sorted(made.paths[0].iterdir())]
    assert positions == [20, 23, 26, 32, 35]
    assert "1 empty places of missing slices became no objects" in made.notes
    assert "1 frames are the empty places of missing slices" in one.notes


def test_what_was_put_into_a_gap_is_written(tmp_path: pathlib.Path) -> None:
    before = back.only(back.template("ct_gap", tmp_path))
    filled = before.voxels().copy()
    filled[3] = filled[2] // 2 + filled[4] // 2

    made = registry.get("dicom").write(
        dataclasses.replace(before, voxels=lambda: filled, spans=None), tmp_path / "out", {}
    )

    assert len(list(made.paths[0].iterdir())) == 6
