"""Bits, signs, colours, tables, scales and tiles, each made by hand."""

from __future__ import annotations

import pathlib

import numpy as np
import pydicom
import pydicom.dataset
import pydicom.uid
import pytest

from node import errors
from node.loading import frames, voxels
from node.volume import stack, table
from tests import stacks

BIG = pydicom.uid.ExplicitVRBigEndian
RAMP = np.arange(24, dtype="<u2").reshape(4, 6)


def _read(*sources: table.Source, **columns: list[object]) -> np.ndarray:
    return voxels.image(stacks.of(sources, columns=columns)).voxels()


def test_frames_of_single_bits_begin_within_a_byte(tmp_path: pathlib.Path) -> None:
    bits = np.random.default_rng(7).integers(0, 2, (3, 3, 5), dtype=np.uint8)
    raw = np.packbits(bits.reshape(-1), bitorder="little").tobytes()
    source = stacks.written(
        tmp_path / "a", raw, Rows=3, Columns=5, NumberOfFrames=3, BitsAllocated=1, BitsStored=1, HighBit=0
    )
    made = voxels.image(stacks.of([source], [(0, 2, 0), (0, 0, 0), (0, 1, 0)])).voxels()
    assert made.dtype == np.uint8
    assert np.array_equal(made, bits[[2, 0, 1]])


@pytest.mark.parametrize("signed", [False, True])
def test_an_overlay_in_high_bits_is_taken_out_and_can_be_had(tmp_path: pathlib.Path, signed: bool) -> None:
    values = (np.arange(24) - (12 if signed else 0)).reshape(4, 6)
    overlay = np.zeros((4, 6), bool)
    overlay[1, 2:5] = True
    raw = ((values & 0xFFF) | overlay * 0x8000).astype("<u2").tobytes()
    source = stacks.written(
        tmp_path / "a", raw, BitsStored=12, HighBit=11, PixelRepresentation=int(signed), **_overlay(bit=15)
    )
    made = voxels.image(stacks.of([source]))
    assert np.array_equal(made.voxels()[0], values)
    (plane,) = frames.planes(source)
    assert plane.bits is not None
    assert np.array_equal(plane.bits[0], overlay)


def test_an_overlay_of_its_own_leaves_the_pixels_alone(tmp_path: pathlib.Path) -> None:
    bits = np.tile(np.array([0, 1], np.uint8), 12)
    data = np.packbits(bits, bitorder="little").tobytes()
    source = stacks.written(tmp_path / "a", RAMP.tobytes(), **_overlay(bit=0), OverlayData=data + b"\0")
    assert np.array_equal(_read(source)[0], RAMP)
    (plane,) = frames.planes(source)
    assert plane.bits is not None
    assert np.array_equal(plane.bits.reshape(-1), bits)


def test_values_beyond_the_stored_bits_stay_where_no_overlay_is_declared(tmp_path: pathlib.Path) -> None:
    high = RAMP + 0x2000
    source = stacks.written(tmp_path / "a", high.astype("<u2").tobytes(), BitsStored=12, HighBit=11)
    assert np.array_equal(_read(source)[0], high)


@pytest.mark.parametrize(("name", "kind"), [("FloatPixelData", "<f4"), ("DoubleFloatPixelData", "<f8")])
def test_pixels_in_floating_point(tmp_path: pathlib.Path, name: str, kind: str) -> None:
    values = np.linspace(-1, 1, 24).astype(kind)
    source = stacks.written(
        tmp_path / "a", None, **{name: values.tobytes(), "BitsAllocated": values.itemsize * 8}
    )
    made = voxels.image(stacks.of([source]))
    assert made.dtype == np.dtype(kind)
    assert made.spans is not None
    assert np.array_equal(made.voxels().reshape(-1), values)


def test_32_bits_with_a_sign(tmp_path: pathlib.Path) -> None:
    values = np.arange(-12, 12, dtype="<i4") * 100000
    source = stacks.written(
        tmp_path / "a", values.tobytes(), BitsAllocated=32, BitsStored=32, HighBit=31, PixelRepresentation=1
    )
    assert np.array_equal(_read(source).reshape(-1), values)


def test_bytes_in_words_of_big_endian_are_put_right(tmp_path: pathlib.Path) -> None:
    values = np.arange(15 * 2, dtype=np.uint8)
    source = stacks.written(
        tmp_path / "a",
        values.reshape(-1, 2)[:, ::-1].tobytes(),
        syntax=BIG,
        Rows=3,
        Columns=5,
        NumberOfFrames=2,
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
    )
    made = voxels.image(stacks.of([source], [(0, 0, 0), (0, 1, 0)])).voxels()
    assert np.array_equal(made.reshape(-1), values)


