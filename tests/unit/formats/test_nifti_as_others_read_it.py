"""NIfTI files that are written here, read by nibabel, and the other way round."""

from __future__ import annotations

import dataclasses
import gzip
import pathlib
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node import errors
from node.formats import nifti, nifti_header
from node.volume import geometry, image
from tests.unit.formats import images

TYPES = ("<i1", "<u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f4", "<f8")
TILTED = geometry.Geometry((1.0, 2.0, 3.0), (0.5, 0, 0), (0, 0.5, 0), (0, 0.6, 3.0))


def written(made: image.Image, folder: pathlib.Path, **options: str) -> tuple[Any, pathlib.Path]:
    path = nifti.FORMAT.write(made, folder / "made", options).paths[0]
    return nibabel.load(path), path


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("options", [{}, {"gz": "yes"}, {"version": "2"}])
def test_voxels_and_matrix_of_every_type(dtype: str, options: dict[str, str], tmp_path: pathlib.Path) -> None:
    made = images.made("time", dtype=dtype, slope=2.0, intercept=-10.0)

    found, path = written(made, tmp_path, **options)

    assert found.dataobj.get_unscaled().dtype == made.dtype
    assert np.array_equal(found.dataobj.get_unscaled().T, made.voxels())
    assert np.allclose(found.get_fdata().T, images.real(made))
    np.testing.assert_allclose(found.affine, images.OBLIQUE.scanner, atol=1e-5)
    assert found.header["sizeof_hdr"] == (540 if "version" in options else 348)
    images.same(nifti.FORMAT.read([path]), made)


def test_quaternion_and_rows_say_the_same(tmp_path: pathlib.Path) -> None:
    found, _ = written(images.made(), tmp_path)

    assert (int(found.header["sform_code"]), int(found.header["qform_code"])) == (1, 1)
    np.testing.assert_allclose(found.get_qform(), images.OBLIQUE.scanner, atol=1e-5)
    np.testing.assert_allclose(found.header.get_zooms(), [1, 2, 3.5], atol=1e-6)
    assert found.header.get_xyzt_units() == ("mm", "sec")


def test_a_shear_has_rows_and_no_quaternion(tmp_path: pathlib.Path) -> None:
    found, path = written(images.made(where=TILTED), tmp_path)

    assert (int(found.header["sform_code"]), int(found.header["qform_code"])) == (1, 0)
    np.testing.assert_allclose(found.affine, TILTED.scanner, atol=1e-6)
    images.same(nifti.FORMAT.read([path]), images.made(where=TILTED))


@settings(max_examples=60, deadline=None)
@given(
    turn=st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: sum(v * v for v in q) > 0.01),
    left=st.booleans(),
)
def test_every_rotation_survives_as_a_quaternion(turn: list[float], left: bool) -> None:
    q = np.array(turn) / np.linalg.norm(turn)
    rotation = nibabel.quaternions.quat2mat(q) @ np.diag((1, 1, -1 if left else 1))
    affine = np.eye(4)
    affine[:3, :3] = rotation * (0.7, 1.3, 4.0)
    affine[:3, 3] = (1, -2, 3)

    found = nifti_header.quaternion(affine)
    assert found is not None
    back = nifti_header.rotated(found[0], np.array(found[1:]), affine[:3, 3], np.array((0.7, 1.3, 4.0)))

    # A turn within 3e-4 of a half turn is read as one, as the standard's own library does.
    np.testing.assert_allclose(back, affine, atol=4 * 7e-4)


@pytest.mark.parametrize("layout", ["dcm2niix", "ras"])
@pytest.mark.parametrize("gz", ["yes", "no"])
@pytest.mark.parametrize("colour", [True, False])
def test_other_layouts_hold_the_same_voxels_in_the_same_places(
    layout: str, gz: str, colour: bool, tmp_path: pathlib.Path
) -> None:
    where = geometry.Geometry((9, 8, 7), (0, 0.9, 0.1), (0, 0.2, -1.8), (-3, 0, 0))
    made = images.made("time", dtype="<u1" if colour else "<i2", colour=colour, where=where)

    found, _ = written(made, tmp_path, layout=layout, gz=gz)
    (tmp_path / "stored").mkdir()
    stored, _ = written(made, tmp_path / "stored")

    if layout == "ras":
        assert nibabel.aff2axcodes(found.affine) == ("R", "A", "S")
    else:  # rows from the last to the first, axes that are left-handed
        assert np.linalg.det(found.affine) < 0
        np.testing.assert_allclose(found.affine[:3, 1], -stored.affine[:3, 1], atol=1e-6)
    one, other = (nibabel.as_closest_canonical(each) for each in (found, stored))
    np.testing.assert_allclose(one.affine, other.affine, atol=1e-5)
    assert np.array_equal(np.asanyarray(one.dataobj), np.asanyarray(other.dataobj))


