"""One map of UIDs over a whole study: what referred to each other before does so afterwards, file by file."""

from __future__ import annotations

import pathlib
import sys

import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence

from node import cli
from node.dicom import uids
from tests import make

PR = "1.2.840.10008.5.1.4.1.1.11.1"
PRIVATE_CLASS = "1.3.12.2.1107.5.9.1"  # a vendor's own SOP class, which must stay what it is
CODING_SCHEME = "1.2.826.0.1.3680043.2.1143.7"


def reference(sop_class: str, instance: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class
    item.ReferencedSOPInstanceUID = instance
    return item


def presentation(study: str, series: str, images: list[make.Made]) -> Dataset:
    """A presentation state of images, with references at several depths and in several forms."""
    ds = Dataset()
    ds.SOPClassUID = PR
    ds.SOPInstanceUID = make.uid("study", "pr", 1)
    ds.StudyInstanceUID = study
    ds.SeriesInstanceUID = make.uid("study", "pr")
    ds.Modality = "PR"
    ds.PatientID = "SYN-0001"
    of_series = Dataset()
    of_series.SeriesInstanceUID = series
    of_series.ReferencedImageSequence = Sequence(reference(make.CT, one.sop_instance) for one in images)
    ds.ReferencedSeriesSequence = Sequence([of_series])
    area = Dataset()
    area.ReferencedImageSequence = Sequence(reference(make.CT, one.sop_instance) for one in images[:1])
    area.ReferencedImageSequence[0].is_undefined_length_sequence_item = True
    ds.DisplayedAreaSelectionSequence = Sequence([area])
    ds["DisplayedAreaSelectionSequence"].is_undefined_length = True
    code = Dataset()
    code.CodingSchemeUID = CODING_SCHEME
    code.ContextUID = "1.2.840.10008.6.1.1"
    ds.ConceptNameCodeSequence = Sequence([code])
    ds.RelatedGeneralSOPClassUID = PRIVATE_CLASS
    ds.FailedSOPInstanceUIDList = [one.sop_instance for one in images]
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    return ds


@pytest.fixture
def study(tmp_path: pathlib.Path) -> pathlib.Path:
    """Three CT images and a presentation state that refers to them."""
    folder = tmp_path / "study"
    images = make.series(3)
    make.files(folder / "ct", images)
    (folder / "pr").mkdir()
    ds = presentation(images[0].study, images[0].series, images)
    ds.save_as(folder / "pr" / "state.dcm", enforce_file_format=True)
    return folder


def remap(study: pathlib.Path, out: pathlib.Path, monkeypatch: pytest.MonkeyPatch, *more: str) -> None:
    monkeypatch.setattr(
        sys, "argv", ["dicom-node", "edit", str(study), "--remap-uids", "secret", "--out", str(out), *more]
    )
    code: object = 0  # it returns after a plain line, and exits after one that needs explaining
    try:
        cli.main()
    except SystemExit as end:
        code = end.code
    assert code == 0


def read(folder: pathlib.Path) -> tuple[list[Dataset], Dataset]:
    images = [pydicom.dcmread(path) for path in sorted((folder / "ct").iterdir())]
    return images, pydicom.dcmread(folder / "pr" / "state.dcm")


def test_references_still_lead_to_what_they_led_to(
    study: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remap(study, tmp_path / "new", monkeypatch)
    before, _ = read(study)
    images, state = read(tmp_path / "new")
    new = [image.SOPInstanceUID for image in images]
    assert not set(new) & {image.SOPInstanceUID for image in before}
    assert len(set(new)) == 3
    assert all(uids.strict(uid) for uid in new)
    series = state.ReferencedSeriesSequence[0]
    assert series.SeriesInstanceUID == images[0].SeriesInstanceUID
    assert [item.ReferencedSOPInstanceUID for item in series.ReferencedImageSequence] == new
    area = state.DisplayedAreaSelectionSequence[0]
    assert area.ReferencedImageSequence[0].ReferencedSOPInstanceUID == new[0]
    assert list(state.FailedSOPInstanceUIDList) == new
    assert {one.StudyInstanceUID for one in (*images, state)} == {state.StudyInstanceUID}
    assert state.StudyInstanceUID != before[0].StudyInstanceUID
    assert {image.FrameOfReferenceUID for image in images} == {images[0].FrameOfReferenceUID}
    for one in (*images, state):
        assert one.file_meta.MediaStorageSOPInstanceUID == one.SOPInstanceUID
        assert one.file_meta.MediaStorageSOPClassUID == one.SOPClassUID


def test_what_names_a_class_or_a_scheme_is_no_instance_and_stays(
    study: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remap(study, tmp_path / "new", monkeypatch)
    _, state = read(tmp_path / "new")
    assert state.SOPClassUID == PR
    assert state.RelatedGeneralSOPClassUID == PRIVATE_CLASS
    assert state.ConceptNameCodeSequence[0].CodingSchemeUID == CODING_SCHEME
    assert state.ReferencedSeriesSequence[0].ReferencedImageSequence[0].ReferencedSOPClassUID == make.CT


def test_the_map_is_the_same_whenever_and_in_whatever_part_it_is_applied(
    study: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remap(study, tmp_path / "whole", monkeypatch)
    remap(study / "pr", tmp_path / "parts" / "pr", monkeypatch)
    remap(study / "ct", tmp_path / "parts" / "ct", monkeypatch)
    for path in sorted((tmp_path / "whole").rglob("*.dcm")):
        other = tmp_path / "parts" / path.relative_to(tmp_path / "whole")
        assert other.read_bytes() == path.read_bytes()


def test_another_secret_makes_another_study(
    study: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remap(study, tmp_path / "one", monkeypatch)
    remap(study, tmp_path / "two", monkeypatch, "--remap-uids", "another")
    _, one = read(tmp_path / "one")
    _, two = read(tmp_path / "two")
    assert one.StudyInstanceUID != two.StudyInstanceUID