def test_planes_of_colours_are_put_together(tmp_path: pathlib.Path) -> None:
    values = np.random.default_rng(7).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    made = _coloured(tmp_path, np.moveaxis(values, 2, 0).tobytes(), "RGB", planar=1)
    assert np.array_equal(made, values)


def test_luminance_and_chrominance_become_colours(tmp_path: pathlib.Path) -> None:
    import pydicom.pixels

    values = np.random.default_rng(7).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    wanted = pydicom.pixels.convert_color_space(values, "YBR_FULL", "RGB")
    assert np.array_equal(_coloured(tmp_path, values.tobytes(), "YBR_FULL"), wanted)


def test_chrominances_of_two_pixels_at_a_time(tmp_path: pathlib.Path) -> None:
    grey = np.arange(24, dtype=np.uint8).reshape(12, 2)
    raw = np.concatenate((grey, np.full((12, 2), 128, np.uint8)), axis=1).tobytes()
    made = _coloured(tmp_path, raw, "YBR_FULL_422")
    assert np.array_equal(made, np.repeat(grey.reshape(4, 6, 1), 3, axis=2))


def test_a_palette_in_segments(tmp_path: pathlib.Path) -> None:
    # Two values, a line over eight more to 0x8000, the line again to where it ends already.
    words = np.array((0, 2, 0, 0x0100, 1, 8, 0x8000, 2, 1, 8, 0), "<u2").tobytes()
    plain = np.array([0, 0x0100, *np.rint(np.linspace(0x0100, 0x8000, 9)[1:]), *[0x8000] * 8], np.uint16)
    elements: dict[str, object] = {}
    for name in ("Red", "Green", "Blue"):
        elements[f"{name}PaletteColorLookupTableDescriptor"] = [18, 2, 16]
        elements[f"Segmented{name}PaletteColorLookupTableData"] = words
    values = np.arange(24, dtype=np.uint8)
    source = stacks.written(
        tmp_path / "a",
        values.tobytes(),
        PhotometricInterpretation="PALETTE COLOR",
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        **elements,
    )
    made = voxels.image(stacks.of([source]))
    wanted = (plain >> 8)[np.clip(values.astype(int) - 2, 0, 17)]
    assert made.axes[-1].name == "rgb"
    assert np.array_equal(made.voxels().reshape(-1, 3), np.repeat(wanted[:, None], 3, axis=1))


def test_a_modality_table_stands_in_place_of_a_slope(tmp_path: pathlib.Path) -> None:
    source = stacks.written(tmp_path / "a", RAMP.tobytes(), ModalityLUTSequence=[_lut()])
    made = voxels.image(stacks.of([source], columns={"modality": ["CR"]}))
    assert (made.slope, made.unit, made.spans) == (1.0, "OD", None)
    assert np.array_equal(made.voxels().reshape(-1), np.clip(np.arange(24) - 4, 0, 9) * 7)


def test_frames_with_and_without_a_modality_table_are_no_volume(tmp_path: pathlib.Path) -> None:
    one = stacks.written(tmp_path / "a", RAMP.tobytes(), ModalityLUTSequence=[_lut()])
    other = stacks.written(tmp_path / "b", RAMP.tobytes())
    with pytest.raises(errors.BadData, match="modality table"):
        voxels.image(stacks.of([one, other]))


def test_slopes_that_differ_make_real_values(tmp_path: pathlib.Path) -> None:
    sources = [stacks.written(tmp_path / name, RAMP.tobytes()) for name in "ab"]
    found = stacks.of(sources, columns={"slope": [0.5, 0.25], "intercept": [0.0, 1.0]})
    made = voxels.image(found)
    assert (made.dtype, made.slope, made.intercept, made.spans) == (np.dtype("<f4"), 1.0, 0.0, None)
    assert np.array_equal(made.voxels(), np.stack((RAMP * 0.5, RAMP * 0.25 + 1)).astype("f4"))
    assert any(note.kind is stack.Kind.PIXELS and "differ" in note.text for note in made.notes)


