"""Pictures of volumes: windows, sheets, planes, and what a terminal shows of them."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re

import numpy as np
import PIL.Image
import pydicom
import pytest
from pydicom import dataset, uid

from node import errors
from node.commands import painting
from node.dicom import scan
from node.formats import picture, registry
from node.volume import geometry, shown
from tests.unit.formats import images


def header(**elements: object) -> scan.Table:
    """A header with these elements."""
    made = dataset.Dataset()
    for name, value in elements.items():
        setattr(made, name, value)
    from pydicom import filebase, filewriter

    out = filebase.DicomBytesIO()
    out.is_little_endian, out.is_implicit_VR = True, False
    filewriter.write_dataset(out, made)
    return scan.scan(out.getvalue(), uid.ExplicitVRLittleEndian)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_a_window_makes_the_greys_that_the_standard_says(function: str) -> None:
    values = np.arange(-300, 400, 7)
    found = shown.window(
        header(WindowCenter=["40", "1"], WindowWidth=["400", "2"], VOILUTFunction=function), values
    )
    reference = dataset.Dataset()
    reference.WindowCenter, reference.WindowWidth, reference.VOILUTFunction = 40, 400, function
    reference.BitsStored, reference.PixelRepresentation = 16, 1
    reference.PhotometricInterpretation = "MONOCHROME2"
    wanted = pydicom.pixels.apply_windowing(values.astype(np.int16), reference)
    wanted = (wanted - (-32768)) / 65535 * 255
    assert np.abs(found.greys(values).astype(float) - wanted).max() <= 1


def test_monochrome1_is_white_where_it_is_least() -> None:
    found = shown.window(
        header(WindowCenter="50", WindowWidth="100", PhotometricInterpretation="MONOCHROME1"), np.zeros(1)
    )
    assert found.greys(np.array([-1000, 1000])).tolist() == [255, 0]


def test_a_voi_table_serves_where_there_is_no_window() -> None:
    item = dataset.Dataset()
    item.add_new(0x00283002, "US", [4, 0, 8])
    item.add_new(0x00283006, "US", [0, 10, 20, 255])
    found = shown.window(header(VOILUTSequence=[item]), np.zeros(1))
    assert found.greys(np.array([0, 1, 2, 3, 99])).tolist() == [0, 10, 20, 255, 255]


@pytest.mark.parametrize("width", ["0", "-5", "nan", "abc"])
def test_a_window_that_cannot_be_is_passed_over(width: str) -> None:
    values = np.linspace(0, 1000, 500)
    raw = header(WindowCenter="40")
    assert shown.window(raw, values).greys(values).max() == 255
    found = shown._number(width)
    assert found is None or found <= 0


@pytest.mark.parametrize("values", [np.zeros(9), np.full(9, np.nan), np.array([np.inf, 1.0, 2.0, -np.inf])])
def test_values_without_a_range_are_shown_too(values: np.ndarray) -> None:
    made = shown.guessed(values).greys(values.reshape(-1, 1))
    assert made.dtype == np.uint8


def test_pixels_become_square() -> None:
    values = np.arange(12, dtype=float).reshape(3, 4)
    seen = shown.Window(6, 12)
    assert shown.plane(values, seen, 2.0, 1.0).shape == (6, 4)
    assert shown.plane(values, seen, 1.0, 3.0).shape == (3, 12)
    assert shown.plane(values, seen, 0.0, 1.0).shape == (3, 4)


def test_a_smaller_picture_has_the_mean_of_what_it_covers() -> None:
    made = np.array([[0, 10, 20, 30], [0, 10, 20, 30]], np.uint8)
    assert shown.fitted(made, 1, 2).tolist() == [[5, 25]]
    assert shown.fitted(made, 4, 8).shape == (4, 8)


def test_a_sheet_has_its_slices_in_order() -> None:
    parts = [np.full((2, 3), number, np.uint8) for number in range(1, 6)]
    made = shown.sheet(parts, 3)
    assert made.shape == (6, 13)
    assert [made[0, 0], made[0, 5], made[0, 10], made[4, 0], made[4, 5], made[4, 10]] == [1, 2, 3, 4, 5, 0]


def test_the_sides_of_an_axial_slice_are_named() -> None:
    axial = geometry.Geometry((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))
    assert shown.letters(axial) == ("R", "L", "A", "P")
    coronal = geometry.Geometry((0, 0, 0), (1, 0, 0), (0, 0, -1), (0, 1, 0))
    assert shown.letters(coronal) == ("R", "L", "H", "F")


@pytest.mark.parametrize("name", ["png", "jpeg"])
@pytest.mark.parametrize("colour", [True, False])
@pytest.mark.parametrize("show", ["sheet", "slice", "planes", "all"])
def test_others_see_the_picture(show: str, colour: bool, name: str, tmp_path: pathlib.Path) -> None:
    made = images.made(dtype="u1", colour=colour)
    one = registry.get(name)
    written = one.write(made, tmp_path / "vol", {"show": show})
    assert len(written.paths) == (4 if show == "all" else 1)
    (wanted, *_) = picture.pictures(made, picture.View(show))
    with PIL.Image.open(written.paths[0]) as found:
        assert found.mode == ("RGB" if colour else "L")
        assert found.size == wanted.shape[1::-1]
        if name == "png":
            assert np.array_equal(np.asarray(found), wanted)
    again = one.read(written.paths)
    assert again.geometry is None
    assert again.shape[:1] == (len(written.paths),)
    assert again.colour is colour


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"show": "film"}, "'film'"),
        ({"slice": "0"}, "'0'"),
        ({"window": "40"}, "'40'"),
        ({"window": "40,nan"}, "nan"),
        ({"window": "40,-1"}, "-1"),
        ({"colour": "hot"}, "'colour'"),
    ],
)
def test_what_cannot_be_shown_is_named(options: dict[str, str], names: str) -> None:
    assert names in str(registry.get("png").check(options))


def test_a_slice_that_is_not_there_is_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.UsageError, match="no slice 9; there are 4"):
        registry.get("png").write(images.made(), tmp_path / "vol", {"slice": "9"})


def test_what_is_no_picture_is_named(tmp_path: pathlib.Path) -> None:
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    with pytest.raises(errors.BadData, match=r"x\.png"):
        registry.get("png").read([tmp_path / "x.png"])


@pytest.mark.parametrize(
    ("environment", "terminal", "wanted"),
    [
        ({"TERM": "xterm", "COLORTERM": "truecolor"}, True, painting.Colours.TRUE),
        ({"TERM": "xterm-256color"}, True, painting.Colours.MANY),
        ({"TERM": "xterm", "NO_COLOR": "1"}, True, painting.Colours.NONE),
        ({"TERM": "dumb"}, True, painting.Colours.NONE),
        ({"TERM": "xterm", "COLORTERM": "truecolor"}, False, painting.Colours.NONE),
    ],
)
def test_the_environment_says_what_is_shown(
    environment: dict[str, str], terminal: bool, wanted: painting.Colours
) -> None:
    assert painting.colours(environment, terminal=terminal) is wanted


@pytest.mark.parametrize("seen", list(painting.Colours))
@pytest.mark.parametrize("shape", [(37, 61), (200, 30), (1, 1), (16, 16, 3)])
def test_a_picture_fits_into_the_terminal(seen: painting.Colours, shape: tuple[int, ...]) -> None:
    made = (np.arange(np.prod(shape)) % 256).astype(np.uint8).reshape(shape)
    text = painting.paint(made, os.terminal_size((40, 10)), seen)
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in text.split("\n")]
    assert len(lines) <= 10
    assert max(map(len, lines)) <= 40


def test_two_pixels_stand_in_a_character() -> None:
    made = np.array([[0, 255], [255, 0]], np.uint8)
    text = painting.paint(made, os.terminal_size((2, 1)), painting.Colours.TRUE)
    half = "\N{UPPER HALF BLOCK}"
    assert text == (f"\x1b[38;2;0;0;0;48;2;255;255;255m{half}\x1b[38;2;255;255;255;48;2;0;0;0m{half}\x1b[0m")


def test_the_default_view_is_kept() -> None:
    assert dataclasses.asdict(picture.View.of({"slice": "3"}))["what"] == "slice"
