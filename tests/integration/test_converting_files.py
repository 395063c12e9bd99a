"""`dicom-node convert` over folders as they are: what is made, what is left out and why, the exit code."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import zipfile

import nibabel
import numpy as np
import pydicom
import pytest

from node import converting, errors, outputs, receive
from node.commands import converting as command
from node.formats import base, registry
from node.volume import image
from tests import series, stored


def _run(capsys: pytest.CaptureFixture[str], *words: str, **how: object) -> tuple[int, str, str]:
    """The exit code, and what was said on both streams."""
    code = 0
    try:
        command.run(list(words), **how)  # type: ignore[arg-type]
    except SystemExit as ended:
        code = int(ended.code or 0)
    except errors.UsageError as error:
        code = 2
        print(error, file=sys.stderr)
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.fixture
def out(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "out"


def test_a_series_becomes_a_file(
    tmp_path: pathlib.Path, out: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    series.write("ct_axial", tmp_path / "in")
    code, said, left = _run(capsys, str(out), str(tmp_path / "in"), to="nifti")
    (path,) = out.glob("*.nii")
    assert (code, left) == (0, "")
    assert said == f"{path}: 5x8x10, slice row column, uint16\n"
    made = nibabel.load(path)
    assert made.shape == (10, 8, 5)
    # Sorted rightly the voxels count upwards.
    assert np.array_equal(np.asarray(made.dataobj).T.ravel(), np.arange(400) - 1024)
    assert not [name for name in os.listdir(out) if name.startswith(".")]


def test_a_folder_with_everything_bad_says_what_was_left_out(
    tmp_path: pathlib.Path, out: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("mr_time", "truncated", "not_dicom", "no_frames", "hostile", "ct_mixed"):
        series.write(name, tmp_path / "in" / name)
    code, _, left = _run(capsys, str(out), str(tmp_path / "in"), to="nifti")
    assert code == 3
    for reason in ("damaged", "not DICOM", "no pixels", "reaches beyond the end of the file"):
        assert reason in left
    made = sorted(path.name for path in out.glob("*.nii"))
    assert len([name for name in made if "mr_time" in name]) == 1
    assert len([name for name in made if "ct_mixed" in name]) == 2


def test_nothing_but_bad_files_makes_nothing(
    tmp_path: pathlib.Path, out: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    series.write("no_frames", tmp_path / "in")
    code, said, left = _run(capsys, str(out), str(tmp_path / "in"), to="nifti", as_json=True)
    assert code == 1
    assert json.loads(said)["made"] == []
    assert {one["why"] for one in json.loads(said)["left_out"]} == {"no pixels", "damaged"}
    assert left == ""
    assert "nothing was made" in _run(capsys, str(out), str(tmp_path / "in"), to="nifti")[2]
    assert not out.exists()


def test_what_nothing_decodes_is_left_out_and_the_rest_is_made(
    tmp_path: pathlib.Path, out: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    series.write("ct_axial", tmp_path / "in")
    for path in series.write("ct_rle", tmp_path / "in" / "film"):
        one = pydicom.dcmread(path)
        one.file_meta.TransferSyntaxUID = pydicom.uid.MPEG2MPML
        one.save_as(path)
    code, said, left = _run(capsys, str(out), str(tmp_path / "in"), to="nifti")
    assert (code, said.count("\n")) == (3, 1)
    assert "unsupported" in left
    assert len(list(out.glob("*.nii"))) == 1
    code, _, left = _run(capsys, str(tmp_path / "film"), str(tmp_path / "in" / "film"), to="nifti")
    assert code == 1
    assert "nothing was made" in left


def test_notes_for_people_beside_images_are_no_loss(
    tmp_path: pathlib.Path, out: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    series.write("ct_axial", tmp_path / "in")
    (tmp_path / "in" / "README.txt").write_text("read me")
    assert _run(capsys, str(out), str(tmp_path / "in"), to="nifti")[0] == 0
    # Named itself, it is missed.
    files = [str(path) for path in (tmp_path / "in").iterdir()]
    assert _run(capsys, str(tmp_path / "other"), *files, to="nifti")[0] == 3


def test_nothing_is_overwritten_unless_it_is_asked(
    tmp_path: pathlib.Path, out: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    series.write("ct_axial", tmp_path / "in")
    series.write("ct_signed", tmp_path / "in")
    assert _run(capsys, str(out), str(tmp_path / "in"), to="nifti")[0] == 0
    first, second = sorted(out.glob("*.nii"))
    first.unlink()
    second.write_bytes(b"mine")
    code, _, said = _run(capsys, str(out), str(tmp_path / "in"), to="nifti")
    assert (code, second.read_bytes()) == (2, b"mine")
    assert "nothing is overwritten" in said
    assert not first.exists()  # refused before anything is made
    assert _run(capsys, str(out), str(tmp_path / "in"), to="nifti", force=True)[0] == 0
    assert first.exists()
    assert second.stat().st_size > 400


@pytest.mark.parametrize(
    ("words", "how", "said"),
    [
        (("OUT",), {"to": "nifti"}, "stands alone"),
        (("OUT", "IN"), {"to": "tiff"}, "there is no format 'tiff'"),
        (("OUT", "GONE"), {"to": "nifti"}, "GONE' does not exist"),
        (("OUT", "IN"), {}, "say what it is to become"),
        (("OUT", "IN"), {"to": "nifti", "series": ["77"]}, "there is no series '77'"),
        (("OUT", "IN"), {"to": "nifti", "stacks": ["9"]}, "there is no stack 9: 1 were found"),
        (("OUT", "IN"), {"to": "nifti", "stacks": ["one"]}, "--stack 'one'"),
        (("OUT", "IN"), {"to": "nifti", "scaling": "loud"}, "scaling 'loud'"),
        (("OUT", "IN"), {"to": "nifti", "given": ["level"]}, "write KEY=VALUE"),
        (("OUT", "IN"), {"to": "nifti", "given": ["colour=red"]}, "--to nifti"),
        (("OUT", "IN"), {"to": "nifti", "name": "{SeriesNumber}/.."}, "no part of a path"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    how: dict[str, object],
    said: str,
) -> None:
    series.write("ct_axial", tmp_path / "IN")
    code, _, error = _run(capsys, *(str(tmp_path / word) for word in words), **how)
    assert code == 2
    assert said in error
    assert not (tmp_path / "OUT").exists()


def test_one_file_is_named_by_its_ending(
    tmp_path: pathlib.Path, out: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    series.write("ct_axial", tmp_path / "in")
    path = tmp_path / "made.nii.gz"
    assert _run(capsys, str(path), str(tmp_path / "in"))[0] == 0
    assert np.array_equal(np.asarray(nibabel.load(path).dataobj).T.ravel(), np.arange(400) - 1024)
    series.write("ct_localizer", tmp_path / "three")
    code, _, said = _run(capsys, str(tmp_path / "three.nii"), str(tmp_path / "three"))
    assert code == 2
    assert "3 volumes are found" in said
    assert _run(capsys, str(tmp_path / "three.nii"), str(tmp_path / "three"), stacks=["2"])[0] == 0


def test_names_by_a_pattern_are_numbered_where_they_meet(
    tmp_path: pathlib.Path, out: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    series.write("ct_axial", tmp_path / "in" / "a")
    series.write("ct_signed", tmp_path / "in" / "b")
    assert _run(capsys, str(out), str(tmp_path / "in"), to="nrrd", name="{Modality}/all")[0] == 0
    assert sorted(path.name for path in (out / "CT").iterdir()) == ["all-2.nrrd", "all.nrrd"]


def test_an_archive_and_a_file_of_another_format_are_read(
    tmp_path: pathlib.Path, out: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for path in series.write("ct_axial", tmp_path / "in"):
            archive.write(path, path.name)
    assert _run(capsys, str(out / "a.nii"), str(tmp_path / "in.zip"))[0] == 0
    assert _run(capsys, str(out / "b.nrrd"), str(out / "a.nii"))[0] == 0
    again = registry.get("nrrd").read([out / "b.nrrd"])
    assert np.array_equal(again.voxels().ravel(), np.arange(400) - 1024)


def test_volumes_that_lie_in_a_folder_are_made_into_other_formats_alone(
    tmp_path: pathlib.Path, out: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    series.write("ct_axial", tmp_path / "in")
    assert _run(capsys, str(tmp_path / "in" / "a.zarr"), str(tmp_path / "in"))[0] == 0
    code, said, left = _run(capsys, str(out), str(tmp_path / "in"), to="zarr")
    assert code == 0
    assert said.count("\n") == 1
    assert "it lay there, and is zarr already" in left
    code, said, left = _run(capsys, str(out), str(tmp_path / "in"), to="npz")
    assert (code, left) == (0, "")
    assert {path.name for path in out.glob("*.npz")} >= {"a.npz"}
    assert len(list(out.glob("*.npz"))) == 2


def test_a_volume_becomes_a_series_by_its_template(
    tmp_path: pathlib.Path, out: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = series.write("ct_axial", tmp_path / "in")
    assert _run(capsys, str(out / "a.nii"), str(tmp_path / "in"))[0] == 0
    code, _, left = _run(
        capsys, str(out / "back"), str(out / "a.nii"), to="dicom", template=str(tmp_path / "in")
    )
    assert (code, left) == (0, "")
    before = pydicom.dcmread(paths[0])
    made = [pydicom.dcmread(path) for path in (out / "back").rglob("*.dcm")]
    assert len(made) == 5
    for one in made:
        assert one.PatientID == before.PatientID
        assert one.StudyInstanceUID == before.StudyInstanceUID
        assert one.SeriesInstanceUID != before.SeriesInstanceUID


def test_what_has_gaps_is_left_out_on_request(
    tmp_path: pathlib.Path, out: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    series.write("ct_gap", tmp_path / "in")
    code, _, said = _run(capsys, str(out), str(tmp_path / "in"), to="nifti", whole=True)
    assert code == 1
    assert "has gaps" in said
    code, said, _ = _run(capsys, str(out), str(tmp_path / "in"), to="nifti")
    assert code == 0
    assert "GAPS" in said


def test_what_the_node_holds_is_converted_and_serves_as_a_template(
    tmp_path: pathlib.Path, out: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = stored.data(tmp_path / "data")
    paths = series.write("ct_axial", tmp_path / "in")
    with stored.receiver(data) as receiver:
        for path in paths:
            receiver.import_file(path, receive.Sender("", "", "import", "", "x"))
    with stored.database(data) as database:
        stored.file_all(data, database)
    uid = str(pydicom.dcmread(paths[0]).SeriesInstanceUID)
    assert _run(capsys, str(out / "a.nii"), uid, data=data.root)[0] == 0
    assert np.array_equal(np.asarray(nibabel.load(out / "a.nii").dataobj).T.ravel(), np.arange(400) - 1024)
    back = {"to": "dicom", "template": f"dicom-node://{uid}", "data": data.root}
    assert _run(capsys, str(out / "back"), str(out / "a.nii"), **back)[0] == 0
    assert len(list((out / "back").rglob("*.dcm"))) == 5
    with pytest.raises(errors.NotFound, match=r"no study or series 1\.2\.3"):
        command.run([str(out), "1.2.3"], to="nifti", data=data.root)


class _Killed:
    """A format whose process dies when half of a volume is written."""

    name = "killed"
    suffixes = (".half",)
    about = "for tests"

    def check(self, _: object) -> None: ...

    def write(
        self, made: image.Image, target: pathlib.Path, _: object, __: base.Progress | None = None
    ) -> base.Written:
        pathlib.Path(f"{target}.half").write_bytes(bytes(made.nbytes // 2))
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    def read(self, _: object) -> image.Image:
        raise AssertionError


def test_a_kill_in_the_middle_leaves_no_file_and_the_next_one_tidies(
    tmp_path: pathlib.Path, out: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    series.write("ct_axial", tmp_path / "in")
    script = (
        "import sys, pathlib\n"
        "from node import converting\n"
        "from tests.integration import test_converting_files as here\n"
        "converting.registry.get = lambda _: here._Killed()\n"
        "converting.convert(converting.Request('killed', pathlib.Path(sys.argv[1]), (sys.argv[2],)))\n"
    )
    root = pathlib.Path(__file__).parents[2]
    ended = subprocess.run(
        [sys.executable, "-c", script, str(out), str(tmp_path / "in")], cwd=root, check=False
    )
    assert ended.returncode == -signal.SIGKILL
    (left,) = os.listdir(out)
    assert left.startswith(outputs.WORK)
    assert _run(capsys, str(out), str(tmp_path / "in"), to="nifti")[0] == 0
    assert not [name for name in os.listdir(out) if name.startswith(".")]


def test_a_report_is_the_same_after_a_way_as_text(tmp_path: pathlib.Path, out: pathlib.Path) -> None:
    series.write("truncated", tmp_path / "in")
    report = converting.convert(converting.Request("nifti", out, (str(tmp_path / "in"),)))
    assert report.code == 3
    again = converting.Report.of(json.loads(json.dumps(report.as_json())))
    assert (again.made, again.left, again.code) == (report.made, report.left, 3)
