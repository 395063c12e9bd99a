"""Values that the header's stored bits or slope cannot hold never come out as other values in silence."""

from __future__ import annotations

import pathlib

import nibabel
import numpy as np
import pytest

from node import converting
from node.formats import registry
from node.volume import shown
from tests import series_base, series_plain


def written(folder: pathlib.Path, values: np.ndarray, *, signed: bool = False, slope: str = "1") -> str:
    """A CT whose slices all have these values, declared as 12 bits."""
    for at, one in enumerate(series_plain.ct("beyond")):
        series_base.pixels(one, values, stored=12, signed=signed)
        one.RescaleSlope = slope
        (folder / f"{at}.dcm").write_bytes(series_base.content(one))
    return str(folder)


def converted(to: str, source: str, out: pathlib.Path) -> converting.Report:
    return converting.convert(converting.Request(to=to, out=out, inputs=(source,)))


@pytest.mark.parametrize("to", ["nrrd", "metaimage", "matlab"])
def test_real_values_have_room_for_what_is_beyond_the_stored_bits(to: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / "in").mkdir()
    values = np.full((8, 10), 60000, "<u2")

    report = converted(to, written(tmp_path / "in", values), tmp_path / "out")

    read = registry.get(to).read([pathlib.Path(report.made[0].paths[0])])
    assert np.unique(read.voxels()).tolist() == [60000 - 1024]


def test_a_sign_that_was_not_carried_up_is_one_all_the_same(tmp_path: pathlib.Path) -> None:
    (tmp_path / "in").mkdir()
    values = np.array([-2048, -40, -1, 0, 2047, -1, -1, -1], "<i2").repeat(10).reshape(8, 10)
    bare = (values & 0x0FFF).astype("<u2")
    bare[0, 0] = 0x8000  # padding of 16 bits: nobody knows what 12 of them would mean
    values[0, 0] = -32768

    report = converted("nifti", written(tmp_path / "in", bare, signed=True), tmp_path / "out")

    read = registry.get("nifti").read([pathlib.Path(report.made[0].paths[0])])
    assert np.array_equal(read.voxels()[0], values)


@pytest.mark.parametrize("slope", ["1e300", "-1e300", "1e-40"])
def test_a_slope_that_no_format_holds_is_refused(slope: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / "in").mkdir()
    source = written(tmp_path / "in", np.ones((8, 10), "<u2"), slope=slope)

    report = converted("nifti", source, tmp_path / "out")

    assert report.code == 1
    assert "slope" in report.left[0].detail


@pytest.mark.parametrize("to", ["nifti", "nrrd", "metaimage"])
def test_a_slope_of_another_format_is_refused_where_it_is_too_large(to: str, tmp_path: pathlib.Path) -> None:
    nibabel.Nifti2Image(np.ones((3, 4, 5), "i2"), np.eye(4)).to_filename(tmp_path / "a.nii")
    content = bytearray((tmp_path / "a.nii").read_bytes())
    content[176:184] = np.array(1e300).tobytes()  # scl_slope
    (tmp_path / "a.nii").write_bytes(content)

    report = converted(to, str(tmp_path / "a.nii"), tmp_path / "out")

    assert report.code == 1
    assert "a slope of 1e+300" in report.left[0].detail or "of slope 1e+300" in report.left[0].detail


def test_the_largest_floats_are_shown_without_a_word() -> None:
    values = np.array([-1.7e308, 0, 1.7e308, np.nan])

    assert shown.guessed(values).greys(values).tolist()[::2] == [0, 255]