def test_colours(tmp_path: pathlib.Path) -> None:
    made = images.made(dtype="<u1", colour=True)

    found, path = written(made, tmp_path)

    assert found.header["datatype"] == 128
    voxels = np.asanyarray(found.dataobj)
    assert np.array_equal(np.stack([voxels[c] for c in "RGB"], axis=-1).transpose(2, 1, 0, 3), made.voxels())
    images.same(nifti.FORMAT.read([path]), made)


def test_time_goes_next_to_the_slices(tmp_path: pathlib.Path) -> None:
    made = images.made("time", "te")

    found, path = written(made, tmp_path)

    assert found.shape == (5, 3, 4, 3, 2)
    assert np.array_equal(np.asanyarray(found.dataobj).T, made.voxels().transpose(1, 0, 2, 3, 4))
    back = nifti.FORMAT.read([path])
    assert [axis.name for axis in back.axes[:2]] == ["te", "time"]
    np.testing.assert_allclose(back.axes[1].values, [0.0, 1.5, 3.25])
    assert found.header.get_zooms()[3] == pytest.approx(3.25 / 2)


@pytest.mark.parametrize(
    ("dtype", "most", "wish", "made_of"),
    [
        ("<u2", 4095, "int16", "int16"),
        ("<u2", 40000, "int16", "uint16"),
        ("<i4", -40000, "int16", "int32"),
        ("<f4", 1.5, "int16", "float32"),
        ("<u2", 40000, "float32", "float32"),
        ("<u2", 40000, "stored", "uint16"),
    ],
)
def test_a_type_that_is_wished_for_never_costs_a_value(
    dtype: str, most: float, wish: str, made_of: str, tmp_path: pathlib.Path
) -> None:
    made = images.made(slope=0.5, intercept=3.0)
    voxels = made.voxels().astype(dtype)
    voxels.flat[7] = most
    made = dataclasses.replace(made, dtype=np.dtype(dtype), voxels=voxels.copy)

    wrote = nifti.FORMAT.write(made, tmp_path / "made", {"dtype": wish})

    found = nibabel.load(wrote.paths[0])
    assert found.get_data_dtype() == np.dtype(made_of)
    np.testing.assert_allclose(found.get_fdata().T, images.real(made))
    assert bool(wrote.notes) == (wish == "int16" and made_of != "int16")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image, nibabel.Nifti1Pair])
@pytest.mark.parametrize("zipped", [True, False])
def test_files_of_nibabel(kind: Any, order: str, zipped: bool, tmp_path: pathlib.Path) -> None:
    affine = images.OBLIQUE.scanner
    voxels = np.arange(2 * 3 * 4 * 2, dtype=f"{order}i2").reshape(2, 3, 4, 2)
    header = kind.header_class(endianness=order)
    header.set_xyzt_units("mm", "msec")
    wrote = kind(voxels, affine, header)
    wrote.header.set_zooms((*wrote.header.get_zooms()[:3], 2500.0))
    wrote.header.set_slope_inter(0.25, 7)
    path = tmp_path / (
        "made" + (".img" if kind is nibabel.Nifti1Pair else ".nii") + (".gz" if zipped else "")
    )
    nibabel.save(wrote, path)

    found = nifti.FORMAT.read([path])

    assert found.geometry is not None
    np.testing.assert_allclose(found.geometry.scanner, affine, atol=1e-5)
    assert np.array_equal(found.voxels().T, voxels)
    assert (found.slope, found.intercept) == (0.25, 7)
    assert found.axes[0].name == "time"
    np.testing.assert_allclose(found.axes[0].values, [0, 2.5])


