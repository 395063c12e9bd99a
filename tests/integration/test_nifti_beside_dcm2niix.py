"""NIfTI files in the layout of dcm2niix beside its own: the same voxels in their order, the same words."""

from __future__ import annotations

import json
import pathlib
import subprocess
from typing import Any

import nibabel
import numpy as np
import pytest

from node.formats import nifti
from node.loading import headers, voxels
from node.volume.sorting import sort
from tests import peers, series

NAMES = ("ct_oblique", "ct_sagittal", "mr_time", "dwi_siemens", "dwi_ge_row", "mosaic_time", "mosaic_dwi")
# What is written otherwise, and why.
OTHERWISE = {
    "AcquisitionTime",  # it writes 10:17:0.000000
    "ProtocolName",  # it repeats the description of the series there
    "ConversionSoftware",
    "ConversionSoftwareVersion",
    "MultibandAccelerationFactor",  # it counts slices that say no time as acquired together
}


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("dcm2niix")
    for name in NAMES:
        series.write(name, folder / "in" / name)
    words = ["-b", "y", "-z", "n", "-f", "%d", "-o", str(folder), str(folder / "in")]
    subprocess.run([peers.require("dcm2niix"), *words], check=True, capture_output=True, timeout=60)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_the_same_file(name: str, theirs: pathlib.Path, tmp_path: pathlib.Path) -> None:
    paths = [str(path) for path in series.write(name, tmp_path / "in")]
    made = voxels.image(sort.sort(headers.read(paths)).stacks[0])

    nifti.FORMAT.write(made, tmp_path / name, {"layout": "dcm2niix"})

    found, wanted = (nibabel.load(folder / f"{name}.nii") for folder in (tmp_path, theirs))
    np.testing.assert_allclose(found.affine, wanted.affine, atol=1e-4)
    assert np.array_equal(found.dataobj.get_unscaled(), wanted.dataobj.get_unscaled())
    assert np.array_equal(found.get_fdata(), wanted.get_fdata())
    np.testing.assert_allclose(found.header.get_zooms(), wanted.header.get_zooms(), atol=1e-4)
    for suffix in (".bval", ".bvec"):
        assert (tmp_path / f"{name}{suffix}").exists() == (theirs / f"{name}{suffix}").exists()
    if (tmp_path / f"{name}.bvec").exists():
        ours, others = (np.loadtxt(folder / f"{name}.bvec") for folder in (tmp_path, theirs))
        same = np.sign((ours * others).sum(axis=0))  # a direction and its opposite are the same weighting
        np.testing.assert_allclose(ours * same, others * np.abs(same), atol=1e-4)
    assert _otherwise(_sidecar(tmp_path, name), _sidecar(theirs, name)) == {}


def _sidecar(folder: pathlib.Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
    return found


def _otherwise(ours: dict[str, Any], others: dict[str, Any]) -> dict[str, Any]:
    """What it says and we do not, or say otherwise."""
    found = {}
    for key, value in others.items():
        if key in OTHERWISE:
            continue
        mine = ours.get(key)
        numbers = isinstance(value, int | float | list) and not isinstance(value, bool)
        if mine is None or not (_near(mine, value) if numbers else mine == value):
            found[key] = (mine, value)
    return found


def _near(mine: Any, other: Any) -> bool:
    if isinstance(other, list) and any(isinstance(one, str) for one in other):
        return bool(mine == other)
    return np.shape(mine) == np.shape(other) and bool(np.allclose(mine, other, rtol=1e-4, atol=1e-6))
