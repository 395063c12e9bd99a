"""A Rescale Slope that is none does not pass in silence."""

from __future__ import annotations

import pathlib

import pytest

from node.loading import headers, voxels
from node.volume import stack
from node.volume.sorting import sort
from tests import series_base, series_plain


@pytest.mark.parametrize("slope", ["0", "1e999", None])
def test_a_slope_that_cannot_be_one_is_taken_as_1_and_told(slope: str | None, tmp_path: pathlib.Path) -> None:
    made = series_plain.ct("slope")
    for at, one in enumerate(made):
        if slope is None:
            del one.RescaleSlope
        else:
            one.add_new(0x00281053, "DS", slope)
        (tmp_path / f"{at}.dcm").write_bytes(series_base.content(one))

    (found,) = sort.sort(headers.read([str(path) for path in sorted(tmp_path.iterdir())])).stacks
    image = voxels.image(found)

    assert (image.slope, image.intercept) == (1, -1024)
    assert ["no slope that can be one" in one.text for one in image.notes] == [True]
    assert image.notes[0].kind is stack.Kind.HEADER


def test_a_slope_that_can_be_one_is_not_spoken_of(tmp_path: pathlib.Path) -> None:
    for at, one in enumerate(series_plain.ct("slope")):
        (tmp_path / f"{at}.dcm").write_bytes(series_base.content(one))

    (found,) = sort.sort(headers.read([str(path) for path in sorted(tmp_path.iterdir())])).stacks

    assert voxels.image(found).notes == ()