def test_a_quaternion_alone_and_a_spacing_alone(tmp_path: pathlib.Path) -> None:
    wrote = nibabel.Nifti1Image(np.zeros((2, 3, 4), np.int16), None)
    wrote.header.set_zooms((2, 3, 4))
    nibabel.save(wrote, tmp_path / "spacing.nii")
    wrote.set_qform(images.OBLIQUE.scanner, 1)
    nibabel.save(wrote, tmp_path / "turned.nii")

    spacing = nifti.FORMAT.read([tmp_path / "spacing.nii"])
    turned = nifti.FORMAT.read([tmp_path / "turned.nii"])

    assert spacing.geometry is None
    assert [float(axis.values[1]) for axis in spacing.axes] == [4, 3, 2]
    assert "not where they lie" in spacing.notes[0].text
    assert turned.geometry is not None
    np.testing.assert_allclose(turned.geometry.scanner, images.OBLIQUE.scanner, atol=1e-5)


def test_a_slope_that_is_no_number_scales_nothing(tmp_path: pathlib.Path) -> None:
    path = nifti.FORMAT.write(images.made(), tmp_path / "made", {}).paths[0]
    there = bytearray(path.read_bytes())
    there[112:120] = np.full(2, np.nan, "<f4").tobytes()
    path.write_bytes(there)

    found = nifti.FORMAT.read([path])

    assert (found.slope, found.intercept) == (1, 0)


def test_what_nifti_cannot_hold_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.UsageError, match="colours of uint16"):
        nifti.FORMAT.write(images.made(dtype="<u2", colour=True), tmp_path / "made", {})
    with pytest.raises(errors.UsageError, match="complex64"):
        nifti.FORMAT.write(images.made(dtype="<c8"), tmp_path / "made", {})
    with pytest.raises(errors.BadData, match="slope of 0"):
        nifti.FORMAT.write(images.made(slope=0.0), tmp_path / "made", {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"layout": "las"}, "layout = 'las'"),
        ({"level": "0"}, "level = '0'"),
        ({"colour": "red"}, "no option 'colour'"),
        ({"suffix": ".hdr"}, "suffix = '.hdr'"),
        ({"suffix": ".nii.gz", "gz": "no"}, "contradict"),
    ],
)
def test_options_that_are_none(options: dict[str, str], why: str) -> None:
    assert why in (nifti.FORMAT.check(options) or "")


def test_gzip_of_equal_voxels_is_equal(tmp_path: pathlib.Path) -> None:
    one, other = (
        nifti.FORMAT.write(images.made(), tmp_path / name, {"suffix": ".nii.gz"}).paths[0] for name in "ab"
    )

    assert one.name == "a.nii.gz"
    assert one.read_bytes() == other.read_bytes()
    assert len(gzip.decompress(one.read_bytes())) == 352 + images.made().nbytes


def test_long_axes_take_the_second_version(tmp_path: pathlib.Path) -> None:
    made = images.made(size=(1, 1, 40_000))

    found, path = written(made, tmp_path)

    assert found.shape == (40_000, 1, 1)
    assert int(found.header["sizeof_hdr"]) == 540
    images.same(nifti.FORMAT.read([path]), made)
    with pytest.raises(errors.UsageError, match="32767 voxels along an axis, not 40000"):
        nifti.FORMAT.write(made, tmp_path / "first", {"version": "1"})


def test_frames_that_lie_in_files_are_compressed_from_there(tmp_path: pathlib.Path) -> None:
    """Values with bits that they should not have come as the loader gives them."""
    made = images.made(dtype="<u2")
    wanted = made.voxels()
    for number, frame in enumerate(wanted):
        (tmp_path / f"{number}").write_bytes(b"head" + frame.tobytes())
    spans = image.Spans(
        tuple(str(tmp_path / f"{number}") for number in range(4)), np.arange(4), np.full(4, 4), frame.nbytes
    )
    plain = dataclasses.replace(made, spans=spans, voxels=lambda: pytest.fail("nobody asked for an array"))
    limited = dataclasses.replace(made, spans=dataclasses.replace(spans, limits=(0, 100)))
    hidden = dataclasses.replace(limited, voxels=lambda: wanted & 127)

    for number, (one, values) in enumerate([(plain, wanted), (hidden, wanted & 127)]):
        path = nifti.FORMAT.write(one, tmp_path / f"made{number}", {"gz": "yes"}).paths[0]
        found = np.asanyarray(nibabel.load(path).dataobj).T
        first = int(np.argmax((wanted > 100).any(axis=(1, 2)))) if number else 0
        assert np.array_equal(found[first:], values[first:])
    (tmp_path / "2").write_bytes(b"head")
    with pytest.raises(errors.BadData, match="ends at 4, within its pixel data"):
        nifti.FORMAT.write(plain, tmp_path / "short", {"gz": "yes"})
