"""What is written back as DICOM, judged by dicom3tools, and read by dcm2niix."""

from __future__ import annotations

import json
import pathlib
import subprocess

import numpy as np
import pytest

from node.volume import stack
from tests import peers
from tests.unit.formats import back

_CASES = [
    ("ct_oblique", "dicom"),
    ("ct_oblique", "sc"),
    ("ct_oblique", "enhanced"),
    ("ct_big_endian", "dicom"),
    ("mr_time", "dicom"),
    ("mr_time", "enhanced"),
    ("dwi_siemens", "dicom"),
    ("dwi_siemens", "enhanced"),
    ("mosaic_time", "dicom"),
    ("pet", "dicom"),
    ("dose", "dicom"),
    ("unplaced", "dicom"),
    ("enhanced_mr_dwi", "dicom"),
    ("palette", "dicom"),
]


def _faults(folder: pathlib.Path) -> set[str]:
    """What is wrong with the first and last file of a folder."""
    found: set[str] = set()
    files = sorted(folder.iterdir())
    for path in {files[0], files[-1]}:
        run = subprocess.run(
            [peers.require("dciodvfy"), str(path)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=peers.environment(),
        )
        found |= {line for line in run.stderr.splitlines() if line.startswith("Error")}
    return found


@pytest.mark.parametrize(("name", "format_"), _CASES)
def test_no_error_is_added_to_those_of_the_template(name: str, format_: str, tmp_path: pathlib.Path) -> None:
    template = back.template(name, tmp_path)
    back.write(format_, back.images(template)[0], tmp_path / "out")
    assert _faults(tmp_path / "out") <= _faults(template)


def test_floats_segments_and_results_of_nobody_are_valid_too(tmp_path: pathlib.Path) -> None:
    template = back.template("ct_axial", tmp_path)
    made = back.only(template)
    floats = back.with_voxels(made, (made.voxels() * 0.37).astype(np.float32))
    labels = back.with_voxels(made, (made.voxels() % 3).astype(np.uint8))
    colours = np.stack([made.voxels() % 256] * 3, axis=-1).astype(np.uint8)
    rgb = back.with_voxels(made, colours, axes=(*made.axes, stack.Axis("rgb", np.arange(3))))
    for at, (format_, one) in enumerate(
        [("dicom", floats), ("seg", labels), ("dicom", rgb), ("dicom", back.stranger(made))]
    ):
        back.write(format_, one, tmp_path / f"out{at}")
        assert _faults(tmp_path / f"out{at}") <= _faults(template), format_


@pytest.mark.parametrize(("name", "format_"), [("ct_oblique", "dicom"), ("mr_time", "enhanced")])
def test_dcm2niix_reads_the_same_voxels(name: str, format_: str, tmp_path: pathlib.Path) -> None:
    import nibabel

    template = back.template(name, tmp_path)
    made = back.only(template)
    back.write(format_, made, tmp_path / "out")
    there = tmp_path / "nifti"
    there.mkdir()
    subprocess.run(
        [peers.require("dcm2niix"), "-o", str(there), "-f", "it", "-i", "n", str(tmp_path / "out")],
        capture_output=True,
        timeout=60,
        check=True,
        env=peers.environment(),
    )
    read = nibabel.load(there / "it.nii")
    assert json.loads((there / "it.json").read_text())["Modality"] in ("CT", "MR")
    got = np.asarray(read.get_fdata())
    assert sorted(got.ravel()) == sorted(back.real(made).ravel())
    assert made.geometry is not None
    assert sorted(np.linalg.norm(read.affine[:3, :3], axis=0)) == pytest.approx(
        sorted(made.geometry.spacing), abs=1e-4
    )