def test_one_slope_rides_along(tmp_path: pathlib.Path) -> None:
    source = stacks.written(tmp_path / "a", RAMP.tobytes())
    columns = {"slope": [2.0], "intercept": [-1024.0], "modality": ["CT"]}
    made = voxels.image(stacks.of([source], columns=columns))
    assert (made.slope, made.intercept, made.unit) == (2.0, -1024.0, "HU")
    assert np.array_equal(made.voxels()[0], RAMP)
    real = voxels.image(stacks.of([source], columns=columns), scaling="real")
    assert (real.slope, real.dtype) == (1.0, np.dtype("<f4"))
    assert np.array_equal(real.voxels()[0], RAMP * np.float32(2) - 1024)


def test_what_the_index_does_not_know_of_values_is_read_from_the_files(tmp_path: pathlib.Path) -> None:
    said = [{"RescaleSlope": slope, "RescaleIntercept": -5, "RescaleType": "HU"} for slope in (1, 1, 2)]
    sources = [stacks.written(tmp_path / str(at), RAMP.tobytes(), **one) for at, one in enumerate(said)]
    same = voxels.image(stacks.of(sources[:2]))
    assert (same.slope, same.intercept, same.unit) == (1.0, -5.0, "HU")
    assert same.spans is not None
    assert same.table is not None
    assert same.table["slope"].tolist() == [1.0, 1.0]
    made = voxels.image(stacks.of(sources)).voxels()
    assert np.array_equal(made[2], RAMP * np.float32(2) - 5)


def test_scales_of_others_on_choice(tmp_path: pathlib.Path) -> None:
    source = stacks.written(tmp_path / "a", RAMP.tobytes())
    columns = {
        "slope": [4.0],
        "intercept": [8.0],
        "philips_slope": [0.5],
        "real_slope": [3.0],
        "real_unit": ["mm2/s"],
    }
    found = stacks.of([source], columns=columns)
    philips = voxels.image(found, scaling="philips")
    assert (philips.slope, philips.intercept) == (2.0, 4.0)
    world = voxels.image(found, scaling="rwv")
    assert (world.slope, world.intercept, world.unit) == (3.0, 0.0, "mm2/s")
    for scaling in ("philips", "rwv"):
        with pytest.raises(errors.UsageError, match="not every frame"):
            voxels.image(stacks.of([source]), scaling=scaling)


def test_tiles_of_a_mosaic_are_slices(tmp_path: pathlib.Path) -> None:
    mosaic = table.Mosaic(tiles=5, across=3, rows=2, columns=2)
    source = stacks.source(stacks.written(tmp_path / "a", RAMP.tobytes()).path, mosaic)
    made = voxels.image(stacks.of([source], [(0, 0, at) for at in range(5)])).voxels()
    wanted = RAMP.reshape(2, 2, 3, 2).swapaxes(1, 2).reshape(6, 2, 2)[:5]
    assert np.array_equal(made, wanted)


def test_a_frame_that_is_missing_is_empty(tmp_path: pathlib.Path) -> None:
    found = stacks.of([stacks.written(tmp_path / "a", RAMP.tobytes())])
    gap = stack.Stack(found.table, np.array([-1, 0]), found.axes, None, stack.Verdict.GAPS)
    made = voxels.image(gap).voxels()
    assert not made[0].any()
    assert np.array_equal(made[1], RAMP)


def test_what_must_be_known_of_the_pixels_is_said(tmp_path: pathlib.Path) -> None:
    source = stacks.written(tmp_path / "a", RAMP.tobytes(), PhotometricInterpretation="MONOCHROME1")
    made = voxels.image(stacks.of([source]))
    assert np.array_equal(made.voxels()[0], RAMP)
    assert any("MONOCHROME1" in note.text for note in made.notes)


def _overlay(bit: int) -> dict[str, object]:
    return {
        "OverlayRows": 4,
        "OverlayColumns": 6,
        "OverlayType": "G",
        "OverlayOrigin": [1, 1],
        "OverlayBitsAllocated": 16 if bit else 1,
        "OverlayBitPosition": bit,
    }


def _lut() -> pydicom.dataset.Dataset:
    item = pydicom.dataset.Dataset()
    item.add_new(0x00283002, "US", [10, 4, 16])
    item.ModalityLUTType = "OD"
    item.add_new(0x00283006, "US", [7 * at for at in range(10)])
    return item


def _coloured(tmp_path: pathlib.Path, raw: bytes, photometric: str, planar: int = 0) -> np.ndarray:
    source = stacks.written(
        tmp_path / "a",
        raw,
        SamplesPerPixel=3,
        PhotometricInterpretation=photometric,
        PlanarConfiguration=planar,
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
    )
    return _read(source)[0]
