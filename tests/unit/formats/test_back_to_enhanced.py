"""Series become one multi-frame object, or a segmentation of one file, and are read again."""

from __future__ import annotations

import dataclasses
import pathlib
import warnings

import numpy as np
import pydicom
import pytest

from node import errors
from node.volume import onto, stack
from tests.unit.formats import back


@pytest.mark.parametrize(
    "name",
    [
        *("ct_oblique", "ct_unequal", "mr_time", "mr_flip", "mr_inversion", "dwi_philips", "mosaic_time"),
        *("pet_time", "enhanced_ct"),
    ],
)
def test_a_series_becomes_one_object_and_is_the_same_volume(name: str, tmp_path: pathlib.Path) -> None:
    before = back.only(back.template(name, tmp_path))
    (made,), _ = back.write("enhanced", before, tmp_path / "out")
    after = back.only(tmp_path / "out")
    assert after.shape == before.shape
    assert np.array_equal(back.real(after), back.real(before))
    assert before.geometry is not None
    assert after.geometry is not None
    assert np.allclose(after.geometry.patient, before.geometry.patient, atol=1e-4)
    assert [axis.name for axis in after.axes] == [axis.name for axis in before.axes]
    indices = [
        tuple(item.FrameContentSequence[0].DimensionIndexValues)
        for item in made.PerFrameFunctionalGroupsSequence
    ]
    assert len(set(indices)) == made.NumberOfFrames == len(indices)


def test_its_frames_name_what_they_were_made_of(tmp_path: pathlib.Path) -> None:
    template = back.template("ct_axial", tmp_path)
    was = {str(one.SOPInstanceUID): one for one in map(pydicom.dcmread, template.iterdir())}
    (made,), _ = back.write("enhanced", back.only(template), tmp_path / "out")
    for item in made.PerFrameFunctionalGroupsSequence:
        source = item.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        assert item.PlanePositionSequence[0].ImagePositionPatient == was[source].ImagePositionPatient
    evidence = made.SourceImageEvidenceSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert {item.ReferencedSOPInstanceUID for item in evidence} == set(was)


def test_a_series_of_an_enhanced_class_stays_in_it(tmp_path: pathlib.Path) -> None:
    template = back.template("enhanced_mr_time", tmp_path)
    (before,) = map(pydicom.dcmread, template.iterdir())
    (made,), _ = back.write("dicom", back.only(template), tmp_path / "out")
    assert made.SOPClassUID == before.SOPClassUID
    assert made.SOPInstanceUID != before.SOPInstanceUID
    frames = {
        item.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber
        for item in made.PerFrameFunctionalGroupsSequence
    }
    assert frames == set(range(1, int(before.NumberOfFrames) + 1))


def test_what_no_enhanced_class_holds_is_refused(tmp_path: pathlib.Path) -> None:
    ct = back.only(back.template("ct_axial", tmp_path))
    for made, options, why in (
        (back.stranger(ct), {}, "takes a CT, MR or PET series"),
        (ct, {"keep_uids": "yes"}, "keep_uids"),
        (dataclasses.replace(ct, geometry=None), {}, "where the slices lie"),
        (back.only(back.template("nm", tmp_path)), {}, "modality 'NM'"),
    ):
        with pytest.raises(errors.UsageError, match=why):
            back.write("enhanced", made, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def _labels(shape: tuple[int, ...]) -> np.ndarray:
    held = np.zeros(shape, np.uint8)
    held[1:3, 2:5, 2:5] = 1
    held[2:, 5:, 6:] = 7
    return held


@pytest.mark.parametrize("name", ["ct_oblique", "enhanced_mr"])
def test_a_label_map_becomes_segments_where_they_were(name: str, tmp_path: pathlib.Path) -> None:
    import highdicom

    template = back.template(name, tmp_path)
    made = back.only(template)
    labels = _labels(made.shape)
    assert made.geometry is not None
    turn = onto.Fit((2, 1, 0), (True, True, False), (0, 0, 0))
    turned = back.with_voxels(
        back.stranger(made),
        np.ascontiguousarray(turn.view(labels)),
        geometry=turn.grid(made.geometry, labels.shape),
    )
    (found,), notes = back.write(
        "seg", turned, tmp_path / "out", template=str(template), segments="1=liver,7=odd one"
    )
    assert notes == ("labels were counted anew from 1 to 2",)
    assert [item.SegmentLabel for item in found.SegmentSequence] == ["liver", "odd one"]
    (source, *_) = map(pydicom.dcmread, sorted(template.iterdir()))
    assert found.StudyInstanceUID == source.StudyInstanceUID
    assert found.FrameOfReferenceUID == source.FrameOfReferenceUID
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read = highdicom.seg.segread(tmp_path / "out" / "00001.dcm").get_volume(combine_segments=True)
    there = np.argwhere(read.array)
    places = read.map_indices_to_reference(there)
    inverse = np.linalg.inv(made.geometry.patient)
    index = np.rint((inverse @ np.c_[places, np.ones(len(places))].T)[:3].T).astype(int)
    got = np.zeros(made.shape, np.uint8)
    got[index[:, 2], index[:, 1], index[:, 0]] = read.array[tuple(there.T)]
    assert np.array_equal(got, np.select([labels == 1, labels == 7], [1, 2]))


def test_the_same_labels_make_the_same_file(tmp_path: pathlib.Path) -> None:
    made = back.only(back.template("ct_axial", tmp_path))
    labels = back.with_voxels(made, _labels(made.shape).astype(np.float32), slope=1.0, intercept=0.0)
    for name in ("one", "two"):
        back.write("seg", labels, tmp_path / name)
    first, second = ((tmp_path / name / "00001.dcm").read_bytes() for name in ("one", "two"))
    assert first == second


def test_what_is_no_label_map_is_refused(tmp_path: pathlib.Path) -> None:
    made = back.only(back.template("ct_axial", tmp_path))
    half = np.full(made.shape, 0.5, np.float32)
    below = np.full(made.shape, -1, np.int16)
    none = np.zeros(made.shape, np.uint8)
    time = stack.Axis("time", np.arange(2.0), "s")
    two = back.with_voxels(made, np.stack([none, none]), axes=(time, *made.axes))
    for one, why in (
        (back.with_voxels(made, half), "no labels"),
        (back.with_voxels(made, below), "no labels"),
        (back.with_voxels(made, none), "is empty"),
        (two, "this one has time too"),
        (back.with_voxels(back.stranger(made), none), "belongs to a series"),
    ):
        with pytest.raises(errors.UsageError, match=why):
            back.write("seg", one, tmp_path / "out")
    assert not (tmp_path / "out").exists()
