"""`convert` where streams are closed, disks are full, folders cannot be read."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

from node import converting, errors
from node.loading import headers
from tests import series


def convert(*words: str, then: str) -> subprocess.CompletedProcess[bytes]:
    """Run it from a shell that does something with its streams."""
    line = [sys.executable, "-m", "node", "convert", *words]
    shell = ["sh", "-c", f'"$@" {then}', "sh"]
    return subprocess.run([*shell, *line], check=False, capture_output=True, timeout=60)


def test_closed_streams_change_nothing(tmp_path: pathlib.Path) -> None:
    series.write("ct_axial", tmp_path / "in")

    ended = convert(str(tmp_path / "out.nii"), str(tmp_path / "in"), then="<&- >&- 2>&-")

    assert ended.returncode == 0
    assert (tmp_path / "out.nii").stat().st_size == 352 + 5 * 8 * 10 * 2


def test_a_full_disk_behind_the_output_is_a_sentence(tmp_path: pathlib.Path) -> None:
    series.write("ct_axial", tmp_path / "in")

    ended = convert(str(tmp_path / "out.nii"), str(tmp_path / "in"), then=">/dev/full")

    assert ended.returncode == 1
    assert ended.stderr.startswith(b"dicom-node: what is to be said cannot be written (")


def test_an_archive_as_target_is_refused(tmp_path: pathlib.Path) -> None:
    asked = converting.Request(to="dicom", out=tmp_path / "out.zip", inputs=(str(tmp_path),))

    with pytest.raises(errors.UsageError, match="archives are read, and not written"):
        converting.convert(asked)


@pytest.mark.parametrize(
    ("name", "to"), [("out.nrrd", "nifti"), ("out.nii.gz", "dicom"), ("out.zarr", "npz")]
)
def test_an_ending_that_promises_another_format_is_refused(
    name: str, to: str, tmp_path: pathlib.Path
) -> None:
    series.write("ct_single", tmp_path / "in")
    asked = converting.Request(to=to, out=tmp_path / name, inputs=(str(tmp_path / "in"),))

    with pytest.raises(errors.UsageError, match=f"--to says {to}"):
        converting.convert(asked)

    assert not (tmp_path / name).exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_read_is_told(tmp_path: pathlib.Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)

    found = headers.read(list(headers.walk([str(tmp_path)])))

    assert [(one.name, one.why.value) for one in found.skipped] == [(str(closed), "unreadable")]
