"""DICOM to another format, back with the series as template, and to NIfTI: the same as at once."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Mapping
from typing import Any

import nibabel
import numpy as np
import pytest

from node import converting
from tests import series

OTHERS = ("metaimage", "nrrd", "matlab", "npz", "zarr")
SERIES = (
    "ct_oblique",
    "ct_tilted",
    "ct_signed",
    "ct_gap",
    "mr_time",
    "mr_echoes",
    "dwi_siemens",
    "mosaic_time",
    "enhanced_mr_time",
    "pet",
    "dose",
)
FEW = ("ct_tilted", "dwi_siemens", "pet", "enhanced_mr_time")  # in the other formats; all of them in the soak
PAIRS = [("nifti", name) for name in SERIES] + [
    (form, name) if name in FEW else pytest.param(form, name, marks=pytest.mark.soak)
    for form in OTHERS
    for name in SERIES
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return tmp_path_factory.mktemp("round")


def convert(to: str, out: pathlib.Path, source: pathlib.Path, template: str = "") -> list[pathlib.Path]:
    report = converting.convert(converting.Request(to, out, inputs=(str(source),), template=template))
    assert report.left == ()
    return [pathlib.Path(made.paths[0]) for made in report.made]


@functools.cache
def written(folder: pathlib.Path, name: str) -> pathlib.Path:
    """The series, and the NIfTI file that is made of it at once."""
    series.write(name, folder / "in" / name)
    (made,) = convert("nifti", folder / "once" / name, folder / "in" / name)
    return made


def content(path: pathlib.Path) -> Mapping[str, Any]:
    image = nibabel.load(path)
    beside = {
        suffix: np.loadtxt(path.with_suffix(suffix)).tolist()
        for suffix in (".bval", ".bvec")
        if path.with_suffix(suffix).exists()
    }
    return {"real": np.asanyarray(image.dataobj), "affine": image.affine, "beside": beside}


def same(one: pathlib.Path, other: pathlib.Path, *, hole: int | None = None) -> None:
    first, second = content(one), content(other)
    assert second["real"].shape == first["real"].shape
    if hole is not None:  # nobody knows what stands where a slice is missing: stored 0, whatever that is
        for found in (first, second):
            found["real"] = np.delete(found["real"], hole, axis=2)
    np.testing.assert_allclose(second["real"], first["real"], rtol=1e-6)
    np.testing.assert_allclose(second["affine"], first["affine"], atol=1e-4)
    assert second["beside"].keys() == first["beside"].keys()
    for suffix, values in first["beside"].items():
        np.testing.assert_allclose(second["beside"][suffix], values, atol=1e-5)


@pytest.mark.parametrize(("form", "name"), PAIRS)
def test_there_and_back_is_the_identity(form: str, name: str, folder: pathlib.Path) -> None:
    once = written(folder, name)
    source = folder / "in" / name

    (there,) = convert(form, folder / form / name, source)
    back = folder / "back" / form / name
    convert("dicom", back, there, template=str(source))
    (again,) = convert("nifti", folder / "again" / form / name, back)

    same(once, again, hole=3 if name == "ct_gap" else None)


@pytest.mark.parametrize("name", ["ct_oblique", "mr_time", "dwi_siemens", "enhanced_mr_time", "pet"])
def test_one_file_of_all_frames_is_the_same_volume(name: str, folder: pathlib.Path) -> None:
    once = written(folder, name)

    convert("enhanced", folder / "enhanced" / name, folder / "in" / name)
    (again,) = convert("nifti", folder / "of-enhanced" / name, folder / "enhanced" / name)

    same(once, again)


@pytest.mark.parametrize("name", ["rgb", "unplaced", "palette"])
def test_what_lies_nowhere_gets_no_place_on_the_way(name: str, folder: pathlib.Path) -> None:
    once = written(folder, name)
    back = folder / "back" / "unplaced" / name

    convert("dicom", back, once, template=str(folder / "in" / name))
    (again,) = convert("nifti", folder / "again" / "unplaced" / name, back)

    first, second = nibabel.load(once), nibabel.load(again)
    np.testing.assert_array_equal(np.asanyarray(second.dataobj), np.asanyarray(first.dataobj))
    assert [int(second.header[code]) for code in ("qform_code", "sform_code")] == [0, 0]
    np.testing.assert_allclose(second.header.get_zooms(), first.header.get_zooms())
