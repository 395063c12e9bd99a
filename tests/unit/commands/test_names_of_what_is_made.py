"""Names of volumes: safe whatever a header says, numbered where they meet, never another's place."""

from __future__ import annotations

import os
import pathlib

import pytest

from node import errors, outputs


@pytest.mark.parametrize(
    ("number", "description", "label", "name"),
    [
        (3, "T1 MPRAGE", "", "003-T1_MPRAGE"),
        (float("nan"), "", "", "series"),
        (12, "../../etc/passwd", "", "012-_.._etc_passwd"),
        (-4, "x", "echo 2", "x-echo_2"),
        (1e30, "\0..", "", "series"),
        (7, "a" * 300, "", "007-" + "a" * 80),
    ],
)
def test_a_header_gives_a_name_that_is_one_part_of_a_path(
    number: float, description: str, label: str, name: str
) -> None:
    made = outputs.usual(number, description, label)
    assert "/" not in made
    assert not made.startswith(".")
    assert made == name


def test_a_pattern_makes_folders_and_keeps_the_label() -> None:
    texts = {"StudyDate": ("20260102",), "SeriesNumber": ("7",), "PatientID": ("../x",)}
    made = outputs.patterned("{StudyDate}/{PatientID}/{SeriesNumber:03}", texts, "phase")
    assert made.parts[0] == "20260102"
    assert len(made.parts) == 3
    assert ".." not in made.parts
    assert made.name == "007-phase"
    assert outputs.keywords("{StudyDate}/") == ("StudyDate",)
    with pytest.raises(errors.UsageError):
        outputs.keywords("{StudyDate}/..")


def test_names_that_meet_are_numbered() -> None:
    name = pathlib.PurePath("a/b")
    assert outputs.free(name, set()) == name
    assert outputs.free(name, {name}) == pathlib.PurePath("a/b-2")
    assert outputs.free(name, {name}, lambda one: one.name == "b-2") == pathlib.PurePath("a/b-3")


def test_a_name_is_taken_by_the_endings_of_its_format(tmp_path: pathlib.Path) -> None:
    (tmp_path / "scan.nii.gz").touch()
    (tmp_path / "scan.nrrd").symlink_to("nowhere")
    endings = (".nii", ".nii.gz")
    assert outputs.there(tmp_path / "scan", endings) == [tmp_path / "scan.nii.gz"]
    assert outputs.there(tmp_path / "scan", (".nrrd",)) == [tmp_path / "scan.nrrd"]
    assert outputs.there(tmp_path / "scan", (".mha", "")) == []
    assert outputs.there(tmp_path / "no" / "where", endings) == []


def test_nothing_takes_the_place_of_a_file_unless_it_is_to(tmp_path: pathlib.Path) -> None:
    new, old = tmp_path / "new", tmp_path / "old"
    new.write_text("new")
    old.write_text("old")
    with pytest.raises(errors.UsageError, match="nothing is overwritten"):
        outputs.move(new, old, replace=False)
    assert old.read_text() == "old"
    outputs.move(new, old, replace=True)
    assert old.read_text() == "new"
    assert not new.exists()


def test_a_folder_takes_the_place_of_a_folder(tmp_path: pathlib.Path) -> None:
    with outputs.work(tmp_path) as apart:
        (apart / "z").mkdir()
        (apart / "z" / "new").touch()
        (tmp_path / "z").mkdir()
        (tmp_path / "z" / "old").touch()
        with pytest.raises(errors.UsageError):
            outputs.move(apart / "z", tmp_path / "z", replace=False)
        outputs.move(apart / "z", tmp_path / "z", replace=True)
    assert os.listdir(tmp_path / "z") == ["new"]
    assert os.listdir(tmp_path) == ["z"]


def test_what_a_kill_left_is_removed_and_what_is_at_work_is_not(tmp_path: pathlib.Path) -> None:
    left = tmp_path / f"{outputs.WORK}dead"
    left.mkdir()
    (left / "half.nii").touch()
    with outputs.work(tmp_path) as apart:
        assert outputs.sweep(tmp_path) == 1
        assert apart.is_dir()
    assert os.listdir(tmp_path) == []


def test_a_record_names_what_lies_below_the_folder_alone(tmp_path: pathlib.Path) -> None:
    record = outputs.Record(tmp_path / "made" / "one.json")
    assert record.read() == frozenset()
    record.write(["b/c.nii", "a.nii"])
    assert record.read() == {"a.nii", "b/c.nii"}
    record.write(["../out.nii", "/etc/passwd", "a/../../b", "in.nii"])
    assert record.read() == {"in.nii"}
    for broken in ("", "[]", '{"files": 3}', '{"files": [1, null]}'):
        (tmp_path / "made" / "one.json").write_text(broken)
        assert record.read() == frozenset()
